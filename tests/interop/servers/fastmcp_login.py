"""An MCP server on FastMCP behind FastMCP's own authorization server: `fastmcp_login.py PORT`.

Its page of the login redirects at once. /expire refuses the access tokens from now on, as after their time, and /revoke
refuses all tokens. /tokens counts them, and /requests has how often each path was asked for.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.auth.auth import ClientRegistrationOptions, RevocationOptions
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

port = int(sys.argv[1])
scopes = ["notes"]
provider = InMemoryOAuthProvider(
    base_url=f"http://127.0.0.1:{port}",
    client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=scopes, default_scopes=scopes),
    revocation_options=RevocationOptions(enabled=True),
    required_scopes=scopes,
)
server = FastMCP("notes", auth=provider)
requests: Counter[str] = Counter()


@server.tool
def read(name: str) -> str:
    """Read a note."""
    return f"the note {name}"


@server.custom_route("/expire", ["GET"])
async def expire(_request: Any) -> JSONResponse:
    provider.access_tokens.clear()
    return JSONResponse({})


@server.custom_route("/revoke", ["GET"])
async def revoke(_request: Any) -> JSONResponse:
    provider.access_tokens.clear()
    provider.refresh_tokens.clear()
    return JSONResponse({})


@server.custom_route("/tokens", ["GET"])
async def tokens(_request: Any) -> JSONResponse:
    return JSONResponse({"access": len(provider.access_tokens), "refresh": len(provider.refresh_tokens)})


@server.custom_route("/requests", ["GET"])
async def counts(_request: Any) -> JSONResponse:
    return JSONResponse(requests)


class Counting:
    """Counts the requests of each path."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            requests[scope["path"]] += 1
        await self.app(scope, receive, send)


server.run(
    transport="http",
    host="127.0.0.1",
    port=port,
    log_level="critical",
    show_banner=False,
    middleware=[Middleware(Counting)],
)
