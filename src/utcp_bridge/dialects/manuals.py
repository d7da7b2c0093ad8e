"""A manual of any dialect as normalised tool objects; each tool stands or falls alone."""

from __future__ import annotations

from typing import Any

from utcp_bridge.dialects import extended, v0, v1
from utcp_bridge.dialects.auth_forms import rewrite_auth
from utcp_bridge.dialects.fields import first_of, sort_of, text_of, word
from utcp_bridge.dialects.readings import ManualReading, Notes
from utcp_bridge.dialects.schemas import read_inputs, read_outputs
from utcp_bridge.dialects.shapes import MCP_SCHEMA_KEYS, Shape, detect
from utcp_bridge.dialects.templates import read_protocols, read_template
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["read_manual"]

_MANUAL_SHAPES = {Shape.MANUAL, Shape.TOOLS, Shape.MCP_TOOLS}
_REMEDIES = {
    Shape.OPENAPI: "It is an OpenAPI description: convert it.",
    Shape.CONFIG: "It is a client configuration: load it as one.",
    Shape.CONFIG_ENTRIES: "It is a list of providers: load it as a configuration.",
    Shape.TEMPLATE: "It is a single call template: list it in a configuration.",
    Shape.REGISTRY: "It is a registry: list the manuals that it names.",
}
_TEMPLATE_KEYS = ("tool_call_template", *v0.TEMPLATE_KEYS)
_MANUAL_ONLY = frozenset({"name", "description", "tools", "allowed_communication_protocols"}) | v1.OPERATOR_KEYS


def read_manual(document: Any, *, default_template: JsonObject, where: str) -> ManualReading:
    """Read the tools of a manual, of a list of tools, of one tool or of MCP's `tools/list`.

    `default_template` is the manual's own call template, normalised: tools that name none are reached
    through it. `where` names the manual in faults. Bad input is a fault, never an exception.
    """
    notes = Notes()
    shape = detect(document)
    if is_object(document) and is_list(document.get("tools")):
        raw, tools = document, document["tools"]
    elif is_list(document) and (shape in _MANUAL_SHAPES or not document):
        raw, tools = {}, document
    elif is_object(document) and shape in {Shape.TOOLS, Shape.MCP_TOOLS} and "tools" not in document:
        raw, tools = {}, [document]
    else:
        what = "`tools` is not a list." if shape is Shape.MANUAL else "this is not a UTCP manual."
        notes.error(where, what, _REMEDIES.get(shape, 'A manual is an object with a list "tools".'))
        return ManualReading(dialect="tools", faults=notes.faults)
    read = _read_tools(tools, default_template, where, notes)
    auth = _read_auth(raw, where, notes)
    protocols = read_protocols(raw, where, notes)
    _note_version(raw, notes)
    return ManualReading(
        dialect=_dialect(raw, notes),
        tools=read,
        info=extended.read_info(raw),
        auth=auth,
        variables=_read_variables(raw, where, notes),
        protocols=None if protocols is None else tuple(protocols),
        declared_variables=notes.declared,
        faults=notes.faults,
    )


def _read_tools(tools: list[Any], default: JsonObject, where: str, notes: Notes) -> list[JsonObject]:
    read: list[JsonObject] = []
    seen: set[str] = set()
    for position, raw in enumerate(tools):
        place = f"{where}: tool {position + 1}"
        if not is_object(raw):
            notes.error(place, f"is {sort_of(raw)}, not an object.")
            continue
        name = raw.get("name")
        if not isinstance(name, str) or not name.strip():
            notes.error(place, "has no name.")
            continue
        place = f"{where}.{word(name)}"
        if name in seen:
            notes.error(place, "another tool of the manual has the same name.")
            continue
        if (tool := _read_tool(name, raw, default, place, notes)) is not None:
            seen.add(name)
            read.append(tool)
    return read


def _read_tool(name: str, raw: JsonObject, default: JsonObject, where: str, notes: Notes) -> JsonObject | None:
    template = _template_of(name, raw, default, where, notes)
    if template is None:
        return None
    try:
        inputs = read_inputs(first_of(raw, ("inputs", *v0.TOOL_KEYS, *MCP_SCHEMA_KEYS)), where, notes)
    except ValueError as error:
        notes.error(where, str(error))
        return None
    tool: JsonObject = {
        "name": name,
        "description": text_of(raw.get("description")),
        "inputs": inputs,
        "tags": _tags(raw.get("tags")),
        "tool_call_template": template,
    }
    if (outputs := read_outputs(raw, where, notes)) is not None:
        tool["outputs"] = outputs
    _copy_extras(raw, tool)
    return tool


def _template_of(name: str, raw: JsonObject, default: JsonObject, where: str, notes: Notes) -> JsonObject | None:
    key = next((key for key in _TEMPLATE_KEYS if raw.get(key) is not None), None)
    if key is not None:
        notes.dialects.add("v1" if key == "tool_call_template" else "v0")
        template = read_template(raw[key], where, notes, beside=raw)
        if template is not None:
            for operator_key in v1.OPERATOR_KEYS - v1.BASE_FIELDS:
                template.pop(operator_key, None)
        return template
    if any(key in raw for key in MCP_SCHEMA_KEYS):
        notes.dialects.add("mcp")
    template = {key: value for key, value in default.items() if key not in _MANUAL_ONLY}
    if template.get("call_template_type") == "mcp":
        template.setdefault("tool_name", name)
    try:
        auth = rewrite_auth(raw.get("auth"), notes, template=template)
    except ValueError as error:
        notes.error(where, str(error))
        return None
    return {**template, "auth": auth} if auth is not None else template


def _tags(raw: Any) -> list[str]:
    if isinstance(raw, str):
        return [raw]
    return [tag for tag in raw if isinstance(tag, str)] if is_list(raw) else []


def _copy_extras(raw: JsonObject, tool: JsonObject) -> None:
    if title := text_of(raw.get("title")):
        tool["title"] = title
    if is_object(annotations := raw.get("annotations")):
        tool["annotations"] = annotations
        if "title" not in tool and (title := text_of(annotations.get("title"))):
            tool["title"] = title
    if raw.get("deprecated") is True:
        tool["deprecated"] = True
    size = raw.get("average_response_size")
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        tool["average_response_size"] = size
    if is_list(members := raw.get("body_members")):
        tool["body_members"] = [member for member in members if isinstance(member, str)]


def _read_auth(raw: JsonObject, where: str, notes: Notes) -> JsonObject | None:
    try:
        return rewrite_auth(raw.get("auth"), notes)
    except ValueError as error:
        notes.error(where, f"the manual's own {error}")
        return None


def _read_variables(raw: JsonObject, where: str, notes: Notes) -> JsonObject:
    variables = raw.get("variables")
    if variables is None or is_object(variables):
        return variables or {}
    notes.warn(where, "`variables` is not an object and is ignored.")
    return {}


def _note_version(raw: JsonObject, notes: Notes) -> None:
    if "utcp_version" in raw or "manual_version" in raw:
        notes.dialects.add("v1")
    elif "version" in raw or "provider_info" in raw:
        notes.dialects.add("v0")
    if any(raw.get(key) is not None for key in extended.MANUAL_KEYS):
        notes.dialects.add("extended")


def _dialect(raw: JsonObject, notes: Notes) -> str:
    if "mcp" in notes.dialects and not raw.keys() & {"utcp_version", "version", "manual_version"}:
        return "mcp"
    for found, name in (("extended", "extended"), ("v0", "v0.x"), ("v1", "v1.x")):
        if found in notes.dialects:
            return name
    return "tools"
