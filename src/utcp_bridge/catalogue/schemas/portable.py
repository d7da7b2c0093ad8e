"""Schemas that every host accepts. The schema that checks arguments stays as the provider wrote it.

A host may refuse one tool, or every tool of the server, for a valid schema: a root that is not an object, `anyOf` at
the root, `type` as a list, an array without items, a property key with brackets, true or false in place of a schema, a
null in an enumeration, more than 16 KB. The listed schema avoids all of these. It is JSON Schema 2020-12 with local
references only. Porting a listed schema again does not change it. Pure. No function here raises.

Combinators at the root become plain properties (`folding.py`). The result accepts more than the original, which still
checks the call.

`x-mcp-header` annotations are kept only if they are valid (`mcp_headers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import orjson

from utcp_bridge.catalogue.schemas.accepted import (
    NOTHING,
    OTHERS,
    REFERENCE,
    ShownValues,
    has_listable_values,
    joined,
    typed_by_content,
    with_kinds,
    with_required,
    with_values,
    without_loops,
)
from utcp_bridge.catalogue.schemas.conforming import ASSERTIONS, relaxed
from utcp_bridge.catalogue.schemas.filling import LaterSchema, PreparedSchema, filled, stated_type
from utcp_bridge.catalogue.schemas.folding import fold_root
from utcp_bridge.catalogue.schemas.keywords import (
    ABSENT,
    CONDITIONS,
    NESTED,
    NESTED_LISTS,
    NESTED_MAPS,
    PLAIN,
    TYPES,
    modern_form,
)
from utcp_bridge.catalogue.schemas.mcp_headers import HEADER_KEY, keep_valid_headers
from utcp_bridge.catalogue.schemas.parts import Adopted, SharedPart, SharedParts
from utcp_bridge.catalogue.schemas.size import fits, is_small, map_schemas, only_used
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.tasks import at_once
from utcp_bridge.urls import at_pointer

__all__ = [
    "PortableInput",
    "PortableOutput",
    "input_in_steps",
    "output_in_steps",
    "portable_input",
    "portable_output",
]

_Form: TypeAlias = Generator[None, None, tuple[JsonObject, dict[str, None]]]
"""Steps to a listed schema and what it lost."""
_MAX_OUTPUT_BYTES: Final = 1_024
"""Output schemas are most of the bytes of a large list, and the names in them are enough for a model."""
_MAX_DEPTH: Final = 32
_MAX_NODES: Final = 2_500
"""Sub-schemas of one listed schema. More do not fit into the bytes that a host takes."""
_VALUES_PER_NODE: Final = 32
_BYTES_PER_NODE: Final = 16
_LEAST_EAGER: Final = 400
"""A schema with at most this many objects and lists, or one for each 16 bytes of room, is ported as a whole."""
_HEAVY: Final = frozenset(
    {"additionalProperties", "allOf", "anyOf", "items", "oneOf", "patternProperties", "prefixItems", "properties"}
)
_KEY: Final = late_pattern(r"[a-zA-Z0-9_.-]{1,64}")
_ODD: Final = late_pattern(r"[^a-zA-Z0-9_.-]+")
_MAX_NAME: Final = 64
_CUT_NAME: Final = 56
_SIMPLE: Final = frozenset(
    {"deprecated", "description", "format", "maxLength", "maximum", "minLength", "minimum", "pattern", "title", "type"}
)
_COMPOSED: Final = frozenset({"$ref", "anyOf", "oneOf"})
_FORMS: Final = _COMPOSED | {"type"}
_PLAIN: Final = (
    _SIMPLE
    | _FORMS
    | {"$defs", "additionalProperties", "default", "enum", "examples", "items", "properties", "required"}
)
"""Keywords that do not change one another when they are ported, if there is only one of `_FORMS`."""
_OF_A_TYPE: Final = frozenset({"additionalProperties", "enum", "items", "properties", "required"})
_MAX_AGAIN: Final = 6
_PLACES: Final = frozenset({"additionalProperties", "items", "prefixItems", "properties"})
"""Keywords whose schemas describe a value whole, and so have a type."""
_UNHEEDED: Final = ASSERTIONS - {"const", "enum", "oneOf"}
"""What an output schema loses whole."""

_SIMPLE_TYPES: Final = ("string", "integer", "boolean", "number")


@dataclass(frozen=True, slots=True)
class PortableInput:
    """One tool's listed input schema.

    `schema` has an object root without combinators. `composed` keeps the root's combinators, for protocol versions
    that allow them (2026-07-28). It is `schema` itself if there are none. `renamed` maps listed property keys to the
    tool's own keys. `cut` says in words what the listed schema lost. `nodes` counts the sub-schemas it was made of.
    """

    schema: JsonObject
    composed: JsonObject
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    cut: tuple[str, ...] = ()
    nodes: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class PortableOutput:
    """One tool's listed output schema. If `wrapped`, the value is listed and sent as `{"result": value}`."""

    schema: JsonObject
    wrapped: bool = False
    cut: tuple[str, ...] = ()
    nodes: int = field(default=0, compare=False)


