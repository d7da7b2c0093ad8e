"""PeerJS's signalling (pure): the address to connect to, our frames, and what the server's come to.

Frames are `{type, src, dst, payload}`. The server greets with OPEN; it keeps what is sent to an absent peer for five
seconds and then answers EXPIRE, so a shorter time-out never learns that the peer is not there.
Source: the server `peer` 1.0 and the client `peerjs` 1.5.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from utcp_bridge.errors import Rejected
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.transports.webrtc.meeting import Answer, Meeting, as_candidate, read_answer

__all__ = ["PeerJs", "peerjs_url"]

_SHOWN = 200


class PeerJs:
    """One connection's conversation with a PeerJS server."""

    greeted = True

    def __init__(self, meeting: Meeting) -> None:
        self.heartbeat: JsonObject | None = {"type": "HEARTBEAT"}
        self.url = peerjs_url(meeting.url)
        self._meeting = meeting
        self._id = f"dc_{uuid4().hex}"

    def check_greeting(self, frame: JsonObject) -> None:
        """Raises Rejected unless the server lets us in."""
        if frame.get("type") != "OPEN":
            payload = frame.get("payload")
            said = payload.get("msg") if is_object(payload) else frame.get("type")
            message = f"{self._meeting.where}: the signalling server refused us: {str(said)[:_SHOWN]}"
            raise Rejected(message, status=str(frame.get("type")))

    def offer(self, sdp: str) -> JsonObject:
        """The frame with our description."""
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

    def heard(self, frame: JsonObject) -> Answer | JsonObject | None:
        """The answer, a candidate, or None for what is not ours. Raises Unreachable for an absent peer, Rejected."""
        kind = frame.get("type")
        if kind in {"EXPIRE", "LEAVE"}:
            raise self._meeting.absent()
        if kind == "ERROR":
            raise Rejected(f"{self._meeting.where}: the signalling server answered an error.", status="ERROR")
        payload = frame.get("payload")
        if kind not in {"ANSWER", "CANDIDATE"} or not self._is_ours(frame, payload):
            return None
        return read_answer(payload, self._meeting.where) if kind == "ANSWER" else as_candidate(payload)

    def _is_ours(self, frame: JsonObject, payload: Any) -> bool:
        """Whether it is what the peer we asked says about the connection we asked for."""
        if not is_object(payload) or payload.get("connectionId", self._id) != self._id:
            return False
        return bool(frame.get("src", self._meeting.peer_id) == self._meeting.peer_id)


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
