"""The nouns of signalling (pure): where a peer is met, its answer, its candidates in every library's spelling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from utcp_bridge.errors import MalformedReply, Unreachable
from utcp_bridge.model import JsonObject, is_list, is_object

if TYPE_CHECKING:
    from utcp_bridge.auth.models import Credentials
    from utcp_bridge.net.http import HttpSession

__all__ = ["Answer", "Meeting", "Way", "as_candidate", "read_answer"]

Way: TypeAlias = Literal["auto", "connect", "post", "peerjs", "websocket"]
_SPELLINGS = {"sdp_mid": "sdpMid", "sdp_m_line_index": "sdpMLineIndex", "sdp_mline_index": "sdpMLineIndex"}


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
    way: Way
    peer_id: str
    label: str
    where: str
    serialization: str = "raw"
    reliable: bool = True
    credentials: Credentials | None = field(default=None, repr=False)

    def absent(self) -> Unreachable:
        """The error for a peer that the signalling server does not know."""
        return Unreachable(f"{self.where}: peer not found.", remedy="Check `peer_id`, and that the peer is running.")


def read_answer(value: Any, where: str) -> Answer:
    """An answer from JSON: `sdp` is text or `{type, sdp}`. Raises MalformedReply."""
    answer: JsonObject = value if is_object(value) else {}
    described = answer.get("sdp")
    sdp = described.get("sdp") if is_object(described) else described
    if not isinstance(sdp, str) or not sdp:
        raise MalformedReply(f"{where}: the signalling server answered no session description.")
    listed = answer.get("candidates")
    candidates = [as_candidate(one) for one in listed] if is_list(listed) else []
    return Answer(sdp, tuple(candidates), answer.get("tools"))


def as_candidate(value: Any) -> JsonObject:
    """A candidate as browsers write it, `{candidate, sdpMid, sdpMLineIndex}`, from Elixir's names or bare text too."""
    if not is_object(value):
        return {"candidate": value}
    inner = value.get("candidate")
    candidate = inner if is_object(inner) else value
    return {_SPELLINGS.get(name, name): one for name, one in candidate.items()}
