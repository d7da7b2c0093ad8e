"""A manual of any dialect as raw tools. A tool that cannot be read is a fault and does not affect the others."""

from __future__ import annotations

from typing import Any

from utcp_bridge.dialects import extended, v0, v1
from utcp_bridge.dialects.auth_forms import rewrite_auth
from utcp_bridge.dialects.fields import asked_as, first_of, sort_of, text_of, word
from utcp_bridge.dialects.readings import Notes, ParsedManual, RawTool
from utcp_bridge.dialects.shapes import MCP_SCHEMA_KEYS, Shape, detect
from utcp_bridge.dialects.templates import read_protocols, read_template
from utcp_bridge.dialects.v1 import says_nothing, without_null_keywords
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["read_inputs", "read_manual", "read_outputs"]

_MANUAL_SHAPES = {Shape.MANUAL, Shape.TOOLS, Shape.MCP_TOOLS}
_REMEDIES = {
    Shape.OPENAPI: "This is an OpenAPI description: convert it.",
    Shape.CONFIG: "This is a client configuration: load it as one.",
    Shape.CONFIG_ENTRIES: "This is a list of providers: load it as a configuration.",
    Shape.TEMPLATE: "This is one call template: list it in a configuration.",
    Shape.REGISTRY: "This is a registry: list the manuals that it names.",
}
_TEMPLATE_KEYS = ("tool_call_template", *v0.TEMPLATE_KEYS)
_INPUT_KEYS = ("inputs", *v0.TOOL_KEYS, *MCP_SCHEMA_KEYS)
_OPERATOR_ONLY = v1.OPERATOR_KEYS - v1.BASE_FIELDS
_MANUAL_ONLY = frozenset({"name", "description", "tools", "allowed_communication_protocols"}) | v1.OPERATOR_KEYS

_OUTPUT_KEYS = ("outputs", "response_schema", "outputSchema", "output_schema")
_KEYWORDS = frozenset({
    "$defs", "$id", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "const", "definitions",
    "dependentRequired", "dependentSchemas", "description", "else", "enum", "examples", "if", "maxProperties",
    "minProperties", "not", "oneOf", "patternProperties", "properties", "propertyNames", "required", "then", "title",
    "type", "unevaluatedProperties",
})  # fmt: skip
_TOOL_KEYS = frozenset({
    *_TEMPLATE_KEYS, *_INPUT_KEYS, *_OUTPUT_KEYS, "name", "title", "description", "tags", "average_response_size",
    "auth", "annotations", "deprecated", "body_members", "asked_as",
})  # fmt: skip


def read_manual(document: Any, *, default_template: JsonObject, where: str, shape: Shape | None = None) -> ParsedManual:
    """Read the tools of a manual, a list of tools, one tool, or MCP's `tools/list`.

    `default_template` is the manual's own call template in v1 names: tools that name none are reached through it.
    `where` names the manual in faults. `shape` is what `detect` says of the document, if the caller has asked it
    already. Bad input is a fault, never an exception.
    """
    notes = Notes()
    shape = shape or detect(document)
    if is_object(document) and is_list(document.get("tools")):
        raw, tools = document, document["tools"]
    elif is_list(document) and (shape in _MANUAL_SHAPES or not document):
        raw, tools = {}, document
    elif is_object(document) and shape in {Shape.TOOLS, Shape.MCP_TOOLS} and "tools" not in document:
        raw, tools = {}, [document]
    else:
        what = "`tools` is not a list." if shape is Shape.MANUAL else "this is not a UTCP manual."
        notes.error(where, what, _REMEDIES.get(shape, 'A manual is an object with a list "tools".'))
        return ParsedManual(dialect="tools", faults=notes.faults)
    read = _read_tools(tools, default_template, where, notes)
    auth = _read_auth(raw, where, notes)
    protocols = read_protocols(raw, where, notes)
    _note_version(raw, notes)
    return ParsedManual(
        dialect=_dialect(raw, notes),
        tools=read,
        info=extended.read_info(raw),
        auth=auth,
        variables=_read_variables(raw, where, notes),
        protocols=None if protocols is None else tuple(protocols),
        declared_variables=notes.declared,
        maps={key: raw[key] for key in sorted(v1.MAP_KEYS) if raw.get(key) is not None},
        faults=notes.faults,
    )


