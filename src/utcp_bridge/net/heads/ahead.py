"""What is ahead of uvicorn's way of a request: a front that answers some, heads that are read once, and joined writes.

A client sends nearly the same head with each request of a connection: only the length of the body and the name of the
tool differ. So a head whose request was taken is kept with its connection, without these two values. A later request
with the same bytes around them passes neither the parser nor the records of uvicorn. Its reply is one write.

The same bytes with the same values are found by one look. Their requests share one list of headers, which nobody
changes in place. So is a head that differs from the last one in the place of a trace alone: its list of headers is a
copy with that value.

Only the reading of a head is kept, and nothing that was decided by it: who calls, and whether the front may take the
request, is asked for each request anew (`may_take`). Everything else, also a request that is not whole in one piece of
data, takes uvicorn's way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

from utcp_bridge.tasks import start_among

__all__ = [
    "SAME",
    "Ahead",
    "JoinedWrites",
    "KnownHeads",
    "WriteWhole",
    "cycle_of",
    "head_of_response",
    "plain_answer",
    "start_known",
    "stays_open",
]

_MAX_JOINED: Final = 64 * 1024
"""Most bytes that are copied to be written with the head of a response."""
_MAX_KNOWN: Final = 8
"""Heads that a connection keeps. Most clients send two: that of a call, and that of a list."""
_MAX_KNOWN_BYTES: Final = 4_096
_MAX_REPEATED: Final = 4
"""Heads that a connection keeps as a whole, with the values that vary: many requests have the same ones."""
_LENGTH: Final = b"content-length"
_VARYING: Final = re.compile(rb"\r\n(?i:(content-length|mcp-name|traceparent)): ?([\x21-\x7e]{1,200})(?=\r\n)")
_TRACE: Final = b"traceparent"
_OF_TRACE: Final = b"0123456789abcdef-"
"""What `traceparent` consists of in the form of today. What it says is looked at later."""
_TRACE_LINE: Final = re.compile(rb"\r\n(?i:traceparent): ?([0-9a-f-]{55})(?=\r\n)")
_NAMES: Final = (_LENGTH, b"mcp-name", _TRACE)
_MAX_DIGITS: Final = 5
_END: Final = b"\r\n\r\n"
_CLOSE: Final = (b"connection", b"close")
SAME: Final = "utcp_bridge.same"
"""Where a scope has a dict that requests with the same head share, but for a trace: what follows from it alone."""
_OWN: Final = "utcp_bridge."
"""What the server adds to a scope, such as who calls: that is of one request."""

WriteWhole: TypeAlias = Callable[[int, bytes, bytes], bool]
"""Writes a whole response: its status, its own header lines and its body.

