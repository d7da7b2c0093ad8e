"""The shared suite against a real event stream, reconnection, and the limits of a stream."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.upstreams.stream_service import StreamService

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected
from utcp_bridge.model import JsonObject, LogMessage, Result, Source, discard, log_receiver
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.contract import CANARY, Bench, Case, Peer
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transports.sse import SseTransport

pytestmark = pytest.mark.anyio


class SsePeer(Peer):
    transport = SseTransport
    streams = True
    impossible = {"oversized": "what is above the limit ends a stream with a notice, not with an error"}  # noqa: RUF012

    def __init__(self) -> None:
        self.service = StreamService()

    async def start(self) -> None:
        await self.service.__aenter__()

    async def stop(self) -> None:
        await self.service.__aexit__()

    def manual(self, dialect: str) -> JsonObject:
        kind = "provider_type" if dialect == "v0" else "call_template_type"
        return {kind: "sse", "url": f"{self.service.base}/utcp" + ("/v0" if dialect == "v0" else "")}

    def case(self, path: str, arguments: JsonObject | None = None, **fields: Any) -> Case:
        return Case({"call_template_type": "sse", "url": self.service.base + path, **fields}, arguments or {})

    def echo(self, text: str) -> Case:
        return self.case("/sse/echo", {"text": text})

    def echoed(self, value: Any) -> str:
        return value[0]["text"]

    def stream(self, count: int) -> Case:
        return self.case("/sse/count", {"count": count})

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
            return Case({"call_template_type": "sse", "url": f"{self.service.refusing}/sse"})
        return self.case({"reset": "/reset", "malformed": "/page"}[name])


PEER = SsePeer


def _peer(bench: Bench) -> SsePeer:
    assert isinstance(bench.peer, SsePeer)
    return bench.peer


async def _call(case: Case, settings: BridgeSettings | None = None) -> Result:
    async with open_services(settings=settings) as services:
        transport = SseTransport(services)
        target = make_target(transport, case.template, source=Source(name="peer", allow_networks=LOOPBACK))
        with anyio.fail_after(60):
            return await transport.call(target, make_call(case.arguments), discard)


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ("data: one\r\n\r\ndata: two\r\rdata: three\n\n", ["one", "two", "three"]),
        ("data: a\ndata: b\n\n", ["a\nb"]),
        (': ping\n\ndata:{"x":1}\n\n', [{"x": 1}]),
        ("event: other\ndata: 1\n\nevent: wanted\ndata: 2\n\n", [2]),
        ("data: 1\n\ndata: cut", []),
    ],
)
async def test_events_are_read_as_in_the_standard(bench: Bench, raw: str, values: list[Any]) -> None:
    event_type = {"event_type": "wanted"} if "event:" in raw or values == [] else {}
    result = await _call(_peer(bench).case("/sse/raw", {"raw": raw}, **event_type))
    assert result.value == values


async def test_a_call_with_a_body_is_a_post(bench: Bench) -> None:
    case = _peer(bench).case("/sse/echo", {"body": {"a": 1}}, body_field="body")
    [event] = (await _call(case)).value
    assert (event["method"], event["body"], event["accept"]) == ("POST", '{"a":1}', "text/event-stream")


async def test_a_broken_stream_continues_after_the_last_event(bench: Bench) -> None:
    result = await _call(_peer(bench).case("/sse/broken", {"count": 5}))
    assert result.value == [{"n": number} for number in range(5)]
    assert [request.headers.get("Last-Event-ID") for request in _peer(bench).service.requests] == [
        None, "0", "1", "2", "3",
    ]  # fmt: skip


async def test_a_broken_stream_that_cannot_continue_is_a_lost_connection_after_its_events(bench: Bench) -> None:
    result = await _call(_peer(bench).case("/sse/broken", {"count": 5}, reconnect=False))
    assert result.value == [{"n": 0}]
    assert isinstance(result.failure, ConnectionLost)
    assert "the stream is incomplete: The connection to" in str(result.truncated)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (BridgeSettings(max_stream_events=3), "cut at 3 results"),
        (BridgeSettings(max_reply_bytes=1000), "cut at 1000 bytes"),
    ],
)
async def test_an_endless_stream_ends_at_its_limit(bench: Bench, settings: BridgeSettings, words: str) -> None:
    result = await _call(_peer(bench).case("/sse/endless"), settings)
    assert result.truncated is not None
    assert words in result.truncated
    assert result.value[:3] == [1, 1, 1]


async def test_pings_alone_do_not_keep_a_stream_alive(bench: Bench) -> None:
    result = await _call(_peer(bench).case("/sse/pings"), BridgeSettings(idle_timeout=1))
    assert result == Result([], truncated="nothing arrived for 1 second")


async def test_events_before_the_deadline_of_the_call_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utcp_bridge.net.stream._MARGIN", 59)
    async with open_services() as services:
        transport = SseTransport(services)
        target = make_target(transport, _peer(bench).case("/sse/pings").template)
        with anyio.fail_after(60):
            result = await transport.call(target, make_call({}), discard)
    assert result.truncated == "the time limit of the call ended before the stream did"


async def test_an_error_status_is_a_rejection(bench: Bench) -> None:
    with pytest.raises(Rejected, match="404"):
        await _call(_peer(bench).case("/status/404"))
    with pytest.raises(MalformedReply, match="application/json"):
        await _call(_peer(bench).case("/items"))
    assert (await _call(_peer(bench).case("/empty"))).value == []


def test_hints_follow_from_the_method() -> None:
    read = make_target(SseTransport, {"url": "https://api.example.com/events"}).template
    write = make_target(SseTransport, {"url": "https://api.example.com/events", "body_field": "b"}).template
    assert SseTransport.annotations(read)["readOnlyHint"] is True
    assert "readOnlyHint" not in SseTransport.annotations(write)
    assert SseTransport.endpoint(read) == "https://api.example.com/events"


async def test_an_event_named_log_is_a_log_message_and_not_a_result(bench: Bench) -> None:
    heard: list[LogMessage] = []

    async def keep(message: LogMessage) -> None:
        heard.append(message)

    logged = '{"level": "WARN", "logger": "shop", "message": "slow"}'
    raw = f"data: 1\n\nevent: log\ndata: {logged}\n\nevent: log\ndata: text\n\n"
    token = log_receiver.set(keep)
    try:
        assert (await _call(_peer(bench).case("/sse/raw", {"raw": raw}))).value == [1]
    finally:
        log_receiver.reset(token)
    assert heard == [LogMessage("warning", "slow", "shop"), LogMessage("info", "text")]
    assert (await _call(_peer(bench).case("/sse/raw", {"raw": raw}))).value == [1]
    logs = await _call(_peer(bench).case("/sse/raw", {"raw": raw}, event_type="log"))
    assert logs.value == [{"level": "WARN", "logger": "shop", "message": "slow"}, "text"]
