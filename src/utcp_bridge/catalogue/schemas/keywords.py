"""The JSON Schema keywords that a listed schema may have, and the check of each value.

Pure tables. Any other keyword (vendor extensions, OpenAPI's own keys) does not help a model, and the listed schema
omits it. The schema that checks arguments keeps every keyword.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import orjson

from utcp_bridge.catalogue.text import clean
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = [
    "ABSENT",
    "CONDITIONS",
    "NESTED",
    "NESTED_LISTS",
    "NESTED_MAPS",
    "PLAIN",
    "TYPES",
    "json_copy",
    "modern_form",
]

ABSENT: Final[Any] = object()
"""Marks a keyword with a malformed value. The listed schema omits it."""

NESTED: Final = frozenset(
    {
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
CONDITIONS: Final = frozenset({"if", "not"})
"""Keywords of `NESTED` with a schema that says what to refuse. A part with less in it would refuse more."""
NESTED_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
NESTED_MAPS: Final = frozenset({"dependentSchemas", "patternProperties", "properties"})

_ALIASES: Final = {
    "any": "",
    "bool": "boolean",
    "dict": "object",
    "double": "number",
    "float": "number",
    "int": "integer",
    "list": "array",
    "long": "integer",
    "str": "string",
}
TYPES: Final = {name: name for name in ("array", "boolean", "integer", "null", "number", "object", "string")} | _ALIASES
"""Type as written → as listed. An empty string means any type."""


def json_copy(value: Any) -> Any:
    """Return a copy of `value` as JSON. ABSENT if it is not JSON (dates, unusual keys, big integers)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else ABSENT
    try:
        return orjson.loads(orjson.dumps(value, option=_STRICT))
    except (TypeError, ValueError):
        return ABSENT


_STRICT: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


def _text(value: Any) -> Any:
    return clean(value) or ABSENT


def _word(value: Any) -> Any:
    return value if isinstance(value, str) and value.isprintable() else ABSENT


def _flag(value: Any) -> Any:
    return value if isinstance(value, bool) else ABSENT


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ABSENT
    return json_copy(value)


def _step(value: Any) -> Any:
    number = _number(value)
    return number if number is not ABSENT and number > 0 else ABSENT


def _anchor(value: Any) -> Any:
    return value if isinstance(value, str) and _ANCHOR.fullmatch(value) else ABSENT


_ANCHOR: Final = late_pattern(r"[A-Za-z_][-A-Za-z0-9._]{0,199}")


def _count(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else ABSENT


def _names(value: Any) -> Any:
    if not is_list(value):
        return ABSENT
    return list(dict.fromkeys(name for name in value if isinstance(name, str) and name.isprintable())) or ABSENT


def _values(value: Any) -> Any:
    if not is_list(value):
        return ABSENT
    if all(type(one) is str and one.isascii() for one in value):
        return list(dict.fromkeys(value)) or ABSENT
    found: dict[bytes, Any] = {}
    for one in value:
        if (copy := json_copy(one)) is not ABSENT:
            found.setdefault(orjson.dumps(copy, option=orjson.OPT_SORT_KEYS), copy)
    return list(found.values()) or ABSENT


def _name_lists(value: Any) -> Any:
    if not is_object(value):
        return ABSENT
    return {key: names for key, one in value.items() if (names := _names(one)) is not ABSENT} or ABSENT


PLAIN: Final[dict[str, Callable[[Any], Any]]] = {
    "$anchor": _anchor,
    "const": json_copy,
    "contentEncoding": _word,
    "contentMediaType": _word,
    "default": json_copy,
    "dependentRequired": _name_lists,
    "deprecated": _flag,
    "description": _text,
    "enum": _values,
    "examples": _values,
    "exclusiveMaximum": _number,
    "exclusiveMinimum": _number,
    "format": _word,
    "maximum": _number,
    "maxItems": _count,
    "maxLength": _count,
    "maxProperties": _count,
    "minContains": _count,
    "minimum": _number,
    "minItems": _count,
    "minLength": _count,
    "minProperties": _count,
    "multipleOf": _step,
    "pattern": _word,
    "readOnly": _flag,
    "required": _names,
    "title": _text,
    "uniqueItems": _flag,
    "writeOnly": _flag,
    "x-mcp-header": json_copy,
}
"""Keyword → function that returns its well-formed value, or ABSENT."""


def modern_form(schema: JsonObject) -> JsonObject:
    """Return the schema with keywords of drafts 4 to 7 in their 2020-12 form, or the same object if it has none."""
    if _OLD.isdisjoint(schema) and not is_list(schema.get("items")):
        return schema
    new = dict(schema)
    if is_list(items := new.get("items")):
        new["prefixItems"] = items
        new["items"] = new.get("additionalItems", True)
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(strict := new.get(exclusive), bool):
            del new[exclusive]
            if strict and bound in new:
                new[exclusive] = new.pop(bound)
    if is_object(needs := new.get("dependencies")):
        new.setdefault("dependentRequired", {key: one for key, one in needs.items() if is_list(one)})
        new.setdefault("dependentSchemas", {key: one for key, one in needs.items() if is_object(one)})
    if "example" in new:
        new.setdefault("examples", [new["example"]])
    return new


_OLD: Final = frozenset({"additionalItems", "dependencies", "example", "exclusiveMaximum", "exclusiveMinimum"})
