"""The shared suite against a real WebRTC peer, and every signalling and message form."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

pytest.importorskip("aiortc", reason="the extra [webrtc] is not installed")

from tests.support.services import make_call, make_target, open_services
from tests.transports.contract import *  # noqa: F403 - the suite's fixtures and tests
from tests.transports.contract import CANARY, Case, Peer
from tests.upstreams.webrtc_peer import HAS_ADDRESS, TOOLS, WebRtcService

from utcp_bridge import UtcpClient, UtcpClientConfig
from utcp_bridge.errors import ConnectionLost, InvalidArguments, Rejected, Unreachable
from utcp_bridge.model import JsonObject, discard
from utcp_bridge.transports import webrtc
from utcp_bridge.transports.webrtc import WebRtcTransport
from utcp_bridge.wire.webrtc_channel import WebRtcChannel

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not HAS_ADDRESS, reason="this machine has no address besides loopback, and ICE offers no other"),
]


class WebRtcPeer(Peer):
    transport = WebRtcTransport

    def __init__(self) -> None:
        self.service = WebRtcService()

    async def start(self) -> None:
        await self.service.__aenter__()

    async def stop(self) -> None:
        await self.service.__aexit__()

    def template(self, **fields: Any) -> JsonObject:
        return {
            "call_template_type": "webrtc",
            "signaling_server": self.service.url,
            "peer_id": "tools",
            **fields,
        }

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

    def authenticated(self) -> bool:
        return self.service.headers.get("X-Auth") == CANARY

    def fault(self, name: str) -> Case:
        peers = {"refused": "absent", "reset": "resetting", "malformed": "malformed", "oversized": "flooding"}
        return Case(self.template(peer_id=peers[name]))

    def with_secret(self, case: Case, secret: str) -> Case:
        url = f"{case.template['signaling_server']}?key={secret}"
        return Case({**case.template, "signaling_server": url}, case.arguments, case.error)


PEER = WebRtcPeer


class Session:
    """One transport and one service, and calls between them."""

    def __init__(self, transport: WebRtcTransport, service: WebRtcService) -> None:
        self.transport = transport
        self.service = service

    def target(self, **fields: Any) -> Any:
        template = {"signaling_server": self.service.url, "peer_id": "tools", **fields}
        return make_target(self.transport, template)

    async def call(self, arguments: JsonObject, **fields: Any) -> Any:
        return await self.transport.call(self.target(**fields), make_call(arguments), discard)

    async def discover(self, **fields: Any) -> Any:
        return (await self.transport.discover(self.target(**fields))).content


@asynccontextmanager
async def _session(**options: Any) -> AsyncGenerator[Session]:
    async with WebRtcService(**options) as service, open_services() as services:
        transport = WebRtcTransport(services)
        try:
            with anyio.fail_after(15):
                yield Session(transport, service)
        finally:
            await transport.aclose()


async def test_tools_come_with_the_signalling_answer_and_are_fresh_each_time() -> None:
    async with _session(tools_in_answer=True) as session:
        assert await session.discover() == {"tools": TOOLS}
        assert await session.discover() == {"tools": TOOLS}
        assert len(session.service.offers) == 2
        assert session.service.received == []
        assert (await session.call({"text": "a"}))["text"] == "a"
        assert len(session.service.offers) == 2


async def test_rusts_signalling_and_replies_without_ids_are_understood() -> None:
    async with _session(signalling="rust") as session:
        assert await session.discover() == {"tools": TOOLS}
        got: dict[str, str] = {}

        async def one(text: str) -> None:
            got[text] = (await session.call({"text": text}))["text"]

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(one, str(number))
        assert got == {str(number): str(number) for number in range(20)}
        assert len(session.service.offers) == 1


@pytest.mark.parametrize("peer_id", ["tools", "trickling"])
@pytest.mark.parametrize("serialization", ["raw", "json"])
async def test_a_peer_is_met_over_peerjs(peer_id: str, serialization: str) -> None:
    fields = {"peer_id": peer_id, "serialization": serialization, "signaling": "peerjs"}
    async with _session(signalling="peerjs") as session:
        assert (await session.call({"text": "a"}, **fields))["text"] == "a"
        assert session.service.frames[0]["payload"]["serialization"] == serialization


async def test_an_absent_peerjs_peer_is_not_found() -> None:
    async with _session(signalling="peerjs") as session:
        url = session.service.url.replace("http", "ws")
        with pytest.raises(Unreachable, match="peer not found"):
            await session.call({}, peer_id="absent", signaling_server=url)
        with pytest.raises(Rejected, match="Invalid key"):
            await session.call({}, signaling_server=f"{url}?key=other")


async def test_one_connection_serves_concurrent_calls_and_is_opened_again_after_a_loss() -> None:
    async with _session() as session:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(session.call, {"text": "a"})
        assert len(session.service.offers) == 1
        await session.service.leave()
        assert (await session.call({"text": "b"}))["text"] == "b"
        assert len(session.service.offers) == 2
        await session.transport.forget("peer")
        assert session.service.offers[0]["type"] == "offer"


async def test_a_connection_found_closed_before_sending_is_opened_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = WebRtcChannel.ask
    asked: list[WebRtcChannel] = []

    async def first_closed(channel: WebRtcChannel, *given: Any) -> Any:
        asked.append(channel)
        if len(asked) == 1:
            await channel.aclose()
        return await ask(channel, *given)

    monkeypatch.setattr(WebRtcChannel, "ask", first_closed)
    async with _session() as session:
        assert (await session.call({"text": "b"}))["text"] == "b"
        assert len(session.service.offers) == 2


async def test_a_peer_that_leaves_mid_call_is_a_lost_connection_at_once() -> None:
    async with _session() as session:

        async def leave() -> None:
            await session.service.slow_arrived.wait()
            await session.service.leave()

        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            with anyio.fail_after(5), pytest.raises(ConnectionLost):
                await session.call({"slow": True})


async def test_a_cancelled_call_leaves_the_others_alone() -> None:
    async with _session() as session:
        await session.call({"text": "a"})
        async with anyio.create_task_group() as group:
            group.start_soon(session.call, {"slow": True})
            await session.service.slow_arrived.wait()
            with anyio.move_on_after(0.1):
                await session.call({"slow": True})
            assert (await session.call({"text": "b"}))["text"] == "b"
            group.cancel_scope.cancel()
        assert len(session.service.offers) == 1


async def test_a_message_too_large_for_the_peer_names_the_limit() -> None:
    async with _session() as session:
        with pytest.raises(InvalidArguments, match="262,144"):
            await session.call({"text": "x" * 300_000})


async def test_an_unknown_tool_is_asked_for_by_its_other_name() -> None:
    unknown = {"answer": {"error": "Unknown tool echo"}}
    async with _session() as session:
        with pytest.raises(Rejected, match="Unknown tool"):
            await session.call(unknown)
        assert [message["tool"] for message in session.service.received] == ["echo", "peer.echo"]
        for fields, name in (({"tool_name_style": "qualified"}, "peer.echo"), ({"tool_name": "other"}, "other")):
            session.service.received.clear()
            with pytest.raises(Rejected):
                await session.call(unknown, **fields)
            assert [message["tool"] for message in session.service.received] == [name]
        session.service.received.clear()
        with pytest.raises(Rejected, match="no tea"):
            await session.call({"answer": {"error": "no tea"}})
        assert len(session.service.received) == 1


async def test_a_peer_that_never_connects_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "_OPENING_SECONDS", 0.3)
    async with _session() as session:

        async def answer(*given: Any, **options: Any) -> str:
            await anyio.sleep_forever()
            raise AssertionError

        session.service.answer = answer  # type: ignore[method-assign]  # a signalling server that waits for ever
        with pytest.raises(Unreachable, match=r"within 0\.3 seconds"):
            await session.call({})


async def test_a_peer_that_names_no_address_is_unreachable() -> None:
    async with _session() as session:
        real = session.service.answer

        async def answer(*given: Any, **options: Any) -> str:
            sdp = await real(*given, **options)
            return "\r\n".join(line for line in sdp.splitlines() if not line.startswith("a=candidate:")) + "\r\n"

        session.service.answer = answer  # type: ignore[method-assign]
        with pytest.raises(Unreachable, match="no connection"):
            await session.call({})


def test_a_channel_has_one_kind_of_unreliability() -> None:
    both = {"signaling_server": "https://s.example.com", "max_retransmits": 1, "max_packet_life_time": 1}
    with pytest.raises(ValueError, match="exclude each other"):
        make_target(WebRtcTransport, both)


async def test_the_channel_is_made_as_the_template_says() -> None:
    async with _session() as session:
        fields = {"ordered": False, "max_retransmits": 3, "data_channel_name": "go", "channel_label": "rust"}
        await session.call({"text": "a"}, **fields)
        await session.call({"text": "a"}, channel_label="rust")
        assert session.service.labels == ["go", "rust"]


async def test_a_client_calls_tools_without_a_template_through_the_manual() -> None:
    async with WebRtcService() as service:
        entry = {"name": "peer", "call_template_type": "webrtc", "signaling_server": service.url, "peer_id": "tools"}
        config = UtcpClientConfig(manual_call_templates=(entry,))
        with anyio.fail_after(15):
            async with await UtcpClient.create(config) as client:
                assert await client.call_tool("peer.echo", {"text": "a"}) == {"text": "a", "tool": "echo"}


def test_the_endpoint_is_the_signalling_servers() -> None:
    fields = {"signaling_server": "https://signal.example.com/x"}
    template = make_target(WebRtcTransport, fields).template
    assert WebRtcTransport.endpoint(template) == "https://signal.example.com/x"
    peerjs = make_target(WebRtcTransport, {**fields, "signaling": "peerjs"}).template
    assert WebRtcTransport.endpoint(peerjs) == "wss://signal.example.com/x"


def test_ice_servers_are_asked_only_if_they_are_named_and_their_secret_is_not_shown() -> None:
    fields: JsonObject = {"signaling_server": "https://signal.example.com"}
    assert make_target(WebRtcTransport, fields).template.options.ice_servers == []
    server = {"urls": ["turn:turn.example.com"], "username": "u", "credential": "canary"}
    template = make_target(WebRtcTransport, {**fields, "ice_servers": [server]}).template
    assert template.options.ice_servers == [server]
    assert "canary" not in repr(template) + repr(template.ice_servers) + repr(template.options)
