"""The shared suite against a real TCP server, and each framing in both directions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.work import calls_made_by
from tests.upstreams.socket_service import TcpService

from utcp_bridge.errors import ConfigError, ConnectionLost, InvalidArguments, MalformedReply, ReplyTooLarge
from utcp_bridge.model import Binary, JsonObject, discard
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.contract import Case, Peer
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transports.tcp import Framing, TcpTransport, unescape

pytestmark = pytest.mark.anyio

LINES = {"framing_strategy": "delimiter", "message_delimiter": "\\n"}
COMPACT: JsonObject = {"request_data_format": "text", "request_data_template": '{"a":"UTCP_ARG_a_UTCP_ARG"}'}
"""The service's replies are compact, and as long as the requests here."""


class TcpPeer(Peer):
    transport = TcpTransport
    impossible = {"auth": "UTCP gives tcp no credentials"}  # noqa: RUF012

    def __init__(self) -> None:
        self.service = TcpService()
        self.resetting = TcpService(always={"reset": True})
        self.flooding = TcpService(always={"flood": 200_000})

    async def start(self) -> None:
        for service in (self.service, self.resetting, self.flooding):
            await service.__aenter__()

    async def stop(self) -> None:
        for service in (self.service, self.resetting, self.flooding):
            await service.__aexit__()

    def template(self, **fields: Any) -> JsonObject:
        return {"call_template_type": "tcp", "host": "127.0.0.1", "port": self.service.port, **LINES, **fields}

    def manual(self, dialect: str) -> JsonObject:
        template = self.template()
        if dialect == "v0":
            template["provider_type"] = template.pop("call_template_type")
        return template

    def echo(self, text: str) -> Case:
        return Case(self.template(), {"text": text})

    def slow(self) -> Case:
        return Case(self.template(), {"slow": True})

    async def arrived(self) -> None:
        await self.service.slow_arrived.wait()

    async def gone(self) -> None:
        await self.service.slow_gone.wait()

    def fault(self, name: str) -> Case:
        match name:
            case "refused":
                return Case(self.template(port=self.service.refusing))
            case "malformed":
                return Case(self.template(response_format="json"), {"malformed": True})
            case _:
                port = self.resetting.port if name == "reset" else self.flooding.port
                return Case(self.template(port=port))

    def with_secret(self, case: Case, secret: str) -> Case:
        return Case({**case.template, "request_data_template": secret}, case.arguments, case.error)


PEER = TcpPeer


async def _call(
    service: TcpService, arguments: JsonObject, settings: BridgeSettings | None = None, **fields: Any
) -> Any:
    template = {"call_template_type": "tcp", "host": service.host, "port": service.port, **fields}
    async with open_services(settings=settings) as services:
        transport = TcpTransport(services)
        with anyio.fail_after(60):
            return await transport.call(make_target(transport, template), make_call(arguments), discard)


@pytest.mark.parametrize(
    ("framing", "fields"),
    [
        (Framing("length_prefix"), {"framing_strategy": "length_prefix"}),
        (
            Framing("length_prefix", prefix_bytes=2, endian="little"),
            {"framing_strategy": "length_prefix", "length_prefix_bytes": 2, "length_prefix_endian": "little"},
        ),
        (
            Framing("delimiter", delimiter=b"END\r\n"),
            {"framing_strategy": "delimiter", "message_delimiter": "END\\r\\n"},
        ),
        (Framing("delimiter"), {"framing_strategy": "delimiter"}),
        (
            Framing("fixed_length", fixed_length=13),
            {"framing_strategy": "fixed_length", "fixed_message_length": 13, **COMPACT},
        ),
        (Framing("stream"), {}),
    ],
)
async def test_every_framing_goes_both_ways(framing: Framing, fields: JsonObject) -> None:
    async with TcpService(framing=framing) as service:
        assert await _call(service, {"a": "bcdef"}, **fields) == {"a": "bcdef"}
        assert service.received == [b'{"a":"bcdef"}' if "request_data_template" in fields else b'{"a": "bcdef"}']


async def test_text_requests_come_from_a_template_or_from_the_values() -> None:
    async with TcpService() as service:
        template = {"request_data_format": "text", **LINES}
        line = "GET UTCP_ARG_key_UTCP_ARG UTCP_ARG_n_UTCP_ARG"
        assert await _call(service, {"key": "a b", "n": 3}, request_data_template=line, **template) == "echo GET a b 3"
        assert await _call(service, {"verb": "PING", "on": True}, **template) == "echo PING true"


