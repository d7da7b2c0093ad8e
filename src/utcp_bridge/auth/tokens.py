"""OAuth 2 access tokens: by client credentials, obtained once and kept until shortly before they expire; and those of
persons who logged in (`utcp_bridge.auth.login`).

A token whose life is not a number above 0 is used until a server refuses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

from utcp_bridge.auth.token_requests import (
    ClientProof,
    TokenRefusal,
    TokenTransports,
    is_token,
    no_token,
    request_token,
    stale_at,
    words_of,
)
from utcp_bridge.errors import OperatorError, TokenError, UtcpError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Source, in_seconds
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    import httpx2

    from utcp_bridge.auth.login.logins import Logins
    from utcp_bridge.auth.models import OAuth2Auth

__all__ = ["TokenCache"]

_Key: TypeAlias = tuple[str | None, ...]

# A server that expects the credentials elsewhere returns invalid_client (RFC 6749 5.2); some servers report that the
# request has no client_id.
_WRONG_PLACE: Final = frozenset({"invalid_client", "invalid_request"})


@dataclass(frozen=True, slots=True, repr=False)
class _Issuing:
    """Where tokens are issued, whom a signed assertion is for, and the resource that the token is for."""

    url: str
    issuer: str
    resource: str | None
    transport: httpx2.AsyncBaseTransport


@dataclass(slots=True)
class _Entry:
    """One client's token, and the state of obtaining it."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    token: str | None = field(default=None, repr=False)
    stale_at: float | None = None
    in_body: bool = False
    """Whether the server accepted the credentials in the body last time."""
    endpoint: _Issuing | None = None
    """What discovery found."""
    failures: int = 0
    failure: UtcpError | None = None


