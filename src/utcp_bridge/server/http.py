"""Serve MCP over streamable HTTP, every protocol version on one path, and UTCP next to it (`utcp_routes.py`).

The server listens on loopback by default, and beyond loopback only with a bearer token of 16 characters or more (or
`insecure`). It always checks Host and Origin, also on 0.0.0.0, and refuses bodies above 4 MiB. `HttpFront` handles a
request first: probes, the documents of `discovery`, bearer token, Host and Origin, tidy headers, the start page. Probes
report counts alone, so an orchestrator may call them under any name and without a token. `McpEndpoint` then serves each
protocol era in its own way. `net/asgi_server.py` bounds connections and request heads before all of it.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
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
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from utcp_bridge import __version__
from utcp_bridge.catalogue.text import clean
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import CALLER, is_object
from utcp_bridge.net.asgi_server import ConnectionLimits, serve_asgi
from utcp_bridge.net.listening import for_url, host_and_port, is_loopback, listen
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.discovery import CATALOG_PATH, card_path, serve_document
from utcp_bridge.server.hot.posts import HotPosts
from utcp_bridge.server.incoming import TOO_MANY_VALUES, has_too_many_values, mended_body
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.replies import (
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
from utcp_bridge.settings import GENERATED_TOKEN, ServerSettings
from utcp_bridge.tasks import loop_time, scope_until

__all__ = ["Doors", "HttpFront", "McpEndpoint", "build_app", "serve_http"]

_logger = logging.getLogger(__name__)
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_MIN_TOKEN: Final = 16
"""Characters of a token beyond loopback. A caller that guesses the token can call every tool."""
_MAX_CALLER: Final = 600
"""Characters of what names a caller: a session id has at most 545."""
_MAX_REMEMBERED: Final = 64
_MAX_SHOWN: Final = 200
_LOG_SECONDS: Final = 10.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_ANY_ADDRESS: Final = ("0.0.0.0", "::", "[::]")  # noqa: S104 - compared, not bound
_GRACE_SECONDS: Final = 0.3
"""For requests in flight after the drain, or without one."""
_QUIET_SECONDS: Final = 0.5
"""The drain ends when nothing was in flight for so long. A probe or a client that follows another has this time."""
_LOOK_SECONDS: Final = 0.05
_LAST_RESORT_SECONDS: Final = 3
_BLANKS: Final = (b" ", b"\t")
_ALLOW: Final = (b"allow", b"GET, POST, DELETE")
_VERSION: Final = b"mcp-protocol-version"
_SESSION: Final = b"mcp-session-id"


def build_app(server: BridgeServer) -> AsgiApp:
    """Return the ASGI application, for `serve_http` or your own ASGI server. The server must run its lifespan.

    :raises ConfigError: the settings would serve beyond loopback without a token.
    """
    return _assemble(server)[0]


def _assemble(server: BridgeServer) -> tuple[AsgiApp, HttpFront, HotPosts]:
    settings = server.client.settings
    _refuse_open_door(settings)
    token = settings.bearer_token
    endpoint = McpEndpoint(server)
    app = Starlette(
        routes=[
            Route(_bare(settings.path), endpoint=RequestBodyLimitMiddleware(endpoint, MAX_BODY_BYTES)),
            *UtcpRoutes(server).routes(),
        ],
        lifespan=lambda _: endpoint.run(),
        exception_handlers={404: partial(_not_found, settings.path)},
    )
    front = HttpFront(
        cast("AsgiApp", app),
        server.readiness,
        None if token is None else token.get_secret_value(),
        doors=Doors(settings),
        path=settings.path,
        at_end=endpoint.sessions.end_streams,
    )
    outermost: Any = front
    if settings.allowed_browser_origins:
        outermost = CORSMiddleware(
            outermost,
            allow_origins=settings.allowed_browser_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),
            expose_headers=("Mcp-Session-Id", "WWW-Authenticate"),
        )
    return (
        cast("AsgiApp", outermost),
        front,
        HotPosts(server.hot, server.catalogue.schema_with_headers, front, endpoint.sessions, _bare(settings.path)),
    )


async def _not_found(path: str, _request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "not found", "message": f"The MCP endpoint of this server is {path}."}, 404)


async def serve_http(server: BridgeServer, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. After SIGTERM, the server goes on for a while, and `/readyz` says that it ends.

    `on_ready` receives the endpoint's URL once the server accepts connections, with the real port.

    :raises ConfigError: the address cannot be bound, or would be open to everyone.
    """
    settings = server.client.settings
    app, front, ahead = _assemble(server)
    listeners = listen(settings.host, settings.port)
    url = f"http://{for_url(settings.host)}:{listeners[0].getsockname()[1]}{settings.path}"

    async def drain() -> None:
        """Send clients elsewhere, and serve those that come until none is left, at most `drain_seconds`."""
        with anyio.move_on_after(settings.drain_seconds):
            front.begin_drain()
            server.changes.close()
            await front.until_quiet()

    async def end() -> None:
        """Give requests in flight a moment, then cancel them."""
        server.changes.close()
        front.end_streams()
        await anyio.sleep(_GRACE_SECONDS)
        front.end_requests()

    ready = partial(on_ready, url) if on_ready else lambda: None
    per_address = None if settings.insecure else settings.max_connections_per_address
    limits = ConnectionLimits(total=settings.max_connections, per_address=per_address, grace=_LAST_RESORT_SECONDS)
    await serve_asgi(app, listeners, on_ready=ready, lifespan="on", drain=drain, at_end=end, limits=limits, ahead=ahead)


