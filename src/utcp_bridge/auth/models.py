"""The `auth` object of a manual or tool.

    {"auth_type": "api_key", "api_key": "…", "var_name": "X-Api-Key", "location": "header" | "query" | "cookie"}
    {"auth_type": "basic", "username": "…", "password": "…"}
    {"auth_type": "oauth2", "token_url": "…", "client_id": "…", "client_secret": "…", "scope": "…"}
    {"auth_type": "oauth2", "issuer": "…", "client_id": "…", "private_key": "…", "resource": "…", "audience": "…"}
    {"auth_type": "oauth2_login", "authorization_url": "…", "token_url": "…", "client_id": "…", "scope": "…"}
    {"auth_type": "oauth2_user", "access_token": "…", "prefix": "Bearer ", "var_name": "Authorization"}
    {"auth_type": "token", "token": "…"}
    {"auth_type": "all", "schemes": [...]}     {"auth_type": "any", "options": [...]}

`auth_type` may be omitted if the other fields show it (UTCP 0.x).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from utcp_bridge.errors import ConfigError

__all__ = [
    "AllAuth",
    "AnyAuth",
    "ApiKeyAuth",
    "Auth",
    "BasicAuth",
    "OAuth2Auth",
    "OAuth2LoginAuth",
    "OAuth2UserAuth",
    "TokenAuth",
    "every_scheme",
    "parse_auth",
]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_HEADER_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_COOKIE_VALUE = re.compile(r"[\x00-\x1f\x7f;]")

Filled: TypeAlias = Annotated[str, Field(min_length=1)]
FilledSecret: TypeAlias = Annotated[SecretStr, Field(min_length=1)]


class _AuthModel(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True, extra="ignore", hide_input_in_errors=True)


class ApiKeyAuth(_AuthModel):
    """A key that is sent unchanged under the name `var_name`."""

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
    """OAuth 2 client credentials (RFC 6749 section 4.4).

    Without `token_url`, it is found from `issuer` (RFC 8414), or from the metadata of the protected resource (RFC
    9728). `resource` (RFC 8707) and `audience` are sent with the request. With `private_key`, a PEM text, the client
    signs an assertion (RFC 7523) instead of sending a secret.
    """

    auth_type: Literal["oauth2"] = "oauth2"
    token_url: Filled | None = None
    issuer: Filled | None = None
    client_id: Filled
    client_secret: SecretStr | None = None
    private_key: FilledSecret | None = None
    algorithm: Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"] | None = None
    scope: str | None = None
    resource: Filled | None = None
    audience: Filled | None = None

    @model_validator(mode="after")
    def _has_proof(self) -> OAuth2Auth:
        if (self.client_secret is None) == (self.private_key is None):
            raise ValueError("needs either `client_secret` or `private_key`")
        return self


class OAuth2LoginAuth(_AuthModel):
    """The login of a person, made by `utcp-bridge login`: authorization code with PKCE, or a device code (RFC 8628).

    The URLs may be left out if `issuer` is given (RFC 8414), and for MCP servers, which name their own. With
    `assume_s256`, an authorization server of an MCP server that announces no methods of PKCE counts as one that
    supports S256: the operator says so in its place.
    """

    auth_type: Literal["oauth2_login"] = "oauth2_login"
    client_id: Filled | None = None
    client_secret: SecretStr | None = None
    issuer: Filled | None = None
    authorization_url: Filled | None = None
    token_url: Filled | None = None
    device_authorization_url: Filled | None = None
    flow: Literal["authorization_code", "device"] | None = None
    scope: str | None = None
    resource: Filled | None = None
    audience: Filled | None = None
    redirect_port: int | None = Field(default=None, ge=1, le=65_535)
    assume_s256: bool = False


class OAuth2UserAuth(_AuthModel):
    """An access token that a user obtained elsewhere. It is sent unchanged and never renewed."""

    auth_type: Literal["oauth2_user"] = "oauth2_user"
    access_token: FilledSecret
    prefix: str = "Bearer "
    var_name: Filled = "Authorization"


class TokenAuth(_AuthModel):
    """A bearer token: `Authorization: Bearer <token>`."""

    auth_type: Literal["token"] = "token"
    token: FilledSecret


class AllAuth(_AuthModel):
    """All of `schemes` go onto the request."""

    auth_type: Literal["all"] = "all"
    schemes: Annotated[tuple[Auth, ...], Field(min_length=1)]


class AnyAuth(_AuthModel):
    """Alternatives, the preferred one first. The first is used."""

    auth_type: Literal["any"] = "any"
    options: Annotated[tuple[Auth, ...], Field(min_length=1)]


Auth: TypeAlias = Annotated[
    ApiKeyAuth | BasicAuth | OAuth2Auth | OAuth2LoginAuth | OAuth2UserAuth | TokenAuth | AllAuth | AnyAuth,
    Field(discriminator="auth_type"),
]
AllAuth.model_rebuild()
AnyAuth.model_rebuild()
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Auth)

_KIND_BY_FIELD = {
    "authorization_url": "oauth2_login",
    "device_authorization_url": "oauth2_login",
    "token_url": "oauth2",
    "api_key": "api_key",
    "username": "basic",
    "access_token": "oauth2_user",
    "token": "token",
    "schemes": "all",
    "options": "any",
}
_KINDS = frozenset(_KIND_BY_FIELD.values())
_MAX_NESTING = 4
_HELP = "`utcp-bridge help configuration` lists the fields of `auth`."


def parse_auth(auth: Mapping[str, Any]) -> Auth:
    """Read an `auth` object whose variables are filled in.

    :raises ConfigError: it cannot be used; the message names the field.
    """
    try:
        parsed = _ADAPTER.validate_python(_with_types(auth, 0))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"{_path(first['loc'])} cannot be used: {first['msg']}.", remedy=_HELP) from None
    for scheme in every_scheme(parsed):
        _check_wire_safety(scheme)
    result: Auth = parsed
    return result


def _with_types(auth: Any, depth: int) -> Any:
    """Return the object with its `auth_type` filled in, here and in nested schemes."""
    if not isinstance(auth, Mapping) or depth > _MAX_NESTING:
        raise ConfigError("`auth` must be an object of a known form.", remedy=_HELP)
    fields: dict[str, Any] = {str(name): value for name, value in auth.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # a stranger's JSON
    kind = fields.get("auth_type") or fields.get("type")
    if kind is None:
        kind = next((kind for name, kind in _KIND_BY_FIELD.items() if name in fields), None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(
            f"`auth.auth_type` is {kind!r}, which is not known.", remedy=f"Use one of {', '.join(sorted(_KINDS))}."
        )
    fields["auth_type"] = kind
    nested = {"all": "schemes", "any": "options"}.get(kind)
    if nested is not None and isinstance(fields.get(nested), list):
        fields[nested] = [_with_types(item, depth + 1) for item in fields[nested]]
    return fields


def _path(location: tuple[int | str, ...]) -> str:
    """Return the path of an error in `auth`, without the kinds that pydantic adds before the fields of a union."""
    before = (0, *location[:-1])
    steps = [
        step for last, step in zip(before, location, strict=True) if isinstance(step, int) or isinstance(last, str)
    ]
    return ".".join(["auth", *map(str, steps)])


def every_scheme(auth: Any) -> Iterator[Any]:
    """Yield every scheme, with all alternatives."""
    if isinstance(auth, AllAuth | AnyAuth):
        for part in auth.schemes if isinstance(auth, AllAuth) else auth.options:
            yield from every_scheme(part)
    else:
        yield auth


def _check_wire_safety(scheme: Any) -> None:
    """Check that the name and value of a scheme cannot break out of their place in a request."""
    name = getattr(scheme, "var_name", "Authorization")
    location = getattr(scheme, "location", "header")
    if location != "query" and not _TOKEN.fullmatch(name):
        raise ConfigError(f"auth.var_name {name!r} is not a valid {location} name.")
    bad = _BAD_COOKIE_VALUE if location == "cookie" else _BAD_HEADER_VALUE
    for key in ("api_key", "token", "access_token"):
        value = getattr(scheme, key, None)
        if location != "query" and isinstance(value, SecretStr) and bad.search(value.get_secret_value()):
            raise ConfigError(f"auth.{key} contains a character that is not allowed in a {location}.")
