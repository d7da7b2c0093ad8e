"""The parts of a JSON Schema: which of them apply to a value, and whether one of them accepts it.

A part is found by its JSON pointer, and its validator is compiled when it is first needed. References are local only,
and patterns run on a linear-time engine where possible, because a fetched manual may contain a hostile one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote

from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.urls import at_pointer

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = [
    "MASK",
    "SubSchema",
    "SubSchemas",
    "allowed_types",
    "fast_validator",
    "faults",
    "required_names",
    "slow_validator",
    "type_names",
]

MASK: Final = "the given value"
"""What messages say in place of a value."""
_BACKTRACK_LIMIT: Final = 5_000
"""Steps for each start position of a match: a hostile pattern takes them at every character of a text."""
_URI: Final = "urn:utcp-bridge:inputs"
_MAX_FACETS: Final = 200
_MAX_VALIDATORS: Final = 5_000
_MIN_VALIDATORS: Final = 20
_MAX_COMPILED: Final = 200_000
"""Sub-schemas in all validators together."""
_NUMBERS: Final = frozenset({"integer", "number"})


@cache
def faults() -> tuple[type[Exception], ...]:
    """Return the errors of a schema that cannot be compiled. jsonschema-rs takes three megabytes, so it comes late."""
    import jsonschema_rs

    return ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError


class SubSchema(NamedTuple):
    """One part of a schema, with its JSON pointer."""

    pointer: str
    schema: Any

    def at(self, *steps: str | int) -> SubSchema:
        """Return the part of this part that the steps lead to. They must exist."""
        pointer, schema = self.pointer, self.schema
        for step in steps:
            pointer += "/" + str(step).replace("~", "~0").replace("/", "~1")
            schema = schema[step]
        return SubSchema(pointer, schema)


class SubSchemas:
    """The parts of one form of a schema (`schema_checks.py`). Their validators are kept.

    `size` is the number of its sub-schemas. Each validator is compiled from up to as many.
    """

    def __init__(self, schema: JsonObject, size: int = 0) -> None:
        self.size = size
        self._most = max(_MIN_VALIDATORS, min(_MAX_VALIDATORS, _MAX_COMPILED // max(size, 1)))
        self.root = SubSchema("", schema)
        dialect = schema.get("$schema")
        self._head: JsonObject = {"$schema": dialect} if isinstance(dialect, str) else {}
        self._registry: jsonschema_rs.Registry | None = None
        self._validators: dict[str, jsonschema_rs.Validator | None] = {}

    def accepts(self, part: SubSchema, value: Any) -> bool:
        """Return whether a part accepts a value. A part that cannot be compiled accepts every value."""
        schema = part.schema
        if isinstance(schema, bool) or not schema:
            return schema is not False
        name = part.pointer
        if name in self._validators:
            validator = self._validators[name]
        else:
            validator = self._keep(name, {"$ref": f"{_URI}#{quote(name, safe='/~')}"})
        try:
            return validator is None or validator.is_valid(value)
        except ValueError:  # text that is not Unicode
            return True

    def is_compiled(self, part: SubSchema) -> bool:
        """Return whether a value can be judged by a part without compiling it first."""
        return isinstance(part.schema, bool) or not part.schema or part.pointer in self._validators

    def matches(self, pattern: str, key: str) -> bool:
        """Return whether a key matches a pattern of `patternProperties`."""
        name = f"pattern {pattern}"  # a pointer starts with a slash
        validator = self._validators[name] if name in self._validators else self._keep(name, {"pattern": pattern})
        return validator is not None and validator.is_valid(key)

    def facets(self, part: SubSchema, value: Any) -> list[SubSchema]:
        """Return the objects that all apply to a value that the part applies to: itself, the target of its `$ref`, its
        `allOf`, and those of its conditions that hold.
        """
        found: dict[str, SubSchema] = {}
        pending = [part]
        while pending and len(found) < _MAX_FACETS:
            one = pending.pop()
            if is_object(one.schema) and one.pointer not in found:
                found[one.pointer] = one
                pending.extend(self._beside(one, value))
        return list(found.values())

    def members(self, facets: Iterable[SubSchema], key: str) -> list[SubSchema]:
        """Return the parts that apply to the member `key` of an object."""
        found: list[SubSchema] = []
        others: list[SubSchema] = []
        for facet in facets:
            own = list(self._declared(facet, key))
            found += own
            if not own and "additionalProperties" in facet.schema:
                found.append(facet.at("additionalProperties"))
            if "unevaluatedProperties" in facet.schema:
                others.append(facet.at("unevaluatedProperties"))
        return found or others

    def items(self, facets: Iterable[SubSchema], position: int) -> list[SubSchema]:
        """Return the parts that apply to the item at `position` of an array."""
        found: list[SubSchema] = []
        for facet in facets:
            schema: JsonObject = facet.schema
            items = schema.get("items")
            key = "items" if is_list(items) else "prefixItems"
            first = schema.get(key)
            if is_list(first) and position < len(first):
                found.append(facet.at(key, position))
            elif is_list(items) and "additionalItems" in schema:
                found.append(facet.at("additionalItems"))
            elif items is not None and not is_list(items):
                found.append(facet.at("items"))
        return found

    def _beside(self, part: SubSchema, value: Any) -> Iterator[SubSchema]:
        schema: JsonObject = part.schema
        reference = schema.get("$ref")
        if isinstance(reference, str) and is_object(target := at_pointer(self.root.schema, reference)):
            yield SubSchema(unquote(reference).removeprefix("#"), target)
        if is_list(branches := schema.get("allOf")):
            yield from (part.at("allOf", index) for index in range(len(branches)))
        if "if" in schema:
            branch = "then" if self.accepts(part.at("if"), value) else "else"
            if branch in schema:
                yield part.at(branch)
        if is_object(dependents := schema.get("dependentSchemas")) and is_object(value):
            yield from (part.at("dependentSchemas", key) for key in dependents if key in value)

    def _declared(self, facet: SubSchema, key: str) -> Iterator[SubSchema]:
        properties = facet.schema.get("properties")
        if is_object(properties) and key in properties:
            yield facet.at("properties", key)
        patterns = facet.schema.get("patternProperties")
        for pattern in patterns if is_object(patterns) else ():
            if self.matches(pattern, key):
                yield facet.at("patternProperties", pattern)

    def _keep(self, name: str, schema: JsonObject) -> jsonschema_rs.Validator | None:
        if len(self._validators) >= self._most:
            self._validators.clear()
        validator = self._validators[name] = self._compiled(schema)
        return validator

    def _compiled(self, schema: JsonObject) -> jsonschema_rs.Validator | None:
        try:
            if self._registry is None:
                import jsonschema_rs

                self._registry = jsonschema_rs.Registry([(_URI, self.root.schema)], retriever=_refuse_remote)
            whole = {**self._head, **schema}
            try:
                return fast_validator(whole, self._registry)
            except faults():
                return slow_validator(whole, self._registry)
        except faults():
            return None


def fast_validator(schema: JsonObject, registry: jsonschema_rs.Registry | None = None) -> jsonschema_rs.Validator:
    """Return a validator whose messages do not repeat values, and whose patterns take linear time.

    :raises ValueError: the schema is not valid, refers to another document, or has a pattern that is not linear.
    :raises ReferencingError: a reference has no target.
    """
    import jsonschema_rs

    return _validator(schema, registry, jsonschema_rs.RegexOptions())


def slow_validator(schema: JsonObject, registry: jsonschema_rs.Registry | None = None) -> jsonschema_rs.Validator:
    """Return a validator whose patterns may have look-around and back references, with a bound on their steps.

    :raises ValueError: the schema is not valid, or refers to another document.
    :raises ReferencingError: a reference has no target.
    """
    import jsonschema_rs

    return _validator(schema, registry, jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT))


def _validator(schema: JsonObject, registry: jsonschema_rs.Registry | None, patterns: Any) -> jsonschema_rs.Validator:
    import jsonschema_rs

    if registry is not None:
        return jsonschema_rs.validator_for(schema, pattern_options=patterns, registry=registry, mask=MASK)
    return jsonschema_rs.validator_for(schema, pattern_options=patterns, retriever=_refuse_remote, mask=MASK)


def allowed_types(facets: Iterable[SubSchema]) -> frozenset[str] | None:
    """Return the types that a value may have to fit all of these, by `type`, `enum` and `const`. None for any type."""
    allowed: frozenset[str] | None = None
    for facet in facets:
        for stated in _stated_types(facet.schema):
            allowed = stated if allowed is None else allowed & stated
    return allowed


def _stated_types(schema: JsonObject) -> Iterator[frozenset[str]]:
    kind = schema.get("type")
    words = [kind] if isinstance(kind, str) else kind
    if is_list(words):
        names = frozenset(word for word in words if isinstance(word, str))
        yield names | _NUMBERS if "number" in names else names
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if is_list(values):
        yield frozenset(name for value in values for name in type_names(value))


def required_names(facets: Iterable[SubSchema]) -> set[str]:
    """Return the members that an object must have to fit all of these."""
    names = (facet.schema.get("required") for facet in facets)
    return {name for one in names if is_list(one) for name in one if isinstance(name, str)}


def type_names(value: Any) -> frozenset[str]:
    """Return the names that JSON Schema has for the type of a JSON value."""
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, int):
        return _NUMBERS
    if isinstance(value, float):
        return _NUMBERS if value.is_integer() else frozenset({"number"})
    names: tuple[tuple[type, str], ...] = ((str, "string"), (list, "array"), (dict, "object"), (type(None), "null"))
    return frozenset(name for kind, name in names if isinstance(value, kind))


def _refuse_remote(uri: str) -> Any:
    raise ValueError(f"remote reference {uri[:200]}")
