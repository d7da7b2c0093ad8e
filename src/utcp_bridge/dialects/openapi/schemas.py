"""OpenAPI schemas (2.0, 3.0, 3.1) as JSON Schema 2020-12, in one of two readings (pure).

Input: what a caller may send. readOnly properties go, oneOf becomes anyOf (models and hosts handle it better).
Output: what a server may answer, permissively, because a client refuses answers that do not fit: nothing is
required or bounded, everything may be null, additional members are welcome.

References become `#/$defs/NAME`; `definitions.py` collects what they name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from utcp_bridge.dialects.openapi import keywords
from utcp_bridge.dialects.openapi.loading import Family
from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.shapes import Faults, Located, as_array, as_text, is_array
from utcp_bridge.model import JsonObject, is_object

__all__ = ["Direction", "Key", "Piece", "SchemaTranslator"]

Direction: TypeAlias = Literal["input", "output"]
Key: TypeAlias = tuple[str, str]
"""A definition's identity: document address and JSON pointer."""

_DEEPEST = 64
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "example", "examples", "deprecated", "nullable", "x-nullable"}
)
_LARGEST_DATA = 2_000
_BASE64 = frozenset({"binary", "byte", "base64"})


@dataclass(frozen=True, slots=True)
class Piece:
    """A translated schema with the definitions it names.

    `refs` counts how often each is named; `in_place` are those named without a step into the instance: a circle of
    them would never end.
    """

    schema: Any
    refs: Counter[Key] = field(default_factory=Counter[Key])
    in_place: frozenset[Key] = frozenset()


class SchemaTranslator:
    """Translates one document's schemas in one direction; `name_of` gives the name of the definition at a place."""

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

    def translate(self, schema: Located) -> Piece:
        """One schema, as written where it stands."""
        run = _Run(self._references, self._family, self._input, self._name_of, self._faults)
        translated = run.schema(schema, 0, in_place=True)
        return Piece(translated, run.refs, frozenset(run.in_place))


