"""`x-mcp-header` annotations: a client must drop a tool that has an invalid one. Pure.

They are kept only if they are valid (MCP 2026-07-28, streamable HTTP, custom headers): on a string, integer or boolean
property that a chain of `properties` leads to, an RFC 9110 token, unique in the schema without regard to letter case.
"""

from __future__ import annotations

import re
from typing import Any, Final

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["HEADER_KEY", "keep_valid_headers"]

_RESERVED_WORDS: Final = (
    "auth", "token", "secret", "passw", "cookie", "session", "credential", "apikey", "signature", "forwarded", "jwt",
)  # fmt: skip
_RESERVED_PARTS: Final = frozenset({
    "key", "host", "proxy", "origin", "csrf", "xsrf", "pass", "pwd", "sid", "sig", "bearer", "basic", "identity", "ip",
    "cert",
})  # fmt: skip
_RESERVED_STARTS: Final = (
    "content-", "proxy-", "sec-", "access-control-", "if-", "accept", "transfer-", "cf-", "amz-", "goog-", "ms-",
    "original-", "rewrite-", "http-method", "method-override", "remote-", "client-", "real-", "envoy-", "cache-",
)  # fmt: skip
_RESERVED_HEADERS: Final = frozenset({
    "connection", "te", "trailer", "trailers", "upgrade", "keep-alive", "expect", "via", "referer", "referrer",
    "user-agent", "date", "range", "age", "from", "location", "server", "user", "username", "max-forwards", "pragma",
    "vary", "etag", "link", "refresh", "allow", "warning", "priority", "traceparent", "tracestate", "baggage",
    "request-id", "correlation-id", "content", "destination", "depth", "early-data", "alt-svc", "http2-settings",
    "last-event-id",
})  # fmt: skip
HEADER_KEY: Final = "x-mcp-header"
_HEADER_TOKEN: Final = late_pattern(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_HEADER_TYPES: Final = frozenset({"boolean", "integer", "string"})
_VALUE_KEYWORDS: Final = frozenset({"const", "default", "enum", "examples"})


def keep_valid_headers(schema: JsonObject) -> JsonObject:
    """Return a copy of `schema` in which every `x-mcp-header` is valid."""
    return _strip(schema, set(), reachable=True, carrier=False)


def _strip(schema: JsonObject, seen: set[str], *, reachable: bool, carrier: bool) -> JsonObject:
    new: JsonObject = {}
    for key, value in schema.items():
        if key == HEADER_KEY:
            if carrier and reachable and _is_valid(schema, value, seen):
                seen.add(value.lower())
                new[key] = value
        elif key == "properties":
            new[key] = {name: _strip(sub, seen, reachable=reachable, carrier=True) for name, sub in value.items()}
        else:
            new[key] = value if key in _VALUE_KEYWORDS else _strip_below(value, seen)
    return new


def _strip_below(value: Any, seen: set[str]) -> Any:
    if is_object(value):
        return _strip(value, seen, reachable=False, carrier=False)
    if is_list(value):
        return [_strip_below(one, seen) for one in value]
    return value


def _is_valid(schema: JsonObject, token: Any, seen: set[str]) -> bool:
    return (
        isinstance(token, str)
        and _HEADER_TOKEN.fullmatch(token) is not None
        and schema.get("type") in _HEADER_TYPES
        and token.lower() not in seen
        and not _is_reserved_header(token.lower())
    )


def _is_reserved_header(name: str) -> bool:
    """Return whether a header with this name, or `Mcp-Param-` with it, could pass for one that gateways act on.

    These are headers of credentials, of framing and routing, and those that proxies and browsers set.
    """
    parts = re.split(r"[^a-z0-9]+", name)
    if not _RESERVED_PARTS.isdisjoint(parts) or any(word in name for word in _RESERVED_WORDS):
        return True
    joined = name.removeprefix("mcp-param-").removeprefix("x-")
    return name.startswith("mcp-") or joined.startswith(_RESERVED_STARTS) or joined in _RESERVED_HEADERS
