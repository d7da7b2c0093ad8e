"""Hot requests over HTTP, taken from uvicorn's protocol as soon as their bodies are there, ahead of ASGI.

A request is taken in two steps. Its head says whether it may be hot: one plain POST to the endpoint that the checks of
`HttpFront` let in, with a small body of JSON and with every header once. Anything else goes to the application at
once, so that a request is refused as early as without the front. Its body then says whether it is hot (`calls.py`),
and agrees with the headers that repeat its parts; otherwise the application gets it, with its body.

Who calls is looked at for each request anew (`access/gatekeeper.py`), also if its head is known. What is kept by a head
is of the one admission that came with it: a token that was revoked, or means another principal now, starts afresh.

Until 2025-11-25 a client that disconnects does not cancel its calls. Since 2026-07-28 it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Protocol

import anyio
from mcp.server.connection import Connection
from mcp.server.runner import modern_error_data
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS, MCP_PARAM_HEADER_PREFIX, decode_header_value
from mcp.shared.transport_context import TransportContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request, empty_receive, empty_send

from utcp_bridge.access.admissions import Admission, admission_of, note_admission
from utcp_bridge.access.gatekeeper import Gatekeeper
from utcp_bridge.access.principals import ANYONE
from utcp_bridge.client_request import CLIENT_REQUEST
from utcp_bridge.model import JsonObject
from utcp_bridge.net.heads.ahead import SAME, WriteWhole
from utcp_bridge.server.callers import known_caller
from utcp_bridge.server.hot.calls import HotCalls, HotConnection, OneWay
from utcp_bridge.server.hot.known_calls import KnownCalls
from utcp_bridge.server.hot.requests import MAX_HOT_BYTES, HotRequest, KnownMeta, read_hot
from utcp_bridge.server.meta_tools import Caller
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.replies import (
    OK,
    Accepted,
    Header,
    McpReply,
    Message,
    Receive,
    Scope,
    Send,
    is_json,
    read_accept,
)
from utcp_bridge.server.wire.protocol import RequestId
from utcp_bridge.tasks import Stoppable, loop_time
from utcp_bridge.telemetry import trace_context

__all__ = ["HotPosts"]

_PARAM: Final = MCP_PARAM_HEADER_PREFIX.lower().encode()
_COLD: Final = frozenset({
    b"origin", b"expect", b"upgrade", b"transfer-encoding", b"content-encoding", b"last-event-id",
    b"content-length", b"mcp-name", b"traceparent", b"tracestate", b"baggage",
})  # fmt: skip
"""Headers of requests that the application serves. The last five are examined apart: here they are there twice."""
_CARRIED: Final = (b"traceparent", b"tracestate", b"baggage")
_IS_CARRIED: Final = frozenset(_CARRIED)
_VARYING: Final = frozenset({b"content-length", b"mcp-name", *_CARRIED})
"""Headers that differ from request to request of one client."""
_TRACE: Final = "utcp_bridge.trace"
"""Where the scope of a request keeps the headers of its trace, if traces are on."""
_NAMED: Final = "mcp-name"
"""Where requests with the same head note which tool it names (`SAME`)."""
_TRANSPORT: Final = TransportContext(kind="streamable-http", can_send_request=False)
_FAILED: Final = 500
_MAX_HEADS: Final = 256
_MAX_CALLERS: Final = 16
_MAX_HEAD_BYTES: Final = 4_096
"""A longer head is examined each time."""


class Checks(Protocol):
    """What judges the headers of requests (`Doors`)."""

    @property
    def edition(self) -> int:
        """A number that grows when the judgement changes."""
        ...


class Entrance(Protocol):
    """The checks that every request passes, and what counts and ends those in flight (`HttpFront`)."""

    def lets_in(self, headers: list[Header]) -> bool:
        """Return whether a request passes the checks of its headers but for who calls."""
        ...

    @property
    def checks(self) -> Checks:
        """What `lets_in` decided holds for the same edition of these."""
        ...

    @property
    def gate(self) -> Gatekeeper | None:
        """What recognises callers, unless it is open; None if anyone may call."""
        ...

    def expect(self, number: int = 1) -> None:
        """Count a request in flight whose body has not come yet, or stop to count it."""
        ...

    def caller_of(self, scope: Scope) -> str:
        """Return what distinguishes the client of a request from others."""
        ...

    def closing(self, send: Send) -> Send:
        """Return a `send` that asks the client to close its connection if the server ends by then."""
        ...

    @property
    def readiness(self) -> Readiness:
        """Says whether clients are asked to close their connections (`is_draining`)."""
        ...

    def enter(self, end: Callable[[], object], admission: Admission | None) -> None:
        """Count a request in flight until `leave`. `end` is called at the end of the server, or of its token."""
        ...

    def leave(self, end: Callable[[], object]) -> None:
        """Stop to count a request in flight."""
        ...

    def why_ended(self, end: Callable[[], object]) -> JsonObject:
        """Return what the client of a call that was cancelled reads."""
        ...


class RequestLog(Protocol):
    """Notes requests in the access log (`web/access_log.py`)."""

    def write_taken(self, taken: Any, scope: Scope) -> None:
        """Write the line of a request that was taken (`_Post`) and has ended."""
        ...


class KnownSession(Protocol):
    """A session of the handshake era (`HandshakeSession`)."""

    @property
    def connection(self) -> Connection:
        """What the SDK keeps of its client."""
        ...


class KnownSessions(Protocol):
    """The sessions of one server (`HandshakeSessions`)."""

    @property
    def replies(self) -> set[McpReply]:
        """Those that are not complete. One that is silent for long has signs of life."""
        ...

    def known(self, ident: str | None, admission: Admission | None) -> Any:
        """Return a session by its id, if it is there and that of the principal. It counts as used."""
        ...

    def begin(
        self, session: Any, asked: HotRequest, reply: McpReply, canceller: Stoppable, hot: HotRequest | None = None
    ) -> Awaitable[JsonObject]:
        """Return the result of a request of a session, which is in flight until `leave`. `canceller` cancels it."""
        ...

    def leave(self, session: Any, ident: RequestId, canceller: Stoppable) -> Awaitable[None] | None:
        """Note that a request of a session has its result. Return what has to be waited for then."""
        ...

    def cancelled(self, request: HotRequest) -> JsonObject:
        """Return the response to a request that its client has cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class _Head:
    """What the headers of a request say that passed every check. `session` is the id of its session."""

    accepted: Accepted
    version: str | None
    is_modern: bool
    method: str | None
    session: str | None
    admission: Admission | None = None
    """Who sends it; None if anyone may call."""
    callers: dict[int, tuple[Any, Caller]] = field(default_factory=dict[int, "tuple[Any, Caller]"], repr=False)
    """The envelopes that came with it from this sender, by their identities, and the clients that they mean."""
    key: tuple[Header, ...] = field(default=(), repr=False)
    """The headers, without those that vary from one request to the next."""
    names: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """What distinguishes the clients that sent it (`Entrance.caller_of`), by their addresses."""
    lines: dict[Any, Any] = field(default_factory=dict[Any, Any], repr=False)
    """What the access log keeps of the requests that came with it from this sender (`RequestLog`)."""
    meta: KnownMeta = field(default_factory=KnownMeta, repr=False)
    """What its requests say of their client, if that is always the same."""
    known: KnownCalls = field(default_factory=KnownCalls, repr=False)
    """The forms of its calls."""
    edition: int = 0
    """The edition of the checks that it passed (`Entrance.edition`)."""
    usual: int = 0
    """How many headers a request has that carries no trace, if it is one that is taken."""
    trace_place: list[int] = field(default_factory=list[int], repr=False)
    """Where `traceparent` was in the last request that had one header more than that."""

    def client_of(self, envelope: tuple[Any, Any]) -> Caller | None:
        """Return the client that an envelope meant when it came with this head from the same principal."""
        known = self.callers.get(id(envelope))
        if known is None or known[0] is not envelope:
            return None
        principal = ANYONE if self.admission is None else self.admission.principal
        return known[1] if known[1].principal is principal else None

    def note_client(self, envelope: tuple[Any, Any], caller: Caller | None) -> None:
        """Note which client an envelope means that came with this head."""
        if caller is not None and len(self.callers) < _MAX_CALLERS:
            self.callers[id(envelope)] = envelope, caller

    def caller_of(self, scope: Scope, front: Entrance) -> str:
        """Return what distinguishes the client of a request with this head."""
        address = scope.get("client")
        host = address[0] if address else ""
        name = self.names.get(host)
        if name is None:
            if len(self.names) >= _MAX_CALLERS:
                self.names.clear()
            name = self.names[host] = front.caller_of(scope)
        return name


