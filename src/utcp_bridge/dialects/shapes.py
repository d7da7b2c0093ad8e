"""What a parsed document is. Every source of documents uses this detector."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from utcp_bridge.dialects import v0, v1
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["MCP_SCHEMA_KEYS", "Shape", "detect", "kind_key", "looks_like_tool"]

MCP_SCHEMA_KEYS = ("inputSchema", "input_schema")
_KIND_KEYS = ("call_template_type", *v0.KIND_KEYS)
_TEMPLATE_KEYS = ("tool_call_template", *v0.TEMPLATE_KEYS)
_TOOL_KEYS = frozenset({*_TEMPLATE_KEYS, *v0.TOOL_KEYS, "inputs", "outputs", "response_schema"})
_FUNCTION_KEYS = ("tool_call_template", *v0.TEMPLATE_KEYS, "inputs", "outputs")
_OTHER_KEYS = frozenset({"kind", "methods", "resources", "runs", "$schema"})
"""Keys of documents of others that have `parameters` or `inputs`, as one tool has: Google's, actions, templates."""
_FOREIGN_KEYS = frozenset({"asyncapi", "collection", "item", "kind", "swaggerVersion"})
"""One of them is in each description in a format of others."""
_CONFIG_ONLY = v1.CONFIG_KEYS - {"variables"}


class Shape(StrEnum):
    """What a document is."""

    CONFIG = "config"
    CONFIG_ENTRIES = "config entries"
    """A list of manual call templates (v0: providers) or of one-line forms."""
    MANUAL = "manual"
    OPENAPI = "openapi"
    TEMPLATE = "call template"
    """One manual call template."""
    TOOLS = "tools"
    """A list of UTCP tools, or one tool."""
    MCP_TOOLS = "mcp tools"
    """MCP's `tools/list`: an object with `tools`, a list, or one tool."""
    FOREIGN = "description in a format of others"
    """A description that is read as the OpenAPI description that it becomes (`formats.described`)."""
    REGISTRY = "registry"
    UNKNOWN = "unknown"


def detect(document: Any) -> Shape:
    """Return what a parsed JSON or YAML document is; never raises."""
    if is_list(document):
        return _detect_list(document)
    if not is_object(document):
        return Shape.UNKNOWN
    shape = _detect_object(document)
    return Shape.FOREIGN if shape is Shape.UNKNOWN and _is_foreign(document) else shape


def kind_key(raw: JsonObject) -> str | None:
    """Return the key that holds the type of a template; `type` counts only if its value is a known type."""
    found = next((key for key in _KIND_KEYS if raw.get(key) is not None), None)
    if found is None and isinstance(raw.get("type"), str) and raw["type"] in v1.KINDS | set(v0.KINDS):
        return "type"
    return found


def looks_like_tool(raw: JsonObject) -> bool:
    """Return whether an object has the keys of a tool; a name alone is not enough."""
    return not _TOOL_KEYS.isdisjoint(raw)


def _is_mcp_tool(raw: JsonObject) -> bool:
    return any(key in raw for key in MCP_SCHEMA_KEYS) and not any(key in raw for key in _TEMPLATE_KEYS)


def _is_function(raw: Any) -> bool:
    """Return whether an object is a function as models take it, which does not say where calls go."""
    return is_object(raw) and raw.get("type") == "function" and not any(key in raw for key in _FUNCTION_KEYS)


def _is_other(raw: JsonObject) -> bool:
    return not _OTHER_KEYS.isdisjoint(raw) and not any(key in raw for key in _TEMPLATE_KEYS)


def _is_bundle(raw: JsonObject) -> bool:
    """Return whether an object is the manifest of an MCP bundle, which lists tools, too."""
    server = raw.get("server")
    return is_object(server) and ("mcp_config" in server or "entry_point" in server) and "utcp_version" not in raw


def _is_foreign(raw: JsonObject) -> bool:
    if _FOREIGN_KEYS.isdisjoint(raw):
        return False
    from utcp_bridge.dialects.formats.described import is_described  # seldom needed

    return is_described(raw)


def _detect_list(items: list[Any]) -> Shape:
    for item in items:
        if isinstance(item, str):
            return Shape.CONFIG_ENTRIES
        if not is_object(item):
            continue
        if _is_mcp_tool(item):
            return Shape.MCP_TOOLS
        if looks_like_tool(item) and not _is_function(item):
            return Shape.TOOLS
        if kind_key(item) or "mcpServers" in item:
            return Shape.CONFIG_ENTRIES
        if "name" in item and not _is_function(item):
            return Shape.TOOLS
    return Shape.UNKNOWN if items else Shape.CONFIG_ENTRIES


def _detect_object(raw: JsonObject) -> Shape:
    if "openapi" in raw or "swagger" in raw or (is_object(raw.get("paths")) and is_object(raw.get("info"))):
        return Shape.OPENAPI
    if any(key in raw for key in ("manual_call_templates", "providers", "mcpServers")):
        return Shape.CONFIG
    if any(key in raw for key in _KIND_KEYS):
        return Shape.TEMPLATE
    if "tools" in raw:
        return Shape.UNKNOWN if _is_bundle(raw) else _detect_manual(raw, raw["tools"])
    return _detect_small(raw)


def _detect_manual(raw: JsonObject, tools: Any) -> Shape:
    if is_list(tools) and any(is_object(tool) and _is_mcp_tool(tool) for tool in tools):
        return Shape.MCP_TOOLS
    if is_list(tools) and tools and "utcp_version" not in raw and all(_is_function(tool) for tool in tools):
        return Shape.UNKNOWN
    return Shape.MANUAL


def _detect_small(raw: JsonObject) -> Shape:
    if is_list(raw.get("manuals")):
        return Shape.REGISTRY
    if _is_mcp_tool(raw):
        return Shape.MCP_TOOLS
    if looks_like_tool(raw) and not _is_function(raw) and not _is_other(raw):
        return Shape.TOOLS
    if kind_key(raw):
        return Shape.TEMPLATE
    if not _CONFIG_ONLY.isdisjoint(raw) or set(raw) == {"variables"}:
        return Shape.CONFIG
    return Shape.UNKNOWN
