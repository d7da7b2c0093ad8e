"""Authentication: what a manual's `auth` says, and the credentials that follow from it.

    {"auth_type": "api_key", "api_key": "…", "var_name": "X-Api-Key", "location": "header" | "query" | "cookie"}
    {"auth_type": "basic", "username": "…", "password": "…"}
    {"auth_type": "oauth2", "token_url": "…", "client_id": "…", "client_secret": "…", "scope": "…"}
    {"auth_type": "oauth2_user", "access_token": "…", "prefix": "Bearer ", "var_name": "Authorization"}
    {"auth_type": "token", "token": "…"}
    {"auth_type": "all", "schemes": [...]}     {"auth_type": "any", "options": [...]}

`auth_type` may be left out where the fields tell it (UTCP 0.x). Credentials are bound to the origins they
were given for: whatever a manual says, they are sent nowhere else.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.errors import ConfigError, PolicyError
from utcp_bridge.model import Source, Trust
from utcp_bridge.urls import endpoint_of_url, origin_of

__all__ = [
    "Additions",
    "AllAuth",
    "AnyAuth",
    "ApiKeyAuth",
    "Auth",
    "BasicAuth",
    "Credentials",
    "OAuth2Auth",
    "OAuth2UserAuth",
    "TokenAuth",
    "TokenCache",
    "parse_auth",
]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_HEADER_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_COOKIE_VALUE = re.compile(r"[\x00-\x1f\x7f;]")

Filled: TypeAlias = Annotated[str, Field(min_length=1)]
FilledSecret: TypeAlias = Annotated[SecretStr, Field(min_length=1)]


class _AuthModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class ApiKeyAuth(_AuthModel):
    """A key that is sent word for word under `var_name`."""

    auth_type: Literal["api_key"] = "api_key"
    api_key: FilledSecret
    var_name: Filled = "X-Api-Key"
    location: Literal["header", "query", "cookie"] = "header"


class BasicAuth(_AuthModel):
    """HTTP Basic (RFC 7617), in UTF-8."""

    auth_type: Literal["basic"] = "basic"
    username: str
    password: SecretStr


class OAuth2Auth(_AuthModel):
    """OAuth 2 client credentials (RFC 6749 section 4.4)."""

    auth_type: Literal["oauth2"] = "oauth2"
    token_url: Filled
    client_id: Filled
    client_secret: SecretStr
    scope: str | None = None


class OAuth2UserAuth(_AuthModel):
    """An access token that a user obtained elsewhere; it is sent as it is and never renewed."""

    auth_type: Literal["oauth2_user"] = "oauth2_user"
    access_token: FilledSecret
    prefix: str = "Bearer "
    var_name: Filled = "Authorization"


class TokenAuth(_AuthModel):
    """A bearer token: `Authorization: Bearer <token>`."""

    auth_type: Literal["token"] = "token"
    token: FilledSecret


class AllAuth(_AuthModel):
    """Every one of `schemes` goes onto the request."""

    auth_type: Literal["all"] = "all"
    schemes: Annotated[tuple[Auth, ...], Field(min_length=1)]


class AnyAuth(_AuthModel):
    """Alternatives, the preferred one first; the first is used."""

    auth_type: Literal["any"] = "any"
    options: Annotated[tuple[Auth, ...], Field(min_length=1)]


Auth: TypeAlias = Annotated[
    ApiKeyAuth | BasicAuth | OAuth2Auth | OAuth2UserAuth | TokenAuth | AllAuth | AnyAuth,
    Field(discriminator="auth_type"),
]
AllAuth.model_rebuild()
AnyAuth.model_rebuild()
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Auth)

_TELLING_FIELDS = {
    "token_url": "oauth2",
    "api_key": "api_key",
    "username": "basic",
    "access_token": "oauth2_user",
    "token": "token",
    "schemes": "all",
    "options": "any",
}
_KINDS = frozenset(_TELLING_FIELDS.values())
_MAX_NESTING = 4


def parse_auth(auth: Mapping[str, Any]) -> Auth:
    """Read an `auth` object whose variables are already filled in. Raises ConfigError, naming the field."""
    try:
        parsed = _ADAPTER.validate_python(_with_types(auth, 0))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(
            f"{_path(first['loc'])} cannot be used: {first['msg']}.", remedy="See docs/auth.md."
        ) from None
    for scheme in _leaves(parsed):
        _check_wire_safety(scheme)
    result: Auth = parsed
    return result


@dataclass(frozen=True, slots=True)
class Additions:
    """What credentials add to one request: headers, an encoded query (`a=b&c=d`), cookies (`a=b; c=d`)."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: str = field(default="", repr=False)
    cookies: str = field(default="", repr=False)

    def placed(self, url: str, headers: list[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
        """URL and headers with these on them. What is already there under the same name gives way."""
        if self.headers:
            names = {name.lower() for name, _ in self.headers}
            headers = [pair for pair in headers if pair[0].lower() not in names]
            headers.extend(self.headers)
        if self.cookies:
            kept = [value for name, value in headers if name.lower() == "cookie"]
            headers = [pair for pair in headers if pair[0].lower() != "cookie"]
            headers.append(("Cookie", "; ".join((*kept, self.cookies))))
        return (_with_query(url, self.query) if self.query else url), headers

    def merged(self, other: Additions) -> Additions:
        """Both; on the same header the other one wins."""
        names = {name.lower() for name, _ in other.headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        query = "&".join(part for part in (self.query, other.query) if part)
        cookies = "; ".join(part for part in (self.cookies, other.cookies) if part)
        return Additions(kept + other.headers, query, cookies)


class Credentials:
    """An auth bound to the origins it was given for (`utcp_bridge.urls.origin_of`).

    For OAuth 2 `tokens` obtains access tokens under the policy of `source`. `trust` says who wrote the
    auth: an operator's token URL may be anywhere, one out of a fetched manual must be within `origins`,
    or that manual could have the operator's client secret sent to itself.
    """

    __slots__ = ("_last", "_oauth", "_origins", "_static", "_token_source", "_tokens", "auth")

    def __init__(
        self,
        auth: Auth,
        origins: frozenset[str],
        tokens: TokenCache | None = None,
        *,
        source: Source | None = None,
        trust: Trust = Trust.REMOTE,
    ) -> None:
        self.auth = auth
        self._origins = origins
        self._tokens = tokens
        self._oauth = next((scheme for scheme in _used(auth) if isinstance(scheme, OAuth2Auth)), None)
        self._static = Additions()
        for scheme in _used(auth):
            self._static = self._static.merged(_static_additions(scheme))
        self._last = ("", self._static)
        self._token_source = replace(source or Source("oauth"), trust=Trust.OPERATOR)
        if self._oauth is not None:
            self._admit_token_url(self._oauth.token_url, trust)

    def __repr__(self) -> str:
        return f"<Credentials {self.auth.auth_type} for {len(self._origins)} origins>"

    def check(self, origin: str) -> None:
        """Raise PolicyError if these credentials were not given for `origin`."""
        if origin not in self._origins:
            raise PolicyError(
                f"Credentials may not be sent to {origin}: they were given for {_listed(self._origins)}.",
                remedy=f'If that is intended, add "allowed_origins": ["{origin}"] to the manual.',
            )

    @property
    def token_url(self) -> str | None:
        """Where access tokens come from; None where none is needed."""
        return None if self._oauth is None else self._oauth.token_url

    async def additions(self) -> Additions:
        """What to add to the next request; obtains an access token where one is needed. Raises TokenError."""
        if self._oauth is None or self._tokens is None:
            return self._static
        return self._with_token(await self._tokens.get(self._oauth, self._token_source))

    def preview(self) -> Additions:
        """What `additions` would be, but that an access token is not asked for: `***` stands in its place."""
        if self._oauth is None:
            return self._static
        return self._static.merged(Additions((("Authorization", "Bearer ***"),)))

    async def renewed(self, used: Additions) -> Additions | None:
        """After a 401: additions with a new access token, or None where there is nothing to renew.

        The token in `used` is dropped; whoever comes second finds the one that the first obtained.
        """
        if self._oauth is None or self._tokens is None:
            return None
        token, additions = self._last
        if additions is used:
            self._tokens.drop(self._oauth, token)
        return await self.additions()

    def secrets(self) -> Iterator[str]:
        """Every secret value, for the redactor."""
        for scheme in _leaves(self.auth):
            fields: dict[str, object] = dict(scheme)
            yield from (value.get_secret_value() for value in fields.values() if isinstance(value, SecretStr))

    def _admit_token_url(self, url: str, trust: Trust) -> None:
        if self._tokens is None:
            raise ConfigError("An oauth2 auth is used where no access token can be obtained.")
        if trust is Trust.OPERATOR:
            exempt = self._token_source.exempt | {endpoint_of_url(url)}
            self._token_source = replace(self._token_source, exempt=exempt)
        elif origin_of(url) not in self._origins:
            raise PolicyError(
                f"A fetched manual names the token URL {origin_of(url)}, which is not one of its own origins.",
                remedy=f'If that is intended, add "allowed_origins": ["{origin_of(url)}"] to the manual.',
            )

    def _with_token(self, token: str) -> Additions:
        if self._last[0] != token:
            self._last = (token, self._static.merged(Additions((("Authorization", f"Bearer {token}"),))))
        return self._last[1]


def _with_types(auth: Any, depth: int) -> Any:
    """Fill in what the fields tell: the kind, here and in nested schemes."""
    if not isinstance(auth, Mapping) or depth > _MAX_NESTING:
        raise ConfigError("auth is not an object of a known form.", remedy="See docs/auth.md.")
    fields: dict[str, Any] = {str(name): value for name, value in auth.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # a stranger's JSON
    kind = fields.get("auth_type") or fields.get("type")
    if kind is None:
        kind = next((kind for name, kind in _TELLING_FIELDS.items() if name in fields), None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(f"auth.auth_type is {kind!r}.", remedy=f"Use one of {', '.join(sorted(_KINDS))}.")
    fields["auth_type"] = kind
    nested = {"all": "schemes", "any": "options"}.get(kind)
    if nested is not None and isinstance(fields.get(nested), list):
        fields[nested] = [_with_types(item, depth + 1) for item in fields[nested]]
    return fields


def _path(location: tuple[int | str, ...]) -> str:
    """Where in the `auth` an error is, without the kinds that pydantic puts in front of a union's fields."""
    before = (0, *location[:-1])
    steps = [
        step for last, step in zip(before, location, strict=True) if isinstance(step, int) or isinstance(last, str)
    ]
    return ".".join(["auth", *map(str, steps)])


def _leaves(auth: Any) -> Iterator[Any]:
    """Every single scheme, alternatives included."""
    if isinstance(auth, AllAuth | AnyAuth):
        for part in auth.schemes if isinstance(auth, AllAuth) else auth.options:
            yield from _leaves(part)
    else:
        yield auth


def _used(auth: Any) -> Iterator[Any]:
    """The schemes that go onto a request: of alternatives the first."""
    if isinstance(auth, AnyAuth):
        yield from _used(auth.options[0])
    elif isinstance(auth, AllAuth):
        for scheme in auth.schemes:
            yield from _used(scheme)
    else:
        yield auth


def _check_wire_safety(scheme: Any) -> None:
    """A name or value that would break out of its place on the wire is the operator's to correct."""
    name = getattr(scheme, "var_name", "Authorization")
    location = getattr(scheme, "location", "header")
    if location != "query" and not _TOKEN.fullmatch(name):
        raise ConfigError(f"auth.var_name {name!r} is not a valid {location} name.")
    bad = _BAD_COOKIE_VALUE if location == "cookie" else _BAD_HEADER_VALUE
    for key in ("api_key", "token", "access_token"):
        value = getattr(scheme, key, None)
        if location != "query" and isinstance(value, SecretStr) and bad.search(value.get_secret_value()):
            raise ConfigError(f"auth.{key} holds a character that may not stand in a {location}.")


def _static_additions(scheme: Any) -> Additions:
    if isinstance(scheme, ApiKeyAuth):
        return _api_key(scheme)
    if isinstance(scheme, BasicAuth):
        pair = f"{scheme.username}:{scheme.password.get_secret_value()}".encode()
        return Additions((("Authorization", f"Basic {base64.b64encode(pair).decode()}"),))
    if isinstance(scheme, OAuth2UserAuth):
        return Additions(((scheme.var_name, scheme.prefix + scheme.access_token.get_secret_value()),))
    if isinstance(scheme, TokenAuth):
        return Additions((("Authorization", f"Bearer {scheme.token.get_secret_value()}"),))
    return Additions()


def _api_key(scheme: ApiKeyAuth) -> Additions:
    key = scheme.api_key.get_secret_value()
    if scheme.location == "query":
        return Additions(query=f"{quote(scheme.var_name, safe='')}={quote(key, safe='')}")
    if scheme.location == "cookie":
        return Additions(cookies=f"{scheme.var_name}={key}")
    return Additions(((scheme.var_name, key),))


def _with_query(url: str, query: str) -> str:
    url = url.partition("#")[0]
    base, mark, present = url.partition("?")
    if not mark:
        return f"{base}?{query}"
    names = {pair.partition("=")[0] for pair in query.split("&")}
    kept = [pair for pair in present.split("&") if pair and pair.partition("=")[0] not in names]
    return f"{base}?{'&'.join((*kept, query))}"


def _listed(origins: frozenset[str]) -> str:
    return ", ".join(sorted(origins)) or "no origin"
