"""Serve MCP over streamable HTTP, every protocol version on one path, and UTCP next to it (`utcp_routes.py`).

The server listens on loopback by default, and beyond loopback only with a bearer token (or `insecure`). It always
checks Host and Origin, also on 0.0.0.0, and refuses bodies above 4 MiB. `HttpFront` handles a request first: probes,
bearer token, tidy headers. Probes report counts alone, so an orchestrator may call them under any name and without a
token. The SDK checks Host and Origin on the MCP path.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final, TypeAlias, cast

import anyio
import orjson
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware.cors import CORSMiddleware

from utcp_bridge.errors import ConfigError
from utcp_bridge.net.asgi_server import serve_asgi
from utcp_bridge.net.listening import bind, for_url, is_loopback
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.incoming import mended_body
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.utcp_routes import UtcpRoutes
from utcp_bridge.settings import ServerSettings

__all__ = ["HttpFront", "build_app", "serve_http"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_ANY_ADDRESS: Final = ("0.0.0.0", "::", "[::]")  # noqa: S104 - compared, not bound
_GRACE_SECONDS: Final = 1.5
_LAST_RESORT_SECONDS: Final = 3
_JSON: Final = (b"content-type", b"application/json")
_BLANKS: Final = (b" ", b"\t")


def build_app(server: BridgeServer) -> AsgiApp:
    """Return the ASGI application, for `serve_http` or your own ASGI server. The server must run its lifespan.

    :raises ConfigError: the settings would serve beyond loopback without a token.
    """
    return _assemble(server)[0]


def _assemble(server: BridgeServer) -> tuple[AsgiApp, HttpFront]:
    settings = server.client.settings
    _refuse_open_door(settings)
    token = settings.bearer_token
    app = server.streamable_http_app(
        streamable_http_path=settings.path,
        max_request_body_size=MAX_BODY_BYTES,
        transport_security=_security(settings),
        host=settings.host,
    )
    app.router.routes.extend(UtcpRoutes(server, _security(settings)).routes())
    front = HttpFront(cast("AsgiApp", app), server.readiness, None if token is None else token.get_secret_value())
    outermost: Any = front
    if settings.allowed_browser_origins:
        outermost = CORSMiddleware(
            outermost,
            allow_origins=settings.allowed_browser_origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),
            expose_headers=("Mcp-Session-Id", "WWW-Authenticate"),
        )
    return cast("AsgiApp", outermost), front


async def serve_http(server: BridgeServer, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Requests in flight have a moment to end.

    `on_ready` receives the endpoint's URL once the server accepts connections, with the real port.

    :raises ConfigError: the address cannot be bound, or would be open to everyone.
    """
    settings = server.client.settings
    app, front = _assemble(server)
    listener = bind(settings.host, settings.port)
    url = f"http://{for_url(settings.host)}:{listener.getsockname()[1]}{settings.path}"

    async def end() -> None:
        """Give requests in flight a moment, then cancel them."""
        server.changes.close()
        await anyio.sleep(_GRACE_SECONDS)
        front.end_requests()

    ready = partial(on_ready, url) if on_ready else lambda: None
    await serve_asgi(app, listener, on_ready=ready, grace=_LAST_RESORT_SECONDS, lifespan="on", at_end=end)


def _refuse_open_door(settings: ServerSettings) -> None:
    if is_loopback(settings.host) or settings.bearer_token is not None or settings.insecure:
        return
    raise ConfigError(
        f"Serving on {settings.host} would let anyone on the network call every tool.",
        remedy="Set `bearer_token`, listen on 127.0.0.1, or set `insecure: true` behind a proxy that authenticates.",
    )


def _security(settings: ServerSettings) -> TransportSecuritySettings:
    names = [*_LOOPBACK, *([] if settings.host in _ANY_ADDRESS else [for_url(settings.host)])]
    hosts = [form for name in names for form in (name, f"{name}:*")]
    origins = [form for name in _LOOPBACK for form in (f"http://{name}", f"http://{name}:*")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*hosts, *settings.allowed_hosts],
        allowed_origins=[*origins, *settings.allowed_browser_origins],
    )


class HttpFront:
    """Answers `/healthz` (alive) and `/readyz` (first load done); passes the rest on if the token is right."""

    def __init__(self, app: AsgiApp, readiness: Readiness, bearer_token: str | None = None) -> None:
        self._app = app
        self._readiness = readiness
        self._token = None if bearer_token is None else bearer_token.encode()
        self._open: set[anyio.CancelScope] = set()

    def end_requests(self) -> None:
        """Cancel requests in flight: calls and streams end, and a request without a response gets status 503."""
        for scope in tuple(self._open):
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in {"/healthz", "/readyz"}:
            await self._probe(scope, send)
        elif self._token is not None and (refusal := self._refusal(scope["headers"], self._token)) is not None:
            await _respond(send, 401, {"error": "unauthorized"}, [(b"www-authenticate", refusal)])
        else:
            scope["headers"] = _stripped(scope["headers"])
            await self._serve(scope, mended_body(receive) if scope["method"] == "POST" else receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = finished = False

        async def watched(message: Message) -> None:
            nonlocal started, finished
            started = True
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as cancellation:
            self._open.add(cancellation)
            try:
                await self._app(scope, receive, watched)
            finally:
                self._open.discard(cancellation)
        if not cancellation.cancelled_caught or finished:
            return
        if started:
            await send({"type": "http.response.body", "body": b""})
        else:
            await _respond(send, 503, {"error": "shutting down"}, [(b"retry-after", b"5")])

    async def _probe(self, scope: Scope, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await _respond(send, 405, {"error": "method not allowed"}, [(b"allow", b"GET, HEAD")])
        elif scope["path"] == "/healthz":
            await _respond(send, 200, {"status": "ok"})
        else:
            summary = self._readiness.summary()
            await _respond(send, 200 if summary["ready"] else 503, summary)

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


async def _respond(send: Send, status: int, body: Any, headers: list[Header] | None = None) -> None:
    data = orjson.dumps(body)
    fields = [_JSON, (b"content-length", str(len(data)).encode()), (b"cache-control", b"no-store"), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": data})
