"""Signalling: the ways to meet a peer, how `auto` finds the one that serves, and every way of being refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest
from aiohttp import web

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected, Unreachable
from utcp_bridge.model import JsonObject, Source
from utcp_bridge.testing.services import LOOPBACK, open_services
from utcp_bridge.transports.webrtc import signalling as webrtc_signalling
from utcp_bridge.transports.webrtc.meeting import Meeting
from utcp_bridge.transports.webrtc.signalling import connect

pytestmark = pytest.mark.anyio

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Line:
    """Stands where the WebRTC connection stands: notes what signalling hands it."""

    def __init__(self, *, opens_after: int = 0) -> None:
        self.tools: Any = None
        self.accepted: list[str] = []
        self.candidates: list[JsonObject] = []
        self._opens_after = opens_after
        self.enough = anyio.Event()

    async def offer(self) -> str:
        return "v=0 offer"

    async def accept(self, sdp: str) -> None:
        self.accepted.append(sdp)
        self._look()

    async def add_candidate(self, candidate: JsonObject) -> None:
        self.candidates.append(candidate)
        self._look()

    async def opened(self) -> None:
        await self.enough.wait()

    def _look(self) -> None:
        if len(self.candidates) >= self._opens_after:
            self.enough.set()


@asynccontextmanager
async def _served(handler: Serve, way: Any = "auto") -> AsyncGenerator[Meeting]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    scheme, way = ("ws", "auto") if way == "auto-ws" else ("ws" if way in {"peerjs", "websocket"} else "http", way)
    try:
        async with open_services() as services:
            yield Meeting(
                session=services.http.session(Source(name="m", allow_networks=LOOPBACK)),
                url=f"{scheme}://127.0.0.1:{runner.addresses[0][1]}",
                way=way,
                peer_id="p",
                label="tools",
                where="Peer 'p'",
            )
    finally:
        await runner.cleanup()


async def _meet(handler: Serve, way: Any = "auto", *, opens_after: int = 0) -> Line:
    line = Line(opens_after=opens_after)
    async with _served(handler, way) as meeting:
        with anyio.fail_after(10):
            await connect(line, meeting)  # type: ignore[arg-type]  # the parts of a channel that signalling uses
    return line


def _peerjs(*frames: JsonObject | str) -> Serve:
    """A PeerJS server that opens, waits for the offer, and then sends `frames`; `$id` is the connection's id."""

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "OPEN"})
        offer = await socket.receive_json()
        assert offer["dst"] == "p"
        assert offer["payload"]["sdp"] == {"type": "offer", "sdp": "v=0 offer"}
        for frame in frames:
            if isinstance(frame, str):
                await socket.send_str(frame)
            else:
                payload = frame.get("payload", {})
                known = {"connectionId": offer["payload"]["connectionId"], **payload}
                await socket.send_json({"src": "p", **frame, "payload": known})
        await socket.receive()
        return socket

    return handler


ANSWER = {"type": "ANSWER", "payload": {"sdp": {"type": "answer", "sdp": "v=0 answer"}}}


PLAIN_ANSWER = {"type": "answer", "sdp": "v=0 answer", "tools": [1]}


def _plain(*frames: JsonObject) -> Serve:
    """A signalling server at / that waits for the offer and then sends `frames`; nothing is anywhere else."""

    async def handler(request: web.Request) -> web.WebSocketResponse:
        if request.path != "/":
            raise web.HTTPNotFound
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert (await socket.receive_json())["type"] == "offer"
        for frame in frames:
            await socket.send_json(frame)
        await socket.receive()
        return socket

    return handler


def _candidate(text: str, **fields: Any) -> JsonObject:
    return {"type": "CANDIDATE", "payload": {"candidate": {"candidate": text}}, **fields}


async def test_a_server_that_knows_no_connect_is_asked_as_rust_does() -> None:
    asked: list[tuple[str, set[str]]] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append((request.path, set(await request.json())))
        if request.path == "/connect":
            raise web.HTTPMethodNotAllowed("POST", [])
        return web.json_response({"sdp": "v=0 answer", "candidates": ["c"], "tools": [1]})

    line = await _meet(handler)
    assert asked == [("/connect", {"peer_id", "type", "sdp"}), ("/", {"type", "sdp"})]
    assert (line.accepted, line.candidates, line.tools) == (["v=0 answer"], [{"candidate": "c"}], [1])


