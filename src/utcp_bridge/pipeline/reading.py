"""Reading: arguments as models and hosts send them become arguments that fit the schema of the tool. Pure.

The reader looks only at what the schema refuses, so whatever the schema accepts stays as it was sent. It repairs:

* a null for a member that is not required and must not be null: the member is dropped;
* text where the schema does not allow text: it is parsed as the type that the schema gives, at most twice;
* one value where a list is expected: it becomes the list's only item. Text must be one word or the text of a JSON
  object, because other text may be a list in another notation;
* a boolean where the schema lists the text `true` or `false`: it becomes that text;
* a forgotten wrapper: the members of the one required object that is missing are moved into it;
* a needless wrapper such as `{"arguments": {...}}` around all arguments.

A number is never turned into text: a telephone number has already lost its zeros. The case of letters is not changed.
The work is bounded. Beyond the bound, the arguments stay as they were sent.

`WholeNumbers` changes what the schema accepts, too: JSON Schema takes `1.0` and `1e3` for integers, and many servers
that read an integer do not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, TypeAlias, cast

import orjson

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.pipeline.schema_cost import Cost
from utcp_bridge.pipeline.subschemas import SubSchema, SubSchemas, allowed_types, required_names, type_names
from utcp_bridge.urls import at_pointer

__all__ = ["ArgumentReader", "Reading", "WholeNumbers", "as_arguments", "object_in"]

_Place: TypeAlias = tuple[str | int, ...]
_ABSENT: Final[Any] = object()
_MAX_DEPTH: Final = 40
"""Levels of the schema. A level takes a few frames of Python's stack."""
_MAX_VALUE_DEPTH: Final = 200
_MAX_WORK: Final = 500_000
_STEP: Final = 20
"""What one look at one value costs, next to one for each value that is inside."""
_STEPS: Final = 8
"""A value that more sub-schemas look at costs accordingly more."""
_TEXT_STEPS: Final = 4
"""Size of patterns whose look at 64 characters costs as much as a value."""
_COMPILING: Final = 4
"""What compiling one sub-schema costs."""
_MAX_NUMBER: Final = 64
"""Characters of a number in text."""
_MAX_CHANGES: Final = 20
are_no_floats: Final = frozenset({str, int, bool, type(None)}).issuperset
"""Whether these are types that `WholeNumbers` does not change. To ask this first takes less time than its call."""
_NO_FRACTION: Final = late_pattern(rb"\.0[,\]}]")
_EXPONENT: Final = late_pattern(rb"e\+?[0-9]{1,3}[,\]}]")
_EXACT: Final = 2**53
_MAX_FACETS: Final = 200
"""Sub-schemas that one value is looked at by."""
_MAX_SCHEMA: Final = 20_000
"""Objects and lists of a schema that are searched for an integer. A larger schema is taken to have one."""
_BRANCHES: Final = ("allOf", "anyOf", "oneOf")
_CONDITIONS: Final = ("if", "then", "else")
_ONE_WORD: Final = late_pattern(r"""[^\s,;|"'\[\]{}]+""")
_WRAPPERS: Final = frozenset({
    "args", "arguments", "input", "inputs", "kwargs", "parameters", "params", "tool_input",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """Arguments as they were read. `changes` says what was changed, without values; it is empty if nothing was."""

    arguments: JsonObject = field(repr=False)
    changes: tuple[str, ...] = ()


class ArgumentReader:
    """Reads arguments by one form of a schema (`schema_checks.py`), and counts what that costs."""

    def __init__(self, schema: JsonObject, cost: Cost | None = None) -> None:
        self._parts = SubSchemas(schema, cost.size if cost is not None else 0)
        self._cost = cost

    def read(self, arguments: JsonObject) -> Reading:
        """Return the arguments, repaired as far as possible. The result need not fit the schema."""
        walk = _Walk(self._parts, self._cost)
        try:
            read = walk.read(arguments)
        except (_TooMuchWorkError, RecursionError):
            return Reading(arguments)
        return Reading(read, tuple(walk.changes[:_MAX_CHANGES])) if is_object(read) else Reading(arguments)

    def allows_null(self, name: str) -> bool:
        """Return whether the argument of this name may be null."""
        facets = self._parts.facets(self._parts.root, {})
        return all(self._parts.accepts(part, None) for part in self._parts.members(facets, name))


def object_in(value: Any) -> Any:
    """Return the object that a text contains as JSON. Any other value is returned as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    parsed = _json(value)
    return parsed if is_object(parsed) else value


def as_arguments(given: Mapping[str, Any] | str | None) -> JsonObject:
    """Return the arguments that a program passes on: a mapping, JSON text of an object as models write it, or nothing.

    :raises InvalidArguments: it is something else.
    """
    value: Any = object_in(given)
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    if not isinstance(value, Mapping):
        raise InvalidArguments("The arguments are not an object.", remedy="Pass a dict, or its JSON text.")
    return dict(cast("Mapping[str, Any]", value))


class WholeNumbers:
    """Writes numbers such as `1.0`, `1e3` and `-0.0` as integers where a schema says `integer`.

    Every branch of a union counts, also one that does not apply: `1` and `1.0` are one number to each schema.
    """

    def __init__(self, schema: JsonObject) -> None:
        self._root = schema
        self._work = 0

    @cached_property
    def _is_needed(self) -> bool:
        """Whether the schema has an integer: found out at the first call, not for each of a thousand tools."""
        return _mentions_integer(self._root)

    def written(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments, as the same object if no number changes."""
        if not self._is_needed or not _may_have_whole_floats(arguments):
            return arguments
        self._work = _MAX_WORK
        try:
            written = self._value(arguments, [self._root], 0)
        except _TooMuchWorkError:
            return arguments
        return written if is_object(written) else arguments

    def _value(self, value: Any, schemas: list[Any], depth: int) -> Any:
        if not schemas or depth > _MAX_VALUE_DEPTH:
            return value
        if is_object(value):
            facets = self._facets(schemas)
            members = {name: self._value(one, _member_schemas(facets, name), depth + 1) for name, one in value.items()}
            return value if all(members[name] is one for name, one in value.items()) else members
        if is_list(value):
            facets = self._facets(schemas)
            items = [self._value(one, _item_schemas(facets, at), depth + 1) for at, one in enumerate(value)]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        if isinstance(value, float) and value.is_integer():
            return _as_integer(value) if any(map(_says_integer, self._facets(schemas))) else value
        return value

    def _facets(self, schemas: list[Any]) -> list[JsonObject]:
        """Return the schemas with the targets of their references and with all of their branches."""
        found: dict[int, JsonObject] = {}
        pending = list(schemas)
        while pending and len(found) < _MAX_FACETS:
            one = pending.pop()
            if not is_object(one) or id(one) in found:
                continue
            found[id(one)] = one
            reference = one.get("$ref")
            if isinstance(reference, str):
                pending.append(at_pointer(self._root, reference))
            for key in _BRANCHES:
                pending += branches if is_list(branches := one.get(key)) else ()
            pending += [one[key] for key in _CONDITIONS if key in one]
            pending += dependents.values() if is_object(dependents := one.get("dependentSchemas")) else ()
        self._work -= _STEP + len(found)
        if self._work < 0:
            raise _TooMuchWorkError
        return list(found.values())


def _mentions_integer(schema: JsonObject) -> bool:
    pending: list[Any] = [schema]
    for _ in range(_MAX_SCHEMA):
        if not pending:
            return False
        one = pending.pop()
        if is_object(one) and _says_integer(one):
            return True
        pending += [sub for sub in (one.values() if is_object(one) else one) if is_object(sub) or is_list(sub)]
    return True


def _says_integer(schema: JsonObject) -> bool:
    kind = schema.get("type")
    return kind == "integer" or (is_list(kind) and "integer" in kind and "number" not in kind)


def _may_have_whole_floats(arguments: JsonObject) -> bool:
    """Return whether there may be a float without a fraction. Looking at the JSON takes a tenth of a walk's time."""
    try:
        data = orjson.dumps(arguments)
    except TypeError:  # integers beyond 64 bits, and what only an embedding program can pass
        return True
    return _NO_FRACTION.search(data) is not None or _EXPONENT.search(data) is not None


def _as_integer(value: float) -> int:
    """Return the integer that a float was written as: 1e23 is not the float's own 99999999999999991611392."""
    return int(value) if abs(value) < _EXACT else int(Decimal(repr(value)))


def _member_schemas(facets: list[JsonObject], name: str) -> list[Any]:
    found: list[Any] = []
    for facet in facets:
        declared, patterns = facet.get("properties"), facet.get("patternProperties")
        if is_object(declared) and name in declared:
            found.append(declared[name])
        else:
            found += patterns.values() if is_object(patterns) else ()
            found += [facet[key] for key in ("additionalProperties", "unevaluatedProperties") if key in facet]
    return found


def _item_schemas(facets: list[JsonObject], position: int) -> list[Any]:
    found: list[Any] = []
    for facet in facets:
        items = facet.get("items")
        first = items if is_list(items) else facet.get("prefixItems")
        if is_list(first) and position < len(first):
            found.append(first[position])
        else:
            found += [
                facet[key] for key in ("items", "additionalItems", "unevaluatedItems") if is_object(facet.get(key))
            ]
    return found


class _TooMuchWorkError(Exception):
    """The reader has looked at too many values."""


class _Walk:
    """One reading of arguments. `changes` grows with each repair."""

    def __init__(self, parts: SubSchemas, cost: Cost | None) -> None:
        self._weight = max(1, cost.steps // _STEPS) if cost is not None else 1
        self._text_weight = 1 + cost.text // _TEXT_STEPS if cost is not None else 1
        self._growing = None if cost is None or cost.is_flat else cost
        self.changes: list[str] = []
        self._parts = parts
        self._work = _MAX_WORK
        self._sizes: dict[int, tuple[Any, int]] = {}
        self._known: dict[tuple[int, str], tuple[Any, Any, list[str]]] = {}

    def read(self, arguments: JsonObject) -> Any:
        """Return the arguments as they are read; also those that are inside a needless wrapper."""
        root = self._parts.root
        read = self._value(arguments, root, (), 0)
        if self._accepts(root, read) or (inner := self._unwrapped(arguments)) is None:
            return read
        before, self.changes = self.changes, [f"{next(iter(arguments))}: its members were taken as the arguments"]
        unwrapped = self._value(inner, root, (), 0)
        if self._accepts(root, unwrapped):
            return unwrapped
        self.changes = before
        return read

    def _value(self, value: Any, part: SubSchema, place: _Place, depth: int) -> Any:
        if depth > _MAX_DEPTH or self._accepts(part, value):
            return value
        key = id(value), part.pointer
        if key not in self._known:  # branches that share parts would multiply the work
            mark = len(self.changes)
            read = self._repaired(value, part, place, depth)
            self._known[key] = value, read, self.changes[mark:]
            return read
        _, read, changes = self._known[key]
        self.changes += changes
        return read

    def _repaired(self, value: Any, part: SubSchema, place: _Place, depth: int) -> Any:
        facets = self._parts.facets(part, value)
        types = allowed_types(facets)
        if types is None or type_names(value) & types:
            read = self._inside(value, facets, place, depth)
            return self._rewrapped(read, part, facets, place, depth) if is_object(read) else read
        if isinstance(value, str) and (parsed := _parsed(value, types)) is not _ABSENT:
            self._note(place, f"text was read as {_type_word(parsed)}")
            facets = self._parts.facets(part, parsed)
            read = self._inside(parsed, facets, place, depth)
            return self._rewrapped(read, part, facets, place, depth) if is_object(read) else read
        if "array" in types and _is_one_item(value):
            return self._listed(value, part, place, depth)
        if isinstance(value, bool) and self._is_choice(part, text := str(value).lower()):
            self._note(place, "a boolean was read as text")
            return text
        return value

    def _is_choice(self, part: SubSchema, text: str) -> bool:
        """Return whether a schema allows this text as one of a few."""
        return self._accepts(part, text) and not self._accepts(part, f"{text}?")

    def _inside(self, value: Any, facets: list[SubSchema], place: _Place, depth: int) -> Any:
        """Read the members or items of a value, then the value by each union that applies to it."""
        if is_object(value):
            value = self._members(value, facets, place, depth)
        elif is_list(value):
            value = self._items(value, facets, place, depth)
        for facet in facets:
            for keyword in ("anyOf", "oneOf"):
                if is_list(branches := facet.schema.get(keyword)):
                    parts = [facet.at(keyword, index) for index in range(len(branches))]
                    value = self._union(value, parts, place, depth)
        return value

    def _members(self, value: JsonObject, facets: list[SubSchema], place: _Place, depth: int) -> JsonObject:
        required = required_names(facets)
        read: JsonObject = {}
        for key, member in value.items():
            parts = self._parts.members(facets, key)
            if member is None and key not in required and not all(self._accepts(part, None) for part in parts):
                self._note((*place, key), "null was dropped")
                continue
            for part in parts:
                member = self._value(member, part, (*place, key), depth + 1)  # noqa: PLW2901 - read by one after another
            read[key] = member
        same = len(read) == len(value) and all(read[key] is member for key, member in value.items())
        return value if same else read

    def _items(self, value: list[Any], facets: list[SubSchema], place: _Place, depth: int) -> list[Any]:
        read: list[Any] = []
        for position, item in enumerate(value):
            for part in self._parts.items(facets, position):
                item = self._value(item, part, (*place, position), depth + 1)  # noqa: PLW2901 - see _members
            read.append(item)
        return value if all(new is old for new, old in zip(read, value, strict=True)) else read

    def _union(self, value: Any, branches: list[SubSchema], place: _Place, depth: int) -> Any:
        """Return the value as the first branch reads it that then accepts it. Of one branch, take what it reads."""
        if any(self._accepts(branch, value) for branch in branches):
            return value
        makers: list[SubSchema] = []
        others: list[SubSchema] = []
        for branch in branches:
            types = allowed_types(self._parts.facets(branch, value))
            (makers if types and "array" in types and not is_list(value) else others).append(branch)
        only = [branch.pointer for branch in branches if branch.schema != {"type": "null"}]
        partly, changes = value, self.changes[:0]
        for branch in [*others, *makers]:  # lists last: any value can be their one item
            mark = len(self.changes)
            read = self._value(value, branch, place, depth + 1)
            if self._accepts(branch, read):
                return read
            if only == [branch.pointer]:
                partly, changes = read, self.changes[mark:]
            del self.changes[mark:]
        self.changes += changes
        return partly

    def _listed(self, value: Any, part: SubSchema, place: _Place, depth: int) -> Any:
        """Return a list with the one value, if the part accepts that."""
        mark = len(self.changes)
        self._note(place, "one value was put into a list")
        item = object_in(value)
        read = self._inside([item], self._parts.facets(part, [item]), place, depth)
        if self._accepts(part, read):
            return read
        del self.changes[mark:]
        return value

    def _rewrapped(
        self, value: JsonObject, part: SubSchema, facets: list[SubSchema], place: _Place, depth: int
    ) -> JsonObject:
        """Return an object with the members that its schema does not have moved into the one required object that is
        missing, if the part accepts that.
        """
        missing = [name for name in required_names(facets) if name not in value]
        if len(missing) != 1 or self._accepts(part, value):
            return value
        name = missing[0]
        known = {key: member for key, member in value.items() if self._is_declared(facets, key)}
        moved = {key: member for key, member in value.items() if key not in known}
        if not moved or not self._may_wrap(self._parts.members(facets, name), moved):
            return value
        mark = len(self.changes)
        self._note((*place, name), "members were moved into it")
        wrapped = self._members({**known, name: moved}, facets, place, depth)
        if self._accepts(part, wrapped):
            return wrapped
        del self.changes[mark:]
        return value

    def _may_wrap(self, wrapper: list[SubSchema], moved: JsonObject) -> bool:
        """Return whether the wrapper is an object, and what would be moved is not a wrapper under a wrong name."""
        facets = [facet for part in wrapper for facet in self._parts.facets(part, moved)]
        if "object" not in (allowed_types(facets) or ()):
            return False
        return len(moved) > 1 or not any(
            is_object(member) and not self._is_declared(facets, key) for key, member in moved.items()
        )

    def _is_declared(self, facets: list[SubSchema], key: str) -> bool:
        return any(key in declared for facet in facets if is_object(declared := facet.schema.get("properties")))

    def _unwrapped(self, arguments: JsonObject) -> JsonObject | None:
        """Return what a needless wrapper contains; None if the arguments have no wrapper."""
        if len(arguments) != 1:
            return None
        name, value = next(iter(arguments.items()))
        inner = object_in(value)
        if name not in _WRAPPERS or not is_object(inner):
            return None
        facets = self._parts.facets(self._parts.root, arguments)
        return None if self._is_declared(facets, name) else inner

    def _accepts(self, part: SubSchema, value: Any) -> bool:
        if self._growing is not None:
            self._work -= self._growing.steps_for(value) // _STEPS + self._size(value, 0)
        else:
            self._work -= (_STEP + self._size(value, 0)) * self._weight
        if not self._parts.is_compiled(part):
            self._work -= _COMPILING * self._parts.size
        if self._work < 0:
            raise _TooMuchWorkError
        return self._parts.accepts(part, value)

    def _size(self, value: Any, depth: int) -> int:
        """Return roughly the number of values in a value. Long texts count as several."""
        if isinstance(value, str):
            return (len(value) * self._text_weight) >> 6
        if not is_object(value) and not is_list(value):
            return 0
        known = self._sizes.get(id(value))
        if known is None:
            if depth > _MAX_VALUE_DEPTH:
                raise _TooMuchWorkError
            inner = value.values() if is_object(value) else value
            known = self._sizes[id(value)] = value, len(value) + sum(self._size(one, depth + 1) for one in inner)
        return known[1]

    def _note(self, place: _Place, what: str) -> None:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
        self.changes.append(f"{path or 'arguments'}: {what}")


def _parsed(text: str, types: frozenset[str]) -> Any:
    """Return the value of one of these types that a text contains; `_ABSENT` if the text is not one."""
    value = _json(text)
    if isinstance(value, str):
        text, value = value, _json(value)
    if value is _ABSENT and "boolean" in types:
        value = {"true": True, "false": False}.get(text.strip().lower(), _ABSENT)
    if value is _ABSENT or not type_names(value) & types:
        return _ABSENT
    return int(value) if isinstance(value, float) and "number" not in types else value


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_integer, parse_float=_finite)
    except (ValueError, RecursionError):
        return _ABSENT


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _integer(text: str) -> int:
    return int(text) if len(text) <= _MAX_NUMBER else _refuse(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _is_one_item(value: Any) -> bool:
    if isinstance(value, str):
        return _ONE_WORD.fullmatch(value) is not None or is_object(object_in(value))
    return value is not None


def _type_word(value: Any) -> str:
    return min(type_names(value))
