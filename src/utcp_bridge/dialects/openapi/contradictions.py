"""Schemas that refuse their own values, repaired: what a document shows is believed, not a keyword against it (pure).

A document's slip, such as words in the `enum` of an integer, would make an argument that accepts nothing. JSON Schema
allows it (validation, section 6), so no validator reports it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import jsonschema_rs
import orjson

from utcp_bridge.dialects.openapi.shapes import as_array, as_object, is_array
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.placement.encoding import format_scalar

__all__ = ["SAMPLES", "repaired"]

_DEFAULT = "`default` is not a value that the schema accepts"
_EXAMPLES = "the examples are not values that the schema accepts"
SAMPLES = frozenset({_DEFAULT, _EXAMPLES})
"""What `repaired` says of values that it leaves out, instead of a keyword that refuses them."""

_RANGES = (
    ("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"),
    ("minContains", "maxContains"),
)  # fmt: skip
_ANY = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_NULL = frozenset({"null"})
_NUMBERS = {"true": True, "false": False}
_WITHIN = frozenset({"additionalProperties", "items", "properties"})
_MAX_DEPTH = 16
_MAX_COMPARED = 100
_BACKTRACK_LIMIT = 10_000


def repaired(schema: JsonObject) -> tuple[JsonObject, list[str]]:
    """Return one translated schema without contradictions of its own keywords, and what was wrong, in words.

    Its own values are held against what is within it, but not against what it refers to.
    """
    found: list[str] = []
    new = dict(schema)
    _types(new, found)
    _ranges(new, found)
    _choices(new, found)
    _samples(new, found)
    return (schema if new == schema else new), found


def _types(schema: JsonObject, found: list[str]) -> None:
    """Repair parts of a schema that have no type in common. Those that come first are believed."""
    for key in ("anyOf", "oneOf"):
        branches = as_array(schema.get(key))
        if branches and "type" in schema and not any(_common(schema, as_object(branch)) for branch in branches):
            found.append(f"no part of `{key}` is of type {schema['type']!r}")
            del schema["type"]
    if "allOf" in schema:
        believed: JsonObject = {"type": schema["type"]} if "type" in schema else {}
        parts: list[Any] = []
        for part in as_array(schema["allOf"]):
            common = _common(believed, as_object(part))
            if common:
                parts.append(part)
                believed = believed if common == _ANY else {"type": _stated(common)}
            else:
                parts.append({name: value for name, value in part.items() if name != "type"})
                found.append(f"a part of `allOf` is of type {part['type']!r}, another one of type {believed['type']!r}")
        schema["allOf"] = parts


def _common(one: JsonObject, other: JsonObject) -> frozenset[str]:
    """Return the types that two schemas state both. A schema without a type states each of them."""
    kinds = [_kinds(schema["type"]) for schema in (one, other) if "type" in schema]
    if len(kinds) < 2:
        return kinds[0] if kinds else _ANY
    common = kinds[0] & kinds[1]
    return common if common != _NULL or _NULL in kinds else frozenset()


def _kinds(stated: Any) -> frozenset[str]:
    kinds = frozenset(stated if is_array(stated) else [stated])
    return kinds | {"integer"} if "number" in kinds else kinds


def _stated(kinds: frozenset[str]) -> Any:
    """Return types as a schema states them."""
    return next(iter(kinds)) if len(kinds) == 1 else sorted(kinds)


def _ranges(schema: JsonObject, found: list[str]) -> None:
    for low, high in _RANGES:
        if low in schema and high in schema and schema[low] > schema[high]:
            found.append(f"`{low}` is above `{high}`")
            del schema[low], schema[high]
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    highest = [value for value in (schema.get("maximum"), below) if value is not None]
    lowest = [value for value in (schema.get("minimum"), above) if value is not None]
    if (above is not None and highest and above >= min(highest)) or (
        below is not None and lowest and below <= max(lowest)
    ):
        found.append("an exclusive bound leaves no number")
        schema.pop("exclusiveMinimum", None)
        schema.pop("exclusiveMaximum", None)


def _choices(schema: JsonObject, found: list[str]) -> None:
    """Repair what refuses each value of `enum`, or the `const`."""
    _decide(schema, found)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not values:
        return
    if "type" in schema and not any(_has_type(value, schema["type"]) for value in values):
        values = _of_one_type(schema, values, found)
    typed = [value for value in values if "type" not in schema or _has_type(value, schema["type"])]
    for key, accepts in _CHECKS.items():
        if key in schema and not any(accepts(schema[key], value) for value in typed):
            found.append(f"`{key}` refuses each value of `{'const' if 'const' in schema else 'enum'}`")
            del schema[key]
    together = [key for key in _CHECKS if key in schema]
    if typed and not any(all(_CHECKS[key](schema[key], value) for key in together) for value in typed):
        found.append(f"{', '.join(f'`{key}`' for key in together)} together refuse each value of `enum`")
        for key in together:
            del schema[key]
    together = [key for key in _CHECKS if key in schema]
    possible = [value for value in typed if all(_CHECKS[key](schema[key], value) for key in together)]
    if possible and not any(_fits_within(schema, value) for value in possible):
        found.append(f"what is within refuses each value of `{'const' if 'const' in schema else 'enum'}`")
        for key in _WITHIN & schema.keys():
            del schema[key]


def _decide(schema: JsonObject, found: list[str]) -> None:
    """Leave a `const` without the `enum` beside it, which says nothing more."""
    if "const" in schema and "enum" in schema:
        if not _among(schema["const"], schema["enum"]):
            found.append("`const` is not in `enum`")
        del schema["enum"]


def _of_one_type(schema: JsonObject, values: list[Any], found: list[str]) -> list[Any]:
    """Return the values in the declared type if all can be read so. Else their place or the type changes."""
    kind = schema["type"]
    read = [_read(value, kind) for value in values]
    items = as_object(schema.get("items"))
    if all(value is not None for value in read):
        found.append(f"the values are not of type {kind!r}, but can be read so")
        schema["const" if "const" in schema else "enum"] = read[0] if "const" in schema else read
        return read
    if kind == "array" and "enum" in schema and "enum" not in items and not any(is_array(value) for value in values):
        found.append("the `enum` of an array lists the values of its items")
        del schema["enum"]
        if "$ref" not in items and all("type" not in items or _has_type(value, items["type"]) for value in values):
            schema["items"] = {**items, "enum": values}
        return []
    found.append(f"no value of `{'const' if 'const' in schema else 'enum'}` is of type {kind!r}")
    del schema["type"]
    return values


def _samples(schema: JsonObject, found: list[str]) -> None:
    """Repair what refuses the default and each example. One that differs from the others is left out."""
    for key in _BELIEVED_LESS:
        shown = [value for value in _shown(schema) if "type" not in schema or _has_type(value, schema["type"])]
        if key in schema and shown and not any(_CHECKS[key](schema[key], value) for value in shown):
            found.append(f"`{key}` refuses the values that the schema shows")
            del schema[key]
    if "default" in schema and not _accepts(schema, schema["default"]):
        value = _read(schema["default"], schema.get("type"))
        if value is not None and _accepts(schema, value):
            schema["default"] = value
        else:
            found.append(_DEFAULT)
            del schema["default"]
    if examples := as_array(schema.get("examples")):
        kept = [value for value in map(_reader(schema), examples) if _accepts(schema, value)]
        if kept:
            schema["examples"] = kept
        elif _accepts(schema, examples):  # one value, where the list of the examples stands
            schema["examples"] = [examples]
        else:
            found.append(_EXAMPLES)
            del schema["examples"]


def _shown(schema: JsonObject) -> Iterator[Any]:
    """Yield the default and the examples. An empty text says nothing."""
    read = _reader(schema)
    for value in ([schema["default"]] if "default" in schema else []) + as_array(schema.get("examples")):
        if value not in ("", None):
            yield read(value)


def _reader(schema: JsonObject) -> Callable[[Any], Any]:
    """Return what reads an example in the declared type, where it is written in another."""
    kind = schema.get("type")

    def read(value: Any) -> Any:
        if kind is None or _has_type(value, kind):
            return value
        other = _parsed(value) if kind in ("array", "object") else _read(value, kind)
        return value if other is None else other

    return read


def _parsed(value: Any) -> Any:
    """Return the list or object that a text of JSON has; None if it has none."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        return orjson.loads(value)
    except ValueError:
        return None


