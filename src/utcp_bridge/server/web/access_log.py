"""The access log: one JSON line for each HTTP request, also for those that are refused, and for streams at their end.

The log stands around the application, and around what answers requests ahead of it (`net.heads.ahead.Ahead`). Without
the log, neither knows of it. A line has no header, no query, no argument and no result. The names in it are chosen by
clients, so they are cut, and known secrets in them are masked.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import floor
from time import perf_counter
from typing import Any, Final, Protocol, TypeAlias

import orjson
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic_core import from_json

from utcp_bridge.access.admissions import address_of, admission_of, profile_of
from utcp_bridge.foreign import escape_line_ends, visible
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.net.heads.ahead import Ahead
from utcp_bridge.server.callers import session_digest
from utcp_bridge.server.replies import AsgiApp, Message, Receive, Scope, Send

__all__ = ["AccessLog", "LineSink", "Mask", "note_left", "note_message"]

_LINE: Final = "utcp_bridge.access_line"
"""Where the scope of a request keeps its line."""
_BEGAN: Final = "utcp_bridge.began"
_PLAIN: Final = frozenset({"", "GET", "POST", "DELETE", "tools/call", "tools/list"})
_MAX_NAME: Final = 128
_MAX_PATH: Final = 256
_VERSIONS: Final = frozenset({*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS})
_SESSION: Final = b"mcp-session-id"
_MAX_PARTS: Final = 2_048
_MAX_KEPT: Final = 16
"""Parts of lines that are kept with a head."""
_MAX_NUMBERS: Final = 2_048
_OK: Final = 200
_TRACEPARENT: Final = b"traceparent"
_MAX_REST: Final = 192
"""Bytes of a line but for who asks what."""
_TRACE_LENGTH: Final = 55
_SECONDS: Final = 0.1
"""How long a line waits for others."""
_MAX_ENTRIES: Final = 256
"""Lines that wait, from which on a request that was taken writes them."""
_MAX_WAITING: Final = 64 * 1024
"""Bytes of lines that wait, but for those of requests that were taken: their parts are kept anyway."""
_MAX_KEY: Final = 2_048
"""Characters of what a part is kept by. A longer one is written anew each time."""
_TRACE: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""`traceparent` (W3C Trace Context, section 3.2)."""


class LineSink(Protocol):
    """Takes the lines, and drops those that it cannot take."""

    @property
    def lost(self) -> int:
        """How many lines were dropped or could not be written."""
        ...

    def put_lines(self, lines: Sequence[bytes]) -> None:
        """Write lines in their order, without waiting."""
        ...


class Mask(Protocol):
    """Replaces known secrets (`Redactor`)."""

    changes: int
    """How often the known secrets have changed."""

    def __call__(self, text: str) -> str:
        """Return a text with each known secret replaced."""
        ...


class _Numbers(dict[int, str]):
    """Numbers as they are written in a line, with what is around them. To find one costs less than to write it."""

    def __init__(self, form: str) -> None:
        self._form = form

    def __missing__(self, number: int) -> str:
        if len(self) >= _MAX_NUMBERS:
            self.clear()
        made = self[number] = self._form % number
        return made


_received: Final = _Numbers('"bytes_in":%d,"bytes_out":')
_sent: Final = _Numbers('%d,"ms":')
_milliseconds: Final = _Numbers("%d.")
_THOUSANDTHS: Final = [f'{number:03d}+00:00",' for number in range(1_000)]
"""Of a second, as they are written in the time."""
_MICROSECONDS: Final = [f"{number:03d}}}\n" for number in range(1_000)]

_Asked: TypeAlias = tuple[str, str, str, str | None]
"""What a line has of the message behind a head: method, name, session that begins, version."""
_Entry: TypeAlias = "tuple[_PartsOfLine, bytes, float, float, int | None, int, int]"
"""What a line is made of: `traceparent`, begin and end on the clock `perf_counter`, status, and sizes of the bodies."""