def portable_input(schema: Any, max_bytes: int) -> PortableInput:
    """Return an input schema as it can be listed, in at most `max_bytes` of JSON."""
    return at_once(input_in_steps(schema, max_bytes))


def input_in_steps(
    schema: Any, max_bytes: int, parts: SharedParts | None = None
) -> Generator[None, None, PortableInput]:
    """Port an input schema as `portable_input` does, in steps between which a program can do other work.

    `parts` has what was made of the schemas of other tools of the same manual.
    """
    porter = _Porter(schema, max_bytes, parts)
    made = yield from _input_of(porter)
    if not porter.is_odd:
        return made
    listed, cut = yield from _settled(made.schema, lambda one: _input_form(one, max_bytes))
    composed = listed
    if made.composed is not made.schema:
        composed, more = yield from _settled(made.composed, lambda one: _composed_form(one, max_bytes))
        cut |= more
    return replace(made, schema=listed, composed=composed, cut=tuple(dict.fromkeys(made.cut) | cut))


def _input_form(schema: JsonObject, max_bytes: int) -> _Form:
    porter = _Porter(schema, max_bytes)
    made = yield from _input_of(porter)
    return made.schema, porter.cut


def _composed_form(schema: JsonObject, max_bytes: int) -> _Form:
    porter = _Porter(schema, max_bytes)
    made = yield from _input_of(porter)
    return made.composed, porter.cut


def _settled(form: JsonObject, ported: Callable[[JsonObject], _Form]) -> _Form:
    """Return a listed schema as it is when porting it again does not change it any more, and what this took from it.

    Parts that contradict or repeat one another are removed or joined, and then their owners can be, too.
    """
    lost: dict[str, None] = {}
    for _ in range(_MAX_AGAIN):
        following, cut = yield from ported(form)
        lost |= cut
        if following == form:
            break
        form = following
    return form, lost


def _input_of(porter: _Porter) -> Generator[None, None, PortableInput]:
    root = porter.root_object()
    ported = porter.node({**root, "type": "object"}, 0)
    ported.setdefault("properties", {})
    definitions = yield from porter.definitions()
    folded, was_folded = fold_root(ported, porter)
    porter.is_odd |= was_folded
    folded, renamed = _rename_keys(folded)
    listed = yield from porter.finish(folded, definitions)
    composed = (yield from porter.finish(ported, definitions)) if was_folded and not renamed else listed
    return PortableInput(listed, composed, renamed, tuple(porter.cut), porter.nodes)


def portable_output(schema: Any, max_bytes: int) -> PortableOutput:
    """Return an output schema as it can be listed: relaxed, with an object at the root. Other values are wrapped."""
    return at_once(output_in_steps(schema, max_bytes))


def output_in_steps(
    schema: Any, max_bytes: int, parts: SharedParts | None = None
) -> Generator[None, None, PortableOutput]:
    """Port an output schema as `portable_output` does, in steps between which a program can do other work."""
    porter = _Porter(schema, min(max_bytes, _MAX_OUTPUT_BYTES), parts, is_output=True)
    made = yield from _output_of(porter)
    if not porter.is_odd:
        return made
    listed, cut = yield from _settled(made.schema, lambda one: _output_form(one, max_bytes))
    return replace(made, schema=listed, cut=tuple(dict.fromkeys(made.cut) | cut))


def _output_form(schema: JsonObject, max_bytes: int) -> _Form:
    porter = _Porter(schema, min(max_bytes, _MAX_OUTPUT_BYTES), is_output=True)
    made = yield from _output_of(porter)
    return made.schema, porter.cut


