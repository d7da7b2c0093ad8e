"""Messages on a WebRTC data channel, and which of them belongs to which call (no I/O).

The Go, Rust and Elixir libraries and the specification each have their own object for a call. None of them rejects
unknown fields, so one object has all their fields, unless the template names a `Form`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast
from uuid import uuid4

import anyio
import orjson

from utcp_bridge.errors import ConnectionLost, InvalidArguments, MalformedReply, Rejected, ReplyTooLarge, UtcpError
from utcp_bridge.model import JsonObject, in_seconds, is_list, is_object
from utcp_bridge.net.reply import parse_json

__all__ = [
    "CallInbox",
    "Form",
    "Replies",
    "ReplyLimits",
    "call_message",
    "discovery_message",
    "encode",
    "manual_of",
    "outcome",
    "piece",
]

Form: TypeAlias = Literal["all", "args", "params", "inputs"]
"""Where the arguments of a call are: `args` for Go and Elixir, `params` for Rust, `inputs` for the specification."""
_ENVELOPE = frozenset({"id", "type", "jsonrpc", "result", "error"})
_FRAME = frozenset({"id", "type", "tool", "partial", "done"})
_REPLY = frozenset({"result", "output", "error"})
_END = frozenset({"stream_end", "end", "complete", "done", "close"})
_LAST = _END | {"response", "tool_response"}
_SHOWN = 200
_ANSWERS = ("result", "output", "error", "tools")


def call_message(tool: str, arguments: JsonObject, *, stream: bool = False, form: Form = "all") -> JsonObject:
    """Return one call with an id of its own, in one form or in all."""
    kind = "tool_call_stream" if stream else "tool_call"
    method = "call_tool_stream" if stream else "call_tool"
    forms: dict[str, JsonObject] = {
        "args": {"type": kind, "tool": tool, "args": arguments},
        "params": {"method": method, "params": {"tool": tool, "args": arguments}},
        "inputs": {"type": kind, "tool": tool, "inputs": arguments},
    }
    chosen = forms.values() if form == "all" else [forms[form]]
    return {"id": uuid4().hex, **{key: value for fields in chosen for key, value in fields.items()}}


def discovery_message() -> JsonObject:
    """Return the request for the manual: Rust's `list_tools` and the specification's `utcp` in one object."""
    return {"id": uuid4().hex, "method": "list_tools", "params": {}, "type": "utcp"}


def encode(message: JsonObject, *, binary: bool) -> str | bytes:
    """Return the message as a text frame, or as a binary frame for PeerJS's `json`.

    :raises InvalidArguments: the arguments cannot be written as JSON.
    """
    try:
        data = orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        raise InvalidArguments("The arguments cannot be written as JSON.") from None
    return data if binary else data.decode()


def outcome(message: JsonObject, where: str) -> Any:
    """Return the value of a reply: `result` or `output`.

    :raises Rejected: the reply is an error.
    :raises MalformedReply: it has neither a result nor an error.
    """
    error = message.get("error")
    if error is None and message.get("type") == "error":
        error = message.get("message", "error")
    if error is not None:
        raise Rejected(f"{where} returned an error: {_words(error)}", status="error", detail=error)
    for key in ("result", "output"):
        if key in message:
            return message[key]
    raise MalformedReply(f"{where} returned neither a result nor an error.")


def manual_of(message: JsonObject, where: str) -> JsonObject:
    """Return the manual in a reply to discovery: `tools` itself, or inside `result`.

    :raises Rejected: the reply is an error.
    :raises MalformedReply: it has no manual.
    """
    if "tools" in message:
        return {key: value for key, value in message.items() if key not in _ENVELOPE}
    value = outcome(message, where)
    if is_list(value):
        return {"tools": value}
    if is_object(value):
        return value
    raise MalformedReply(f"{where} returned no manual when the bridge asked for its tools.")


def piece(message: Any, identifier: str, where: str) -> tuple[bool, list[Any]]:
    """Return whether this message ends the stream of call `identifier`, and the values in it (one or none).

    Rust's pieces are any JSON. A `result`, `output` or `error` that is alone, or has the id of the call, is taken out
    of its object. A `type` of `stream_end`, `end`, `complete`, `done` or `close` with nothing else ends the stream, and
    so do `done: true`, `partial: false` and a whole `response`.

    :raises Rejected: the message is an error.
    """
    if not is_object(message):
        return False, [message]
    content = {key: value for key, value in message.items() if key not in _FRAME}
    is_ours = message.get("id") == identifier or "partial" in message
    ends = _ends(message)
    if not is_ours and not (content.keys() <= _REPLY and (content or ends)):
        return False, [message]
    if message.get("error") is not None or message.get("type") == "error":
        outcome(message, where)
    for key in ("result", "output"):
        if key in content:
            return ends, [] if ends and content[key] is None else [content[key]]
    return ends, [content] if content else []


def _ends(message: JsonObject) -> bool:
    if message.get("partial") is True:
        return False
    return message.get("done") is True or message.get("partial") is False or message.get("type") in _LAST


def _words(error: Any) -> str:
    if is_object(error):
        error = error.get("message", error)
    text = error if isinstance(error, str) else orjson.dumps(error).decode()
    return text[:_SHOWN]


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """`size`: bytes of a reply; `idle`: seconds to wait for it; `silence`: a possible reason for a silent peer."""

    size: int
    idle: float
    silence: str | None = None


@dataclass(slots=True)
class CallInbox:
    """The messages for one call in order, with their sizes in bytes, and then an error or the end."""

    identifier: str
    where: str
    limits: ReplyLimits
    complete: bool = False
    """Whether the last message has arrived: the peer sends nothing more."""
    _arrived: deque[tuple[Any, int]] = field(default_factory=deque[tuple[Any, int]])
    _unread: int = 0
    _came: int = 0
    _error: UtcpError | None = None
    _ended: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def put(self, message: Any, size: int, *, last: bool = False) -> None:
        """Add a message. After the last one, nothing more is added."""
        self.complete = self.complete or last
        if not self._ended and self._unread <= self.limits.size:  # above it, the reader has stopped at the limit
            self._arrived.append((message, size))
            self._unread += size
            self._came += 1
        self._ended = self._ended or last
        self._changed.set()

    def end(self, error: UtcpError | None = None) -> None:
        """End the inbox. `error` is raised after the messages are read; without it, there must be a message."""
        if not self._ended:
            self._ended = True
            self._error = error
        self._changed.set()

    @property
    def is_empty(self) -> bool:
        """Whether no message has arrived."""
        return self._came == 0

    async def next(self) -> tuple[Any, int] | None:
        """Return the next message and its size; None after the last. Raises the error that ended the inbox."""
        while not self._arrived:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._changed = anyio.Event()
            await self._changed.wait()
        message, size = self._arrived.popleft()
        self._unread -= size
        return message, size

    async def reply(self) -> JsonObject:
        """Return the reply, or the first of its messages.

        :raises ConnectionLost: the connection ended, or the peer sent nothing.
        :raises ReplyTooLarge: the message is above the limit.
        """
        arrived: tuple[Any, int] | None = None
        with anyio.move_on_after(self.limits.idle):
            arrived = await self.next()
        if arrived is None:
            raise self.silent()
        message, size = arrived
        if size > self.limits.size:
            raise ReplyTooLarge(
                f"{self.where} sent {size} bytes; the limit is {self.limits.size}.", remedy="Raise `max_reply_bytes`."
            )
        return cast("JsonObject", message)

    async def pieces(self, first: JsonObject | None = None) -> AsyncGenerator[tuple[list[Any], int]]:
        """Yield the values of a stream to its end, with their size in bytes. `first` was read already."""
        if first is not None:
            yield piece(first, self.identifier, self.where)[1], 0
        ended = False
        while not ended and (arrived := await self.next()) is not None:
            message, size = arrived
            ended, values = piece(message, self.identifier, self.where)
            self.complete = self.complete or ended
            yield values, size

    def silent(self) -> ConnectionLost:
        """Return the error for a peer that sends nothing."""
        message = f"{self.where} sent nothing for {in_seconds(self.limits.idle)}."
        return ConnectionLost(message, remedy=self.limits.silence)


class Replies:
    """The calls in flight on one channel. If replies have no id (Rust), only one call may be in flight.

    On a channel that is `dedicated` to one stream, every message belongs to that stream.
    """

    def __init__(self, where: str, *, dedicated: bool = False) -> None:
        self._where = where
        self._dedicated = dedicated
        self._waiting: dict[str, CallInbox] = {}
        self._by_id = False
        self._abandoned = 0
        self.anonymous = False
        """Whether the peer has sent a reply without an id."""

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, identifier: str, limits: ReplyLimits) -> CallInbox:
        """Return an inbox for the replies to the call with this id."""
        inbox = self._waiting[identifier] = CallInbox(identifier, self._where, limits)
        return inbox

    def drop(self, identifier: str) -> None:
        """Remove a call that is over, or whose caller is gone."""
        if self._waiting.pop(identifier, None) is not None and not self._by_id:
            self._abandoned += 1

    def feed(self, data: str | bytes) -> bool:
        """Hand a message to its call. Return true if the channel must not be used any more."""
        try:
            message = parse_json(data, self._where)
        except MalformedReply as error:
            return self._give_to_the_only_one(error)
        if is_object(message) and is_object(control := message.get("__peerData")):
            return control.get("type") == "close"
        if self._dedicated:
            for inbox in self._waiting.values():
                inbox.put(message, len(data))
            return False
        if not is_object(message):
            return self._give_to_the_only_one(MalformedReply(f"{self._where} sent a reply that is not a JSON object."))
        return self._hand_over(message, len(data))

    def lose(self, error: UtcpError, *, broken: bool) -> None:
        """End every call in flight with the error, because the channel is closed.

        A stream ends without an error, unless the connection broke or no message has arrived.
        """
        while self._waiting:
            inbox = self._waiting.popitem()[1]
            inbox.end(None if self._dedicated and not broken and not inbox.is_empty else error)

    def _hand_over(self, message: JsonObject, size: int) -> bool:
        identifier = message.get("id")
        if identifier is None:
            if not any(key in message for key in _ANSWERS):
                return False
            self.anonymous = True
            return self._give_to_the_only_one(message, size)
        self._by_id = True
        if (inbox := self._waiting.get(str(identifier))) is not None:
            last = message.get("partial") is not True
            inbox.put(message, size, last=last)
            if last:
                del self._waiting[str(identifier)]
        return False

    def _give_to_the_only_one(self, answer: JsonObject | UtcpError, size: int = 0) -> bool:
        if len(self._waiting) == 1 and not self._abandoned:
            inbox = self._waiting.popitem()[1]
            inbox.complete = True
            if isinstance(answer, UtcpError):
                inbox.end(answer)
            else:
                inbox.put(answer, size, last=True)
            return False
        if not self._waiting and not self._abandoned:
            return False
        self._fail(MalformedReply(f"{self._where} sent a reply without an id while more than one call was open."))
        return True

    def _fail(self, error: UtcpError) -> None:
        while self._waiting:
            self._waiting.popitem()[1].end(error)
