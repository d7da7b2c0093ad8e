"""Turn the bytes of a stream into values (sans-I/O): server-sent events, JSON lines, JSON text sequences, chunks.

A splitter receives bytes as they arrive and returns the values that are complete. It buffers at most one value of
`limit` bytes, once, and looks at each byte a bounded number of times, however small the pieces are in which it arrives.
It works in steps of a bounded number of bytes and values, so that a piece of many tiny values does not hold others up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from utcp_bridge.errors import MalformedReply, ReplyTooLarge
from utcp_bridge.foreign import StreamDecoder, decode, is_heavy, visible, visible_json
from utcp_bridge.model import Binary, JsonObject, LogMessage, is_object
from utcp_bridge.net.multipart import parameter
from utcp_bridge.net.reply import json_or_text, parse_json
from utcp_bridge.tasks import at_once

__all__ = [
    "ChunkSplitter",
    "EventSplitter",
    "JsonSplitter",
    "Later",
    "Nesting",
    "Splitter",
    "Steps",
    "TextSplitter",
    "read_event",
    "read_values",
    "splitter_for",
]

_JSON_TYPES = frozenset({
    "application/json", "application/json-seq", "application/jsonl", "application/ndjson", "application/x-jsonlines",
    "application/x-ndjson",
})  # fmt: skip
_MAX_RETRY_SECONDS = 3600.0
_LOG = "log"
_LEVELS = {"trace": "debug", "warn": "warning", "err": "error", "fatal": "critical", "panic": "emergency"}
"""Names of levels that MCP calls differently."""
_MAX_CHUNKS_AT_ONCE = 10_000
_DEFAULT_MOST = 10_001
_BLANKS = re.compile(r"[ \t\n\r]*")
_MARKS = frozenset({0x00, 0xEF, 0xFE, 0xFF})
"""First bytes of byte order marks."""


_STEP_BYTES: Final = 16_384
_STEP_VALUES: Final = 32
"""Lines or values after which a step ends."""
Steps: TypeAlias = Generator[None, None, None]


@dataclass(frozen=True, slots=True)
class Later:
    """A value that takes long to read: its bytes, and the work that makes the value of them, or several in a row.

    A worker process can do the work, so it is a function that can be named, and its arguments are JSON.
    """

    data: bytes = field(repr=False)
    work: Callable[..., Any]
    arguments: JsonObject = field(default_factory=dict[str, Any], repr=False)
    is_many: bool = False
    """Whether the work returns a list of values in a row."""

    def values(self) -> list[Any]:
        """Read it here.

        :raises MalformedReply: it cannot be read.
        """
        found = self.work(self.data, **self.arguments)
        return found if self.is_many else [found]


class Splitter(Protocol):
    """Turns the bytes of one stream into values."""

    def steps(self, data: bytes, into: list[Any]) -> Steps:
        """Add the values that `data` completes to `into`, in small steps. Large values are `Later`.

        :raises MalformedReply: a value cannot be read. `into` has those before it.
        :raises ReplyTooLarge: a value is above the limit. `into` has those before it.
        """
        ...

    def last_steps(self, into: list[Any]) -> Steps:
        """Add the values that the end of the stream completes, as `steps` does.

        :raises MalformedReply: a value cannot be read.
        """
        ...

    def feed(self, data: bytes) -> list[Any]:
        """Return the values that `data` completes, for callers that may wait."""
        ...

    def finish(self) -> list[Any]:
        """Return the values that the end of the stream completes, for callers that may wait."""
        ...


class _InSteps:
    """Offers the steps of a splitter as one, for callers that may wait."""

    __slots__ = ()

    def feed(self: Splitter, data: bytes) -> list[Any]:
        """Return the values that `data` completes."""
        into: list[Any] = []
        at_once(self.steps(data, into))
        return _read(into)

    def finish(self: Splitter) -> list[Any]:
        """Return the values that the end of the stream completes."""
        into: list[Any] = []
        at_once(self.last_steps(into))
        return _read(into)


def _read(found: list[Any]) -> list[Any]:
    return [value for one in found for value in (one.values() if isinstance(one, Later) else [one])]


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _STEP_BYTES):
        yield data[start : start + _STEP_BYTES]


def splitter_for(content_type: str, *, chunk_size: int, limit: int, where: str, most: int = _DEFAULT_MOST) -> Splitter:
    """Return the splitter for a Content-Type: JSON values, events, text, or chunks of bytes for any other type.

    The reader stops before it has `most` values, so that more of them at once are not read.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    charset = parameter(content_type, "charset") or None
    if media_type in _JSON_TYPES or media_type.endswith("+json"):
        return JsonSplitter(limit, where, charset, most)
    if media_type == "text/event-stream":
        return EventSplitter(limit, where, logs=True)
    return TextSplitter(charset) if media_type.startswith("text/") else ChunkSplitter(chunk_size)