def _output_of(porter: _Porter) -> Generator[None, None, PortableOutput]:
    schema = porter.root
    root = porter.dereferenced(schema if is_object(schema) else {})
    if root.get("type") == "object" or ("type" not in root and "properties" in root):
        ported, wrapped = porter.node({**root, "type": "object"}, 0), False
    else:
        porter.is_wrapped = True
        ported, wrapped = {"type": "object", "properties": {"result": porter.node(schema, 1)}}, True
    definitions = yield from porter.definitions()
    listed = yield from porter.finish(ported, definitions)
    return PortableOutput(listed, wrapped, tuple(porter.cut), porter.nodes)


def _rename_keys(schema: JsonObject) -> tuple[JsonObject, dict[str, str]]:
    """Rename property keys of the root that some hosts refuse. Return the schema, and listed key → own key."""
    own: JsonObject = schema["properties"]
    if all(_KEY.fullmatch(key) for key in own):
        return schema, {}
    names = _Names({key for key in own if _KEY.fullmatch(key)})
    listed = {key: names.free(key, "argument") for key in own if not _KEY.fullmatch(key)}
    properties = {listed.get(key, key): sub for key, sub in own.items()}
    new = {**schema, "properties": properties}
    if required := schema.get("required"):
        new["required"] = [listed.get(key, key) for key in required]
    new.pop("dependentRequired", None)
    return new, {name: key for key, name in listed.items()}


