"""webrtc: peers on four stacks that others wrote, met over the PeerJS server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from tests.interop.serving import free_port, serving
from tests.interop.software import Npm

from utcp_bridge.errors import InvalidArguments, Rejected

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

SERVERS = Path(__file__).parent / "servers"
PEER = Npm("peer@1.0.2", program="peerjs")
LIBWEBRTC = Npm("@roamhq/wrtc@0.10.0 ws@8.23.0")
WERIFT = Npm("werift@0.24.4 ws@8.23.0")
LIBDATACHANNEL = Npm("node-datachannel@0.33.4 ws@8.23.0")
PEERJS = Npm("peerjs@1.5.5 @roamhq/wrtc@0.10.0 ws@8.23.0")
STACKS = {"@roamhq/wrtc": LIBWEBRTC, "werift": WERIFT, "node-datachannel/polyfill": LIBDATACHANNEL}


def present(port: int) -> list[str]:
    """Who is at the PeerJS server."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/peerjs/peers", timeout=60) as reply:
        return json.load(reply)


@contextmanager
def signalling() -> Iterator[int]:
    port = free_port()
    command = [PEER.command, "--port", str(port), "--host", "127.0.0.1", "--allow_discovery"]
    with serving(command, port=port, environment=PEER.environment):
        yield port


@contextmanager
def answering(port: int, software: Npm, *command: Any) -> Iterator[None]:
    """A peer called `tools`, once it is known to the signalling server."""
    ready: Callable[[], bool] = lambda: "tools" in present(port)  # noqa: E731
    parts = [software.command, SERVERS / command[0], *command[1:], str(port), "tools"]
    with serving(parts, ready=ready, environment=software.environment):
        yield


def entry(port: int, **fields: Any) -> dict[str, Any]:
    url = f"ws://127.0.0.1:{port}"
    return {"name": "p", "call_template_type": "webrtc", "signaling_server": url, "peer_id": "tools", **fields}


async def _show(client: Any) -> None:
    """What every peer of webrtc_answers.cjs can do."""
    assert {tool.name for tool in client.tools() if tool.manual == "p"} == {"echo", "fail", "count"}
    assert await client.call_tool("p.echo", {"x": "é"}) == {"x": "é"}
    assert await client.call_tool("p.count", {"to": 3}) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [piece["n"] async for piece in client.call_tool_streaming("s.count", {"to": 50})] == list(range(50))
    with pytest.raises(Rejected, match="no tea"):
        await client.call_tool("p.fail", {})


@pytest.mark.parametrize(
    "stack", [pytest.param(name, marks=pytest.mark.needs(PEER, one)) for name, one in STACKS.items()]
)
async def test_a_peer_on_another_stack_is_found_called_and_streamed_from(opened, stack: str) -> None:
    with signalling() as port, answering(port, STACKS[stack], "webrtc_stack.cjs", stack):
        async with opened(entry(port), entry(port, name="s", stream=True, signaling="peerjs")) as client:
            await _show(client)


@pytest.mark.needs(PEER, PEERJS)
@pytest.mark.parametrize("serialization", ["raw", "json"])
async def test_a_page_with_the_peerjs_client_is_found_called_and_streamed_from(opened, serialization: str) -> None:
    fields = {"signaling": "peerjs", "serialization": serialization}
    with signalling() as port, answering(port, PEERJS, "webrtc_peerjs.cjs"):
        async with opened(entry(port, **fields), entry(port, name="s", stream=True, **fields)) as client:
            await _show(client)


@pytest.mark.needs(PEER, WERIFT)
async def test_the_largest_message_that_werift_takes_is_kept_to(opened) -> None:
    with signalling() as port, answering(port, WERIFT, "webrtc_stack.cjs", "werift"):
        async with opened(entry(port), entry(port, name="once", message_form="args")) as client:
            with pytest.raises(InvalidArguments, match=r"65,536.*message_form"):
                await client.call_tool("p.echo", {"x": "x" * 60_000})
            assert len((await client.call_tool("once.echo", {"x": "x" * 60_000}))["x"]) == 60_000


@pytest.mark.needs(PEER)
async def test_the_peerjs_server_says_who_is_absent_and_which_key_is_wrong(opened) -> None:
    with signalling() as port:
        wrong = entry(port, name="w", signaling_server=f"ws://127.0.0.1:{port}/?key=other", signaling="peerjs")
        async with opened(entry(port, peer_id="nobody"), wrong) as client:
            errors = {state.name: str(state.error) for state in client.report()}
    assert "peer not found" in errors["p"]
    assert "Invalid key" in errors["w"]


@pytest.mark.needs(PEER, LIBDATACHANNEL)
async def test_a_peer_that_was_restarted_is_met_again(opened) -> None:
    command = (LIBDATACHANNEL, "webrtc_stack.cjs", "node-datachannel/polyfill")
    with signalling() as port, ExitStack() as first:
        first.enter_context(answering(port, *command))
        async with opened(entry(port)) as client:
            assert await client.call_tool("p.echo", {"x": 1}) == {"x": 1}
            await anyio.to_thread.run_sync(first.close)  # our side hears the goodbye meanwhile
            with answering(port, *command):
                assert await client.call_tool("p.echo", {"x": 2}) == {"x": 2}
