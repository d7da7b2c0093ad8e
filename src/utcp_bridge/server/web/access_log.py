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
_MAX_HEADS: Final = 256
_OK: Final = 200
_TRACEPARENT: Final = b"traceparent"
_MAX_REST: Final = 192
"""Bytes of a line but for who asks what."""
_TRACE_LENGTH: Final = 55
_SECONDS: Final = 0.1
"""How long a line waits for others."""
_MAX_WAITING: Final = 64 * 1024
"""Bytes of lines that wait."""
_MAX_KEY: Final = 2_048
"""Characters of what a part is kept by. A longer one is written anew each time."""
_TRACE: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
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


_Entry: TypeAlias = "tuple[_PartsOfHead, str, float, float, int | None, int, int]"
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
        self._parts: dict[tuple[Any, ...], bytes] = {}
        self._changes = mask.changes
        self._heads: dict[tuple[Any, ...], _PartsOfHead] = {}
        """What is known of requests that were taken, by what the front made of their heads, their names and clients."""
        self._since = time.time() - perf_counter()
        """The time at which the other clock was 0."""
        self._second = -1
        self._time = b""
        self._waiting: list[bytes | _Entry] = []
        """Lines, and what `_written` makes lines of."""
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
        address = b"" if peer is None else _members({"address": peer[0]})
        parts = self._new_second(int(now)), now % 1 * 1000, address, status
        written = b'%b.%03d+00:00",%b"status":%d,"ms":0.0}\n' % parts
        self._put(written, len(written))

    def write(self, line: _Line) -> None:
        """Write the line of a request."""
        self._look_at_mask()
        made = self._head(line, line.asked)
        trace = dict[bytes, bytes](line.scope["headers"]).get(b"traceparent")
        sent = 0 if line.scope["method"] == "HEAD" else line.sent
        stated = trace.decode("latin-1") if trace else line.trace
        found = stated if len(stated) == _TRACE_LENGTH else ""
        self._put((made, found, line.began, perf_counter(), line.status, line.received, sent), made.size)

    def write_taken(self, line: _TakenLine) -> None:
        """Write the line of a request that was taken, with what is known of the last one with the same head."""
        ended, scope = perf_counter(), line.scope
        self._look_at_mask()
        key = id(line.head), line.name, line.method, scope.get("client")
        made = self._heads.get(key)
        if made is None or not made.fits(scope):
            made = self._heads_of(key, line)
        headers = scope["headers"]
        if headers is not made.headers and (
            made.place < 0 or len(headers) != made.length or headers[made.place][0] != _TRACEPARENT
        ):
            made.look_at(headers)
        trace = line.trace if made.place < 0 else headers[made.place][1].decode("latin-1") or line.trace
        found = trace if len(trace) == _TRACE_LENGTH else ""
        self._put((made, found, line.began, ended, line.status, line.received, line.sent), made.size)

    def _look_at_mask(self) -> None:
        """Forget what is written if other secrets are known now."""
        if self._mask.changes != self._changes or len(self._parts) >= _MAX_PARTS:
            self._parts.clear()
            self._heads.clear()
            self._changes = self._mask.changes

    def _heads_of(self, key: tuple[Any, ...], line: _TakenLine) -> _PartsOfHead:
        made = self._head(line, (line.method, line.name, "", None))
        made.head = line.head
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        self._heads[key] = made
        return made

    def _head(self, line: _Line | _TakenLine, asked: tuple[str, str, str, str | None]) -> _PartsOfHead:
        """Return what the line has of a head and of the message behind it, but for the trace."""
        scope = line.scope
        message = self._message(asked, scope, dict[bytes, bytes](scope["headers"]))
        return _PartsOfHead(scope, self._sender(scope), message)

    def flush(self) -> None:
        """Give the sink the lines that wait. At the end of the server, nothing else does it."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            self._sink.put_lines([one if isinstance(one, bytes) else self._written(one) for one in waiting])

    def _written(self, entry: _Entry) -> bytes:
        head, stated, began, ended, status, received, sent = entry
        second = began + self._since
        found = _TRACE.fullmatch(stated) if stated else None
        return b'%b.%03d+00:00",%b"status":%b,%b%b"bytes_in":%d,"bytes_out":%d,"ms":%.3f}\n' % (
            self._time if int(second) == self._second else self._new_second(int(second)),
            second % 1 * 1000,
            head.sender,
            b"200" if status == _OK else b"null" if status is None else b"%d" % status,
            head.message,
            b"" if found is None else b'"trace":"%b",' % found[1].encode(),
            received,
            sent,
            (ended - began) * 1000,
        )

    def _put(self, entry: bytes | _Entry, size: int) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_later(_SECONDS, self.flush)
            self._since = time.time() - perf_counter()
        self._waiting.append(entry)
        self._bytes += size
        if self._bytes >= _MAX_WAITING:
            self.flush()

    def _new_second(self, second: int) -> bytes:
        """Return the beginning of the lines of a second."""
        if second != self._second:
            self._second = second
            self._time = b'{"time":"%b' % datetime.fromtimestamp(second, UTC).isoformat()[:19].encode()
        return self._time

    def _sender(self, scope: Scope) -> bytes:
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

    def _message(self, asked: tuple[str, str, str, str | None], scope: Scope, headers: Mapping[bytes, bytes]) -> bytes:
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

    def _keep(self, key: tuple[Any, ...], members: JsonObject) -> bytes:
        made = _members(members)
        if sum(len(one) for one in key if isinstance(one, str | bytes)) <= _MAX_KEY:
            self._parts[key] = made
        return made

    def _clean(self, text: str, most: int) -> str:
        if text in _PLAIN:
            return text
        return visible(self._mask(text[: 8 * most]))[:most].encode(errors="replace").decode()


def _members(members: JsonObject) -> bytes:
    """Return the members that are known as JSON, each with the comma behind it."""
    known = {key: one for key, one in members.items() if one is not None}
    return escape_line_ends(orjson.dumps(known))[1:-1] + b"," if known else b""


class _PartsOfHead:
    """The parts of lines of requests with the same head that ask the same, as they are written."""

    __slots__ = ("_admission", "_profile", "head", "headers", "length", "message", "place", "sender", "size")

    def __init__(self, scope: Scope, sender: bytes, message: bytes) -> None:
        self.head: Any = None
        """What the front made of the head. Kept, so that nothing else has its number."""
        self.look_at(scope["headers"])
        self._admission, self._profile = admission_of(scope), profile_of(scope)
        self.sender, self.message = sender, message
        self.size: Final = len(sender) + len(message) + _MAX_REST
        """Bytes of such a line, at most."""

    def look_at(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Find the place of the last `traceparent` among headers; it is -1 if they have none."""
        self.headers, self.length = headers, len(headers)
        self.place = max((place for place, (name, _) in enumerate(headers) if name == _TRACEPARENT), default=-1)

    def fits(self, scope: Scope) -> bool:
        """Return whether a line of a request with such a head has these parts."""
        return self._admission is admission_of(scope) and self._profile == profile_of(scope)


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
    def asked(self) -> tuple[str, str, str, str | None]:
        """What the line has of the message behind the head: method, name, session that begins, version."""
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