class _Names:
    """Gives unused names that every host accepts as keys."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._numbers: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """Take a name. Return whether it was free."""
        is_free = name not in self._taken
        self._taken.add(name)
        return is_free

    def free(self, wanted: str, otherwise: str) -> str:
        base = name = _plain_name(wanted, otherwise)
        while name in self._taken:
            self._numbers[base] = number = self._numbers.get(base, 1) + 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name


def _plain_name(wanted: str, otherwise: str) -> str:
    base = _ODD.sub("_", wanted).strip("_") or otherwise
    return base if len(base) <= _MAX_NAME else base[:_CUT_NAME].strip("_")


def _is_container(value: Any) -> bool:
    return is_object(value) or is_list(value)


def _last_step(ref: str) -> str:
    return "result" if ref == "#" else unquote(ref).rsplit("/", 1)[-1]


def _base_name(ref: str) -> str:
    return _plain_name(_last_step(ref), "part")


def _is_json(schema: JsonObject) -> bool:
    try:
        orjson.dumps(schema)
    except (TypeError, ValueError):
        return False
    return True


class _Porter:
    """Walks one schema, and counts depth, size and references. `cut` says what was lost."""

    def __init__(self, root: Any, max_bytes: int, parts: SharedParts | None = None, *, is_output: bool = False) -> None:
        self.root = root
        self._parts = parts or SharedParts()
        self._is_lazy = not is_small(root, max(_LEAST_EAGER, max_bytes // _BYTES_PER_NODE))
        self._made: dict[tuple[int, int], JsonObject] = {}
        self._ported: JsonObject = {}
        self._adopted: list[Adopted] = []
        self.max_bytes = max_bytes
        self.is_wrapped = False
        self.cut: dict[str, None] = {}
        self._is_output = is_output
        self._unheeded = _UNHEEDED if is_output else frozenset[str]()
        self._is_exact = False
        self.nodes = 0
        self.is_odd = False
        self._has_headers = False
        self._has_shown: bool = False
        self._names: dict[str, str] = {}
        self._targets: dict[str, Any] = {}
        self._stated: dict[str, Any] = {}
        self._free = _Names(set())
        self._anchors: dict[str, Any] | None = None

    def root_object(self) -> JsonObject:
        """Return the root as an object schema, with references followed, or an empty one if it cannot be an object."""
        root = self.dereferenced(self.root if is_object(self.root) else {})
        kind = root.get("type", "object")
        if kind == "object" or (is_list(kind) and "object" in kind):
            return root
        self.cut["an input schema that is not an object"] = None
        return {}

    def dereferenced(self, schema: JsonObject) -> JsonObject:
        """Follow `$ref` at the root. Keywords next to it win. A reference that leads back to the root is omitted."""
        seen = {"#"}
        while "$ref" in schema:
            ref = schema["$ref"]
            is_new = isinstance(ref, str) and ref not in seen and len(seen) <= _MAX_DEPTH
            target = self._resolve(ref) if is_new else ABSENT
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**target, **beside} if is_object(target) else beside
            seen.add(str(ref))
        return schema

    def definitions(self) -> Generator[None, None, JsonObject]:
        """Return every referenced sub-schema by its listed name. Each may refer to more.

        Of a large schema there are none: each is ported when there is room for it.
        """
        while not self._is_lazy and len(self._ported) < len(self._targets):
            for name in list(self._targets):
                if name not in self._ported:
                    yield
                    self.get(name)
        self._ported = without_loops(self._ported)
        return self._ported

    def finish(self, schema: JsonObject, definitions: JsonObject) -> Generator[None, None, JsonObject]:
        """Add the definitions, remove invalid header annotations and defaults, and fit the schema into its size."""
        if not self._is_lazy:
            whole = self._checked({**schema, "$defs": definitions} if definitions else schema)
            yield
            whole = only_used(whole)
            if fits(whole, self.max_bytes):
                return whole
            self._ported = whole.get("$defs", {})
            schema = {key: value for key, value in whole.items() if key != "$defs"}
        if not _is_json(schema):
            self.cut["the whole schema"] = None
            return {"type": "object", "properties": {}}
        fitted, cut = yield from filled(schema, self, self.max_bytes, is_output=self._is_output)
        self.cut.update(dict.fromkeys(cut))
        yield
        return self._checked(fitted)

    def _checked(self, whole: JsonObject) -> JsonObject:
        """Remove invalid header annotations, and defaults and examples that their own schemas refuse."""
        if self._has_headers:
            whole = keep_valid_headers(whole)
        if self._has_shown:
            whole = map_schemas(whole, ShownValues(whole.get("$defs", {})).without_wrong)
        return whole

    # --- parts that are ported when there is room for them

    @property
    def prepared(self) -> dict[tuple[int, bool], PreparedSchema]:
        """What is known of ported sub-schemas."""
        return self._parts.prepared

    def stated(self, name: str) -> list[str] | None:
        """Return the type that a definition states. None if it does not state one."""
        known = self._stated.get(name, ABSENT)
        if known is ABSENT:
            known = self._stated[name] = stated_type(self._targets.get(name))
        return None if known is None else list(known)

    def get(self, name: str, default: Any = None, /) -> Any:
        """Return a definition by its listed name, ported."""
        if name not in self._ported:
            if name not in self._targets:
                return default
            self._ported[name] = {}  # for one that refers to itself
            target = self._targets[name]
            self._ported[name] = self._part(self._parts.first(target) if self._is_lazy else target, 1)
        return self._ported[name]

    def opened(self, later: LaterSchema) -> JsonObject:
        """Return a part, ported."""
        return self._part(later.raw, later.depth)

    def _part(self, raw: Any, depth: int) -> JsonObject:
        """Return a value's schema as `_placed` ports it. A large schema shares it with those of other tools."""
        if not self._is_lazy or not is_object(raw):
            return self._placed(raw, depth)
        made = self._made.get((id(raw), depth))
        if made is None:
            known = self._parts.find(raw, depth, is_output=self._is_output)
            if known is not None and self._adopts(known.references):
                made = known.ported
                self._has_headers |= known.has_headers
                self._has_shown |= known.has_shown
                self.is_odd |= known.is_odd
            else:
                made = self._made_of(raw, depth)
            self._made[id(raw), depth] = made
        return made

    def _made_of(self, raw: JsonObject, depth: int) -> JsonObject:
        outer, self._adopted = self._adopted, []
        found = self._has_headers, self._has_shown, self.is_odd
        self._has_headers = self._has_shown = self.is_odd = False
        losses = len(self.cut)
        ported = self._placed(raw, depth)
        references, self._adopted = self._adopted, outer
        if len(self.cut) == losses and all(name == _base_name(ref) for ref, name, _ in references):
            part = SharedPart(raw, ported, references, self._has_headers, self._has_shown, self.is_odd)
            self._parts.keep(part, depth, is_output=self._is_output)
        self._has_headers |= found[0]
        self._has_shown |= found[1]
        self.is_odd |= found[2]
        return ported

    def _adopts(self, references: Sequence[Adopted]) -> bool:
        """Return whether the references of a shared part mean the same here, under the same names."""
        names, targets, first = self._names, self._targets, self._parts.first
        for ref, name, target in references:
            known = names.get(ref)
            found = self._resolve(ref) if known is None else targets[known]
            if found is not target and first(found) is not first(target):
                return False
            if known is None:
                if not self._free.take(name):
                    return False
                names[ref], targets[name] = name, target
            elif known != name:
                return False
        return True

    def node(self, schema: Any, depth: int, *, is_branch: bool = False) -> JsonObject:
        """Return one sub-schema as it can be listed. A branch describes a value together with others."""
        if not is_object(schema):
            return self._degenerate(schema)
        self.nodes += 1
        if depth > _MAX_DEPTH or self.nodes > _MAX_NODES:
            self.cut["levels beyond a depth or number that no host needs"] = None
            return {}
        if _SIMPLE.issuperset(schema) and not self._is_output and (kind := schema.get("type")) in _SIMPLE_TYPES:
            return _simple(kind, schema)
        self.is_odd |= not _is_plain(schema)
        out = self._keywords(schema, depth)
        if self._is_output and not self._is_exact:
            out = relaxed(out)  # first, because it writes examples
        self._has_headers |= HEADER_KEY in out
        shown: list[Any] = out.get("examples", [])
        self._has_shown |= "default" in out or any(map(_is_container, shown))
        kinds = _kinds(schema["type"]) if "type" in schema else []
        if self._is_exact:
            if not has_listable_values(out):
                del out["enum"]  # it differs then, so the condition is left out
            return with_required(with_kinds(out, kinds), is_branch=False)
        if self._is_output:
            return joined(with_kinds(out, kinds), is_root=depth == 0)
        out, kinds = with_values(out, kinds)
        return with_required(joined(with_kinds(out, kinds), is_root=depth == 0), is_branch=is_branch)

    def _keywords(self, schema: JsonObject, depth: int) -> JsonObject:
        out: JsonObject = {}
        for key, value in modern_form(schema).items():
            if key in self._unheeded:
                continue
            if (check := PLAIN.get(key)) is not None:
                self.nodes += len(value) // _VALUES_PER_NODE if is_list(value) else 0
                if (kept := check(value)) is not ABSENT:
                    out[key] = kept
            else:
                self._nested(out, key, value, depth + 1)
        return out

    def _place(self, schema: Any, depth: int) -> JsonObject:
        """Return the schema of a value: of a property, of items. In a large schema it is ported later."""
        if self._is_lazy and not self._is_exact and is_object(schema) and not _HEAVY.isdisjoint(schema):
            return LaterSchema(schema, depth)
        return self._placed(schema, depth)

    def _placed(self, schema: Any, depth: int) -> JsonObject:
        """Return the ported schema of a value. It has a type if its keywords say which."""
        ported = self.node(schema, depth)
        return ported if self._is_output or self._is_exact else typed_by_content(ported)

    def _degenerate(self, schema: Any) -> JsonObject:
        self.is_odd |= schema is False
        if schema is not True and schema is not False:
            self.cut["a part that is not a schema"] = None
        return dict(NOTHING) if schema is False and not self._is_output else {}

    def _nested(self, out: JsonObject, key: str, value: Any, depth: int) -> None:
        if key in NESTED_MAPS:
            if is_object(value):
                out[key] = self._map(key, value, depth)
        elif key in CONDITIONS:
            self._condition(out, key, value, depth)
        elif key in NESTED:
            if not (key in OTHERS and isinstance(value, bool)):
                is_place = key in _PLACES
                out[key] = self._place(value, depth) if is_place else self.node(value, depth, is_branch=True)
        elif key in NESTED_LISTS:
            if is_list(value) and value:
                self._list(out, key, value, depth)
        elif key == "$ref":
            self._reference(out, value)

    def _map(self, key: str, schemas: JsonObject, depth: int) -> JsonObject:
        port = self._place if key in _PLACES else partial(self.node, is_branch=True)
        ported = {name: port(sub, depth) for name, sub in schemas.items() if _encodable(name)}
        if key == "properties" and not self._is_exact:
            return {name: sub for name, sub in ported.items() if sub != NOTHING}
        return ported

    def _list(self, out: JsonObject, key: str, schemas: list[Any], depth: int) -> None:
        """Port a list of schemas. `oneOf` becomes `anyOf`: parts that say less may no longer exclude one another."""
        if key == "prefixItems":
            out[key] = [self._place(sub, depth) for sub in schemas]
            return
        ported = [sub for one in schemas if (sub := self.node(one, depth, is_branch=True)) != NOTHING]
        if not ported:
            return
        if key == "allOf" or (key == "anyOf" and "anyOf" not in out):
            out[key] = [*ported, *out.get(key, ())] if key == "allOf" else ported
        elif "anyOf" in out:
            out["allOf"] = [*out.get("allOf", ()), joined({"anyOf": ported})]
        else:
            out["anyOf"] = ported

    def _condition(self, out: JsonObject, key: str, value: Any, depth: int) -> None:
        """Keep a condition that needs no change. One with less in it would refuse more."""
        outer, self._is_exact = self._is_exact, True
        ported = self.node(value, depth)
        self._is_exact = outer
        if is_object(value) and ported == value and ported != NOTHING:
            out[key] = ported

    def _reference(self, out: JsonObject, ref: Any) -> None:
        if self._is_exact:
            return
        if ref == "#" and not self.is_wrapped:
            out["$ref"] = ref
            return
        target = self._resolve(ref)
        if target is ABSENT:
            self.cut["a reference that is remote or has no target"] = None
            return
        if ref not in self._names:
            name = self._free.free(_last_step(ref), "part")
            self._names[ref] = name
            self._targets[name] = target
        self._adopted.append((ref, self._names[ref], target))
        out["$ref"] = f"{REFERENCE}{self._names[ref]}"

    def _resolve(self, ref: Any) -> Any:
        """Return the target of a local reference. ABSENT for remote, dangling and circular references."""
        first = following = self._pointed(ref) if isinstance(ref, str) else ABSENT
        seen = {ref} if isinstance(ref, str) else set[str]()
        while is_object(following) and "$ref" in following:
            onward = following["$ref"]
            if not isinstance(onward, str) or (onward == "#" and not self.is_wrapped):
                break
            if onward in seen or len(seen) >= _MAX_DEPTH:
                return ABSENT
            seen.add(onward)
            following = self._pointed(onward)
        return first

    def _pointed(self, ref: str) -> Any:
        if ref != "#" and not ref.startswith("#/"):
            return self._anchored(ref)
        plain = ref.removeprefix(REFERENCE)
        if plain.isidentifier() and is_object(self.root) and is_object(own := self.root.get("$defs")):
            target = own.get(plain)  # nearly every reference, and there is nothing to unescape in it
        else:
            target = at_pointer(self.root, ref)
        return target if is_object(target) or isinstance(target, bool) else ABSENT

    def _anchored(self, ref: str) -> Any:
        if self._anchors is None:
            groups = [self.root.get(key) for key in ("definitions", "$defs")] if is_object(self.root) else []
            subs = [sub for group in groups if is_object(group) for sub in group.values() if is_object(sub)]
            self._anchors = {f"#{anchor}": sub for sub in subs if isinstance(anchor := sub.get("$anchor"), str)}
        return self._anchors.get(ref, ABSENT)


