"""A tool's input and output schema: kept raw, and refused where no MCP host could use it."""

from __future__ import annotations

from typing import Any

from utcp_bridge.dialects.fields import sort_of, word
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.v1 import says_nothing, without_null_keywords
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["read_inputs", "read_outputs"]

_OUTPUT_KEYS = ("outputs", "response_schema", "outputSchema", "output_schema")
_KEYWORDS = frozenset({
    "$defs", "$id", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "const", "definitions",
    "dependentRequired", "dependentSchemas", "description", "else", "enum", "examples", "if", "maxProperties",
    "minProperties", "not", "oneOf", "patternProperties", "properties", "propertyNames", "required", "then", "title",
    "type", "unevaluatedProperties",
})  # fmt: skip


def read_inputs(raw: Any, where: str, notes: Notes) -> JsonObject:
    """The schema of a tool's arguments; the same object wherever nothing is wrong with it.

    Absent means "no arguments". A bare map of properties, as in `{"city": {"type": "string"}}`, is wrapped.

    :raises ValueError: it is no object schema; the text says why.
    """
    if raw is None:
        return {"type": "object", "properties": {}}
    if not is_object(raw):
        raise ValueError(f"the input schema is {sort_of(raw)}, not an object.")
    if raw and _KEYWORDS.isdisjoint(raw) and all(is_object(member) for member in raw.values()):
        notes.warn(where, "the inputs are a bare map of properties; they are read as such.")
        return {"type": "object", "properties": without_null_keywords(raw)}
    schema = without_null_keywords(raw)
    stated = schema.get("type")
    if stated is not None and stated != "object" and not (is_list(stated) and "object" in stated):
        raise ValueError(f"the input schema is of type {word(stated)!r}; arguments are always an object.")
    if schema.get("properties") is not None and not is_object(schema["properties"]):
        raise ValueError("the input schema's `properties` is not an object.")
    return schema


def read_outputs(tool: JsonObject, where: str, notes: Notes) -> JsonObject | None:
    """The schema of a tool's result, None if the manual promises nothing."""
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
