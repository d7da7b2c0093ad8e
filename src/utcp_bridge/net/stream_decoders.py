"""Turn the bytes of a stream into values (sans-I/O): server-sent events, JSON lines, JSON text sequences, chunks.

A splitter receives bytes as they arrive and returns the values that are complete. It buffers at most one value of
`limit` bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from utcp_bridge.errors import MalformedReply, ReplyTooLarge
from utcp_bridge.foreign import StreamDecoder, decode, visible, visible_json
from utcp_bridge.model import Binary, LogMessage, is_object
from utcp_bridge.net.multipart import parameter
from utcp_bridge.net.reply import json_or_text, parse_json

__all__ = ["ChunkSplitter", "EventSplitter", "JsonSplitter", "Splitter", "TextSplitter", "splitter_for"]

_JSON_TYPES = frozenset({
    "application/json", "application/json-seq", "application/jsonl", "application/ndjson", "application/x-jsonlines",
    "application/x-ndjson",
})  # fmt: skip
_MAX_RETRY_SECONDS = 3600.0
_LOG = "log"
_LEVELS = {"trace": "debug", "warn": "warning", "err": "error", "fatal": "critical", "panic": "emergency"}
"""Names of levels that MCP calls differently."""
_MARKS = frozenset({0x00, 0xEF, 0xFE, 0xFF})
"""First bytes of byte order marks."""


class Splitter(Protocol):
    """Turns the bytes of one stream into values."""

    def feed(self, data: bytes) -> list[Any]:
        """Return the values that `data` completes.

        :raises MalformedReply: a value cannot be read.
        :raises ReplyTooLarge: a value is above the limit.
        """
        ...

    def finish(self) -> list[Any]:
        """Return the values that the end of the stream completes.

        :raises MalformedReply: a value cannot be read.
        """
        ...


def splitter_for(content_type: str, *, chunk_size: int, limit: int, where: str) -> Splitter:
    """Return the splitter for a Content-Type: JSON values, events, text, or chunks of bytes for any other type."""
    media_type = content_type.partition(";")[0].strip().lower()
    charset = parameter(content_type, "charset") or None
    if media_type in _JSON_TYPES or media_type.endswith("+json"):
        return JsonSplitter(limit, where, charset)
    if media_type == "text/event-stream":
        return EventSplitter(limit, where, logs=True)
    return TextSplitter(charset) if media_type.startswith("text/") else ChunkSplitter(chunk_size)


@dataclass(slots=True)
class EventSplitter:
    """Server-sent events (WHATWG HTML, section 9.2.6): the data of each event, parsed if it is JSON.

    With `logs`, an event named `log` becomes a `LogMessage`. `event_type` selects events with this name; an event
    without a name is a `message`. `last_event_id` and `retry` (seconds, as the server last named them) are for
    reconnecting. An event that the end of the stream cuts off is dropped, as the standard says.
    """

    limit: int
    where: str
    event_type: str | None = None
    logs: bool = False
    last_event_id: str = ""
    retry: float | None = None
    _decoder: StreamDecoder = field(default_factory=StreamDecoder)
    _rest: str = ""
    _skip_newline: bool = False
    _name: str = ""
    _id: str | None = None
    _data: list[str] = field(default_factory=list[str])
    _size: int = 0

    def feed(self, data: bytes) -> list[Any]:
        text = self._decoder.feed(data)
        if self._skip_newline and text:
            self._skip_newline = False
            text = text.removeprefix("\n")
        lines = (self._rest + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._skip_newline = text.endswith("\r")
        self._rest = lines.pop()
        self._check(len(self._rest))
        return [value for line in lines for value in self._line(line)]

    def finish(self) -> list[Any]:
        return []

    def new_connection(self) -> None:
        """Forget an incomplete event, before a new connection starts."""
        self._decoder.reset()
        self._rest, self._skip_newline = "", False
        self._name, self._id, self._data, self._size = "", None, [], 0

    def _line(self, line: str) -> list[Any]:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._check(self._size + len(value))
            self._data.append(value)
            self._size += len(value) + 1
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = min(int(value[:12]) / 1000, _MAX_RETRY_SECONDS)
        return []

    def _dispatch(self) -> list[Any]:
        if self._id is not None:
            self.last_event_id = self._id
        data, name = self._data, self._name or "message"
        self._name, self._id, self._data, self._size = "", None, [], 0
        if not data:
            return []
        if name == _LOG and self.logs and self.event_type != _LOG:
            return [_log_message(_parsed("\n".join(data)))]
        if self.event_type is not None and name != self.event_type:
            return []
        return [_parsed("\n".join(data))]

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise ReplyTooLarge(f"{self.where} sent an event of more than {self.limit} bytes.")


@dataclass(slots=True)
class JsonSplitter:
    """JSON values in a row: one per line (NDJSON), after a record separator (RFC 7464), or with nothing between."""

    limit: int
    where: str
    charset: str | None = None
    _rest: bytearray = field(default_factory=bytearray)
    _open: list[bytes] = field(default_factory=list[bytes])
    """The lines so far of a value that continues in the next line."""
    _decoder: StreamDecoder | None = field(init=False)
    """Decodes the stream, unless it is UTF-8 without a mark: then the parser reads the bytes."""
    _started: bool = False

    def __post_init__(self) -> None:
        self._decoder = StreamDecoder(self.charset)

    def feed(self, data: bytes) -> list[Any]:
        return self._feed(self._utf8(data))

    def _utf8(self, data: bytes, *, final: bool = False) -> bytes:
        if not self._started and data:
            self._started = True
            if (self._decoder is None or self._decoder.is_utf8) and data[0] not in _MARKS:
                self._decoder = None
        return data if self._decoder is None else self._decoder.feed(data, final=final).encode()

    def _feed(self, data: bytes) -> list[Any]:
        self._rest += data.replace(b"\x1e", b"\n")
        if b"\n" not in data and b"\x1e" not in data and len(self._rest) <= self.limit:
            return []
        *lines, rest = bytes(self._rest).split(b"\n")
        values: list[Any] = []
        for line in lines:
            # Inside a pretty-printed value only a line that starts with its closing bracket can end it.
            if self._open and line[:1] not in b"}]":
                self._open.append(line)
                continue
            found = self._complete(b"\n".join((*self._open, line)))
            self._open = [] if found is not None else [*self._open, line]
            values += found or ()
        self._rest = bytearray(rest)
        if len(self._rest) + sum(map(len, self._open)) > self.limit:
            raise ReplyTooLarge(f"{self.where} sent a value of more than {self.limit} bytes.")
        return values

    def finish(self) -> list[Any]:
        self._rest += self._utf8(b"", final=True)
        text = b"\n".join((*self._open, bytes(self._rest))).strip()
        self._rest, self._open = bytearray(), []
        if not text:
            return []
        return self._concatenated(text)

    def _complete(self, text: bytes) -> list[Any] | None:
        """Return the values in a piece of text; None if it ends inside a value (pretty-printed JSON)."""
        text = text.strip()
        if not text:
            return []
        try:
            return [parse_json(text, self.where)]
        except MalformedReply:
            if text[:1] in b"{[" and text[-1:] not in b"}]":
                return None
            return self._concatenated(text)

    def _concatenated(self, data: bytes) -> list[Any]:
        values: list[Any] = []
        decoder = json.JSONDecoder()
        position = 0
        text = decode(data)
        while position < len(text):
            try:
                _, end = decoder.raw_decode(text, position)
            except (ValueError, RecursionError):
                raise MalformedReply(f"{self.where} sent a value that is not JSON.") from None
            values.append(parse_json(text[position:end], self.where))
            position = end + len(text[end:]) - len(text[end:].lstrip())
        return values


@dataclass(slots=True)
class ChunkSplitter:
    """Pieces of exactly `size` bytes. The last one may be shorter."""

    size: int
    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[Any]:
        self._rest += data
        whole = len(self._rest) // self.size * self.size
        values = [Binary(bytes(self._rest[start : start + self.size])) for start in range(0, whole, self.size)]
        del self._rest[:whole]
        return values

    def finish(self) -> list[Any]:
        rest, self._rest = bytes(self._rest), bytearray()
        return [Binary(rest)] if rest else []


@dataclass(slots=True)
class TextSplitter:
    """Text as it arrives, never cut inside a character."""

    charset: str | None = None
    _decoder: StreamDecoder = field(init=False)

    def __post_init__(self) -> None:
        self._decoder = StreamDecoder(self.charset)

    def feed(self, data: bytes) -> list[Any]:
        text = self._decoder.feed(data)
        return [text] if text else []

    def finish(self) -> list[Any]:
        text = self._decoder.feed(b"", final=True)
        return [text] if text else []


def _log_message(value: Any) -> LogMessage:
    """Return the message of a log event: text, or an object such as `{"level", "logger", "data"}`."""
    if not is_object(value):
        return LogMessage("info", visible_json(value))
    level = str(value.get("level", value.get("severity", "info"))).lower()
    level = _LEVELS.get(level, level)
    data = next((value[key] for key in ("data", "message", "msg") if key in value), value)
    if set(value) - {"level", "severity", "logger", "data", "message", "msg", "event", "type"}:
        data = value
    logger = value.get("logger")
    return LogMessage(level, visible_json(data), visible(logger) if isinstance(logger, str) else None)


def _parsed(text: str) -> Any:
    try:
        return parse_json(text, "the event")
    except MalformedReply:
        return json_or_text(text, "the event")
