"""Serve MCP over streamable HTTP, every protocol version on one path, and UTCP next to it (`utcp_routes.py`).

The server listens on loopback by default, and beyond loopback only if it recognises its callers, by tokens, OAuth or
client certificates (`access/gatekeeper.py`), or with `insecure`. It always checks Host and Origin, also on 0.0.0.0, and
refuses bodies above 4 MiB. `HttpFront` handles a request first: probes, public documents, who calls, Host and Origin,
tidy headers, the start page. Probes report counts alone, so an orchestrator may call them under any name and without a
token. `McpEndpoint` then serves each protocol era in its own way. `net/asgi_server.py` bounds connections and request
heads before all of it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any, Final, cast

import anyio
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp_types import PARSE_ERROR, PROTOCOL_VERSION_META_KEY
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from utcp_bridge import __version__
from utcp_bridge.access.admissions import Admission, address_of, admission_of, note_admission
from utcp_bridge.access.challenges import WELL_KNOWN, Refused
from utcp_bridge.access.gatekeeper import Gatekeeper, gatekeeper_for
from utcp_bridge.access.principals import ANYONE, Principal
from utcp_bridge.client_request import CLIENT_REQUEST, KnownClientRequest
from utcp_bridge.console.admin import LockPort
from utcp_bridge.model import JsonObject, Requester, is_object
from utcp_bridge.net.asgi_server import serve_asgi
from utcp_bridge.net.heads.ahead import Ahead
from utcp_bridge.net.listening import ConnectionLimits, base_url, for_url, listen
from utcp_bridge.net.tls import ListenerTls
from utcp_bridge.pipeline.audit import Refusals
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.hosts.interaction import place_of_state
from utcp_bridge.server.hot.posts import HotPosts
from utcp_bridge.server.incoming import TOO_MANY_VALUES, has_too_many_values, mended_body
from utcp_bridge.server.profiles.ways import ProfileWays
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.replicas.place import here
from utcp_bridge.server.replicas.replica import Replica
from utcp_bridge.server.replies import (
    PROFILE_ENDS,
    SERVER_ENDS,
    Accepted,
    AsgiApp,
    Header,
    McpReply,
    Message,
    Receive,
    Scope,
    Send,
    as_accepted,
    is_json,
    read_accept,
    refuse_at_end,
    respond,
)
from utcp_bridge.server.sessions import HandshakeSessions, Refusal
from utcp_bridge.server.utcp_routes import UtcpRoutes
from utcp_bridge.server.web.access_log import AccessLog, note_left, note_message
from utcp_bridge.server.web.console_door import ConsoleDoor, console_door, missing_console
from utcp_bridge.server.web.discovery import CATALOG_PATH, card_path, serve_document, serve_json
from utcp_bridge.server.web.doors import Doors, ReadableByPages
from utcp_bridge.server.web.listener import ReachedAt, following, listener_tls, prepare_access, refuse_open_door
from utcp_bridge.server.web.metrics_page import PATH as METRICS_PATH
from utcp_bridge.server.web.metrics_page import MetricsPage
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import loop_time, scope_until
from utcp_bridge.telemetry import trace_context
from utcp_bridge.telemetry.trace_context import attached

__all__ = ["HttpFront", "McpEndpoint", "build_app", "serve_http"]

_logger = logging.getLogger(__name__)
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_MAX_CALLER: Final = 600
"""Characters of what names a caller: a session id has at most 545."""
_GRACE_SECONDS: Final = 0.3
"""For requests in flight after the drain, or without one."""
_QUIET_SECONDS: Final = 0.5
"""The drain ends when nothing was in flight for so long. A probe or a client that follows another has this time."""
_LOOK_SECONDS: Final = 0.05
_LAST_RESORT_SECONDS: Final = 3
_BLANKS: Final = (b" ", b"\t")
_AUDITED: Final = {401: "unauthorized", 403: "forbidden"}
"""Outcomes in the audit log by the statuses of refused requests."""
_ALLOW: Final = (b"allow", b"GET, POST, DELETE")
_VERSION: Final = b"mcp-protocol-version"
_SESSION: Final = b"mcp-session-id"


def build_app(server: BridgeServer) -> AsgiApp:
    """Return the ASGI application, for `serve_http` or your own ASGI server. The server must run its lifespan.

    :raises ConfigError: the settings would serve beyond loopback without a token.
    """
    settings = server.client.settings
    refuse_open_door(settings)
    return _assemble(server, _address(settings, settings.port))[0]


def _address(settings: BridgeSettings, port: int) -> str:
    """Return the URL of the MCP endpoint."""
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{for_url(settings.host)}:{port}{settings.path}"


def _assemble(
    server: BridgeServer, address: str, lock: LockPort | None = None, tls: ListenerTls | None = None
) -> tuple[AsgiApp, HttpFront, Ahead, ProfileWays[BridgeServer, McpEndpoint]]:
    settings, whole = server.client.settings, server.part.whole
    keeper = gatekeeper_for(settings, address, whole.root)
    ways = ProfileWays(server, McpEndpoint, _bare(settings.path))
    app = Starlette(
        routes=[
            *(Route(path, endpoint=RequestBodyLimitMiddleware(ways.mcp, MAX_BODY_BYTES)) for path in ways.paths),
            *ways.utcp_routes(),
        ],
        lifespan=lambda _: _lifespan(ways, keeper),
        exception_handlers={404: partial(_not_found, settings.path)},
    )
    doors = Doors(settings)
    whole.on_settings.append(partial(doors.renew, settings))
    front = HttpFront(
        cast("AsgiApp", app),
        server.readiness,
        keeper,
        doors=doors,
        path=settings.path,
        at_end=ways.end_streams,
    )
    ways.end_calls_of = partial(front.end_requests, why=PROFILE_ENDS)
    front.console = console_door(server, doors, keeper, lock)
    front.refusals = whole.refusals
    if settings.metrics:
        front.metrics = MetricsPage(whole, server.readiness)
    ways.prepare(
        lambda one, paths: UtcpRoutes(one).routes(paths),
        lambda one, end, path: HotPosts(
            one.hot, one.catalogue.schema_with_headers, one.is_silent, front, end.sessions, path
        ),
    )
    whole.on_prepare.append(partial(prepare_access, keeper, ways, ReachedAt(address, whole.root, tls)))
    if tls is not None:
        tls.on_authorities.append(keeper.judge_again)
    return ReadableByPages(front, settings), front, ways.ahead(keeper), ways


@contextmanager
def _closing_at_failure(listeners: Iterable[socket.socket]) -> Generator[None]:
    try:
        yield
    except BaseException:
        for listener in listeners:
            listener.close()
        raise


def _limits(settings: BridgeSettings, access: AccessLog | None) -> ConnectionLimits:
    """Return the limits on the connections of this process: its share of those of all."""

    def most() -> tuple[int, int | None]:
        per_address = None if settings.insecure else settings.max_connections_per_address
        return -(-settings.max_connections // here().count), per_address

    limits = ConnectionLimits(now=most, idle=lambda: settings.keep_alive_timeout, grace=_LAST_RESORT_SECONDS)
    return limits if access is None else replace(limits, on_refused=access.refused)


@asynccontextmanager
async def _lifespan(ways: ProfileWays[BridgeServer, McpEndpoint], keeper: Gatekeeper) -> AsyncGenerator[None]:
    async with ways.run(), anyio.create_task_group() as group:
        group.start_soon(keeper.keep_house)
        yield
        group.cancel_scope.cancel()
    await keeper.aclose()


async def _not_found(path: str, _request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "not found", "message": f"The MCP endpoint of this server is {path}."}, 404)


async def serve_http(
    server: BridgeServer,
    *,
    on_ready: Callable[[str], None] | None = None,
    replica: Replica | None = None,
    access: AccessLog | None = None,
    lock: LockPort | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. After SIGTERM, the server goes on for a while, and `/readyz` says that it ends.

    `on_ready` receives the endpoint's URL once the server accepts connections, with the real port. `replica` is this
    process if several serve one address. `access` writes a line for each request. `lock` lets the console compare the
    tools with `utcp.lock`.

    :raises ConfigError: the address cannot be bound, or would be open to everyone.
    """
    settings = server.client.settings
    refuse_open_door(settings)
    tls = listener_tls(settings, server.client.root)
    listeners = listen(settings.host, settings.port) if replica is None else replica.listeners
    url = _address(settings, listeners[0].getsockname()[1])
    with _closing_at_failure(listeners):
        app, front, ahead, ways = _assemble(server, url, lock, tls)
    if access is not None:
        app, ahead = access.around(app), access.ahead(ahead)
        server.readiness.access_lost = lambda: access.lost

    async with AsyncExitStack() as stack:
        if access is not None:
            stack.callback(access.flush)
        if replica is not None:
            for one in ways.servers:
                one.join(replica)
            ways.joins = lambda one: one.join(replica)
            if front.console is not None:
                replica.is_for_console = front.console.takes
            await stack.enter_async_context(replica.working())
        await stack.enter_async_context(following(tls))
        await serve_asgi(
            app,
            listeners,
            on_ready=partial(on_ready, url) if on_ready else lambda: None,
            lifespan="on",
            drain=partial(front.drain, settings.drain_seconds, replica),
            at_end=front.end,
            limits=_limits(settings, access),
            ahead=ahead,
            tls=tls,
            passing=replica,
        )


