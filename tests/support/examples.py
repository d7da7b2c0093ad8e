"""Example arguments for a tool from its schema: all properties, required or not, always with the same values."""

from __future__ import annotations

from typing import Any

from utcp_bridge.model import JsonObject

_VALUES = {"integer": 7, "number": 1.5, "boolean": True, "null": None, "string": "wörd &=?/ 1"}
_FORMATS = {"date": "2024-02-03", "date-time": "2024-02-03T04:05:06Z", "uuid": "7d444840-9dc0-11d1-b245-5ffdce74fad2"}
_DEEPEST = 4


def example_arguments(inputs: JsonObject) -> JsonObject:
    """Return an object that matches the types and enumerations of a tool's input schema."""
    value = _example(inputs, inputs, 0)
    return {name: member for name, member in value.items() if member is not None} if isinstance(value, dict) else {}


def _example(schema: Any, root: JsonObject, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    if "$ref" in schema:
        return _example(root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2]), root, depth + 1)
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return choices[0]
    parts = next((schema[key] for key in ("allOf", "anyOf", "oneOf") if schema.get(key)), None)
    return _typed(schema, root, depth) if parts is None else _example(parts[0], root, depth + 1)


def _typed(schema: JsonObject, root: JsonObject, depth: int) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "array":
        item = _example(schema.get("items"), root, depth + 1)
        return [item] if item is not None else []
    if kind == "object" or "properties" in schema:
        members = {name: _example(member, root, depth + 1) for name, member in schema.get("properties", {}).items()}
        return {name: member for name, member in members.items() if member is not None}
    if kind == "string":
        return "YWJj" if schema.get("contentEncoding") else _FORMATS.get(str(schema.get("format")), _VALUES["string"])
    return _VALUES.get(str(kind), "any")