@dataclass(slots=True)
class EventSplitter(_InSteps):
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
    _rest: bytearray = field(default_factory=bytearray)
    """The beginning of a line, in UTF-8."""
    _skip_newline: bool = False
    _name: str = ""
    _id: str | None = None
    _data: bytearray | None = None
    """The lines of data of the event, in UTF-8."""

    def steps(self, data: bytes, into: list[Any]) -> Steps:
        for piece in _pieces(data):
            for number, line in enumerate(self._lines(piece)):
                if line:
                    self._field(line)
                elif self._data is not None or self._id is not None or self._name:
                    into += self._dispatch()
                if not number % _STEP_VALUES:
                    yield

    def last_steps(self, into: list[Any]) -> Steps:
        del into
        yield from ()

    def _lines(self, data: bytes) -> Sequence[bytes | bytearray]:
        text = self._decoder.feed(data)
        if self._skip_newline and text:
            self._skip_newline = False
            text = text.removeprefix("\n")
        if "\r" in text:
            self._skip_newline = text.endswith("\r")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines: list[bytes | bytearray] = [*text.encode().split(b"\n")]
        rest = lines.pop()
        if lines and self._rest:
            self._rest += lines[0]
            lines[0] = self._rest
            self._rest = bytearray()
        if rest:
            self._rest += rest
            self._check(len(self._rest))
        return lines

    def new_connection(self) -> None:
        """Forget an incomplete event, before a new connection starts."""
        self._decoder.reset()
        self._rest, self._skip_newline = bytearray(), False
        self._name, self._id, self._data = "", None, None

    def _field(self, line: bytes | bytearray) -> None:
        if line.startswith(b"data:") or line == b"data":
            self._add(line, len(b"data: ") if line.startswith(b"data: ") else len(b"data:"))
            return
        name, _, value = line.decode().partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = min(int(value[:12]) / 1000, _MAX_RETRY_SECONDS)

    def _add(self, line: bytes | bytearray, start: int) -> None:
        """Add what a line of data has from `start` on. A large line is not copied: that takes long."""
        if self._data is None and isinstance(line, bytearray):
            del line[:start]
            self._data = line
        else:
            if self._data is None:
                self._data = bytearray()
            else:
                self._data += b"\n"
            self._data += memoryview(line)[start:]
        self._check(len(self._data))

    def _dispatch(self) -> list[Any]:
        if self._id is not None:
            self.last_event_id = self._id
        data, name = self._data, self._name or "message"
        self._name, self._id, self._data = "", None, None
        if data is None:
            return []
        if name == _LOG and self.logs and self.event_type != _LOG:
            return [_log_message(read_event(data))]
        if self.event_type is not None and name != self.event_type:
            return []
        whole = bytes(data)
        return [Later(whole, read_event)] if is_heavy(whole) else [read_event(whole)]

    def _check(self, size: int) -> None:
        if size > self.limit:
            raise ReplyTooLarge(f"{self.where} sent an event of more than {self.limit} bytes.")


@dataclass(slots=True)
class Nesting:
    """Counts the open brackets of JSON that arrives in pieces; those inside texts do not count."""

    depth: int = 0
    _in_text: bool = False
    _is_escaped: bool = False

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        if not self._in_text and b'"' not in data:
            self._count(data)
            return
        if self._is_escaped and data:
            data, self._is_escaped = data[1:], False
        if b"\\" in data:
            data = data.replace(b"\\\\", b"")
            self._is_escaped = data.endswith(b"\\")
            data = data.replace(b'\\"', b"")
        parts = data.split(b'"')
        self._count(b"".join(parts[self._in_text :: 2]))
        self._in_text ^= len(parts) % 2 == 0

    def _count(self, data: bytes) -> None:
        self.depth += data.count(b"{") + data.count(b"[") - data.count(b"}") - data.count(b"]")


