"""UTCP v1.x: the names to which all dialects are rewritten, and two habits of the reference library."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson

from utcp_bridge.dialects.fields import is_mapping
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = [
    "BASE_FIELDS",
    "CLIENT_KEYS",
    "CONFIG_KEYS",
    "KINDS",
    "MAP_KEYS",
    "OPERATOR_KEYS",
    "says_nothing",
    "without_null_keywords",
]

KINDS = frozenset({
    "cli", "file", "graphql", "grpc", "http", "mcp", "sse", "streamable_http", "tcp", "text", "udp", "webrtc",
    "websocket",
})  # fmt: skip
"""Call template types of the official documents and packages; transports may add more."""

CLIENT_KEYS = (
    "variables",
    "load_variables_from",
    "tool_repository",
    "tool_search_strategy",
    "post_processing",
    "providers_file_path",
    "registries",
)
CONFIG_KEYS = frozenset({*CLIENT_KEYS, "manual_call_templates", "providers", "mcpServers", "bridge"})
BASE_FIELDS = frozenset({
    "name", "call_template_type", "auth", "auth_tools", "allowed_communication_protocols", "timeout", "tools",
    "description",
})  # fmt: skip
"""Keys that any call template of a configuration may have."""

MAP_KEYS = frozenset({"prompts", "resources"})
"""Keys of an entry or of a manual document that map resources and prompts. They have no variables."""

OPERATOR_KEYS = MAP_KEYS | frozenset({
    "allow_networks", "allowed_communication_protocols", "allowed_origins", "auth_tools", "base_url",
    "breaker_failures", "ca_cert", "call_timeout", "client_cert", "client_key", "concurrency", "deadline_header",
    "discovery_timeout", "exclude", "forward_headers", "include", "max_reply_bytes", "overrides", "proxy", "queue",
    "rate_limit", "refresh_interval", "registry", "registry_namespace", "retries", "server_name", "server_variables",
    "sha256", "shadow", "share", "trusted", "validation", "verify_ssl",
})  # fmt: skip
"""Keys next to a call template that only the operator may write; those in a fetched manual are dropped.

They are the fields of `ManualOptions` and the maps; a test compares them. Workers that read documents load no settings.
"""

_NEVER_NULL = frozenset({
    "type", "properties", "required", "items", "enum", "title", "description", "format", "minimum", "maximum",
    "minLength", "maxLength", "pattern", "anyOf", "oneOf", "allOf", "not", "$ref", "additionalProperties",
    "definitions", "$defs", "examples", "minItems", "maxItems", "uniqueItems", "$schema", "$id",
})  # fmt: skip
_DATA_KEYWORDS = frozenset({"default", "const", "enum", "examples", "example"})
_MAX_DEPTH = 200


def says_nothing(schema: Any) -> bool:
    """Return whether an output schema is the reference library's default, which says nothing of the result."""
    return not schema or (
        is_object(schema)
        and set(schema) <= {"type", "properties", "required"}
        and schema.get("type", "object") == "object"
        and not schema.get("properties")
        and not schema.get("required")
    )


def without_null_keywords(schema: JsonObject) -> JsonObject:
    """Return a schema without the nulls that the reference library writes for absent keywords.

    A schema without such nulls is returned as the same object.
    """
    cleaned: JsonObject = _cleaned(schema, 0) if _holds_null(schema) else schema
    return cleaned


def _holds_null(schema: JsonObject) -> bool:
    """Check quickly, because most schemas contain no null."""
    with suppress(TypeError):  # numbers of any length, lone surrogates
        if b"null" not in orjson.dumps(schema):
            return False
    pending: list[Any] = [schema]
    while pending:
        value = pending.pop()
        if value is None:
            return True
        if is_mapping(value):
            pending.extend(value.values())
        elif is_list(value):
            pending.extend(value)
    return False


def _cleaned(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return value
    if is_list(value):
        cleaned = [_cleaned(item, depth + 1) for item in value]
        return cleaned if any(new is not old for new, old in zip(cleaned, value, strict=True)) else value
    if not is_mapping(value):
        return value
    dumped = any(value.get(key, "") is None for key in _NEVER_NULL)
    kept = {
        key: member if key in _DATA_KEYWORDS else _cleaned(member, depth + 1)
        for key, member in value.items()
        if member is not None or not dumped
    }
    unchanged = len(kept) == len(value) and all(kept[key] is value[key] for key in kept)
    return value if unchanged else kept
