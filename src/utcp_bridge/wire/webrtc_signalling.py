"""How two WebRTC peers find each other: the Go and Rust libraries' HTTP signalling, and PeerJS's protocol.

connect  POST {base}/connect  {"peer_id", "type": "offer", "sdp"} → {"sdp", "tools"?, "candidates"?}
post     POST {base}          {"type": "offer", "sdp"}            → {"sdp"}
peerjs   WebSocket {base}/peerjs?key&id&token; frames {type, src, dst, payload}
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import anyio
import orjson

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected, Unreachable, UtcpError
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.wire.reply import parse_json
from utcp_bridge.wire.request_parts import RequestParts

if TYPE_CHECKING:
    import aiohttp

    from utcp_bridge.auth import Credentials
    from utcp_bridge.wire.http import HttpSession
    from utcp_bridge.wire.reply import Reply
    from utcp_bridge.wire.webrtc_channel import WebRtcChannel

__all__ = ["Answer", "Meeting", "connect", "peerjs_url", "read_answer"]

_HEARTBEAT_SECONDS = 5.0
_NOT_THIS_WAY = frozenset({404, 405})


@dataclass(frozen=True, slots=True)
class Answer:
    """The other peer's session description, its further candidates, and its tools if it names them here."""

    sdp: str
    candidates: tuple[JsonObject, ...] = ()
    tools: Any = None


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where and how to meet the peer; `where` names it in messages."""

    session: HttpSession
    url: str = field(repr=False)
    way: Literal["auto", "connect", "post", "peerjs"]
    peer_id: str
    label: str
    where: str
    serialization: str = "raw"
    reliable: bool = True
    credentials: Credentials | None = field(default=None, repr=False)

    def absent(self) -> Unreachable:
        """The error for a peer that the signalling server does not know."""
        return Unreachable(f"{self.where}: peer not found.", remedy="Check `peer_id`, and that the peer is running.")


async def connect(channel: WebRtcChannel, meeting: Meeting) -> None:
    """Offer, take the answer, and wait until the channel is open.

    Raises Unreachable for an absent peer, Rejected for the signalling server's other errors, MalformedReply.
    """
    if meeting.way == "peerjs":
        await _connect_by_peerjs(channel, meeting)
        return
    answer = await _answer_by_http(meeting, await channel.offer())
    await _accept(channel, answer)
    await channel.opened()


def peerjs_url(base: str) -> str:
    """The WebSocket address of a PeerJS server, with a new id for us; a query (`key`) is kept."""
    parts = urlsplit(base)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path if parts.path.rstrip("/").endswith("/peerjs") else f"{parts.path.rstrip('/')}/peerjs"
    given = {word.partition("=")[0] for word in parts.query.split("&")}
    ours = {"key": "peerjs", "id": f"utcp-{uuid4().hex}", "token": uuid4().hex, "version": "1.5.5"}
    added = urlencode({name: value for name, value in ours.items() if name not in given})
    query = "&".join(part for part in (parts.query, added) if part)
    return f"{scheme}://{parts.netloc}{path}?{query}"


def read_answer(value: Any, where: str) -> Answer:
    """An answer from JSON: `sdp` is text or `{type, sdp}`. Raises MalformedReply."""
    answer: JsonObject = value if is_object(value) else {}
    described = answer.get("sdp")
    sdp = described.get("sdp") if is_object(described) else described
    if not isinstance(sdp, str) or not sdp:
        raise MalformedReply(f"{where}: the signalling server answered no session description.")
    listed = answer.get("candidates")
    candidates = [_candidate(one) for one in listed] if is_list(listed) else []
    return Answer(sdp, tuple(candidates), answer.get("tools"))


def _candidate(value: Any) -> JsonObject:
    if is_object(value):
        inner = value.get("candidate")
        return inner if is_object(inner) else value
    return {"candidate": value}


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
    reply.raise_for_status()
    return read_answer(parse_json(reply.body, meeting.where), meeting.where)


async def _post(meeting: Meeting, url: str, body: Mapping[str, Any]) -> Reply:
    parts = RequestParts("POST", url, [("Content-Type", "application/json")], orjson.dumps(body))
    return await meeting.session.request(parts, credentials=meeting.credentials)


async def _connect_by_peerjs(channel: WebRtcChannel, meeting: Meeting) -> None:
    sdp = await channel.offer()
    url = peerjs_url(meeting.url)
    async with meeting.session.websocket(url, credentials=meeting.credentials) as socket:
        await _await_welcome(socket, meeting)
        connection_id = f"dc_{uuid4().hex}"
        await socket.send_json(_offer_frame(meeting, connection_id, sdp))
        failure: UtcpError | None = None
        async with _kept_alive(socket) as group:
            try:
                await _accept(channel, await _await_answer(socket, meeting, connection_id))
                group.start_soon(_take_candidates, socket, meeting, connection_id, channel)
                await channel.opened()
            except UtcpError as error:
                failure = error  # raised outside: a task group would wrap it
        if failure is not None:
            raise failure


@asynccontextmanager
async def _kept_alive(socket: aiohttp.ClientWebSocketResponse) -> AsyncGenerator[anyio.abc.TaskGroup]:
    """A task group that sends heartbeats; all of it ends with the block."""

    async def beat() -> None:
        while True:
            await anyio.sleep(_HEARTBEAT_SECONDS)
            if not socket.closed:
                await socket.send_json({"type": "HEARTBEAT"})

    async with anyio.create_task_group() as group:
        group.start_soon(beat)
        yield group
        group.cancel_scope.cancel()


def _offer_frame(meeting: Meeting, connection_id: str, sdp: str) -> JsonObject:
    payload = {
        "sdp": {"type": "offer", "sdp": sdp},
        "type": "data",
        "connectionId": connection_id,
        "label": meeting.label,
        "reliable": meeting.reliable,
        "serialization": meeting.serialization,
        "metadata": None,
    }
    return {"type": "OFFER", "dst": meeting.peer_id, "payload": payload}


async def _await_welcome(socket: aiohttp.ClientWebSocketResponse, meeting: Meeting) -> None:
    frame = await _frame(socket, meeting)
    if frame.get("type") != "OPEN":
        payload = frame.get("payload")
        said = payload.get("msg") if is_object(payload) else frame.get("type")
        raise Rejected(
            f"{meeting.where}: the signalling server refused us: {str(said)[:200]}", status=str(frame.get("type"))
        )


async def _await_answer(socket: aiohttp.ClientWebSocketResponse, meeting: Meeting, connection_id: str) -> Answer:
    """The ANSWER to our OFFER, with the candidates that came before it."""
    early: list[JsonObject] = []
    while True:
        frame = await _frame(socket, meeting)
        if frame.get("type") in {"EXPIRE", "LEAVE"}:
            raise meeting.absent()
        if frame.get("type") == "ERROR":
            raise Rejected(f"{meeting.where}: the signalling server answered an error.", status="ERROR")
        payload = _payload_of(frame, meeting, connection_id)
        if frame.get("type") == "CANDIDATE":
            early.append(_candidate(payload))
        elif frame.get("type") == "ANSWER":
            answer = read_answer(payload, meeting.where)
            return Answer(answer.sdp, (*early, *answer.candidates), answer.tools)


async def _take_candidates(
    socket: aiohttp.ClientWebSocketResponse, meeting: Meeting, connection_id: str, channel: WebRtcChannel
) -> None:
    """Candidates after the ANSWER, until the channel is open; a broken signalling line no longer matters."""
    try:
        while True:
            frame = await _frame(socket, meeting)
            if frame.get("type") == "CANDIDATE":
                await channel.add_candidate(_candidate(_payload_of(frame, meeting, connection_id)))
    except UtcpError:
        return


def _payload_of(frame: JsonObject, meeting: Meeting, connection_id: str) -> JsonObject:
    """What the peer we asked says about the connection we asked for; else nothing."""
    payload = frame.get("payload")
    if not is_object(payload) or frame.get("src", meeting.peer_id) != meeting.peer_id:
        return {}
    return payload if payload.get("connectionId", connection_id) == connection_id else {}


async def _frame(socket: aiohttp.ClientWebSocketResponse, meeting: Meeting) -> JsonObject:
    message = await socket.receive()
    if not isinstance(message.data, str | bytes):
        raise ConnectionLost(f"{meeting.where}: the signalling server closed the connection.")
    frame = parse_json(message.data, meeting.where)
    if not is_object(frame):
        raise MalformedReply(f"{meeting.where}: the signalling server sent no JSON object.")
    return frame
