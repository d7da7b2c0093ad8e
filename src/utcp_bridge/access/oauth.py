"""Tokens of an OAuth authorization server: JWTs by the server's public keys, opaque tokens by introspection.

RFC 9068 (JWT access tokens), RFC 7517 (keys), RFC 7662 (introspection), RFC 8707 (resource indicators). Every request
to the authorization server passes the address gate, on https only beyond this machine. The operator names the server,
so one at a loopback or private address is reached.
"""

from __future__ import annotations

import logging
import time
import warnings
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from hashlib import blake2b
from math import inf
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode
from weakref import WeakSet

import anyio
import orjson

from utcp_bridge.access.admissions import Admission
from utcp_bridge.access.challenges import Refused
from utcp_bridge.access.principals import Principal
from utcp_bridge.auth.login.discovery import fetch_object, server_metadata
from utcp_bridge.auth.login.endpoints import AuthorizationTransport
from utcp_bridge.errors import ConfigError, LoginFailed, Unreachable, UtcpError
from utcp_bridge.model import JsonObject, Source, is_list, is_object
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.settings.access import OAuthSettings
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from joserfc.jwk import Key

__all__ = ["Issuer", "OAuthTokens", "PublicKeys"]

_logger = logging.getLogger(__name__)
_ALGORITHMS: Final = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA", "Ed25519", "Ed448"),
}
"""What a key of each type may have signed. `none` and HMAC are not here: a public key is not a secret."""
_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
"""Values of `typ`, in lower case. A token for another use has another one (RFC 8725, section 3.11)."""
_SKEW: Final = 60.0
"""Seconds by which the clocks of two machines may differ."""
_MAX_TOKEN: Final = 16_384
_MIN_TOKEN: Final = 16
_MAX_KEYS: Final = 100
_MAX_KNOWN: Final = 1_000
_MAX_SUBJECT: Final = 255
_MAX_TIME: Final = 1e12
_KEYS_SECONDS: Final = 600.0
"""After this time the keys are fetched again, so that a key that was withdrawn ends."""
_STALE_SECONDS: Final = 86_400.0
"""For so long the keys are used if the server cannot be reached."""
_BETWEEN_FETCHES: Final = 10.0
"""A token with an unknown key causes a request to the authorization server at most so often."""
_VERDICT_SECONDS: Final = 300.0
_INTROSPECTED_SECONDS: Final = 30.0
_REFUSED_SECONDS: Final = 10.0
_EXAMINED_SECONDS: Final = 10.0


