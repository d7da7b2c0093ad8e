"""Streams over WebRTC: pieces in all forms, each way to end, and no effect on other calls."""

from __future__ import annotations

import anyio
import pytest

pytest.importorskip("aiortc", reason="the extra [webrtc] is not installed")

from tests.support.loop_clock import time_passes
from tests.support.webrtc_session import open_session
from tests.upstreams.webrtc_peer import HAS_ADDRESS

from utcp_bridge import BridgeSettings
from utcp_bridge.errors import ConnectionLost
from utcp_bridge.model import Source, Tool
from utcp_bridge.transports.webrtc.transport import WebRtcTransport

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not HAS_ADDRESS, reason="this machine has no address besides loopback, and ICE offers no other"),
]


async def test_a_streams_bare_pieces_end_when_the_peer_closes() -> None:
    async with open_session(signalling="rust") as session:
        seen, result = await session.stream(50)
        assert seen == result.value == [{"n": number} for number in range(50)]
        assert result.truncated is None
        assert session.service.received[0]["method"] == "call_tool_stream"


async def test_a_stream_has_its_own_connection_and_does_not_affect_the_kept_one() -> None:
    async with open_session() as session:
        await session.call({"text": "a"})
        seen, _ = await session.stream(3)
        assert seen == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert (await session.call({"text": "b"}))["text"] == "b"
        assert len(session.service.offers) == 2


async def test_a_reply_in_pieces_is_emitted_without_stream() -> None:
    async with open_session() as session:
        seen, result = await session.stream(3, stream=False)
        assert seen == result.value == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert (await session.call({"text": "b"}))["text"] == "b"
        assert len(session.service.offers) == 1


async def test_a_stream_that_a_peer_leaves_before_its_first_piece_is_lost() -> None:
    async with open_session() as session:
        with pytest.raises(ConnectionLost):
            await session.call({}, stream=True, peer_id="resetting")


async def test_a_stream_without_values_is_lost_and_one_that_stops_is_cut() -> None:
    async with open_session() as session:
        async with time_passes(30, after=session.service.slow_arrived):
            with pytest.raises(ConnectionLost, match="nothing for 30 seconds"):
                await session.call({"slow": True}, stream=True)
        async with time_passes(30, after=session.emitted):
            seen, result = await session.stream(9, peer_id="mute")
        assert (seen, result.value) == ([{"n": 0}], [{"n": 0}])
        assert result.truncated == "nothing arrived for 30 seconds"


async def test_a_stream_is_cut_at_the_limit_of_results() -> None:
    async with open_session(BridgeSettings(max_stream_events=4)) as session:
        seen, result = await session.stream(9)
        assert len(seen) == len(result.value) == 4
        assert result.truncated == "the stream was cut at 4 results"


async def test_a_cancelled_stream_ends_for_the_peer() -> None:
    async with open_session() as session:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await session.call({"slow": True}, stream=True)

            group.start_soon(run)
            await session.service.slow_arrived.wait()
            group.cancel_scope.cancel()
        await session.service.slow_gone.wait()


def test_a_stream_has_the_time_limit_of_streams() -> None:
    asked = {"call_template_type": "webrtc", "signaling_server": "https://s.example.com", "stream": True}
    for template, streams in ((asked, True), ({**asked, "stream": False}, False)):
        tool = Tool(source=Source(name="peer"), name="t", kind="webrtc", template=template)
        assert WebRtcTransport.is_streaming(tool) is streams
