"""Logins at services that are not MCP servers: authorization code with PKCE (RFC 7636), and device code (RFC 8628)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode, urlsplit

import anyio
import httpx2
import orjson

from utcp_bridge.auth.login.discovery import S256, ServerMetadata, server_metadata
from utcp_bridge.auth.login.endpoints import checked_url
from utcp_bridge.auth.login.person import DeviceCode, Person, redirected
from utcp_bridge.auth.login.port import PossibleLogin, united_scopes
from utcp_bridge.auth.login.records import LoginClient, LoginRecord
from utcp_bridge.auth.login.redirect import MAX_LOGIN_SECONDS, receiving
from utcp_bridge.auth.login.refusals import LoginPage, consent_refused, issuer_mismatch, login_failed, no_pkce
from utcp_bridge.auth.token_requests import (
    TokenRefusal,
    is_token,
    open_client,
    request_token,
    stale_at,
    transport_failure,
    words_of,
)
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import is_object
from utcp_bridge.urls import origin_of

if TYPE_CHECKING:
    from utcp_bridge.auth.login.logins import Holder
    from utcp_bridge.auth.models import OAuth2LoginAuth

__all__ = ["OAuthLogin", "log_in", "revoke"]

_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_MAX_SECONDS: Final = 20.0
_REVOKING_SECONDS: Final = 10.0
_DEFAULT_INTERVAL: Final = 5.0
_SLOWER: Final = 5.0
"""Seconds that `slow_down` adds (RFC 8628 section 3.5)."""
_MAX_DEVICE_SECONDS: Final = 1_800.0
_MAX_REPLY: Final = 65_536
Sleep = Callable[[float], Any]


@dataclass(frozen=True, slots=True, repr=False)
class _Plan:
    """Where the requests of a login go."""

    issuer: str
    token_url: str
    authorization_url: str | None
    device_url: str | None
    metadata: ServerMetadata | None


class OAuthLogin(PossibleLogin):
    """A login as the `auth` of a manual or of its document describes it."""

    def __init__(self, auth: OAuth2LoginAuth, holder: Holder) -> None:
        self._auth = auth
        self.holder = holder
        self.scope = auth.scope

    async def obtain(self, person: Person, before: LoginRecord | None, scope: str | None) -> LoginRecord:
        """Let the person log in."""
        granted = before.scope if before is not None else None
        return await log_in(self._auth, self.holder, person, scope=united_scopes([scope, granted]))


async def log_in(
    auth: OAuth2LoginAuth, holder: Holder, person: Person, *, scope: str | None, sleep: Sleep = anyio.sleep
) -> LoginRecord:
    """Return the login of a person.

    :raises ConfigError: `auth` lacks something.
    :raises LoginFailed: the person or the server refused it.
    :raises UtcpError: a server cannot be reached.
    """
    if auth.client_id is None:
        raise ConfigError("`auth.client_id` is missing.", remedy="Register a client there, and write its id.")
    plan = await _plan(auth, holder)
    client = _client(auth, plan)
    login = _Login(auth, holder, person, plan, client, scope)
    uses_device = auth.flow == "device" or (auth.flow is None and plan.authorization_url is None)
    return await (login.by_device(sleep) if uses_device else login.by_code())


def _check_issuer(found: dict[str, str], metadata: ServerMetadata | None, issuer: str, where: str) -> None:
    """Check the `iss` of a redirect (RFC 9207).

    :raises LoginFailed: it is that of another server, or missing though the server sends it.
    """
    claimed = found.get("iss")
    if claimed is None and (metadata is None or not metadata.has("authorization_response_iss_parameter_supported")):
        return
    if metadata is not None and claimed != metadata.issuer:
        raise issuer_mismatch(where, expected=issuer, claimed=claimed or "unnamed")


async def _plan(auth: OAuth2LoginAuth, holder: Holder) -> _Plan:
    metadata = None
    if auth.issuer is not None:
        metadata = await server_metadata(auth.issuer, holder.transport(), holder.where)
    found = metadata or ServerMetadata(auth.issuer or "")
    token_url = auth.token_url or found.url("token_endpoint")
    if token_url is None:
        raise ConfigError(
            "`auth` has no `token_url`, and no metadata of `issuer` was found.",
            remedy="Write `authorization_url` and `token_url`, or correct `issuer`.",
        )
    return _Plan(
        auth.issuer or origin_of(token_url),
        token_url,
        auth.authorization_url or found.url("authorization_endpoint"),
        auth.device_authorization_url or found.url("device_authorization_endpoint"),
        metadata,
    )


def _client(auth: OAuth2LoginAuth, plan: _Plan) -> LoginClient:
    secret = None if auth.client_secret is None else auth.client_secret.get_secret_value() or None
    methods = plan.metadata.list("token_endpoint_auth_methods_supported") if plan.metadata else ()
    method = "client_secret_post" if methods and "client_secret_basic" not in methods else "client_secret_basic"
    return LoginClient(client_id=auth.client_id or "", client_secret=secret, method=method if secret else "none")


@dataclass(frozen=True, slots=True)
class _Login:
    """One login on its way."""

    auth: OAuth2LoginAuth
    holder: Holder
    person: Person
    plan: _Plan
    client: LoginClient
    scope: str | None

    @property
    def parameters(self) -> dict[str, str]:
        """`resource` and `audience`, which go with each request."""
        found = {"resource": self.auth.resource, "audience": self.auth.audience}
        return {name: value for name, value in found.items() if value}

    async def by_code(self) -> LoginRecord:
        from authlib.common.security import generate_token  # type: ignore[import-untyped]  # it ships no types
        from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]  # as above

        if self.plan.authorization_url is None:
            raise ConfigError("`auth` has no `authorization_url`.", remedy='Write it, or `"flow": "device"`.')
        methods = self.plan.metadata.challenge_methods if self.plan.metadata else ()
        if methods and S256 not in methods:  # many servers support it and announce nothing
            raise no_pkce(self.plan.issuer, self.holder.manual, methods)
        verifier = str(generate_token(64))
        challenge = cast("str", create_s256_code_challenge(verifier))  # pyright: ignore[reportUnknownVariableType]
        state = secrets.token_urlsafe(32)
        async with receiving(self.auth.redirect_port) as receiver:
            receiver.expect(state)
            query = {
                "response_type": "code",
                "client_id": self.client.client_id,
                "redirect_uri": receiver.uri,
                "state": state,
                "code_challenge": challenge,
                "code_challenge_method": S256,
                **({"scope": self.scope} if self.scope else {}),
                **self.parameters,
            }
            page = LoginPage(self.plan.issuer, self.holder.manual)
            found = await redirected(self.person, _with_query(self.plan.authorization_url, query), receiver, page)
            _check_issuer(found, self.plan.metadata, self.plan.issuer, self.holder.where)
            if "error" in found:
                raise consent_refused(self.plan.issuer, found["error"], self.holder.manual)
            return await self._exchange(
                "authorization_code",
                {"code": found["code"], "code_verifier": verifier, "redirect_uri": receiver.uri},
            )

    async def by_device(self, sleep: Sleep) -> LoginRecord:
        reply = await self._ask_for_code()
        code, user_code, url = (reply.get(name) for name in ("device_code", "user_code", "verification_uri"))
        if not isinstance(code, str) or not isinstance(user_code, str) or not isinstance(url, str):
            raise login_failed(self.holder.where, "the server's reply has no device code", self.holder.manual)
        complete = reply.get("verification_uri_complete")
        await self.person.enter(
            DeviceCode(checked_url(url), user_code, checked_url(complete) if isinstance(complete, str) else None)
        )
        interval, life = _number(reply.get("interval"), _DEFAULT_INTERVAL), _number(reply.get("expires_in"), 600)
        most = _MAX_DEVICE_SECONDS if self.person.seconds == MAX_LOGIN_SECONDS else self.person.seconds
        ends = anyio.current_time() + min(life, most)
        while anyio.current_time() < ends:
            await sleep(interval)
            try:
                return await self._exchange(_DEVICE_GRANT, {"device_code": code}, waiting=True)
            except TokenRefusal as refusal:
                if refusal.error == "slow_down":
                    interval += _SLOWER
                elif refusal.error == "expired_token":
                    break
                elif refusal.error != "authorization_pending":
                    raise consent_refused(self.plan.issuer, refusal.error or "", self.holder.manual) from None
        raise login_failed(self.holder.where, "the code was not entered in time", self.holder.manual)

    async def _ask_for_code(self) -> dict[str, Any]:
        url = self.plan.device_url
        if url is None:
            raise ConfigError("`auth` has no `device_authorization_url`, and its server names none.")
        form = {"client_id": self.client.client_id, **({"scope": self.scope} if self.scope else {}), **self.parameters}
        request = httpx2.Request("POST", url, data=form, headers={"Accept": "application/json"})
        try:
            with anyio.fail_after(_MAX_SECONDS):
                response = await self.holder.transport().handle_async_request(request)
                body = (await response.aread())[:_MAX_REPLY]
            reply = orjson.loads(body)
        except httpx2.TransportError as error:
            raise transport_failure(url, error.__cause__) from None
        except (TimeoutError, orjson.JSONDecodeError):
            raise login_failed(self.holder.where, "the server returned no device code", self.holder.manual) from None
        if not is_object(reply):
            return {}
        if response.status_code != 200:
            raise consent_refused(self.plan.issuer, str(reply.get("error")), self.holder.manual)
        return reply

    async def _exchange(self, grant: str, fields: dict[str, str], *, waiting: bool = False) -> LoginRecord:
        """Return the login for a code. With `waiting`, a refusal is the caller's matter."""
        asked_at = time.time()
        proof = self.client.proof()
        try:
            answer = await request_token(
                self.plan.token_url, proof, grant, {**fields, **self.parameters}, self.holder.transport()
            )
        except TokenRefusal as refusal:
            if waiting:
                raise
            raise login_failed(self.holder.where, f"of the code, {words_of(refusal)}", self.holder.manual) from None
        return self._record(answer, asked_at)

    def _record(self, answer: dict[str, Any], asked_at: float) -> LoginRecord:
        token, refresh, scope = answer.get("access_token"), answer.get("refresh_token"), answer.get("scope")
        if not is_token(token):
            raise login_failed(self.holder.where, "the reply has no access_token", self.holder.manual)
        return LoginRecord(
            manual=self.holder.manual,
            resource=self.holder.key.resource,
            issuer=self.plan.issuer,
            client=self.client,
            token_endpoint=self.plan.token_url,
            revocation_endpoint=self.plan.metadata.url("revocation_endpoint") if self.plan.metadata else None,
            access_token=str(token),
            refresh_token=str(refresh) if is_token(refresh) else None,
            stale_at=stale_at(asked_at, answer.get("expires_in")),
            scope=scope if isinstance(scope, str) else self.scope,
            parameters=self.parameters,
            obtained_at=asked_at,
        )


def _with_query(url: str, query: dict[str, str]) -> str:
    parts = urlsplit(url)
    joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
    return parts._replace(query=joined, fragment="").geturl()


def _number(value: Any, otherwise: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MAX_DEVICE_SECONDS * 2
    return float(value) if is_number else otherwise


async def revoke(record: LoginRecord, transport: httpx2.AsyncBaseTransport) -> bool:
    """Revoke the tokens of a login; False if the authorization server does not do that. Never raises.

    A login is forgotten here whatever the server says, so its refusal is not an error.
    """
    token = record.refresh_token or record.access_token
    if record.revocation_endpoint is None or record.client is None or token is None:
        return False
    hint = "refresh_token" if record.refresh_token else "access_token"
    with anyio.move_on_after(_REVOKING_SECONDS):
        client: Any = open_client(record.client.proof(), transport)
        async with client:
            try:
                reply = await client.revoke_token(record.revocation_endpoint, token, token_type_hint=hint)
            except (httpx2.HTTPError, ValueError):
                return False
            return bool(reply.status_code == 200)
    return False
