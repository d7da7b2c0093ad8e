"""OAuth 2 access tokens by client credentials: obtained once, and kept until shortly before they expire.

A token whose life is not a number above 0 is used until a server refuses it.

Authlib speaks the protocol over a transport of ours, so that the guard checks the token endpoint like every other
address. The first token request imports Authlib.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from urllib.parse import quote_plus

import anyio
import orjson

from utcp_bridge.errors import OperatorError, TokenError, UtcpError
from utcp_bridge.model import Source, is_object
from utcp_bridge.urls import bare_url, redirected_to

if TYPE_CHECKING:
    import httpx2

    from utcp_bridge.auth.models import OAuth2Auth

__all__ = ["TokenCache"]

_Key: TypeAlias = tuple[str, str, bytes, str | None]

_IN_BODY: Final = "client_secret_post"
_LIFE: Final = "expires_in"
_TIMES: Final = (_LIFE, "expires_at")
"""Members of a reply that Authlib refuses unless they are numbers."""
_MAX_LEEWAY: Final = 30.0
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
_TOKEN_VALUE = re.compile(r"[\x21-\x7e]+")
# A server that expects the credentials elsewhere returns invalid_client (RFC 6749 5.2); some servers report that the
# request has no client_id.
_WRONG_PLACE = frozenset({"invalid_client", "invalid_request"})


@dataclass(slots=True)
class _Entry:
    """One client's token, and the state of obtaining it."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    token: str | None = field(default=None, repr=False)
    stale_at: float | None = None
    in_body: bool = False
    """Whether the server accepted the credentials in the body last time."""
    failures: int = 0
    failure: UtcpError | None = None


@dataclass(slots=True)
class _Refusal(Exception):
    """The endpoint replied without a token."""

    status: int
    error: str | None
    target: str = ""
    """The origin to which it redirects."""


class TokenTransports(Protocol):
    """What provides the transport to a token endpoint: `utcp_bridge.net.http.HttpPool`."""

    def token_transport(self, url: str, source: Source) -> httpx2.AsyncBaseTransport:
        """Return a transport for `url` under the policy of `source`.

        :raises PolicyError: a client secret may not be sent to `url`.
        """
        ...


class TokenCache:
    """Access tokens by endpoint, client, secret and scope, with one request at a time for each.

    `time_limit` is the limit of one token request in seconds. `on_token` receives what a token belongs to, and each new
    token.
    """

    def __init__(
        self,
        transports: TokenTransports,
        *,
        time_limit: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
        on_token: Callable[[str, str], None] | None = None,
    ) -> None:
        self._transports = transports
        self._time_limit = time_limit
        self._clock = clock
        self._on_token = on_token
        self._entries: dict[_Key, _Entry] = {}

    async def get(self, auth: OAuth2Auth, source: Source) -> str:
        """Return a token that does not expire soon, obtained under the policy of `source`.

        :raises TokenError: the endpoint returned no token.
        :raises PolicyError: the endpoint is not allowed.
        """
        entry = self._entry(auth)
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
                return await self._obtain(auth, source, entry)
            except (OperatorError, TokenError) as error:
                entry.failures += 1
                entry.failure = error
                raise

    def drop(self, auth: OAuth2Auth, token: str) -> None:
        """Forget `token`, unless another one has replaced it."""
        entry = self._entry(auth)
        if entry.token == token:
            entry.token = None

    def _entry(self, auth: OAuth2Auth) -> _Entry:
        secret = sha256(auth.client_secret.get_secret_value().encode()).digest()
        return self._entries.setdefault((auth.token_url, auth.client_id, secret, auth.scope), _Entry())

    def _valid(self, entry: _Entry) -> str | None:
        fresh = entry.stale_at is None or self._clock() < entry.stale_at
        return entry.token if fresh else None

    async def _obtain(self, auth: OAuth2Auth, source: Source, entry: _Entry) -> str:
        transport = self._transports.token_transport(auth.token_url, source)
        asked_at = self._clock()
        try:
            with anyio.fail_after(self._time_limit):
                answer = await _ask(auth, transport, entry)
        except TimeoutError:
            raise _no_token(auth, f"it did not reply within {self._time_limit:g} seconds") from None
        except _Refusal as refusal:
            raise _no_token(auth, _words(refusal)) from None
        token = answer.get("access_token")
        if not isinstance(token, str) or not _TOKEN_VALUE.fullmatch(token):
            raise _no_token(auth, "its reply has no access_token")
        if str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise _no_token(auth, "its tokens are not bearer tokens")
        if self._on_token is not None:
            self._on_token(f"token {auth.token_url} {auth.client_id} {auth.scope}", token)
        entry.token = token
        entry.stale_at = _stale_at(asked_at, answer.get(_LIFE))
        return token


