"""Arguments that fit an input schema, as far as it says: the required ones, for requests that are not sent."""

from __future__ import annotations

from typing import Any, Final

from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.urls import at_pointer

__all__ = ["example_arguments"]

_DEEPEST: Final = 8
_BY_FORMAT: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def example_arguments(inputs: JsonObject) -> JsonObject:
    """A value for each required argument: the schema's own example, default or constant, else a plain one.

    It may still not fit: patterns and conditions are not solved.
    """
    example = _object(inputs, inputs, 0)
    return example if is_object(example) else {}


def _value(schema: Any, root: JsonObject, depth: int) -> Any:
    if not is_object(schema) or depth > _DEEPEST:
        return "text"
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _value(at_pointer(root, reference), root, depth + 1)
    for word in ("const", "default", "example"):
        if word in schema:
            return schema[word]
    for word in ("enum", "examples"):
        if is_list(schema.get(word)) and schema[word]:
            return schema[word][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if is_list(schema.get(word)) and schema[word] and "type" not in schema:
            return _value(schema[word][0], root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: JsonObject, root: JsonObject, depth: int) -> Any:
    kind = schema.get("type")
    if is_list(kind):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, root, depth)
    if kind == "array":
        return [_value(schema.get("items"), root, depth + 1) for _ in range(int(schema.get("minItems") or 0))]
    if kind in {"integer", "number"}:
        return _number(schema)
    if kind in {"boolean", "null"}:
        return True if kind == "boolean" else None
    return _text(schema)


def _object(schema: JsonObject, root: JsonObject, depth: int) -> JsonObject:
    properties, required = schema.get("properties"), schema.get("required")
    known = properties if is_object(properties) else {}
    return {name: _value(known.get(name), root, depth + 1) for name in required or () if isinstance(name, str)}


def _number(schema: JsonObject) -> int | float:
    """The least that is allowed, if anything is; 1 otherwise."""
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    number = above + 1 if isinstance(above, int | float) and not isinstance(above, bool) else least
    if not isinstance(number, int | float):
        most = schema.get("maximum")
        number = min(1, most) if isinstance(most, int | float) else 1
    step = schema.get("multipleOf")
    return number + -number % step if isinstance(step, int | float) and step > 0 else number


def _text(schema: JsonObject) -> str:
    text = _BY_FORMAT.get(str(schema.get("format")), "text")
    least, most = schema.get("minLength"), schema.get("maxLength")
    text = text.ljust(least, "x") if isinstance(least, int) else text
    return text[:most] if isinstance(most, int) else text
