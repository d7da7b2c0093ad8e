"""The `$defs` of each tool: exactly the definitions that its schemas name, without endless recursion (pure).

Each definition is translated once per document and direction, and shared between tools.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

import orjson

from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.schemas import Direction, Key, Piece, SchemaTranslator
from utcp_bridge.dialects.openapi.shapes import Family, Faults, Located, is_array
from utcp_bridge.model import JsonObject, is_object

__all__ = ["Definitions"]

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_NAME = 40
_MAX_INLINED = 1_000
"""Bytes: a definition of at most this size that is named once is written in place of its reference."""
_PREFIX = "#/$defs/"
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated"})


class Definitions:
    """The definitions of one document, translated in one direction."""

    def __init__(self, references: References, family: Family, direction: Direction, faults: Faults) -> None:
        self._translator = SchemaTranslator(references, family, direction, self._name, faults)
        self._faults = faults
        self._names: dict[Key, str] = {}
        self._taken: set[str] = set()
        self._places: dict[Key, Located] = {}
        self._pieces: dict[Key, Piece] = {}
        self._sizes: dict[Key, int] = {}
        self._sound: set[Key] = set()

    def translate(self, schema: Located) -> Piece:
        """Return one schema, translated. The caller attaches its `refs` to the schema that it becomes part of."""
        return self._translator.translate(schema)

    def size(self, piece: Piece) -> int:
        """Return the size in bytes of the schema and everything it names, before definitions are inlined."""
        return len(orjson.dumps(piece.schema)) + sum(map(self._size, self._closure(piece.refs)))

    def attach(self, root: JsonObject, refs: Counter[Key]) -> JsonObject:
        """Return the schema with its `$defs`. Small definitions that are named once are written in place."""
        if not refs:
            return root
        closure = self._closure(refs)
        uses = Counter(refs)
        for key in closure:
            uses.update(self._pieces[key].refs)
        inlined = {
            self._names[key]: self._pieces[key].schema
            for key in closure
            if uses[key] == 1 and self._size(key) <= _MAX_INLINED
        }
        kept = {self._names[key]: self._pieces[key].schema for key in closure if self._names[key] not in inlined}
        if inlined:
            root = _inline(root, inlined)
            kept = {name: _inline(schema, inlined) for name, schema in kept.items()}
        return {**root, "$defs": kept} if kept else root

    def _name(self, place: Located) -> str:
        key = (place.base, place.pointer)
        name = self._names.get(key)
        if name is None:
            last = place.pointer.rsplit("/", 1)[-1]
            name = _UNSAFE.sub("_", last).strip("_")[:_MAX_NAME] or "schema"
            if name in self._taken:
                digest = hashlib.sha256(f"{place.base}{place.pointer}".encode("utf-8", "replace")).hexdigest()
                name = f"{name}_{digest[:6]}"
            self._taken.add(name)
            self._names[key] = name
            self._places[key] = place
        return name

    def _piece(self, key: Key) -> Piece:
        if key not in self._pieces:
            self._pieces[key] = self._translator.translate(self._places[key])
        return self._pieces[key]

    def _size(self, key: Key) -> int:
        if key not in self._sizes:
            self._sizes[key] = len(orjson.dumps(self._piece(key).schema))
        return self._sizes[key]

    def _closure(self, refs: Counter[Key]) -> dict[Key, None]:
        """Return every definition that is reached, in the order of discovery, and cut endless recursion."""
        reached: dict[Key, None] = dict.fromkeys(refs)
        waiting = list(reached)
        while waiting:
            for key in self._piece(waiting.pop()).refs:
                if key not in reached:
                    reached[key] = None
                    waiting.append(key)
        for key in list(reached):
            if key not in self._sound:
                self._cut_circles(key)
        return reached

    def _cut_circles(self, start: Key) -> None:
        """Follow in-place references depth first and remove each that leads back to an open definition."""
        path: list[tuple[Key, list[Key]]] = [(start, list(self._piece(start).in_place))]
        open_keys = {start}
        while path:
            key, following = path[-1]
            if not following:
                path.pop()
                open_keys.discard(key)
                self._sound.add(key)
                continue
            target = following.pop()
            if target in open_keys:
                self._cut(key, target)
            elif target not in self._sound:
                open_keys.add(target)
                path.append((target, list(self._piece(target).in_place)))

    def _cut(self, key: Key, target: Key) -> None:
        self._faults.add(key[1], "the schema contains itself endlessly", "Any value is accepted there.")
        piece = self._pieces[key]
        refs = Counter({other: uses for other, uses in piece.refs.items() if other != target})
        schema = _inline(piece.schema, {self._names[target]: {}})
        self._pieces[key] = Piece(schema, refs, piece.in_place - {target})
        self._sizes.pop(key, None)


def _inline(schema: Any, inlined: dict[str, Any]) -> Any:
    """Return a copy in which the `inlined` definitions replace the references to them."""
    if is_object(schema):
        reference = schema.get("$ref")
        if isinstance(reference, str) and (name := reference.removeprefix(_PREFIX)) in inlined:
            return _beside(_inline(inlined[name], inlined), _siblings(schema, inlined))
        return {key: _inline(value, inlined) for key, value in schema.items()}
    if is_array(schema):
        return [_inline(item, inlined) for item in schema]
    return schema


def _siblings(schema: JsonObject, inlined: dict[str, Any]) -> JsonObject:
    return {key: _inline(value, inlined) for key, value in schema.items() if key != "$ref"}


def _beside(target: Any, siblings: JsonObject) -> Any:
    if not siblings:
        return target
    if siblings.keys() <= _ANNOTATIONS and is_object(target):
        return {**target, **siblings}
    return {**siblings, "allOf": [*siblings.get("allOf", []), target]}
