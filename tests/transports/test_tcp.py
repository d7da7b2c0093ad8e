"""The shared suite against a real TCP server, and every framing in both directions."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.upstreams.socket_service import TcpService

from utcp_bridge.errors import ConfigError, ConnectionLost, InvalidArguments, MalformedReply, ReplyTooLarge
from utcp_bridge.model import Binary, JsonObject, discard
from utcp_bridge.net.framing import Framing
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.contract import *  # noqa: F403 - the suite's fixtures and tests
from utcp_bridge.testing.contract import Case, Peer
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transports.tcp import TcpTransport

pytestmark = pytest.mark.anyio

LINES = {"framing_strategy": "delimiter", "message_delimiter": "\\n"}


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
        with anyio.fail_after(10):
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
        (Framing("fixed_length", fixed_length=13), {"framing_strategy": "fixed_length", "fixed_message_length": 13}),
        (Framing("stream"), {}),
    ],
)
async def test_every_framing_goes_both_ways(framing: Framing, fields: JsonObject) -> None:
    async with TcpService(framing=framing) as service:
        assert await _call(service, {"a": "bcdef"}, **fields) == {"a": "bcdef"}
        assert service.received == [b'{"a":"bcdef"}']


async def test_text_requests_come_from_a_template_or_from_the_values() -> None:
    async with TcpService() as service:
        template = {"request_data_format": "text", **LINES}
        line = "GET UTCP_ARG_key_UTCP_ARG UTCP_ARG_n_UTCP_ARG"
        assert await _call(service, {"key": "a b", "n": 3}, request_data_template=line, **template) == "echo GET a b 3"
        assert await _call(service, {"verb": "PING", "on": True}, **template) == "echo PING true"


async def test_a_reply_may_stay_bytes_or_text() -> None:
    async with TcpService() as service:
        assert await _call(service, {"x": 1}, response_byte_format=None, **LINES) == Binary(b'{"x":1}')
        assert await _call(service, {"x": 1}, response_format="text", **LINES) == '{"x":1}'
        assert await _call(service, {"broken": 1, "malformed": True}, **LINES) == '{"broken": '
        words = {"request_data_format": "text", "request_data_template": "\u00fc", "response_byte_format": "ascii"}
        with pytest.raises(MalformedReply, match="not ascii"):
            await _call(service, {}, **words, **LINES)


async def test_a_stream_ends_with_its_json_value_with_silence_or_with_the_connection() -> None:
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


async def test_what_a_server_says_first_can_be_skipped() -> None:
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


async def test_a_message_that_does_not_fit_the_framing_is_the_callers_fault() -> None:
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
async def test_a_framing_without_its_number_is_the_operators_fault(fields: JsonObject, words: str) -> None:
    async with TcpService() as service:
        with pytest.raises(ConfigError, match=words):
            await _call(service, {}, **fields)


def test_an_unknown_encoding_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no character encoding"):
        make_target(TcpTransport, {"host": "h", "port": 7, "response_byte_format": "klingon"})


def test_the_endpoint_is_host_and_port() -> None:
    template = make_target(TcpTransport, {"host": "::1", "port": 7}).template
    assert TcpTransport.endpoint(template) == "tcp://[::1]:7"