class HotPosts:
    """Takes hot requests of a server over HTTP (`net.heads.ahead.Ahead`).

    `schema_with_headers` returns the input schema of a tool of which clients repeat arguments in headers. `is_silent`
    says of a tool's name whether its calls never report progress: only their requests may ask for that here.
    """

    def __init__(
        self,
        calls: HotCalls,
        schema_with_headers: Callable[[str], JsonObject | None],
        is_silent: Callable[[str], bool],
        front: Entrance,
        sessions: KnownSessions,
        path: str,
    ) -> None:
        self.calls: Final = calls
        self._schema_with_headers = schema_with_headers
        self._is_silent = is_silent
        self.front: Final = front
        self.sessions: Final = sessions
        self._path = path
        self._heads: dict[tuple[Header, ...], _Head] = {}
        self.in_flight = 0
        """The requests that were taken and have no response yet."""

    def may_take(self, scope: Scope) -> _Head | None:
        """Return the head of a request that may be hot. The request counts as in flight until `let_go`.

        Clients send the same headers again and again, but for a length, a name and a trace, so they are examined once.
        """
        if scope["method"] != "POST" or scope["path"] != self._path or not self.calls.may_answer:
            return None
        varying: dict[bytes, bytes] = {}
        others: list[Header] = []
        for header in scope["headers"]:
            if header[0] in _VARYING and header[0] not in varying:
                varying[header[0]] = header[1]
            else:
                others.append(header)
        length = varying.get(b"content-length")
        if length is None or not length.isdigit() or int(length) > MAX_HOT_BYTES:
            return None
        key = tuple(others)
        head = self._remembered(key, others)
        if head is not None:
            head = self._let_in(head, scope)
        if head is not None:
            self.front.expect()
            _note_trace(varying, scope)
        return head

    def _remembered(self, key: tuple[Header, ...], headers: list[Header]) -> _Head | None:
        if (known := self._heads.get(key)) is not None and known.edition == self.front.checks.edition:
            return known
        head = self._examined(headers, key)
        if head is not None and sum(len(header[0]) + len(header[1]) for header in headers) <= _MAX_HEAD_BYTES:
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[key] = head
        return head

    def _let_in(self, head: _Head, scope: Scope) -> _Head | None:
        """Return the head with who sends it, which is noted in the scope; None if the application has to ask."""
        headers, keeper = head.key, self.front.gate
        if head.edition != self.front.checks.edition:
            return None
        if keeper is None or keeper.is_open:
            return head if head.admission is None else replace(head, admission=None, callers={}, names={}, lines={})
        if scope["query_string"] or keeper.needed is not None:
            return None
        admission = admission_of(scope)  # judged just now, if it chose the profile
        if admission is None:
            certificate = keeper.certificate_of(scope)
            admission = head.admission
            if admission is None or not keeper.still(admission, certificate):
                admission = keeper.known(headers, certificate)
            if admission is None:
                return None
            note_admission(scope, admission)
        if admission is not head.admission:
            head = replace(head, admission=admission, callers={}, names={}, lines={})
            if headers in self._heads:
                self._heads[headers] = head
        return head

    def _examined(self, headers: list[Header], key: tuple[Header, ...]) -> _Head | None:
        """Return what the headers of a request say, if they pass every check; None if the application looks at them."""
        told = dict(headers)
        if len(told) != len(headers) or not _COLD.isdisjoint(told) or any(name.startswith(_PARAM) for name in told):
            return None
        accepted = read_accept([told.get(b"accept", b"")])
        version = _text(told, b"mcp-protocol-version")
        is_modern = version in MODERN_PROTOCOL_VERSIONS
        if not is_modern and not (version is None or version in HANDSHAKE_PROTOCOL_VERSIONS):
            return None
        method = _text(told, b"mcp-method")
        is_named = method in {"tools/call", "tools/list"} if is_modern else b"mcp-session-id" in told
        if not is_named or not accepted.json or not is_json(_text(told, b"content-type")):
            return None
        session = _text(told, b"mcp-session-id")
        usual = len(key) + 1 + (is_modern and method == "tools/call")  # Content-Length and Mcp-Name vary
        head = _Head(
            accepted, version, is_modern, method, session, key=key, edition=self.front.checks.edition, usual=usual
        )
        return head if self.front.lets_in(headers) else None

    def let_go(self) -> None:
        """Stop counting a request that was let in: it is taken, served by the application, or lost."""
        self.front.expect(-1)

    def again(self, head: _Head, scope: Scope, body: bytes) -> tuple[_Head, _Post] | None:
        """Return the head of a request with known headers, with who sends it, and what answers the request.

        None if it is not taken here.
        """
        if not self.calls.may_answer:
            return None
        found = self._let_in(head, scope)
        if found is None:
            return None
        if len(scope["headers"]) > head.usual and trace_context.is_on():
            self._note_known_trace(head, scope)
        taken = self._taken(found, scope, body)
        return None if taken is None else (found, taken)

    def _note_known_trace(self, head: _Head, scope: Scope) -> None:
        """Note the trace that a request with known headers, and more than the usual ones, continues."""
        headers = scope["headers"]
        more, place = len(headers) - head.usual, head.trace_place
        if more == 1 and place and headers[place[0]][0] == b"traceparent":
            scope[_TRACE] = headers[place[0]][1]
            return
        _note_trace(dict(reversed(headers)), scope)  # the first of a name counts
        if more == 1 and [*scope.get(_TRACE, ())] == [b"traceparent"]:
            place[:] = [next(at for at, (name, _) in enumerate(headers) if name == b"traceparent")]

    def take(self, head: _Head, scope: Scope, body: bytes) -> _Post | None:
        """Return what answers a request; None if the application does."""
        return self._taken(head, scope, body) if self.calls.may_answer and self._still_in(head) else None

    def _taken(self, head: _Head, scope: Scope, body: bytes) -> _Post | None:
        request = head.known.read(body)
        is_known = request is not None
        if request is None and (request := read_hot(body, head.meta)) is None:
            return None
        if not head.is_modern:
            session: KnownSession | None = (
                None if request.version else self.sessions.known(head.session, head.admission)
            )
            if session is None or session.connection.client_params is None:
                return None
            if not is_known and request.method == "tools/call":
                head.known.learn(body, request)
            return _SessionPost(self, head, request, scope, session)
        envelope = self._envelope(request, head, scope)
        if envelope is None:
            return None
        if not is_known and request.method == "tools/call":
            head.known.learn(body, request)
        request.caller = head.client_of(envelope)
        return _ModernPost(self, head, request, scope, envelope)

    def _still_in(self, head: _Head) -> bool:
        """Return whether the sender of a head is still let in, after the time in which its body came."""
        if head.admission is not None:
            return not head.admission.has_lapsed
        return self.front.gate is None or self.front.gate.is_open

    def _envelope(self, request: HotRequest, head: _Head, scope: Scope) -> tuple[Any, Any] | None:
        """Return what the client of a request of 2026-07-28 says of itself; None if the SDK has to look at it."""
        if request.version != head.version or request.method != head.method:
            return None
        if request.method == "tools/call":
            name: str = (request.params or {})["name"]
            same = scope.get(SAME, {})
            if same.get(_NAMED) != name:
                if not _is_named(scope["headers"], name):
                    return None
                same[_NAMED] = name
            if self._schema_with_headers(name) is not None:
                return None
            if request.token is not None and not self._is_silent(name):
                return None
        elif request.token is not None:
            return None
        if request.envelope is None and (found := self.calls.envelope_of(request)) is not None:
            request.envelope = found
            if request.token is None:  # each request has another one
                head.meta.learn(request, found)
        return request.envelope


