"""Serve MCP over streamable HTTP, every protocol version on one path, and UTCP beside it (`utcp_routes.py`).

Bound to loopback unless told otherwise, and beyond loopback only with a bearer token (or `insecure`). Host and
Origin are checked always, also on 0.0.0.0; bodies end at 4 MiB.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import anyio
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware.cors import CORSMiddleware

from utcp_bridge.errors import ConfigError
from utcp_bridge.net.asgi_server import serve_asgi
from utcp_bridge.net.listening import bind, for_url, is_loopback
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http_front import AsgiApp, HttpFront
from utcp_bridge.server.utcp_routes import UtcpRoutes
from utcp_bridge.settings import BridgeSettings

__all__ = ["build_app", "serve_http"]

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_ANY_ADDRESS: Final = ("0.0.0.0", "::", "[::]")  # noqa: S104 - compared, not bound
_GRACE_SECONDS: Final = 1.5
_LAST_RESORT_SECONDS: Final = 3


def build_app(server: BridgeServer) -> AsgiApp:
    """The ASGI application, for `serve_http` or a server of your own; its lifespan must be run.

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
    """Serve until SIGTERM or SIGINT; requests in flight have a moment to end.

    `on_ready` gets the endpoint's URL once connections are accepted (port 0 is then a real one).
    :raises ConfigError: the address cannot be bound, or would be open to everyone.
    """
    settings = server.client.settings
    app, front = _assemble(server)
    listener = bind(settings.host, settings.port)
    url = f"http://{for_url(settings.host)}:{listener.getsockname()[1]}{settings.path}"

    async def end() -> None:
        """A moment for what is in flight, then it is cancelled."""
        server.changes.close()
        await anyio.sleep(_GRACE_SECONDS)
        front.end_requests()

    ready = partial(on_ready, url) if on_ready else lambda: None
    await serve_asgi(app, listener, on_ready=ready, grace=_LAST_RESORT_SECONDS, lifespan="on", at_end=end)


def _refuse_open_door(settings: BridgeSettings) -> None:
    if is_loopback(settings.host) or settings.bearer_token is not None or settings.insecure:
        return
    raise ConfigError(
        f"Serving on {settings.host} would let anyone on the network call every tool.",
        remedy="Set `bearer_token`, listen on 127.0.0.1, or say `insecure: true` behind a proxy that authenticates.",
    )


def _security(settings: BridgeSettings) -> TransportSecuritySettings:
    names = [*_LOOPBACK, *([] if settings.host in _ANY_ADDRESS else [for_url(settings.host)])]
    hosts = [form for name in names for form in (name, f"{name}:*")]
    origins = [form for name in _LOOPBACK for form in (f"http://{name}", f"http://{name}:*")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*hosts, *settings.allowed_hosts],
        allowed_origins=[*origins, *settings.allowed_browser_origins],
    )
