"""An API behind OAuth with a description in OpenAPI, and its authorization server: both on loopback.

    async with login_service() as service:
        service.document_url, service.items_url, service.issuer

Grants: authorization code with PKCE, device code, refresh token, client credentials with a secret or an assertion.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key

CLIENT, SECRET = "our client", "s3cret+/%"


@dataclass
class LoginService:
    """`asked` are the queries of the page of the login, `forms` the forms of the token endpoint."""

    public: bool = False
    """Whether the client has no secret."""
    device_replies: list[str] = field(default_factory=list)
    """Errors that the device grant gives before a token."""
    verification_url: str = ""
    login_url: str = ""
    """Where the document says that the authorization server is; by default here."""
    answer: dict[str, str] = field(default_factory=dict)
    """More parameters of the redirect, or other ones."""
    public_key: str = ""
    key_type: str = "RSA"
    algorithms: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    """The methods of PKCE that its metadata announces."""
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    assertions: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    refresh: set[str] = field(default_factory=set)
    codes: dict[str, str] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return self.url

    @property
    def document_url(self) -> str:
        return f"{self.url}/openapi.json"

    @property
    def items_url(self) -> str:
        return f"{self.url}/items"

    async def metadata(self, _request: web.Request) -> web.Response:
        endpoints = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "device_authorization_endpoint": "device",
        }
        found: dict[str, Any] = {key: f"{self.url}/{path}" for key, path in endpoints.items()}
        methods = {"code_challenge_methods_supported": self.methods} if self.methods else {}
        return web.json_response({"issuer": self.url, **found, **methods})

    async def resource(self, _request: web.Request) -> web.Response:
        return web.json_response({"resource": self.items_url, "authorization_servers": [self.issuer]})

    async def document(self, _request: web.Request) -> web.Response:
        scopes = {"read": "Read items.", "write": "Change items."}
        flows = {
            "authorizationCode": {
                "authorizationUrl": f"{self.login_url}/authorize",
                "tokenUrl": f"{self.login_url}/token",
                "scopes": scopes,
            },
            "deviceAuthorization": {"deviceAuthorizationUrl": "/device", "tokenUrl": "/token", "scopes": scopes},
        }
        operations = {
            method: {"operationId": name, "security": [{"shop": [scope]}], "responses": {"200": {"description": "-"}}}
            for method, name, scope in (("get", "items", "read"), ("post", "add", "write"))
        }
        return web.json_response(
            {
                "openapi": "3.2.0",
                "info": {"title": "shop", "version": "1"},
                "paths": {"/items": operations},
                "components": {"securitySchemes": {"shop": {"type": "oauth2", "flows": flows}}},
            }
        )

    async def items(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return web.json_response({"items": [1, 2]}, status=200 if token in self.tokens else 401)

    async def authorize(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        code = secrets.token_urlsafe(10)
        self.codes[code] = request.query["code_challenge"]
        query = {"code": code, "state": request.query["state"], **self.answer}
        raise web.HTTPFound(f"{request.query['redirect_uri']}?{urlencode(query)}")

    async def device(self, request: web.Request) -> web.Response:
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        url = self.verification_url or f"{self.url}/enter"
        codes = {"device_code": "device-code-1", "user_code": "ABCD-EFGH", "verification_uri": url}
        return web.json_response({**codes, "expires_in": 600, "interval": 5})

    async def token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        error = self._client_error(request, form) or self._grant_error(form)
        if error is not None:
            return web.json_response({"error": error}, status=401 if error == "invalid_client" else 400)
        access, refresh = f"access-{secrets.token_urlsafe(12)}", f"refresh-{secrets.token_urlsafe(12)}"
        self.tokens.add(access)
        self.refresh.add(refresh)
        given = {"access_token": access, "token_type": "Bearer", "expires_in": 3600}
        renewable = form["grant_type"] != "client_credentials"
        return web.json_response({**given, **({"refresh_token": refresh} if renewable else {})})

    def _client_error(self, request: web.Request, form: dict[str, str]) -> str | None:
        if assertion := form.get("client_assertion"):
            try:
                self.assertions.append(
                    jwt.decode(assertion, import_key(self.public_key, self.key_type), self.algorithms).claims
                )
            except (JoseError, ValueError):
                return "invalid_client"
            return None
        if self.public:
            return None if form.get("client_id") == CLIENT else "invalid_client"
        pair = base64.b64decode(request.headers.get("Authorization", "")[6:]).decode().partition(":")
        return None if (unquote_plus(pair[0]), unquote_plus(pair[2])) == (CLIENT, SECRET) else "invalid_client"

    def _grant_error(self, form: dict[str, str]) -> str | None:
        grant = form["grant_type"]
        if grant == "authorization_code":
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            return None if self.codes.pop(form["code"], None) == challenge else "invalid_grant"
        if grant == "refresh_token":
            known = form["refresh_token"] in self.refresh
            self.refresh.discard(form["refresh_token"])
            return None if known else "invalid_grant"
        if grant.endswith("device_code"):
            return self.device_replies.pop(0) if self.device_replies else None
        return None if grant == "client_credentials" else "unsupported_grant_type"


@asynccontextmanager
async def login_service(**knobs: Any) -> AsyncIterator[LoginService]:
    """Listen on loopback during the block."""
    service = LoginService(**knobs)
    app = web.Application()
    app.add_routes(
        [
            web.get("/.well-known/oauth-authorization-server", service.metadata),
            web.get("/.well-known/oauth-protected-resource/items", service.resource),
            web.get("/openapi.json", service.document),
            web.get("/items", service.items),
            web.post("/items", service.items),
            web.get("/authorize", service.authorize),
            web.post("/device", service.device),
            web.post("/token", service.token),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield service
    finally:
        await runner.cleanup()