Returns False if the response has to be sent message by message.
"""


class Ahead(Protocol):
    """Answers some requests ahead of the application, which then sees nothing of them."""

    def may_take(self, scope: Any) -> Any:
        """Return what `take` needs if a request may be taken, by its head. No application starts before `let_go`."""
        ...

    def let_go(self) -> None:
        """Note that a request that may be taken waits no longer for its body."""
        ...

    def again(self, head: Any, scope: Any, body: bytes) -> tuple[Any, Any] | None:
        """Return what `take` needs for a request with known headers whose body has come, and what that returns.

        None if it is not taken. `head` is that of the last request with the same headers, but for the length and the
        name of the tool.
        """
        ...

    def take(self, head: Any, scope: Any, body: bytes) -> Any:
        """Return an ASGI application for a request whose body has come; None if the usual one serves it.

        Its `disconnected` is called if the client closes the connection. It may send its response by `whole`, which is
        a `WriteWhole`. Its `task` may be set, to the one that runs it.
        """
        ...


@dataclass(slots=True)
class _KnownRequest:
    """A head as it was read: its scope, the headers whose values vary, and a cycle of uvicorn for it.

    `varying` has their names, and their places in the scope, in the order of the head. `head` is what the front made of
    it (`Ahead.again`).
    """

    scope: dict[str, Any]
    varying: tuple[tuple[bytes, int], ...]
    kind: Any
    cycle: dict[str, Any]
    head: Any

    @property
    def repeats(self) -> bool:
        """Whether a whole head may come again: the trace of each request is another one."""
        return all(name != _TRACE for name, _ in self.varying)


class _Traced(NamedTuple):
    """A head with a trace, as bytes around the value of the trace. `size` is that of the whole request."""

    before: bytes
    after: bytes
    begin: int
    end: int
    body: int
    size: int
    known: _KnownRequest
    scope: dict[str, Any]
    place: int
    """Of the trace in the list of headers."""


_NOTHING: Final[tuple[bytes, Any, dict[str, Any], int]] = (b"", None, {}, -1)
"""A head with its empty line, what is known of it, its scope, and the size of a request with it: no data has this."""


class KnownHeads:
    """The heads of one connection whose requests were taken."""

    __slots__ = ("_known", "_last", "_repeated", "_traced")

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], _KnownRequest] = {}
        self._repeated: dict[bytes, tuple[_KnownRequest, dict[str, Any], int]] = {}
        """Whole heads: what is known of them, their scope, and the size of a request with such a head."""
        self._last = _NOTHING
        """The last of them that came again. To compare it with the beginning of a request costs less than to look."""
        self._traced: _Traced | None = None
        """The last head with a trace."""

    def forget(self) -> None:
        """Forget all: the connection has ended."""
        self._known.clear()
        self._repeated.clear()
        self._last, self._traced = _NOTHING, None

    def learn(self, data: bytes, cycle: Any, ahead: Any = None) -> None:
        """Keep the head of a request that was taken, if `data` is the whole request. Its response has not begun.

        `ahead` is what the front made of it.
        """
        if len(self._known) >= _MAX_KNOWN or not stays_open(cycle):
            return
        end = data.find(_END)
        scope = cycle.scope
        if not 0 < end <= _MAX_KNOWN_BYTES or not _is_head_of(data[:end], scope):
            return
        key, values = _split(data, end)
        names = [field for field, _ in scope["headers"]]
        found = [name.lower() for name in key[1::2]]
        if not _ends_with_body(found, values, len(data) - end - 4):
            return
        if any(names.count(name) != found.count(name) for name in _NAMES) or len({*found}) != len(found):
            return
        varying = tuple((name, names.index(name)) for name in found)
        fields: dict[str, Any] = {**vars(cycle), "body": b"", "more_body": False}
        read = {name: value for name, value in scope.items() if not name.startswith(_OWN)}
        self._known[key] = _KnownRequest(read, varying, cast("Any", type(cycle)), fields, ahead)

    def find(self, data: bytes) -> tuple[_KnownRequest, dict[str, Any], bytes] | None:
        """Return what is known of a request, its scope and its body; None if the head is not known."""
        begin, known, read, size = self._last
        if len(data) == size and data.startswith(begin):
            scope = read.copy()
            scope["state"] = read["state"].copy()
            return known, scope, data[len(begin) :]
        return self._found(data)

    def _found(self, data: bytes) -> tuple[_KnownRequest, dict[str, Any], bytes] | None:
        if (last := self._traced) is not None and len(data) == last.size and data.startswith(last.before):
            trace = data[last.begin : last.end]
            if data.startswith(last.after, last.end) and not trace.translate(None, _OF_TRACE):
                headers = last.scope["headers"].copy()
                headers[last.place] = _TRACE, trace
                scope = last.scope.copy()
                scope["headers"], scope["state"] = headers, last.known.scope["state"].copy()
                return last.known, scope, data[last.body :]
        end = data.find(_END)
        head = data[:end]
        if (repeated := self._repeated.get(head)) is not None:
            self._last = data[: end + 4], *repeated
            same, read, size = repeated
            scope = read.copy()
            scope["state"] = read["state"].copy()
            return (same, scope, data[end + 4 :]) if len(data) == size else None
        if not 0 < end <= _MAX_KNOWN_BYTES:
            return None
        key, values = _split(data, end)
        known = self._known.get(key)
        if known is None:
            return None
        headers = known.scope["headers"].copy()
        for (name, place), value in zip(known.varying, values, strict=True):
            if name == _LENGTH and not _is_length(value, len(data) - end - 4):
                return None
            headers[place] = name, value
        scope = {**known.scope, "headers": headers, "state": known.scope["state"].copy(), SAME: dict[str, Any]()}
        if known.repeats:
            if len(self._repeated) >= _MAX_REPEATED:
                self._repeated.clear()
            self._repeated[head] = known, scope.copy(), len(data)
        else:
            self._traced = _traced(data, end, known, scope)
        return known, scope, data[end + 4 :]


def _traced(data: bytes, end: int, known: _KnownRequest, scope: dict[str, Any]) -> _Traced | None:
    """Return a head around the value of its trace; None if that has another form, or comes twice."""
    found = _TRACE_LINE.search(data, 0, end + 2)
    if found is None:
        return None
    place = next(place for name, place in known.varying if name == _TRACE)
    begin, stop, body = found.start(1), found.end(1), end + len(_END)
    return _Traced(data[:begin], data[stop:body], begin, stop, body, len(data), known, scope.copy(), place)


def cycle_of(known: _KnownRequest, scope: dict[str, Any], default_headers: Any) -> Any:
    """Return uvicorn's record of a request with a known head. It is as the one that was learned was at its start."""
    cycle: Any = known.kind.__new__(known.kind)
    cycle.__dict__ = fields = known.cycle.copy()  # in one piece, which is faster than to set each field
    fields["scope"], fields["default_headers"] = scope, default_headers
    return cycle


