"""Rewriting a document of an older dialect as UTCP v1, for people who migrate their files.

Unlike reading, rewriting keeps unknown keys, and units, as they are. It refuses no part of a document.
"""

from __future__ import annotations

from typing import Any

from utcp_bridge.dialects import v0
from utcp_bridge.dialects.auth_forms import rewrite_auth
from utcp_bridge.dialects.fields import copied, first_of, text_of
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.shapes import Shape, detect, kind_key
from utcp_bridge.dialects.shorthand import expand_shorthand, host_file_entry
from utcp_bridge.errors import ManualError
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["to_v1"]

_TEMPLATE_KEYS = ("tool_call_template", *v0.TEMPLATE_KEYS)
_ENTRY_KEYS = ("manual_call_templates", "providers", "mcpServers")


def to_v1(document: Any) -> JsonObject:
    """Return a configuration, manual, list of tools or call template as a v1 configuration or a v1 manual.

    :raises ManualError: the document is something else. `openapi.convert` reads OpenAPI descriptions.
    """
    shape = detect(document)
    if shape in {Shape.CONFIG_ENTRIES, Shape.TEMPLATE}:
        return {"manual_call_templates": _entries(document if is_list(document) else [document])}
    if shape is Shape.CONFIG:
        return _config(document)
    if shape is Shape.TOOLS:
        document = {"tools": document if is_list(document) else [document]}
    elif shape is not Shape.MANUAL or not is_list(document["tools"]):
        raise ManualError(f"This document cannot be rewritten as UTCP v1. Its form: {shape.value}.")
    return _manual(document)


def _config(raw: JsonObject) -> JsonObject:
    entries: list[Any] = []
    for key in ("manual_call_templates", "providers"):
        value = raw.get(key)
        if is_object(value) and kind_key(value) is None:
            value = [{"name": name, **item} if is_object(item) else item for name, item in value.items()]
        entries.extend(value if is_list(value) else [] if value is None else [value])
    if "mcpServers" in raw:
        entries.append({"name": "mcp", **host_file_entry(raw["mcpServers"])})
    rest = {key: value for key, value in raw.items() if key not in _ENTRY_KEYS}
    if is_list(loaders := rest.get("load_variables_from")):
        rest["load_variables_from"] = [copied(one, v0.LOADER_KEYS) if is_object(one) else one for one in loaders]
    return {**rest, "manual_call_templates": _entries(entries)}


def _entries(items: list[Any]) -> list[Any]:
    return [_entry(item) for item in items]


def _entry(item: Any) -> Any:
    if isinstance(item, str):
        try:
            return expand_shorthand(item)
        except ValueError:
            return item
    return _template(item, None)


def _manual(raw: JsonObject) -> JsonObject:
    rest = {key: value for key, value in raw.items() if key not in {"version", "tools", "utcp_version"}}
    head: JsonObject = {"utcp_version": raw.get("utcp_version", "0.x")}
    if version := text_of(raw.get("manual_version")) or text_of(raw.get("version")):
        head["manual_version"] = version
    return {**head, **rest, "tools": [_tool(tool) for tool in raw["tools"]]}


def _tool(raw: Any) -> Any:
    if not is_object(raw):
        return raw
    tool = copied(raw, {**v0.TOOL_KEYS, **dict.fromkeys(v0.TEMPLATE_KEYS, "tool_call_template")})
    if not tool.get("outputs") and is_object(tool.get("response_schema")):
        tool["outputs"] = tool.pop("response_schema")
    template = first_of(raw, _TEMPLATE_KEYS)
    if template is not None:
        tool["tool_call_template"] = _template(template, tool.pop("auth", None))
    return tool


def _template(raw: Any, auth_beside: Any) -> Any:
    if not is_object(raw) or (key := kind_key(raw)) is None or not isinstance(raw[key], str):
        return raw
    template = v0.rename_template(raw, raw[key])
    if template.get("auth") is None and auth_beside is not None:
        template["auth"] = auth_beside
    try:
        auth = rewrite_auth(template.get("auth"), Notes(), template=template)
    except ValueError:
        return template
    if auth is not None:
        template["auth"] = auth
    else:
        template.pop("auth", None)
    return template
