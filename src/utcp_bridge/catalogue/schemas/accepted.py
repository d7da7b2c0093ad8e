"""Parts of a listed schema in the form that every host accepts: values, types, required names, shown values. Pure.

Gemini refuses a whole request for an enumeration with anything but text in it, or for a property without a type.
VS Code refuses a tool with an array without items. Each function here returns a schema that accepts at least what it
was given accepts, with two exceptions: an enumeration loses its empty text, and a part whose keywords belong to one
type gets that type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from utcp_bridge.catalogue.schemas.keywords import NESTED, NESTED_LISTS, NESTED_MAPS
from utcp_bridge.catalogue.text import clean_line
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = [
    "NOTHING",
    "OTHERS",
    "REFERENCE",
    "DefinitionSource",
    "Outlines",
    "ShownValues",
    "StatedTypes",
    "has_listable_values",
    "joined",
    "short_values",
    "typed_by_content",
    "with_kinds",
    "with_required",
    "with_values",
    "without_loops",
]

REFERENCE: Final = "#/$defs/"
NOTHING: Final[JsonObject] = {"not": {}}
"""The schema that refuses every value."""
OTHERS: Final = frozenset({"additionalProperties", "unevaluatedItems", "unevaluatedProperties"})
"""What applies to values that nothing else describes. The listed schema says only what they look like."""
_BRANCHES: Final = frozenset({"$ref", "allOf", "anyOf"})
_STRUCTURE: Final = NESTED | NESTED_LISTS | NESTED_MAPS | {"$ref", "required", "dependentRequired"}
_MAX_SHOWN: Final = 30
_SAMPLE: Final = 8
_MAX_SHOWN_TEXT: Final = 160
_MAX_STEPS: Final = 500
_MAX_DEPTH: Final = 32
_FOR_TEXT: Final = ("enum",)
_FOR_ARRAYS: Final = ("items", "prefixItems", "contains", "minItems", "maxItems", "uniqueItems")
_FOR_OBJECTS: Final = ("properties", "required", "additionalProperties", "patternProperties")
_OWN: Final[Mapping[str, Sequence[str]]] = {"array": _FOR_ARRAYS, "object": _FOR_OBJECTS, "string": _FOR_TEXT}
_CONTENT: Final[Sequence[tuple[str, frozenset[str]]]] = (
    ("string", frozenset({"enum"})),
    (
        "object",
        frozenset(
            {"additionalProperties", "maxProperties", "minProperties", "patternProperties", "properties", "required"}
        ),
    ),
    ("array", frozenset(_FOR_ARRAYS)),
    ("string", frozenset({"contentEncoding", "contentMediaType", "maxLength", "minLength", "pattern"})),
    ("number", frozenset({"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"})),
)
"""Type → keywords that say something about values of this type alone."""


# --- values ---


def with_values(schema: JsonObject, kinds: list[str]) -> tuple[JsonObject, list[str]]:
    """Return a sub-schema whose enumeration has text alone, each once, and its types.

    `kinds` are the types that it states. Values of other types move to the description. A null stays possible: it is
    one of the types.
    """
    if "const" not in schema and "enum" not in schema:
        return schema, kinds
    values = [schema["const"]] if "const" in schema else schema["enum"]
    if kinds == ["string"] and all(type(one) is str and one for one in values):  # nearly every enumeration
        rest = {key: one for key, one in schema.items() if key not in {"const", "enum"}}
        return {**rest, "enum": list(dict.fromkeys(values))}, kinds
    if not kinds and not _BRANCHES & schema.keys():
        kinds = _without_integer(list(dict.fromkeys(map(_kind_of, values))))
    possible = [value for value in values if not kinds or any(_is_of(value, kind) for kind in kinds)]
    texts = list(dict.fromkeys(value for value in possible if isinstance(value, str) and value))
    if "const" in schema and possible and not texts:
        return {key: value for key, value in schema.items() if key != "enum"}, kinds
    new = {key: value for key, value in schema.items() if key not in {"const", "enum"}}
    if texts and (kinds or all(isinstance(value, str) for value in possible)):
        new["enum"] = texts
    if not possible or _needs_words(possible, kinds):
        new["description"] = _described(new.get("description", ""), possible or values)
    return new, kinds


def has_listable_values(schema: JsonObject) -> bool:
    """Return whether hosts accept the enumeration of a sub-schema as it is: distinct texts that are not empty."""
    values = schema.get("enum")
    if values is None:
        return True
    return bool(values) and all(isinstance(one, str) and one for one in values) and len(set(values)) == len(values)


def _needs_words(values: Sequence[Any], kinds: list[str]) -> bool:
    others = [value for value in values if value is not None and not isinstance(value, str)]
    if others:
        return not (kinds == ["boolean"] and True in others and False in others)
    return not kinds and None in values


def short_values(schema: JsonObject, longest: int) -> JsonObject:
    """Return a sub-schema without an enumeration above `longest` values. The description has the first of them."""
    values = schema.get("enum")
    if not is_list(values) or len(values) <= longest:
        return schema
    rest = {key: value for key, value in schema.items() if key != "enum"}
    return {**rest, "description": _described(schema.get("description", ""), values)}


def _described(text: str, values: Sequence[Any]) -> str:
    shown = [value if isinstance(value, str) else orjson.dumps(value).decode() for value in values]
    joined = clean_line(", ".join(shown))
    if len(shown) > _MAX_SHOWN or len(joined) > _MAX_SHOWN_TEXT:
        joined = clean_line(", ".join(shown[:_SAMPLE]), _MAX_SHOWN_TEXT)
        return f"{text} One of {len(shown)} values: {joined}, …".strip()
    return f"{text} One of: {joined}.".strip()


def _without_integer(kinds: list[str]) -> list[str]:
    return [kind for kind in kinds if kind != "integer" or "number" not in kinds]


def _kind_of(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    if value is None:
        return "null"
    for types, kind in _KINDS:
        if isinstance(value, types):
            return kind
    return "object"


_KINDS: Final[Sequence[tuple[type, str]]] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (list, "array"),
)


# --- types ---


def with_kinds(schema: JsonObject, kinds: list[str]) -> JsonObject:
    """Return a sub-schema with these types: one as `type`, several as `anyOf`, each with the keywords of its own."""
    if not kinds:
        return schema
    if len(kinds) == 1:
        return _typed(kinds[0], schema)
    rest = dict(schema)
    branches = [
        with_required(_typed(kind, {key: rest.pop(key) for key in _OWN.get(kind, ()) if key in rest}), is_branch=False)
        for kind in kinds
    ]
    if "anyOf" in rest:
        return {**rest, "allOf": [*rest.get("allOf", []), {"anyOf": branches}]}
    return {"anyOf": branches, **rest}


def _typed(kind: str, schema: JsonObject) -> JsonObject:
    if kind != "array":
        return {"type": kind, **schema}
    items = schema.get("items", {})
    if items == NOTHING:  # nothing beyond `prefixItems`
        most = min(schema.get("maxItems", len(schema.get("prefixItems", ()))), len(schema.get("prefixItems", ())))
        return {"type": kind, **schema, "items": {}, "maxItems": most}
    return {"type": kind, "items": {}, **schema} if "items" not in schema else {"type": kind, **schema}


def typed_by_content(schema: JsonObject) -> JsonObject:
    """Return a sub-schema without a type with the type that its keywords belong to, if there is one."""
    if "type" in schema or "const" in schema or not _BRANCHES.isdisjoint(schema):
        return schema
    kind = next((kind for kind, keywords in _CONTENT if keywords & schema.keys()), None)
    if kind is None:
        return schema
    typed = with_required(_typed(kind, schema), is_branch=False)
    if "default" in typed and not _is_of(typed["default"], kind):
        del typed["default"]
    return typed


class DefinitionSource(Protocol):
    """The definitions of one schema by their listed names."""

    def get(self, name: str, default: Any = None, /) -> Any:
        """Return a definition."""
        ...


class StatedTypes(DefinitionSource, Protocol):
    """Definitions whose types are known before they are ported."""

    def stated(self, name: str) -> list[str] | None:
        """Return the type that a definition states. None if it does not state one."""
        ...


class Outlines:
    """The types of the sub-schemas of one schema. Those of each definition are found once."""

    def __init__(self, definitions: StatedTypes) -> None:
        self._definitions = definitions
        self._known: dict[str, set[str]] = {}

    def kinds(self, schema: JsonObject) -> list[str]:
        """Return the types that a value may have, also those of branches and of a reference. Empty: any."""
        return _without_integer(sorted(self._kinds(schema)))

    def _kinds(self, schema: JsonObject) -> set[str]:
        """Return the types that a value may have. Empty: any."""
        if isinstance(kind := schema.get("type"), str):
            return {kind}
        found = self._referred(schema.get("$ref"))
        alternatives = [self._kinds(branch) for branch in schema.get("anyOf", ())]
        union = set[str]().union(*alternatives) if all(alternatives) else set[str]()
        for more in (union, *(self._kinds(branch) for branch in schema.get("allOf", ()))):
            found = (found & more or found) if found and more else found or more
        return found

    def _referred(self, reference: Any) -> set[str]:
        if reference == "#":
            return {"object"}
        if not isinstance(reference, str):
            return set()
        if reference not in self._known:
            self._known[reference] = set()  # for a definition that refers to itself
            name = reference.removeprefix(REFERENCE)
            stated = self._definitions.stated(name)  # to look at it whole means to port it
            self._known[reference] = self._kinds(self._definitions.get(name, {})) if stated is None else set(stated)
        return self._known[reference]


# --- branches ---


def joined(schema: JsonObject, *, is_root: bool = False) -> JsonObject:
    """Return a sub-schema whose branches differ. A single branch is joined with the schema around it.

    Some hosts do not read `allOf`. A root keeps its branches. What says nothing of other values is omitted.
    """
    for key in () if OTHERS.isdisjoint(schema) else OTHERS & schema.keys():
        if schema[key] in ({}, NOTHING):
            schema = {name: value for name, value in schema.items() if name != key}
    for key in ("allOf", "anyOf"):
        branches: list[JsonObject] = schema.get(key, [])
        if not branches:
            continue
        kept = [*{orjson.dumps(one, option=orjson.OPT_SORT_KEYS): one for one in reversed(branches)}.values()][::-1]
        if key == "allOf":
            kept = [one for one in kept if one]
        rest = {name: value for name, value in schema.items() if name != key}
        if not kept:
            schema = rest
        elif len(kept) > 1 or is_root or (whole := _together(rest, kept[0])) is None:
            schema = {**schema, key: kept}
        else:
            return joined(whole)
    has_values = "enum" in schema or "const" in schema
    return with_kinds(*with_values(schema, [])) if has_values and "type" not in schema else schema


def _together(rest: JsonObject, branch: JsonObject) -> JsonObject | None:
    """Return two schemas of one value as one. None if they say different things with one keyword."""
    if rest.get("items") == {} and "items" in branch:
        rest = {key: value for key, value in rest.items() if key != "items"}
    shared = rest.keys() & branch.keys() - _ANNOTATIONS
    is_conditional = bool(rest.keys() & _CONDITIONAL) and bool(branch.keys() & _CONDITIONAL)
    if is_conditional or "x-mcp-header" in branch or any(rest[key] != branch[key] for key in shared):
        return None
    whole = {**branch, **rest}
    kind = whole.pop("type", None)
    return with_kinds(*with_values(whole, [] if kind is None else [kind]))


def without_loops(definitions: JsonObject) -> JsonObject:
    """Return definitions of which none is only a reference to itself, directly or through others."""
    return {name: _without_loop(name, definitions) for name in definitions}


def _without_loop(name: str, definitions: JsonObject) -> JsonObject:
    first: JsonObject = definitions[name]
    following = first
    seen = {name}
    while isinstance(reference := following.get("$ref"), str) and reference != "#":
        onward = reference.removeprefix(REFERENCE)
        if onward in seen:
            return {key: value for key, value in first.items() if key != "$ref"}
        seen.add(onward)
        following = definitions.get(onward, {})
    return first


_ANNOTATIONS: Final = frozenset(
    {"default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly", "$anchor"}
)
_CONDITIONAL: Final = frozenset({"else", "if", "then"})


# --- required names ---


def with_required(schema: JsonObject, *, is_branch: bool) -> JsonObject:
    """Return an object's schema that requires only names that it has itself.

    What another branch describes is required in a branch of its own. Other names are omitted: nothing says what they
    are.
    """
    required = schema.get("required")
    if required is None or schema.get("type") != "object":
        return schema
    properties = schema.get("properties", {})
    missing = [name for name in required if name not in properties]
    if not missing:
        return schema
    if is_branch and not properties:
        return {key: value for key, value in schema.items() if key != "type"}
    new = {key: value for key, value in schema.items() if key != "required"}
    if own := [name for name in required if name in properties]:
        new["required"] = own
    if is_branch or _BRANCHES & schema.keys():
        branches: list[JsonObject] = schema.get("allOf", [])
        elsewhere: JsonObject = {"required": missing}
        new["allOf"] = branches if elsewhere in branches else [*branches, elsewhere]
    return new


# --- defaults and examples ---


class ShownValues:
    """Checks the defaults and examples of one schema."""

    def __init__(self, definitions: JsonObject) -> None:
        self._definitions = definitions
        self._steps = 0

    def without_wrong(self, schema: JsonObject, _depth: int = 0) -> JsonObject:
        """Return a sub-schema without its default and those of its examples that it refuses itself."""
        wrong: set[str] = set()
        if "default" in schema and not self._accepts(schema, schema["default"]):
            wrong.add("default")
        if examples := schema.get("examples"):
            kept = [one for one in examples if self._accepts(schema, one)]
            if len(kept) < len(examples):
                schema = {**schema, "examples": kept}
            if not kept:
                wrong.add("examples")
        return {key: value for key, value in schema.items() if key not in wrong} if wrong else schema

    def _accepts(self, schema: JsonObject, value: Any) -> bool:
        self._steps = 0
        return self._may_have(schema, value)

    def _may_have(self, schema: JsonObject, value: Any, depth: int = 0) -> bool:
        """Return whether a schema may accept a value. Patterns, formats and conditions do not count.

        A member has to fit each schema that may be about it: a pattern of a stranger can take very long, and a default
        that is omitted although it is right harms nobody.
        """
        self._steps += 1
        if self._steps > _MAX_STEPS or depth > _MAX_DEPTH:
            return True
        kind = schema.get("type")
        is_of_type = kind is None or _is_of(value, kind)
        if not is_of_type or schema.get("not") == {} or not _is_among(schema, value) or not _is_within(schema, value):
            return False
        return self._may_have_branches(schema, value, depth + 1) and self._may_have_parts(schema, value, depth + 1)

    def _may_have_branches(self, schema: JsonObject, value: Any, depth: int) -> bool:
        alternatives: list[JsonObject] = schema.get("anyOf", [])
        if alternatives and not any(self._may_have(one, value, depth) for one in alternatives):
            return False
        branches: list[JsonObject] = schema.get("allOf", [])
        if isinstance(reference := schema.get("$ref"), str):
            branches = [*branches, self._definitions.get(reference.removeprefix(REFERENCE), {})]
        return all(self._may_have(branch, value, depth) for branch in branches)

    def _may_have_parts(self, schema: JsonObject, value: Any, depth: int) -> bool:
        if is_list(value) and "contains" in schema and not self._may_contain(schema, value, depth):
            return False
        for part, inner in _parts(schema, value):
            if not self._may_have(part, inner, depth):
                return False
            if self._steps > _MAX_STEPS:
                break
        return True

    def _may_contain(self, schema: JsonObject, values: Sequence[Any], depth: int) -> bool:
        least: int = schema.get("minContains", 1)
        return least <= len(values) and sum(self._may_have(schema["contains"], one, depth) for one in values) >= least


def _is_of(value: Any, kind: str) -> bool:
    own = _kind_of(value)
    if kind == "integer":
        return own == "integer" or (isinstance(value, float) and value.is_integer())
    return own == kind or (kind == "number" and own == "integer")


def _is_among(schema: JsonObject, value: Any) -> bool:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return values is None or any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)


def _is_within(schema: JsonObject, value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return True
    if is_object(value) and not _has_required(schema, value):
        return False
    is_number = isinstance(value, int | float)
    if is_number and not _is_multiple(value, schema.get("multipleOf")):
        return False
    if is_list(value) and schema.get("uniqueItems") and not _are_unique(value):
        return False
    size = value if is_number else len(value)
    least, most, above, below = (schema.get(key) for key in _BOUNDS["number" if is_number else _kind_of(value)])
    return not (
        (least is not None and size < least)
        or (most is not None and size > most)
        or (above is not None and size <= above)
        or (below is not None and size >= below)
    )


def _has_required(schema: JsonObject, value: JsonObject) -> bool:
    needs: JsonObject = schema.get("dependentRequired", {})
    names = [*schema.get("required", ()), *(more for name in needs if name in value for more in needs[name])]
    return all(name in value for name in names)


def _is_multiple(value: float, step: float | None) -> bool:
    """Return whether a number may be a multiple: 0.3 is a multiple of 0.1 in JSON, but not in binary fractions."""
    if not step or value == 0:
        return True
    return abs(value) >= step and (not float(step).is_integer() or value % step == 0)


def _are_unique(values: Sequence[Any]) -> bool:
    return len({orjson.dumps(one, option=orjson.OPT_SORT_KEYS) for one in values}) == len(values)


_BOUNDS: Final = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "string": ("minLength", "maxLength", "", ""),
    "array": ("minItems", "maxItems", "", ""),
    "object": ("minProperties", "maxProperties", "", ""),
}


def _parts(schema: JsonObject, value: Any) -> Iterator[tuple[JsonObject, Any]]:
    """Yield the parts of a schema with the parts of a value that they are about, or may be about."""
    if is_list(value):
        first: list[JsonObject] = schema.get("prefixItems", [])
        yield from zip(first, value, strict=False)
        rest: JsonObject = schema["items"] if "items" in schema else schema.get("unevaluatedItems", {})
        if rest:
            yield from ((rest, one) for one in value[len(first) :])
    elif is_object(value):
        properties: JsonObject = schema.get("properties", {})
        others = [schema[key] for key in ("additionalProperties", "unevaluatedProperties") if key in schema]
        patterns = list(schema.get("patternProperties", {}).values())
        yield from ((one, value) for name, one in schema.get("dependentSchemas", {}).items() if name in value)
        for name, inner in value.items():
            if "propertyNames" in schema:
                yield schema["propertyNames"], name
            own = [properties[name]] if name in properties else others
            yield from ((one, inner) for one in (*own, *patterns))