def _read_tools(tools: list[Any], default: JsonObject, where: str, notes: Notes) -> list[RawTool]:
    read: list[RawTool] = []
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


def _read_tool(name: str, raw: JsonObject, default: JsonObject, where: str, notes: Notes) -> RawTool | None:
    template = _template_of(name, raw, default, where, notes)
    if template is None:
        return None
    try:
        inputs = read_inputs(first_of(raw, _INPUT_KEYS), where, notes)
    except ValueError as error:
        notes.error(where, str(error))
        return None
    annotations, size, members = raw.get("annotations"), raw.get("average_response_size"), raw.get("body_members")
    if not is_object(annotations):
        annotations = {}
    asked = asked_as(raw.get("asked_as") or [])
    if asked is None:
        notes.warn(where, "`asked_as` must be a list of texts, and is ignored.")
    return RawTool(
        name=name,
        template=template,
        inputs=inputs,
        description=text_of(raw.get("description")),
        title=text_of(raw.get("title")) or text_of(annotations.get("title")) or None,
        outputs=read_outputs(raw, where, notes),
        tags=_tags(raw.get("tags")),
        annotations=annotations,
        deprecated=raw.get("deprecated") is True,
        average_response_size=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        body_members=tuple(one for one in members if isinstance(one, str)) if is_list(members) else (),
        extras={"asked_as": asked} if asked else {},
        rest={key: value for key, value in raw.items() if key not in _TOOL_KEYS},
    )


def _template_of(name: str, raw: JsonObject, default: JsonObject, where: str, notes: Notes) -> JsonObject | None:
    key = next((key for key in _TEMPLATE_KEYS if raw.get(key) is not None), None)
    if key is not None:
        notes.dialects.add("v1" if key == "tool_call_template" else "v0")
        template = read_template(raw[key], where, notes, beside=raw)
        if template is not None and not _OPERATOR_ONLY.isdisjoint(template):
            return {key: value for key, value in template.items() if key not in _OPERATOR_ONLY}
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


def _tags(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        return (raw,)
    return tuple(tag for tag in raw if isinstance(tag, str)) if is_list(raw) else ()


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


def read_inputs(raw: Any, where: str, notes: Notes) -> JsonObject:
    """Return the schema of a tool's arguments; it is the same object if nothing is wrong with it.

    An absent schema means "no arguments". A bare map of properties, such as `{"city": {"type": "string"}}`, is wrapped.

    :raises ValueError: it is not the schema of an object. The text says why.
    """
    if raw is None:
        return {"type": "object", "properties": {}}
    if not is_object(raw):
        raise ValueError(f"the input schema is {sort_of(raw)}, not an object.")
    if raw and _KEYWORDS.isdisjoint(raw) and all(is_object(member) for member in raw.values()):
        notes.warn(
            where, "the inputs are a map of properties without a schema around it; they are read as its properties."
        )
        return {"type": "object", "properties": without_null_keywords(raw)}
    schema = without_null_keywords(raw)
    stated = schema.get("type")
    if stated is not None and stated != "object" and not (is_list(stated) and "object" in stated):
        raise ValueError(f"the input schema has type {word(stated)!r}; it must have type 'object'.")
    if schema.get("properties") is not None and not is_object(schema["properties"]):
        raise ValueError("the input schema's `properties` is not an object.")
    return schema


def read_outputs(tool: JsonObject, where: str, notes: Notes) -> JsonObject | None:
    """Return the schema of a tool's result, None if the manual states none."""
    for key in _OUTPUT_KEYS:
        raw = tool.get(key)
        if says_nothing(raw):
            continue
        if not is_object(raw):
            notes.warn(where, f"`{key}` is {sort_of(raw)}, not an object, and is ignored.")
            continue
        if key == "response_schema":
            notes.dialects.add("extended")
        return without_null_keywords(raw)
    return None
