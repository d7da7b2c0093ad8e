"""What is kept of one login: the client, its tokens, and where they are renewed."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utcp_bridge.auth.login.discovery import Challenge
from utcp_bridge.auth.token_requests import ClientProof, ProofMethod
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject

__all__ = ["LoginClient", "LoginKey", "LoginRecord"]

_METHODS: dict[str, ProofMethod] = {"client_secret_basic": "basic", "client_secret_post": "post"}


@dataclass(frozen=True, slots=True)
class LoginKey:
    """What a login is for. `resource` is the URL of the service, or the origins that may receive the token.

    `issuer` and `client` are those that the operator chose; empty if the service and the server choose them.
    """

    PREFIX: ClassVar[str] = "login "

    resource: str
    issuer: str = ""
    client: str = ""

    def __str__(self) -> str:
        """Return the key in a store."""
        return f"{self.PREFIX}{self.resource} {self.issuer} {self.client}".rstrip()


class _Stored(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="ignore", hide_input_in_errors=True)


class LoginClient(_Stored):
    """The client that the authorization server knows (RFC 7591)."""

    client_id: str
    client_secret: str | None = Field(default=None, repr=False)
    method: str = "none"
    """`token_endpoint_auth_method`."""
    redirect_uri: str = ""
    registered: JsonObject | None = Field(default=None, repr=False)
    """The whole reply to a registration."""

    def proof(self) -> ClientProof:
        """Return how the client proves who it is."""
        method = _METHODS.get(self.method, "none") if self.client_secret else "none"
        return ClientProof(self.client_id, method, self.client_secret or "")


class LoginRecord(_Stored):
    """One login as a store has it. Times are seconds since 1970."""

    manual: str = ""
    """The manual for which it was made, for `auth status`."""
    resource: str = ""
    issuer: str = ""
    client: LoginClient | None = None
    token_endpoint: str = ""
    revocation_endpoint: str | None = None
    access_token: str | None = Field(default=None, repr=False)
    refresh_token: str | None = Field(default=None, repr=False)
    stale_at: float | None = None
    """When the access token is renewed; None if only a refusal ends it."""
    scope: str | None = None
    parameters: dict[str, str] = Field(default_factory=dict)
    """What goes with each request for a token: `resource`, `audience`."""
    obtained_at: float = 0.0
    refused_status: int = 0
    refused_header: str = Field(default="", repr=False)
    """How the service refused a request last: what the next login must ask for."""
    ended: bool = False
    """Whether the authorization server refused to renew it."""
    register_again: bool = False
    """Whether the authorization server may have forgotten the client: the next login registers another."""

    def public(self) -> JsonObject:
        """Return what may be shown of a login: everything but its secrets."""
        return {
            "manual": self.manual,
            "service": self.resource,
            "issuer": self.issuer,
            "client_id": self.client.client_id if self.client is not None else None,
            "scope": self.scope,
            "obtained_at": self.obtained_at,
            "stale_at": self.stale_at,
            "renewable": self.refresh_token is not None,
            "ended": self.ended,
        }

    @classmethod
    def of(cls, value: JsonObject | None) -> LoginRecord | None:
        """Return the record of a stored object; None if it cannot be read."""
        try:
            return None if value is None else cls.model_validate(value)
        except ValidationError:
            return None

    def kept(self) -> JsonObject:
        """Return the object to store."""
        kept: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return kept

    @property
    def challenge(self) -> Challenge | None:
        """How the service refused a request last; None if it did not."""
        return Challenge(self.refused_status, self.refused_header) if self.refused_status else None

    @property
    def known_client(self) -> LoginClient | None:
        """The client that was registered for this login, if another login may use it."""
        is_known = self.client is not None and self.client.registered is not None and not self.register_again
        return self.client if is_known else None

    def secrets(self) -> list[str]:
        """Return its secret values, for the redactor."""
        secret = None if self.client is None else self.client.client_secret
        return [value for value in (self.access_token, self.refresh_token, secret) if value]
