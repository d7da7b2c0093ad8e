"""One request to a token endpoint, for every grant (RFC 6749), and how a client proves who it is there.

Authlib speaks the protocol over a transport of ours, so that the guard checks the endpoint like every other address.
The first request imports Authlib.
"""

from __future__ import annotations

import base64
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import quote_plus

import orjson

from utcp_bridge.errors import ConfigError, OperatorError, TokenError, UtcpError
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Source, is_object
from utcp_bridge.urls import bare_url, redirected_to

if TYPE_CHECKING:
    import httpx2

__all__ = [
    "ClientProof",
    "ProofMethod",
    "TokenRefusal",
    "TokenTransports",
    "is_token",
    "no_token",
    "open_client",
    "request_token",
    "stale_at",
    "transport_failure",
    "words_of",
]

ProofMethod: TypeAlias = Literal["basic", "post", "none", "private_key_jwt"]

LIFE: Final = "expires_in"
_TIMES: Final = (LIFE, "expires_at")
"""Members of a reply that Authlib refuses unless they are numbers."""
_MAX_LEEWAY: Final = 30.0
_ASSERTION_SECONDS: Final = 300
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519"}
_ERROR_CODE = late_pattern(r"[a-z_]{1,40}")
_TOKEN_VALUE = late_pattern(r"[\x21-\x7e]+")


class HasTransport(Protocol):
    """The HTTP of one manual: `utcp_bridge.net.http_session.HttpSession`."""

    @property
    def transport(self) -> httpx2.AsyncBaseTransport:
        """The transport behind the address gate."""
        ...


class TokenTransports(Protocol):
    """What provides the transports to authorization servers: `utcp_bridge.net.http.HttpPool`."""

    def session(self, source: Source) -> HasTransport:
        """Return the HTTP of a manual."""
        ...

    def token_transport(self, url: str, source: Source) -> httpx2.AsyncBaseTransport:
        """Return a transport for `url` under the policy of `source`.

        :raises PolicyError: a client secret may not be sent to `url`.
        """
        ...


@dataclass(frozen=True, slots=True)
class ClientProof:
    """How a client proves who it is. `none` is for public clients, which have no secret.

    `private_key` is a PEM text, and `audience` is what the signed assertion is for: the issuer (RFC 7523).
    """

    client_id: str
    method: ProofMethod = "basic"
    secret: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    algorithm: str | None = None
    """Of the signature; None for the usual one of the key."""
    audience: str = ""

    def assertion(self) -> dict[str, str]:
        """Return the form fields of a signed assertion; empty for the other methods.

        :raises ConfigError: the private key cannot be used.
        """
        if self.method != "private_key_jwt":
            return {}
        from joserfc import jwt
        from joserfc.errors import JoseError

        now = int(time.time())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "jti": token_urlsafe(16),
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        try:
            key = _imported(self.private_key)
            algorithm = self.algorithm or _ALGORITHMS.get(key.key_type, "")
            with warnings.catch_warnings():  # EdDSA is an old name, which servers still use
                warnings.simplefilter("ignore")
                signed = jwt.encode({"alg": algorithm}, claims, key, [algorithm])
        except (JoseError, ValueError, TypeError):
            raise ConfigError(
                "`auth.private_key` cannot sign the client's assertion.",
                remedy="Write a private key as PEM, and an `algorithm` that fits it.",
            ) from None
        return {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": signed}


@dataclass(slots=True)
class TokenRefusal(Exception):
    """The endpoint replied without a token."""

    status: int
    error: str | None
    target: str = ""
    """The origin to which it redirects."""


async def request_token(
    url: str, proof: ClientProof, grant: str, fields: Mapping[str, str], transport: httpx2.AsyncBaseTransport
) -> dict[str, Any]:
    """Return the reply of a token endpoint to one grant.

    :raises TokenRefusal: it returned no token.
    :raises UtcpError: it cannot be reached.
    """
    import httpx2
    from authlib.integrations.httpx_client import OAuthError  # type: ignore[import-untyped]  # it ships no types

    statuses = [0]
    targets = [""]
    times: dict[str, Any] = {}

    def note(response: httpx2.Response) -> httpx2.Response:
        statuses.append(response.status_code)
        targets.append(redirected_to(url, response.headers.get("Location")))
        return _without_times(response, times)

    client: Any = open_client(proof, transport)
    client.register_compliance_hook("access_token_response", note)
    async with client:
        try:
            answer = await client.fetch_token(url, grant_type=grant, **fields, **proof.assertion())
            if statuses[-1] >= 400:  # JSON without `error`, which Authlib takes for a token
                raise TokenRefusal(statuses[-1], None)
            return {**answer, **times}
        except ConfigError:  # a `ValueError` too, with a sentence of its own
            raise
        except OAuthError as error:
            raise TokenRefusal(statuses[-1], str(error.error)) from None
        except httpx2.TransportError as error:
            raise transport_failure(url, error.__cause__) from error
        except (httpx2.HTTPError, ValueError, TypeError, OverflowError, RecursionError):
            # A status above 400 without JSON, a redirect, or JSON that is not a token reply.
            raise TokenRefusal(statuses[-1], None, targets[-1]) from None


def open_client(proof: ClientProof, transport: httpx2.AsyncBaseTransport) -> Any:
    """Return Authlib's client, which is an `httpx2.AsyncClient`, over this transport."""
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    methods: dict[str, str | Callable[..., Any]] = {"basic": _form_encoded_basic, "post": "client_secret_post"}
    method = methods.get(proof.method, "none")
    return AsyncOAuth2Client(
        proof.client_id,
        proof.secret,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        transport=transport,
        trust_env=False,
        follow_redirects=False,
    )


def is_token(value: Any) -> bool:
    """Return whether a value can be sent as a token."""
    return isinstance(value, str) and _TOKEN_VALUE.fullmatch(value) is not None


def stale_at(asked_at: float, expires_in: Any) -> float | None:
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


def words_of(refusal: TokenRefusal) -> str:
    """Return why the server gave no token, as the end of a sentence."""
    if 300 <= refusal.status < 400:
        return f"it returned a redirect to {refusal.target}, which is never followed"
    if refusal.error is not None and _ERROR_CODE.fullmatch(refusal.error):
        return f"it returned {refusal.status} {refusal.error}"
    if refusal.status < 300:
        return "its reply is not the JSON of a token"
    return f"it returned {refusal.status}"


def transport_failure(url: str, cause: BaseException | None) -> UtcpError:
    """Return our error for a token endpoint that cannot be reached."""
    if isinstance(cause, OperatorError):
        return cause
    reason = cause.message.rstrip(".") if isinstance(cause, UtcpError) else "the connection failed"
    return no_token(url, reason[:1].lower() + reason[1:])


def no_token(url: str, reason: str) -> TokenError:
    """Return the error of a token endpoint that returned no token. `reason` ends the sentence."""
    return TokenError(
        f"The token endpoint {bare_url(url)} returned no access token: {reason}.",
        remedy="Check `token_url`, `client_id`, `client_secret` and `scope`.",
    )


def _imported(pem: str) -> Any:
    """Return the private key of a PEM text, whatever its kind."""
    from joserfc.errors import InvalidKeyTypeError
    from joserfc.jwk import import_key

    for kind in ("RSA", "EC"):
        with suppress(InvalidKeyTypeError):
            return import_key(pem, kind)
    return import_key(pem, "OKP")


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
