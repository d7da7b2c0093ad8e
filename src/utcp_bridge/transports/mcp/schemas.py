"""Schemas as MCP servers write them, mended where JSON Schema would refuse them (pure).

A schema with nothing wrong is returned as the same object. All mistakes of one schema are one fault of its tool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from utcp_bridge.dialects.fields import sort_of, word
from utcp_bridge.model import Faults, JsonObject, is_list, is_object

__all__ = ["usable_schema"]

_MAX_DEPTH: Final = 64
_MAX_NODES: Final = 20_000
_MAX_TOLD: Final = 3
_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "int": "integer", "long": "integer", "float": "number", "double": "number", "str": "string", "text": "string",
    "bool": "boolean", "dict": "object", "map": "object", "list": "array", "tuple": "array", "none": "null",
    "nonetype": "null",
}  # fmt: skip


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and (isinstance(value, int) or value.is_integer())


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


_FORMS: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("$ref", "$id", "$schema", "$anchor", "$comment", "title", "description", "format"), _is_text),
    "pattern": _is_text,
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), _is_number),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), lambda value: _is_number(value) or _is_flag(value)),
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains"), _is_count
    ),
    **dict.fromkeys(("uniqueItems", "readOnly", "writeOnly", "deprecated"), _is_flag),
    "enum": is_list,
}
"""Keywords with a plain value, and the check of its form."""
_NESTED: Final = frozenset({
    "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then", "unevaluatedItems",
    "unevaluatedProperties",
})  # fmt: skip
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})


def usable_schema(raw: Any, here: str, faults: Faults, *, is_output: bool = False) -> JsonObject:
    """Return the schema of a tool's arguments, or with `is_output` of its result; `here` names the tool in faults.

    Arguments are an object, so a root of another type becomes one. A schema that is not an object accepts anything.
    """
    if raw is None:
        return {"type": "object", "properties": {}}
    if not is_object(raw):
        if raw is not True:
            what = (
                f"its input schema is {sort_of(raw)}, not an object, and is ignored; it is called with any arguments."
            )
            faults.warn(here, what)
        return {"type": "object"}
    mender = _Mender()
    schema: JsonObject = mender.mended(raw, "", 0)
    if not is_output:
        schema = _with_object_root(schema, mender.told)
    if mender.told:
        more = f" and {len(mender.told) - _MAX_TOLD} more" if len(mender.told) > _MAX_TOLD else ""
        noun = "output" if is_output else "input"
        what = f"its {noun} schema is not valid and was mended: {'; '.join(mender.told[:_MAX_TOLD])}{more}."
        faults.warn(here, what)
    return schema


def _with_object_root(schema: JsonObject, told: list[str]) -> JsonObject:
    kind = schema.get("type")
    if kind == "object":
        return schema
    if kind is not None and not (is_list(kind) and "object" in kind):
        told.append(f"its root has the type {word(kind)!r} instead of 'object'")
        return {"type": "object"}
    return {**schema, "type": "object"}


class _Mender:
    """Walks one schema. `told` says what was mended."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._nodes = 0

    def mended(self, schema: Any, path: str, depth: int) -> Any:
        """Return the schema; the same object if nothing is wrong, `{}` for what is not a schema."""
        self._nodes += 1
        if isinstance(schema, bool) or depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            return schema
        if not is_object(schema):
            return self._made_of(schema, path)
        changed: JsonObject = {}
        dropped: list[str] = []
        for key, value in schema.items():
            made = self._value(key, value, f"{path}.{word(key)}".lstrip("."), depth)
            if made is _DROPPED:
                dropped.append(key)
            elif made is not value:
                changed[key] = made
        if not changed and not dropped:
            return schema
        return {key: changed.get(key, value) for key, value in schema.items() if key not in dropped}

    def _made_of(self, value: Any, path: str) -> JsonObject:
        """Return the schema that a value of another sort stands for: the name of a type, or anything."""
        kind = _type_of(value)
        self.told.append(f"`{path}` is {sort_of(value)}, not a schema")
        return {"type": kind} if kind else {}

    def _value(self, key: str, value: Any, path: str, depth: int) -> Any:
        """Return the value of a keyword, mended; `_DROPPED` if it has no use."""
        if key in _MAPS:
            return self._map(key, value, path, depth)
        if key in _LISTS or (key == "items" and is_list(value)):
            return self._list(value, path, depth)
        if key in _NESTED:
            return _DROPPED if value is None else self.mended(value, path, depth + 1)
        return self._plain(key, value, path)

    def _plain(self, key: str, value: Any, path: str) -> Any:
        if key == "type":
            return self._type(value, path)
        if key == "required":
            return self._required(value, path)
        form = _FORMS.get(key)
        if form is None or form(value):
            return value
        return self._drop(value, path)

    def _drop(self, value: Any, path: str) -> Any:
        if value is not None:  # many libraries write null for an absent keyword
            self.told.append(f"`{path}` is {sort_of(value)} and is ignored")
        return _DROPPED

    def _map(self, key: str, value: Any, path: str, depth: int) -> Any:
        if not is_object(value):
            return self._drop(value, path)
        made: JsonObject = {}
        for name, one in value.items():
            if key == "properties" and name == "required" and is_list(one):
                self.told.append(f"`{path}` has `required`, which belongs beside it")
                continue
            made[name] = self.mended(one, f"{path}.{word(name)}", depth + 1)
        return value if len(made) == len(value) and all(made[name] is value[name] for name in value) else made

    def _list(self, value: Any, path: str, depth: int) -> Any:
        if not is_list(value):
            return self._drop(value, path)
        made = [self.mended(one, f"{path}.{number}", depth + 1) for number, one in enumerate(value)]
        if not made:
            return _DROPPED
        return value if all(one is other for one, other in zip(made, value, strict=True)) else made

    def _type(self, value: Any, path: str) -> Any:
        if isinstance(value, str) and value in _TYPES:
            return value
        if is_list(value):
            kinds = list(dict.fromkeys(kind for one in value if (kind := _type_of(one))))
            if kinds == value and kinds:
                return value
            self.told.append(f"`{path}` has a type that JSON Schema does not know")
            return kinds or _DROPPED
        kind = _type_of(value)
        if value is not None:
            self.told.append(
                f"`{path}` is {word(value)!r}" + (f" and is read as {kind!r}" if kind else " and is ignored")
            )
        return kind or _DROPPED

    def _required(self, value: Any, path: str) -> Any:
        if not is_list(value):
            return self._drop(value, path)
        names = list(dict.fromkeys(one for one in value if isinstance(one, str)))
        if len(names) == len(value):
            return value
        self.told.append(f"`{path}` has entries that are not names, or one of them twice")
        return names


_DROPPED: Final[Any] = object()


def _type_of(value: Any) -> str | None:
    """Return the JSON Schema type that a text names; None for any other value."""
    if not isinstance(value, str):
        return None
    name = value.strip().lower()
    return name if name in _TYPES else _OTHER_NAMES.get(name)
