"""A small OAuth 2 authorization server with a protected resource, on loopback.

    async with authorization_server(takes="body") as server:
        server.token_url, server.resource_url, server.stats_url, server.revoke_url

The client is `client id+1`, and its secret has many characters that need encoding. Tokens are valid for 2 seconds of
the server's own clock, which a test may move (`server.clock += 3`). `server.faults` are replies to send instead of
tokens.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from aiohttp import web

CLIENT_ID = "client id+1"
CLIENT_SECRET = "s3cret+/%:ü with everything"
LIFE = 2


@dataclass
class AuthorizationServer:
    """`requests` are the token requests, `tokens` the valid tokens with their expiry."""

    takes: str = "basic"
    url: str = ""
    expires_in: Any = LIFE
    clock: float = 0.0
    requests: list[dict[str, str]] = field(default_factory=list)
    resource_hits: int = 0
    tokens: dict[str, float] = field(default_factory=dict)
    faults: list[web.Response | dict[str, Any]] = field(default_factory=list)
    refusal: tuple[int, str] = (401, "invalid_client")
    hold: asyncio.Event | None = None
    """While set and not fired, token requests wait."""

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    @property
    def resource_url(self) -> str:
        return f"{self.url}/resource"

    @property
    def endpoint(self) -> str:
        return urlsplit(self.url).netloc

    def revoke_all(self) -> None:
        """Make all issued tokens invalid."""
        self.tokens.clear()

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.requests.append({**form, "authorization": request.headers.get("Authorization", "")})
        if self.hold is not None:
            await self.hold.wait()
        if self.faults:
            fault = self.faults.pop(0)
            return web.json_response(fault) if isinstance(fault, dict) else fault
        if self._client(request, form) != (self.takes, CLIENT_ID, CLIENT_SECRET):
            status, error = self.refusal
            return web.json_response({"error": error, "error_description": f"not {CLIENT_SECRET}"}, status=status)
        token = secrets.token_urlsafe(12)
        self.tokens[token] = self.clock + LIFE
        body = {"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in}
        return web.json_response({name: value for name, value in body.items() if value is not None})

    @staticmethod
    def _client(request: web.Request, form: dict[str, str]) -> tuple[str, str, str]:
        """Return where the client put its credentials, and which ones, strictly by RFC 6749 2.3.1."""
        header = request.headers.get("Authorization", "")
        if header.startswith("Basic "):
            name, _, secret = base64.b64decode(header[6:]).decode().partition(":")
            return "basic", unquote_plus(name), unquote_plus(secret)
        return "body", form.get("client_id", ""), form.get("client_secret", "")

    async def resource(self, request: web.Request) -> web.StreamResponse:
        self.resource_hits += 1
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, -1) <= self.clock:
            return web.json_response({"error": "invalid_token"}, status=401)
        if request.headers.get("Upgrade"):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str("welcome")
            await socket.close()
            return socket
        return web.json_response({"for": token})

    async def stats(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"token_requests": len(self.requests), "resource": self.resource_hits})

    async def revoke(self, _request: web.Request) -> web.StreamResponse:
        self.revoke_all()
        return web.json_response({})


@asynccontextmanager
async def authorization_server(*, takes: str = "basic") -> AsyncIterator[AuthorizationServer]:
    """Listen on loopback during the block. The server accepts credentials by "basic" or in the "body" (`takes`)."""
    state = AuthorizationServer(takes)
    app = web.Application()
    app.router.add_post("/token", state.token)
    app.router.add_get("/resource", state.resource)
    app.router.add_get("/stats", state.stats)
    app.router.add_post("/revoke-all", state.revoke)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield state
    finally:
        await runner.cleanup()