class TokenCache:
    """Access tokens by endpoint, client, secret and scope, with one request at a time for each.

    `time_limit` is the limit of one token request in seconds. `on_token` receives what a token belongs to, and each new
    token. `logins` has the tokens of persons; without it, logins are not possible.
    """

    def __init__(
        self,
        pool: TokenTransports,
        *,
        time_limit: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
        on_token: Callable[[str, str], None] | None = None,
        logins: Logins | None = None,
    ) -> None:
        self.pool = pool
        self.logins = logins
        self._time_limit = time_limit
        self._clock = clock
        self._on_token = on_token
        self._entries: dict[_Key, _Entry] = {}

    async def get(self, auth: OAuth2Auth, source: Source, service: str = "") -> str:
        """Return a token that does not expire soon, obtained under the policy of `source`.

        `service` is the URL of the service; its metadata names the endpoint if `auth` does not.

        :raises TokenError: the endpoint returned no token.
        :raises PolicyError: the endpoint is not allowed.
        """
        entry = self._entry(auth, service)
        token = self._valid(entry)
        if token is not None:
            return token
        failures = entry.failures
        async with entry.lock:
            token = self._valid(entry)
            if token is not None:
                return token
            if entry.failures != failures and entry.failure is not None:
                # Another call asked while this one waited. Fifty callers must not ask fifty times.
                raise type(entry.failure)(entry.failure.message, remedy=entry.failure.remedy)
            try:
                return await self._obtain(auth, source, entry, service)
            except (OperatorError, TokenError) as error:
                entry.failures += 1
                entry.failure = error
                raise

    def held(self, auth: OAuth2Auth, service: str = "") -> Callable[[], str | None]:
        """Return a function that gives the token that `get` would return without a request; None if it would send one.

        The entry of `auth` is found once.
        """
        return partial(self._valid, self._entry(auth, service))

    def drop(self, auth: OAuth2Auth, token: str, service: str = "") -> None:
        """Forget `token`, unless another one has replaced it."""
        entry = self._entry(auth, service)
        if entry.token == token:
            entry.token = None

    def _entry(self, auth: OAuth2Auth, service: str) -> _Entry:
        secret = auth.client_secret or auth.private_key
        digest = sha256(secret.get_secret_value().encode() if secret else b"").hexdigest()
        place = auth.token_url or f"{auth.issuer} {service}"
        key = (place, auth.client_id, digest, auth.scope, auth.resource, auth.audience)
        return self._entries.setdefault(key, _Entry())

    def _valid(self, entry: _Entry) -> str | None:
        fresh = entry.stale_at is None or self._clock() < entry.stale_at
        return entry.token if fresh else None

    async def _obtain(self, auth: OAuth2Auth, source: Source, entry: _Entry, service: str) -> str:
        endpoint = await self._endpoint(auth, source, entry, service)
        asked_at = self._clock()
        try:
            with anyio.fail_after(self._time_limit):
                answer = await _ask(auth, endpoint, entry)
        except TimeoutError:
            raise no_token(endpoint.url, f"it did not reply within {in_seconds(self._time_limit)}") from None
        except TokenRefusal as refusal:
            raise no_token(endpoint.url, words_of(refusal)) from None
        token = answer.get("access_token")
        if not isinstance(token, str) or not is_token(token):
            raise no_token(endpoint.url, "its reply has no access_token")
        if str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise no_token(endpoint.url, "its tokens are not bearer tokens")
        if self._on_token is not None:
            self._on_token(f"token {endpoint.url} {auth.client_id} {auth.scope}", token)
        entry.token = token
        entry.stale_at = stale_at(asked_at, answer.get("expires_in"))
        return token

    async def _endpoint(self, auth: OAuth2Auth, source: Source, entry: _Entry, service: str) -> _Issuing:
        """Return the endpoint of `auth`, or the one that discovery finds, once: another issuer is not followed."""
        if auth.token_url is not None:
            transport = self.pool.token_transport(auth.token_url, source)
            return _Issuing(auth.token_url, auth.issuer or auth.token_url, auth.resource, transport)
        if entry.endpoint is None:
            entry.endpoint = await self._discovered(auth, source, service)
        return entry.endpoint

    async def _discovered(self, auth: OAuth2Auth, source: Source, service: str) -> _Issuing:
        from utcp_bridge.auth.login.discovery import protected_resource, server_metadata
        from utcp_bridge.auth.login.endpoints import AuthorizationTransport

        transport = AuthorizationTransport(self.pool, source, service or str(auth.issuer), (auth.issuer,))
        found = await protected_resource(service, None, transport) if service else None
        issuer = auth.issuer or (found.issuers[0] if found else service)
        metadata = await server_metadata(issuer, transport, bare_url(service or issuer)) if issuer else None
        url = metadata.url("token_endpoint") if metadata else None
        if metadata is None or url is None:
            raise TokenError(
                f"{bare_url(service or issuer)} publishes no metadata that names a token endpoint.",
                remedy="Write `token_url` or `issuer` into `auth`.",
            )
        return _Issuing(url, metadata.issuer, auth.resource or (found.resource if found else None), transport)


async def _ask(auth: OAuth2Auth, endpoint: _Issuing, entry: _Entry) -> dict[str, Any]:
    """Send the credentials in the header first, and in the body if the server expects them there."""
    wanted = {"scope": auth.scope, "resource": endpoint.resource, "audience": auth.audience}
    fields = {name: value for name, value in wanted.items() if value is not None}

    async def post(proof: ClientProof) -> dict[str, Any]:
        return await request_token(endpoint.url, proof, "client_credentials", fields, endpoint.transport)

    if auth.private_key is not None:
        key = auth.private_key.get_secret_value()
        return await post(
            ClientProof(
                auth.client_id, "private_key_jwt", private_key=key, algorithm=auth.algorithm, audience=endpoint.issuer
            )
        )
    secret = auth.client_secret.get_secret_value() if auth.client_secret else ""
    if not entry.in_body:
        try:
            return await post(ClientProof(auth.client_id, "basic", secret))
        except TokenRefusal as refusal:
            if refusal.status != 401 and not (refusal.status == 400 and refusal.error in _WRONG_PLACE):
                raise
    answer = await post(ClientProof(auth.client_id, "post", secret))
    entry.in_body = True
    return answer