def _accepts(schema: JsonObject, value: Any, depth: int = 0) -> bool:
    if "type" in schema and not _has_type(value, schema["type"]):
        return False
    if "const" in schema and not _among(value, [schema["const"]]):
        return False
    if "enum" in schema and not _among(value, schema["enum"]):
        return False
    if not all(accepts(schema[key], value) for key, accepts in _CHECKS.items() if key in schema):
        return False
    return depth > _MAX_DEPTH or (_fits_branches(schema, value, depth) and _fits_within(schema, value, depth))


def _fits_branches(schema: JsonObject, value: Any, depth: int) -> bool:
    """Return whether a value fits the branches of a schema, as far as they are written in place."""
    for key in ("anyOf", "oneOf"):
        branches = as_array(schema.get(key))
        if branches and not any(_accepts_part(branch, value, depth) for branch in branches):
            return False
    return all(_accepts_part(branch, value, depth) for branch in as_array(schema.get("allOf")))


def _fits_within(schema: JsonObject, value: Any, depth: int = 0) -> bool:
    """Return whether the items or members of a value fit the schemas of their places."""
    if is_array(value) and "prefixItems" not in schema:
        items = schema.get("items", True)
        return all(_accepts_part(items, one, depth) for one in value)
    if is_object(value) and "patternProperties" not in schema:
        properties, others = as_object(schema.get("properties")), schema.get("additionalProperties", True)
        return all(_accepts_part(properties.get(name, others), one, depth) for name, one in value.items())
    return True


