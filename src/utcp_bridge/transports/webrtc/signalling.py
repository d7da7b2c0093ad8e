"""Signalling: how two WebRTC peers exchange an offer, an answer and candidates.

connect    POST {base}/connect  {"peer_id", "type": "offer", "sdp"} → {"sdp", "tools"?, "candidates"?}
post       POST {base}          {"type": "offer", "sdp"}            → {"sdp"}
websocket  messages over a WebSocket at {base}, see `Plain`
peerjs     frames over a WebSocket at {base}/peerjs, see `PeerJs`
auto       over HTTP: `connect`, and `post` after a 404 or 405. Over WebSocket: `peerjs` if the path ends with it, else
           `websocket`, and `peerjs` if there is no WebSocket at {base}
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import anyio
import orjson

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected, Unreachable, UtcpError
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.net.reply import parse_json
from utcp_bridge.placement.request import RequestParts

if TYPE_CHECKING:
    import aiohttp

    from utcp_bridge.auth.credentials import Credentials
    from utcp_bridge.net.http_session import HttpSession
    from utcp_bridge.net.reply import Reply
    from utcp_bridge.transports.webrtc.channel import WebRtcChannel

__all__ = ["Answer", "Meeting", "PeerJs", "Plain", "Way", "as_candidate", "connect", "peerjs_url", "read_answer"]

_HEARTBEAT_SECONDS = 5.0
_CHECK_SERVER = "Check that `signaling_server` is the address of a signalling server, and that `signaling` is its way."
_NOT_THIS_WAY = frozenset({404, 405})
_NO_WEBSOCKET_HERE = frozenset({200, 400, 404, 405, 426, 501})
_SPELLINGS = {"sdp_mid": "sdpMid", "sdp_m_line_index": "sdpMLineIndex", "sdp_mline_index": "sdpMLineIndex"}
_CANDIDATES = frozenset({"ice_candidate", "ice-candidate", "candidate"})
_GONE = frozenset({"leave", "bye", "peer_left", "peer_not_found", "not_found"})
_ABSENT = re.compile(r"not[ _-]?(found|connected|online|available)|unknown|unavailable|offline|no such", re.IGNORECASE)

Way: TypeAlias = Literal["auto", "connect", "post", "peerjs", "websocket"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The other peer's session description, its further candidates, and its tools if the answer has them."""

    sdp: str
    candidates: tuple[JsonObject, ...] = ()
    tools: Any = None


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where and how to reach the peer. `where` names it in messages."""

    session: HttpSession
    url: str = field(repr=False)
    way: Way
    peer_id: str
    label: str
    where: str
    serialization: str = "raw"
    reliable: bool = True
    credentials: Credentials | None = field(default=None, repr=False)

    def absent(self) -> Unreachable:
        """Return the error for a peer that the signalling server does not know."""
        return Unreachable(f"{self.where}: peer not found.", remedy="Check `peer_id`, and whether the peer is running.")


def read_answer(value: Any, where: str) -> Answer:
    """Read an answer from JSON; `sdp` is text or `{type, sdp}`.

    :raises MalformedReply: it has no session description.
    """
    answer: JsonObject = value if is_object(value) else {}
    described = answer.get("sdp")
    sdp = described.get("sdp") if is_object(described) else described
    if not isinstance(sdp, str) or not sdp:
        raise MalformedReply(f"{where}: the signalling server returned no session description.")
    listed = answer.get("candidates")
    candidates = [as_candidate(one) for one in listed] if is_list(listed) else []
    return Answer(sdp, tuple(candidates), answer.get("tools"))


def as_candidate(value: Any) -> JsonObject:
    """Return a candidate in the form of browsers, `{candidate, sdpMid, sdpMLineIndex}`, from any known form."""
    if not is_object(value):
        return {"candidate": value}
    inner = value.get("candidate")
    candidate = inner if is_object(inner) else value
    return {_SPELLINGS.get(name, name): one for name, one in candidate.items()}


class Talk(Protocol):
    """One way of signalling over a WebSocket: what it sends and how it reads frames."""

    url: str
    greeted: bool
    heartbeat: JsonObject | None

    def check_greeting(self, frame: JsonObject) -> None: ...
    def offer(self, sdp: str) -> JsonObject: ...
    def read(self, frame: JsonObject) -> Answer | JsonObject | None: ...


async def connect(channel: WebRtcChannel, meeting: Meeting) -> None:
    """Send the offer, accept the answer, and wait until the channel is open.

    :raises Unreachable: the peer is absent.
    :raises Rejected: the signalling server returned another error.
    :raises MalformedReply: its answer cannot be read.
    """
    sdp = await channel.offer()
    scheme, path = urlsplit(meeting.url).scheme, urlsplit(meeting.url).path
    if meeting.way == "peerjs":
        await _by_socket(channel, meeting, PeerJs(meeting), sdp)
    elif meeting.way == "websocket":
        await _by_socket(channel, meeting, Plain(meeting), sdp)
    elif scheme not in {"ws", "wss"}:
        await _accept(channel, await _answer_by_http(meeting, sdp))
        await channel.opened()
    elif path.rstrip("/").endswith("/peerjs"):
        await _by_socket(channel, meeting, PeerJs(meeting), sdp)
    else:
        await _by_either_socket(channel, meeting, sdp)


async def _by_either_socket(channel: WebRtcChannel, meeting: Meeting, sdp: str) -> None:
    """Try plain signalling, then PeerJS: a PeerJS server refuses the handshake at its bare address."""
    try:
        await _by_socket(channel, meeting, Plain(meeting), sdp)
        return
    except Rejected as error:
        if error.status not in _NO_WEBSOCKET_HERE:
            raise
        refused = error
    try:
        await _by_socket(channel, meeting, PeerJs(meeting), sdp)
    except Rejected as error:
        raise refused if error.status in _NO_WEBSOCKET_HERE else error from None


async def _accept(channel: WebRtcChannel, answer: Answer) -> None:
    channel.tools = answer.tools
    await channel.accept(answer.sdp)
    for candidate in answer.candidates:
        await channel.add_candidate(candidate)


async def _answer_by_http(meeting: Meeting, sdp: str) -> Answer:
    reply: Reply | None = None
    offer = {"type": "offer", "sdp": sdp}
    if meeting.way != "post":
        parts = urlsplit(meeting.url)
        url = parts._replace(path=f"{parts.path.rstrip('/')}/connect", fragment="").geturl()
        reply = await _post(meeting, url, {"peer_id": meeting.peer_id, **offer})
    if reply is None or (meeting.way == "auto" and reply.status in _NOT_THIS_WAY):
        reply = await _post(meeting, meeting.url, offer)
    if reply.status in _NOT_THIS_WAY:
        raise meeting.absent()
    try:
        reply.raise_for_status()
    except Rejected as error:
        error.remedy = error.remedy or _CHECK_SERVER
        raise
    return read_answer(parse_json(reply.body, meeting.where, reply.charset), meeting.where)


async def _post(meeting: Meeting, url: str, body: Mapping[str, Any]) -> Reply:
    parts = RequestParts("POST", url, [("Content-Type", "application/json")], orjson.dumps(body))
    return await meeting.session.request(parts, credentials=meeting.credentials)


async def _by_socket(channel: WebRtcChannel, meeting: Meeting, talk: Talk, sdp: str) -> None:
    async with meeting.session.websocket(talk.url, credentials=meeting.credentials) as socket:
        if talk.greeted:
            talk.check_greeting(await _frame(socket, meeting))
        await socket.send_json(talk.offer(sdp))
        failure: UtcpError | None = None
        async with _kept_alive(socket, talk.heartbeat) as group:
            try:
                await _accept(channel, await _await_answer(socket, meeting, talk))
                group.start_soon(_take_candidates, socket, meeting, talk, channel)
                await channel.opened()
            except UtcpError as error:
                failure = error  # raised outside: a task group would wrap it
        if failure is not None:
            raise failure


@asynccontextmanager
async def _kept_alive(
    socket: aiohttp.ClientWebSocketResponse, heartbeat: JsonObject | None
) -> AsyncGenerator[anyio.abc.TaskGroup]:
    """Yield a task group that sends heartbeats. All its tasks end with the block."""

    async def beat() -> None:
        while heartbeat is not None:
            await anyio.sleep(_HEARTBEAT_SECONDS)
            if not socket.closed:
                await socket.send_json(heartbeat)

    async with anyio.create_task_group() as group:
        group.start_soon(beat)
        yield group
        group.cancel_scope.cancel()


async def _await_answer(socket: aiohttp.ClientWebSocketResponse, meeting: Meeting, talk: Talk) -> Answer:
    """Wait for the answer to the offer, and return it with the candidates that arrived before it."""
    early: list[JsonObject] = []
    while True:
        found = talk.read(await _frame(socket, meeting))
        if isinstance(found, Answer):
            return Answer(found.sdp, (*early, *found.candidates), found.tools)
        if found is not None:
            early.append(found)


async def _take_candidates(
    socket: aiohttp.ClientWebSocketResponse, meeting: Meeting, talk: Talk, channel: WebRtcChannel
) -> None:
    """Add the candidates after the answer until the channel is open. Errors of signalling no longer matter here."""
    try:
        while True:
            found = talk.read(await _frame(socket, meeting))
            if found is not None and not isinstance(found, Answer):
                await channel.add_candidate(found)
    except UtcpError:
        return


async def _frame(socket: aiohttp.ClientWebSocketResponse, meeting: Meeting) -> JsonObject:
    message = await socket.receive()
    if not isinstance(message.data, str | bytes):
        raise ConnectionLost(f"{meeting.where}: the signalling server closed the connection.")
    frame = parse_json(message.data, meeting.where)
    if not is_object(frame):
        raise MalformedReply(f"{meeting.where}: the signalling server sent a frame that is not a JSON object.")
    return frame


class Plain:
    """Plain signalling over a WebSocket: `offer`, `answer` and `ice_candidate` as the Elixir library writes them.

        → {"type": "offer", "sdp", "from": ours, "to": peer, "peer_id": peer}
        ← {"type": "answer", "sdp", "from": peer, "to": ours, "tools"?}
        ← {"type": "ice_candidate", "candidate": {"candidate", "sdp_mid", "sdp_m_line_index"}}

    The server passes messages on. The specification does not define them; those for other senders or receivers are
    ignored.
    """

    greeted = False

    def __init__(self, meeting: Meeting) -> None:
        self.heartbeat: JsonObject | None = None
        self.url = re.sub(r"^http", "ws", meeting.url)
        self._meeting = meeting
        self._id = f"utcp-{uuid4().hex}"

    def check_greeting(self, frame: JsonObject) -> None:
        """Do nothing: such a server sends no greeting."""

    def offer(self, sdp: str) -> JsonObject:
        """Return the message with our session description, which has all candidates."""
        message = {"type": "offer", "sdp": sdp, "from": self._id}
        peer = self._meeting.peer_id
        return {**message, "to": peer, "peer_id": peer} if peer else message

    def read(self, frame: JsonObject) -> Answer | JsonObject | None:
        """Return the answer or a candidate in a frame, or None if the frame is not for us.

        :raises Unreachable: the peer is absent.
        :raises Rejected: the server reports another error.
        """
        if frame.get("to", self._id) not in {self._id, None}:
            return None
        kind = frame.get("type")
        if kind == "error":
            raise self._error(frame.get("message") or frame.get("error") or frame.get("reason"))
        peer = self._meeting.peer_id
        if peer and (frame.get("from") or peer) != peer:
            return None
        if kind in _GONE:
            raise self._meeting.absent()
        if kind in _CANDIDATES:
            return as_candidate(frame)
        return read_answer(frame, self._meeting.where) if kind == "answer" else None

    def _error(self, said: Any) -> UtcpError:
        text = said if isinstance(said, str) else orjson.dumps(said).decode()
        if _ABSENT.search(text):
            return self._meeting.absent()
        message = f"{self._meeting.where}: the signalling server returned an error: {text[:_SHOWN]}"
        return Rejected(message, status="error", detail=said)


_SHOWN = 200


class PeerJs:
    """Signalling with a PeerJS server: frames `{type, src, dst, payload}`.

    The server greets with OPEN. It keeps a frame for an absent peer for five seconds and then sends EXPIRE, so with a
    shorter time limit the bridge cannot report that the peer is absent. Source: the server `peer` 1.0 and the client
    `peerjs` 1.5.
    """

    greeted = True

    def __init__(self, meeting: Meeting) -> None:
        self.heartbeat: JsonObject | None = {"type": "HEARTBEAT"}
        self.url = peerjs_url(meeting.url)
        self._meeting = meeting
        self._id = f"dc_{uuid4().hex}"

    def check_greeting(self, frame: JsonObject) -> None:
        """Check that the server accepts the connection.

        :raises Rejected: it does not.
        """
        if frame.get("type") != "OPEN":
            payload = frame.get("payload")
            said = payload.get("msg") if is_object(payload) else frame.get("type")
            message = f"{self._meeting.where}: the signalling server refused the connection: {str(said)[:_SHOWN]}"
            raise Rejected(message, status=str(frame.get("type")))

    def offer(self, sdp: str) -> JsonObject:
        """Return the frame with our session description."""
        meeting = self._meeting
        payload = {
            "sdp": {"type": "offer", "sdp": sdp},
            "type": "data",
            "connectionId": self._id,
            "label": meeting.label,
            "reliable": meeting.reliable,
            "serialization": meeting.serialization,
            "metadata": None,
        }
        return {"type": "OFFER", "dst": meeting.peer_id, "payload": payload}

    def read(self, frame: JsonObject) -> Answer | JsonObject | None:
        """Return the answer or a candidate in a frame, or None if the frame is not for us.

        :raises Unreachable: the peer is absent.
        :raises Rejected: the server reports another error.
        """
        kind = frame.get("type")
        if kind in {"EXPIRE", "LEAVE"}:
            raise self._meeting.absent()
        if kind == "ERROR":
            raise Rejected(f"{self._meeting.where}: the signalling server returned an error.", status="ERROR")
        payload = frame.get("payload")
        if kind not in {"ANSWER", "CANDIDATE"} or not self._is_ours(frame, payload):
            return None
        return read_answer(payload, self._meeting.where) if kind == "ANSWER" else as_candidate(payload)

    def _is_ours(self, frame: JsonObject, payload: Any) -> bool:
        """Return whether the frame is from our peer and about our connection."""
        if not is_object(payload) or payload.get("connectionId", self._id) != self._id:
            return False
        return bool(frame.get("src", self._meeting.peer_id) == self._meeting.peer_id)


def peerjs_url(base: str) -> str:
    """Return the WebSocket address of a PeerJS server, with a new id for us. A query (`key`) is kept."""
    parts = urlsplit(base)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path if parts.path.rstrip("/").endswith("/peerjs") else f"{parts.path.rstrip('/')}/peerjs"
    given = {word.partition("=")[0] for word in parts.query.split("&")}
    ours = {"key": "peerjs", "id": f"utcp-{uuid4().hex}", "token": uuid4().hex, "version": "1.5.5"}
    added = urlencode({name: value for name, value in ours.items() if name not in given})
    query = "&".join(part for part in (parts.query, added) if part)
    return f"{scheme}://{parts.netloc}{path}?{query}"