def _is_plain(schema: JsonObject) -> bool:
    """Return whether a sub-schema is surely listed in such a way that porting it again does not change it."""
    if not _PLAIN.issuperset(schema):
        return False
    if isinstance(schema.get("type"), str):
        return _COMPOSED.isdisjoint(schema)
    return len(_FORMS & schema.keys()) <= 1 and _OF_A_TYPE.isdisjoint(schema)


def _simple(kind: str, schema: JsonObject) -> JsonObject:
    """Return a sub-schema of one type with keywords of `_SIMPLE` alone as it is listed. Most sub-schemas are such."""
    out: JsonObject = {"type": kind}
    for key, value in schema.items():
        if key != "type" and (kept := PLAIN[key](value)) is not ABSENT:
            out[key] = kept
    return out


def _kinds(written: Any) -> list[str]:
    """Return the types of a sub-schema as listed. None, if any type will do."""
    if isinstance(written, str):
        word = TYPES.get(written, "")
        return [word] if word else []
    words = written if is_list(written) else [written]
    kinds = list(dict.fromkeys(TYPES.get(word, "") for word in words if isinstance(word, str)))
    return [] if "" in kinds else kinds


def _encodable(key: Any) -> bool:
    return isinstance(key, str) and (key.isascii() or not any("\ud800" <= char <= "\udfff" for char in key))
