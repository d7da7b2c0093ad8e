"""Sample arguments of a tool from its schema: the required ones, all of them, and odd values (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from utcp_bridge.convert.forms import ALL_TYPES, types_of
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.urls import at_pointer

__all__ = ["sample_arguments"]

_STRINGS: Final = ("plain", "a b&c=d/é?#%41+;,:@'!", "0", 'x "y" {z} \\ <w> ü|~', "true")
_HEADERS: Final = ("plain", "a b&c=d/?#%41+;:@'!", "0", 'x "y" {z} \\ <w>|~', "true")
_INTEGERS: Final = (7, -1, 0, 2_147_483_648, 1)
_NUMBERS: Final = (1.5, -0.25, 3, 1_000_000.5, 0)
_JSON_TEXT: Final = '{"a":[1,"é"],"b":{"c":null}}'
_VARIANTS: Final = 5
_MAX_DEPTH: Final = 8
_MAX_MEMBERS: Final = 40


def sample_arguments(inputs: JsonObject, *, headers: Collection[str] = frozenset()) -> Iterator[JsonObject]:
    """Yield arguments for a tool with this input schema. Those in `headers` are ASCII text without control characters.

    The first object has the required arguments alone, the others have all.
    """
    properties: JsonObject = inputs.get("properties") or {}
    required: set[str] = set(inputs.get("required") or ())
    for variant in range(_VARIANTS):
        yield {
            name: _value(schema, inputs, variant, _HEADERS if name in headers else _STRINGS, 0)
            for name, schema in properties.items()
            if variant or name in required
        }


def _value(
    schema: Any, root: JsonObject, variant: int, strings: Sequence[str], depth: int, allowed: frozenset[str] = ALL_TYPES
) -> Any:
    """Return a value of one of the `allowed` types, which schemas around this one leave."""
    if not is_object(schema):
        return _pick(strings, variant)
    kinds = (types_of(schema, root) & allowed) - {"null"}
    if is_list(values := schema.get("enum")) and (named := [one for one in values if one is not None]):
        return _pick(named, variant)
    if "const" in schema:
        return schema["const"]
    if (target := _target(schema, root, kinds, variant)) is not None and depth < _MAX_DEPTH:
        found = _value(target, root, variant, strings, depth + 1, kinds)
        if not is_object(found) or "object" not in kinds:
            return found
        return {**found, **_object(schema, root, variant, depth)}
    return _typed(schema, root, variant, strings, depth, kinds)


def _target(schema: JsonObject, root: JsonObject, kinds: frozenset[str], variant: int) -> Any:
    """Return the schema that this one refers to, or one of its branches that has one of the types."""
    if isinstance(place := schema.get("$ref"), str):
        return at_pointer(root, place)
    for word in ("anyOf", "oneOf", "allOf"):
        branches = [one for one in schema.get(word) or () if types_of(one, root) & kinds]
        if branches:
            return _pick(branches, variant)
    return None


def _typed(
    schema: JsonObject, root: JsonObject, variant: int, strings: Sequence[str], depth: int, kinds: frozenset[str]
) -> Any:
    if "object" in kinds and (len(kinds) == 1 or "properties" in schema):
        return _object(schema, root, variant, depth)
    if kinds == frozenset({"array"}):
        items = schema.get("items", {})
        count = 1 + variant % 2 if depth < _MAX_DEPTH else 0
        return [_value(items, root, variant + one, strings, depth + 1) for one in range(count)]
    if "string" in kinds:
        text = str(schema.get("contentMediaType", ""))
        return _JSON_TEXT if text.partition(";")[0].endswith(("/json", "+json")) else _pick(strings, variant)
    if "number" in kinds:
        return _pick(_NUMBERS, variant)
    if "integer" in kinds:
        return _pick(_INTEGERS, variant)
    return variant % 2 == 0 if "boolean" in kinds else {}


def _object(schema: JsonObject, root: JsonObject, variant: int, depth: int) -> JsonObject:
    properties = schema.get("properties")
    members: JsonObject = properties if is_object(properties) else {}
    required = schema.get("required")
    needed = set(required) if is_list(required) else set[str]()
    least = schema.get("minProperties", 0)
    wanted = [
        name
        for number, name in enumerate(members)
        if name in needed or number < least or (variant and depth < _MAX_DEPTH // 2 and number < _MAX_MEMBERS)
    ]
    if depth >= _MAX_DEPTH:
        return {}
    return {name: _value(members[name], root, variant, _STRINGS, depth + 1) for name in wanted}


def _pick(values: Sequence[Any], variant: int) -> Any:
    return values[variant % len(values)]