def _refuse_open_door(settings: ServerSettings) -> None:
    token = None if settings.bearer_token is None else settings.bearer_token.get_secret_value()
    if token == GENERATED_TOKEN:
        raise ConfigError(
            f"`bearer_token: {GENERATED_TOKEN}` makes a token for the command `utcp-bridge serve` only.",
            remedy="Set `bearer_token` to a token of your own.",
        )
    is_open = not is_loopback(settings.host) and not settings.insecure
    if token is None and is_open:
        raise ConfigError(
            f"Serving on {settings.host} would let anyone on the network call every tool.",
            remedy=(
                "Set `bearer_token`, listen on 127.0.0.1, or set `insecure: true` behind a proxy that authenticates."
            ),
        )
    if token is not None and len(token) < _MIN_TOKEN:
        what = f"The `bearer_token` has fewer than {_MIN_TOKEN} characters and can be guessed."
        remedy = "Set a long random one, such as the output of `openssl rand -hex 32`."
        if is_open:
            raise ConfigError(what, remedy=remedy)
        _logger.warning("%s %s", what, remedy)


def _bare(path: str) -> str:
    """Return a path without the slash at its end."""
    return path.rstrip("/") or "/"


class McpEndpoint:
    """The MCP endpoint: the SDK serves 2026-07-28 and later, `HandshakeSessions` the versions before it.

    Any `Accept` is served. A request gets the form that its client reads.
    """

    def __init__(self, server: BridgeServer) -> None:
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
                session = await self.sessions.find(_first(headers, _SESSION), version)
                await session.listen(receive, send, resumes=_first(headers, b"last-event-id") is not None)
            else:
                await self.sessions.end(_first(headers, _SESSION), version)
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
        message = _parse(body) if handshake or b"initialize" in body else None
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


class Doors:
    """The Host and Origin values that a server accepts: a page of another site must not reach it (DNS rebinding)."""

    def __init__(self, settings: ServerSettings) -> None:
        names = [*_LOOPBACK, *([] if settings.host in _ANY_ADDRESS else [for_url(settings.host)])]
        self._hosts = _forms([*(form for name in names for form in (name, f"{name}:*")), *settings.allowed_hosts])
        origins = (form for name in _LOOPBACK for form in (f"http://{name}", f"http://{name}:*"))
        self._origins = _forms([*origins, *settings.allowed_browser_origins])
        self._admitted: set[tuple[bytes, bytes | None]] = set()
        self._logged_at = -_LOG_SECONDS
        self._unlogged = 0

    def refusal(self, headers: Iterable[Header]) -> tuple[int, dict[str, str]] | None:
        """Return status and document of a refusal; None if the request may pass."""
        if self.accepts(headers):
            return None
        hosts, origins = _hosts_and_origins(headers)
        return self._refused_host(hosts) or self._refused_origin(origins)

    def accepts(self, headers: Iterable[Header]) -> bool:
        """Return whether a request may pass: it has one Host, and at most one Origin, that are accepted."""
        hosts, origins = _hosts_and_origins(headers)
        if len(hosts) != 1 or len(origins) > 1:
            return False
        key = hosts[0], origins[0] if origins else None
        if key in self._admitted:
            return True
        fits = _is_among(hosts[0].decode("latin-1"), self._hosts) and all(
            _is_among(origin.decode("latin-1"), self._origins) for origin in origins
        )
        if fits and len(self._admitted) < _MAX_REMEMBERED:
            self._admitted.add(key)
        return fits

    def _refused_host(self, hosts: list[bytes]) -> tuple[int, dict[str, str]] | None:
        values = [value.decode("latin-1") for value in hosts]
        if len(values) > 1:
            return 400, {"error": "host not valid", "message": "A request has one Host header. Send only one."}
        value = values[0] if values else ""
        if _is_among(value, self._hosts):
            return None
        return 421, self._told("host", value, "allowed_hosts", '"name", "name:port" or "name:*"')

    def _refused_origin(self, origins: list[bytes]) -> tuple[int, dict[str, str]] | None:
        values = [value.decode("latin-1") for value in origins]
        wrong = next((value for value in values if not _is_among(value, self._origins)), None)
        if wrong is None and len(values) <= 1:
            return None
        return 403, self._told("origin", wrong or ", ".join(values), "allowed_browser_origins", '"https://name"')

    def _told(self, what: str, value: str, setting: str, form: str) -> dict[str, str]:
        shown = " ".join(clean(value, _MAX_SHOWN).split())
        message = f"This server does not accept the {what.title()} header {shown!r}."
        remedy = f"If clients should reach it so, add it to the setting `{setting}` as {form}."
        now = anyio.current_time()
        if now - self._logged_at < _LOG_SECONDS:
            self._unlogged += 1
        else:
            more = f" {self._unlogged} more requests were refused since." if self._unlogged else ""
            _logger.warning("%s %s%s", message, remedy, more)
            self._logged_at, self._unlogged = now, 0
        return {"error": f"{what} not allowed", "message": message, "remedy": remedy, "setting": setting, what: shown}