class AccessLog:
    """Writes the lines to `sink`. `mask` replaces known secrets in a text.

    Keys of each line: time (RFC 3339, UTC; when the request began), address, status (null: the connection ended without
    a response), bytes_in, bytes_out (of the bodies), ms. Keys where they are known: principal, principal_kind, method,
    path, mcp_method, name (of the tool, the prompt or the resource), version, session (the digest of the audit log),
    profile, trace. A head that uvicorn could not read has none of these.

    The parts of lines that come again are kept as they are written. A request notes what differs, and lines are written
    together, after a tenth of a second at the latest: to wake the sink's thread costs more than a line. The end of the
    server waits for none.
    """

    def __init__(self, sink: LineSink, mask: Mask) -> None:
        self._sink = sink
        self._mask = mask
        self._parts: dict[tuple[Any, ...], str] = {}
        self._changes = mask.changes
        self._since = time.time() - perf_counter()
        """The time at which the other clock was 0."""
        self._second = -1.0
        self._time = ""
        self._waiting: list[str | _Entry] = []
        """Lines, and what `_lines` makes lines of."""
        self._bytes = 0

    @property
    def lost(self) -> int:
        """How many lines were dropped or could not be written."""
        return self._sink.lost

    def around(self, app: AsgiApp) -> AsgiApp:
        """Return an application that writes a line for each request that it passes to `app`."""

        async def logged(scope: Scope, receive: Receive, send: Send) -> None:
            await (_Line(self, scope, app) if scope["type"] == "http" else app)(scope, receive, send)

        return logged

    def ahead(self, ahead: Ahead) -> Ahead:
        """Return what writes a line for each request that `ahead` takes."""
        return _LoggedAhead(self, ahead)

    def refused(self, peer: tuple[Any, ...] | None, status: int) -> None:
        """Write the line of a request whose head was refused. `peer` is the address of a socket."""
        now = time.time()
        address = "" if peer is None else _members({"address": peer[0]})
        _, begin = self._new_second(floor(now))
        written = f'{begin}{floor(now % 1 * 1000):03d}+00:00",{address}"status":{status},"ms":0.0}}\n'
        self._put(written, len(written))

    def write(self, line: _Line) -> None:
        """Write the line of a request."""
        headers = dict[bytes, bytes](line.scope["headers"])
        made = self._made(line.scope, line.asked, headers)
        trace = headers.get(_TRACEPARENT) or line.trace
        sent = 0 if line.scope["method"] == "HEAD" else line.sent
        self._put((made, _held(trace), line.began, perf_counter(), line.status, line.received, sent), made.size)

    def write_taken(self, taken: Any, scope: Scope) -> None:
        """Write the line of a request that was taken (`hot.posts`), with what its head keeps of the last such line.

        A head is of one principal and of one profile.
        """
        ended = perf_counter()
        head, request, client = taken.head, taken.request, scope["client"]
        asked = request.params["name"] if request.method == "tools/call" else (request.method,)
        made: _PartsOfLine | None = head.lines.get(asked)
        if made is None or made.host != (client and client[0]) or made.changes != self._mask.changes:
            made = self._new_parts(asked, taken, scope)
        trace: Any = b""
        if len(headers := scope["headers"]) > head.usual:
            trace = made.trace_among(headers)
        if not trace and (meta := request.meta):
            trace = meta.get("traceparent", b"")
        if trace:
            trace = _held(trace)
        waiting = self._waiting
        if not waiting:
            self._begin()
        waiting.append((made, trace, taken.began, ended, taken.status, taken.received, taken.sent))
        if len(waiting) >= _MAX_ENTRIES:
            self.flush()

    def _new_parts(self, key: str | tuple[str], taken: Any, scope: Scope) -> _PartsOfLine:
        """Return the parts of lines of requests like this one, and keep them with their head."""
        name, lines = key if isinstance(key, str) else "", taken.head.lines
        made = self._made(scope, (taken.request.method, name, "", None), dict[bytes, bytes](scope["headers"]))
        if len(lines) >= _MAX_KEPT:
            lines.clear()
        if len(name) <= _MAX_NAME:
            lines[key] = made
        return made

    def _made(self, scope: Scope, asked: _Asked, headers: Mapping[bytes, bytes]) -> _PartsOfLine:
        """Return what the line has of a head and of the message behind it, but for the trace."""
        changes = self._mask.changes
        if changes != self._changes or len(self._parts) >= _MAX_PARTS:
            self._parts.clear()  # what is written may have a secret that is known now
            self._changes = changes
        made = _PartsOfLine(self._sender(scope), self._message(asked, scope, headers))
        made.host, made.changes = address_of(scope), changes
        return made

    def flush(self) -> None:
        """Give the sink the lines that wait. At the end of the server, nothing else does it."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            self._sink.put_lines(self._lines(waiting))

    def _lines(self, waiting: Sequence[Any]) -> list[bytes]:
        lines: list[bytes] = []
        add, since, second, time = lines.append, self._since, self._second, self._time
        thousandths, microseconds, milliseconds = _THOUSANDTHS, _MICROSECONDS, _milliseconds
        offset = since - second
        for entry in waiting:
            if type(entry) is str:
                add(entry.encode())
                continue
            parts: _Entry = entry
            made, trace, began, ended, status, received, sent = parts
            of_second = began + offset
            if not 0.0 <= of_second < 1.0:
                second, time = self._new_second(floor(began + since))
                offset = since - second
                of_second = began + offset
            if status != _OK or trace:
                middle = f"{made.unusual(status, trace)}{_received[received]}{_sent[sent]}"
            elif received == made.received and sent == made.sent:
                middle = made.usual
            else:
                middle = made.sized(received, sent)
            took = floor((ended - began) * 1_000_000 + 0.5)
            rest = microseconds[took % 1_000]
            add(f"{time}{thousandths[floor(of_second * 1_000)]}{middle}{milliseconds[took // 1_000]}{rest}".encode())
        return lines

    def _put(self, entry: str | _Entry, size: int) -> None:
        if not self._waiting:
            self._begin()
        self._waiting.append(entry)
        self._bytes += size
        if self._bytes >= _MAX_WAITING:
            self.flush()

    def _begin(self) -> None:
        """Let lines wait for others from now on."""
        asyncio.get_running_loop().call_later(_SECONDS, self.flush)
        self._since = time.time() - perf_counter()

    def _new_second(self, second: int) -> tuple[float, str]:
        """Return a second, and the beginning of its lines."""
        if second != self._second:
            self._second = float(second)
            self._time = f'{{"time":"{datetime.fromtimestamp(second, UTC).isoformat()[:19]}.'
        return self._second, self._time

    def _sender(self, scope: Scope) -> str:
        """Return the members that say who asks what of HTTP."""
        admission = admission_of(scope)
        name, kind = (None, None) if admission is None else (admission.principal.name, admission.principal.kind)
        key = address_of(scope), name, kind, scope["method"], scope["path"]
        if (kept := self._parts.get(key)) is not None:
            return kept
        members = {
            "address": key[0],
            "principal": None if name is None else self._clean(name, _MAX_PATH),
            "principal_kind": kind,
            "method": self._clean(key[3], _MAX_NAME),
            "path": self._clean(key[4], _MAX_PATH),
        }
        return self._keep(key, members)

    def _message(self, asked: _Asked, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """Return the members that say what is asked of MCP. `asked` is as in `_Line.asked`."""
        method, name, opened, said = asked
        stated = headers.get(b"mcp-protocol-version")
        session = headers.get(b"mcp-session-id")
        key = profile_of(scope), method, name, stated, said, session, opened
        if (kept := self._parts.get(key)) is not None:
            return kept
        version = "" if stated is None else stated.decode("latin-1")
        ident = opened if not session else session.decode("latin-1")
        members = {
            "mcp_method": self._clean(method, _MAX_NAME) or None,
            "name": self._clean(name, _MAX_NAME) or None,
            "version": version if version in _VERSIONS else said,
            "session": session_digest(ident) if ident else None,
            "profile": key[0],
        }
        return self._keep(key, members)

    def _keep(self, key: tuple[Any, ...], members: JsonObject) -> str:
        made = _members(members)
        if sum(len(one) for one in key if isinstance(one, str | bytes)) <= _MAX_KEY:
            self._parts[key] = made
        return made

    def _clean(self, text: str, most: int) -> str:
        if text in _PLAIN:
            return text
        return visible(self._mask(text[: 8 * most]))[:most].encode(errors="replace").decode()


def _members(members: JsonObject) -> str:
    """Return the members that are known as JSON, each with the comma behind it."""
    known = {key: one for key, one in members.items() if one is not None}
    return escape_line_ends(orjson.dumps(known))[1:-1].decode() + "," if known else ""


def _held(trace: Any) -> bytes:
    """Return a `traceparent` that waits for its line: one with the length of such a text."""
    if not isinstance(trace, str | bytes) or len(trace) != _TRACE_LENGTH:
        return b""
    return trace.encode(errors="replace") if isinstance(trace, str) else trace


class _PartsOfLine:
    """The parts of lines of requests that ask the same, as they are written."""

    __slots__ = (
        "_message", "_ok", "_place", "_sender", "changes", "host", "received", "sent", "size", "usual",
    )  # fmt: skip

    host: str | None
    """The address that they come from."""
    changes: int
    """How often the known secrets had changed."""

    def __init__(self, sender: str, message: str) -> None:
        self._sender, self._message = sender, message
        self._ok: Final = f'{sender}"status":200,{message}'
        self.size: Final = len(self._ok) + _MAX_REST
        """Characters of such a line, at most."""
        self.sized(0, 0)
        self._place = 0

    def sized(self, received: int, sent: int) -> str:
        """Return the middle of most lines, with these sizes. It is `usual` from now on: most are as the last ones."""
        self.received, self.sent = received, sent
        self.usual = f"{self._ok}{_received[received]}{_sent[sent]}"
        return self.usual

    def unusual(self, status: int | None, trace: bytes) -> str:
        """Return the middle of any line, without sizes."""
        found = _TRACE.fullmatch(trace)
        stated = "null" if status is None else status
        more = "" if found is None else f'"trace":"{found[1].decode()}",'
        return f'{self._sender}"status":{stated},{self._message}{more}'

    def trace_among(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return the `traceparent` among headers. It is mostly at the same place as in the last request."""
        place = self._place
        if place >= len(headers) or headers[place][0] != _TRACEPARENT:
            place = next((place for place, (name, _) in enumerate(headers) if name == _TRACEPARENT), -1)
            if place < 0:
                return b""
            self._place = place
        return headers[place][1]


