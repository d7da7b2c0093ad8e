"""Translation of OpenAPI schemas (2.0, 3.0, 3.1) to JSON Schema 2020-12, in one of two directions (pure).

Input schemas describe what a caller may send: readOnly properties are dropped, and oneOf becomes anyOf, which models
and hosts handle better. Output schemas describe what a server may return. They are permissive, because a client refuses
a result that does not fit: nothing is required or bounded, anything may be null, additional members are allowed.

References become `#/$defs/NAME`; `definitions.py` collects the definitions that they name.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from utcp_bridge.dialects.openapi.closing import Closing
from utcp_bridge.dialects.openapi.contradictions import SAMPLES, repaired
from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.shapes import Family, Faults, Located, as_array, as_object, as_text, is_array
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.placement.encoding import format_scalar

__all__ = [
    "Direction",
    "Key",
    "Piece",
    "SchemaTranslator",
    "examples_of",
    "fixed_count",
    "fixed_number",
    "fixed_types",
    "is_plain_data",
    "is_portable_pattern",
    "text_list",
    "typed_enum",
]

_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_MISNAMED = {
    "int": "integer", "int32": "integer", "int64": "integer", "long": "integer", "short": "integer",
    "float": "number", "double": "number", "decimal": "number", "bool": "boolean",
    "str": "string", "text": "string", "date": "string", "datetime": "string", "date-time": "string", "file": "string",
    "uuid": "string", "uri": "string", "email": "string", "enum": "string",
    "dict": "object", "map": "object", "hash": "object", "list": "array", "set": "array",
}  # fmt: skip
_MAX_EXAMPLES = 3
_MAX_PATTERN = 1_000
_MAX_NUMBER = 2**63 - 1
"""JSON writers and schema validators support integers up to 64 bits."""
_DELIMITED = re.compile(r"/.*/[a-z]*", re.DOTALL)
_NOT_PORTABLE = re.compile(r"\(\?(?![:=!])|\\[AZzGQEpPkX1-9]|[+*?}][+]|\[\[:|&&\[")
"""Python-only groups, lookbehind, inline flags, back references, property classes, possessive quantifiers."""
Direction: TypeAlias = Literal["input", "output"]
Key: TypeAlias = tuple[str, str]
"""The identity of a definition: document address and JSON pointer."""
_MAX_DEPTH = 64
_MAX_JOINED = 200
"""Parts that `allOf` joins, in all depths."""
_MAX_OPENED = 100
"""Definitions that are written in place within one object, because it opens them."""
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "example", "examples", "deprecated", "nullable", "x-nullable"}
)
_MAX_DATA = 2_000
_BASE64 = frozenset({"binary", "byte", "base64"})
_COUNTS = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains",
)  # fmt: skip
_COMPOUNDS = frozenset({"allOf", "anyOf", "oneOf", "patternProperties", "if"})
_IN_PLACE = frozenset({"allOf", "anyOf", "not", "if", "const"})
_SHAPES = frozenset({"type", "properties", "allOf", "anyOf", "items", "prefixItems"})


@dataclass(frozen=True, slots=True)
class Piece:
    """A translated schema with the definitions it names.

    `refs` counts how often each is named. `in_place` are those that apply to the same value as the schema: a cycle of
    such references would never end.
    """

    schema: Any
    refs: Counter[Key] = field(default_factory=Counter[Key])
    in_place: frozenset[Key] = frozenset()


class SchemaTranslator:
    """Translates one document's schemas in one direction; `name_of` returns the name of the definition at a place."""

    def __init__(
        self,
        references: References,
        family: Family,
        direction: Direction,
        name_of: Callable[[Located], str],
        faults: Faults,
    ) -> None:
        self._references = references
        self._family: Family = family
        self._input = direction == "input"
        self._name_of = name_of
        self._faults = faults
        self._closing = Closing(references, lambda place: _is_marked(references, place, "readOnly"))

    def translate(self, schema: Located) -> Piece:
        """Return one schema, translated; definitions that it names are not translated."""
        run = _Run(self._references, self._family, self._input, self._name_of, self._faults, self._closing)
        translated = run.schema(schema, 0, in_place=True)
        return Piece(translated, run.refs, frozenset(run.in_place))