class _TakenRequest(Request):
    """The request as handlers see it. Most look at nothing of it, so it has its scope alone at first."""

    _receive = staticmethod(empty_receive)
    _send = staticmethod(empty_send)
    _stream_consumed = False
    _is_disconnected = False
    _form = None
    scope: Scope


class _HotReply(McpReply):
    """The reply to a request that was taken. Most are written whole, and need no `send`."""

    def __init__(self, post: _Post, send: Send) -> None:
        # not that of its base, which needs a `send` that closes
        self.request = request = _TakenRequest.__new__(_TakenRequest)
        request.scope = post.scope  # in a third of the time that a call of the class takes
        self._post = post
        self._bare_send = send
        self._accepted = post.head.accepted
        self._sent_at = loop_time() if post.task is None else post.task.get_loop().time()

    @cached_property
    def _send(self) -> Send:  # type: ignore[override]
        post, send = self._post, self._bare_send
        return post.front.closing(send if post.log is None else post.counting(send))

    @property
    def _whole(self) -> WriteWhole | None:  # type: ignore[override]
        post = self._post
        return None if post.front.readiness.is_draining else post.whole


class _Post(Stoppable):
    """A request that was taken: an ASGI application for it alone. It counts as in flight, and ends with the server.

    `client` is what is known of its client: a session, or an envelope.
    """

    whole: WriteWhole | None = None
    task: asyncio.Task[None] | None = None
    log: RequestLog | None = None
    """The access log, if there is one. The members below are for its line."""
    began = 0.0
    received = sent = 0
    """Bytes of the bodies of the request and of the response."""
    status: int | None = None

    def __init__(self, posts: HotPosts, head: _Head, request: HotRequest, scope: Scope, client: Any) -> None:
        self._posts = posts
        self.front: Final = posts.front
        self.head: Final = head
        self.request: Final = request
        self.scope: Final = scope
        self._client = client

    @property
    def caller(self) -> str:
        """Which client sent it (`ClientRequest`). Most calls wait for nobody, and do not ask for it."""
        return self.head.caller_of(self.scope, self.front)

    @property
    def headers(self) -> list[Header]:
        """Its headers (`ClientRequest`)."""
        headers: list[Header] = self.scope["headers"]
        return headers

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer the request."""
        front, head, posts = self.front, self.head, self._posts
        CLIENT_REQUEST.set(self)
        if _TRACE in scope:
            trace_context.continue_in_task(scope[_TRACE])
        reply, replies = _HotReply(self, send), posts.sessions.replies
        front.enter(self.end, head.admission)
        posts.in_flight += 1
        replies.add(reply)
        try:
            self.begin(self.task)
            try:
                response, status = {"jsonrpc": "2.0", "id": self.request.ident, "result": await self._begun(reply)}, OK
            except Exception as raised:  # noqa: BLE001 - the SDK says which text of it clients may read
                response, status = self._refusal(raised)
            finally:
                if (rest := self._ended()) is not None:
                    await rest
            size = reply.write_plain(response, status) if head.is_modern else reply.write(response)
            if size:
                self.status, self.sent = status, size
            else:
                await (reply.send_plain(response, status) if head.is_modern else reply.send(response))
        except asyncio.CancelledError:
            if not self.has_stopped():
                raise
            await self._stopped(reply)
        except Exception:
            self.status = self.status or _FAILED
            raise
        finally:
            replies.discard(reply)
            posts.in_flight -= 1
            front.leave(self.end)
            self.close()
            if self.log is not None:
                self.log.write_taken(self, scope)

    async def _stopped(self, reply: McpReply) -> None:
        """End the reply of a request that was stopped."""
        admission = self.head.admission
        if self.why == "end":
            is_refused = admission is not None and admission.ended
            await reply.end(self.request.ident, self.front.why_ended(self.end), is_refused=is_refused)
        else:
            await self._cancelled(reply)

    def _refusal(self, raised: Exception) -> tuple[JsonObject, int]:
        """Return the response for what the request has raised, and its status of HTTP."""
        error = modern_error_data(raised)
        status = ERROR_CODE_HTTP_STATUS.get(error.code, OK) if self.head.is_modern else OK
        written = error.model_dump(by_alias=True, mode="json", exclude_none=True)
        return {"jsonrpc": "2.0", "id": self.request.ident, "error": written}, status

    def disconnected(self) -> None:
        """Note that the client has closed the connection."""

    def counting(self, send: Send) -> Send:
        """Return a `send` that notes for the access log what it sends."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            else:
                self.sent += len(message.get("body", b""))
            await send(message)

        return counted

    def _begun(self, reply: McpReply) -> Awaitable[JsonObject]:
        """Return the result. Another coroutine around it would take a part of a call's time."""
        raise NotImplementedError

    def _ended(self) -> Awaitable[None] | None:
        """Note that there is a result, or an error. Return what has to be waited for then."""
        raise NotImplementedError

    async def _cancelled(self, reply: McpReply) -> None:
        """End the reply of a request that its client has cancelled."""