class _Line:
    """The line of one request, as an application around the one that serves it."""

    is_left = False
    status: int | None = None
    sent = 0
    method = name = trace = session = ""
    version: str | None = None
    _receive: Receive
    _send: Send

    def __init__(self, log: AccessLog, scope: Scope, app: Any) -> None:
        self._log, self.scope, self._app = log, scope, app
        self.began: float = scope.get(_BEGAN) or perf_counter()
        self.received = 0
        scope[_LINE] = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, and write its line at the end."""
        self._receive, self._send = receive, send
        try:
            await self._app(scope, self._count_received, self._count_sent)
        except Exception:
            self.status = self.status or 500
            raise
        finally:
            if not self.is_left:
                self._log.write(self)
            self.scope.pop(_LINE, None)  # a circle would hold the request until the collector finds it

    @property
    def asked(self) -> _Asked:
        """What the line has of the message behind the head."""
        return self.method, self.name, self.session, self.version

    def note(self, method: str, params: Any, meta: Any) -> None:
        """Note the parts of a message of MCP that its line has."""
        found = params if is_object(params) else {}
        self.method = method
        if isinstance(name := found.get("name"), str):
            self.name = name
        elif isinstance(uri := found.get("uri"), str):
            self.name = _name_of(uri)
        if isinstance(version := found.get("protocolVersion"), str) and version in _VERSIONS:
            self.version = version
        if is_object(meta) and isinstance(trace := meta.get("traceparent"), str):
            self.trace = trace

    async def _count_received(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def _count_sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.session = next((value.decode() for name, value in message["headers"] if name == _SESSION), "")
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)


class _LoggedAhead:
    """Answers what another front answers (`net.heads.ahead.Ahead`), with a line for each request."""

    def __init__(self, log: AccessLog, ahead: Ahead) -> None:
        self._log, self._ahead = log, ahead
        self.let_go: Final = ahead.let_go

    def may_take(self, scope: Scope) -> Any:
        """Return what `take` needs. The time of the request begins here."""
        scope[_BEGAN] = perf_counter()
        return self._ahead.may_take(scope)

    def again(self, head: Any, scope: Scope, body: bytes) -> tuple[Any, Any] | None:
        """Return what `take` needs for a request with known headers, and what answers it. Its time begins here."""
        began = perf_counter()
        found = self._ahead.again(head, scope, body)
        if found is not None:
            taken = found[1]
            taken.log, taken.began, taken.received = self._log, began, len(body)
        return found

    def take(self, head: Any, scope: Scope, body: bytes) -> Any:
        """Return what answers a request and writes its line; None if the application does."""
        taken = self._ahead.take(head, scope, body)
        if taken is not None:
            taken.log, taken.began, taken.received = self._log, scope[_BEGAN], len(body)
        return taken


def note_message(scope: Scope, message: Any) -> None:
    """Note what message of MCP a request is, for its line if there is one. `message` is JSON, or its bytes."""
    line: _Line | None = scope.get(_LINE)
    if line is None:
        return
    try:
        read = from_json(message) if isinstance(message, bytes) else message
    except ValueError:
        return  # the request is refused
    if is_object(read) and isinstance(method := read.get("method"), str):
        params = read.get("params")
        line.note(method, params, params.get("_meta") if is_object(params) else None)


def note_left(scope: Scope) -> None:
    """Note that a request went to another process, which writes its line."""
    if (line := scope.get(_LINE)) is not None:
        line.is_left = True


def _name_of(uri: str) -> str:
    """Return a URI without what may be secret: the user with the password, the query and the fragment."""
    scheme, slashes, rest = uri.partition("#")[0].partition("?")[0].partition("//")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}"
