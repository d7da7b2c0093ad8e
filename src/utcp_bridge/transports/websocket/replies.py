"""The messages of a call over a WebSocket, and the values of the frames of its reply (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from utcp_bridge.errors import ConnectionLost, Rejected
from utcp_bridge.foreign import decode
from utcp_bridge.model import Binary, Deferred, JsonObject, is_object
from utcp_bridge.net.reply import json_or_text, parse_json
from utcp_bridge.placement.encoding import reference_json
from utcp_bridge.transports.websocket.connection import Frame, LargeText

__all__ = ["NOTHING", "ReplyReader", "envelope", "ids_of", "message_text", "parsed", "read_frame"]

ReplyFormat: TypeAlias = Literal["json", "text", "raw"]
NOTHING: Any = object()
"""The value of a frame that is not part of the reply."""

_END = frozenset({"stream_end", "complete", "done"})


def envelope(tool: str, arguments: JsonObject, identifier: str) -> JsonObject:
    """Return the call of UTCP's documents; servers of the Python library read `request_id`."""
    return {"type": "call", "tool": tool, "id": identifier, "request_id": identifier, "params": arguments}


def message_text(message: Any) -> str:
    """Return a message as text: text unchanged, other values as JSON in the spelling of UTCP's Python library."""
    return message if isinstance(message, str) else reference_json(orjson.dumps(message)).decode()


def parsed(frame: Frame) -> Any:
    """Return the object or array that the text contains, else the text."""
    return json_or_text(decode(frame) if isinstance(frame, bytes) else frame, "The server")


def read_frame(data: bytes, *, where: str, form: ReplyFormat | None, is_text: bool) -> Any:
    """Return the value of the only frame of a reply; see `ReplyReader.later`.

    :raises ConnectionLost: the frame ends the reply, which has no value.
    :raises MalformedReply: the format is JSON, and the frame is not.
    """
    _, value = ReplyReader(where, form).read(decode(data) if is_text else data)
    if value is NOTHING:
        raise ConnectionLost(f"{where} sent the end of a reply before the reply.")
    return value


def ids_of(frame: Frame) -> Iterable[str]:
    """Yield the ids of the calls that a frame may belong to."""
    value = parsed(frame)
    if is_object(value):
        yield from (str(value[name]) for name in ("id", "request_id") if name in value)


@dataclass(frozen=True, slots=True)
class ReplyReader:
    """Reads the frames of one reply.

    Envelopes have `result`, `error`, `partial`. `sent_id` is the id of a JSON-RPC request: only a frame with that id is
    its reply. A frame counts only if its members equal those of `wanted`. These members are looked for in any frame
    that contains an object, whatever its format; an envelope or a reply with an id may be a binary frame.
    """

    where: str
    format: ReplyFormat | None = None
    is_envelope: bool = False
    sent_id: Any = None
    wanted: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def takes_any(self) -> bool:
        """Return whether each frame is a part of the reply, so that it need not be read to know that."""
        return not self.is_envelope and self.sent_id is None and not self.wanted

    def later(self, frame: Frame) -> Deferred:
        """Return the only frame of a reply that `takes_any`, to be read later."""
        is_text = isinstance(frame, str | LargeText)
        given: JsonObject = {"where": self.where, "form": self.format, "is_text": is_text}
        return Deferred(frame.encode() if isinstance(frame, str) else frame, ((read_frame, given),))

    def read(self, frame: Frame) -> tuple[bool, Any]:
        """Return whether this frame ends the reply, and its value; NOTHING if it is not part of the reply.

        :raises Rejected: the server returned an error.
        :raises MalformedReply: the format is JSON, and the frame is not.
        """
        value = self._value(frame)
        has_id = self.is_envelope or self.sent_id is not None
        message = parsed(frame) if (has_id or self.wanted) and not is_object(value) else value
        if not is_object(message):
            return False, NOTHING if has_id else value
        if any(message.get(name) != expected for name, expected in self.wanted.items()):
            return False, NOTHING
        if self.is_envelope:
            return self._read_envelope(message)
        if message.get("type") in _END:
            return True, NOTHING
        if self.sent_id is None:
            return False, value
        own = message if isinstance(frame, bytes) else value
        return False, own if message.get("id") == self.sent_id else NOTHING

    def _read_envelope(self, message: JsonObject) -> tuple[bool, Any]:
        kind = message.get("type")
        if kind in _END:
            return True, NOTHING
        if (error := message.get("error")) or kind == "tool_error":
            raise Rejected(f"{self.where} returned an error.", status="error", detail=error)
        return not message.get("partial"), message.get("result", message.get("output"))

    def _value(self, frame: Frame) -> Any:
        if isinstance(frame, bytes):
            return Binary(frame)
        if self.format == "json":
            return parse_json(frame, self.where)
        return frame if self.format in {"text", "raw"} else parsed(frame)