def _bare(path: str) -> str:
    """Return a path without the slash at its end."""
    return path.rstrip("/") or "/"


class McpEndpoint:
    """The MCP endpoint: the SDK serves 2026-07-28 and later, `HandshakeSessions` the versions before it.

    Any `Accept` is served. A request gets the form that its client reads.
    """

    def __init__(self, server: BridgeServer) -> None:
        self._server: Final = server
        self.sessions: Final = HandshakeSessions(server)
        self._modern: Final = StreamableHTTPSessionManager(server)
        self._serve_modern: Final = self._modern.asgi_app.app
        """What is inside the manager's limit on bodies, which would collect and copy each body a second time."""

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve until the end of the context (lifespan)."""
        async with self._modern.run(), anyio.create_task_group() as group:
            group.start_soon(self.sessions.keep_alive)
            yield
            group.cancel_scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, whose body arrives in one message."""
        headers: list[Header] = scope["headers"]
        version = _first(headers, _VERSION)
        handshake = version is None or version in HANDSHAKE_PROTOCOL_VERSIONS
        try:
            if scope["method"] == "POST":
                await self._post(scope, receive, send, version if handshake else None, handshake=handshake)
            elif not handshake or scope["method"] not in {"GET", "DELETE"}:
                await respond(send, 405, _problem(0, "Send JSON-RPC messages with POST."), [_ALLOW])
            elif scope["method"] == "GET":
                session = await self.sessions.find(_first(headers, _SESSION), version, admission_of(scope))
                await session.listen(receive, send, resumes=_first(headers, b"last-event-id") is not None)
            else:
                await self.sessions.end(_first(headers, _SESSION), version, admission_of(scope))
                await respond(send, 200, {})
        except Refusal as refusal:
            await respond(send, refusal.status, _problem(refusal.code, str(refusal)))

    async def _post(self, scope: Scope, receive: Receive, send: Send, version: str | None, *, handshake: bool) -> None:
        headers: list[Header] = scope["headers"]
        accepted = read_accept(value for name, value in headers if name == b"accept")
        if not is_json(_first(headers, b"content-type")):
            raise Refusal(400, "The body is JSON. Send the header `Content-Type: application/json`.")
        if not (accepted.json or accepted.events):
            raise Refusal(406, "Replies are JSON or event streams. Send `Accept: application/json, text/event-stream`.")
        body = (await receive()).get("body", b"")
        if has_too_many_values(body):
            raise Refusal(400, f"The message was refused: {TOO_MANY_VALUES}.")
        if b'"requestState"' in body and await self._leaves(scope, receive, body):
            return
        message = _parse(body) if handshake or b"initialize" in body else None
        note_message(scope, body if message is None else message)
        if handshake or _opens_session(message):
            await self.serve_message(message, scope, send, accepted, version)
            return
        if _first(headers, b"mcp-method") == "subscriptions/listen" and not accepted.events:
            raise Refusal(406, "`subscriptions/listen` sends events. Add `text/event-stream` to `Accept`.")
        scope["headers"] = [
            *((name, value) for name, value in headers if name not in {b"accept", b"content-type"}),
            (b"accept", b"application/json, text/event-stream"),
            (b"content-type", b"application/json"),
        ]
        await self._serve_modern(scope, _replaying(body, receive), as_accepted(send, accepted))

    async def _leaves(self, scope: Scope, receive: Receive, body: bytes) -> bool:
        """Hand the connection over if the call that `requestState` names is suspended in another process."""
        replica = self._server.replica
        message = _parse(body)
        params = message.get("params") if replica is not None and is_object(message) else None
        state = params.get("requestState") if is_object(params) else None
        if replica is None or not isinstance(state, str) or not replica.pass_on(scope, body, place_of_state(state)):
            return False
        note_left(scope)
        while (await receive())["type"] != "http.disconnect":
            pass
        return True

    async def serve_message(
        self, message: Any, scope: Scope, send: Send, accepted: Accepted, version: str | None
    ) -> None:
        """Serve a message of the handshake era."""
        reply = McpReply(send, accepted, Request(scope))
        try:
            await self.sessions.post(message, _first(scope["headers"], _SESSION), version, reply)
        except Refusal as refusal:
            await respond(send, refusal.status, _problem(refusal.code, str(refusal)))