def _accepts_part(schema: Any, value: Any, depth: int) -> bool:
    return schema is not False and _accepts(as_object(schema), value, depth + 1)


def _among(value: Any, values: list[Any]) -> bool:
    """Return whether a value is one of others. True is not 1, at any depth."""
    return any(
        value == one and (_is_number(value) == _is_number(one)) and _booleans(value) == _booleans(one) for one in values
    )


def _booleans(value: Any) -> int:
    """Return the number of booleans in a value."""
    if isinstance(value, bool):
        return 1
    inner = value.values() if is_object(value) else value if is_array(value) else ()
    return sum(map(_booleans, inner))


def _has_type(value: Any, kind: Any) -> bool:
    kinds = kind if is_array(kind) else [kind]
    if value is None or isinstance(value, bool):
        return ("null" if value is None else "boolean") in kinds
    if isinstance(value, int | float):
        return "number" in kinds or ("integer" in kinds and value == int(value))
    return ("string" if isinstance(value, str) else "object" if is_object(value) else "array") in kinds


def _read(value: Any, kind: Any) -> Any:
    """Return a scalar as one of another type: `"2012"` as 2012, `"TRUE"` as true, 7 as `"7"`. None if it is not one."""
    if kind == "string" and isinstance(value, bool | int | float):
        return format_scalar(value)
    if not isinstance(value, str):
        return None
    if kind == "boolean":
        return _NUMBERS.get(value.strip().lower())
    if kind in ("integer", "number") and re.fullmatch(r"[+-]?\d{1,15}(\.\d{1,15})?", value.strip(), re.ASCII):
        number = float(value)
        return int(number) if number == int(number) else None if kind == "integer" else number
    return None


def _matches(pattern: str, value: str) -> bool:
    """Return whether a pattern accepts a text, in bounded time. One that cannot be read so accepts it."""
    for options in (
        jsonschema_rs.RegexOptions(),
        jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
    ):
        with suppress(ValueError):
            return jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=options).is_valid(value)
    return True


def _is_multiple(value: float, divisor: float) -> bool:
    try:
        return Decimal(str(value)) % Decimal(str(divisor)) == 0
    except (ArithmeticError, ValueError):
        return True


def _are_unique(values: list[Any]) -> bool:
    return not any(_among(value, values[:number]) for number, value in enumerate(values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda bound, value: not _is_number(value) or value >= bound,
    "maximum": lambda bound, value: not _is_number(value) or value <= bound,
    "exclusiveMinimum": lambda bound, value: not _is_number(value) or value > bound,
    "exclusiveMaximum": lambda bound, value: not _is_number(value) or value < bound,
    "minLength": lambda bound, value: not isinstance(value, str) or len(value) >= bound,
    "maxLength": lambda bound, value: not isinstance(value, str) or len(value) <= bound,
    "minItems": lambda bound, value: not is_array(value) or len(value) >= bound,
    "maxItems": lambda bound, value: not is_array(value) or len(value) <= bound,
    "minProperties": lambda bound, value: not is_object(value) or len(value) >= bound,
    "maxProperties": lambda bound, value: not is_object(value) or len(value) <= bound,
    "multipleOf": lambda divisor, value: not _is_number(value) or _is_multiple(value, divisor),
    "uniqueItems": lambda wanted, value: not wanted or not is_array(value) or _are_unique(value[:_MAX_COMPARED]),
}
"""Keyword → whether it accepts a value. Each accepts values of other types."""
_CHECKS: dict[str, Callable[[Any, Any], bool]] = {
    "pattern": lambda pattern, value: not isinstance(value, str) or _matches(pattern, value),
    **_BOUNDS,
    "required": lambda names, value: not is_object(value) or all(name in value for name in names),
}
_BELIEVED_LESS = ("pattern", *_BOUNDS)
"""What is dropped if it refuses all that the schema shows. An example without a required member is only short."""
