"""`x-mcp-header` annotations: a client must drop a tool that has an invalid one, so those are taken out.

Valid (MCP 2026-07-28, streamable HTTP, custom headers): on a string, integer or boolean property that a chain of
`properties` leads to, an RFC 9110 token, unique in the schema whatever its letter case.
"""

from __future__ import annotations

import re
from typing import Any, Final

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["keep_valid_headers"]

_KEY: Final = "x-mcp-header"
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_CARRIERS: Final = frozenset({"boolean", "integer", "string"})
_DATA: Final = frozenset({"const", "default", "enum", "examples"})


def keep_valid_headers(schema: JsonObject) -> JsonObject:
    """A copy of `schema` in which every `x-mcp-header` left is valid."""
    return _strip(schema, set(), reachable=True, carrier=False)


def _strip(schema: JsonObject, seen: set[str], *, reachable: bool, carrier: bool) -> JsonObject:
    new: JsonObject = {}
    for key, value in schema.items():
        if key == _KEY:
            if carrier and reachable and _is_valid(schema, value, seen):
                seen.add(value.lower())
                new[key] = value
        elif key == "properties":
            new[key] = {name: _strip(sub, seen, reachable=reachable, carrier=True) for name, sub in value.items()}
        else:
            new[key] = value if key in _DATA else _strip_below(value, seen)
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
        and _TOKEN.fullmatch(token) is not None
        and schema.get("type") in _CARRIERS
        and token.lower() not in seen
    )