class _Run:
    """The state of one translation."""

    def __init__(
        self,
        references: References,
        family: Family,
        is_input: bool,
        name_of: Callable[[Located], str],
        faults: Faults,
        closing: Closing,
    ) -> None:
        self._references = references
        self._family = family
        self._input = is_input
        self._name_of = name_of
        self._faults = faults
        self._closing = closing
        self.refs: Counter[Key] = Counter()
        self.in_place: set[Key] = set()
        self._hidden: frozenset[str] = frozenset()
        self._opened: tuple[Key, ...] = ()
        self._described: frozenset[str] = frozenset()
        self._inlined = 0

    def schema(self, located: Located, depth: int, *, in_place: bool = False) -> Any:
        """Translate a schema that is not a part of the one around it."""
        outer, self._opened = self._opened, ()
        made = self._part(located, depth, in_place=in_place)
        self._opened = outer
        return made

    def _part(self, located: Located, depth: int, *, in_place: bool) -> Any:
        node = located.value
        if isinstance(node, bool):
            return {} if node or not self._input else {"not": {}}
        if not is_object(node) or depth > _MAX_DEPTH:
            if node is not None:
                self._faults.add(
                    located.pointer, "the schema is unreadable or too deep", "Any value is accepted there."
                )
            return {}
        reference = node.get("$ref", self._dynamic(located) if "$dynamicRef" in node else None)
        if isinstance(reference, str):
            return self._reference(located, reference, depth, in_place=in_place)
        return self._keywords(located, node, depth, in_place=in_place)

    def _dynamic(self, located: Located) -> Any:
        """Return the `$dynamicRef` of a schema, if it has one meaning. One of a template for others has several."""
        reference = located.value.get("$dynamicRef")
        is_open = isinstance(reference, str) and self._references.is_open(reference, located.base)
        return None if is_open else reference

    def _reference(self, located: Located, reference: str, depth: int, *, in_place: bool) -> Any:
        """Translate a reference and the keywords next to it.

        OpenAPI 3.1 allows any keyword next to a reference; of earlier versions only annotations are kept.
        """
        node: JsonObject = located.value
        target = self._references.resolve(reference, located.base, located.pointer)
        beside = {
            key: value
            for key, value in node.items()
            if key not in {"$ref", "$dynamicRef"} and (self._family == "3.1" or key in _ANNOTATIONS)
        }
        siblings = self._keywords(Located(beside, located.base, located.pointer), beside, depth, in_place=in_place)
        if target is None or target.value is None or target.value is True:
            return siblings
        named = self._named(target, depth, in_place=in_place)
        if self._input and _is_nullable(node):
            return {**siblings, "anyOf": [named, {"type": "null"}]}
        if "$ref" in named or siblings.keys() <= _ANNOTATIONS:
            return {**named, **siblings}
        return {**siblings, "allOf": [*siblings.get("allOf", []), named]}

    def _named(self, target: Located, depth: int, *, in_place: bool) -> JsonObject:
        """Return a reference to a definition, or the definition itself if it is opened as a part of another one."""
        end = self._references.follow(target)
        key = (end.base, end.pointer)
        if self._opened and is_object(end.value) and self._closing.is_closed(end):
            self._inlined += 1
            if key in self._opened or self._inlined > _MAX_OPENED:
                self._faults.add(target.pointer, "the schema contains itself endlessly", "Any value is accepted there.")
                return {}
            outer, self._opened = self._opened, (*self._opened, key)
            made = self._keywords(end, end.value, depth + 1, in_place=in_place)
            self._opened = outer
            return made
        key = (target.base, target.pointer)
        self.refs[key] += 1
        if in_place:
            self.in_place.add(key)
        return {"$ref": f"#/$defs/{self._name_of(target)}"}

    def _keywords(self, located: Located, node: JsonObject, depth: int, *, in_place: bool) -> JsonObject:
        out: JsonObject = {}
        kind = fixed_types(node.get("type")) if "type" in node else None
        if kind:
            out["type"] = kind
        self._annotations(node, out, kind)
        if self._input:
            self._bounds(node, out)
            self._choices(located, node, out, kind)
        elif values := typed_enum(node.get("enum"), kind):
            out.setdefault("examples", values[:20])
        outer, opened = self._hidden, self._opened
        if self._input and "allOf" in node:
            self._hidden |= self._hidden_names(located)
        if self._input and not self._opened:
            self._open(located)
        self._objects(located, node, out, depth)
        self._arrays(located, node, out, depth)
        self._compounds(located, node, out, depth, in_place=in_place)
        self._hidden, self._opened = outer, opened
        if self._input:
            out = self._sound(located, out)
        return self._with_null(node, out)

    def _open(self, located: Located) -> None:
        """Open the parts of an object that exclude members of its other parts."""
        if names := self._closing.excluded(located):
            some = ", ".join(repr(name) for name in names[:3]) + (" and others" if names[3:] else "")
            what = f"`additionalProperties: false` of one part refuses what another part describes: {some}"
            self._faults.add(located.pointer, what, "The parts of this object accept further members.")
            self._opened = ((located.base, located.pointer),)
            self._described, self._inlined = self._closing.described(located), 0

    def _sound(self, located: Located, out: JsonObject) -> JsonObject:
        """Return a schema that accepts the values that it names itself."""
        sound, wrong = repaired(out)
        if wrong:
            what = f"the schema contradicts itself: {', '.join(wrong)}"
            remedy = "Arguments are checked without what refuses the document's values."
            self._faults.add(located.pointer, what, "They are left out." if SAMPLES.issuperset(wrong) else remedy)
        return sound

    # --- single keywords

    def _annotations(self, node: JsonObject, out: JsonObject, kind: Any) -> None:
        for key in ("title", "description"):
            if isinstance(text := node.get(key), str) and text.strip():
                out[key] = text.strip()
        self._format(node, out, kind)
        for key in ("contentEncoding", "contentMediaType"):
            if isinstance(text := node.get(key), str):
                out[key] = text
        if node.get("deprecated") is True:
            out["deprecated"] = True
        if self._input:
            self._data(node, out)

    def _format(self, node: JsonObject, out: JsonObject, kind: Any) -> None:
        form = node.get("format")
        if node.get("type") == "file" or (as_text(form) in _BASE64 and kind in ("string", None)):
            out |= {"type": "string", "contentEncoding": "base64"}
        elif isinstance(form, str) and self._input:
            out["format"] = form

    @staticmethod
    def _data(node: JsonObject, out: JsonObject) -> None:
        default = node.get("default")
        if default is not None and is_plain_data(default) and len(str(default)) <= _MAX_DATA:
            out["default"] = default
        shown = [value for value in examples_of(node) if len(str(value)) <= _MAX_DATA]
        if shown:
            out["examples"] = shown

    def _bounds(self, node: JsonObject, out: JsonObject) -> None:
        for bound in ("minimum", "maximum"):
            exclusive = "exclusive" + bound.capitalize()
            value, strict = fixed_number(node.get(bound)), node.get(exclusive)
            if value is not None:
                out[exclusive if strict is True else bound] = value
            if not isinstance(strict, bool) and (value := fixed_number(strict)) is not None:
                out[exclusive] = value
        step = fixed_number(node.get("multipleOf"))
        if step is not None and step > 0:
            out["multipleOf"] = step
        for key in _COUNTS:
            if (whole := fixed_count(node.get(key))) is not None:
                out[key] = whole
        if node.get("uniqueItems") is True:
            out["uniqueItems"] = True

    def _choices(self, located: Located, node: JsonObject, out: JsonObject, kind: Any) -> None:
        values = typed_enum(node.get("enum"), kind)
        if values is not None:
            out["enum"] = values
        if "const" in node and is_plain_data(node["const"]):
            out["const"] = node["const"]
        expression = node.get("pattern")
        if isinstance(expression, str):
            if is_portable_pattern(expression):
                out["pattern"] = expression
            else:
                out["description"] = f"{out.get('description', '')} Pattern: {expression}".strip()
                self._faults.add(located.pointer, "the pattern is not portable", "It became part of the description.")

    # --- schemas within

    def _objects(self, located: Located, node: JsonObject, out: JsonObject, depth: int) -> None:
        required = text_list(node.get("required"))
        properties = node.get("properties")
        if is_object(properties):
            kept: JsonObject = {}
            for name, member in located.at("properties").value.items():
                place = located.at("properties", name)
                if self._is_hidden(place):
                    required = [key for key in required if key != name]
                    continue
                kept[name] = self._member(place, depth + 1)
                if is_object(member) and member.get("required") is True and name not in required:
                    required.append(name)
            out["properties"] = kept
            if not node.keys() & _COMPOUNDS:
                # a required name without a schema is usually a mistake in the document, so the server decides
                required = [name for name in required if name in kept]
            out.setdefault("type", "object")
        required = [name for name in required if self._is_possible(name, out)]
        for key in ("additionalProperties", "unevaluatedProperties", "propertyNames"):
            self._child(located, node, out, key, depth)
        if self._input:
            self._dependencies(located, node, out, depth)
            if required:
                out["required"] = required
        elif out.get("additionalProperties") in ({"not": {}}, {}):
            del out["additionalProperties"]

    def _is_possible(self, name: str, out: JsonObject) -> bool:
        """Return whether a caller can send a required member: an opened object describes it, and it is not readOnly."""
        if self._opened and name not in self._described:
            return False
        return name not in self._hidden or name in out.get("properties", {})

    def _member(self, place: Located, depth: int) -> Any:
        """Translate a property, which is not what a sibling of `allOf` around it describes."""
        outer, self._hidden = self._hidden, frozenset()
        made = self.schema(place, depth)
        self._hidden = outer
        return made

    def _is_hidden(self, place: Located) -> bool:
        """Return whether a property is readOnly in an input or writeOnly in an output, itself or its reference."""
        return _is_marked(self._references, place, "readOnly" if self._input else "writeOnly")

    def _hidden_names(self, located: Located) -> frozenset[str]:
        """Return the readOnly properties of a schema and of all that `allOf` joins with it.

        A name that is required and readOnly is required of responses only (OpenAPI 3.0.4, Schema Object).
        """
        found: set[str] = set()
        seen: set[Key] = set()
        waiting = [located]
        while waiting and len(seen) < _MAX_JOINED:
            schema = self._references.follow(waiting.pop())
            key = (schema.base, schema.pointer)
            if key in seen or not is_object(schema.value):
                continue
            seen.add(key)
            places = ((name, schema.at("properties", name)) for name in as_object(schema.value.get("properties")))
            found.update(name for name, place in places if self._is_hidden(place))
            waiting += [schema.at("allOf", index) for index in range(len(as_array(schema.value.get("allOf"))))]
        return frozenset(found)

    def _child(self, located: Located, node: JsonObject, out: JsonObject, key: str, depth: int) -> None:
        value = node.get(key)
        if isinstance(value, bool):
            is_closing = key == "additionalProperties" and not value
            if (self._input and not (is_closing and self._opened)) or (key == "additionalProperties" and value):
                out[key] = value
        elif is_object(value) and (self._input or key == "additionalProperties"):
            out[key] = self.schema(located.at(key), depth + 1)

    def _dependencies(self, located: Located, node: JsonObject, out: JsonObject, depth: int) -> None:
        if is_object(patterns := node.get("patternProperties")):
            out["patternProperties"] = {
                expression: self.schema(located.at("patternProperties", expression), depth + 1)
                for expression in patterns
                if is_portable_pattern(expression)
            }
        if is_object(needs := node.get("dependentRequired")):
            out["dependentRequired"] = {name: text_list(names) for name, names in needs.items()}

    def _arrays(self, located: Located, node: JsonObject, out: JsonObject, depth: int) -> None:
        items, prefix = node.get("items"), node.get("prefixItems")
        if is_array(items):  # a tuple, as draft 4 writes it
            prefix, key = items, "items"
        else:
            key = "prefixItems"
            if isinstance(items, bool):
                out["items"] = items or {}
            elif is_object(items):
                out["items"] = self.schema(located.at("items"), depth + 1)
        if is_array(prefix) and prefix:
            out["prefixItems"] = [self.schema(located.at(key, index), depth + 1) for index in range(len(prefix))]
        if self._input and is_object(node.get("contains")):
            out["contains"] = self.schema(located.at("contains"), depth + 1)

    def _compounds(self, located: Located, node: JsonObject, out: JsonObject, depth: int, *, in_place: bool) -> None:
        unions = [union for key in ("anyOf", "oneOf") if (union := self._several(located, key, depth, in_place))]
        all_of = self._several(located, "allOf", depth, in_place)
        if len(unions) == 1:
            out["anyOf"] = unions[0]
        elif unions:
            all_of += [{"anyOf": union} for union in unions]
        if all_of:
            out["allOf"] = all_of
        if self._input:
            for key in ("not", "if", "then", "else"):
                if is_object(node.get(key)):
                    out[key] = self.schema(located.at(key), depth + 1, in_place=in_place)
            if is_object(dependent := node.get("dependentSchemas")):
                out["dependentSchemas"] = {
                    name: self.schema(located.at("dependentSchemas", name), depth + 1, in_place=in_place)
                    for name in dependent
                }

    def _several(self, located: Located, key: str, depth: int, in_place: bool) -> list[Any]:
        members = as_array(located.value.get(key))
        return [self._part(located.at(key, index), depth + 1, in_place=in_place) for index in range(len(members))]

    # --- null

    def _with_null(self, node: JsonObject, out: JsonObject) -> JsonObject:
        if not (_is_nullable(node) if self._input else out.keys() & _SHAPES):
            return out
        kind = out.get("type")
        if isinstance(kind, str) or is_array(kind):
            kinds = [kind] if isinstance(kind, str) else kind
            out["type"] = kinds if "null" in kinds else [*kinds, "null"]
            if "enum" in out and None not in out["enum"]:
                out["enum"] = [*out["enum"], None]
        if not (out.keys() & _IN_PLACE):
            return out
        about: JsonObject = {key: out.pop(key) for key in ("title", "description", "deprecated") if key in out}
        return {**about, "anyOf": [*_branches(out), {"type": "null"}]}


