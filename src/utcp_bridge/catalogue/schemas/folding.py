"""Combinators at the root of a listed input schema as plain properties, for hosts that refuse them there. Pure.

`allOf` branches add their properties and what they require; `anyOf` and `oneOf` branches add their properties and
require only what every branch requires; `then`, `else` and `dependentSchemas` add optional properties.
The result accepts more than the original, with one exception: a property that only some branches describe is listed as
they describe it, because models need its type. The original still checks the call.
"""

from __future__ import annotations

from typing import Any, Final

from utcp_bridge.catalogue.schemas.accepted import REFERENCE, DefinitionSource, with_kinds, with_values
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["fold_root"]

_ROOT_ONLY_HERE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "enum", "const")
_MAX_FOLD_DEPTH: Final = 8
_MAX_FOLD_STEPS: Final = 500
_MAX_ALTERNATIVES: Final = 8
_BESIDE_VALUES: Final = frozenset({"const", "default", "description", "enum", "title", "type"})


def fold_root(schema: JsonObject, definitions: DefinitionSource) -> tuple[JsonObject, bool]:
    """Return the schema without combinators at its root, and whether it had any.

    `definitions` are the targets of its `#/$defs/` references.
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
    """Folds one schema. It counts steps, because branches that refer to branches multiply."""

    def __init__(self, definitions: DefinitionSource) -> None:
        self._definitions = definitions
        self._steps = 0

    def fold(self, schema: JsonObject, depth: int) -> tuple[JsonObject, list[str]]:
        """Return the properties of a schema and its branches, and the names that it always requires."""
        schema = self._target(schema)
        properties: JsonObject = dict(schema.get("properties", {}))
        required: list[str] = list(schema.get("required", []))
        self._steps += 1
        if depth >= _MAX_FOLD_DEPTH or self._steps > _MAX_FOLD_STEPS:
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
        target = self._definitions.get(ref.removeprefix(REFERENCE))
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
        rest = {key: value for key, value in first.items() if key not in {"const", "type"}}
        return with_kinds(*with_values({**rest, "enum": merged}, [first["type"]] if "type" in first else []))
    branches: list[Any] = list(first["anyOf"]) if set(first) == {"anyOf"} else [first]
    if second not in branches and len(branches) < _MAX_ALTERNATIVES:
        branches.append(second)
    return {"anyOf": branches}


def _values(schema: JsonObject) -> list[Any] | None:
    """Return the values that a property may have, if its schema says nothing else (usually a discriminator)."""
    if not schema.keys() <= _BESIDE_VALUES:
        return None
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if is_list(values) else None
