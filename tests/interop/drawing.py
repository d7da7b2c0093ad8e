"""Arguments that fit a JSON Schema, formats and bounds included, as far as a few rules go."""

from __future__ import annotations

import base64
from typing import Any

_FORMATS = {
    "uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "email": "ada@example.com",
    "uri": "https://example.com/x",
    "url": "https://example.com/x",
    "ipv4": "192.0.2.1",
    "byte": base64.b64encode(b"bytes").decode(),
    "binary": base64.b64encode(b"bytes").decode(),
}
_DEEPEST = 4


def draw(schema: Any, root: dict[str, Any], *, full: bool, depth: int = 0) -> Any:
    """A value; `full` gives optional members too."""
    if not isinstance(schema, dict):
        return "x"
    if "$ref" in schema:
        return draw(root["$defs"][schema["$ref"].rpartition("/")[2]], root, full=full, depth=depth + 1)
    for key in ("const", "default"):
        if schema.get(key) is not None:
            return schema[key]
    for key in ("enum", "examples"):
        if found := [one for one in schema.get(key) or [] if one is not None]:
            return found[0]
    for key in ("allOf", "anyOf", "oneOf"):
        if schema.get(key):
            return _of_parts(key, schema, root, full=full, depth=depth)
    return _typed(schema, root, full=full, depth=depth)


def _of_parts(key: str, schema: dict[str, Any], root: dict[str, Any], *, full: bool, depth: int) -> Any:
    branches = schema[key] if key == "allOf" else schema[key][:1]
    rest = {name: value for name, value in schema.items() if name != key}
    made = [draw(branch, root, full=full, depth=depth + 1) for branch in branches]
    if rest.get("properties"):
        made.append(_typed({"type": "object", **rest}, root, full=full, depth=depth + 1))
    if all(isinstance(one, dict) for one in made):
        return {name: value for one in made for name, value in one.items()}
    return made[0]


def _typed(schema: dict[str, Any], root: dict[str, Any], *, full: bool, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "string")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    if kind == "object":
        required = schema.get("required") or []
        wanted = schema.get("properties", {}) if full and depth < _DEEPEST else required
        properties = schema.get("properties", {})
        return {name: draw(properties.get(name, {}), root, full=full, depth=depth + 1) for name in wanted}
    if kind == "array":
        count = min(max(2, schema.get("minItems", 0)), schema.get("maxItems", 2)) if depth < _DEEPEST else 0
        count = max(count, schema.get("minItems", 0))
        return [draw(schema.get("items", {}), root, full=full, depth=depth + 1) for _ in range(count)]
    if kind in {"integer", "number"}:
        return _number(schema)
    return {"boolean": True, "null": None}.get(kind, _text(schema))


def _number(schema: dict[str, Any]) -> Any:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1 if "exclusiveMinimum" in schema else 1)
    step = schema.get("multipleOf", 1)
    value = low if low % step == 0 else (low // step + 1) * step
    return min(value, schema.get("maximum", value))


def _text(schema: dict[str, Any]) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    if schema.get("contentEncoding") == "base64":
        return _FORMATS["byte"]
    text = "ab" if schema.get("maxLength", 9) >= 2 else "a"
    return text.ljust(schema.get("minLength", 0), "a")[: schema.get("maxLength", 1000)]