@pytest.mark.parametrize("way", ["auto", "connect", "post"])
async def test_a_peer_that_signalling_does_not_know_is_not_found(way: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    with pytest.raises(Unreachable, match="peer not found"):
        await _meet(handler, way)


async def test_another_status_is_a_rejection() -> None:
    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPForbidden

    with pytest.raises(Rejected, match="403"):
        await _meet(handler)


async def test_peerjs_candidates_before_and_after_the_answer_are_taken() -> None:
    stranger = _candidate("stranger", src="another")
    other = {"type": "CANDIDATE", "payload": {"connectionId": "dc_other", "candidate": {"candidate": "other"}}}
    frames = [_candidate("early"), {"type": "NEWS"}, ANSWER, stranger, other, {"type": "NEWS"}, _candidate("late")]
    line = await _meet(_peerjs(*frames), "peerjs", opens_after=2)
    assert line.accepted == ["v=0 answer"]
    assert [candidate.get("candidate") for candidate in line.candidates] == ["early", "late"]


@pytest.mark.parametrize("kind", ["EXPIRE", "LEAVE"])
async def test_a_peer_that_peerjs_does_not_know_is_not_found(kind: str) -> None:
    with pytest.raises(Unreachable, match="peer not found"):
        await _meet(_peerjs({"type": kind}), "peerjs")


@pytest.mark.parametrize(
    ("frame", "error"), [({"type": "ERROR"}, Rejected), ("[]", MalformedReply), ("{", MalformedReply)]
)
async def test_what_else_peerjs_may_say_is_a_typed_error(frame: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await _meet(_peerjs(frame), "peerjs")


@pytest.mark.parametrize("frame", [{"type": "ERROR", "payload": {"msg": "Invalid key provided"}}, {"type": "ID-TAKEN"}])
async def test_a_refused_entry_says_why(frame: JsonObject) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(frame)
        return socket

    with pytest.raises(Rejected, match=r"Invalid key|ID-TAKEN"):
        await _meet(handler, "peerjs")


async def test_a_signalling_line_that_closes_is_lost() -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        return socket

    with pytest.raises(ConnectionLost, match="signalling server closed"):
        await _meet(handler, "peerjs")


async def test_heartbeats_keep_a_long_wait_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_signalling, "_HEARTBEAT_SECONDS", 0.01)
    seen: list[str] = []

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "OPEN"})
        while len(seen) < 3:
            seen.append((await socket.receive_json())["type"])
        await socket.send_json(ANSWER)
        await socket.receive()
        return socket

    await _meet(handler, "peerjs")
    assert seen == ["OFFER", "HEARTBEAT", "HEARTBEAT"]


async def test_signalling_that_closes_after_the_answer_no_longer_matters() -> None:
    line = Line(opens_after=1)

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "OPEN"})
        await socket.receive()
        await socket.send_json(ANSWER)
        await socket.close()
        line.enough.set()
        return socket

    async with _served(handler, "peerjs") as meeting:
        with anyio.fail_after(10):
            await connect(line, meeting)  # type: ignore[arg-type]  # the parts of a channel that signalling uses
    assert line.accepted == ["v=0 answer"]


async def test_candidates_before_and_after_a_plain_answer_are_taken() -> None:
    early, late = ({"type": "ice_candidate", "candidate": {"candidate": text}} for text in ("early", "late"))
    line = await _meet(
        _plain(early, {"type": "presence"}, PLAIN_ANSWER, PLAIN_ANSWER, late), "websocket", opens_after=2
    )
    assert (line.accepted, line.tools) == (["v=0 answer"], [1])
    assert [candidate["candidate"] for candidate in line.candidates] == ["early", "late"]


async def test_auto_speaks_plainly_where_a_websocket_is_served() -> None:
    line = await _meet(_plain(PLAIN_ANSWER), "auto-ws")
    assert line.accepted == ["v=0 answer"]


async def test_auto_goes_straight_to_peerjs_where_the_path_names_it() -> None:
    served, asked = _peerjs(ANSWER), list[str]()

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await served(request)

    line = Line()
    async with _served(handler, "auto-ws") as meeting:
        with anyio.fail_after(10):
            await connect(line, replace(meeting, url=f"{meeting.url}/app/peerjs"))  # type: ignore[arg-type]
    assert (line.accepted, asked) == (["v=0 answer"], ["/app/peerjs"])


@pytest.mark.parametrize("status", [400, 404, 426])
async def test_auto_takes_a_server_that_refuses_the_bare_address_for_peerjs(status: int) -> None:
    served = _peerjs(ANSWER)
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await served(request) if request.path == "/peerjs" else web.Response(status=status)

    line = await _meet(handler, "auto-ws")
    assert line.accepted == ["v=0 answer"]
    assert asked == ["/", "/peerjs"]


async def test_auto_tells_how_the_operators_own_address_was_refused() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=405 if request.path == "/" else 404)

    with pytest.raises(Rejected) as caught:
        await _meet(handler, "auto-ws")
    assert caught.value.status == 405


@pytest.mark.parametrize("path", ["/", "/peerjs"])
async def test_auto_does_not_try_further_where_entry_is_forbidden(path: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=403 if request.path == path else 404)

    with pytest.raises(Rejected) as caught:
        await _meet(handler, "auto-ws")
    assert caught.value.status == 403
