"""What goes over a WebRTC data channel: calls, discovery, and which reply belongs to which call (pure).

The Go, Rust and Elixir libraries and the specification each have their own object for a call; none minds
fields it does not know, so one object holds all of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import anyio
import orjson

from utcp_bridge.errors import InvalidArguments, MalformedReply, Rejected, UtcpError
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.wire.reply import parse_json

__all__ = ["Replies", "Slot", "call_message", "discovery_message", "encode", "manual_of", "outcome"]

_ANSWERS = ("result", "output", "error", "tools")
_ENVELOPE = frozenset({"id", "type", "jsonrpc", "result", "error"})
_SHOWN = 200


def call_message(tool: str, arguments: JsonObject) -> JsonObject:
    """One call as Go (`tool`, `args`), Rust (`method`, `params`) and the specification (`type`, `inputs`) read it."""
    return {
        "id": uuid4().hex,
        "tool": tool,
        "args": arguments,
        "method": "call_tool",
        "params": {"tool": tool, "args": arguments},
        "type": "tool_call",
        "inputs": arguments,
    }


def discovery_message() -> JsonObject:
    """What asks for the manual: Rust's `list_tools` and the specification's `utcp` in one."""
    return {"id": uuid4().hex, "method": "list_tools", "params": {}, "type": "utcp"}


def encode(message: JsonObject, *, binary: bool) -> str | bytes:
    """The message as a text frame, or as the binary one of PeerJS's `json`. Raises InvalidArguments."""
    try:
        data = orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        raise InvalidArguments("The arguments cannot be written as JSON.") from None
    return data if binary else data.decode()


def outcome(message: JsonObject, where: str) -> Any:
    """The value of a reply: `result` or `output`. Raises Rejected for an error, MalformedReply for neither."""
    error = message.get("error")
    if error is None and message.get("type") == "error":
        error = message.get("message", "error")
    if error is not None:
        raise Rejected(f"{where} answered an error: {_words(error)}", status="error", detail=error)
    for key in ("result", "output"):
        if key in message:
            return message[key]
    raise MalformedReply(f"{where} answered neither a result nor an error.")


def manual_of(message: JsonObject, where: str) -> JsonObject:
    """The manual in a reply to discovery: `tools` itself, or within `result`. Raises Rejected, MalformedReply."""
    if "tools" in message:
        return {key: value for key, value in message.items() if key not in _ENVELOPE}
    value = outcome(message, where)
    if is_list(value):
        return {"tools": value}
    if is_object(value):
        return value
    raise MalformedReply(f"{where} answered the question for its tools with no manual.")


@dataclass(slots=True)
class Slot:
    """One call in flight: after `done`, a message with its size in bytes, or an error."""

    done: anyio.Event = field(default_factory=anyio.Event)
    message: JsonObject = field(default_factory=dict[str, Any])
    size: int = 0
    error: UtcpError | None = None

    def settle(self, answer: JsonObject | UtcpError, size: int = 0) -> None:
        """Hand over the answer."""
        if isinstance(answer, UtcpError):
            self.error = answer
        else:
            self.message, self.size = answer, size
        self.done.set()


class Replies:
    """The calls in flight on one channel. Rust answers without an id: then only one call may be in flight."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._waiting: dict[str, Slot] = {}
        self._by_id = False
        self._abandoned = 0
        self.anonymous = False
        """Whether the peer was seen to answer without an id."""

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, identifier: str) -> Slot:
        """A slot for the reply with this id."""
        slot = self._waiting[identifier] = Slot()
        return slot

    def drop(self, identifier: str) -> None:
        """The call is over, or its caller went."""
        if self._waiting.pop(identifier, None) is not None and not self._by_id:
            self._abandoned += 1

    def feed(self, data: str | bytes) -> bool:
        """Hand a message to its call; true if the channel is of no further use."""
        try:
            message = parse_json(data, self._where)
        except MalformedReply as error:
            return self._give_to_the_only_one(error)
        if not is_object(message):
            return self._give_to_the_only_one(MalformedReply(f"{self._where} answered no JSON object."))
        if is_object(control := message.get("__peerData")):
            return control.get("type") == "close"
        size = len(data)
        identifier = message.get("id")
        if identifier is not None:
            self._by_id = True
            if (slot := self._waiting.pop(str(identifier), None)) is not None:
                slot.settle(message, size)
            return False
        if not any(key in message for key in _ANSWERS):
            return False
        self.anonymous = True
        return self._give_to_the_only_one(message, size)

    def fail(self, error: UtcpError) -> None:
        """End every call in flight."""
        while self._waiting:
            self._waiting.popitem()[1].settle(error)

    def _give_to_the_only_one(self, answer: JsonObject | UtcpError, size: int = 0) -> bool:
        if len(self._waiting) == 1 and not self._abandoned:
            self._waiting.popitem()[1].settle(answer, size)
            return False
        if not self._waiting and not self._abandoned:
            return False
        self.fail(MalformedReply(f"{self._where} sent an answer that names no call while more than one was open."))
        return True


def _words(error: Any) -> str:
    if is_object(error):
        error = error.get("message", error)
    text = error if isinstance(error, str) else orjson.dumps(error).decode()
    return text[:_SHOWN]
