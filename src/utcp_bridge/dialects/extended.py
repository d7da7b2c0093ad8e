"""The extended dialect: forms that tutorials show, but no released UTCP package reads.

It never changes a template that uses official fields only. Each transport defines the meaning of its fields. This
module has what they share: `response_schema`, `info`, `metadata`, and the names by which the bridge detects the
dialect. The dialect's forms of `auth` are in `auth_forms`.
"""

from __future__ import annotations

from typing import Any

from utcp_bridge.dialects.fields import text_of
from utcp_bridge.model import JsonObject, is_object

__all__ = ["MANUAL_KEYS", "TEMPLATE_FIELDS", "read_info"]

_HTTP_FIELDS = frozenset({"query_params", "body_template"})
TEMPLATE_FIELDS = {
    "http": _HTTP_FIELDS,
    "sse": _HTTP_FIELDS | {"http_method"},
    "streamable_http": _HTTP_FIELDS,
    "websocket": frozenset({"message_template"}),
    "cli": frozenset({"command", "args", "stdin_template"}),
    "mcp": frozenset({"server_url", "tool_name"}),
}
"""Fields that only templates of this dialect have."""

MANUAL_KEYS = ("auth", "info", "metadata")


def read_info(raw: JsonObject) -> JsonObject:
    """Return title, description and version of a manual, as far as it has them, from the places of every dialect."""
    info: JsonObject = {}
    for part in (raw, *(raw.get(key) for key in ("info", "provider_info", "metadata"))):
        if is_object(part):
            _merge(info, part)
    if version := text_of(raw.get("manual_version")):
        info["version"] = version
    return info


def _merge(info: JsonObject, part: JsonObject) -> None:
    found: dict[str, Any] = {
        "title": text_of(part.get("title")) or text_of(part.get("name")),
        "description": text_of(part.get("description")),
        "version": text_of(part.get("version")),
    }
    info.update({key: value for key, value in found.items() if value})
