"""Logins at MCP servers over HTTP, by the SDK's own OAuth client: metadata, registration, PKCE, resource, issuer.

While the bridge serves, a request carries the token of the login, which is renewed when it expires. It opens no
browser: a server that refuses the token, or has none, makes the call fail with what a person has to do. `McpLogin` is
what that person runs.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, OAuthRegistrationError, OAuthTokenError
from mcp.client.auth.utils import issuers_match, union_scopes
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl, ValidationError

from utcp_bridge.auth.login.discovery import S256, Challenge, ServerMetadata, protected_resource, server_metadata
from utcp_bridge.auth.login.endpoints import AuthorizationTransport
from utcp_bridge.auth.login.logins import Holder, Logins
from utcp_bridge.auth.login.person import Person, redirected
from utcp_bridge.auth.login.port import PossibleLogin
from utcp_bridge.auth.login.records import LoginClient, LoginKey, LoginRecord
from utcp_bridge.auth.login.redirect import RedirectReceiver, receiving
from utcp_bridge.auth.login.refusals import (
    LoginPage,
    consent_refused,
    insufficient_scope,
    issuer_mismatch,
    login_failed,
    login_needed,
    no_metadata,
    no_pkce,
    no_registration,
)
from utcp_bridge.auth.models import OAuth2LoginAuth
from utcp_bridge.auth.token_requests import stale_at
from utcp_bridge.errors import ConfigError, LoginFailed, Rejected, Unreachable, UtcpError
from utcp_bridge.model import Source, Trust
from utcp_bridge.net.guard import is_own_origin
from utcp_bridge.urls import bare_url, endpoint_of_url, origin_of, port_of, split_url

if TYPE_CHECKING:
    from utcp_bridge.transport import Services, Target
    from utcp_bridge.transports.mcp.servers import McpServer, McpTemplate

__all__ = ["LoginTransport", "McpLogin", "possible_login"]

logging.getLogger("mcp.client.auth.oauth2").setLevel(logging.CRITICAL)
"""It logs each failure of a login with its traceback and the body of the reply, which may have a token."""
_NAME: Final = "utcp-bridge"
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
"""What a header can carry (RFC 6750 section 2.1 allows a part of it)."""
_MISMATCH: Final = re.compile(r"iss(?:uer)? mismatch: (\S+) != |missing iss ")
"""How the SDK reports that an authorization server has another name, or none."""
_INITIALIZE: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": _NAME, "version": "1"}},
}
"""The request that a server refuses, with where to log in."""


def possible_login(services: Services, target: Target[McpTemplate], server: McpServer) -> McpLogin | None:
    """Return the login at a server; None if the server needs none, or has other credentials.

    Only for servers at the manual's own origins: another manual must not use the token.
    """
    found = None if target.credentials is None else target.credentials.login
    if server.url is None or services.logins is None or (target.credentials is not None and found is None):
        return None
    parts = split_url(server.url)
    if any(name.lower() == "authorization" for name in server.all_headers):
        return None
    if not is_own_origin(parts.scheme, parts.hostname or "", port_of(parts), target.source):
        return None
    return McpLogin(services, target.source, server.url, found, services.logins)


class LoginTransport(httpx2.AsyncBaseTransport):
    """Sends requests to a server with the token of its login. `refused` receives the error of a refusal."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, login: McpLogin, refused: Callable[[UtcpError], None]) -> None:
        self._inner = inner
        self._login = login
        self._refused = refused

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and once more with a new token if the server refused the old one.

        :raises httpx2.TransportError: a person must log in; our error is the `__cause__`.
        """
        if origin_of(str(request.url)) != self._login.origin:  # a legacy server may name another place for messages
            return await self._inner.handle_async_request(request)
        try:
            return await self._send(request)
        except UtcpError as error:
            self._refused(error)
            raise httpx2.ConnectError(str(error), request=request) from error

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        login = self._login
        token = await login.logins.token(login.holder)
        response = await self._with(request, token)
        if response.status_code == 401 and token is not None:
            await response.aclose()
            await login.logins.note_refusal(login.holder.key, _challenge(response))
            login.logins.refuse(login.holder.key, token)
            token = await login.logins.token(login.holder)
            response = await self._with(request, token)
        challenge = _challenge(response)
        if not challenge.wants_login:
            return response
        try:
            why = await login.reason(challenge, has_token=token is not None)
        except Unreachable as error:
            what = f"{login.holder.where} returned {challenge.status}, and what it says of its login cannot be read."
            why = Rejected(f"{what} {error.message}", status=challenge.status)
        if why is None:
            return response
        await response.aclose()
        raise why

    async def _with(self, request: httpx2.Request, token: str | None) -> httpx2.Response:
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the transport within."""
        await self._inner.aclose()