@dataclass(slots=True)
class JsonSplitter(_InSteps):
    """JSON values in a row: one per line (NDJSON), after a record separator (RFC 7464), or with nothing between."""

    limit: int
    where: str
    charset: str | None = None
    most: int = _DEFAULT_MOST
    _rest: bytearray = field(default_factory=bytearray)
    """The beginning of a line."""
    _open: bytearray = field(default_factory=bytearray)
    """The lines so far of a value that continues in the next line, and how deep they lead into it."""
    _nesting: Nesting = field(default_factory=Nesting)
    _decoder: StreamDecoder | None = field(init=False)
    """Decodes the stream, unless it is UTF-8 without a mark: then the parser reads the bytes."""
    _started: bool = False
    _inside: Nesting = field(default_factory=Nesting)
    """How deep `_rest` leads: it is counted as it arrives, because a large line takes long."""
    _known: Nesting | None = None
    """The same of the line whose beginning was in `_rest`."""

    def __post_init__(self) -> None:
        self._decoder = StreamDecoder(self.charset)

    def steps(self, data: bytes, into: list[Any]) -> Steps:
        for piece in _pieces(data):
            for number, line in enumerate(self._lines(self._utf8(piece))):
                if line:
                    yield from self._line(line, into)
                self._known = None
                if len(into) >= self.most:
                    return
                if not number % _STEP_VALUES:
                    yield

    def _utf8(self, data: bytes, *, final: bool = False) -> bytes:
        if not self._started and data:
            self._started = True
            if (self._decoder is None or self._decoder.is_utf8) and data[0] not in _MARKS:
                self._decoder = None
        return data if self._decoder is None else self._decoder.feed(data, final=final).encode()

    def _lines(self, data: bytes) -> list[bytes]:
        *lines, rest = data.replace(b"\x1e", b"\n").split(b"\n")
        if lines and self._rest:
            self._inside.add(lines[0])
            self._known, self._inside = self._inside, Nesting()
            self._rest += lines[0]
            lines[0] = bytes(self._rest)
            self._rest = bytearray()
        self._rest += rest
        self._inside.add(rest)
        if len(self._rest) + len(self._open) > self.limit:
            raise ReplyTooLarge(f"{self.where} sent a value of more than {self.limit} bytes.")
        return lines

    def last_steps(self, into: list[Any]) -> Steps:
        self._rest += self._utf8(b"", final=True)
        text = bytes(self._open + self._rest).strip()
        self._rest, self._open = bytearray(), bytearray()
        if text:
            yield from self._whole(text, into)

    def _line(self, line: bytes, into: list[Any]) -> Steps:
        """Add the values that a line completes; a value may continue in the next line (pretty-printed JSON)."""
        if not self._open:
            text = line.strip()
            if not text:
                return
            try:
                if not is_heavy(text):
                    into.append(parse_json(text, self.where))
                    return
            except MalformedReply:
                pass
            self._nesting = Nesting()
        # No text of JSON contains a newline: each line starts outside of texts, also after one that is not JSON.
        own = self._known or Nesting()
        if self._known is None:
            own.add(line)
        self._nesting = Nesting(self._nesting.depth + own.depth)
        if self._nesting.depth <= 0 and not self._open:
            yield from self._whole(line.strip(), into)
            return
        self._open += line
        self._open += b"\n"
        if self._nesting.depth > 0:
            return
        text, self._open = bytes(self._open).strip(), bytearray()
        yield from self._whole(text, into)

    def _whole(self, text: bytes, into: list[Any]) -> Steps:
        if is_heavy(text):
            into.append(Later(text, read_values, {"where": self.where, "most": self.most}, is_many=True))
        else:
            yield from _concatenated(text, into, self.where, self.most)


def read_values(data: bytes, *, where: str, most: int) -> list[Any]:
    """Return the JSON values in a row, about `most` of them at most. `where` names their source in errors.

    :raises MalformedReply: one of them cannot be read.
    """
    values: list[Any] = []
    at_once(_concatenated(data, values, where, most))
    return values


def _concatenated(data: bytes, into: list[Any], where: str, most: int) -> Steps:
    try:
        into.append(parse_json(data, where))
        return
    except MalformedReply:
        most += len(into)
    decoder = json.JSONDecoder()
    position = 0
    text = decode(data)
    while position < len(text) and len(into) < most:
        try:
            _, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            raise MalformedReply(f"{where} sent a value that is not JSON.") from None
        into.append(parse_json(text[position:end], where))
        position = _after_blanks(text, end)
        if not len(into) % _STEP_VALUES:
            yield


def _after_blanks(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    return found.end() if found else position


@dataclass(slots=True)
class ChunkSplitter(_InSteps):
    """Pieces of exactly `size` bytes. The last one may be shorter."""

    size: int
    _rest: bytearray = field(default_factory=bytearray)

    def steps(self, data: bytes, into: list[Any]) -> Steps:
        self._rest += data
        whole = min(len(self._rest) // self.size, _MAX_CHUNKS_AT_ONCE) * self.size
        for start in range(0, whole, self.size):
            into.append(Binary(bytes(self._rest[start : start + self.size])))
            if not len(into) % _STEP_VALUES:
                yield
        del self._rest[:whole]

    def last_steps(self, into: list[Any]) -> Steps:
        while len(self._rest) >= self.size:
            yield from self.steps(b"", into)
        rest, self._rest = bytes(self._rest), bytearray()
        if rest:
            into.append(Binary(rest))


@dataclass(slots=True)
class TextSplitter(_InSteps):
    """Text as it arrives, never cut inside a character."""

    charset: str | None = None
    _decoder: StreamDecoder = field(init=False)

    def __post_init__(self) -> None:
        self._decoder = StreamDecoder(self.charset)

    def steps(self, data: bytes, into: list[Any]) -> Steps:
        yield from ()
        if text := self._decoder.feed(data):
            into.append(text)

    def last_steps(self, into: list[Any]) -> Steps:
        yield from ()
        if text := self._decoder.feed(b"", final=True):
            into.append(text)


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


def read_event(data: bytes | bytearray) -> Any:
    """Return the value of an event's data in UTF-8: of JSON if it is JSON, else the text."""
    text = data.decode()
    try:
        return parse_json(text, "the event")
    except MalformedReply:
        return json_or_text(text, "the event")