async def _ask(auth: OAuth2Auth, transport: httpx2.AsyncBaseTransport, entry: _Entry) -> dict[str, Any]:
    """Send the credentials in the header first, and in the body if the server expects them there."""
    if entry.in_body:
        return await _post(auth, transport, _IN_BODY)
    try:
        return await _post(auth, transport, _form_encoded_basic)
    except _Refusal as refusal:
        if refusal.status != 401 and not (refusal.status == 400 and refusal.error in _WRONG_PLACE):
            raise
    answer = await _post(auth, transport, _IN_BODY)
    entry.in_body = True
    return answer


async def _post(
    auth: OAuth2Auth, transport: httpx2.AsyncBaseTransport, method: str | Callable[..., Any]
) -> dict[str, Any]:
    import httpx2
    from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError  # type: ignore[import-untyped]  # it ships no types

    statuses = [0]
    targets = [""]
    times: dict[str, Any] = {}

    def note(response: httpx2.Response) -> httpx2.Response:
        statuses.append(response.status_code)
        targets.append(redirected_to(auth.token_url, response.headers.get("Location")))
        return _without_times(response, times)

    client: Any = AsyncOAuth2Client(
        auth.client_id,
        auth.client_secret.get_secret_value(),
        token_endpoint_auth_method=method,
        scope=auth.scope,
        transport=transport,
        trust_env=False,
        follow_redirects=False,
    )
    client.register_compliance_hook("access_token_response", note)
    async with client:
        try:
            return {**await client.fetch_token(auth.token_url, grant_type="client_credentials"), **times}
        except OAuthError as error:
            raise _Refusal(statuses[-1], str(error.error)) from None
        except httpx2.TransportError as error:
            raise _transport_failure(auth, error.__cause__) from error
        except (httpx2.HTTPError, ValueError, TypeError, OverflowError, RecursionError):
            # A status above 400 without JSON, a redirect, or JSON that is not a token reply.
            raise _Refusal(statuses[-1], None, targets[-1]) from None


def _without_times(response: httpx2.Response, times: dict[str, Any]) -> httpx2.Response:
    """Return a reply without the members that say how long the token lasts. They go into `times`."""
    import httpx2

    try:
        answer = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return response
    if not is_object(answer) or answer.keys().isdisjoint(_TIMES):
        return response
    times |= {name: answer.pop(name) for name in _TIMES if name in answer}
    return httpx2.Response(response.status_code, json=answer, request=response.request)


def _form_encoded_basic(client: Any, _method: str, uri: str, headers: Any, body: Any) -> tuple[str, Any, Any]:
    """Set HTTP Basic as in RFC 6749 2.3.1: both parts form-encoded first. Authlib does not encode them, and a
    certified server then refuses a secret with a percent sign, a plus or a colon.
    """
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(pair.encode('ascii')).decode('ascii')}"
    return uri, headers, body


def _stale_at(asked_at: float, expires_in: Any) -> float | None:
    """Return when to ask again: shortly before the token expires. None means only after it was refused.

    A life of 0 would cost a token request for each call.
    """
    if isinstance(expires_in, bool):
        return None
    try:
        life = float(expires_in)
    except (TypeError, ValueError, OverflowError):
        return None
    return asked_at + life - min(_MAX_LEEWAY, life / 10) if 0 < life < float("inf") else None


def _words(refusal: _Refusal) -> str:
    if 300 <= refusal.status < 400:
        return f"it returned a redirect to {refusal.target}, which is never followed"
    if refusal.error is not None and _ERROR_CODE.fullmatch(refusal.error):
        return f"it returned {refusal.status} {refusal.error}"
    if refusal.status < 300:
        return "its reply is not the JSON of a token"
    return f"it returned {refusal.status}"


def _transport_failure(auth: OAuth2Auth, cause: BaseException | None) -> UtcpError:
    if isinstance(cause, OperatorError):
        return cause
    reason = cause.message.rstrip(".") if isinstance(cause, UtcpError) else "the connection failed"
    return _no_token(auth, reason[:1].lower() + reason[1:])


def _no_token(auth: OAuth2Auth, reason: str) -> TokenError:
    return TokenError(
        f"The token endpoint {bare_url(auth.token_url)} returned no access token: {reason}.",
        remedy="Check `token_url`, `client_id`, `client_secret` and `scope`.",
    )
