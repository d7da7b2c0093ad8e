"""Folds combinators at a schema's root into plain properties, for hosts that refuse them there.

`allOf` branches add their properties and what they require; `anyOf` and `oneOf` branches add their properties and
require only what every branch requires; `then`, `else` and `dependentSchemas` add optional properties. The
result accepts more than the original, which the call is still checked against.
"""

from __future__ import annotations

from typing import Any, Final

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["fold_root"]

_ROOT_ONLY_HERE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "enum", "const")
_DEEPEST: Final = 8
_MOST_STEPS: Final = 500
_MOST_ALTERNATIVES: Final = 8
_BESIDE_VALUES: Final = frozenset({"const", "default", "description", "enum", "title", "type"})


def fold_root(schema: JsonObject, definitions: JsonObject) -> tuple[JsonObject, bool]:
    """The schema without combinators at its root, and whether there were any.

    `definitions` are what its `#/$defs/` references lead to.
    """
    if not any(key in schema for key in _ROOT_ONLY_HERE):
        return schema, False
    properties, required = _Folding(definitions).fold(schema, 0)
    plain = {key: value for key, value in schema.items() if key not in _ROOT_ONLY_HERE}
    plain["properties"] = properties
    plain.pop("required", None)
    if wanted := [name for name in dict.fromkeys(required) if name in properties]:
        plain["required"] = wanted
    return plain, True


class _Folding:
    """One folding; counts its steps, for branches that refer to branches multiply."""

    def __init__(self, definitions: JsonObject) -> None:
        self._definitions = definitions
        self._steps = 0

    def fold(self, schema: JsonObject, depth: int) -> tuple[JsonObject, list[str]]:
        """The properties that a schema and its branches name, and those that it always requires."""
        schema = self._target(schema)
        properties: JsonObject = dict(schema.get("properties", {}))
        required: list[str] = list(schema.get("required", []))
        self._steps += 1
        if depth >= _DEEPEST or self._steps > _MOST_STEPS:
            return properties, required
        for branch in schema.get("allOf", []):
            more, needed = self.fold(branch, depth + 1)
            _merge(properties, more)
            required += needed
        for key in ("anyOf", "oneOf"):
            folded = [self.fold(branch, depth + 1) for branch in schema.get(key, [])]
            for more, _ in folded:
                _merge(properties, more)
            required += [name for name in (folded[0][1] if folded else []) if all(name in each for _, each in folded)]
        for branch in _optional_branches(schema):
            _merge(properties, self.fold(branch, depth + 1)[0])
        return properties, required

    def _target(self, schema: JsonObject) -> JsonObject:
        ref = schema.get("$ref")
        if not isinstance(ref, str):
            return schema
        target = self._definitions.get(ref.removeprefix("#/$defs/"))
        return {**target, **schema} if is_object(target) else schema


def _optional_branches(schema: JsonObject) -> list[JsonObject]:
    branches = [schema[key] for key in ("then", "else") if key in schema]
    return [*branches, *schema.get("dependentSchemas", {}).values()]


def _merge(properties: JsonObject, more: JsonObject) -> None:
    for name, sub in more.items():
        old = properties.get(name)
        properties[name] = sub if not old else old if not sub or old == sub else _either(old, sub)


def _either(first: JsonObject, second: JsonObject) -> JsonObject:
    values, others = _values(first), _values(second)
    if values is not None and others is not None and first.get("type") == second.get("type"):
        merged = [*values, *(value for value in others if value not in values)]
        return {**{key: value for key, value in first.items() if key != "const"}, "enum": merged}
    branches: list[Any] = list(first["anyOf"]) if set(first) == {"anyOf"} else [first]
    if second not in branches and len(branches) < _MOST_ALTERNATIVES:
        branches.append(second)
    return {"anyOf": branches}


def _values(schema: JsonObject) -> list[Any] | None:
    """The values a property may have, if that is all its schema says (a discriminator, mostly)."""
    if not schema.keys() <= _BESIDE_VALUES:
        return None
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if is_list(values) else None
