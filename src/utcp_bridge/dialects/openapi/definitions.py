"""The `$defs` of each tool: exactly the definitions that its schemas name, without endless recursion (pure).

Each definition is translated once per document and direction, and shared between tools.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson

from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.schemas import Direction, Key, Piece, SchemaTranslator
from utcp_bridge.dialects.openapi.shapes import Family, Faults, Located, is_array
from utcp_bridge.model import JsonObject, is_object

__all__ = ["Definitions"]

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_SUFFIX = re.compile(r"(?:\.[A-Za-z]{1,8})?#\Z")
"""The end of a pointer that names a whole file."""
_MAX_NAME = 40
_MAX_INLINED = 1_000
"""Bytes: a definition of at most this size that is named once is written in place of its reference."""
_MAX_COPIED = 500
"""Definitions of a tool in which others may be written in place: each tool then has a copy of them."""
_MAX_ATTACHED = 100_000
"""Definitions of all tools of a document together, and kilobytes of them. The Kubernetes API has about half of it."""
_PREFIX = "#/$defs/"
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated"})


@dataclass(frozen=True, slots=True)
class _Attached:
    """What a schema with certain references gets: definitions in place of them, and those in its `$defs`."""

    inlined: dict[str, Any]
    kept: dict[str, Any]


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
        self._attached = 0
        self._shared: dict[tuple[tuple[Key, int], ...], _Attached] = {}

    def translate(self, schema: Located) -> Piece:
        """Return one schema, translated. The caller attaches its `refs` to the schema that it becomes part of."""
        return self._translator.translate(schema)

    def is_larger(self, piece: Piece, most: int) -> bool:
        """Return whether the schema and everything it names have more bytes, before definitions are inlined."""
        size = len(orjson.dumps(piece.schema))
        reached = set(piece.refs)
        waiting = list(reached)
        while waiting and size <= most:
            key = waiting.pop()
            size += self._size(key)
            more = self._piece(key).refs.keys() - reached
            reached |= more
            waiting += more
        return size > most

    def attach(self, root: JsonObject, refs: Counter[Key]) -> JsonObject:
        """Return the schema with its `$defs`. Small definitions that are named once are written in place.

        Tools that name the same definitions share them.
        """
        if not refs:
            return root
        key = tuple(refs.items())
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = self._gathered(refs)
        if found.inlined:
            root = _inline(root, found.inlined)
        return {**root, "$defs": found.kept} if found.kept else root

    def _gathered(self, refs: Counter[Key]) -> _Attached:
        if self._attached > _MAX_ATTACHED:
            self._faults.add("#", "the operations name too many schemas", "Any value is accepted in the last of them.")
            return _Attached({self._name(self._places[key]): {} for key in refs}, {})
        closure = self._closure(refs)
        self._attached += len(closure) + sum(map(self._size, closure)) // 1_000
        uses = Counter(refs)
        for key in closure:
            uses.update(self._pieces[key].refs)
        small = closure if len(closure) <= _MAX_COPIED else ()
        inlined = {
            self._names[key]: self._pieces[key].schema
            for key in small
            if uses[key] == 1 and self._size(key) <= _MAX_INLINED
        }
        kept = {self._names[key]: self._pieces[key].schema for key in closure if self._names[key] not in inlined}
        if inlined:
            kept = {name: _inline(schema, inlined) for name, schema in kept.items()}
        return _Attached(inlined, kept)

    def _name(self, place: Located) -> str:
        key = (place.base, place.pointer)
        name = self._names.get(key)
        if name is None:
            last = _SUFFIX.sub("", place.pointer.rsplit("/", 1)[-1])
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
    """Return the schema with `inlined` definitions in place of the references to them. Parts without any are shared."""
    if is_object(schema):
        reference = schema.get("$ref")
        if isinstance(reference, str) and (name := reference.removeprefix(_PREFIX)) in inlined:
            return _beside(_inline(inlined[name], inlined), _siblings(schema, inlined))
        members = {key: _inline(value, inlined) for key, value in schema.items()}
        return members if any(members[key] is not value for key, value in schema.items()) else schema
    if is_array(schema):
        items = [_inline(item, inlined) for item in schema]
        return items if any(new is not old for new, old in zip(items, schema, strict=True)) else schema
    return schema


def _siblings(schema: JsonObject, inlined: dict[str, Any]) -> JsonObject:
    return {key: _inline(value, inlined) for key, value in schema.items() if key != "$ref"}


def _beside(target: Any, siblings: JsonObject) -> Any:
    if not siblings:
        return target
    if siblings.keys() <= _ANNOTATIONS and is_object(target):
        return {**target, **siblings}
    return {**siblings, "allOf": [*siblings.get("allOf", []), target]}