def _is_marked(references: References, place: Located, mark: str) -> bool:
    node = place.value
    if is_object(node) and "$ref" in node and mark not in node:
        node = references.follow(place).value
    return is_object(node) and node.get(mark) is True


def _is_nullable(node: JsonObject) -> bool:
    return node.get("nullable") is True or node.get("x-nullable") is True


def _branches(out: JsonObject) -> Iterator[Any]:
    """Yield the branches of a schema that consists of anyOf alone, else the schema itself."""
    if out.keys() == {"anyOf"}:
        yield from out["anyOf"]
    elif out:
        yield out


# --- values of single keywords: each function returns a value that draft 2020-12 allows, or None to drop the keyword


def fixed_types(declared: Any) -> str | list[str] | None:
    """Return a type or a list of types; misspelt types are corrected, unknown ones dropped."""
    known: list[str] = []
    for name in declared if is_array(declared) else [declared]:
        if isinstance(name, str):
            plain = name.strip().lower()
            plain = plain if plain in _TYPES else _MISNAMED.get(plain, "")
            if plain and plain not in known:
                known.append(plain)
    if not known:
        return None
    return known[0] if len(known) == 1 and not is_array(declared) else known


def fixed_number(value: Any) -> int | float | None:
    """Return a number of at most 64 bits, even if it was written as text."""
    if isinstance(value, str):
        try:
            value = float(value) if "." in value or "e" in value.lower() else int(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= _MAX_NUMBER else None  # neither NaN nor infinity passes


def fixed_count(value: Any) -> int | None:
    """Return a whole number of at least 0."""
    found = fixed_number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def text_list(value: Any) -> list[str]:
    """Return the texts in a list, each once."""
    return list(dict.fromkeys(item for item in as_array(value) if isinstance(item, str)))


@lru_cache(maxsize=4096)
def is_portable_pattern(value: str) -> bool:
    """Return whether a regular expression means the same in JavaScript, Python and Rust.

    `/…/i` is a JavaScript literal; as a pattern it would match no real value.
    """
    if len(value) > _MAX_PATTERN or _DELIMITED.fullmatch(value) or _NOT_PORTABLE.search(value):
        return False
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def typed_enum(values: Any, kind: Any) -> list[Any] | None:
    """Return the values, each once, converted to the type: `[1, 2]` of type string becomes `["1", "2"]`."""
    if not is_array(values) or not values or not is_plain_data(values):
        return None
    unique: dict[str, Any] = {}
    for value in values:
        fitting = _FITTED[kind](value) if isinstance(kind, str) and kind in _FITTED else value
        unique.setdefault(f"{type(fitting).__name__} {fitting}", fitting)
    return list(unique.values())


def _as_string(value: Any) -> Any:
    return format_scalar(value) if isinstance(value, bool | int | float) else value


def _as_number(value: Any) -> Any:
    fitting = fixed_number(value) if isinstance(value, str) else None
    return value if fitting is None else fitting


def _as_boolean(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


_FITTED: dict[str, Callable[[Any], Any]] = {
    "string": _as_string,
    "number": _as_number,
    "integer": _as_number,
    "boolean": _as_boolean,
}


def examples_of(node: JsonObject) -> list[Any]:
    """Return at most three examples, from `example` and from `examples` (a list, or a map of example objects)."""
    found: list[Any] = [node["example"]] if node.get("example") is not None else []
    several = node.get("examples")
    if is_array(several):
        found += several
    elif is_object(several):
        found += [item["value"] for item in several.values() if is_object(item) and "value" in item]
    return [value for value in found if is_plain_data(value)][:_MAX_EXAMPLES]


def is_plain_data(value: Any) -> bool:
    """Return whether data can be part of a schema: JSON without anything that looks like a reference."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if is_object(item):
            if "$ref" in item:
                return False
            waiting.extend(item.values())
        elif is_array(item):
            waiting.extend(item)
        elif not _is_scalar(item):
            return False
    return True


def _is_scalar(item: Any) -> bool:
    if isinstance(item, float):
        return math.isfinite(item)
    if isinstance(item, int):
        return -_MAX_NUMBER <= item <= _MAX_NUMBER
    return item is None or isinstance(item, str)
