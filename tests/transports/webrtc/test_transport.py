"""The shared suite against a real WebRTC peer, and all forms of signalling and messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

pytest.importorskip("aiortc", reason="the extra [webrtc] is not installed")

from tests.support.loop_clock import time_passes
from tests.support.webrtc_session import open_session
from tests.upstreams.webrtc_peer import HAS_ADDRESS, TOOLS, WebRtcService

from utcp_bridge import UtcpClient, UtcpClientConfig
from utcp_bridge.errors import ConnectionLost, InvalidArguments, Rejected, Unreachable
from utcp_bridge.model import JsonObject, discard
from utcp_bridge.testing.contract import CANARY, Case, Peer
from utcp_bridge.testing.services import make_target, open_services
from utcp_bridge.transports.webrtc import transport as webrtc
from utcp_bridge.transports.webrtc.channel import WebRtcChannel
from utcp_bridge.transports.webrtc.messages import CallInbox, ReplyLimits
from utcp_bridge.transports.webrtc.transport import WebRtcTransport

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not HAS_ADDRESS, reason="this machine has no address besides loopback, and ICE offers no other"),
]


class WebRtcPeer(Peer):
    transport = WebRtcTransport
    streams = True

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

    def stream(self, count: int) -> Case:
        return Case(self.template(stream=True), {"count": count})

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


async def test_tools_come_with_the_signalling_answer_and_are_fresh_each_time() -> None:
    async with open_session(tools_in_answer=True) as session:
        assert await session.discover() == {"tools": TOOLS}
        assert await session.discover() == {"tools": TOOLS}
        assert len(session.service.offers) == 2
        assert session.service.received == []
        assert (await session.call({"text": "a"}))["text"] == "a"
        assert len(session.service.offers) == 2


async def test_rusts_signalling_and_replies_without_ids_work() -> None:
    async with open_session(signalling="rust") as session:
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
async def test_a_peer_is_reached_over_peerjs(peer_id: str, serialization: str) -> None:
    fields = {"peer_id": peer_id, "serialization": serialization, "signaling": "peerjs"}
    async with open_session(signalling="peerjs") as session:
        assert (await session.call({"text": "a"}, **fields))["text"] == "a"
        assert session.service.frames[0]["payload"]["serialization"] == serialization


async def test_an_absent_peerjs_peer_is_not_found() -> None:
    async with open_session(signalling="peerjs") as session:
        url = session.service.url.replace("http", "ws")
        with pytest.raises(Unreachable, match="peer not found"):
            await session.call({}, peer_id="absent", signaling_server=url)
        with pytest.raises(Rejected, match="Invalid key"):
            await session.call({}, signaling_server=f"{url}?key=other")


@pytest.mark.parametrize("signaling", ["auto", "websocket"])
async def test_a_peer_is_reached_by_messages_over_a_websocket(signaling: str) -> None:
    async with open_session(signalling="plain") as session:
        url = session.service.url if signaling == "websocket" else session.service.url.replace("http", "ws")
        fields = {"signaling_server": url, "signaling": signaling}
        assert await session.discover(**fields) == {"tools": TOOLS}
        assert (await session.call({"text": "a"}, **fields))["text"] == "a"
        assert len(session.service.frames) == 1
        assert session.service.frames[0]["peer_id"] == "tools"


@pytest.mark.parametrize("peer_id", ["elixir", "specified"])
async def test_peers_that_know_only_one_form_of_message_work(peer_id: str) -> None:
    async with open_session(signalling="plain") as session:
        assert await session.call({"text": "a"}, peer_id=peer_id, signaling="websocket") == {"text": "a"}


async def test_a_peer_that_is_not_at_the_signalling_server_is_not_found() -> None:
    async with open_session(signalling="plain") as session:
        with pytest.raises(Unreachable, match="peer not found"):
            await session.call({}, peer_id="absent", signaling="websocket")


async def test_calls_that_wait_for_an_absent_peer_share_one_attempt() -> None:
    async with open_session(signalling="peerjs") as session:

        async def one() -> None:
            with pytest.raises(Unreachable, match="peer not found"):
                await session.call({}, peer_id="absent", signaling="peerjs")

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(one)
        assert len(session.service.frames) == 1
        await one()
        assert len(session.service.frames) == 2


async def test_one_connection_serves_concurrent_calls_and_is_opened_again_after_a_loss() -> None:
    async with open_session() as session:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(session.call, {"text": "a"})
        assert len(session.service.offers) == 1
        await session.service.leave()
        assert (await session.call({"text": "b"}))["text"] == "b"
        assert len(session.service.offers) == 2
        await session.transport.forget("peer")
        assert session.service.offers[0]["type"] == "offer"


async def test_a_connection_that_is_closed_before_sending_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = WebRtcChannel.exchange
    asked: list[WebRtcChannel] = []

    @asynccontextmanager
    async def first_closed(channel: WebRtcChannel, *given: Any) -> AsyncGenerator[CallInbox]:
        asked.append(channel)
        if len(asked) == 1:
            await channel.aclose()
        async with exchange(channel, *given) as inbox:
            yield inbox

    monkeypatch.setattr(WebRtcChannel, "exchange", first_closed)
    async with open_session() as session:
        assert (await session.call({"text": "b"}))["text"] == "b"
        assert len(session.service.offers) == 2


async def test_a_peer_that_leaves_mid_call_is_a_lost_connection_at_once() -> None:
    async with open_session() as session:

        async def leave() -> None:
            await session.service.slow_arrived.wait()
            await session.service.leave()

        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            with anyio.fail_after(60), pytest.raises(ConnectionLost):
                await session.call({"slow": True})


async def test_a_cancelled_call_does_not_affect_the_others() -> None:
    async with open_session() as session:
        await session.call({"text": "a"})
        async with anyio.create_task_group() as group:
            group.start_soon(session.call, {"slow": True})
            await session.service.slow_arrived.wait()
            async with anyio.create_task_group() as cancelled:
                cancelled.start_soon(session.call, {"slow": True})
                await anyio.wait_all_tasks_blocked()
                cancelled.cancel_scope.cancel()
            assert (await session.call({"text": "b"}))["text"] == "b"
            group.cancel_scope.cancel()
        assert len(session.service.offers) == 1


async def test_a_message_too_large_for_the_peer_names_the_limit() -> None:
    async with open_session() as session:
        with pytest.raises(InvalidArguments, match="262,144"):
            await session.call({"text": "x" * 300_000})
        with pytest.raises(InvalidArguments, match="message_form"):
            await session.call({"text": "x" * 100_000})
        assert len((await session.call({"text": "x" * 100_000}, message_form="args"))["text"]) == 100_000
        assert len(session.service.offers) == 1


async def test_an_unknown_tool_is_called_by_its_other_name() -> None:
    unknown = {"answer": {"error": "Unknown tool echo"}}
    async with open_session() as session:
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
    async with open_session() as session:

        async def answer(*given: Any, **options: Any) -> str:
            await anyio.sleep_forever()
            raise AssertionError

        session.service.answer = answer  # type: ignore[method-assign]  # a signalling server that waits for ever
        with pytest.raises(Unreachable, match=r"no answer to the offer within [\d.]+ seconds"):
            await session.call({})


async def test_a_deadline_too_short_for_an_absent_peer_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "_OPENING_SECONDS", 600)
    monkeypatch.setattr(webrtc, "_MARGIN", 59.5)
    async with open_session() as session:

        async def answer(*given: Any, **options: Any) -> str:
            await anyio.sleep_forever()
            raise AssertionError

        session.service.answer = answer  # type: ignore[method-assign]
        with anyio.fail_after(60), pytest.raises(Unreachable, match=r"no answer to the offer.*longer `timeout`"):
            await session.call({})


async def test_a_peer_that_names_no_address_is_unreachable() -> None:
    async with open_session() as session:
        real = session.service.answer

        async def answer(*given: Any, **options: Any) -> str:
            sdp = await real(*given, **options)
            return "\r\n".join(line for line in sdp.splitlines() if not line.startswith("a=candidate:")) + "\r\n"

        session.service.answer = answer  # type: ignore[method-assign]
        with pytest.raises(Unreachable, match="no connection"):
            await session.call({})


async def test_the_error_of_an_unreachable_peer_says_that_it_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "_OPENING_SECONDS", 40)
    accept, accepted = WebRtcChannel.accept, anyio.Event()

    async def noted(channel: WebRtcChannel, sdp: str) -> None:
        await accept(channel, sdp)
        accepted.set()

    monkeypatch.setattr(WebRtcChannel, "accept", noted)
    async with open_session() as session:
        real = session.service.answer

        async def answer(*given: Any, **options: Any) -> str:
            sdp = await real(*given, **options)
            await session.service.leave()
            return sdp

        session.service.answer = answer  # type: ignore[method-assign]
        async with time_passes(40, after=accepted):
            with pytest.raises(Unreachable, match=r"it answered the offer, but no connection.*ice_servers"):
                await session.call({})


def test_a_channel_has_only_one_reliability_limit() -> None:
    both = {"signaling_server": "https://s.example.com", "max_retransmits": 1, "max_packet_life_time": 1}
    with pytest.raises(ValueError, match="cannot be used together"):
        make_target(WebRtcTransport, both)


async def test_the_channel_is_made_as_the_template_says() -> None:
    async with open_session() as session:
        fields = {"ordered": False, "max_retransmits": 3, "data_channel_name": "go", "channel_label": "rust"}
        await session.call({"text": "a"}, **fields)
        await session.call({"text": "a"}, channel_label="rust")
        assert session.service.labels == ["go", "rust"]


async def test_a_client_calls_tools_without_a_template_through_the_manual() -> None:
    async with WebRtcService() as service:
        entry = {"name": "peer", "call_template_type": "webrtc", "signaling_server": service.url, "peer_id": "tools"}
        config = UtcpClientConfig(manual_call_templates=(entry,))
        with anyio.fail_after(60):
            async with await UtcpClient.create(config) as client:
                assert await client.call_tool("peer.echo", {"text": "a"}) == {"text": "a", "tool": "echo"}


@pytest.mark.parametrize("signaling", ["connect", "post"])
def test_an_offer_that_is_posted_needs_an_http_address(signaling: str) -> None:
    fields = {"signaling_server": "wss://signal.example.com", "signaling": signaling}
    with pytest.raises(ValueError, match="needs an http"):
        make_target(WebRtcTransport, fields)


def test_the_endpoint_is_the_signalling_servers() -> None:
    fields = {"signaling_server": "https://signal.example.com/x"}
    template = make_target(WebRtcTransport, fields).template
    assert WebRtcTransport.endpoint(template) == "https://signal.example.com/x"
    for signaling in ("peerjs", "websocket"):
        template = make_target(WebRtcTransport, {**fields, "signaling": signaling}).template
        assert WebRtcTransport.endpoint(template) == "wss://signal.example.com/x"


def test_ice_servers_are_used_only_if_configured_and_their_secret_is_not_shown() -> None:
    fields: JsonObject = {"signaling_server": "https://signal.example.com"}
    assert make_target(WebRtcTransport, fields).template.options.ice_servers == []
    server = {"urls": ["turn:turn.example.com"], "username": "u", "credential": "canary"}
    template = make_target(WebRtcTransport, {**fields, "ice_servers": [server]}).template
    assert template.options.ice_servers == [server]
    assert "canary" not in repr(template) + repr(template.ice_servers) + repr(template.options)


async def test_what_came_before_the_connection_broke_is_kept_with_the_error() -> None:
    inbox = CallInbox("1", "the peer", ReplyLimits(1_000, 60))
    inbox.put({"id": "1", "partial": True, "result": "first"}, 40)
    inbox.end(ConnectionLost("The connection broke."))
    async with open_services() as services:
        with anyio.fail_after(60):
            result = await WebRtcTransport(services)._gather("m", inbox, discard)
    assert result.value == "first"
    assert isinstance(result.failure, ConnectionLost)
    assert result.truncated == "the stream is incomplete: The connection broke"
