"""Fit a schema into a number of bytes, and omit first what a model needs least.

The order is: examples and titles, long descriptions below the top, deep levels, long enums, then everything except the
types of the top level.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final, TypeAlias

import orjson

from utcp_bridge.catalogue.schemas.accepted import (
    Defaults,
    Outlines,
    joined,
    short_values,
    typed_by_content,
    with_required,
    without_loops,
)
from utcp_bridge.catalogue.schemas.keywords import CONDITIONS, NESTED, NESTED_LISTS, NESTED_MAPS
from utcp_bridge.catalogue.text import shorten
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["fit", "fit_output", "map_schemas"]

_LONG_ENUM: Final = 30
_REFERENCES: Final = re.compile(rb'"\$ref":"#/\$defs/([^"]+)"')
Change: TypeAlias = Callable[[JsonObject, int], JsonObject]
Steps: TypeAlias = tuple[tuple[str, Callable[[JsonObject], JsonObject]], ...]


Fitting: TypeAlias = Generator[None, None, tuple[JsonObject, list[str]]]


def fit(schema: JsonObject, max_bytes: int) -> Fitting:
    """Return the schema in at most `max_bytes` of compact JSON, and a list of what was omitted, in words.

    It is a generator of steps, between which a program can do other work.
    """
    return _fit(schema, max_bytes, _STEPS, _settled)


def fit_output(schema: JsonObject, max_bytes: int) -> Fitting:
    """Fit an output schema. The names and types of its upper levels matter most. See `fit`."""
    return _fit(schema, max_bytes, _OUTPUT_STEPS, _joined)


def _fit(schema: JsonObject, max_bytes: int, steps: Steps, settle: Change) -> Fitting:
    schema = _only_used(schema)
    if _fits(schema, max_bytes):
        return schema, []
    cut: list[str] = []
    for label, step in steps:
        yield
        schema = _only_used(step(schema))
        if label not in cut:
            cut.append(label)
        if _fits(schema, max_bytes):
            settled = yield from _settle(schema, settle)
            if settled == schema or _fits(settled, max_bytes):
                return settled, cut
    return {"type": "object", "properties": {}}, [*cut, "the whole schema"]


def _settle(schema: JsonObject, settle: Change) -> Generator[None, None, JsonObject]:
    """Apply `settle` until nothing changes: what it does to a part can change what is around it."""
    while (settled := map_schemas(schema, settle)) != schema:
        yield
        schema = settled
        if "$defs" in schema:
            schema = _only_used({**schema, "$defs": without_loops(schema["$defs"])})
    return _checked(schema) if settle is _settled else schema


def _fits(schema: JsonObject, max_bytes: int) -> bool:
    """Return whether the JSON is small enough, also for hosts that escape what is not ASCII."""
    try:
        data = orjson.dumps(schema)
    except (TypeError, ValueError):
        return False
    if data.isascii() or len(data) > max_bytes:
        return len(data) <= max_bytes
    return len(json.dumps(schema, separators=(",", ":"))) <= max_bytes


def _joined(schema: JsonObject, depth: int) -> JsonObject:
    return joined(schema, is_root=depth == 0)


def _settled(schema: JsonObject, depth: int) -> JsonObject:
    """Join branches that a cut has made equal. What states no type then gets that of its keywords."""
    new = joined(schema, is_root=depth == 0)
    return schema if new == schema else with_required(typed_by_content(new), is_branch=False)


def _checked(schema: JsonObject) -> JsonObject:
    """Omit the defaults that a type of `_shallow` or `_settled` refuses."""
    return map_schemas(schema, Defaults(schema.get("$defs", {})).without_wrong)


def map_schemas(schema: JsonObject, change: Change, depth: int = 0) -> JsonObject:
    """Apply `change` to every sub-schema, outermost first. Definitions count as one level down.

    A condition (`not`, `if`) stays only if it does not change: with less in it, the schema would refuse more.
    """
    new = change(schema, depth)
    out: JsonObject = {}
    for key, value in new.items():
        form = _FORMS.get(key)
        if form is None:
            out[key] = value
        elif form == "map" and is_object(value):
            out[key] = {name: map_schemas(sub, change, depth + 1) for name, sub in value.items()}
        elif form == "list" and is_list(value):
            out[key] = [map_schemas(sub, change, depth + 1) for sub in value]
        elif form == "schema" and is_object(value):
            out[key] = map_schemas(value, change, depth + 1)
        elif form == "condition" and map_schemas(value, change, depth + 1) == value:
            out[key] = value
    return out


_FORMS: Final = {
    **dict.fromkeys((*NESTED_MAPS, "$defs"), "map"),
    **dict.fromkeys(NESTED_LISTS, "list"),
    **dict.fromkeys(NESTED - CONDITIONS, "schema"),
    **dict.fromkeys(CONDITIONS, "condition"),
}
"""Keyword → what it has: a schema for each name, a list of schemas, one schema, or one that says what to refuse."""


def _without(schema: JsonObject, _depth: int, *, keys: frozenset[str]) -> JsonObject:
    return {key: value for key, value in schema.items() if key not in keys}


def _described(schema: JsonObject, depth: int, *, below: int, limit: int) -> JsonObject:
    text = schema.get("description")
    if depth < below or not isinstance(text, str) or len(text) <= limit:
        return schema
    return {**schema, "description": shorten(text, limit)}


def _shallow(schema: JsonObject, deepest: int, *, by_content: bool) -> JsonObject:
    """Cut what is below a level. By content: a part that states no type gets the one that its keywords belong to."""
    outlines = Outlines(schema.get("$defs", {}))

    def cut(sub: JsonObject, depth: int) -> JsonObject:
        if depth < deepest:
            return sub
        return typed_by_content(outlines.of(typed_by_content(sub))) if by_content else outlines.of(sub)

    return map_schemas(schema, cut)


def _short_enum(schema: JsonObject, _depth: int) -> JsonObject:
    return short_values(schema, _LONG_ENUM)


_EXTRAS: Final = frozenset({"examples", "title", "$anchor"})
_BOUNDS: Final = frozenset({
    "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength",
    "minItems", "maxItems", "uniqueItems", "multipleOf", "default", "deprecated", "minProperties", "maxProperties",
})  # fmt: skip
_OTHER_PROPERTIES: Final = frozenset({"additionalProperties", "unevaluatedProperties"})
"""They would be about the omitted properties too."""
_WORDS: Final = frozenset({"description", "default", "pattern", "enum", "const"})


def _required_only(schema: JsonObject) -> JsonObject:
    required = schema.get("required", [])
    properties = {name: sub for name, sub in schema.get("properties", {}).items() if name in required}
    rest = {key: value for key, value in schema.items() if key not in _OTHER_PROPERTIES}
    return {**rest, "properties": properties}


def _step(change: Callable[..., JsonObject], **settings: Any) -> Callable[[JsonObject], JsonObject]:
    return partial(map_schemas, change=partial(change, **settings))


_STEPS: Final[Steps] = (
    ("examples", _step(_without, keys=_EXTRAS)),
    ("long descriptions", _step(_described, below=2, limit=200)),
    ("long descriptions", _step(_described, below=2, limit=80)),
    *(("deep levels", partial(_shallow, deepest=deepest, by_content=True)) for deepest in (8, 6, 5, 4, 3)),
    ("long enums", _step(_short_enum)),
    ("long descriptions", _step(_described, below=1, limit=120)),
    ("deep levels", partial(_shallow, deepest=2, by_content=True)),
    ("deep levels", partial(_shallow, deepest=1, by_content=True)),
    ("everything but types", _step(_without, keys=_WORDS)),
    ("optional arguments", _required_only),
)


_OUTPUT_STEPS: Final[Steps] = (
    ("examples", _step(_without, keys=_EXTRAS)),
    ("descriptions", _step(_without, keys=frozenset({"description"}))),
    ("bounds", _step(_without, keys=_BOUNDS)),
    *(("deep levels", partial(_shallow, deepest=deepest, by_content=False)) for deepest in (6, 4, 3, 2)),
    ("long enums", _step(_without, keys=frozenset({"enum"}))),
    ("deep levels", partial(_shallow, deepest=1, by_content=False)),
)


def _only_used(schema: JsonObject) -> JsonObject:
    """Remove definitions that nothing refers to."""
    definitions = schema.get("$defs")
    if not is_object(definitions):
        return schema
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    queue = _references(rest)
    used = dict.fromkeys(queue)
    for name in queue:
        for found in _references(definitions.get(name)):
            if found not in used:
                used[found] = None
                queue.append(found)
    kept = {name: definitions[name] for name in definitions if name in used}
    return {**rest, "$defs": kept} if kept else rest


def _references(value: Any) -> list[str]:
    """Return the names of the definitions that a schema refers to. Data that looks like a reference counts too."""
    try:
        return list({name.decode(): None for name in _REFERENCES.findall(orjson.dumps(value))})
    except (TypeError, ValueError):
        return []
