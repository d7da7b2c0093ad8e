"""What a client can read of this server before it connects: its server card, and a catalog that names the card.

The card is at the MCP endpoint's path and `/server-card` (SEP-2127, MCP server cards, schema v1). The catalog is at
`/.well-known/ai-catalog.json` (AI Catalog 1.0). Both have public facts alone: the address, the protocol versions, and
whether a token is needed. So they need no token, and a page of any origin may read them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import orjson
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from utcp_bridge import __version__
from utcp_bridge.model import JsonObject
from utcp_bridge.net.listening import base_url, host_and_port
from utcp_bridge.server.replies import Scope, Send, respond

__all__ = ["CARD_TYPE", "CATALOG_PATH", "CATALOG_TYPE", "card", "card_path", "catalog", "serve_document", "serve_json"]

CATALOG_PATH: Final = "/.well-known/ai-catalog.json"
CATALOG_TYPE: Final = "application/ai-catalog+json"
CARD_TYPE: Final = "application/mcp-server-card+json"
_SCHEMA: Final = "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"
_NAME: Final = "utcp-bridge"
_TITLE: Final = "UTCP bridge"
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9.-]")
_MAX_PUBLISHER: Final = 180
"""Characters of the domain. A name with it has 200 at most."""
_HEADERS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET"),
    (b"access-control-allow-headers", b"Content-Type"),
    (b"cache-control", b"public, max-age=3600"),
    (b"vary", b"Host"),
    (b"x-content-type-options", b"nosniff"),
)


def card_path(path: str) -> str:
    """Return where the card of an endpoint is."""
    return f"{path.rstrip('/')}/server-card"


def card(base: str, path: str, *, needs_token: bool) -> JsonObject:
    """Return the server card. `base` is the server's origin, as the client wrote it."""
    versions = [*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS]
    remote: JsonObject = {"type": "streamable-http", "url": f"{base}{path}", "supportedProtocolVersions": versions}
    if needs_token:
        what = "Bearer, a blank, and the token of this server."
        remote["headers"] = [{"name": "Authorization", "description": what, "isRequired": True, "isSecret": True}]
    namespace = ".".join(reversed(_publisher(base).split(".")))
    return {
        "$schema": _SCHEMA,
        "name": f"{namespace}/{_NAME}",
        "title": _TITLE,
        "version": __version__,
        "description": "One MCP server in front of the tools that UTCP manuals describe.",
        "remotes": [remote],
    }


def catalog(base: str, path: str) -> JsonObject:
    """Return the catalog, whose one entry is the card."""
    identifier = f"urn:air:{_publisher(base)}:mcp:{_NAME}"
    url = f"{base}{card_path(path)}"
    return {
        "specVersion": "1.0",
        "entries": [{"identifier": identifier, "displayName": _TITLE, "type": CARD_TYPE, "url": url}],
    }


def _publisher(base: str) -> str:
    """Return the domain in a server's origin; `localhost` for an address."""
    parts = host_and_port(base.partition("://")[2])
    host = (parts[0] if parts else "localhost").strip("[]").rstrip(".").lower()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # names of machines in a network of containers may have an underscore, which the schemas do not allow
        return _NOT_IN_NAMES.sub("-", host)[-_MAX_PUBLISHER:].lstrip(".") or "localhost"
    return "localhost"


async def serve_document(scope: Scope, send: Send, path: str, *, needs_token: bool) -> None:
    """Answer a request for one of the two documents."""
    base = base_url(scope)
    if scope["path"] == CATALOG_PATH:
        await serve_json(scope, send, catalog(base, path), CATALOG_TYPE)
    else:
        await serve_json(scope, send, card(base, path, needs_token=needs_token), CARD_TYPE)


async def serve_json(scope: Scope, send: Send, document: JsonObject, kind: str = "application/json") -> None:
    """Answer a request for a document that everyone may read, also a page of another origin."""
    if scope["method"] == "OPTIONS":  # a page of another origin asks first
        await send({"type": "http.response.start", "status": 204, "headers": [*_HEADERS]})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["method"] not in {"GET", "HEAD"}:
        await respond(send, 405, {"error": "method not allowed"}, [(b"allow", b"GET, HEAD")])
        return
    data = orjson.dumps(document)
    headers = [*_HEADERS, (b"content-type", kind.encode()), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else data})
