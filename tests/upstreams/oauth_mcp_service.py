"""An MCP server behind OAuth, with the authorization server of the Python SDK: both on loopback, in one process.

    async with oauth_mcp_service() as service:
        service.url, service.issuer
        service.consent = "deny"           # what its page of the login decides
        service.revoke_all()               # every access token is refused from now on

Its page of the login redirects at once, as a person who is logged in there already sees it. Metadata, registration,
PKCE, tokens and revocation are the SDK's own.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import uvicorn
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenError,
    construct_redirect_uri,
)
from mcp.server.auth.routes import build_metadata
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl
from starlette.responses import JSONResponse, Response


@dataclass
class OAuthMcpService(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """The state of both servers, and the decisions of the authorization server."""

    consent: str = "allow"
    """What the page of the login decides: `allow`, the error code of its refusal, or `page`: an error on the page."""
    renews: bool = True
    """Whether refresh tokens are accepted."""
    life: int = 3600
    """Seconds for which an access token is said to be valid."""
    hidden: set[str] = field(default_factory=set)
    """Paths, or beginnings of paths, that do not exist."""
    claimed_issuer: str | None = None
    """Another issuer in the metadata of the authorization server."""
    announces_pkce: bool = True
    """Whether the metadata of the authorization server has `code_challenge_methods_supported`."""
    trusted: OAuthMcpService | None = None
    """Another authorization server, which the MCP server names instead of its own."""
    step_up: str | None = None
    """The scope that the next requests need."""
    port: int = 0
    clients: dict[str, OAuthClientInformationFull] = field(default_factory=dict)
    codes: dict[str, AuthorizationCode] = field(default_factory=dict)
    access: dict[str, AccessToken] = field(default_factory=dict)
    refresh: dict[str, RefreshToken] = field(default_factory=dict)
    issued: list[str] = field(default_factory=list)
    """Every token that was ever issued."""
    requests: Counter[str] = field(default_factory=Counter)
    """How often each path was requested."""
    heard: list[bytes] = field(default_factory=list)
    """Headers and bodies of all requests."""
    authorized: list[AuthorizationParams] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.issuer}/mcp"

    def revoke_all(self) -> None:
        """Refuse all access tokens from now on."""
        self.access.clear()

    def add_client(self, client_id: str, secret: str | None, method: str, redirect: str) -> None:
        """Let the operator of the authorization server register a client."""
        self.clients[client_id] = OAuthClientInformationFull(
            client_id=client_id,
            client_secret=secret,
            token_endpoint_auth_method=method,
            redirect_uris=[redirect],
            grant_types=["authorization_code", "refresh_token"],
            scope="notes admin",
        )

    # --- the SDK's port

    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client_info):
        self.clients[str(client_info.client_id)] = client_info

    async def authorize(self, client, params):
        self.authorized.append(params)
        if self.consent == "page":
            return f"{self.url}/error"
        if self.consent != "allow":
            return construct_redirect_uri(str(params.redirect_uri), error=self.consent, state=params.state)
        code = AuthorizationCode(
            code=secrets.token_urlsafe(20),
            scopes=params.scopes or [],
            expires_at=time.time() + 300,
            client_id=str(client.client_id),
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(self, client, authorization_code):
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client, authorization_code):
        del self.codes[authorization_code.code]
        return self._token(authorization_code.client_id, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client, refresh_token):
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(self, client, refresh_token, scopes):
        if not self.renews:
            raise TokenError("invalid_grant", "the grant was revoked")
        del self.refresh[refresh_token.token]  # each is used once
        return self._token(refresh_token.client_id, scopes, refresh_token.resource)

    async def load_access_token(self, token):
        issuer = self.trusted or self
        return issuer.access.get(token)

    async def revoke_token(self, token):
        self.access = {key: one for key, one in self.access.items() if one.client_id != token.client_id}
        self.refresh = {key: one for key, one in self.refresh.items() if one.client_id != token.client_id}

    def _token(self, client: str, scopes: list[str], resource: str | None) -> OAuthToken:
        access, refresh = f"access-{secrets.token_urlsafe(20)}", f"refresh-{secrets.token_urlsafe(20)}"
        self.issued += [access, refresh]
        self.access[access] = AccessToken(token=access, client_id=client, scopes=scopes, resource=resource)
        self.refresh[refresh] = RefreshToken(token=refresh, client_id=client, scopes=scopes, resource=resource)
        return OAuthToken(
            access_token=access, refresh_token=refresh, expires_in=self.life, scope=" ".join(scopes) or None
        )

    # --- around the SDK's application

    async def _serve(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        path = scope["path"]
        self.requests[path] += 1
        if any(path.startswith(hidden) for hidden in self.hidden):
            return await Response(status_code=404)(scope, receive, send)
        receive = self._hearing(scope, receive)
        if path.startswith("/.well-known/oauth-protected-resource") and self.trusted is not None:
            named = {
                "resource": self.url,
                "authorization_servers": [self.trusted.issuer],
                "scopes_supported": ["notes"],
            }
            return await JSONResponse(named)(scope, receive, send)
        if path == "/.well-known/oauth-authorization-server" and self.claimed_issuer is not None:
            metadata = {name: f"{self.issuer}/{name[:5]}" for name in ("authorization_endpoint", "token_endpoint")}
            return await JSONResponse({"issuer": self.claimed_issuer, **metadata})(scope, receive, send)
        if path == "/.well-known/oauth-authorization-server" and not self.announces_pkce:
            app = JSONResponse(self._quiet_metadata())
        if path == "/mcp" and self.step_up is not None and not self._has_scope(scope):
            challenge = f'Bearer error="insufficient_scope", scope="{self.step_up}"'
            return await Response(status_code=403, headers={"WWW-Authenticate": challenge})(scope, receive, send)
        return await app(scope, receive, send)

    def _quiet_metadata(self) -> dict[str, Any]:
        """Return the SDK's metadata of the authorization server, without the methods of PKCE."""
        registration, revocation = ClientRegistrationOptions(enabled=True), RevocationOptions(enabled=True)
        metadata = build_metadata(AnyHttpUrl(self.issuer), None, registration, revocation)
        found = metadata.model_dump(mode="json", exclude={"code_challenge_methods_supported"}, exclude_none=True)
        return {**found, "issuer": self.issuer}

    def _hearing(self, scope: Any, receive: Any) -> Any:
        self.heard += [value for _, value in scope["headers"]]

        async def heard() -> Any:
            message = await receive()
            self.heard.append(message.get("body", b""))
            return message

        return heard

    def _has_scope(self, scope: Any) -> bool:
        header = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        known = self.access.get(header)
        return known is None or self.step_up in known.scopes