def start_known(cycle: Any, taken: Any, running: set[asyncio.Task[Any]], loop: asyncio.AbstractEventLoop) -> None:
    """Start the task that answers a request, which is among the `running` ones until it ends.

    uvicorn lets a callback end that.
    """
    taken.task = start_among(running, _answered(cycle, taken, running), loop)


async def _answered(cycle: Any, taken: Any, running: set[asyncio.Task[Any]]) -> None:
    """Do what `run_asgi` does. It deals itself with all that does not end well."""
    try:
        try:
            await taken(cycle.scope, cycle.receive, cycle.send)
        except BaseException as error:  # noqa: BLE001 - uvicorn notes it and ends the response
            await cycle.run_asgi(partial(_fail, error))
        else:
            if not cycle.response_complete:
                await cycle.run_asgi(_leave)
    finally:
        cycle.on_response = _forgotten
        running.discard(taken.task)
        taken.task = None  # the two would keep each other, and all of the request, until the collector finds them


async def _fail(error: BaseException, *_: Any) -> None:
    """Be the application of a request that has failed."""
    raise error


async def _leave(*_: Any) -> None:
    """Be the application of a request whose response is not complete."""


def _forgotten() -> None:
    """Replace the connection of a response that has ended: the two would keep each other."""


def stays_open(cycle: Any) -> bool:
    """Return whether a connection goes on after a request. Old versions of uvicorn decide it with the response."""
    return bool(cycle.keep_alive) and _CLOSE not in cycle.scope["headers"]


def _is_head_of(data: bytes, scope: dict[str, Any]) -> bool:
    """Return whether a scope is what was read of a head, and not of another request on the connection."""
    first, *lines = data.split(b"\r\n")
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    if first != b"%b %b HTTP/1.1" % (scope["method"].encode(), target) or len(lines) != len(scope["headers"]):
        return False
    for line, (name, value) in zip(lines, scope["headers"], strict=True):
        field, _, text = line.partition(b":")
        if field.lower() != name or text.strip(b" \t") != value.strip(b" \t"):
            return False
    return True


def _split(data: bytes, end: int) -> tuple[tuple[bytes, ...], list[bytes]]:
    """Return the parts of a head that do not vary, and the values that do. `end` is where its last line ends.

    Each second part is the name of a header whose value varies.
    """
    parts: list[bytes] = _VARYING.split(data[: end + 2])
    values = parts[2::3]
    del parts[2::3]
    return tuple(parts), values


def _is_length(value: bytes, size: int) -> bool:
    return len(value) <= _MAX_DIGITS and value.isdigit() and int(value) == size


def _ends_with_body(names: list[bytes], values: list[bytes], size: int) -> bool:
    """Return whether a head says the length of the body that follows it."""
    return _LENGTH in names and _is_length(values[names.index(_LENGTH)], size)


_status_lines: dict[int, bytes] = {}
_default_lines: tuple[Any, bytes] = (None, b"")


def head_of_response(status: int, default_headers: list[tuple[bytes, bytes]], own: bytes) -> bytes:
    """Return the head of a response in the form of uvicorn: status, the server's headers, and the response's own lines.

    uvicorn replaces the list of its headers each second, because they have the date.
    """
    global _default_lines  # noqa: PLW0603 - one date for all connections
    line = _status_lines.get(status)
    if line is None:
        phrase = HTTPStatus(status).phrase
        line = _status_lines[status] = f"HTTP/1.1 {status} {phrase}\r\n".encode()
    if _default_lines[0] is not default_headers:
        lines = b"".join(b"%b: %b\r\n" % (name.lower(), value) for name, value in default_headers)
        _default_lines = default_headers, lines
    return b"%b%b%b\r\n" % (line, _default_lines[1], own)


def plain_answer(status: HTTPStatus, message: str) -> bytes:
    """Return a whole response in words, after which the connection is closed."""
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "content-type: text/plain; charset=utf-8",
        f"content-length: {len(message)}",
        "connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + message).encode("ascii")


class JoinedWrites:
    """A transport that writes the head of a response together with the beginning of its body.

    uvicorn writes them one after the other, each with a system call and a packet of its own. A head without a body goes
    out in the next turn of the event loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._write = transport.write
        self._head = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write the next part of a response."""
        if self._head:
            head, self._head = self._head, b""
            if len(data) < _MAX_JOINED:
                data = head + data
            else:
                self._write(head)
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._call_soon(self._flush)
            return
        self._write(data)

    def write_whole(self, head: bytes, body: bytes) -> None:
        """Write a whole response."""
        if self._head:
            self._flush()
        if len(body) < _MAX_JOINED:
            self._write(head + body)
        else:
            self._transport.writelines((head, body))

    def close(self) -> None:
        """Write what waits, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._write(head)
