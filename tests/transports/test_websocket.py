"""The shared suite against a real WebSocket server, and its three wire forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest
from pydantic import ValidationError
from tests.support.services import make_call, make_target, open_services
from tests.transports.contract import *  # noqa: F403 - the suite's fixtures and tests
from tests.transports.contract import CANARY, Case, Peer
from tests.upstreams.websocket_service import WebSocketService

from utcp_bridge.config import BridgeSettings
from utcp_bridge.errors import ConnectionLost, MalformedReply, ManualError, Rejected, UtcpError
from utcp_bridge.model import Binary, JsonObject, Result, discard
from utcp_bridge.transports.websocket import WebSocketTransport

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
    """A healthy server answers discovery whatever a call would do, so other paths are asked."""
    async with WebSocketService() as service, open_services() as services:
        transport = WebSocketTransport(services)
        with anyio.fail_after(10), pytest.raises(UtcpError):
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
        with anyio.fail_after(10):
            return await transport.call(target, make_call(arguments, name=name), emit)


async def test_a_message_is_the_template_or_the_arguments() -> None:
    async with WebSocketService() as service:
        template = {"action": "get", "id": "UTCP_ARG_id_UTCP_ARG", "more": "{{more|default:3}}"}
        sent = await _call(service, "/ws", {"id": "a"}, message=template, protocol="utcp")
        assert sent.value == {"action": "get", "id": "a", "more": 3, "protocol": "utcp"}
        assert (await _call(service, "/ws", {"w": "x"}, message="hello UTCP_ARG_w_UTCP_ARG")).value == "hello x"


async def test_replies_are_read_as_the_template_says() -> None:
    async with WebSocketService() as service:
        assert (await _call(service, "/ws", {"say": "[1]"})).value == [1]
        assert (await _call(service, "/ws", {"say": "[1"})).value == "[1"
        assert (await _call(service, "/ws", {"say": "[1]"}, response_format="text")).value == "[1]"
        assert (await _call(service, "/ws", {"say": "7"}, response_format="json")).value == 7
        assert (await _call(service, "/ws", {"bytes": True})).value == Binary(b"\x00\x01")
        assert (await _call(service, "/ws", {"count": 5}, expected_responses=2)).value == [{"n": 0}, {"n": 1}]


async def test_an_envelope_finds_its_own_reply_between_pushes() -> None:
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


async def test_close_codes_are_told_and_streams_are_cut_at_their_limit() -> None:
    async with WebSocketService() as service:
        with pytest.raises(ConnectionLost, match="4000 as asked"):
            await _call(service, "/ws", {"close": 4000})
        with pytest.raises(ConnectionLost, match="before it had answered"):
            await _call(service, "/ws", {"close": 1000})
        with pytest.raises(ConnectionLost, match=r"nothing for 0\.05 seconds"):
            await _call(service, "/ws", {"slow": True}, settings=BridgeSettings(idle_timeout=0.05))
        cut = await _call(
            service, "/ws", {"count": 9}, expected_responses=-1, settings=BridgeSettings(max_stream_events=2)
        )
        assert cut == Result([{"n": 0}, {"n": 1}], truncated="the stream was cut at 2 results")
        with pytest.raises(MalformedReply):
            await _call(service, "/ws", {"say": "{"}, response_format="json")


async def test_a_server_without_a_manual_names_the_remedy() -> None:
    async with WebSocketService() as service, open_services() as services:
        transport = WebSocketTransport(services)
        with anyio.fail_after(15), pytest.raises(ManualError, match="local manual"):
            await transport.discover(make_target(transport, {"url": f"{service.ws}/path/echo"}))


def test_only_web_socket_urls_are_taken() -> None:
    assert make_target(WebSocketTransport, {"url": "https://a.example/x"}).template.url == "wss://a.example/x"
    assert WebSocketTransport.endpoint(make_target(WebSocketTransport, {"url": "ws://a/"}).template) == "ws://a/"
    with pytest.raises(ValidationError, match="ws://"):
        make_target(WebSocketTransport, {"url": "ftp://a.example/x"})