class McpLogin(PossibleLogin):
    """The login at one MCP server."""

    def __init__(
        self, services: Services, source: Source, url: str, found: tuple[OAuth2LoginAuth, Holder] | None, logins: Logins
    ) -> None:
        self.logins = logins
        self.auth = None if found is None else found[0]
        self.scope = None if found is None else found[0].scope
        self._services = services
        self.url = url
        endpoint = endpoint_of_url(url)
        self._source = source
        if source.trust is Trust.OPERATOR:
            self._source = replace(source, exempt=source.exempt | {endpoint})
        self._own = url if endpoint in self._source.exempt else None
        self.origin = origin_of(url)
        self.holder = Holder(LoginKey(url), bare_url(url), source.name, self._transport) if found is None else found[1]

    def _transport(self) -> AuthorizationTransport:
        return AuthorizationTransport(self._services.http, self._source, self._own)

    async def reason(self, challenge: Challenge, *, has_token: bool) -> UtcpError | None:
        """Return why the server refuses a request, by what its metadata says; None if that has no word on it.

        :raises UtcpError: the metadata cannot be read, or is that of another issuer.
        """
        where, manual = self.holder.where, self.holder.manual
        await self.logins.note_refusal(self.holder.key, challenge)
        if has_token:
            if challenge.wants_scope:
                return insufficient_scope(where, manual, challenge.parameters.get("scope"))
            return login_needed(where, manual)
        transport = self.holder.transport()
        resource = await protected_resource(self.url, challenge, transport)
        issuer = resource.issuers[0] if resource else self.origin
        metadata = await server_metadata(issuer, transport, where)
        if metadata is None:
            if resource is not None or not challenge.header:
                return login_needed(where, manual) if resource is not None else None
            failure = no_metadata(where, manual)
            return Rejected(failure.message, status=challenge.status, remedy=failure.remedy)
        return self._obstacle(metadata) or login_needed(where, manual)

    def _obstacle(self, metadata: ServerMetadata) -> LoginFailed | None:
        """Return why a login at an authorization server is not possible."""
        if not self.has_pkce(metadata.challenge_methods):
            return no_pkce(metadata.issuer, self.holder.manual, metadata.challenge_methods)
        knows_client = self.auth is not None and self.auth.client_id is not None
        reads_documents = metadata.has("client_id_metadata_document_supported")
        reads_client = reads_documents and self.client_metadata_url is not None
        if not knows_client and not reads_client and metadata.url("registration_endpoint") is None:
            return no_registration(metadata.issuer, self.holder.manual, reads_documents=reads_documents)
        return None

    def has_pkce(self, methods: Collection[str]) -> bool:
        """Return whether an authorization server that announces these methods of PKCE may be used.

        One that announces nothing may be if the operator vouches for it. PKCE is sent in any case.
        """
        if methods:
            return S256 in methods
        return self.auth is not None and self.auth.assume_s256

    async def obtain(self, person: Person, before: LoginRecord | None, scope: str | None) -> LoginRecord:
        """Let the person log in, as the server and its authorization server describe it.

        The redirect goes to the port that a registered client has, if it is free.
        """
        port = self.auth.redirect_port if self.auth is not None else None
        client = before.known_client if before is not None else None
        known = split_url(client.redirect_uri).port if port is None and client is not None else None
        async with AsyncExitStack() as stack:
            try:
                receiver = await stack.enter_async_context(receiving(port or known))
            except ConfigError:
                if known is None:
                    raise
                receiver = await stack.enter_async_context(receiving())  # with another port, it is registered again
            return await self._log_in(person, receiver, before, scope)

    async def _log_in(
        self, person: Person, receiver: RedirectReceiver, before: LoginRecord | None, scope: str | None
    ) -> LoginRecord:
        challenge = self.logins.challenge(self.holder.key)
        provider = _Provider(self, person, receiver, before, _known_tokens(before, challenge), scope)
        asked_at = time.time()
        try:
            status = await self._run(provider, challenge)
        except (OAuthFlowError, ValidationError, OverflowError) as error:
            raise provider.failure(error) from None
        except httpx2.TransportError as error:
            cause = error.__cause__
            raise cause if isinstance(cause, UtcpError) else self._failed("the connection failed") from None
        if provider.context.current_tokens is None or not provider.has_logged_in:
            raise self._failed(f"it returned {status} and does not ask for a login")
        if status in {401, 403}:
            raise self._failed(f"it refuses the new token ({status})")
        return provider.record(asked_at)

    async def _run(self, provider: _Provider, challenge: Challenge | None) -> int:
        """Drive the SDK's flow, and return the last status of the server. It begins with a refusal: that of a request
        of before, or of `initialize`.
        """
        request = httpx2.Request("POST", self.url, json=_INITIALIZE, headers=_ACCEPT)
        # A flow that is left open would end in another task, which cannot release its lock.
        async with aclosing(provider.async_auth_flow(request)) as flow:
            return await self._driven(flow, request, challenge, provider)

    async def _driven(
        self,
        flow: AsyncGenerator[httpx2.Request, httpx2.Response],
        request: httpx2.Request,
        challenge: Challenge | None,
        provider: _Provider,
    ) -> int:
        own = self._services.http.session(self._source).transport
        others = self.holder.transport()
        outgoing = await anext(flow)
        status = 0
        while True:
            if outgoing is request and challenge is not None:
                headers = {"WWW-Authenticate": challenge.header}
                response = httpx2.Response(challenge.status, headers=headers, request=request)
                challenge = None
            else:
                response = await (own if outgoing is request else others).handle_async_request(outgoing)
                if outgoing is request:  # it may be a stream without end, and its body is not needed
                    await response.aclose()
                else:
                    await response.aread()
            status = response.status_code if outgoing is request else status
            try:
                outgoing = await flow.asend(response)
            except StopAsyncIteration:
                return status
            provider.check_metadata()

    @property
    def client_metadata_url(self) -> str | None:
        return self._services.settings.client_metadata_url

    def _failed(self, reason: str) -> LoginFailed:
        return login_failed(self.holder.where, reason, self.holder.manual)


