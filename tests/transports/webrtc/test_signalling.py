"""Signalling: the ways to reach a peer, how `auto` chooses one, and each kind of refusal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from aiohttp import web
from tests.support.meetings import make_meeting
from tests.upstreams.websocket_service import BinarySocket

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected, Unreachable
from utcp_bridge.model import JsonObject, Source
from utcp_bridge.testing.services import LOOPBACK, open_services
from utcp_bridge.transports.webrtc import signalling as webrtc_signalling
from utcp_bridge.transports.webrtc.signalling import (
    Answer,
    Meeting,
    PeerJs,
    Plain,
    as_candidate,
    connect,
    peerjs_url,
    read_answer,
)

pytestmark = pytest.mark.anyio

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Line:
    """Replaces the WebRTC connection, and records what signalling passes to it."""

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
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
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
        with anyio.fail_after(60):
            await connect(line, meeting)  # type: ignore[arg-type]  # the parts of a channel that signalling uses
    return line


def _peerjs(*frames: JsonObject | str, sort: type[web.WebSocketResponse] = web.WebSocketResponse) -> Serve:
    """Return a PeerJS server that greets, waits for the offer, and then sends `frames`."""

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = sort()
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


def _plain(*frames: JsonObject, sort: type[web.WebSocketResponse] = web.WebSocketResponse) -> Serve:
    """Return a signalling server at / that waits for the offer and then sends `frames`; other paths are 404."""

    async def handler(request: web.Request) -> web.WebSocketResponse:
        if request.path != "/":
            raise web.HTTPNotFound
        socket = sort()
        await socket.prepare(request)
        assert (await socket.receive_json())["type"] == "offer"
        for frame in frames:
            await socket.send_json(frame)
        await socket.receive()
        return socket

    return handler


def _candidate(text: str, **fields: Any) -> JsonObject:
    return {"type": "CANDIDATE", "payload": {"candidate": {"candidate": text}}, **fields}


async def test_a_server_without_connect_gets_the_rust_librarys_request() -> None:
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


@pytest.mark.parametrize("status", [403, 500, 501])
async def test_another_status_is_a_rejection_that_says_what_to_check(status: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status)

    with pytest.raises(Rejected, match=rf"{status} .*Check that `signaling_server`"):
        await _meet(handler)


async def test_an_empty_answer_is_not_called_invalid_json() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    with pytest.raises(MalformedReply, match="returned an empty body instead of JSON"):
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
async def test_other_peerjs_frames_are_typed_errors(frame: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await _meet(_peerjs(frame), "peerjs")


@pytest.mark.parametrize("frame", [{"type": "ERROR", "payload": {"msg": "Invalid key provided"}}, {"type": "ID-TAKEN"}])
async def test_a_refused_greeting_says_why(frame: JsonObject) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(frame)
        return socket

    with pytest.raises(Rejected, match=r"Invalid key|ID-TAKEN"):
        await _meet(handler, "peerjs")


async def test_a_closed_signalling_connection_is_lost() -> None:
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
        with anyio.fail_after(60):
            await connect(line, meeting)  # type: ignore[arg-type]  # the parts of a channel that signalling uses
    assert line.accepted == ["v=0 answer"]


async def test_candidates_before_and_after_a_plain_answer_are_taken() -> None:
    early, late = ({"type": "ice_candidate", "candidate": {"candidate": text}} for text in ("early", "late"))
    line = await _meet(
        _plain(early, {"type": "presence"}, PLAIN_ANSWER, PLAIN_ANSWER, late), "websocket", opens_after=2
    )
    assert (line.accepted, line.tools) == (["v=0 answer"], [1])
    assert [candidate["candidate"] for candidate in line.candidates] == ["early", "late"]


@pytest.mark.parametrize(("serve", "answer", "way"), [(_plain, PLAIN_ANSWER, "websocket"), (_peerjs, ANSWER, "peerjs")])
async def test_signalling_in_binary_frames_is_read_too(serve: Any, answer: JsonObject, way: str) -> None:
    line = await _meet(serve(answer, sort=BinarySocket), way)
    assert line.accepted == ["v=0 answer"]


async def test_auto_uses_plain_signalling_if_there_is_a_websocket() -> None:
    line = await _meet(_plain(PLAIN_ANSWER), "auto-ws")
    assert line.accepted == ["v=0 answer"]


async def test_auto_uses_peerjs_if_the_path_ends_with_it() -> None:
    served, asked = _peerjs(ANSWER), list[str]()

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await served(request)

    line = Line()
    async with _served(handler, "auto-ws") as meeting:
        with anyio.fail_after(60):
            await connect(line, replace(meeting, url=f"{meeting.url}/app/peerjs"))  # type: ignore[arg-type]
    assert (line.accepted, asked) == (["v=0 answer"], ["/app/peerjs"])


@pytest.mark.parametrize("status", [400, 404, 426])
async def test_auto_tries_peerjs_if_the_bare_address_is_refused(status: int) -> None:
    served = _peerjs(ANSWER)
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await served(request) if request.path == "/peerjs" else web.Response(status=status)

    line = await _meet(handler, "auto-ws")
    assert line.accepted == ["v=0 answer"]
    assert asked == ["/", "/peerjs"]


async def test_auto_reports_the_status_of_the_configured_address() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=405 if request.path == "/" else 404)

    with pytest.raises(Rejected) as caught:
        await _meet(handler, "auto-ws")
    assert caught.value.status == 405


@pytest.mark.parametrize("path", ["/", "/peerjs"])
async def test_auto_stops_at_a_forbidden_address(path: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=403 if request.path == path else 404)

    with pytest.raises(Rejected) as caught:
        await _meet(handler, "auto-ws")
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ({"sdp": "v=0"}, Answer("v=0")),
        ({"sdp": {"type": "answer", "sdp": "v=0"}, "tools": []}, Answer("v=0", (), [])),
        (
            {
                "sdp": "v=0",
                "candidates": ["candidate:1", {"candidate": "candidate:2"}, {"candidate": {"candidate": "c"}}],
            },
            Answer("v=0", ({"candidate": "candidate:1"}, {"candidate": "candidate:2"}, {"candidate": "c"})),
        ),
    ],
)
def test_an_answer_is_read_in_every_form(value: Any, answer: Answer) -> None:
    assert read_answer(value, "peer") == answer


@pytest.mark.parametrize("value", [None, [], {}, {"sdp": ""}, {"sdp": 7}, {"sdp": {"type": "answer"}}])
def test_an_answer_without_a_description_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedReply, match="no session description"):
        read_answer(value, "peer")


BROWSERS = {"candidate": "c", "sdpMid": "0", "sdpMLineIndex": 1}


@pytest.mark.parametrize(
    ("value", "candidate"),
    [
        (BROWSERS, BROWSERS),
        ({"type": "candidate", "candidate": BROWSERS}, BROWSERS),
        ({"candidate": {"candidate": "c", "sdp_mid": "0", "sdp_m_line_index": 1}}, BROWSERS),
        ("c", {"candidate": "c"}),
    ],
)
def test_a_candidate_is_read_in_every_form(value: Any, candidate: JsonObject) -> None:
    assert as_candidate(value) == candidate


def test_an_http_address_becomes_a_websocket_address() -> None:
    assert Plain(make_meeting(url="https://signal.example.com/room")).url == "wss://signal.example.com/room"
    assert Plain(make_meeting()).url == "wss://signal.example.com/room"


def test_an_offer_names_both_sides() -> None:
    message = Plain(make_meeting()).offer("v=0")
    assert message.pop("from").startswith("utcp-")
    assert message == {"type": "offer", "sdp": "v=0", "to": "p", "peer_id": "p"}


def test_a_server_with_one_peer_needs_no_peer_name() -> None:
    assert set(Plain(make_meeting(peer_id="")).offer("v=0")) == {"type", "sdp", "from"}


def test_only_frames_from_our_peer_to_us_are_read() -> None:
    talk = Plain(make_meeting())
    ours = talk.offer("v=0")["from"]
    for names in ({}, {"from": "p"}, {"from": "p", "to": ours}, {"from": None, "to": None}):
        assert talk.read({"type": "answer", "sdp": "v=0 answer", **names}) == Answer("v=0 answer")
    for names in ({"from": "other"}, {"from": "p", "to": "other"}, {"to": "other"}):
        assert talk.read({"type": "answer", "sdp": "v=0 answer", **names}) is None
        assert talk.read({"type": "bye", **names}) is None
    assert talk.read({"type": "presence", "from": "p"}) is None
    assert talk.read({"type": "offer", "sdp": "v=0", "from": ours}) is None


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ice_candidate", "candidate": {"candidate": "c", "sdp_mid": "0", "sdp_m_line_index": 0}},
        {"type": "candidate", "candidate": {"candidate": "c", "sdpMid": "0", "sdpMLineIndex": 0}},
    ],
)
def test_plain_candidates_are_read_in_both_forms(frame: JsonObject) -> None:
    assert Plain(make_meeting()).read(frame) == {"candidate": "c", "sdpMid": "0", "sdpMLineIndex": 0}


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "error", "message": "Peer p is not connected"},
        {"type": "error", "error": {"code": "peer_not_found"}},
        {"type": "error", "reason": "unknown peer"},
        {"type": "bye", "from": "p"},
        {"type": "peer_not_found"},
    ],
)
def test_an_absent_peer_is_recognised_in_several_messages(frame: JsonObject) -> None:
    with pytest.raises(Unreachable, match="peer not found"):
        Plain(make_meeting()).read(frame)


def test_another_error_of_the_server_is_a_rejection() -> None:
    with pytest.raises(Rejected, match="too many offers") as caught:
        Plain(make_meeting()).read({"type": "error", "message": "too many offers"})
    assert caught.value.status == "error"


def test_a_plain_answer_without_a_description_is_malformed() -> None:
    with pytest.raises(MalformedReply):
        Plain(make_meeting()).read({"type": "answer", "from": "p"})


def test_a_peerjs_address_gets_its_path_and_an_id() -> None:
    parts = urlsplit(peerjs_url("https://signal.example.com/app/"))
    query = parse_qs(parts.query)
    assert (parts.scheme, parts.path) == ("wss", "/app/peerjs")
    assert query["key"] == ["peerjs"]
    assert query["id"] != parse_qs(urlsplit(peerjs_url("https://signal.example.com/app/")).query)["id"]


def test_the_path_and_key_of_a_peerjs_address_are_kept() -> None:
    parts = urlsplit(peerjs_url("ws://signal.example.com/peerjs?key=ours"))
    assert (parts.scheme, parts.path) == ("ws", "/peerjs")
    assert parse_qs(parts.query)["key"] == ["ours"]


def test_an_offer_names_the_peer_and_how_messages_are_written() -> None:
    talk = PeerJs(make_meeting(serialization="json", reliable=False))
    frame = talk.offer("v=0")
    assert (frame["type"], frame["dst"]) == ("OFFER", "p")
    payload = frame["payload"]
    assert payload.pop("connectionId").startswith("dc_")
    assert payload == {
        "sdp": {"type": "offer", "sdp": "v=0"},
        "type": "data",
        "label": "tools",
        "reliable": False,
        "serialization": "json",
        "metadata": None,
    }


def test_only_an_open_frame_is_a_greeting() -> None:
    talk = PeerJs(make_meeting())
    talk.check_greeting({"type": "OPEN"})
    with pytest.raises(Rejected, match="Invalid key"):
        talk.check_greeting({"type": "ERROR", "payload": {"msg": "Invalid key"}})
    with pytest.raises(Rejected, match="ID-TAKEN"):
        talk.check_greeting({"type": "ID-TAKEN"})


def test_only_peerjs_frames_about_this_connection_are_read() -> None:
    talk = PeerJs(make_meeting())
    mine = {"connectionId": talk.offer("v=0")["payload"]["connectionId"]}
    answer = {"sdp": {"type": "answer", "sdp": "v=0 answer"}}
    assert talk.read({"type": "ANSWER", "src": "p", "payload": {**mine, **answer}}) == Answer("v=0 answer")
    assert talk.read({"type": "CANDIDATE", "payload": {**mine, "candidate": {"candidate": "c"}}}) == {"candidate": "c"}
    others: list[JsonObject] = [
        {"type": "ANSWER", "src": "other", "payload": {**mine, **answer}},
        {"type": "ANSWER", "src": "p", "payload": {"connectionId": "dc_other", **answer}},
        {"type": "ANSWER", "src": "p"},
        {"type": "NEWS", "src": "p", "payload": {**mine, **answer}},
    ]
    assert [talk.read(frame) for frame in others] == [None] * len(others)


@pytest.mark.parametrize("kind", ["EXPIRE", "LEAVE"])
def test_an_offer_that_expires_means_an_absent_peer(kind: str) -> None:
    with pytest.raises(Unreachable, match="peer not found"):
        PeerJs(make_meeting()).read({"type": kind, "src": "p"})


def test_the_servers_error_is_a_rejection() -> None:
    with pytest.raises(Rejected):
        PeerJs(make_meeting()).read({"type": "ERROR"})