class _TakenLine:
    """The line of a request that was taken ahead of the application. What answers that tells it what it sends."""

    __slots__ = ("_log", "_send", "began", "head", "method", "name", "received", "scope", "sent", "status", "trace")

    def __init__(self, log: AccessLog, scope: Scope, taken: Any, size: int) -> None:
        self._log, self.scope, self.head = log, scope, taken.head
        request = taken.request
        self.began: float = scope[_BEGAN]
        self.received, self.sent = size, 0
        self.status: int | None = None
        self.method: str = request.method
        params, meta = request.params, request.meta
        name = params.get("name") if params else None
        self.name: str = name if type(name) is str else ""
        trace = meta.get("traceparent") if meta else None
        self.trace: str = trace if type(trace) is str else ""

    def end(self) -> None:
        """Write the line: the request was answered."""
        self._log.write_taken(self)

    def counted(self, send: Send) -> Send:
        """Return a `send` that notes what it sends."""
        self._send: Send = send
        return self._count_sent

    async def _count_sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
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
        scope[_BEGAN] = perf_counter()
        found = self._ahead.again(head, scope, body)
        if found is not None:
            found[1].line = _TakenLine(self._log, scope, found[1], len(body))
        return found

    def take(self, head: Any, scope: Scope, body: bytes) -> Any:
        """Return what answers a request and writes its line; None if the application does."""
        taken = self._ahead.take(head, scope, body)
        if taken is not None:
            taken.line = _TakenLine(self._log, scope, taken, len(body))
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