async def test_a_reply_may_be_bytes_or_text() -> None:
    async with TcpService() as service:
        assert await _call(service, {"x": 1}, response_byte_format=None, **LINES) == Binary(b'{"x":1}')
        assert await _call(service, {"x": 1}, response_format="text", **LINES) == '{"x":1}'
        assert await _call(service, {"broken": 1, "malformed": True}, **LINES) == '{"broken": '
        words = {"request_data_format": "text", "request_data_template": "\u00fc", "response_byte_format": "ascii"}
        assert (await _call(service, {}, **words, **LINES)).endswith("\u00fc")


async def test_a_stream_ends_after_json_after_silence_or_with_the_connection() -> None:
    async with TcpService(framing=Framing("stream")) as service:
        assert await _call(service, {"x": 1}, quiet_period=0) == {"x": 1}
        words = {"request_data_format": "text", "request_data_template": "hi"}
        assert await _call(service, {}, quiet_period=0.05, **words) == "echo hi"
        assert await _call(service, {"close": True, "flood": 10}, quiet_period=0) == "x" * 10


async def test_a_silent_server_is_a_lost_connection() -> None:
    async with TcpService() as service:
        with pytest.raises(ConnectionLost, match=r"nothing for 0\.05 seconds"):
            await _call(service, {"slow": True}, BridgeSettings(idle_timeout=0.05), **LINES)


async def test_a_reply_that_is_cut_off_is_malformed() -> None:
    async with TcpService(framing=Framing("length_prefix")) as service:
        with pytest.raises(MalformedReply, match="inside a message"):
            await _call(service, {"cut": True}, framing_strategy="length_prefix")


async def test_a_stream_above_its_own_limit_is_too_large() -> None:
    async with TcpService(framing=Framing("stream")) as service:
        with pytest.raises(ReplyTooLarge, match="100 bytes"):
            await _call(service, {"flood": 1000}, max_response_size=100)


async def test_the_greeting_of_a_server_can_be_skipped() -> None:
    async with TcpService(greeting=b"READY\n") as service:
        assert await _call(service, {"x": 1}, read_greeting=True, **LINES) == {"x": 1}


async def test_the_go_and_rust_form_names_the_tool() -> None:
    async with TcpService() as service:
        wire = {"wire": "tool", "half_close": True, **LINES}
        assert await _call(service, {"x": 1}, **wire) == {"tool": "peer.echo", "args": {"x": 1}}
        assert (await _call(service, {}, tool_name_style="bare", **wire))["tool"] == "echo"


async def test_ipv6_is_reached() -> None:
    async with TcpService(host="::1") as service:
        assert await _call(service, {"x": 1}, **LINES) == {"x": 1}


async def test_a_message_that_does_not_fit_the_framing_is_the_callers_error() -> None:
    async with TcpService() as service:
        with pytest.raises(InvalidArguments, match="delimiter"):
            await _call(service, {"t": "a\nb"}, request_data_format="text", **LINES)
        with pytest.raises(InvalidArguments, match="JSON"):
            await _call(service, {"t": 2**80}, **LINES)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"framing_strategy": "fixed_length"}, "fixed_message_length"),
        ({"framing_strategy": "delimiter", "message_delimiter": ""}, "message_delimiter"),
    ],
)
async def test_a_framing_without_its_length_is_a_configuration_error(fields: JsonObject, words: str) -> None:
    async with TcpService() as service:
        with pytest.raises(ConfigError, match=words):
            await _call(service, {}, **fields)


def test_an_unknown_encoding_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="is not a character encoding that the bridge reads"):
        make_target(TcpTransport, {"host": "h", "port": 7, "response_byte_format": "klingon"})


def test_the_endpoint_is_host_and_port() -> None:
    template = make_target(TcpTransport, {"host": "::1", "port": 7}).template
    assert TcpTransport.endpoint(template) == "tcp://[::1]:7"


FRAMINGS = [
    Framing("length_prefix", prefix_bytes=1),
    Framing("length_prefix", prefix_bytes=2, endian="little"),
    Framing("length_prefix", prefix_bytes=8),
    Framing("delimiter", delimiter=b"\r\n"),
    Framing("delimiter", delimiter=b"aab"),
    Framing("fixed_length", fixed_length=7),
]


@pytest.mark.parametrize("framing", FRAMINGS)
@given(
    messages=st.lists(st.binary(max_size=40), min_size=1, max_size=4),
    places=st.lists(st.integers(0, 300), max_size=8),
)
def test_messages_do_not_depend_on_how_the_bytes_are_split(
    framing: Framing, messages: list[bytes], places: list[int]
) -> None:
    if framing.fixed_length:
        messages = [message[:7].ljust(7, b".") for message in messages]
    if framing.strategy == "delimiter":
        messages = [message.replace(framing.delimiter, b"").rstrip(b"\ra") for message in messages]
        messages = [message for message in messages if framing.delimiter not in message + framing.delimiter[:-1]]
    wire = b"".join(framing.frame(message) for message in messages)
    edges = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    deframer = framing.deframer()
    got: list[bytes] = []
    for start, end in pairwise(edges):
        message = deframer.feed(wire[start:end])
        while message is not None:
            got.append(message)
            message = deframer.feed(b"") if len(got) < len(messages) else None
    assert got == messages


