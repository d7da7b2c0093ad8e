"""The two forms in which a stranger's schema is compiled: whole, or reduced.

Both contain keywords from a list only, each with a known cost (`schema_cost.py`). What is not on the list is not
compiled. References of every kind (`#name`, the schema's own `$id`, `$dynamicRef`, `$recursiveRef`) become pointers
into the `$defs` of the form, so what is compiled is exactly what was counted. The reduced form states only types,
required names, values and bounds of the upper levels. It accepts everything that the schema accepts. Pure.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final
from urllib.parse import unquote, urljoin

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["DEFINITIONS", "LISTS", "MAPS", "NESTED", "TooDearError", "outline", "reduced_form", "whole_form"]

DEFINITIONS: Final = "#/$defs/"
NESTED: Final = frozenset({
    "additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
"""Keywords with one schema."""
LISTS: Final = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
MAPS: Final = frozenset({"dependencies", "dependentSchemas", "patternProperties", "properties"})
_VALUES: Final = frozenset({
    "const", "contentEncoding", "contentMediaType", "dependentRequired", "enum", "exclusiveMaximum", "exclusiveMinimum",
    "format", "maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains", "minItems",
    "minLength", "minProperties", "minimum", "multipleOf", "pattern", "required", "type", "uniqueItems",
})  # fmt: skip
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_KEPT: Final = frozenset({"$schema", *_VALUES, *NESTED, *LISTS, *MAPS, *_REFERENCES})
_MAX_NODES: Final = 20_000
"""Sub-schemas and values of one form. The largest tool of 64 published OpenAPI documents has a few thousand."""
_MAX_DEPTH: Final = 64
"""Levels of nesting within one definition."""
_VALUES_PER_NODE: Final = 4
_CHARACTERS_PER_NODE: Final = 64
_MAX_REDUCED_VALUES: Final = 1_000
_MAX_REDUCED_PARTS: Final = 8
_MAX_REDUCED_DEPTH: Final = 30
_MAX_REFERENCES: Final = 32
_MAX_WAITING: Final = 5_000
_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_COUNTS: Final = ("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties")
_NUMBERS: Final = ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum")
_WORDS: Final = ("contentEncoding", "contentMediaType", "format")
_OLD_DRAFTS: Final = ("draft-03", "draft-04", "draft-06", "draft-07")
_MAX_COUNT: Final = 2**53
_MAX_SHOWN: Final = 200


class TooDearError(Exception):
    """A schema has a part whose cost is not known or not bounded. The message says which, in words."""


def whole_form(schema: JsonObject) -> JsonObject:
    """Return the schema with the listed keywords alone, and with pointers as its only references.

    :raises TooDearError: it is too large or too deep, has identifiers of its own inside, or a reference has no target.
    """
    return _Copying(schema).run()


class _References:
    """Finds the targets of the references within one schema."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        identifier = root.get("$id", root.get("id"))
        self._base = identifier.partition("#")[0] if isinstance(identifier, str) else ""
        self._anchors: dict[str, Any] | None = None

    def target(self, reference: Any) -> Any:
        """Return the schema that a reference leads to.

        :raises TooDearError: it leads out of this schema or nowhere.
        """
        if not isinstance(reference, str):
            raise TooDearError("a reference that is not text")
        place, _, fragment = reference.partition("#")
        if place and not self._is_own(place):
            raise TooDearError(f"a reference to another document, {reference[:_MAX_SHOWN]!r}")
        if not fragment:
            return self._root
        if not fragment.startswith("/"):
            return self._anchored(unquote(fragment))
        return self._pointed(unquote(fragment))

    def _is_own(self, place: str) -> bool:
        try:
            return bool(self._base) and urljoin(self._base, place) == self._base
        except ValueError:
            return False

    def _pointed(self, pointer: str) -> Any:
        here: Any = self._root
        for written in pointer[1:].split("/"):
            step = written.replace("~1", "/").replace("~0", "~")
            if is_object(here) and step in here:
                here = here[step]
            elif is_list(here) and step.isascii() and step.isdecimal() and len(step) < 9 and int(step) < len(here):
                here = here[int(step)]
            else:
                raise TooDearError(f"a reference without a target, '#{pointer[:_MAX_SHOWN]}'")
            refuse_identifier(here)
        return here

    def _anchored(self, name: str) -> Any:
        if self._anchors is None:
            self._anchors = self._all_anchors()
        if name not in self._anchors:
            raise TooDearError(f"a reference without a target, '#{name[:_MAX_SHOWN]}'")
        return self._anchors[name]

    def _all_anchors(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        pending: list[Any] = [self._root]
        for _ in range(_MAX_NODES):
            if not pending:
                return found
            value = pending.pop()
            if is_object(value):
                if value is not self._root:
                    refuse_identifier(value)
                for name in _anchor_names(value):
                    if name in found and found[name] is not value:
                        raise TooDearError("two parts with one anchor")
                    found[name] = value
                pending.extend(value.values())
            elif is_list(value):
                pending.extend(value)
        raise TooDearError("its size")


def _anchor_names(schema: JsonObject) -> set[str]:
    names = {name for key in ("$anchor", "$dynamicAnchor") if isinstance(name := schema.get(key), str)}
    return names | {name[1:] for key in ("$id", "id") if isinstance(name := schema.get(key), str) and name[:1] == "#"}


def refuse_identifier(schema: Any) -> None:
    """Refuse a part that is a schema of its own: references inside it start elsewhere.

    :raises TooDearError: it has such an identifier.
    """
    identifier = schema.get("$id") if is_object(schema) else None
    if isinstance(identifier, str) and not identifier.startswith("#"):
        raise TooDearError("a part with an identifier of its own")


class _Copying:
    """Makes the whole form of one schema. It counts what it copies."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._references = _References(root)
        named = root.get("$schema")
        dialect = named if isinstance(named, str) else ""
        self._ignored = {
            "$recursiveRef": "2019-09" not in dialect,
            "$dynamicRef": "2020-12" not in dialect and "draft" in dialect,
        }
        self._left = _MAX_NODES
        self._names: dict[int, str] = {}
        self._pending: list[tuple[str, Any]] = []

    def run(self) -> JsonObject:
        form: JsonObject = self._node(self._root, 0)
        definitions: JsonObject = {}
        while self._pending:
            name, target = self._pending.pop()
            definitions[name] = self._node(target, 1)
        if definitions:
            form["$defs"] = definitions
        return form

    def _node(self, schema: Any, depth: int) -> Any:
        self._spend(1)
        if depth > _MAX_DEPTH:
            raise TooDearError("its depth")
        if not is_object(schema):
            return self._data(schema)
        if schema is not self._root:
            refuse_identifier(schema)
        new: JsonObject = {}
        targets: list[str] = []
        for key in schema.keys() & _KEPT if len(schema) > len(_KEPT) else schema:
            if key in _VALUES or (key == "$schema" and depth == 0):
                new[key] = self._data(schema[key])
            elif key in _REFERENCES:
                if self._ignored.get(key):
                    continue
                targets.append(self._name(schema[key]))
            elif key in _KEPT and key != "$schema":
                new[key] = self._nested(key, schema[key], depth + 1)
        return _with_references(new, targets)

    def _nested(self, key: str, value: Any, depth: int) -> Any:
        if is_list(value) and key in LISTS:
            return [self._node(one, depth) for one in value]
        if is_object(value) and key in MAPS:
            for name in value:
                self._spend(len(name) // _CHARACTERS_PER_NODE)
            return {name: self._node(one, depth) for name, one in value.items()}
        return self._node(value, depth) if key in NESTED else self._data(value)

    def _name(self, reference: Any) -> str:
        target = self._references.target(reference)
        if target is self._root:
            return "#"
        key = id(target)
        if isinstance(target, bool):
            key = -1 - target
        if key not in self._names:
            self._names[key] = f"{DEFINITIONS}d{len(self._names)}"
            self._pending.append((self._names[key].removeprefix(DEFINITIONS), target))
        return self._names[key]

    def _data(self, value: Any) -> Any:
        """Return a value of a keyword, counted."""
        pending = [value]
        seen = 0
        while pending:
            one = pending.pop()
            seen += 1
            if is_object(one):
                pending.extend(one.values())
                seen += sum(map(len, one)) // _CHARACTERS_PER_NODE
            elif is_list(one):
                pending.extend(one)
            elif isinstance(one, str):
                seen += len(one) // _CHARACTERS_PER_NODE
            if seen > _MAX_NODES * _VALUES_PER_NODE:
                raise TooDearError("its size")
        self._spend(seen // _VALUES_PER_NODE)
        return value

    def _spend(self, nodes: int) -> None:
        self._left -= nodes
        if self._left < 0:
            raise TooDearError("its size")


def _with_references(schema: JsonObject, targets: list[str]) -> JsonObject:
    if not targets:
        return schema
    new = {**schema, "$ref": targets[0]}
    if len(targets) > 1:
        others = new.get("allOf", [])
        new["allOf"] = [*(others if is_list(others) else ()), *({"$ref": target} for target in targets[1:])]
    return new


# --- the reduced form


def reduced_form(schema: JsonObject, most: int) -> JsonObject:
    """Return what `most` sub-schemas from the root on state about types, required names, values and bounds.

    It is always valid, has no references, and accepts every value that the schema accepts.
    """
    references = _References(schema)
    is_old = isinstance(dialect := schema.get("$schema"), str) and any(draft in dialect for draft in _OLD_DRAFTS)
    root: JsonObject = {}
    waiting: deque[tuple[Any, JsonObject, int]] = deque([(schema, root, 0)])
    for _ in range(most):
        if not waiting or len(waiting) > _MAX_WAITING:
            break
        source, new, depth = waiting.popleft()
        sources = _together(source, references, is_old=is_old) if depth < _MAX_REDUCED_DEPTH else []
        parts: list[JsonObject] = [new] if len(sources) == 1 else [{} for _ in sources]
        if len(parts) > 1:
            new["allOf"] = parts
        for one, part in zip(sources, parts, strict=True):
            waiting.extend((inner, empty, depth + 1) for inner, empty in _reduce(one, part))
    return root


def outline(schema: JsonObject, most: int) -> JsonObject:
    """Return a reduced form with at most `most` sub-schemas altogether."""
    for expanded in (most // 10, 8, 3, 1):
        form = reduced_form(schema, expanded)
        if _has_at_most(form, most):
            return form
    return {"type": "object"}


def _has_at_most(form: JsonObject, most: int) -> bool:
    pending: list[Any] = [form]
    for _ in range(most):
        if not pending:
            return True
        one = pending.pop()
        inner: Any = one.values() if is_object(one) else one
        pending.extend(part for part in inner if is_object(part) or is_list(part))
    return False


def _together(source: Any, references: _References, *, is_old: bool) -> list[JsonObject]:
    """Return the sub-schemas that all apply to one value: the first few of those that `allOf` and `$ref` lead to."""
    found: list[JsonObject] = []
    pending = deque([source])
    for _ in range(_MAX_REFERENCES):
        if not pending or len(found) >= _MAX_REDUCED_PARTS:
            break
        one = pending.popleft()
        if not is_object(one) or any(one is other for other in found):
            continue
        reference = one.get("$ref")
        if reference is None or not is_old:
            found.append(one)
            pending.extend(branches if is_list(branches := one.get("allOf")) else ())
        if reference is not None:
            try:
                pending.append(references.target(reference))
            except TooDearError:
                continue
    return found


def _reduce(schema: JsonObject, new: JsonObject) -> list[tuple[Any, JsonObject]]:
    """Fill `new` with what is cheap, and return the parts of it that are still empty, with their sources."""
    new.update(_plain(schema))
    empty: list[tuple[Any, JsonObject]] = []
    properties = schema.get("properties")
    if is_object(properties):
        first = list(properties.items())[:_MAX_REDUCED_VALUES]
        made: dict[str, JsonObject] = {name: {} for name, _ in first}
        empty += [(sub, made[name]) for name, sub in first if is_object(sub)]
        new["properties"] = made
    elif properties is not None:
        return empty
    others = schema.get("additionalProperties")
    is_complete = not is_object(properties) or len(properties) == len(new["properties"])
    if "patternProperties" not in schema and is_complete:
        if others is False:
            new["additionalProperties"] = False
        elif is_object(others):
            empty.append((others, new.setdefault("additionalProperties", {})))
    if is_object(items := schema.get("items")) and "prefixItems" not in schema:
        empty.append((items, new.setdefault("items", {})))
    return empty


def _plain(schema: JsonObject) -> JsonObject:
    """Return the keywords of a sub-schema that cost one step, with sound values."""
    new: JsonObject = {}
    kinds = schema.get("type")
    if isinstance(kinds, str) and kinds in _TYPES:
        new["type"] = kinds
    elif is_list(kinds) and kinds and all(isinstance(kind, str) and kind in _TYPES for kind in kinds):
        new["type"] = list(dict.fromkeys(kinds))
    names = schema.get("required")
    if is_list(names) and len(names) <= _MAX_REDUCED_VALUES:
        new["required"] = list(dict.fromkeys(name for name in names if isinstance(name, str)))
    values = schema.get("enum")
    if is_list(values) and 0 < len(values) <= _MAX_REDUCED_VALUES and all(map(_is_scalar, values)):
        new["enum"] = values
    if "const" in schema and _is_scalar(schema["const"]):
        new["const"] = schema["const"]
    for key in _COUNTS:
        if isinstance(count := schema.get(key), int) and not isinstance(count, bool) and 0 <= count < _MAX_COUNT:
            new[key] = count
    for key in _NUMBERS:
        if isinstance(bound := schema.get(key), int | float) and not isinstance(bound, bool) and _is_scalar(bound):
            new[key] = bound
    new.update({key: word for key in _WORDS if isinstance(word := schema.get(key), str)})
    return new


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or (isinstance(value, str) and len(value) <= _MAX_REDUCED_VALUES)
