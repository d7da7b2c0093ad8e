"""The size of a schema, and walks over its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import orjson

from utcp_bridge.catalogue.schemas.accepted import REFERENCE
from utcp_bridge.catalogue.schemas.keywords import CONDITIONS, NESTED, NESTED_LISTS, NESTED_MAPS
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["definition_of", "fits", "is_small", "json_size", "map_schemas", "only_used"]

_ASCII: Final = bytes(range(128))
_PER_DEFINITION: Final = 16
_ESCAPE: Final = len(r"\u00e9")
Change: TypeAlias = Callable[[JsonObject, int], JsonObject]


def json_size(value: Any) -> int:
    """Return the bytes of compact JSON, for hosts that escape what is not ASCII too."""
    data = orjson.dumps(value)
    if data.isascii():
        return len(data)
    units = len(data.decode().encode("utf-16-le")) // 2
    plain = len(data) - len(data.translate(None, _ASCII))
    return plain + _ESCAPE * (units - plain)


def is_small(schema: Any, most: int) -> bool:
    """Return whether a schema has at most `most` objects and lists. It looks at no more of them."""
    definitions = schema.get("$defs") if is_object(schema) else None
    if is_object(definitions) and len(definitions) > most // _PER_DEFINITION:
        return False
    pending: list[Any] = [schema] if isinstance(schema, dict | list) else []
    for _ in range(most):
        if not pending:
            return True
        one = pending.pop()
        inner: Any = one.values() if is_object(one) else one
        pending.extend([part for part in inner if isinstance(part, dict | list)])
    return not pending


def fits(schema: JsonObject, max_bytes: int) -> bool:
    """Return whether a schema can be written as JSON of at most this size."""
    try:
        return json_size(schema) <= max_bytes
    except (TypeError, ValueError):
        return False


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


def only_used(schema: JsonObject) -> JsonObject:
    """Remove definitions that nothing refers to."""
    definitions = schema.get("$defs")
    if not is_object(definitions):
        return schema
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    queue = list(dict.fromkeys(_references(rest)))
    used = dict.fromkeys(queue)
    for name in queue:
        for found in _references(definitions.get(name)):
            if found not in used:
                used[found] = None
                queue.append(found)
    kept = {name: definitions[name] for name in definitions if name in used}
    return {**rest, "$defs": kept} if kept else rest


def _references(value: Any) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to."""
    pending = [value]
    while pending:
        one = pending.pop()
        if is_object(one):
            if (name := definition_of(one)) is not None:
                yield name
            pending.extend([part for part in one.values() if isinstance(part, dict | list)])
        elif is_list(one):
            pending.extend([part for part in one if isinstance(part, dict | list)])


def definition_of(schema: JsonObject) -> str | None:
    reference = schema.get("$ref")
    if reference is None or reference == "#" or not isinstance(reference, str):
        return None
    return reference.removeprefix(REFERENCE)
