"""The shared suite against a real WebSocket server, and its three forms of messages."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pydantic import ValidationError
from tests.support.loop_clock import time_passes
from tests.upstreams.websocket_service import WebSocketService

from utcp_bridge.errors import (
    ConnectionLost,
    MalformedReply,
    ManualError,
    Rejected,
    ReplyTooLarge,
    Unreachable,
    UtcpError,
)
from utcp_bridge.model import Binary, JsonObject, Result, discard
from utcp_bridge.net.collecting import LARGE, Collecting
from utcp_bridge.net.gated_websocket import GatedWebSocket
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import HeavyWork
from utcp_bridge.testing.contract import CANARY, Case, Peer
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transports.websocket.transport import WebSocketTransport

pytestmark = pytest.mark.anyio


class WebSocketPeer(Peer):
    transport = WebSocketTransport
    streams = True

    def __init__(self) -> None:
        self.service = WebSocketService()

    async def start(self) -> None:
        await self.service.__aenter__()

    async def stop(self) -> None:
        await self.service.__aexit__()

    def template(self, path: str = "/ws", **fields: Any) -> JsonObject:
        return {"call_template_type": "websocket", "url": self.service.ws + path, **fields}

    def manual(self, dialect: str) -> JsonObject:
        if dialect == "v0":
            return {"provider_type": "websocket", "url": f"{self.service.ws}/old"}
        return self.template()

    def echo(self, text: str) -> Case:
        return Case(self.template(), {"text": text})

    def stream(self, count: int) -> Case:
        return Case(self.template(expected_responses=-1), {"count": count})

    def slow(self) -> Case:
        return Case(self.template(), {"slow": True})

    async def arrived(self) -> None:
        await self.service.slow_arrived.wait()

    async def gone(self) -> None:
        await self.service.slow_gone.wait()

    def authenticated(self) -> bool:
        return self.service.last.headers.get("X-Auth") == CANARY

    def fault(self, name: str) -> Case:
        match name:
            case "refused":
                url = self.service.refusing.replace("http", "ws")
                return Case({"call_template_type": "websocket", "url": url})
            case "reset":
                return Case(self.template(message={"reset": True}))
            case "malformed":
                return Case(self.template(response_format="json"), {"say": "{broken"})
            case _:
                return Case(self.template("/nothing", message={"flood": 200_000}) | {"url": f"{self.service.ws}/ws"})

    def with_secret(self, case: Case, secret: str) -> Case:
        url = f"{case.template['url']}?key={secret}"
        return replace(case, template={**case.template, "url": url, "headers": {"X-Key": secret}})


PEER = WebSocketPeer


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/echo", "/reset"])
async def test_discovery_at_a_faulty_peer_ends_in_a_typed_error(path: str) -> None:
    """A healthy server always answers discovery, so this test uses paths with a fault."""
    async with WebSocketService() as service, open_services() as services:
        transport = WebSocketTransport(services)
        with anyio.fail_after(60), pytest.raises(UtcpError):
            await transport.discover(make_target(transport, {"url": service.ws + path}))


async def _call(
    service: WebSocketService,
    path: str,
    arguments: JsonObject,
    *,
    name: str = "echo",
    emit: Any = discard,
    **fields: Any,
) -> Result:
    settings = fields.pop("settings", None)
    async with open_services(settings=settings) as services:
        transport = WebSocketTransport(services)
        target = make_target(transport, {"url": service.ws + path, **fields})
        with anyio.fail_after(600):
            return await transport.call(target, make_call(arguments, name=name), emit)


async def test_a_message_is_the_rendered_template_or_the_arguments() -> None:
    async with WebSocketService() as service:
        template = {"action": "get", "id": "UTCP_ARG_id_UTCP_ARG", "more": "{{more|default:3}}"}
        sent = await _call(service, "/ws", {"id": "a"}, message=template, protocol="utcp")
        assert sent.value == {"action": "get", "id": "a", "more": 3, "protocol": "utcp"}
        assert (await _call(service, "/ws", {"w": "x"}, message="hello UTCP_ARG_w_UTCP_ARG")).value == "hello x"


@pytest.mark.parametrize("wire", ["raw", "envelope", "path"])
async def test_an_argument_of_the_handshake_is_not_in_the_message_unless_the_template_names_it(wire: str) -> None:
    arguments = {"Tenant": "t1", "room": "r1", "q": "x"}
    path = {"raw": "/ws", "envelope": "/envelope", "path": "/path"}[wire]
    async with WebSocketService() as service:
        url = f"{path}?room={{room}}"
        value = (await _call(service, url, arguments, header_fields=["Tenant"], wire=wire)).value
        assert (service.last.target.rpartition("?")[2], service.last.headers["Tenant"]) == ("room=r1", "t1")
        left = value["args"] if wire == "path" else {key: value[key] for key in value.keys() - {"protocol", "tool"}}
        assert left == {"q": "x"}
        if wire == "raw":
            message = {"who": "UTCP_ARG_Tenant_UTCP_ARG", "at": "{{room}}"}
            value = (await _call(service, url, arguments, header_fields=["Tenant"], message=message)).value
            assert value == {"who": "t1", "at": "r1", "protocol": None}


async def test_replies_are_read_in_the_format_of_the_template() -> None:
    async with WebSocketService() as service:
        assert (await _call(service, "/ws", {"say": "[1]"})).value == [1]
        assert (await _call(service, "/ws", {"say": "[1"})).value == "[1"
        assert (await _call(service, "/ws", {"say": "[1]"}, response_format="text")).value == "[1]"
        assert (await _call(service, "/ws", {"say": "7"}, response_format="json")).value == 7
        assert (await _call(service, "/ws", {"bytes": True})).value == Binary(b"\x00\x01")
        assert (await _call(service, "/ws", {"count": 5}, expected_responses=2)).value == [{"n": 0}, {"n": 1}]


async def test_an_envelope_receives_its_own_reply_among_pushes() -> None:
    parts: list[Any] = []

    async def emit(part: Any) -> None:
        parts.append(part)

    async with WebSocketService() as service:
        assert (await _call(service, "/envelope", {"x": 1}, wire="envelope")).value == {"tool": "echo", "x": 1}
        streamed = await _call(
            service, "/envelope", {"parts": [1, 2]}, wire="envelope", expected_responses=-1, emit=emit
        )
        assert parts == [1, 2]
        assert streamed.value[:2] == [1, 2]
        with pytest.raises(Rejected, match="error") as caught:
            await _call(service, "/envelope", {"fail": True}, wire="envelope")
        assert caught.value.detail == "kaput"


async def test_the_path_form_connects_to_the_tools_own_url() -> None:
    async with WebSocketService() as service:
        result = await _call(service, "/path/tools", {"x": 1}, wire="path", name="a b")
        assert result.value == {"tool": "a b", "args": {"x": 1}}


async def test_close_codes_are_reported_and_streams_are_cut_at_their_limit() -> None:
    async with WebSocketService() as service:
        with pytest.raises(ConnectionLost, match="4000 as asked"):
            await _call(service, "/ws", {"close": 4000})
        with pytest.raises(ConnectionLost, match="before it sent a reply"):
            await _call(service, "/ws", {"close": 1000})
        with pytest.raises(ConnectionLost, match=r"nothing for 0\.05 seconds"):
            await _call(service, "/ws", {"slow": True}, settings=BridgeSettings(idle_timeout=0.05))
        cut = await _call(
            service, "/ws", {"count": 9}, expected_responses=-1, settings=BridgeSettings(max_stream_events=2)
        )
        assert cut == Result([{"n": 0}, {"n": 1}], truncated="the stream was cut at 2 results")
        with pytest.raises(MalformedReply):
            await _call(service, "/ws", {"say": "{"}, response_format="json")


async def test_messages_before_the_end_of_a_stream_are_kept_with_the_reason() -> None:
    async with WebSocketService() as service:
        seen = anyio.Event()

        async def emit(_partial: Any) -> None:
            seen.set()

        async with time_passes(30, after=seen):
            silent = await _call(service, "/ws", {"say": "one"}, expected_responses=2, emit=emit)
        assert silent == Result(["one"], truncated="nothing arrived for 30 seconds")


async def test_a_stream_is_cut_at_the_limit_of_bytes_and_pushes_have_a_limit_too() -> None:
    async with WebSocketService() as service:
        few = BridgeSettings(max_reply_bytes=20)
        cut = await _call(service, "/ws", {"count": 90}, expected_responses=-1, settings=few)
        assert cut == Result([{"n": 0}, {"n": 1}, {"n": 2}], truncated="the stream was cut at 20 bytes")
        with pytest.raises(ReplyTooLarge, match="not part of the reply"):
            await _call(service, "/ws", {"count": 90}, message_filter={"n": "x"}, settings=few)


async def test_a_server_without_a_manual_names_the_remedy() -> None:
    async with WebSocketService() as service, open_services() as services:
        transport = WebSocketTransport(services)
        with anyio.fail_after(60), pytest.raises(ManualError, match="local manual"):
            await transport.discover(make_target(transport, {"url": f"{service.ws}/path/echo"}))


@asynccontextmanager
async def _transport(**settings: Any) -> AsyncIterator[tuple[WebSocketService, WebSocketTransport]]:
    async with WebSocketService() as service, open_services(settings=BridgeSettings(**settings)) as services:
        transport = WebSocketTransport(services)
        try:
            with anyio.fail_after(60):
                yield service, transport
        finally:
            await transport.aclose()


async def _value(transport: WebSocketTransport, target: Any, arguments: JsonObject) -> Any:
    return (await transport.call(target, make_call(arguments), discard)).value


async def test_a_kept_connection_is_reused_by_the_next_call() -> None:
    async with _transport() as (service, transport):
        target = make_target(transport, {"url": f"{service.ws}/ws"})
        for number in range(5):
            assert (await _value(transport, target, {"n": number}))["n"] == number
        assert service.opened == 1
        await transport.forget("peer")
        await _value(transport, target, {"n": 5})
        assert service.opened == 2


@pytest.mark.parametrize("fields", [{"keep_alive": False}, {"close_after_response": True}, {"expected_responses": 2}])
async def test_a_connection_is_not_kept_if_the_template_says_so_or_for_a_stream(fields: JsonObject) -> None:
    async with _transport() as (service, transport):
        target = make_target(transport, {"url": f"{service.ws}/ws", **fields})
        for _ in range(2):
            await _value(transport, target, {"count": 3})
        assert service.opened == 2


async def test_a_closed_connection_or_one_with_unclaimed_frames_is_not_reused() -> None:
    async with _transport() as (service, transport):
        target = make_target(transport, {"url": f"{service.ws}/ws"})
        for opened in (1, 2, 3):
            assert await _value(transport, target, {"say": "[7]"}) == [7]
            assert service.opened == opened
            assert service.last_socket is not None
            if opened == 1:
                await service.last_socket.send_str("late")
                assert (await service.last_socket.pong()) is None
            else:
                await service.last_socket.close()
            [idle] = [kept.connection for kept in transport._pool._idle]
            while not (idle.unclaimed or idle.closed):  # noqa: ASYNC110 - what was sent must cross the loopback
                await anyio.sleep(0.01)


async def test_a_cancelled_call_leaves_no_reply_for_the_next_call() -> None:
    async with _transport() as (service, transport):
        target = make_target(transport, {"url": f"{service.ws}/ws"})
        async with anyio.create_task_group() as group:
            group.start_soon(_value, transport, target, {"slow": True})
            await service.slow_arrived.wait()
            group.cancel_scope.cancel()
        assert (await _value(transport, target, {"n": 1}))["n"] == 1
        assert service.opened == 2


async def test_envelopes_share_one_connection_and_each_gets_its_own_reply() -> None:
    async with _transport() as (service, transport):
        target = make_target(transport, {"url": f"{service.ws}/envelope", "wire": "envelope"})
        got: dict[int, Any] = {}

        async def one(number: int, *, late: bool) -> None:
            got[number] = await _value(transport, target, {"number": number, "late": late})

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(lambda number=number: one(number, late=number % 2 == 0 and number < 19))
        assert {number: value["number"] for number, value in got.items()} == {n: n for n in range(20)}
        assert service.opened == 1


async def test_a_json_rpc_reply_is_found_by_its_id_among_notifications() -> None:
    message = {"jsonrpc": "2.0", "id": "{{uuid}}", "method": "say", "params": ["UTCP_ARG_text_UTCP_ARG"]}
    async with _transport() as (service, transport):
        target = make_target(transport, {"url": f"{service.ws}/rpc", "message": message})
        assert (await _value(transport, target, {"text": "a"}))["result"] == ["a"]
        assert (await _value(transport, target, {"text": "b"}))["result"] == ["b"]
        all_of_them = make_target(
            transport,
            {"url": f"{service.ws}/rpc", "message": message, "expected_responses": 3, "close_after_response": True},
        )
        first, *_ = await _value(transport, all_of_them, {"text": "c"})
        assert first["method"] == "news"


@pytest.mark.parametrize("protocol", [None, "push"])
@pytest.mark.parametrize("form", ["text", "binary", "compressed", "fragmented"])
async def test_messages_pushed_around_a_reply_do_not_reach_or_end_other_calls(form: str, protocol: str | None) -> None:
    params = {"n": "{{n}}", "turns": "{{turns}}"}
    common = {"protocol": protocol, "compression": form == "compressed"}
    async with _transport() as (service, transport):
        common["url"] = f"{service.ws}/pushes/{form}"
        message = {"jsonrpc": "2.0", "id": "{{n}}", "method": "say", "params": params}
        rpc = make_target(transport, {**common, "message": message})
        enveloped = make_target(transport, {**common, "wire": "envelope"})
        for number in range(24):  # each call starts in the very turn of the event loop in which the last one ends
            arguments = {"n": number, "turns": number // 3}
            assert (await _value(transport, rpc, arguments))["result"] == {**arguments, "protocol": protocol}
        for number in range(24):
            arguments = {"n": number, "turns": number // 3}
            assert await _value(transport, enveloped, arguments) == {**arguments, "protocol": protocol}


async def test_only_frames_that_pass_the_filter_are_replies() -> None:
    async with _transport() as (service, transport):
        fields = {"url": f"{service.ws}/ws", "message_filter": {"n": 2}}
        assert await _value(transport, make_target(transport, fields), {"count": 5}) == {"n": 2}


async def test_a_greeting_is_read_and_a_message_authenticates_the_connection() -> None:
    fields = {"read_greeting": True, "auth_message": {"token": "t"}, "auth_response": True, "compression": True}
    async with _transport() as (service, transport):
        target = make_target(transport, {"url": f"{service.ws}/login", **fields})
        value = await _value(transport, target, {})
        assert value["token"] == "t"
        assert "permessage-deflate" in value["deflated"]
        silent = make_target(transport, {"url": f"{service.ws}/ws", "auth_message": "[]", "auth_response": True})
        assert await _value(transport, silent, {"say": "[1]"}) == [1]


async def test_a_reply_has_its_own_timeout() -> None:
    async with _transport() as (service, transport):
        target = make_target(transport, {"url": f"{service.ws}/ws", "response_timeout": 0.05})
        with pytest.raises(ConnectionLost, match=r"nothing for 0\.05 seconds"):
            await _value(transport, target, {"slow": True})
    assert target.template.response_timeout == 0.05
    assert make_target(transport, {"url": "ws://a/", "connection_timeout": 2500}).template.connection_timeout == 2.5


async def test_a_connection_that_does_not_open_in_time_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with _transport() as (_, transport):
            url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
            target = make_target(transport, {"url": url, "connection_timeout": 0.1})
            with pytest.raises(Unreachable, match=r"within 0\.1 seconds"):
                await _value(transport, target, {})


async def test_the_wire_form_is_the_one_that_discovery_found() -> None:
    async with _transport() as (service, transport):
        await transport.discover(make_target(transport, {"url": f"{service.ws}/path"}))
        value = await _value(transport, make_target(transport, {"url": f"{service.ws}/path"}), {"x": 1})
        assert value == {"tool": "echo", "args": {"x": 1}}
        await transport.discover(make_target(transport, {"url": f"{service.ws}/ws"}))
        assert (await _value(transport, make_target(transport, {"url": f"{service.ws}/ws"}), {"x": 1}))["x"] == 1
        fetched = {"url": f"{service.ws}/envelope", "discovery_url": f"{service.base}/utcp"}
        document = await transport.discover(make_target(transport, fetched))
        assert b"echo" in document.content
        assert (await _value(transport, make_target(transport, fetched), {"x": 1}))["tool"] == "echo"
        with pytest.raises(Rejected, match="404"):
            await transport.discover(make_target(transport, {**fetched, "discovery_url": f"{service.base}/none"}))


def test_a_url_must_be_a_websocket_url() -> None:
    assert make_target(WebSocketTransport, {"url": "https://a.example/x"}).template.url == "wss://a.example/x"
    assert WebSocketTransport.endpoint(make_target(WebSocketTransport, {"url": "ws://a/"}).template) == "ws://a/"
    with pytest.raises(ValidationError, match="ws://"):
        make_target(WebSocketTransport, {"url": "ftp://a.example/x"})


async def test_large_messages_of_one_manual_are_read_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    admitted: list[int] = []
    go_on = GatedWebSocket.go_on

    def noted(self: GatedWebSocket) -> None:
        if self._is_held:
            admitted.append(self._sizes.message)
        go_on(self)

    monkeypatch.setattr(GatedWebSocket, "go_on", noted)
    seen: list[int] = []
    settings = BridgeSettings(max_reply_bytes=1 << 24)
    async with WebSocketService() as service, open_services(settings=settings) as services:
        transport = WebSocketTransport(services)
        target = make_target(transport, {"url": service.ws + "/ws", "response_format": "text"})

        async def call() -> None:
            with HeavyWork():
                result = await transport.call(target, make_call({"flood": 4_000_000}), discard)
                assert len(result.value) == 4_000_000
                await anyio.lowlevel.checkpoint()
                seen.append(len(admitted))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for _ in range(8):
                    group.start_soon(call)
        await transport.aclose()
    assert admitted == [4_000_000] * 8
    assert all(number <= place + 2 for place, number in enumerate(seen))


async def test_a_large_message_whose_place_is_not_free_is_read_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utcp_bridge.transports.websocket.transport._MAX_HELD_SECONDS", 0.01)
    is_read = anyio.Event()
    go_on = GatedWebSocket.go_on

    def noted(self: GatedWebSocket) -> None:
        is_read.set()
        go_on(self)

    monkeypatch.setattr(GatedWebSocket, "go_on", noted)
    settings = BridgeSettings(max_reply_bytes=1 << 24)
    async with WebSocketService() as service, open_services(settings=settings) as services:
        transport = WebSocketTransport(services)
        target = make_target(transport, {"url": service.ws + "/ws", "response_format": "text"})
        results: list[Any] = []

        async def call() -> None:
            with HeavyWork():
                results.append(await transport.call(target, make_call({"flood": 4_000_000}), discard))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                with Collecting(target.source.name) as other:
                    await other.grow(LARGE + 1)
                    group.start_soon(call)
                    await is_read.wait()
                    await anyio.wait_all_tasks_blocked()
                    assert results == []
        assert len(results[0].value) == 4_000_000
        await transport.aclose()