def test_each_framing_writes_the_expected_bytes() -> None:
    assert Framing("length_prefix", prefix_bytes=2).frame(b"abc") == b"\x00\x03abc"
    assert Framing("length_prefix", prefix_bytes=4, endian="little").frame(b"a") == b"\x01\0\0\0a"
    assert Framing("delimiter", delimiter=b"\n").frame(b"abc") == b"abc\n"
    assert Framing("fixed_length", fixed_length=9).frame(b"abc") == b"abc"
    assert Framing("stream").frame(b"abc") == b"abc"


def test_a_delimiter_in_the_operators_template_is_allowed() -> None:
    lines = Framing("delimiter", delimiter=b"\r\n")
    assert lines.frame(b"set k 5\r\nhello", written=b"set X Y\r\nZ") == b"set k 5\r\nhello\r\n"
    with pytest.raises(InvalidArguments, match="delimiter"):
        lines.frame(b"set k 5\r\nhel\r\nlo", written=b"set X Y\r\nZ")


@pytest.mark.parametrize(
    ("framing", "message", "words"),
    [
        (Framing("length_prefix", prefix_bytes=1), b"x" * 256, "1-byte length prefix"),
        (Framing("delimiter", delimiter=b"\n"), b"a\nb", "delimiter"),
        (Framing("fixed_length", fixed_length=2), b"abc", "more than the 2"),
    ],
)
def test_a_message_that_does_not_fit_is_refused(framing: Framing, message: bytes, words: str) -> None:
    with pytest.raises(InvalidArguments, match=words):
        framing.frame(message)


@pytest.mark.parametrize(
    ("framing", "data"),
    [
        (Framing("length_prefix", prefix_bytes=4, limit=10), b"\0\0\0\x0b"),
        (Framing("delimiter", delimiter=b"\n", limit=10), b"x" * 11),
        (Framing("delimiter", delimiter=b"\n", limit=10), b"x" * 11 + b"\n"),
        (Framing("fixed_length", fixed_length=11, limit=10), b"x"),
        (Framing("stream", limit=10), b"x" * 11),
    ],
)
def test_a_reply_above_the_limit_is_refused_before_it_is_complete(framing: Framing, data: bytes) -> None:
    with pytest.raises(ReplyTooLarge, match="10 bytes"):
        framing.deframer().feed(data)


def test_only_a_stream_may_end_with_the_connection() -> None:
    stream = Framing("stream").deframer()
    assert stream.feed(b"ab") is None
    assert stream.pending == b"ab"
    assert stream.finish() == b"ab"
    cut = Framing("delimiter", delimiter=b"\n").deframer()
    cut.feed(b"ab")
    with pytest.raises(MalformedReply, match="after 2 bytes"):
        cut.finish()


@pytest.mark.parametrize("fields", [{"strategy": "fixed_length"}, {"strategy": "delimiter", "delimiter": b""}])
def test_an_impossible_framing_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Framing(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"\r\n", "\r\n"),
        (r"\x00", "\0"),
        (r"\0", "\0"),
        (r"\u00e9", "\u00e9"),
        (r"\\n", r"\n"),
        (r"\q", r"\q"),
        ("|", "|"),
    ],
)
def test_escapes_mean_the_same_as_in_python(text: str, meant: str) -> None:
    assert unescape(text) == meant


def test_a_reply_of_json_is_parsed_once_where_its_brackets_close() -> None:
    framing = Framing("stream", limit=1 << 20)
    replies = [(b"[", b"[]", 5_000), (b"[]", b"[]", 5_000), (b"", b" ", 5_000), (b'["', b']"[', 4_999)]
    for start, piece, pieces in replies:

        def read(start: bytes = start, piece: bytes = piece, number: int = pieces) -> None:
            deframer = framing.deframer()
            for one in (start, *[piece] * number):
                deframer.feed(one)
                assert not (deframer.is_whole_json(one) and start != b"[]")

        assert calls_made_by(read) < 60 * pieces
    deframer = framing.deframer()
    for one in (b' {"a": "}', b"\\", b'"}', b'"'):
        deframer.feed(one)
        assert not deframer.is_whole_json(one)
    deframer.feed(b"} ")
    assert deframer.is_whole_json(b"} ")
