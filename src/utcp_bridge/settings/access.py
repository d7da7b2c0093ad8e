"""The settings of who may call: named tokens, OAuth, and the certificate of the listener."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr
from pydantic_core import PydanticCustomError

from utcp_bridge.model import JsonObject
from utcp_bridge.settings.groups import Frozen, Seconds

__all__ = ["ACCESS_GROUPS", "AccessSettings", "OAuthSettings", "TlsSettings", "forwardable"]

_MOST_SCOPE: Final = 200
_NEVER_FORWARDED: Final = frozenset({
    "authorization", "cookie", "cookie2", "set-cookie", "dpop", "connection", "keep-alive", "te", "trailer", "upgrade",
    "transfer-encoding", "content-length", "content-type", "content-encoding", "host", "expect", "origin", "referer",
    "forwarded", "via", "x-real-ip", "accept", "accept-encoding", "last-event-id", "x-api-key", "api-key",
    "x-auth-token", "x-access-token", "x-http-method-override", "x-client-cert", "client-cert", "client-cert-chain",
})  # fmt: skip
"""Names of headers with credentials of the client, of one connection, or of the message itself (RFC 9110)."""
_NEVER_BEGINS: Final = (
    "proxy-",
    "mcp-",
    "sec-",
    "x-forwarded-",
    "x-amzn-oidc-",
    "cf-access-",
    "x-goog-iap-",
    "access-control-",
)


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_plain = parts.username is None and not parts.fragment and not parts.query and parts.port != 0
    except ValueError:
        is_whole = is_plain = False
    if not (is_whole and is_plain):
        raise PydanticCustomError("url", "It must be a URL such as `https://login.example.com`, without a query")
    return value


def _scope(value: str) -> str:
    if not 0 < len(value) <= _MOST_SCOPE or any(not "\x21" <= one <= "\x7e" or one in '"\\' for one in value):
        raise PydanticCustomError("scope", "A scope is a word without blanks, quotes and backslashes")
    return value


def forwardable(name: str) -> str:
    """Return the name of a header that may go on from a client's request to an upstream.

    :raises PydanticCustomError: it has the client's credentials, or belongs to the connection or the protocol.
    """
    lower = name.lower()
    if lower in _NEVER_FORWARDED or lower.startswith(_NEVER_BEGINS):
        raise PydanticCustomError(
            "forwarded",
            "`{name}` is never forwarded, because it has credentials for the bridge or belongs to one connection; "
            "remove it, and use `auth` for credentials of the service",
            {"name": name},
        )
    return name


Url = Annotated[str, AfterValidator(_url)]
Scope = Annotated[str, AfterValidator(_scope)]


class AccessSettings(Frozen):
    """Who may call what (docs/access.md, docs/profiles.md)."""

    tokens_file: str | None = Field(
        default=None,
        description="File with the named tokens of HTTP clients, which `utcp-bridge token` writes. It has hashes, not "
        "tokens. A running bridge reads it again at the first request after a change.",
    )
    required_scopes: tuple[Scope, ...] = Field(
        default=(),
        description="Scopes that each named token and each token of OAuth must have. Without them, a request gets "
        "status 403.",
    )
    profiles: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Tool sets by their names, each with rules and a `budget`. See docs/profiles.md.",
    )
    profile: str | None = Field(
        default=None, description="The one profile that the whole server has. null: every tool, and each profile."
    )
    default_profile: str | None = Field(
        default=None,
        description="The one profile of callers who have no token of their own, also over stdio. null: every tool.",
    )
    budgets: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Budgets of callers whose names match a glob, such as `token:ci-*`: "
        '`{"*": {"rate": 5, "concurrency": 4}}`.',
    )
    access_rules: tuple[JsonObject, ...] = Field(
        default=(), repr=False, description="Rules before and after each call, in order (`utcp-bridge help rules`)."
    )
    approvals: JsonObject = Field(
        default_factory=dict, repr=False, description="How calls are approved (`utcp-bridge help rules`)."
    )
    spotlight: Literal["off", "untrusted", "all"] = Field(
        default="off", description="Whose results are marked as data: nobody's, those of fetched manuals, or all."
    )
    rule_timeout: Seconds = Field(
        default=5.0, description="Seconds for one decision of a rule of another package. Then the call is refused."
    )


class OAuthSettings(Frozen):
    """Tokens of an OAuth 2.1 authorization server."""

    oauth_issuer: Url | None = Field(
        default=None,
        description="The authorization server whose tokens are accepted (http), as its `iss` claim and its metadata "
        "name it.",
    )
    oauth_resource: Url | None = Field(
        default=None,
        description="The URL of this server as its clients write it, for which a token must be issued (RFC 8707). "
        "null: the address on which it listens. Behind a proxy it must be set.",
    )
    oauth_audience: tuple[str, ...] = Field(
        default=(),
        description="Values of the claim `aud` to accept in place of `oauth_resource`, for servers that choose their "
        "own.",
    )
    oauth_jwks_url: Url | None = Field(
        default=None, repr=False, description="Where the public keys of `oauth_issuer` are. null: its metadata says so."
    )
    oauth_introspection_url: Url | None = Field(
        default=None,
        repr=False,
        description="Where opaque tokens are examined (RFC 7662), with `oauth_client_id` and `oauth_client_secret`. "
        "null: only tokens in the form of a JWT are accepted.",
    )
    oauth_client_id: str | None = Field(default=None, description="The bridge's client id for introspection.")
    oauth_client_secret: SecretStr | None = Field(
        default=None, description="The bridge's client secret for introspection."
    )
    oauth_profiles: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Profiles by globs of scopes, or of claims as `claim=value`: "
        '`{"tools:read": ["readers"], "groups=ops-*": ["operators"]}`. If it is set, a token that nothing matches has '
        "no profile.",
    )


class TlsSettings(Frozen):
    """TLS of the HTTP listener."""

    tls_certificate: str | None = Field(
        default=None,
        description="PEM file with the certificate of the HTTP listener and those between it and its authority. "
        "SIGHUP and a change of the file take effect without a restart.",
    )
    tls_key: str | None = Field(default=None, description="PEM file with the private key of `tls_certificate`.")
    tls_client_ca: str | None = Field(
        default=None,
        description="PEM file with the authorities of client certificates. If it is set, each client needs one, except "
        "for `/healthz` and `/readyz`.",
    )
    tls_profiles: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Profiles of clients without a token, by globs of the names in their certificates: "
        '`{"*.ops.example.com": ["operators"]}`. If it is set, a certificate that nothing matches has no profile.',
    )


ACCESS_GROUPS: Final[Mapping[str, type[BaseModel]]] = {
    "access": AccessSettings,
    "oauth": OAuthSettings,
    "tls": TlsSettings,
}
"""The groups of this module by their names."""