class _Run:
    """One translation on its way through a schema."""

    def __init__(
        self, references: References, family: Family, is_input: bool, name_of: Callable[[Located], str], faults: Faults
    ) -> None:
        self._references = references
        self._family = family
        self._input = is_input
        self._name_of = name_of
        self._faults = faults
        self.refs: Counter[Key] = Counter()
        self.in_place: set[Key] = set()

    def schema(self, located: Located, depth: int, *, in_place: bool = False) -> Any:
        node = located.value
        if isinstance(node, bool):
            return {} if node or not self._input else {"not": {}}
        if not is_object(node) or depth > _DEEPEST:
            if node is not None:
                self._faults.add(
                    located.pointer, "the schema is not readable or too deep", "Anything is accepted there."
                )
            return {}
        reference = node.get("$ref", node.get("$dynamicRef"))
        if isinstance(reference, str):
            return self._reference(located, reference, depth, in_place=in_place)
        return self._keywords(located, node, depth, in_place=in_place)

    def _reference(self, located: Located, reference: str, depth: int, *, in_place: bool) -> Any:
        """3.1 lets keywords stand beside a reference, earlier versions only by custom: annotations are kept."""
        node: JsonObject = located.value
        target = self._references.resolve(reference, located.base, located.pointer)
        beside = {
            key: value
            for key, value in node.items()
            if key not in {"$ref", "$dynamicRef"} and (self._family == "3.1" or key in _ANNOTATIONS)
        }
        siblings = self._keywords(Located(beside, located.base, located.pointer), beside, depth, in_place=in_place)
        if target is None or target.value is True:
            return siblings
        key = (target.base, target.pointer)
        self.refs[key] += 1
        if in_place:
            self.in_place.add(key)
        named = {"$ref": f"#/$defs/{self._name_of(target)}"}
        if self._input and _is_nullable(node):
            return {**siblings, "anyOf": [named, {"type": "null"}]}
        return {**named, **siblings}

    def _keywords(self, located: Located, node: JsonObject, depth: int, *, in_place: bool) -> JsonObject:
        out: JsonObject = {}
        kind = keywords.types(node.get("type")) if "type" in node else None
        if kind:
            out["type"] = kind
        self._annotations(node, out, kind)
        if self._input:
            self._bounds(node, out)
            self._choices(located, node, out, kind)
        elif values := keywords.typed_enum(node.get("enum"), kind):
            out.setdefault("examples", values[:20])
        self._objects(located, node, out, depth)
        self._arrays(located, node, out, depth)
        self._compounds(located, node, out, depth, in_place=in_place)
        return self._with_null(node, out)

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
        if default is not None and keywords.is_plain_data(default) and len(str(default)) <= _LARGEST_DATA:
            out["default"] = default
        shown = [value for value in keywords.examples(node) if len(str(value)) <= _LARGEST_DATA]
        if shown:
            out["examples"] = shown

    def _bounds(self, node: JsonObject, out: JsonObject) -> None:
        for bound in ("minimum", "maximum"):
            exclusive = "exclusive" + bound.capitalize()
            value, strict = keywords.number(node.get(bound)), node.get(exclusive)
            if value is not None:
                out[exclusive if strict is True else bound] = value
            if not isinstance(strict, bool) and (value := keywords.number(strict)) is not None:
                out[exclusive] = value
        step = keywords.number(node.get("multipleOf"))
        if step is not None and step > 0:
            out["multipleOf"] = step
        for key in _COUNTS:
            if (whole := keywords.count(node.get(key))) is not None:
                out[key] = whole
        if node.get("uniqueItems") is True:
            out["uniqueItems"] = True

    def _choices(self, located: Located, node: JsonObject, out: JsonObject, kind: Any) -> None:
        values = keywords.typed_enum(node.get("enum"), kind)
        if values is not None:
            out["enum"] = values
        if "const" in node and keywords.is_plain_data(node["const"]):
            out["const"] = node["const"]
        expression = node.get("pattern")
        if isinstance(expression, str):
            if keywords.pattern(expression):
                out["pattern"] = expression
            else:
                out["description"] = f"{out.get('description', '')} Pattern: {expression}".strip()
                self._faults.add(located.pointer, "the pattern is not portable", "It is only described.")

    # --- schemas within

    def _objects(self, located: Located, node: JsonObject, out: JsonObject, depth: int) -> None:
        required = keywords.text_list(node.get("required"))
        properties = node.get("properties")
        if is_object(properties):
            kept: JsonObject = {}
            for name, member in located.at("properties").value.items():
                place = located.at("properties", name)
                if self._is_hidden(place):
                    required = [key for key in required if key != name]
                    continue
                kept[name] = self.schema(place, depth + 1)
                if is_object(member) and member.get("required") is True and name not in required:
                    required.append(name)
            out["properties"] = kept
            if not node.keys() & _COMPOUNDS:
                # a required name that nothing describes is a slip of the document: the server decides, not we
                required = [name for name in required if name in kept]
            out.setdefault("type", "object")
        for key in ("additionalProperties", "unevaluatedProperties", "propertyNames"):
            self._child(located, node, out, key, depth)
        if self._input:
            self._dependencies(located, node, out, depth)
            if required:
                out["required"] = required
        elif out.get("additionalProperties") in ({"not": {}}, {}):
            del out["additionalProperties"]

    def _is_hidden(self, place: Located) -> bool:
        """No input is readOnly, no output writeOnly; the mark may stand behind a reference."""
        mark = "readOnly" if self._input else "writeOnly"
        node = place.value
        if not is_object(node):
            return False
        if "$ref" in node and mark not in node:
            node = self._references.follow(place).value
        return is_object(node) and node.get(mark) is True

    def _child(self, located: Located, node: JsonObject, out: JsonObject, key: str, depth: int) -> None:
        value = node.get(key)
        if isinstance(value, bool):
            if self._input or (key == "additionalProperties" and value):
                out[key] = value
        elif is_object(value) and (self._input or key == "additionalProperties"):
            out[key] = self.schema(located.at(key), depth + 1)

    def _dependencies(self, located: Located, node: JsonObject, out: JsonObject, depth: int) -> None:
        if is_object(patterns := node.get("patternProperties")):
            out["patternProperties"] = {
                expression: self.schema(located.at("patternProperties", expression), depth + 1)
                for expression in patterns
                if keywords.pattern(expression)
            }
        if is_object(needs := node.get("dependentRequired")):
            out["dependentRequired"] = {name: keywords.text_list(names) for name, names in needs.items()}

    def _arrays(self, located: Located, node: JsonObject, out: JsonObject, depth: int) -> None:
        items, prefix = node.get("items"), node.get("prefixItems")
        if is_array(items):  # draft 4's tuple
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
        return [self.schema(located.at(key, index), depth + 1, in_place=in_place) for index in range(len(members))]

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


_COUNTS = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains",
)  # fmt: skip
_COMPOUNDS = frozenset({"allOf", "anyOf", "oneOf", "patternProperties", "if"})
_IN_PLACE = frozenset({"allOf", "anyOf", "not", "if", "const"})
_SHAPES = frozenset({"type", "properties", "allOf", "anyOf", "items", "prefixItems"})


def _is_nullable(node: JsonObject) -> bool:
    return node.get("nullable") is True or node.get("x-nullable") is True


def _branches(out: JsonObject) -> Iterator[Any]:
    """A schema that is nothing but anyOf gives its own branches."""
    if out.keys() == {"anyOf"}:
        yield from out["anyOf"]
    elif out:
        yield out
