"""How two WebRTC peers find each other: one offer, one answer, and candidates before and after it.

connect    POST {base}/connect  {"peer_id", "type": "offer", "sdp"} → {"sdp", "tools"?, "candidates"?}
post       POST {base}          {"type": "offer", "sdp"}            → {"sdp"}
websocket  messages over a WebSocket at {base}, see webrtc_plain
peerjs     frames over a WebSocket at {base}/peerjs, see webrtc_peerjs
auto       over HTTP `connect`, and `post` after a 404 or 405. Over WebSocket `peerjs` if the path ends so, else
`websocket`, and `peerjs` if no WebSocket is served at {base}
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import anyio
import orjson

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected, UtcpError
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.net.reply import parse_json
from utcp_bridge.net.request import RequestParts
from utcp_bridge.transports.webrtc.meeting import Answer, Meeting, read_answer
from utcp_bridge.transports.webrtc.peerjs import PeerJs
from utcp_bridge.transports.webrtc.plain import Plain

if TYPE_CHECKING:
    import aiohttp

    from utcp_bridge.net.reply import Reply
    from utcp_bridge.transports.webrtc.channel import WebRtcChannel

__all__ = ["connect"]

_HEARTBEAT_SECONDS = 5.0
_NOT_THIS_WAY = frozenset({404, 405})
_NO_WEBSOCKET_HERE = frozenset({200, 400, 404, 405, 426, 501})


class Talk(Protocol):
    """What signalling over a WebSocket says and understands."""

    url: str
    greeted: bool
    heartbeat: JsonObject | None

    def check_greeting(self, frame: JsonObject) -> None: ...
    def offer(self, sdp: str) -> JsonObject: ...
    def heard(self, frame: JsonObject) -> Answer | JsonObject | None: ...


async def connect(channel: WebRtcChannel, meeting: Meeting) -> None:
    """Offer, take the answer, and wait until the channel is open.

    Raises Unreachable for an absent peer, Rejected for the signalling server's other errors, MalformedReply.
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
    """A PeerJS server refuses the handshake at its bare address, and a plain one takes it there."""
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
    reply.raise_for_status()
    return read_answer(parse_json(reply.body, meeting.where), meeting.where)


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
    """A task group that sends heartbeats; all of it ends with the block."""

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
    """The answer to our offer, with the candidates that came before it."""
    early: list[JsonObject] = []
    while True:
        heard = talk.heard(await _frame(socket, meeting))
        if isinstance(heard, Answer):
            return Answer(heard.sdp, (*early, *heard.candidates), heard.tools)
        if heard is not None:
            early.append(heard)


async def _take_candidates(
    socket: aiohttp.ClientWebSocketResponse, meeting: Meeting, talk: Talk, channel: WebRtcChannel
) -> None:
    """Candidates after the answer, until the channel is open; a broken signalling line no longer matters."""
    try:
        while True:
            heard = talk.heard(await _frame(socket, meeting))
            if heard is not None and not isinstance(heard, Answer):
                await channel.add_candidate(heard)
    except UtcpError:
        return


async def _frame(socket: aiohttp.ClientWebSocketResponse, meeting: Meeting) -> JsonObject:
    message = await socket.receive()
    if not isinstance(message.data, str | bytes):
        raise ConnectionLost(f"{meeting.where}: the signalling server closed the connection.")
    frame = parse_json(message.data, meeting.where)
    if not is_object(frame):
        raise MalformedReply(f"{meeting.where}: the signalling server sent no JSON object.")
    return frame