@asynccontextmanager
async def oauth_mcp_service(*, registers: bool = True, **knobs: Any) -> AsyncIterator[OAuthMcpService]:
    """Listen on loopback during the block. Without `registers`, clients cannot register themselves."""
    service = OAuthMcpService(**knobs)
    listener = socket.create_server(("127.0.0.1", service.port))
    service.port = listener.getsockname()[1]
    scopes = ["notes", "admin"]
    server = MCPServer(
        "notes",
        auth_server_provider=service,
        auth=AuthSettings(
            issuer_url=service.issuer,
            resource_server_url=service.url,
            required_scopes=["notes"],
            validate_token_resource=True,
            client_registration_options=ClientRegistrationOptions(
                enabled=registers, valid_scopes=scopes, default_scopes=scopes
            ),
            revocation_options=RevocationOptions(enabled=True),
        ),
        log_level="CRITICAL",
    )

    @server.tool()
    def read(name: str) -> str:
        """Read a note."""
        return f"the note {name}"

    app = server.streamable_http_app()

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await service._serve(app, scope, receive, send)

    config = uvicorn.Config(serve, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    running.install_signal_handlers = lambda: None
    failure: BaseException | None = None
    with listener:
        async with anyio.create_task_group() as group:
            group.start_soon(running.serve, [listener])
            while not running.started:
                await anyio.lowlevel.checkpoint()
            try:
                yield service
            except BaseException as error:  # noqa: BLE001 - the task group would wrap it into a group of one
                failure = error
            running.should_exit = True
    if failure is not None:
        raise failure
