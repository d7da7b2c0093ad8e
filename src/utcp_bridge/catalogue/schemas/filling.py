"""Write a schema into a number of bytes: what a model needs most goes in first, until the bytes are used up.

A queue decides what is next. Required parts come before optional ones, upper levels before deeper ones, described
properties before others, and a definition comes at its first use. A part goes in with its type and the types of its
members; long descriptions and long enumerations follow a few levels later, titles and examples last. So the work
depends on the bytes, not on the size of the schema. A part without room keeps its type.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

from utcp_bridge.catalogue.schemas.accepted import (
    NOTHING,
    OTHERS,
    Outlines,
    StatedTypes,
    joined,
    short_values,
    typed_by_content,
    with_kinds,
    with_required,
    without_loops,
)
from utcp_bridge.catalogue.schemas.keywords import CONDITIONS, NESTED, NESTED_LISTS, NESTED_MAPS, TYPES
from utcp_bridge.catalogue.schemas.size import definition_of, json_size, only_used
from utcp_bridge.catalogue.text import shorten
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["LaterSchema", "PreparedSchema", "SchemaSource", "filled", "stated_type"]

_Place: TypeAlias = tuple[str, str | int | None]
"""The keyword, and the name or number under it."""
_Outline: TypeAlias = tuple[JsonObject, int]
"""The types of a part, and their bytes."""
Filled: TypeAlias = Generator[None, None, tuple[JsonObject, list[str]]]
_SHORT_TEXT: Final = 120
_LEAST_TEXT: Final = 40
_LEAST_ROOM: Final = 12
_REMAINDER: Final = 64
"""With less room than one part of this many, nothing more is tried."""
_LONG_ENUM: Final = 30
_STEP: Final = 24
_ROUNDS: Final = 5
_ENOUGH: Final = 0.85
"""The part of the bytes that is used before another round is worth its time."""
_ENDS_AT: Final = 0.985
"""The part of the bytes that the first round may count on: joining and typing what went in adds a few bytes, and a
round that ends above the bytes is lost."""
_OUTPUT_SHARE: Final = 0.75
"""Output schemas are a third of a large list already: of one that is cut, the upper levels are enough."""
_REQUIRED: Final = 2
_DESCRIBED: Final = 3
_BARE: Final = 4
_SAME_VALUE: Final = 1
"""What a part costs in the queue beyond its owner."""
_WORDS: Final = 5
_LAST: Final = 1_000
_REST: Final = frozenset({"$anchor", "examples", "title"})
_UNSAID: Final = frozenset({"deprecated", "description", "readOnly", "writeOnly"}) | _REST
"""What an output schema can lose first."""
_EMPTY: Final[JsonObject] = {"type": "object", "properties": {}}
_PLACES: Final = frozenset({"additionalProperties", "items", "prefixItems", "properties"})
_BRANCHES: Final = frozenset({"$ref", "allOf", "anyOf"})
_VALUES: Final = frozenset({"const", "enum"})
_SETTLED: Final = OTHERS | {"allOf", "anyOf"}


class LaterSchema(dict[str, Any]):
    """A sub-schema that is ported when there is room for it. Two of them are equal if they are of one object."""

    __slots__ = ("depth", "raw")

    def __init__(self, raw: JsonObject, depth: int) -> None:
        super().__init__({"$later": id(raw)})
        self.raw = raw
        self.depth = depth


class PreparedSchema:
    """What is known of one ported sub-schema: its keywords in three lengths, and its members.

    `short` has no long texts, `words` no titles and examples. Each comes with its number of bytes. `leaves` are the
    members without parts of their own: `room` is what they take in their short form, `losses` what they lose in it.
    `inner` are the other members, and `inner_room` is what they take besides their types. `structure` is what is within
    the schema, with the leaves in their short form and without the others.
    """

    __slots__ = (
        "definition", "inner", "inner_room", "is_longer", "leaves", "losses", "lost", "members", "room", "schema",
        "short", "sizes", "structure", "whole", "words",
    )  # fmt: skip

    def __init__(
        self, schema: JsonObject, lengths: tuple[JsonObject, JsonObject, JsonObject], sizes: tuple[int, int, int]
    ) -> None:
        self.schema = schema
        self.short, self.words, self.whole = lengths
        self.sizes = sizes
        self.is_longer = self.short is not self.whole
        self.lost: Sequence[str] = tuple(dict.fromkeys(_lost(self.whole, self.short))) if self.is_longer else ()
        self.definition: str | None = None
        self.members: Sequence[_Member] = ()
        self.leaves: Mapping[_Place, PreparedSchema] = _NO_LEAVES
        self.losses: Sequence[tuple[_Place, Sequence[str]]] = ()
        self.structure: Mapping[str, Any] = _NO_LEAVES
        self.inner: Sequence[_Member] = ()
        self.inner_room = 0
        self.room = 0


_NO_LEAVES: Final[Mapping[Any, Any]] = MappingProxyType({})
"""Most sub-schemas are leaves: empty containers of their own would be most of the objects of a large list."""


class _Member:
    """A schema within another. `leaf` is set if it has none within itself. `outline` is None if references matter."""

    __slots__ = ("definition", "is_condition", "key", "leaf", "name", "outline", "place", "rank", "room", "schema")

    def __init__(
        self,
        place: _Place,
        schema: JsonObject,
        rank: int,
        room: int,
        leaf: PreparedSchema | None,
        outline: _Outline | None,
    ) -> None:
        self.place = place
        self.key, self.name = place
        self.schema = schema
        self.rank = rank
        self.room = room
        self.leaf = leaf
        self.outline = outline
        self.is_condition = self.key in CONDITIONS
        self.definition = definition_of(schema) if outline is None else None


class SchemaSource(StatedTypes, Protocol):
    """Where the parts of one schema come from."""

    @property
    def prepared(self) -> dict[tuple[int, bool], PreparedSchema]:
        """What is known of ported sub-schemas, by identity, and whether they belong to an output."""
        ...

    def opened(self, later: LaterSchema) -> JsonObject:
        """Return a part, ported."""
        ...


class _PartNode:
    """A part of the result. Until it is open, `kept` has its types alone."""

    __slots__ = ("is_whole", "kept", "members", "prepared", "rank", "size", "source")

    def __init__(self, source: JsonObject, outline: JsonObject, size: int, rank: int) -> None:
        self.source = source
        self.kept = outline
        self.size = size
        self.rank = rank
        self.prepared: PreparedSchema | None = None
        self.is_whole = False
        self.members: dict[_Place, _PartNode] = {}


def filled(root: JsonObject, source: SchemaSource, max_bytes: int, *, is_output: bool = False) -> Filled:
    """Return a ported schema in at most `max_bytes` of compact JSON, and a list of what was omitted, in words.

    It is a generator of steps, between which a program can do other work.
    """
    best: tuple[JsonObject, list[str]] | None = None
    most, used = int(max_bytes * (_OUTPUT_SHARE if is_output else _ENDS_AT)), 0
    for _ in range(_ROUNDS):
        writer = _Writer(source, most, is_output=is_output)
        schema = yield from writer.write(root)
        size = json_size(schema)
        if size <= max_bytes and size >= used:
            best, used = (schema, list(writer.cut)), size
            if not writer.cut or is_output or size >= _ENOUGH * max_bytes:
                break
        if not writer.cut and size <= max_bytes:
            break
        most = max(1, int(most * max_bytes / size * (0.97 if size > max_bytes else 1.0)))
    return best or (_EMPTY, ["the whole schema"])


class _Writer:
    """Fills one schema. `cut` says in words what was omitted."""

    def __init__(self, source: SchemaSource, max_bytes: int, *, is_output: bool) -> None:
        self.cut: dict[str, None] = {}
        self._source = source
        self._outlines = Outlines(source)
        self._ready = source.prepared
        self._left = max_bytes
        self._least = max(_LEAST_ROOM, max_bytes // _REMAINDER)
        self._is_output = is_output
        self._queue: list[tuple[int, int, str, _PartNode]] = []
        self._number = 0
        self._definitions: dict[str, _PartNode] = {}
        self._used: dict[str, None] = {}
        self._known: dict[int | str, _Outline] = {}

    def write(self, root: JsonObject) -> Generator[None, None, JsonObject]:
        node = _PartNode(root, {"type": "object"}, len('{"type":"object"}'), 0)
        self._left -= node.size + len('"properties":{},')
        self._put(0, "open", node)
        count = 0
        while self._queue:
            count += 1
            if count % _STEP == 0:
                yield
            _, _, what, one = heappop(self._queue)
            if self._left < self._least:
                break
            if what == "open":
                self._open(one)
            else:
                self._lengthen(one, is_last=what == "rest")
        schema = self._built(node, is_root=True)
        if "properties" not in schema and "properties" in root:
            schema["properties"] = {}
        yield
        return self._with_definitions(schema)

    def _put(self, rank: int, what: str, node: _PartNode) -> None:
        self._number += 1
        heappush(self._queue, (rank, self._number, what, node))

    # --- filling

    def _open(self, node: _PartNode) -> None:
        """Give a part its keywords and the types of its members, as far as there is room."""
        source = node.source
        schema = self._source.opened(source) if isinstance(source, LaterSchema) else source
        prepared = node.prepared = self._prepared(schema)
        need = prepared.sizes[0] - node.size + prepared.room + prepared.inner_room
        definition = prepared.definition
        if definition is not None:
            need += self._definition_room(definition)
        outlines: Sequence[_Outline] = ()
        if prepared.inner:
            outlines = [member.outline or self._outline(member) for member in prepared.inner]
            for _, size in outlines:
                need += size
        if need <= self._left:
            self._left -= need
            node.kept, node.is_whole = prepared.short, True
            node.size += need
            if outlines:
                self._take_all(node, prepared.inner, outlines)
            if definition is not None:
                self._define(definition, node.rank)
        else:
            self._open_in_part(node, prepared)
        if prepared.is_longer and not self._is_output:
            self._put(node.rank + _WORDS, "words", node)
            self._put(node.rank + 2 * _LAST, "rest", node)

    def _open_in_part(self, node: _PartNode, prepared: PreparedSchema) -> None:
        """Take the members that fit with their types alone. Branches are taken together, or none of them."""
        keywords = {key: value for key, value in prepared.short.items() if key != "$ref"}
        lean = {key: value for key, value in keywords.items() if key != "description"}
        self._keep(node, lean, self._left // 2)
        for group in _groups(prepared.members):
            outlines = [self._outline(member) for member in group]
            need = sum(member.room + size for member, (_, size) in zip(group, outlines, strict=True))
            if need <= self._left:
                self._left -= need
                self._take_all(node, group, outlines)
        if (reference := prepared.schema.get("$ref")) is not None:
            definition = prepared.definition
            need = len(reference) + len('"$ref":"",') + (0 if definition is None else self._definition_room(definition))
            if need <= self._left:
                self._left -= need
                keywords["$ref"] = lean["$ref"] = reference
                if definition is not None:
                    self._define(definition, node.rank)
        kinds = self._kinds_left(node, prepared, keywords)
        least = {key: value for key, value in lean.items() if key in {"type", "$ref"}}
        for words in (keywords, lean, least):
            if self._keep(node, with_kinds(words, kinds) if kinds else words, self._left):
                break

    def _keep(self, node: _PartNode, words: JsonObject, room: int) -> bool:
        """Give a part these keywords, if they fit into some room. Return whether they do."""
        need = json_size(words) - node.size
        if need > room:
            return False
        self._left -= need
        node.size += need
        node.kept = words
        return True

    def _kinds_left(self, node: _PartNode, prepared: PreparedSchema, keywords: JsonObject) -> list[str]:
        """Return the types to state: those of branches or a reference that did not fit."""
        if "type" in keywords or "$ref" in keywords or "const" in keywords:
            return []
        kept = {key for key, _ in node.members}
        if all(key in kept for key in _BRANCHES & prepared.schema.keys()) and kept & _BRANCHES:
            return []
        return self._kinds(prepared.schema)

    def _take_all(self, node: _PartNode, members: Sequence[_Member], outlines: Sequence[_Outline]) -> None:
        queue, number, rank, taken = self._queue, self._number, node.rank, node.members
        for member, (outline, size) in zip(members, outlines, strict=True):
            one = taken[member.place] = _PartNode(member.schema, outline, size, rank + member.rank)
            if not member.is_condition:
                number += 1
                heappush(queue, (one.rank, number, "open", one))
        self._number = number

    def _lengthen(self, node: _PartNode, *, is_last: bool) -> None:
        """Give a part, and its members without parts of their own, their longer keywords."""
        prepared = node.prepared
        if prepared is None:
            return
        self._replace(node, prepared, is_last=is_last)
        for place, leaf in prepared.leaves.items() if node.is_whole else ():
            if leaf.sizes[2] > leaf.sizes[0]:
                one = node.members.get(place)
                if one is None:
                    one = node.members[place] = _PartNode(leaf.schema, leaf.short, leaf.sizes[0], node.rank)
                    one.prepared, one.is_whole = leaf, True
                self._replace(one, leaf, is_last=is_last)

    def _replace(self, node: _PartNode, prepared: PreparedSchema, *, is_last: bool) -> None:
        if node.kept is not prepared.short and node.kept is not prepared.words:
            return
        index, longer = (2, prepared.whole) if is_last else (1, prepared.words)
        need = prepared.sizes[index] - prepared.sizes[0 if node.kept is prepared.short else 1]
        if need <= self._left:
            node.kept = longer
            self._left -= need
            node.size += need
        elif not is_last:
            self._describe_in_part(node, prepared)

    def _describe_in_part(self, node: _PartNode, prepared: PreparedSchema) -> None:
        """Take as much of a long description as there is room for."""
        text = prepared.words.get("description")
        if not isinstance(text, str) or "description" not in node.kept or self._left < _LEAST_TEXT:
            return
        now = node.kept["description"]
        part = shorten(text, len(now) + int(self._left * len(text) / max(1, json_size(text))) - 8)
        need = json_size(part) - json_size(now)
        if 0 < need <= self._left:
            self._left -= need
            node.size += need
            node.kept = {**node.kept, "description": part}

    # --- definitions

    def _definition_room(self, name: str) -> int:
        if name in self._definitions:
            return 0
        return len(name) + 4 + self._definition_outline(name)[1] + (10 if not self._definitions else 0)

    def _definition_outline(self, name: str) -> _Outline:
        kinds = self._source.stated(name)
        return _outline_of(self._kinds(self._source.get(name, {})) if kinds is None else kinds)

    def _define(self, name: str, rank: int) -> None:
        if name not in self._definitions:
            outline = self._definition_outline(name)
            node = self._definitions[name] = _PartNode(self._source.get(name, {}), *outline, rank)
            self._put(rank + _SAME_VALUE, "open", node)

    # --- types

    def _outline(self, member: _Member) -> _Outline:
        """Return the types of a member."""
        if member.outline is not None:
            return member.outline
        name = member.definition
        known = self._known.get(id(member.schema) if name is None else name)
        if known is None:
            kinds = None if name is None else self._source.stated(name)
            if kinds is None:
                name, kinds = None, self._kinds(member.schema)
            known = self._known[id(member.schema) if name is None else name] = _outline_of(kinds)
        return known

    def _kinds(self, schema: JsonObject) -> list[str]:
        kinds = _stated(schema)
        if kinds is None and (name := definition_of(schema)) is not None:
            kinds = self._source.stated(name)
        if kinds is not None:
            return kinds
        return self._outlines.kinds(self._source.opened(schema) if isinstance(schema, LaterSchema) else schema)

    # --- what is known of a sub-schema

    def _prepared(self, schema: JsonObject) -> PreparedSchema:
        key = id(schema), self._is_output
        known = self._ready.get(key)
        if known is None:
            known = self._ready[key] = _prepare(schema, is_output=self._is_output)
        return known

    # --- the result

    def _built(
        self, node: _PartNode, *, is_root: bool = False, is_branch: bool = False, is_place: bool = False
    ) -> JsonObject:
        prepared = node.prepared
        if prepared is None:
            self.cut["deep levels"] = None
            return dict(node.kept)
        self._note(node, prepared)
        if not prepared.members:
            return self._settled(dict(node.kept), is_root=is_root, is_branch=is_branch, is_place=is_place)
        new = dict(node.kept)
        if node.is_whole:
            new |= self._whole(node, prepared)
        else:
            for key in prepared.structure:
                if (value := self._members(node, key, prepared.schema[key])) is not None:
                    new[key] = value
            self._without_lost(new, node, prepared, is_root=is_root)
        return self._settled(new, is_root=is_root, is_branch=is_branch, is_place=is_place)

    def _whole(self, node: _PartNode, prepared: PreparedSchema) -> JsonObject:
        """Return what is within a part of which every member was taken."""
        for place, lost in prepared.losses:
            if place not in node.members:
                self.cut.update(dict.fromkeys(lost))
        new: JsonObject = {
            key: value.copy() if key in NESTED_MAPS or key in NESTED_LISTS else value
            for key, value in prepared.structure.items()
        }
        for (key, name), one in node.members.items():
            if key in CONDITIONS:
                continue
            if one.prepared is None:
                built, self.cut["deep levels"] = one.kept.copy(), None
            else:
                built = self._member(one, key)
            if name is None:
                new[key] = built
            elif built == NOTHING and key == "properties":
                del new[key][name]
            else:
                new[key][name] = built
        for key in _BRANCHES & new.keys() - {"$ref"}:
            new[key] = [one for one in new[key] if one != NOTHING]
        return {key: value for key, value in new.items() if value or key not in _BRANCHES}

    def _members(self, node: _PartNode, key: str, schema: Any) -> Any:
        """Return what has been taken of the schemas of one keyword. None: nothing."""
        found = node.members
        if key in CONDITIONS:
            return schema if (key, None) in found else None
        if key in NESTED_MAPS:
            built = {name: self._member(found[key, name], key) for name in schema if (key, name) in found}
            return {name: one for name, one in built.items() if one != NOTHING or key != "properties"} or None
        if key in NESTED_LISTS:
            parts = [self._member(found[key, number], key) for number in range(len(schema)) if (key, number) in found]
            return [one for one in parts if one != NOTHING or key == "prefixItems"] or None
        return self._member(found[key, None], key) if (key, None) in found else None

    def _member(self, node: _PartNode, key: str) -> JsonObject:
        is_place = key in _PLACES
        return self._built(node, is_place=is_place, is_branch=not is_place)

    def _without_lost(self, new: JsonObject, node: _PartNode, prepared: PreparedSchema, *, is_root: bool) -> None:
        """Remove what would be about omitted parts."""
        if len(node.members) == len(prepared.members):
            return
        properties = prepared.schema.get("properties", {})
        if any(("properties", name) not in node.members for name in properties):
            self.cut["optional arguments" if is_root else "deep levels"] = None
            for key in OTHERS & new.keys():
                del new[key]
        else:
            self.cut["deep levels"] = None
        if "required" in new and properties:
            lost = {name for name in properties if ("properties", name) not in node.members}
            if kept := [name for name in new["required"] if name not in lost]:
                new["required"] = kept
            else:
                del new["required"]
        if "if" in prepared.schema and "if" not in new:
            new.pop("then", None)
            new.pop("else", None)

    def _note(self, node: _PartNode, prepared: PreparedSchema) -> None:
        """Note what the keywords of a part have lost."""
        if node.kept is prepared.short:
            self.cut.update(dict.fromkeys(prepared.lost))
        elif node.kept is not prepared.whole:
            self.cut.update(dict.fromkeys(_lost(prepared.whole, node.kept)))

    def _settled(self, new: JsonObject, *, is_root: bool, is_branch: bool, is_place: bool) -> JsonObject:
        """Join branches that have become equal, and state the type of what has none."""
        if (name := definition_of(new)) is not None:
            self._used[name] = None
        if not _SETTLED.isdisjoint(new) or ("type" not in new and not _VALUES.isdisjoint(new)):
            new = joined(new, is_root=is_root)
        if new.get("type") == "array" and "items" not in new:
            new["items"] = {}
        if is_place and not self._is_output:
            new = typed_by_content(new)
        if "required" in new and not self._is_output:
            new = with_required(new, is_branch=is_branch)
        return new

    def _with_definitions(self, schema: JsonObject) -> JsonObject:
        """Add the definitions that the result refers to."""
        built: JsonObject = {}
        while len(built) < len(self._used):
            for name in [name for name in self._used if name not in built]:
                built[name] = self._built(self._definitions[name], is_place=True)
        if not built:
            return schema
        definitions = {name: built[name] for name in self._definitions if name in built}
        sound = without_loops(definitions)
        return {**schema, "$defs": sound} if sound == definitions else only_used({**schema, "$defs": sound})


_STRUCTURE: Final = NESTED | NESTED_LISTS | NESTED_MAPS
_INNER: Final = _STRUCTURE | {"$ref"}


def _prepare(schema: JsonObject, *, is_output: bool) -> PreparedSchema:
    if _STRUCTURE.isdisjoint(schema):
        prepared = _prepare_keywords(schema, schema, is_output=is_output)
    else:
        keywords = {key: value for key, value in schema.items() if key not in _STRUCTURE}
        prepared = _prepare_keywords(schema, keywords, is_output=is_output)
        _prepare_members(prepared, is_output=is_output)
    if "$ref" in schema:
        prepared.definition = definition_of(schema)
    return prepared


def _prepare_keywords(schema: JsonObject, whole: JsonObject, *, is_output: bool) -> PreparedSchema:
    words = whole if _REST.isdisjoint(whole) else {key: value for key, value in whole.items() if key not in _REST}
    short = words
    if is_output:
        if not _UNSAID.isdisjoint(words):
            short = {key: value for key, value in words.items() if key not in _UNSAID}
    else:
        if "enum" in words:
            short = short_values(words, _LONG_ENUM)
        text = short.get("description")
        if isinstance(text, str) and len(text) > _SHORT_TEXT:
            short = {**short, "description": shorten(text, _SHORT_TEXT)}
    size = json_size(whole)
    sizes = size if short is whole else json_size(short), size if words is whole else json_size(words), size
    return PreparedSchema(schema, (short, words, whole), sizes)


def _prepare_members(prepared: PreparedSchema, *, is_output: bool) -> None:
    members = list(_members_of(prepared.schema, is_output=is_output))
    leaves, inner = dict[_Place, PreparedSchema](), list[_Member]()
    for one in members:
        leaf = one.leaf
        if leaf is None:
            inner.append(one)
            prepared.inner_room += one.room
        else:
            leaves[one.place] = leaf
            prepared.room += one.room + leaf.sizes[0]
            prepared.is_longer |= leaf.is_longer
    prepared.members, prepared.leaves, prepared.inner = members, leaves, inner
    prepared.losses = [(place, leaf.lost) for place, leaf in leaves.items() if leaf.lost]
    prepared.structure = {
        key: _template(key, value, leaves) for key, value in prepared.schema.items() if key in _STRUCTURE
    }


def _template(key: str, value: Any, leaves: Mapping[_Place, PreparedSchema]) -> Any:
    """Return what is under a keyword, with the leaves in their short form."""
    if key in NESTED_MAPS:
        return {name: leaves[key, name].short if (key, name) in leaves else {} for name in value}
    if key in NESTED_LISTS:
        return [leaves[key, number].short if (key, number) in leaves else {} for number in range(len(value))]
    if key in CONDITIONS:
        return value
    return leaves[key, None].short if (key, None) in leaves else {}


def _lost(whole: JsonObject, kept: JsonObject) -> Iterator[str]:
    """Yield what a part has lost, in words."""
    for key, value in whole.items():
        if key in kept and (kept[key] is value or kept[key] == value):
            continue
        if key == "enum":
            yield "long enums" if "description" in kept else "everything but types"
        elif key in _REST:
            yield "examples"
        elif key == "description":
            yield "long descriptions"
        elif key not in kept and key != "required":
            yield "deep levels" if key == "$ref" else "everything but types"


def _members_of(schema: JsonObject, *, is_output: bool) -> Iterator[_Member]:
    """Yield what is in a schema, in the order in which it goes in: required properties first."""
    properties: JsonObject = schema.get("properties", {})
    required = set(schema.get("required", ()))
    ranks = {name: _rank_of(name, sub, required) for name, sub in properties.items()}
    for name in sorted(properties, key=ranks.__getitem__):
        yield _member(("properties", name), properties[name], ranks[name], is_output=is_output)
    for key, value in schema.items():
        if key == "properties" or key not in _STRUCTURE:
            continue
        if key in NESTED_MAPS and is_object(value):
            for name, sub in value.items():
                yield _member((key, name), sub, _DESCRIBED, is_output=is_output)
        elif key in NESTED_LISTS and is_list(value):
            for number, sub in enumerate(value):
                yield _member((key, number), sub, _SAME_VALUE, is_output=is_output)
        else:
            yield _member((key, None), value, _SAME_VALUE, is_output=is_output)


def _rank_of(name: str, schema: JsonObject, required: set[str]) -> int:
    if name in required:
        return _REQUIRED
    about = schema.raw if isinstance(schema, LaterSchema) else schema
    return _DESCRIBED if "description" in about else _BARE


def _member(place: _Place, schema: JsonObject, rank: int, *, is_output: bool) -> _Member:
    key, name = place
    room = 1 + (_name_size(name) + 1 if isinstance(name, str) else len(key) + 6 if name in (None, 0) else 0)
    if key in CONDITIONS:
        return _Member(place, schema, rank, room, None, (schema, json_size(schema)))
    is_leaf = not isinstance(schema, LaterSchema) and _INNER.isdisjoint(schema)
    leaf = _prepare_keywords(schema, schema, is_output=is_output) if is_leaf else None
    kinds = _stated(schema)
    return _Member(place, schema, rank, room, leaf, None if kinds is None else _outline_of(kinds))


def _name_size(name: str) -> int:
    """Return the bytes of a name as JSON."""
    return len(name) + 2 if name.isascii() and name.isidentifier() else json_size(name)


def _outline_of(kinds: Sequence[str]) -> _Outline:
    if len(kinds) == 1 and (known := _ONE_TYPE.get(kinds[0])) is not None:
        return known
    return _outline_of_kinds(tuple(kinds))


@lru_cache(maxsize=256)
def _outline_of_kinds(kinds: tuple[str, ...]) -> _Outline:
    outline = with_kinds({}, list(kinds))
    return outline, json_size(outline)


_ONE_TYPE: Final = {kind: _outline_of_kinds((kind,)) for kind in sorted(set(TYPES.values()) - {""})}


def _groups(members: Sequence[_Member]) -> Iterator[list[_Member]]:
    """Yield members that are taken together: the branches of one union, and every other member by itself."""
    lists: dict[str, list[_Member]] = {}
    for member in members:
        if isinstance(member.name, int):
            lists.setdefault(member.key, []).append(member)
        else:
            yield [member]
    yield from lists.values()


def _stated(schema: JsonObject) -> list[str] | None:
    """Return the type that a sub-schema states, without looking further. None if it does not state one."""
    if not isinstance(schema, LaterSchema):
        kind = schema.get("type")
        return [kind] if isinstance(kind, str) else None
    return stated_type(schema.raw)


def stated_type(raw: Any) -> list[str] | None:
    """Return the type that a schema states, as listed. None if it does not state one type."""
    kind = raw.get("type") if is_object(raw) else None
    word = TYPES.get(kind, "") if isinstance(kind, str) else ""
    return [word] if word else None