def _first(headers: Iterable[Header], name: bytes) -> str | None:
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def _opens_session(message: Any) -> bool:
    """Return whether a message begins a session. In the envelope of 2026-07-28, `initialize` is an unknown method."""
    if not is_object(message) or message.get("method") != "initialize":
        return False
    params = message.get("params")
    meta = params.get("_meta") if is_object(params) else None
    return not (is_object(meta) and PROTOCOL_VERSION_META_KEY in meta)


def _parse(body: bytes) -> Any:
    """Return the JSON value of a body.

    :raises Refusal: it is not JSON.
    """
    try:
        return from_json(body.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise Refusal(400, f"The body is not JSON: {error}.", PARSE_ERROR) from None


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the body that was read already, and then what comes."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _problem(code: int, message: str) -> Any:
    return {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}


class _NoDoors:
    """Stands for doors that are open."""

    edition = 0


class HttpFront:
    """Answers `/healthz` (alive) and `/readyz` (first load done); passes the rest on if the caller is recognised."""

    def __init__(
        self,
        app: AsgiApp,
        readiness: Readiness,
        keeper: Gatekeeper | None = None,
        *,
        doors: Doors | None = None,
        path: str = "/mcp",
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        self.readiness: Final = readiness
        """Says whether clients are asked to close their connections."""
        self.gate: Final = keeper
        """What recognises callers, unless it is open; None if anyone may call."""
        self._doors = doors
        self.checks: Final = _NoDoors() if doors is None else doors
        """What `lets_in` decided holds for the same edition of these."""
        self._path = _bare(path)
        self._documents = frozenset({CATALOG_PATH, card_path(path)})
        self.end_streams: Final = at_end
        self.console: ConsoleDoor | None = None
        """Serves the page at `/`. It has visitors of its own."""
        self.metrics: MetricsPage | None = None
        """Answers `/metrics`. It has a token of its own."""
        self.refusals: Refusals | None = None
        """Writes audit lines of requests without a valid token."""
        self._open: dict[Callable[[], object], tuple[Admission | None, bool, JsonObject]] = {}
        """What ends the requests in flight: who sent each, whether it is a call, and what its client reads then."""
        if keeper is not None:
            keeper.on_look, keeper.on_close = self.end_refused, self.end_unknown
        self._calls = 0
        self._used_at = 0.0

    async def drain(self, seconds: float, replica: Replica | None, stop_accepting: Callable[[], None]) -> None:
        """Send clients elsewhere, and serve those that come until none is left, at most for some seconds.

        A balancer without health checks sends requests until a connection is refused. So the second half of the time
        is for the requests in flight alone.
        """
        with anyio.move_on_after(seconds):
            self.begin_drain()
            if replica is not None:
                replica.drain()
            with anyio.move_on_after(seconds / 2):
                await self.until_quiet()
                return
            stop_accepting()
            await self.until_quiet()

    def begin_drain(self) -> None:
        """End event streams, ask clients to close their connections, and report in `/readyz` that the server ends."""
        self.readiness.is_draining = True
        self._used_at = anyio.current_time()
        self.end_streams()

    async def until_quiet(self) -> None:
        """Wait until no request is in flight, and none came for a moment. Event streams do not count."""
        while self._calls or anyio.current_time() - self._used_at < _QUIET_SECONDS:  # noqa: ASYNC110 - also a clock
            await anyio.sleep(_LOOK_SECONDS)

    async def end(self) -> None:
        """End event streams, give requests in flight a moment, then cancel them."""
        self.end_streams()
        await anyio.sleep(_GRACE_SECONDS)
        self.end_requests()

    def end_requests(self, of: Callable[[Principal], bool] = lambda _: True, why: JsonObject = SERVER_ENDS) -> None:
        """Cancel requests in flight: calls and streams end, and a request without a response gets status 503."""
        for end, (admission, is_call, _) in tuple(self._open.items()):
            if of(ANYONE if admission is None else admission.principal):
                self._open[end] = admission, is_call, why
                end()

    def why_ended(self, end: Callable[[], object]) -> JsonObject:
        """Return what the client of a call that was cancelled reads."""
        return self._open[end][2]

    def end_refused(self) -> None:
        """Cancel requests whose token was revoked, and event streams whose token has expired."""
        for end, (admission, is_call, _) in tuple(self._open.items()):
            if admission is not None and (admission.ended or not (is_call or admission.holds())):
                end()

    def end_unknown(self) -> None:
        """Cancel what came when anyone could call, but for calls: event streams, and requests without their body."""
        for end, (admission, is_call, _) in tuple(self._open.items()):
            if admission is None and not is_call:
                end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] in {"/healthz", "/readyz"}:
            await self._probe(scope, self.closing(send))
        elif self.metrics is not None and scope["path"] == METRICS_PATH:
            await self._measure(self.metrics, scope, self.closing(send))
        elif self.console is not None and self.console.takes(scope):
            await self._visit(self.console, scope, receive, send)
        elif scope["path"] in self._documents or self._is_metadata(scope["path"]):
            await self._describe(scope, self.closing(send))
        elif (keeper := self.keeper) is None or await self._recognises(keeper, scope, send):
            scope["headers"] = _stripped(scope["headers"])
            await self._admit(scope, receive, send)

    async def _measure(self, page: MetricsPage, scope: Scope, send: Send) -> None:
        """Serve the metrics. A web page cannot read them: a request of a page of another site has another Host."""
        if self._doors is not None and (refused := self._doors.refusal(scope["headers"])) is not None:
            await respond(send, *refused)
        else:
            await page.serve(scope, send)

    async def _visit(self, console: ConsoleDoor, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the console. At `/`, a bridge without it has its usual start page."""
        scope["headers"] = _stripped(scope["headers"])
        if console.site is None and scope["path"] == "/":
            await _welcome(scope, self.closing(send), self._path, f"\n{missing_console()}\n")
        elif not await console.refuses(scope, self.closing(send)):
            await self.serve(scope, receive, send, console)

    async def _describe(self, scope: Scope, send: Send) -> None:
        """Serve the card or the catalog, to a page of any origin. Their addresses have a Host that was checked."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"origin"]
        if self._doors is not None and (refused := self._doors.refusal(headers)) is not None:
            await respond(send, *refused)
        elif (keeper := self.keeper) is not None and scope["path"].startswith(WELL_KNOWN):
            await serve_json(scope, send, keeper.metadata() or {})
        else:
            await serve_document(scope, send, self._path, needs_token=keeper is not None)

    def _is_metadata(self, path: str) -> bool:
        """Return whether a path is that of the metadata of this server, or of a part of it (RFC 9728)."""
        if not path.startswith(WELL_KNOWN) or (keeper := self.keeper) is None or keeper.metadata() is None:
            return False
        rest = path.removeprefix(WELL_KNOWN)
        return rest in {"", "/", self._path} or rest.startswith(f"{self._path.rstrip('/')}/")

    async def _recognises(self, keeper: Gatekeeper, scope: Scope, send: Send) -> bool:
        """Note who calls, and return True; otherwise answer the request."""
        try:
            note_admission(scope, await keeper.recognise(_stripped(scope["headers"]), scope))
        except Refused as refused:
            if self.refusals is not None and refused.status in _AUDITED:
                self.refusals.note(_AUDITED[refused.status], Requester(refused.principal, address=address_of(scope)))
            headers = [(b"www-authenticate", keeper.challenge(refused))] if refused.status in {401, 403} else []
            await respond(self.closing(send), refused.status, refused.document(), headers)
            return False
        return True

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        if self._doors is not None and (refused := self._doors.refusal(headers)) is not None:
            await respond(self.closing(send), *refused)
            return
        if _bare(scope["path"]) == self._path:
            scope["path"] = self._path
        CLIENT_REQUEST.set(KnownClientRequest(_caller(scope), headers))
        if _is_visit(scope, self._path):
            await _welcome(scope, self.closing(send), self._path)
        else:
            body = mended_body(receive) if scope["method"] == "POST" else receive
            with attached(headers) if trace_context.is_on() else nullcontext():
                await self.serve(scope, body, send, self._app)

    @property
    def keeper(self) -> Gatekeeper | None:
        """What recognises callers; None if anyone may call."""
        return None if self.gate is None or self.gate.is_open else self.gate

    def lets_in(self, headers: list[Header]) -> bool:
        """Return whether a request passes the checks of its headers but for who calls."""
        return (self._doors is None or self._doors.accepts(headers)) and _stripped(headers) is headers

    def expect(self, number: int = 1) -> None:
        """Count a request in flight whose body has not come yet, or stop to count it."""
        self._calls += number
        self._note_use()

    def caller_of(self, scope: Scope) -> str:
        """Return what distinguishes the client of a request from others."""
        return _caller(scope)

    def enter(self, end: Callable[[], object], admission: Admission | None) -> None:
        """Count a call in flight until `leave`. `end` is called at the end of the server, or of its token."""
        self._open[end] = admission, True, SERVER_ENDS
        self._calls += 1

    def leave(self, end: Callable[[], object]) -> None:
        """Stop to count a request in flight."""
        del self._open[end]
        self._calls -= 1
        if self.readiness.is_draining:  # asked here too: each call passes
            self._note_use()

    def _note_use(self) -> None:
        if self.readiness.is_draining:  # nothing else asks for the time
            self._used_at = loop_time()

    def closing(self, send: Send) -> Send:
        """Return a `send` that asks the client to close its connection if the server ends by then."""

        def send_closing(message: Message) -> Awaitable[None]:
            if self.readiness.is_draining and message["type"] == "http.response.start":
                self._note_use()
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            return send(message)

        return send_closing

    async def serve(self, scope: Scope, receive: Receive, send: Send, app: AsgiApp) -> None:
        """Serve a request that was let in. It counts as in flight, and ends with the server.

        It is a call from when its body is there: who sends it must be let in still.
        """
        started, finished, why = False, False, SERVER_ENDS
        send = self.closing(send)
        admission = admission_of(scope)
        is_call = scope["method"] == "POST" and _first(scope["headers"], b"mcp-method") != "subscriptions/listen"

        def watched(message: Message) -> Awaitable[None]:
            nonlocal started, finished
            started = True
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)
            return send(message)

        async def received() -> Message:
            message = await receive()
            if is_call and not message.get("more_body", False) and cancellation.cancel in self._open:
                self._open[cancellation.cancel] = admission, True, self._open[cancellation.cancel][2]
            return message

        with scope_until() as cancellation:
            self._open[cancellation.cancel] = admission, False, SERVER_ENDS
            self._calls += is_call
            try:
                await app(scope, received, watched)
            finally:
                *_, why = self._open.pop(cancellation.cancel)
                self._calls -= is_call
                self._note_use()
        if not cancellation.cancelled_caught or finished:
            return
        if started:
            await send({"type": "http.response.body", "body": b""})
        elif admission is None and self.keeper is not None:
            await respond(send, 401, Refused(401).document())
        elif admission is not None and admission.has_lapsed:
            await respond(send, 401, Refused(401, "invalid_token").document())
        else:
            await refuse_at_end(send, why)

    async def _probe(self, scope: Scope, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await respond(send, 405, {"error": "method not allowed"}, [(b"allow", b"GET, HEAD")])
        elif scope["path"] == "/healthz":
            await respond(send, 200, {"status": "ok"})
        else:
            summary = self.readiness.whole(self.readiness.summary())
            await respond(send, 200 if summary["ready"] else 503, summary)


def _stripped(headers: list[Header]) -> list[Header]:
    """Remove blanks around header values: one of uvicorn's two parsers leaves them there."""
    for _, value in headers:
        if value.startswith(_BLANKS) or value.endswith(_BLANKS):
            return [(name, value.strip(b" \t")) for name, value in headers]
    return headers


def _caller(scope: Scope) -> str:
    """Return what distinguishes clients: the session, or the address and program of a request without a session."""
    headers: list[Header] = scope["headers"]
    caller = _first(headers, _SESSION)
    if caller is None:
        address: tuple[str, int] | None = scope.get("client")
        caller = f"{address[0] if address else ''} {_first(headers, b'user-agent') or ''}"
    admission = admission_of(scope)
    if admission is not None and admission.principal.kind != "shared":
        caller = f"{admission.principal.name} {caller}"
    return caller if len(caller) <= _MAX_CALLER else blake2b(caller.encode(), digest_size=16).hexdigest()


def _is_visit(scope: Scope, path: str) -> bool:
    """Return whether a person looks at the server's address, rather than an MCP client."""
    if scope["method"] not in {"GET", "HEAD"} or scope["path"] not in {path, "/"}:
        return False
    headers: list[Header] = scope["headers"]
    if any(name in {_SESSION, _VERSION} for name, _ in headers):
        return False
    return not read_accept(value for name, value in headers if name == b"accept").names_events


async def _welcome(scope: Scope, send: Send, path: str, more: str = "") -> None:
    text = (
        f"This is utcp-bridge {__version__}, a server for MCP clients. It is running.\n\n"
        f"Give an MCP client (a host such as an IDE or an agent) this address:\n{base_url(scope)}{path}\n"
    )
    data = f"{text}{more}".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(data)).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else data})
