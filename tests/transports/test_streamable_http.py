"""The shared suite against a real chunked response, each form of stream, and the limits of a stream."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.upstreams.stream_service import StreamService

from utcp_bridge.errors import MalformedReply, Rejected, ReplyTooLarge
from utcp_bridge.model import Binary, JsonObject, Result, discard
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.contract import CANARY, Bench, Case, Peer
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transports.streamable_http import StreamableHttpTransport

pytestmark = pytest.mark.anyio


class StreamPeer(Peer):
    transport = StreamableHttpTransport
    streams = True
    impossible = {"oversized": "what is above the limit ends a stream with a notice, not with an error"}  # noqa: RUF012

    def __init__(self) -> None:
        self.service = StreamService()

    async def start(self) -> None:
        await self.service.__aenter__()

    async def stop(self) -> None:
        await self.service.__aexit__()

    def manual(self, dialect: str) -> JsonObject:
        if dialect == "v0":
            return {"provider_type": "http_stream", "url": f"{self.service.base}/utcp/v0"}
        return {"call_template_type": "streamable_http", "url": f"{self.service.base}/utcp"}

    def case(self, path: str, arguments: JsonObject | None = None, **fields: Any) -> Case:
        template = {"call_template_type": "streamable_http", "url": self.service.base + path, **fields}
        return Case(template, arguments or {})

    def echo(self, text: str) -> Case:
        return self.case("/stream/echo", {"text": text})

    def echoed(self, value: Any) -> str:
        return value[0]["text"]

    def stream(self, count: int) -> Case:
        return self.case("/stream/ndjson", {"count": count})

    def slow(self) -> Case:
        return self.case("/sse/pings")

    async def arrived(self) -> None:
        await self.service.slow_arrived.wait()

    async def gone(self) -> None:
        await self.service.slow_gone.wait()

    def authenticated(self) -> bool:
        return self.service.last.headers.get("X-Auth") == CANARY

    def fault(self, name: str) -> Case:
        if name == "refused":
            return Case({"call_template_type": "streamable_http", "url": f"{self.service.refusing}/x"})
        return self.case({"reset": "/reset-midway", "malformed": "/malformed"}[name])


PEER = StreamPeer


def _peer(bench: Bench) -> StreamPeer:
    assert isinstance(bench.peer, StreamPeer)
    return bench.peer


async def _call(case: Case, settings: BridgeSettings | None = None, name: str = "echo") -> Result:
    async with open_services(settings=settings) as services:
        transport = StreamableHttpTransport(services)
        target = make_target(transport, case.template)
        with anyio.fail_after(60):
            return await transport.call(target, make_call(case.arguments, name=name), discard)


async def test_bytes_come_in_chunks_and_are_joined_at_the_end(bench: Bench) -> None:
    sizes: list[int] = []

    async def emit(chunk: Any) -> None:
        sizes.append(len(chunk.data))

    value = await bench.call(_peer(bench).case("/stream/octets", chunk_size=4096), emit)
    assert sizes == [4096, 4096, 10_000 - 2 * 4096]
    assert value == Binary(bytes(byte % 256 for byte in range(10_000)))


async def test_text_is_not_cut_inside_a_character(bench: Bench) -> None:
    assert (await _call(_peer(bench).case("/stream/text"))).value == "gr\u00fc\u00df dich"


@pytest.mark.parametrize(
    ("media_type", "body", "value"),
    [
        ("application/json", '{"a": 1}', {"a": 1}),
        ("application/json", '{"a": 1}{"b": 2}', [{"a": 1}, {"b": 2}]),
        ("application/json", '{\n  "a": [\n    1\n  ]\n}\n{\n}\n', [{"a": [1]}, {}]),
        ("application/json-seq", '\x1e{"a": 1}\n\x1e{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ("application/problem+json", "[1, 2]", [[1, 2]]),
        ("text/event-stream", "data: 1\n\ndata: 2\n\n", [1, 2]),
        ("application/x-ndjson", "", []),
    ],
)
async def test_a_stream_is_split_by_its_media_type(bench: Bench, media_type: str, body: str, value: Any) -> None:
    assert (await _call(_peer(bench).case("/stream/typed", {"type": media_type, "body": body}))).value == value


async def test_a_value_above_the_limit_is_refused(bench: Bench) -> None:
    case = _peer(bench).case("/stream/typed", {"type": "application/x-ndjson", "body": '"' + "x" * 2000})
    with pytest.raises(ReplyTooLarge, match="1000 bytes"):
        await _call(case, BridgeSettings(max_reply_bytes=1000))


async def test_a_stream_of_invalid_json_is_malformed(bench: Bench) -> None:
    with pytest.raises(MalformedReply, match="not JSON"):
        await _call(_peer(bench).case("/stream/typed", {"type": "application/x-ndjson", "body": "nothing\n"}))


@pytest.mark.parametrize("body", ['{"a": 1}\n{"broken', '{"a": 1} x', '{"a": 1}\nx\n{"b": 2}\n'])
async def test_values_before_invalid_json_are_kept(bench: Bench, body: str) -> None:
    result = await _call(_peer(bench).case("/stream/typed", {"type": "application/x-ndjson", "body": body}))
    assert result.value == [{"a": 1}]
    assert isinstance(result.failure, MalformedReply)
    assert "not JSON" in str(result.truncated)


async def test_an_endless_stream_returns_values_up_to_its_limit(bench: Bench) -> None:
    result = await _call(_peer(bench).case("/stream/endless"), BridgeSettings(max_stream_events=3))
    assert result.value == [{"created": True}, {"event": 0}, {"event": 1}]
    assert result.truncated == "the stream was cut at 3 results"


async def test_the_path_form_posts_the_arguments_to_the_tools_own_url(bench: Bench) -> None:
    result = await _call(_peer(bench).case("/stream/", {"x": 1}, wire="path"), name="my tool")
    assert result.value == [{"tool": "my tool"}, {"x": 1}]
    assert _peer(bench).service.last.target == "/stream/my%20tool"


async def test_an_error_status_is_a_rejection(bench: Bench) -> None:
    with pytest.raises(Rejected, match="503"):
        await _call(_peer(bench).case("/status/503"))


def test_hints_follow_from_the_method_and_the_wire() -> None:
    read = make_target(StreamableHttpTransport, {"url": "https://api.example.com/x"}).template
    path = make_target(StreamableHttpTransport, {"url": "https://api.example.com/x", "wire": "path"}).template
    assert StreamableHttpTransport.annotations(read)["readOnlyHint"] is True
    assert "readOnlyHint" not in StreamableHttpTransport.annotations(path)
    assert StreamableHttpTransport.endpoint(read) == "https://api.example.com/x"