class Issuer:
    """The requests to one authorization server, behind the address gate."""

    def __init__(self, settings: OAuthSettings) -> None:
        if settings.oauth_issuer is None:
            raise ConfigError("`oauth.issuer` is not set.")
        self.url: Final = settings.oauth_issuer
        self._keys_url = settings.oauth_jwks_url
        self._introspection_url = settings.oauth_introspection_url
        named = (self.url, self._keys_url, self._introspection_url)
        self._pool = HttpPool(Guard())
        self._transport = AuthorizationTransport(self._pool, Source("oauth"), self.url, named)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def keys(self) -> list[Any]:
        """Return the public keys as they are published (RFC 7517).

        :raises ConfigError: the server says that it is another issuer.
        :raises UtcpError: the server cannot be reached, or publishes no keys.
        """
        url = self._keys_url or await self._announced("jwks_uri", "oauth.jwks_url")
        keys = (await fetch_object(url, self._transport)).get("keys")
        if not is_list(keys):
            raise Unreachable(f"{bare_url(url)} does not publish keys (a JSON object with `keys`).")
        return keys[:_MAX_KEYS]

    async def introspected(self, token: str, client: str, secret: str) -> JsonObject:
        """Return what the server says about an opaque token (RFC 7662).

        :raises UtcpError: the server cannot be reached, or refuses the bridge.
        """
        import httpx2

        url = str(self._introspection_url)
        proof = b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()
        headers = {
            "Accept": "application/json",
            "Authorization": f"Basic {proof}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        form = urlencode({"token": token, "token_type_hint": "access_token"})
        request = httpx2.Request("POST", url, headers=headers, content=form.encode())
        found = await fetch_object(url, self._transport, request)
        if not isinstance(found.get("active"), bool):
            raise Unreachable(f"{bare_url(url)} did not say whether a token is active. Check `oauth.client_id`.")
        return found

    async def _announced(self, name: str, setting: str) -> str:
        try:
            metadata = await server_metadata(self.url, self._transport, "oauth.issuer")
        except LoginFailed as error:
            raise ConfigError(error.message, remedy="Set `oauth.issuer` to what the server calls itself.") from None
        url = None if metadata is None else metadata.url(name)
        if url is None:
            raise Unreachable(f"{bare_url(self.url)} does not publish its `{name}`. Set `{setting}`.")
        return url


class PublicKeys:
    """The keys of an issuer: fetched when they are needed, and again for a key that is not known.

    `fetch` returns the published keys. A fetch that fails leaves the keys of before for up to a day.
    """

    def __init__(self, fetch: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = anyio.Lock()
        self._keys: list[Key] = []
        self._tried: float = -inf
        self._fetched: float = -inf

    async def candidates(self, kid: Any, algorithm: str) -> list[Key]:
        """Return the keys that may have signed a token.

        :raises UtcpError: no key was ever fetched, or not for a day.
        """
        if self._clock() - self._fetched > _KEYS_SECONDS:
            await self._renew()
        found = self._matching(kid, algorithm)
        if not found and self._clock() - self._tried >= _BETWEEN_FETCHES:
            await self._renew()
            found = self._matching(kid, algorithm)
        return found

    def _matching(self, kid: Any, algorithm: str) -> list[Key]:
        fitting = [
            key
            for key in self._keys
            if algorithm in _ALGORITHMS.get(key.key_type, ())
            and key.get("alg", algorithm) == algorithm
            and key.get("use", "sig") == "sig"
        ]
        return fitting if kid is None else [key for key in fitting if key.get("kid") == kid]

    async def _renew(self) -> None:
        before = self._tried
        async with self._lock:
            if self._tried != before:  # another request has fetched them meanwhile
                return
            is_due = self._clock() - self._tried >= _BETWEEN_FETCHES
            try:
                if is_due:
                    self._tried = self._clock()
                    self._keys = _imported(await self._fetch())
                    self._fetched = self._clock()
                    return
            except UtcpError as error:
                _logger.warning("The keys of the authorization server could not be fetched: %s", error)
        if self._clock() - self._fetched > _STALE_SECONDS:
            self._keys = []
            raise Unreachable("The keys of the authorization server are not known.")


def _imported(published: list[Any]) -> list[Key]:
    """Return the keys that can verify signatures. Others are left out, also symmetric and private ones."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    keys: list[Key] = []
    for one in published:
        if not is_object(one) or one.get("kty") not in _ALGORITHMS or "d" in one:
            continue
        try:
            keys.append(import_key(one))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return keys


class OAuthTokens:
    """Judges tokens of one issuer. `resource` is the URL for which a token must be issued."""

    def __init__(self, settings: OAuthSettings, resource: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.issuer: Final = Issuer(settings)
        self.judges_by: Final = (resource, *(getattr(settings, key) for key in OAuthSettings.model_fields))
        """What decides about tokens. With the same values, the same tokens are valid."""
        self._audience = frozenset(settings.oauth_audience or _spellings(resource))
        self._profiles = settings.oauth_profiles
        self._client = settings.oauth_client_id
        secret = settings.oauth_client_secret
        self._secret = None if secret is None else secret.get_secret_value()
        self._introspects = settings.oauth_introspection_url is not None
        if self._introspects and (self._client is None or self._secret is None):
            raise ConfigError(
                "`oauth.introspection_url` needs the bridge's own client at the authorization server.",
                remedy="Set `oauth.client_id` and `oauth.client_secret`, or a file with the secret as "
                "`oauth.client_secret_file`.",
            )
        self._keys = PublicKeys(self.issuer.keys, clock)
        self._known: OrderedDict[bytes, Admission] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._given: WeakSet[Admission] = WeakSet()
        """Those that something is open for, also if their tokens were forgotten."""

    async def aclose(self) -> None:
        """Close the connections to the authorization server."""
        await self.issuer.aclose()

    def forget_all(self, *, are_ended: bool = False) -> None:
        """Forget all verdicts: each token has to be examined again, or has ended."""
        for admission in (*self._given,):
            admission.lapse()
            admission.ended = admission.ended or are_ended
        self._given.clear()
        self._known.clear()
        self._refused.clear()

    def known(self, credential: bytes) -> Admission | None:
        """Return the admission of a token that was examined a short time ago."""
        found = self._known.get(_key(credential))
        return found if found is not None and not found.ended and time.time() < found.fresh_until else None

    async def examine(self, credential: bytes) -> Admission | None:
        """Return the admission of a token; None if it is not valid here.

        :raises Refused: the authorization server cannot be asked now (503).
        """
        key = _key(credential)
        if not _MIN_TOKEN <= len(credential) <= _MAX_TOKEN or self._refused.get(key, 0.0) > time.time():
            return None
        try:
            with anyio.fail_after(_EXAMINED_SECONDS):
                claims, seconds = await self._claims(credential)
        except (UtcpError, TimeoutError) as error:
            _logger.warning("A token could not be examined: %s", str(error) or "no reply in time")
            message = "The authorization server cannot be asked now. Try again later."
            raise Refused(503, "temporarily_unavailable", message) from None
        principal = None if claims is None else self._principal(claims)
        if claims is None or principal is None:
            self._forget(key)
            return None
        return self._remember(key, principal, float(claims.get("exp", inf)), seconds)

    def _remember(self, key: bytes, principal: Principal, expires: float, seconds: float) -> Admission:
        admission = self._known.get(key)
        if admission is None or admission.principal != principal:
            admission = Admission(principal)
            self._given.add(admission)
        admission.expires = expires + _SKEW
        admission.fresh_until = min(admission.expires, time.time() + seconds)
        self._known[key] = admission
        self._known.move_to_end(key)
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return admission

    def _forget(self, key: bytes) -> None:
        if (before := self._known.pop(key, None)) is not None:
            before.ended = True
        self._refused[key] = time.time() + _REFUSED_SECONDS
        while len(self._refused) > _MAX_KNOWN:
            self._refused.popitem(last=False)

    async def _claims(self, credential: bytes) -> tuple[JsonObject | None, float]:
        """Return the claims of a valid token, and for how many seconds the verdict stays."""
        if credential.count(b".") == 2 and (header := _header(credential)) is not None:
            claims = await self._signed(credential, header)
            return claims, _VERDICT_SECONDS
        if not self._introspects:
            return None, 0.0
        try:
            text = credential.decode("ascii")
        except UnicodeDecodeError:
            return None, 0.0
        found = await self.issuer.introspected(text, str(self._client), str(self._secret))
        is_valid = found["active"] and self._is_for_us(found, needs_issuer=False, needs_end=False)
        return (found if is_valid else None), _INTROSPECTED_SECONDS

    async def _signed(self, credential: bytes, header: JsonObject) -> JsonObject | None:
        """Return the claims of a JWT whose signature and claims are valid."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        algorithm = header.get("alg")
        kind = str(header.get("typ", "")).lower()
        allowed = {one for names in _ALGORITHMS.values() for one in names}
        if not isinstance(algorithm, str) or algorithm not in allowed or kind not in _TYPES or "crit" in header:
            return None
        for key in await self._keys.candidates(header.get("kid"), algorithm):
            try:
                with warnings.catch_warnings():  # EdDSA is an old name, which servers still use
                    warnings.simplefilter("ignore")
                    claims = jwt.decode(credential, key, [algorithm]).claims
            except (JoseError, ValueError, TypeError):
                continue
            return claims if self._is_for_us(claims, needs_issuer=True, needs_end=True) else None
        return None

    def _is_for_us(self, claims: Mapping[str, Any], *, needs_issuer: bool, needs_end: bool) -> bool:
        """Return whether claims are of our issuer, for this server, of now, and for any bearer."""
        issuer, audience, now = claims.get("iss"), claims.get("aud"), time.time()
        named = audience if is_list(audience) else [audience]
        if (issuer is not None or needs_issuer) and issuer != self.issuer.url:
            return False
        if not any(isinstance(one, str) and one in self._audience for one in named):
            return False
        begins, ends = claims.get("nbf", 0), claims.get("exp", None if needs_end else now + _SKEW)
        if not _is_time(begins) or not _is_time(ends) or now < begins - _SKEW or now >= ends + _SKEW:
            return False
        return "cnf" not in claims  # only the holder of a key may use such a token, and a bearer proves no key

    def _principal(self, claims: Mapping[str, Any]) -> Principal | None:
        subject = claims.get("sub", claims.get("client_id"))
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
            return None
        scopes = _scopes(claims)
        name = f"oauth:{subject}@{self.issuer.url}"
        return Principal(name, "oauth", scopes, self._profiles_of(scopes, claims) if self._profiles else None)

    def _profiles_of(self, scopes: frozenset[str], claims: Mapping[str, Any]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for glob, profiles in self._profiles.items():
            claim, is_claim, pattern = glob.partition("=")
            value = claims.get(claim)
            values = (value if is_list(value) else [value]) if is_claim else [*scopes]
            if any(isinstance(one, str) and fnmatchcase(one, pattern if is_claim else glob) for one in values):
                found |= dict.fromkeys(profiles)
        return tuple(found)


def _key(credential: bytes) -> bytes:
    """Return what the memory of verdicts has in place of a token."""
    return blake2b(credential, digest_size=32).digest()


def _header(credential: bytes) -> JsonObject | None:
    from base64 import urlsafe_b64decode

    part = credential.partition(b".")[0]
    try:
        header: Any = orjson.loads(urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except ValueError:
        return None
    return header if is_object(header) else None


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_TIME


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes: `scope` as text (RFC 8693), or `scope` or `scp` as a list, as some servers write them."""
    found = claims.get("scope", claims.get("scp", ""))
    if isinstance(found, str):
        return frozenset(found.split())
    return frozenset(one for one in found if isinstance(one, str)) if is_list(found) else frozenset()


def _spellings(resource: str) -> tuple[str, ...]:
    """Return a resource without and with a slash at its end, which clients add or drop."""
    bare = resource.rstrip("/")
    return bare, f"{bare}/"