def _hosts_and_origins(headers: Iterable[Header]) -> tuple[list[bytes], list[bytes]]:
    hosts: list[bytes] = []
    origins: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"origin":
            origins.append(value)
    return hosts, origins


def _forms(values: Iterable[str]) -> frozenset[str]:
    return frozenset(value.lower() for value in values)


def _is_among(value: str, allowed: frozenset[str]) -> bool:
    """Return whether a host or an origin is one of those allowed, as it is or with any port."""
    value = value.lower()
    scheme, separator, host = value.rpartition("://")
    parts = host_and_port(host)
    if parts is None:
        return False
    name, port = parts
    return value in allowed or bool(port and f"{scheme}{separator}{name}:*" in allowed)


class HttpFront:
    """Answers `/healthz` (alive) and `/readyz` (first load done); passes the rest on if the token is right."""

    def __init__(
        self,
        app: AsgiApp,
        readiness: Readiness,
        bearer_token: str | None = None,
        *,
        doors: Doors | None = None,
        path: str = "/mcp",
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        self._readiness = readiness
        self._token = None if bearer_token is None else bearer_token.encode()
        self._doors = doors
        self._path = _bare(path)
        self._documents = frozenset({CATALOG_PATH, card_path(path)})
        self.end_streams: Final = at_end
        self._open: set[Callable[[], object]] = set()
        """What ends the requests in flight."""
        self._calls = 0
        self._used_at = 0.0

    def begin_drain(self) -> None:
        """End event streams, ask clients to close their connections, and report in `/readyz` that the server ends."""
        self._readiness.is_draining = True
        self._used_at = anyio.current_time()
        self.end_streams()

    async def until_quiet(self) -> None:
        """Wait until no request is in flight, and none came for a moment. Event streams do not count."""
        while self._calls or anyio.current_time() - self._used_at < _QUIET_SECONDS:  # noqa: ASYNC110 - also a clock
            await anyio.sleep(_LOOK_SECONDS)

    def end_requests(self) -> None:
        """Cancel requests in flight: calls and streams end, and a request without a response gets status 503."""
        for end in tuple(self._open):
            end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] in {"/healthz", "/readyz"}:
            await self._probe(scope, self.closing(send))
        elif scope["path"] in self._documents:
            await self._describe(scope, self.closing(send))
        elif self._token is not None and (refusal := self._refusal(scope["headers"], self._token)) is not None:
            await respond(self.closing(send), 401, {"error": "unauthorized"}, [(b"www-authenticate", refusal)])
        else:
            scope["headers"] = _stripped(scope["headers"])
            await self._admit(scope, receive, send)

    async def _describe(self, scope: Scope, send: Send) -> None:
        """Serve the card or the catalog, to a page of any origin. Their addresses have a Host that was checked."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"origin"]
        if self._doors is not None and (refused := self._doors.refusal(headers)) is not None:
            await respond(send, *refused)
        else:
            await serve_document(scope, send, self._path, needs_token=self._token is not None)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        if self._doors is not None and (refused := self._doors.refusal(headers)) is not None:
            await respond(self.closing(send), *refused)
            return
        if _bare(scope["path"]) == self._path:
            scope["path"] = self._path
        CALLER.set(_caller(scope))
        if _is_visit(scope, self._path):
            await _welcome(scope, self.closing(send), self._path)
        else:
            await self.serve(scope, mended_body(receive) if scope["method"] == "POST" else receive, send, self._app)

    def lets_in(self, headers: list[Header]) -> bool:
        """Return whether a request passes every check, and so would reach the endpoint as it is."""
        if self._token is not None and self._refusal(headers, self._token) is not None:
            return False
        return (self._doors is None or self._doors.accepts(headers)) and _stripped(headers) is headers

    def expect(self, number: int = 1) -> None:
        """Count a request in flight whose body has not come yet, or stop to count it."""
        self._calls += number
        self._used_at = loop_time()

    def caller_of(self, scope: Scope) -> str:
        """Return what distinguishes the client of a request from others."""
        return _caller(scope)

    @property
    def is_draining(self) -> bool:
        """Whether clients are asked to close their connections."""
        return self._readiness.is_draining

    def enter(self, end: Callable[[], object]) -> None:
        """Count a request in flight until `leave`. `end` is called if it is still there at the end of the server."""
        self._open.add(end)
        self._calls += 1

    def leave(self, end: Callable[[], object]) -> None:
        """Stop to count a request in flight."""
        self._open.discard(end)
        self._calls -= 1
        self._used_at = loop_time()

    def closing(self, send: Send) -> Send:
        """Return a `send` that asks the client to close its connection if the server ends by then."""

        def send_closing(message: Message) -> Awaitable[None]:
            if self._readiness.is_draining and message["type"] == "http.response.start":
                self._used_at = loop_time()
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            return send(message)

        return send_closing

    async def serve(self, scope: Scope, receive: Receive, send: Send, app: AsgiApp) -> None:
        """Serve a request that was let in. It counts as in flight, and ends with the server."""
        started = finished = False
        send = self.closing(send)
        is_call = scope["method"] == "POST" and _first(scope["headers"], b"mcp-method") != "subscriptions/listen"

        def watched(message: Message) -> Awaitable[None]:
            nonlocal started, finished
            started = True
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)
            return send(message)

        with scope_until() as cancellation:
            self._open.add(cancellation.cancel)
            self._calls += is_call
            try:
                await app(scope, receive, watched)
            finally:
                self._open.discard(cancellation.cancel)
                self._calls -= is_call
                self._used_at = loop_time()
        if not cancellation.cancelled_caught or finished:
            return
        if started:
            await send({"type": "http.response.body", "body": b""})
        else:
            await refuse_at_end(send)

    async def _probe(self, scope: Scope, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await respond(send, 405, {"error": "method not allowed"}, [(b"allow", b"GET, HEAD")])
        elif scope["path"] == "/healthz":
            await respond(send, 200, {"status": "ok"})
        else:
            summary = self._readiness.summary()
            await respond(send, 200 if summary["ready"] else 503, summary)

    @staticmethod
    def _refusal(headers: list[Header], token: bytes) -> bytes | None:
        """Return the WWW-Authenticate value of a refusal; None if the request has the token."""
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            return b'Bearer realm="utcp-bridge"'
        scheme, _, credential = given[0].strip().partition(b" ")
        right = hmac.compare_digest(credential.strip(), token)
        if len(given) == 1 and right and scheme.lower() == b"bearer":
            return None
        return b'Bearer realm="utcp-bridge", error="invalid_token"'


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
    return caller if len(caller) <= _MAX_CALLER else blake2b(caller.encode(), digest_size=16).hexdigest()


def _is_visit(scope: Scope, path: str) -> bool:
    """Return whether a person looks at the server's address, rather than an MCP client."""
    if scope["method"] not in {"GET", "HEAD"} or scope["path"] not in {path, "/"}:
        return False
    headers: list[Header] = scope["headers"]
    if any(name in {_SESSION, _VERSION} for name, _ in headers):
        return False
    return not read_accept(value for name, value in headers if name == b"accept").names_events


async def _welcome(scope: Scope, send: Send, path: str) -> None:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    text = (
        f"This is utcp-bridge {__version__}, a server for MCP clients. It is running.\n\n"
        f"Give an MCP client (a host such as an IDE or an agent) this address:\n{scope.get('scheme', 'http')}://{host}{path}\n"
    )
    data = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(data)).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else data})
