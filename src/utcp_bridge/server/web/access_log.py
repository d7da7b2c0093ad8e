"""The access log: one JSON line for each HTTP request, also for those that are refused, and for streams at their end.

The log stands around the application, and around what answers requests ahead of it (`net.heads.ahead.Ahead`). Without
the log, neither knows of it. A line has no header, no query, no argument and no result. The names in it are chosen by
clients, so they are cut, and known secrets in them are masked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, Final, Protocol

import orjson
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic_core import from_json

from utcp_bridge.access.admissions import address_of, admission_of, profile_of
from utcp_bridge.foreign import escape_line_ends, visible
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.net.heads.ahead import Ahead, WriteWhole
from utcp_bridge.server.callers import session_digest
from utcp_bridge.server.replies import AsgiApp, Message, Receive, Scope, Send

__all__ = ["AccessLog", "LineSink", "note_left", "note_message"]

_LINE: Final = "utcp_bridge.access_line"
"""Where the scope of a request keeps its line."""
_BEGAN: Final = "utcp_bridge.began"
_PLAIN: Final = frozenset({"", "GET", "POST", "DELETE", "tools/call", "tools/list"})
_MAX_NAME: Final = 128
_MAX_PATH: Final = 256
_VERSIONS: Final = frozenset({*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS})
_HEADERS: Final = (b"mcp-session-id", b"mcp-protocol-version", b"traceparent")
_TRACE: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""`traceparent` (W3C Trace Context, section 3.2)."""


class LineSink(Protocol):
    """Takes the lines, and drops those that it cannot take."""

    @property
    def lost(self) -> int:
        """How many lines were dropped or could not be written."""
        ...

    def __call__(self, line: bytes) -> None:
        """Write a line, without waiting."""
        ...


class AccessLog:
    """Writes the lines to `sink`. `mask` replaces known secrets in a text.

    Keys of each line: time (RFC 3339, UTC; when the request began), address, status (null: the connection ended without
    a response), bytes_in, bytes_out (of the bodies), ms. Keys where they are known: principal, principal_kind, method,
    path, mcp_method, name (of the tool, the prompt or the resource), version, session (the digest of the audit log),
    profile, trace. A head that uvicorn could not read has none of these.
    """

    def __init__(self, sink: LineSink, mask: Callable[[str], str]) -> None:
        self._sink = sink
        self._mask = mask

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
        self._put({"status": status}, perf_counter(), peer[0] if peer else None)

    def write(self, line: _Line) -> None:
        """Write the line of a request."""
        scope, admission = line.scope, admission_of(line.scope)
        headers = dict[bytes, bytes](scope["headers"])
        session, version, trace = (headers.get(name, b"").decode("latin-1") for name in _HEADERS)
        session = session or line.session
        found = _TRACE.fullmatch(trace or line.trace)
        record = {
            "principal": None if admission is None else self._clean(admission.principal.name, _MAX_PATH),
            "principal_kind": None if admission is None else admission.principal.kind,
            "method": self._clean(scope["method"], _MAX_NAME),
            "path": self._clean(scope["path"], _MAX_PATH),
            "status": line.status,
            "mcp_method": self._clean(line.method, _MAX_NAME) or None,
            "name": self._clean(line.name, _MAX_NAME) or None,
            "version": version if version in _VERSIONS else line.version,
            "session": session_digest(session) if session else None,
            "profile": profile_of(scope),
            "trace": None if found is None else found[1],
            "bytes_in": line.received,
            "bytes_out": 0 if scope["method"] == "HEAD" else line.sent,
        }
        self._put(record, line.began, address_of(scope))

    def _put(self, record: JsonObject, began: float, address: str | None) -> None:
        seconds = perf_counter() - began
        time = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
        line = {"time": time, "address": address, **record, "ms": round(seconds * 1000, 3)}
        line = {key: one for key, one in line.items() if one is not None or key == "status"}
        self._sink(escape_line_ends(orjson.dumps(line)) + b"\n")

    def _clean(self, text: str, most: int) -> str:
        if text in _PLAIN:
            return text
        return visible(self._mask(text[: 8 * most]))[:most].encode(errors="replace").decode()


class _Line:
    """The line of one request, as an application around the one that serves it."""

    whole: WriteWhole | None = None
    _receive: Receive
    _send: Send

    def __init__(self, log: AccessLog, scope: Scope, app: Any) -> None:
        self._log, self.scope, self._app = log, scope, app
        self.began: float = scope.get(_BEGAN) or perf_counter()
        self.is_left = False
        self.status: int | None = None
        self.received = self.sent = 0
        self.method = self.name = self.trace = self.session = ""
        self.version: str | None = None
        scope[_LINE] = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, and write its line at the end."""
        self._receive, self._send = receive, send
        if self.whole is not None:
            self._app.whole = self._write_whole
        try:
            await self._app(scope, self._count_received, self._count_sent)
        except Exception:
            self.status = self.status or 500
            raise
        finally:
            if not self.is_left:
                self._log.write(self)

    def disconnected(self) -> None:
        """Pass on that the client has closed the connection."""
        self._app.disconnected()

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
            self.session = next((value.decode() for name, value in message["headers"] if name == _HEADERS[0]), "")
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)

    def _write_whole(self, status: int, lines: bytes, body: bytes) -> bool:
        if self.whole is None or not self.whole(status, lines, body):
            return False
        self.status, self.sent = status, len(body)
        return True


class _LoggedAhead:
    """Answers what another front answers (`net.heads.ahead.Ahead`), with a line for each request."""

    def __init__(self, log: AccessLog, ahead: Ahead) -> None:
        self._log, self._ahead = log, ahead
        self.let_go: Final = ahead.let_go

    def may_take(self, scope: Scope) -> Any:
        """Return what `take` needs. The time of the request begins here."""
        scope[_BEGAN] = perf_counter()
        return self._ahead.may_take(scope)

    def again(self, head: Any, scope: Scope) -> Any:
        """Return what `take` needs for a request with known headers. Its time begins here."""
        scope[_BEGAN] = perf_counter()
        return self._ahead.again(head, scope)

    def take(self, head: Any, scope: Scope, body: bytes) -> Any:
        """Return what answers a request and writes its line; None if the application does."""
        taken = self._ahead.take(head, scope, body)
        if taken is None:
            return None
        line = _Line(self._log, scope, taken)
        line.received = len(body)
        line.note(taken.request.method, taken.request.params, taken.request.meta)
        return line


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