class _SessionPost(_Post):
    """A request of a session. Only a `notifications/cancelled` and the end of the server stop it."""

    def _begun(self, reply: McpReply) -> Awaitable[JsonObject]:
        reply.session_id = self.head.session
        return self._posts.sessions.begin(self._client, self.request, reply, self, self.request)

    def _ended(self) -> Awaitable[None] | None:
        return self._posts.sessions.leave(self._client, self.request.ident, self)

    async def _cancelled(self, reply: McpReply) -> None:
        response = self._posts.sessions.cancelled(self.request)
        if size := reply.write(response):
            self.status, self.sent = OK, size
        else:
            await reply.send(response)


class _ModernPost(_Post, OneWay):
    """A request of 2026-07-28, and what the SDK's handlers see of its way: it has no way back but its response."""

    message_metadata = None
    can_send_request = False
    transport = _TRANSPORT
    _connection: HotConnection | None = None

    @property
    def request_id(self) -> RequestId:
        """Part of the SDK's interface."""
        return self.request.ident

    @property
    def cancel_requested(self) -> anyio.Event:
        """Part of the SDK's interface. The task is cancelled instead."""
        return anyio.Event()

    def disconnected(self) -> None:
        """Stop the request: its client cannot read the response."""
        self.cancel()

    def _begun(self, reply: McpReply) -> Awaitable[JsonObject]:
        request, calls = self.request, self._posts.calls
        self._connection = HotConnection.of(calls.no_channel, str(request.version), self._client)
        return calls.respond(request, self, self._connection, reply.request)

    def _ended(self) -> Awaitable[None] | None:
        connection = self._connection
        if connection is None:
            return None
        if self.request.caller is None:
            self.head.note_client(self._client, known_caller(connection))
        return connection.aclose() if connection.is_bound else None


def _note_trace(headers: Mapping[bytes, bytes], scope: Scope) -> None:
    """Note what of a trace, and which baggage, a request carries, if traces are on."""
    if not _IS_CARRIED.isdisjoint(headers) and trace_context.is_on():
        scope[_TRACE] = {name: headers[name] for name in _CARRIED if name in headers}


def _is_named(headers: list[Header], name: str) -> bool:
    """Return whether a request repeats the name of its tool in its `Mcp-Name`, which it has once at most."""
    if name.isascii() and not name.startswith("=?") and (b"mcp-name", plain := name.encode()) in headers:
        return plain == plain.strip()
    for header, stated in headers:
        if header == b"mcp-name":
            text = stated.decode("latin-1")
            return (decode_header_value(text) if text.startswith("=?") else text) == name and stated == stated.strip()
    return False


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
