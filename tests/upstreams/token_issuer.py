"""An OAuth authorization server on loopback that issues JWTs and opaque tokens for any resource.

    async with token_issuer() as issuer:
        issuer.url, issuer.signed(aud="http://127.0.0.1:8000/mcp"), issuer.opaque(scope="read")

Metadata (RFC 8414), keys (RFC 7517), registration (RFC 7591), authorization code with PKCE (RFC 7636) and a resource
(RFC 8707), and introspection (RFC 7662) for the client `bridge`. The person at `/authorize` always agrees.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

CLIENT, SECRET = "bridge", "intro+spection/%"


@dataclass
class TokenIssuer:
    """`hits` counts requests by path. `is_down` answers each with 503. `claimed` is the issuer of the metadata."""

    url: str = ""
    claimed: str = ""
    is_down: bool = False
    keys: list[Key] = field(default_factory=list)
    opaque_tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    subject: str = "alice"

    def rotate(self, kind: str = "EC") -> Key:
        """Publish a new key in place of the others, and sign with it."""
        parameters: Any = {"kid": secrets.token_hex(4), "use": "sig"}
        key: Key = ECKey.generate_key("P-256", parameters) if kind == "EC" else RSAKey.generate_key(2048, parameters)
        self.keys = [key]
        return key

    def signed(self, key: Any = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a JWT. A claim that is None is left out."""
        key = key or self.keys[-1]
        now = int(time.time())
        given = {"iss": self.url, "sub": self.subject, "iat": now, "exp": now + 600, "scope": "read", **claims}
        named = {"alg": "ES256" if key.key_type == "EC" else "RS256", "kid": key.kid, "typ": "at+jwt", **(header or {})}
        named = {name: value for name, value in named.items() if value is not None}
        written = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(named, written, key, [named["alg"]])

    def opaque(self, **claims: Any) -> str:
        """Return an opaque token that introspection describes by these claims."""
        token = secrets.token_urlsafe(24)
        self.opaque_tokens[token] = {"active": True, "iss": self.url, "sub": self.subject, "scope": "read", **claims}
        return token

    async def metadata(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.claimed or self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "registration_endpoint": f"{self.url}/register",
                "jwks_uri": f"{self.url}/jwks",
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
                "scopes_supported": ["read", "write"],
            }
        )

    async def jwks(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})

    async def register(self, request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response({**asked, "client_id": "registered"}, status=201)

    async def authorize(self, request: web.Request) -> web.Response:
        code = secrets.token_urlsafe(10)
        self.codes[code] = dict(request.query)
        query = {"code": code, "state": request.query["state"], "iss": self.url}
        raise web.HTTPFound(f"{request.query['redirect_uri']}?{urlencode(query)}")

    async def token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        scope = asked.get("scope", "")
        token = self.signed(aud=form.get("resource") or asked.get("resource"), scope=scope)
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": scope})

    async def introspect(self, request: web.Request) -> web.Response:
        from urllib.parse import unquote_plus

        pair = base64.b64decode(request.headers.get("Authorization", "")[6:]).decode().partition(":")
        if (unquote_plus(pair[0]), unquote_plus(pair[2])) != (CLIENT, SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        form = await request.post()
        return web.json_response(self.opaque_tokens.get(str(form.get("token")), {"active": False}))


@asynccontextmanager
async def token_issuer(**knobs: Any) -> AsyncIterator[TokenIssuer]:
    """Listen on loopback during the block."""
    issuer = TokenIssuer(**knobs)
    issuer.rotate()

    @web.middleware
    async def counted(request: web.Request, handler: Any) -> web.StreamResponse:
        issuer.hits[request.path] += 1
        if issuer.is_down:
            return web.Response(status=503)
        answer: web.StreamResponse = await handler(request)
        return answer

    app = web.Application(middlewares=[counted])
    app.add_routes(
        [
            web.get("/.well-known/oauth-authorization-server", issuer.metadata),
            web.get("/jwks", issuer.jwks),
            web.post("/register", issuer.register),
            web.get("/authorize", issuer.authorize),
            web.post("/token", issuer.token),
            web.post("/introspect", issuer.introspect),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield issuer
    finally:
        await runner.cleanup()
