"""How a request is refused for its token: statuses, `WWW-Authenticate`, and the metadata of the protected resource.

MCP 2025-11-25 and 2026-07-28, "Authorization": 401 without a valid token, 403 with too little scope, 400 for a token in
the wrong place. The header follows RFC 6750 and RFC 9728.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject

__all__ = ["WELL_KNOWN", "Challenger", "Refused"]

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
_REALM: Final = 'Bearer realm="utcp-bridge"'
_WITHOUT: Final = (
    "The request has no token. Send one as the header `Authorization: Bearer TOKEN`. The operator of this server, or "
    "its authorization server, gives tokens."
)
_NOT_VALID: Final = (
    "The token is not valid here: it is unknown, has expired, or was revoked. Ask the operator of this server, or its "
    "authorization server, for a new one."
)


class Refused(Exception):
    """A request that is refused for its token.

    `error` is a code of RFC 6750; empty if the request has no token. `scopes` are those that it needs.
    """

    def __init__(self, status: int, error: str = "", message: str = "", scopes: Collection[str] = ()) -> None:
        if status == 401 and not message:
            message = _NOT_VALID if error else _WITHOUT
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message
        self.scopes = tuple(scopes)
        self.principal = ""
        """Who sent it, if that is known."""

    def document(self) -> dict[str, str]:
        """Return the body of the response."""
        error = "unauthorized" if self.status == 401 else self.error or "unavailable"
        return {"error": error, "message": self.message}


@dataclass(frozen=True, slots=True)
class Challenger:
    """What a server tells clients about its tokens. `issuer` is None if it takes no tokens of OAuth."""

    resource: str
    issuer: str | None = None
    scopes: tuple[str, ...] = ()

    def header(self, refused: Refused) -> bytes:
        """Return the value of `WWW-Authenticate`."""
        parts = [_REALM]
        if refused.error:
            parts.append(f'error="{refused.error}"')
        if self.issuer is not None:
            parts.append(f'resource_metadata="{self.metadata_url}"')
            if scopes := refused.scopes or self.scopes:
                parts.append(f'scope="{" ".join(scopes)}"')
        elif refused.scopes:
            parts.append(f'scope="{" ".join(refused.scopes)}"')
        return ", ".join(parts).encode("latin-1")

    @property
    def metadata_url(self) -> str:
        """Where the metadata of the resource is (RFC 9728, section 3.1)."""
        parts = urlsplit(self.resource)
        return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"

    def metadata(self) -> JsonObject:
        """Return the metadata of the resource (RFC 9728, section 2)."""
        document: JsonObject = {
            "resource": self.resource,
            "authorization_servers": [self.issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": "utcp-bridge",
        }
        return {**document, "scopes_supported": [*self.scopes]} if self.scopes else document