_ACCEPT: Final = {"Accept": "application/json, text/event-stream"}


class _Storage:
    """What the SDK's flow reads and writes. It is kept when the login is complete."""

    def __init__(
        self, client: OAuthClientInformationFull | None, tokens: OAuthToken | None, unusable: UtcpError
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._unusable = unusable
        """The error for a token that no header can carry."""

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        if not _TOKEN.fullmatch(tokens.access_token):
            raise self._unusable
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


class _Provider(OAuthClientProvider):
    """The SDK's flow for one login."""

    def __init__(
        self,
        login: McpLogin,
        person: Person,
        receiver: RedirectReceiver,
        before: LoginRecord | None,
        tokens: OAuthToken | None,
        scope: str | None,
    ) -> None:
        self._login = login
        self._person = person
        self._receiver = receiver
        self._wanted = scope
        self._redirect: dict[str, str] = {}
        self._auth = login.auth
        self.has_logged_in = False
        metadata = OAuthClientMetadata(
            client_name=_NAME,
            redirect_uris=[AnyUrl(receiver.uri)],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            scope=scope,
        )
        unusable = login_failed(
            login.holder.where, "the authorization server issued a token that no request can carry", login.holder.manual
        )
        storage = _Storage(self._known_client(before), tokens, unusable)
        url = login.client_metadata_url
        try:
            super().__init__(login.url, metadata, storage, self._visit, self._back, url)
        except ValueError:
            raise ConfigError(
                "`client_metadata_url` cannot be used.", remedy="Write an https URL with a path."
            ) from None

    def _known_client(self, before: LoginRecord | None) -> OAuthClientInformationFull | None:
        """Return the client that the operator registered, or that was registered for the login before."""
        auth = self._auth
        if auth is not None and auth.client_id is not None:
            secret = auth.client_secret.get_secret_value() or None if auth.client_secret else None
            method = "client_secret_basic" if secret else "none"
            return OAuthClientInformationFull(
                client_id=auth.client_id,
                client_secret=secret,
                redirect_uris=[AnyUrl(self._receiver.uri)],
                token_endpoint_auth_method=method,
                issuer=auth.issuer,
            )
        client = before.known_client if before is not None else None
        if client is None or client.redirect_uri != self._receiver.uri:
            return None
        try:
            known = OAuthClientInformationFull.model_validate(client.registered)
        except ValidationError:
            return None
        challenge = self._login.logins.challenge(self._login.holder.key)
        wanted = set((challenge.parameters.get("scope") or "").split()) if challenge is not None else set[str]()
        # A client that was registered for fewer scopes is registered again, with those that the server wants now.
        return None if known.scope and not wanted <= set(known.scope.split()) else known

    def _select_authorization_server(self, advertised: list[str]) -> str:
        wanted = None if self._auth is None else self._auth.issuer
        if wanted is None:
            return super()._select_authorization_server(advertised)
        found = next((server for server in advertised if issuers_match(server, wanted)), None)
        if found is None:
            raise issuer_mismatch(self._login.holder.where, expected=advertised[0], claimed=wanted)
        return found

    async def _perform_authorization(self) -> httpx2.Request:
        self.check_metadata(must_exist=True)
        context = self.context
        if self._wanted:
            context.client_metadata.scope = union_scopes(self._wanted, context.client_metadata.scope)
        client, metadata = context.client_info, context.oauth_metadata
        methods = (metadata.token_endpoint_auth_methods_supported if metadata else None) or ["client_secret_basic"]
        is_ours = self._auth is not None and self._auth.client_id is not None
        if client is not None and is_ours and client.client_secret and "client_secret_basic" not in methods:
            client.token_endpoint_auth_method = "client_secret_post"  # noqa: S105 - the name of a method
        request = await super()._perform_authorization()
        self.has_logged_in = True
        return request

    async def _visit(self, url: str) -> None:
        state = httpx2.URL(url).params.get("state", "")
        self._receiver.expect(state)
        client = self.context.client_info
        document = self._login.client_metadata_url
        is_document = client is not None and document is not None and client.client_id == document
        page = LoginPage(self._issuer, self._login.holder.manual, document if is_document else None)
        self._redirect = await redirected(self._person, url, self._receiver, page)

    async def _back(self) -> AuthorizationCodeResult:
        found = self._redirect
        if "error" in found:
            raise consent_refused(self._issuer, found["error"], self._login.holder.manual)
        return AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))

    @property
    def _issuer(self) -> str:
        metadata = self.context.oauth_metadata
        return str(metadata.issuer) if metadata is not None else self._expected_issuer()

    def check_metadata(self, *, must_exist: bool = False) -> None:
        """Check that the authorization server announces PKCE with S256, or that the operator vouches for it.

        Only a server of 2025-03-26, which names no authorization server, needs no metadata.

        :raises LoginFailed: it does not.
        """
        metadata = self.context.oauth_metadata
        if metadata is None:
            if must_exist and self.context.protected_resource_metadata:
                raise no_pkce(self._issuer, self._login.holder.manual, None)
            return
        methods = metadata.code_challenge_methods_supported or ()
        if not self._login.has_pkce(methods):
            raise no_pkce(self._issuer, self._login.holder.manual, methods)

    def failure(self, error: Exception) -> UtcpError:
        """Return our error for one of the SDK's. Its texts may have the body of a reply, so they are not shown."""
        holder, context = self._login.holder, self.context
        if found := _MISMATCH.search(str(error)):
            if found[1] is None:
                return login_failed(
                    holder.where, "the redirect does not say which server issued the code", holder.manual
                )
            return issuer_mismatch(holder.where, expected=self._expected_issuer(), claimed=found[1])
        if isinstance(error, OAuthRegistrationError):
            if context.oauth_metadata is None and context.protected_resource_metadata is None:
                return no_metadata(holder.where, holder.manual)
            metadata = context.oauth_metadata
            registers = metadata is not None and metadata.registration_endpoint is not None
            status = re.search(r"\b[1-5][0-9]{2}\b", str(error)) if registers else None
            reads_documents = metadata is not None and bool(metadata.client_id_metadata_document_supported)
            code = int(status[0]) if status else None
            return no_registration(self._issuer, holder.manual, code, reads_documents=reads_documents)
        reason = f"the protocol was not followed ({type(error).__name__})"
        if isinstance(error, OAuthTokenError):
            reason = "the authorization server refused the code"
        elif "Protected resource" in str(error):
            reason = "its metadata is that of another resource"
        return login_failed(holder.where, reason, holder.manual)

    def record(self, asked_at: float) -> LoginRecord:
        """Return the login to keep."""
        context, holder = self.context, self._login.holder
        tokens, client = context.current_tokens, context.client_info
        if tokens is None or client is None:
            raise AssertionError
        metadata = context.oauth_metadata
        revocation = metadata.revocation_endpoint if metadata is not None else None
        resource = context.get_resource_url() if context.should_include_resource_param(None) else None
        return LoginRecord(
            manual=holder.manual,
            resource=self._login.url,
            issuer=self._issuer,
            client=LoginClient(
                client_id=client.client_id,
                client_secret=client.client_secret,
                method=client.token_endpoint_auth_method or "none",
                redirect_uri=self._receiver.uri,
                registered=client.model_dump(mode="json", exclude_none=True),
            ),
            token_endpoint=self._get_token_endpoint(),
            revocation_endpoint=str(revocation) if revocation else None,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            stale_at=stale_at(asked_at, tokens.expires_in),
            scope=tokens.scope,
            parameters={"resource": resource} if resource else {},
            obtained_at=asked_at,
        )


def _known_tokens(before: LoginRecord | None, challenge: Challenge | None) -> OAuthToken | None:
    """Return the token whose scope the server found too narrow: the new one is to have that scope as well."""
    if before is None or before.access_token is None or challenge is None or not challenge.wants_scope:
        return None
    return OAuthToken(access_token=before.access_token, scope=before.scope)


def _challenge(response: httpx2.Response) -> Challenge:
    return Challenge(response.status_code, ", ".join(response.headers.get_list("WWW-Authenticate")))
