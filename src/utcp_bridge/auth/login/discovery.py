"""Where a service's authorization server is, and what it offers: RFC 9728, RFC 8414, OpenID Connect Discovery."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio
import orjson

from utcp_bridge.auth.login.refusals import issuer_mismatch
from utcp_bridge.errors import Unreachable, UtcpError
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import is_list, is_object
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    import httpx2

__all__ = [
    "S256",
    "Challenge",
    "ProtectedResource",
    "ServerMetadata",
    "fetch_object",
    "protected_resource",
    "server_metadata",
]

S256: Final = "S256"
"""The method of PKCE that logins use (RFC 7636)."""
_MAX_SECONDS: Final = 20.0
_MAX_BYTES: Final = 512 * 1024
_PARAMETER: Final = late_pattern(
    r'\b([A-Za-z_]{1,40})[ \t]{0,4}=[ \t]{0,4}(?:"((?:[^"\\]|\\.){0,2000})"|([^\s,"]{1,2000}))'
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """How a service refused a request: its status and `WWW-Authenticate` (RFC 6750, RFC 9728)."""

    status: int
    header: str = ""

    @property
    def parameters(self) -> Mapping[str, str]:
        """The parameters by their names in lower case; the first of each."""
        found: dict[str, str] = {}
        for name, quoted, plain in _PARAMETER.findall(self.header):
            found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
        return found

    @property
    def wants_scope(self) -> bool:
        """Whether the token has too little scope."""
        return self.status == 403 and self.parameters.get("error") == "insufficient_scope"

    @property
    def wants_login(self) -> bool:
        """Whether the service wants a token of OAuth, or another one."""
        return self.status == 401 or self.wants_scope


@dataclass(frozen=True, slots=True)
class ProtectedResource:
    """The metadata of a service (RFC 9728)."""

    resource: str
    issuers: tuple[str, ...]
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """The metadata of an authorization server (RFC 8414)."""

    issuer: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    def url(self, name: str) -> str | None:
        """Return one of its endpoints, such as `token_endpoint`; None if it has none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) and value else None

    def has(self, name: str) -> bool:
        """Return whether a field is true."""
        return self.fields.get(name) is True

    def list(self, name: str) -> tuple[str, ...]:
        """Return the texts of a list."""
        return _texts(self.fields.get(name))

    @property
    def challenge_methods(self) -> tuple[str, ...]:
        """The methods of PKCE that it announces (RFC 8414)."""
        return self.list("code_challenge_methods_supported")


async def protected_resource(
    url: str, challenge: Challenge | None, transport: httpx2.AsyncBaseTransport
) -> ProtectedResource | None:
    """Return the metadata of a service; None if it publishes none.

    :raises UtcpError: the service cannot be reached.
    """
    for place in _resource_places(url, challenge):
        found = await fetch_object(place, transport)
        resource, issuers = found.get("resource"), _texts(found.get("authorization_servers"))
        if isinstance(resource, str) and issuers:
            return ProtectedResource(resource, issuers, _texts(found.get("scopes_supported")))
    return None


async def server_metadata(issuer: str, transport: httpx2.AsyncBaseTransport, where: str) -> ServerMetadata | None:
    """Return the metadata of an authorization server; None if it publishes none.

    :raises LoginFailed: the metadata is that of another issuer (RFC 8414 section 3.3).
    :raises UtcpError: the server cannot be reached.
    """
    for place in _server_places(issuer):
        found = await fetch_object(place, transport)
        claimed = found.get("issuer")
        if not isinstance(claimed, str) or not isinstance(found.get("token_endpoint"), str):
            continue
        if claimed.rstrip("/") != issuer.rstrip("/"):
            raise issuer_mismatch(where, expected=issuer, claimed=claimed)
        return ServerMetadata(claimed, found)
    return None


def _resource_places(url: str, challenge: Challenge | None) -> Iterator[str]:
    if challenge is not None and (named := challenge.parameters.get("resource_metadata")):
        yield named
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource"
    if parts.path.strip("/"):
        yield f"{base}{parts.path}"
    yield base


def _server_places(issuer: str) -> Iterator[str]:
    parts = urlsplit(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    yield f"{base}/.well-known/oauth-authorization-server{path}"
    yield f"{base}/.well-known/openid-configuration{path}"
    if path:
        yield f"{base}{path}/.well-known/openid-configuration"


async def fetch_object(
    url: str, transport: httpx2.AsyncBaseTransport, request: httpx2.Request | None = None
) -> dict[str, Any]:
    """Return a JSON object; an empty one if this place has none. `request` is sent in place of a GET.

    :raises UtcpError: the server cannot be reached.
    """
    import httpx2

    request = request or httpx2.Request("GET", url, headers={"Accept": "application/json"})
    try:
        with anyio.fail_after(_MAX_SECONDS):
            response = await transport.handle_async_request(request)
            try:
                body = await _beginning(response)
            finally:
                await response.aclose()
        found = orjson.loads(body) if response.status_code == 200 else None
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        if isinstance(error.__cause__, UtcpError):
            raise error.__cause__ from None
        raise Unreachable(f"{bare_url(url)} cannot be read.") from None
    except TimeoutError:
        raise Unreachable(f"{bare_url(url)} did not reply within {_MAX_SECONDS:g} seconds.") from None
    except orjson.JSONDecodeError:
        return {}
    return found if is_object(found) else {}


async def _beginning(response: httpx2.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > _MAX_BYTES:
            break
    return bytes(data)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if is_list(value) else ()
