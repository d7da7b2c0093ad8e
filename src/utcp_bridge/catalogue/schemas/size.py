"""Fit a schema into a number of bytes, and omit first what a model needs least.

The order is: examples and titles, long descriptions below the top, deep levels, long enums, then everything except the
types of the top level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, TypeAlias

import orjson

from utcp_bridge.catalogue.schemas.keywords import NESTED, NESTED_LISTS, NESTED_MAPS
from utcp_bridge.catalogue.text import clean_line, shorten
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["fit", "fit_output", "map_schemas"]

_LONG_ENUM: Final = 30
_ENUM_SAMPLE: Final = 8
_REFERENCE: Final = "#/$defs/"
Steps: TypeAlias = tuple[tuple[str, Callable[[JsonObject], JsonObject]], ...]


def fit(schema: JsonObject, max_bytes: int) -> tuple[JsonObject, list[str]]:
    """Return the schema in at most `max_bytes` of compact JSON, and a list of what was omitted, in words."""
    return _fit(schema, max_bytes, _STEPS)


def fit_output(schema: JsonObject, max_bytes: int) -> tuple[JsonObject, list[str]]:
    """Fit an output schema. The names and types of its upper levels matter most. See `fit`."""
    return _fit(schema, max_bytes, _OUTPUT_STEPS)


def _fit(schema: JsonObject, max_bytes: int, steps: Steps) -> tuple[JsonObject, list[str]]:
    if _fits(schema, max_bytes):
        return schema, []
    cut: list[str] = []
    for label, step in steps:
        schema = _only_used(step(schema))
        if label not in cut:
            cut.append(label)
        if _fits(schema, max_bytes):
            return schema, cut
    return {"type": "object", "properties": {}}, [*cut, "the whole schema"]


def _fits(schema: JsonObject, max_bytes: int) -> bool:
    try:
        return len(orjson.dumps(schema)) <= max_bytes
    except (TypeError, ValueError):
        return False


def map_schemas(schema: JsonObject, change: Callable[[JsonObject, int], JsonObject], depth: int = 0) -> JsonObject:
    """Apply `change` to every sub-schema, outermost first. Definitions count as one level down."""
    new = change(schema, depth)
    out: JsonObject = {}
    for key, value in new.items():
        if (key in NESTED_MAPS or key == "$defs") and is_object(value):
            out[key] = {name: map_schemas(sub, change, depth + 1) for name, sub in value.items()}
        elif key in NESTED_LISTS and is_list(value):
            out[key] = [map_schemas(sub, change, depth + 1) for sub in value]
        elif key in NESTED and is_object(value):
            out[key] = map_schemas(value, change, depth + 1)
        else:
            out[key] = value
    return out


def _without(schema: JsonObject, _depth: int, *, keys: frozenset[str]) -> JsonObject:
    return {key: value for key, value in schema.items() if key not in keys}


def _described(schema: JsonObject, depth: int, *, below: int, limit: int) -> JsonObject:
    text = schema.get("description")
    if depth < below or not isinstance(text, str) or len(text) <= limit:
        return schema
    return {**schema, "description": shorten(text, limit)}


def _shallow(schema: JsonObject, depth: int, *, deepest: int) -> JsonObject:
    if depth < deepest:
        return schema
    return {key: value for key, value in schema.items() if key not in _STRUCTURE}


def _short_enum(schema: JsonObject, _depth: int) -> JsonObject:
    values = schema.get("enum")
    if not is_list(values) or len(values) <= _LONG_ENUM:
        return schema
    sample = ", ".join(str(value) for value in values[:_ENUM_SAMPLE])
    text = f"{schema.get('description', '')} One of {len(values)} values: {clean_line(sample, 160)}, …".strip()
    return {**{key: value for key, value in schema.items() if key != "enum"}, "description": text}


_STRUCTURE: Final = NESTED | NESTED_LISTS | NESTED_MAPS | {"$ref", "required", "dependentRequired"}
_EXTRAS: Final = frozenset({"examples", "title", "$anchor"})
_BOUNDS: Final = frozenset({
    "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength",
    "minItems", "maxItems", "uniqueItems", "multipleOf", "default", "deprecated", "minProperties", "maxProperties",
})  # fmt: skip
_WORDS: Final = frozenset({"description", "default", "pattern", "enum", "const"})


def _required_only(schema: JsonObject) -> JsonObject:
    required = schema.get("required", [])
    properties = {name: sub for name, sub in schema.get("properties", {}).items() if name in required}
    return {**schema, "properties": properties}


def _step(change: Callable[..., JsonObject], **settings: Any) -> Callable[[JsonObject], JsonObject]:
    return partial(map_schemas, change=partial(change, **settings))


_STEPS: Final[Steps] = (
    ("examples", _step(_without, keys=_EXTRAS)),
    ("long descriptions", _step(_described, below=2, limit=200)),
    ("long descriptions", _step(_described, below=2, limit=80)),
    *(("deep levels", _step(_shallow, deepest=deepest)) for deepest in (8, 6, 5, 4, 3)),
    ("long enums", _step(_short_enum)),
    ("long descriptions", _step(_described, below=1, limit=120)),
    ("deep levels", _step(_shallow, deepest=2)),
    ("deep levels", _step(_shallow, deepest=1)),
    ("everything but types", _step(_without, keys=_WORDS)),
    ("optional arguments", _required_only),
)


_OUTPUT_STEPS: Final[Steps] = (
    ("examples", _step(_without, keys=_EXTRAS)),
    ("descriptions", _step(_without, keys=frozenset({"description"}))),
    ("bounds", _step(_without, keys=_BOUNDS)),
    *(("deep levels", _step(_shallow, deepest=deepest)) for deepest in (6, 4, 3, 2)),
    ("long enums", _step(_without, keys=frozenset({"enum"}))),
    ("deep levels", _step(_shallow, deepest=1)),
)


def _only_used(schema: JsonObject) -> JsonObject:
    """Remove definitions that nothing refers to."""
    definitions = schema.get("$defs")
    if not is_object(definitions):
        return schema
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    used: dict[str, None] = dict.fromkeys(_references(rest))
    for name in (queue := list(used)):
        for found in _references(definitions.get(name)):
            if found not in used:
                used[found] = None
                queue.append(found)
    kept = {name: definitions[name] for name in definitions if name in used}
    return {**rest, "$defs": kept} if kept else rest


def _references(value: Any) -> Iterator[str]:
    if is_object(value):
        ref = value.get("$ref")
        if isinstance(ref, str):
            yield ref.removeprefix(_REFERENCE)
        for one in value.values():
            yield from _references(one)
    elif is_list(value):
        for one in value:
            yield from _references(one)
