"""Plain signalling over a WebSocket (pure): `offer`, `answer` and `ice_candidate` as the Elixir library writes them.

    → {"type": "offer", "sdp", "from": ours, "to": peer, "peer_id": peer}
    ← {"type": "answer", "sdp", "from": peer, "to": ours, "tools"?}
    ← {"type": "ice_candidate", "candidate": {"candidate", "sdp_mid", "sdp_m_line_index"}}

The specification leaves the messages open; what names another sender or receiver is not for us.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import orjson

from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.webrtc.meeting import Answer, Meeting, as_candidate, read_answer

__all__ = ["Plain"]

_CANDIDATES = frozenset({"ice_candidate", "ice-candidate", "candidate"})
_GONE = frozenset({"leave", "bye", "peer_left", "peer_not_found", "not_found"})
_ABSENT = re.compile(r"not[ _-]?(found|connected|online|available)|unknown|unavailable|offline|no such", re.IGNORECASE)
_SHOWN = 200


class Plain:
    """One connection's conversation with a signalling server that passes messages on."""

    greeted = False

    def __init__(self, meeting: Meeting) -> None:
        self.heartbeat: JsonObject | None = None
        self.url = re.sub(r"^http", "ws", meeting.url)
        self._meeting = meeting
        self._id = f"utcp-{uuid4().hex}"

    def check_greeting(self, frame: JsonObject) -> None:
        """Such a server speaks when it is spoken to."""

    def offer(self, sdp: str) -> JsonObject:
        """The message with our description and every candidate in it."""
        message = {"type": "offer", "sdp": sdp, "from": self._id}
        peer = self._meeting.peer_id
        return {**message, "to": peer, "peer_id": peer} if peer else message

    def heard(self, frame: JsonObject) -> Answer | JsonObject | None:
        """The answer, a candidate, or None for what is not ours. Raises Unreachable for an absent peer, Rejected."""
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
        message = f"{self._meeting.where}: the signalling server answered an error: {text[:_SHOWN]}"
        return Rejected(message, status="error", detail=said)
