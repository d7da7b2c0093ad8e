"""A connection between two real peers in this process, and which parts of a peer's description are used."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

pytest.importorskip("aiortc", reason="the extra [webrtc] is not installed")

from tests.upstreams.webrtc_peer import HAS_ADDRESS, WebRtcService

from utcp_bridge.errors import ConfigError, ConnectionLost, InvalidArguments, MalformedReply, MissingExtra, Unreachable
from utcp_bridge.model import Source, Trust
from utcp_bridge.net.guard import Guard
from utcp_bridge.transports.webrtc.channel import (
    DataChannelOptions,
    WebRtcChannel,
    load_aiortc,
    max_message_size,
    with_admitted_candidates,
)
from utcp_bridge.transports.webrtc.ice import IcePolicy
from utcp_bridge.transports.webrtc.messages import ReplyLimits, call_message

pytestmark = pytest.mark.anyio

OPERATOR = Source(name="m")
FETCHED = Source(name="m", trust=Trust.REMOTE, origin="https://signal.example.com")
LIMITS = ReplyLimits(size=100_000, idle=5.0)
ADDRESS = pytest.mark.skipif(not HAS_ADDRESS, reason="this machine has no address besides loopback")


def _line(address: str) -> str:
    return f"a=candidate:1 1 udp 2130706431 {address} 5000 typ host"


@pytest.fixture
async def channel() -> AsyncIterator[WebRtcChannel]:
    made = WebRtcChannel(await load_aiortc(), DataChannelOptions(), "Peer 'p'", IcePolicy(Guard(), OPERATOR, "any"))
    yield made
    await made.aclose()


async def _open(channel: WebRtcChannel, service: WebRtcService, *, candidates: bool = True) -> None:
    sdp = await service.answer(await channel.offer(), "p", {})
    lines = sdp.splitlines()
    held = [line.removeprefix("a=") for line in lines if line.startswith("a=candidate:")]
    if not candidates:
        lines = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of"))]
    await channel.accept("\r\n".join(lines) + "\r\n")
    if not candidates:
        for text in held:
            await channel.add_candidate({"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0})
    await channel.opened()


@pytest.mark.parametrize(
    ("sdp", "size"),
    [
        ("v=0\r\na=max-message-size:1000\r\n", 1000),
        ("v=0\r\n", 65_536),
        ("a=max-message-size:0\r\n", 262_144),
        ("a=max-message-size:1073741823\r\n", 262_144),
    ],
)
def test_the_peer_names_the_largest_message(sdp: str, size: int) -> None:
    assert max_message_size(sdp) == size


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "224.0.0.1", "0.0.0.0", "fe80::1", "100.100.100.200", "::ffff:169.254.0.1"]
)
def test_a_peer_cannot_have_a_link_local_or_multicast_address(address: str) -> None:
    for peers in ("any", "not loopback", "public"):
        assert not IcePolicy(Guard(), FETCHED, peers).admit(address, 5000)


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "fd00::1", "7d0c.local"])
def test_a_local_peer_needs_a_signalling_server_that_the_operator_chose(address: str) -> None:
    assert IcePolicy(Guard(), FETCHED, "any").admit(address, 5000)
    assert not IcePolicy(Guard(), FETCHED, "public").admit(address, 5000)


def test_a_public_address_is_allowed_for_all_peers() -> None:
    assert IcePolicy(Guard(), FETCHED, "public").admit("8.8.8.8", 5000)


def test_refused_candidates_are_removed() -> None:
    kept = with_admitted_candidates(
        "\r\n".join(["v=0", _line("10.0.0.1"), _line("8.8.8.8"), "a=candidate:torn", "a=mid:0"]),
        IcePolicy(Guard(), FETCHED, "public").admit,
    )
    assert kept.splitlines() == ["v=0", _line("8.8.8.8"), "a=mid:0"]


async def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiortc", None)
    with pytest.raises(MissingExtra, match=r"\[webrtc\]"):
        await load_aiortc()


async def test_an_invalid_ice_server_is_a_configuration_error() -> None:
    options = DataChannelOptions(ice_servers=[{"urls": ["https://turn.example.com"]}])
    made = WebRtcChannel(await load_aiortc(), options, "Peer 'p'", IcePolicy(Guard(), OPERATOR, "any"))
    with pytest.raises(ConfigError, match="ice_servers"):
        await made.offer()
    await made.aclose()


async def test_an_invalid_session_description_is_malformed(channel: WebRtcChannel) -> None:
    with anyio.fail_after(60):
        await channel.offer()
        with pytest.raises(MalformedReply, match="session description"):
            await channel.accept("hello")


@pytest.mark.parametrize(
    "candidate",
    [{}, {"candidate": "candidate:1 1 udp x 10.0.0.1 5000 typ host"}, {"candidate": _line("169.254.169.254")[2:]}],
)
async def test_an_unusable_candidate_is_ignored(channel: WebRtcChannel, candidate: dict[str, Any]) -> None:
    with anyio.fail_after(60):
        await channel.add_candidate(candidate)
    assert not channel.is_open


async def test_a_channel_that_is_closed_while_it_opens_is_unreachable(channel: WebRtcChannel) -> None:
    with anyio.fail_after(60):
        await channel.aclose()
        with pytest.raises(Unreachable, match="no connection"):
            await channel.opened()


@ADDRESS
@pytest.mark.parametrize("candidates", [True, False])
async def test_a_question_gets_its_reply(channel: WebRtcChannel, candidates: bool) -> None:
    async with WebRtcService() as service:
        with anyio.fail_after(60):
            await _open(channel, service, candidates=candidates)
            reply = await channel.ask(call_message("echo", {"text": "a"}), LIMITS)
    assert reply["result"] == {"text": "a", "tool": "echo"}
    assert service.labels == ["tools"]


@ADDRESS
async def test_a_message_above_the_peers_limit_is_not_sent(channel: WebRtcChannel) -> None:
    async with WebRtcService() as service:
        with anyio.fail_after(60):
            await _open(channel, service)
            with pytest.raises(InvalidArguments, match="262,144"):
                await channel.ask(call_message("echo", {"text": "x" * 300_000}), LIMITS)
            assert service.received == []
            assert channel.is_open


@ADDRESS
async def test_a_silent_peer_is_a_lost_connection(channel: WebRtcChannel) -> None:
    async with WebRtcService() as service:
        with anyio.fail_after(60):
            await _open(channel, service)
            with pytest.raises(ConnectionLost, match=r"nothing for 0\.05 seconds"):
                await channel.ask(call_message("echo", {"slow": True}), ReplyLimits(1000, 0.05))
            with pytest.raises(Unreachable, match="closed"):
                await channel.ask(call_message("echo", {}), LIMITS)


@ADDRESS
async def test_closing_ends_the_calls_in_flight(channel: WebRtcChannel) -> None:
    async with WebRtcService() as service:
        with anyio.fail_after(60):
            await _open(channel, service)

            async def close() -> None:
                await service.slow_arrived.wait()
                await channel.aclose()

            async with anyio.create_task_group() as group:
                group.start_soon(close)
                with pytest.raises(ConnectionLost):
                    await channel.ask(call_message("echo", {"slow": True}), LIMITS)


@ADDRESS
async def test_a_goodbye_ends_the_channel(channel: WebRtcChannel) -> None:
    async with WebRtcService() as service:
        with anyio.fail_after(60):
            await _open(channel, service)
            goodbye = {"answer": {"__peerData": {"type": "close"}}}
            with pytest.raises(ConnectionLost):
                await channel.ask(call_message("echo", goodbye), LIMITS)
            assert not channel.is_open
