"""What it costs to check a value against a schema, counted before the schema is compiled.

A schema of two kilobytes can take 2^40 steps to check, and nothing can interrupt the validator. Only the forms of
`schema_forms.py` are counted, so every keyword is one with a known cost. A step is one keyword that looks at one place
of a value; it takes about 20 nanoseconds, and 50 microseconds where the validator explains a failure. Patterns run on
an engine that is linear in the length of the text, times the size of the pattern.

`Cost` has the steps at each level of a value, for the worst value. A schema that refers to itself several times
multiplies them from level to level; for others they stay the same. A value is then affordable if the sum over its
levels is. If it is not, `Cost` counts again along the keys that the value really has. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from operator import le
from typing import Any, Final

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.pipeline.schema_forms import DEFINITIONS, LISTS, MAPS, NESTED, TooDearError

__all__ = ["Cost", "pattern_size"]

MAX_STEPS: Final = 10_000_000
"""Steps of one check, about 0.2 seconds. 4 MiB of arguments with 20 keywords for each value take this many."""
MAX_EXPLAINED_STEPS: Final = 2_000
_MAX_PLACE_STEPS: Final = 20_000
"""Steps at one place of a value. A choice of 1,000 constants takes 2,000."""
_MAX_TEXT_STEPS: Final = 100_000_000
"""Characters times the size of the patterns that look at them. A step takes up to 10 nanoseconds."""
_MAX_PATTERNS: Final = 200_000
"""Size of all patterns of one schema together. Compiling takes a few microseconds for each step."""
_PATTERN: Final = 100
_SLOW_PATTERN: Final = 2_000
"""Size of a pattern with look-around or a back reference, which has a bound of its own for each character."""
_MAX_CHAIN: Final = 100
_MAX_STACK: Final = 4_000
"""References and branches in one another, times levels of the value: each takes a frame of the validator's stack."""
_MAX_LEVELS: Final = 256
"""The validator refuses values with more levels."""
_MAX_PERIOD: Final = 6
_MAX_CLOSURE: Final = 64
_MAX_LOOKS: Final = 200_000
_LIGHT_STEPS: Final = 5
"""With at most this many steps at each place, no value that fits into a request is too dear."""
_VALUES_PER_STEP: Final = 50
_IN_PLACE_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf"})
_IN_PLACE: Final = frozenset({"else", "if", "not", "then"})
_UNIONS: Final = frozenset({"anyOf", "not", "oneOf"})
_UNEVALUATED: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_TOKENS: Final = late_pattern(r"\\.|\[(?:\\.|[^\]\\])*+(?:\]|\\?\Z)|\{(\d++)(,?)(\d*+)\}|.", re.DOTALL)
_CLASS: Final = 4
_MAX_DIGITS: Final = 6
_MIN_DIVISOR: Final = 1e-9


_NO_MEMBERS: Final[Mapping[str, int]] = {}


@dataclass(slots=True)
class _Node:
    """One sub-schema: what it costs itself, and the numbers of its parts."""

    steps: int = 1
    text: int = 0
    in_place: tuple[int, ...] = ()
    named: Mapping[str, int] = field(default_factory=lambda: _NO_MEMBERS)
    members: tuple[int, ...] = ()
    """Parts that may apply to each member of an object."""
    first: tuple[int, ...] = ()
    items: tuple[int, ...] = ()
    is_union: bool = False
    is_unevaluated: bool = False

    @property
    def is_leaf(self) -> bool:
        """Whether no part of it is about a part of the value."""
        return not (self.named or self.members or self.first or self.items)


class Cost:
    """What it costs to check values against one form of a schema."""

    def __init__(self, form: JsonObject) -> None:
        """Count the steps.

        :raises TooDearError: one place of a value takes too many steps, or their number is not bounded.
        """
        self._nodes = _Graph(form).nodes
        self.size = sum(
            1 + len(node.in_place) + len(node.named) + len(node.members) + len(node.items) for node in self._nodes
        )
        order, self._chain = _order(self._nodes)
        for index in order:
            if self._nodes[index].is_unevaluated:
                self._nodes[index].in_place += _closure(self._nodes, index)
        self._steps, self._text, self._worst, self._is_flat = _levels(self._nodes, order)
        self.has_deep_unions = _has_deep_unions(self._nodes)
        self._closures: dict[int, Counter[int]] = {}
        light = max(self._steps) <= _LIGHT_STEPS and not any(self._text) and self._is_flat
        self.is_light = light and self._chain * _MAX_LEVELS <= _MAX_STACK
        self._flat_members, self._flat_characters = self._flat_limits()

    @property
    def steps(self) -> int:
        """The steps at the most expensive place of a value."""
        return max(self._steps)

    @property
    def is_flat(self) -> bool:
        """Whether the steps do not grow with the levels of the value."""
        return self._is_flat

    @property
    def text(self) -> int:
        """The size of the patterns at the place of a value that has the most."""
        return max(self._text)

    def steps_for(self, value: Any) -> int:
        """Return the steps of checking a value against any part of the schema, at most."""
        steps = depth = 0
        level: list[Any] = [value]
        while level and steps < MAX_STEPS:
            if depth >= len(self._worst) and not self._is_flat:
                return MAX_STEPS
            steps += len(level) * self._worst[min(depth, len(self._worst) - 1)]
            level = [inner for one in level for inner in _inner(one)]
            depth += 1
        return steps

    def with_slow_patterns(self) -> None:
        """Count each pattern as one of the engine with look-around."""
        self._text = [max(text, _SLOW_PATTERN) if text else 0 for text in self._text]
        for node in self._nodes:
            node.text = max(node.text, _SLOW_PATTERN) if node.text else 0
        self._flat_members, self._flat_characters = self._flat_limits()

    def _flat_limits(self) -> tuple[int, int]:
        """Return the most members of an object without containers, and the most characters of its texts together."""
        if self._text[0]:  # patterns look at the names of the members
            return 0, 0
        return (MAX_STEPS - self._steps[0]) // max(self._steps[1], 1), _MAX_TEXT_STEPS // max(self._text[1], 1)

    def allows(self, value: Any, most: int = MAX_STEPS) -> bool:
        """Return whether a value is checked in at most `most` steps, and its texts in a bounded time."""
        if most == MAX_STEPS and (self.is_light or self._allows_flat(value)):
            return True
        return self._allows_levels(value, most) or self._allows_keys(value, most)

    def _allows_flat(self, value: Any) -> bool:
        """Judge an object without containers, as `_allows_levels` does but faster: most arguments are such objects."""
        if value.__class__ is not dict or len(value) > self._flat_members:
            return False
        characters = 0
        for one in value.values():
            kind = one.__class__
            if kind is str:
                characters += len(one)
            elif kind is dict or kind is list:
                return False
        return characters <= self._flat_characters

    def _allows_levels(self, value: Any, most: int) -> bool:
        """Judge a value by the number of places at each of its levels."""
        steps = characters = depth = 0
        level: list[Any] = [value]
        while level:
            if depth >= len(self._steps) and not self._is_flat:
                return False
            at = min(depth, len(self._steps) - 1)
            steps += len(level) * self._steps[at]
            following: list[Any] = []
            for one in level:
                kind = one.__class__
                if kind is str:
                    characters += len(one)
                elif kind is dict:
                    following.extend(one.values())
                    characters += _characters(one) if self._text[at] else 0
                elif kind is list:
                    following.extend(one)
            if steps > most or characters * self._text[at] > _MAX_TEXT_STEPS or depth * self._chain > _MAX_STACK:
                return False
            level = following
            depth += 1
        return True

    def _allows_keys(self, value: Any, most: int) -> bool:
        """Judge a value along its keys. The work is bounded, and what takes more is not allowed."""
        looks, text = _MAX_LOOKS, _MAX_TEXT_STEPS
        pending: list[tuple[Any, Counter[int], int]] = [(value, Counter({0: 1}), 0)]
        while pending:
            value, parts, depth = pending.pop()
            closed: Counter[int] = Counter()
            for index, times in parts.items():
                for inner, ways in self._closed(index).items():
                    closed[inner] += times * ways
                looks -= len(self._closed(index))
            most -= sum(self._nodes[index].steps * times for index, times in closed.items())
            size = _characters(value)
            text -= size * sum(self._nodes[index].text * times for index, times in closed.items()) if size else 0
            looks -= len(closed)
            if most < 0 or text < 0 or looks < 0 or depth * self._chain > _MAX_STACK:
                return False
            pending.extend(self._below(value, closed, depth + 1))
        return True

    def _below(self, value: Any, closed: Counter[int], depth: int) -> list[tuple[Any, Counter[int], int]]:
        found: list[tuple[Any, Counter[int], int]] = []
        inner: Any = value.items() if is_object(value) else enumerate(value) if is_list(value) else ()
        for key, one in inner:
            parts: Counter[int] = Counter()
            for index, times in closed.items():
                for target in _parts_at(self._nodes[index], key):
                    parts[target] += times
            if parts:
                found.append((one, parts, depth))
            if len(found) * len(closed) > _MAX_LOOKS:
                return [(value, Counter(dict.fromkeys(closed, MAX_STEPS)), depth)]
        return found

    def _closed(self, index: int) -> Counter[int]:
        """Return the sub-schemas that apply where this one does, each with the number of ways to it."""
        if index not in self._closures:
            found: Counter[int] = Counter({index: 1})
            for inner in self._nodes[index].in_place:
                found.update(self._closed(inner))
            self._closures[index] = found
        return self._closures[index]


def _inner(value: Any) -> Iterable[Any]:
    return value.values() if is_object(value) else value if is_list(value) else ()


def _characters(value: Any) -> int:
    """Return the characters of a text, or of the keys of an object: patterns look at both."""
    if isinstance(value, str):
        return len(value)
    return sum(len(str(key)) for key in value) if is_object(value) else 0  # of a program, keys may be other than text


def _parts_at(node: _Node, key: str | int) -> Sequence[int]:
    if isinstance(key, str):
        own = node.named.get(key)
        return node.members if own is None else (own, *node.members)
    return (node.first[key], *node.items) if key < len(node.first) else node.items


class _Graph:
    """The sub-schemas of one form as numbered nodes. The root has the number 0."""

    def __init__(self, form: JsonObject) -> None:
        self.nodes: list[_Node] = []
        definitions: JsonObject = form.get("$defs", {})
        self._numbers: dict[str, int] = {"#": 0}
        self._patterns = 0
        self.nodes.append(_Node())
        for name in definitions:
            self._numbers[DEFINITIONS + name] = len(self.nodes)
            self.nodes.append(_Node())
        for name, definition in definitions.items():
            self._fill(self._numbers[DEFINITIONS + name], definition)
        self._fill(0, form)

    def _part(self, schema: Any) -> int:
        if is_object(schema) and len(schema) == 1 and schema.get("$ref") in self._numbers:
            return self._numbers[schema["$ref"]]
        index = len(self.nodes)
        self.nodes.append(_Node())
        self._fill(index, schema)
        return index

    def _parts(self, schemas: list[Any]) -> tuple[int, ...]:
        return tuple(self._part(one) for one in schemas)

    def _fill(self, index: int, schema: Any) -> None:
        if not is_object(schema):
            return
        node = self.nodes[index]
        for key, value in schema.items():
            if key == "$ref":
                if value not in self._numbers:
                    raise TooDearError("a reference without a target")
                node.in_place += (self._numbers[value],)
            elif key in _IN_PLACE or (key in _IN_PLACE_LISTS and is_list(value)):
                node.in_place += self._parts(value if is_list(value) else [value])
                node.is_union |= key in _UNIONS
            elif is_list(value) and key in LISTS:
                node.first += self._parts(value)
            elif is_object(value) and key in MAPS:
                self._map(node, key, value)
            elif key in NESTED:
                self._nested(node, key, value)
            elif key != "$defs":
                self._own(node, key, value)

    def _map(self, node: _Node, key: str, schemas: JsonObject) -> None:
        parts = {name: self._part(sub) for name, sub in schemas.items()}
        if key == "properties":
            node.named = parts
        elif key == "patternProperties":
            node.members += tuple(parts.values())
            node.steps += 2 * len(parts)
            node.text += 2 * sum(self._pattern(name) for name in parts)
        else:
            node.in_place += tuple(parts.values())

    def _nested(self, node: _Node, key: str, value: Any) -> None:
        target = self._part(value)
        node.steps += 1
        if key in {"items", "additionalItems", "contains", "unevaluatedItems"}:
            node.items += (target,)
        else:
            node.members += (target,)
        node.is_unevaluated |= key in _UNEVALUATED

    def _own(self, node: _Node, key: str, value: Any) -> None:
        node.steps += 1
        if key == "pattern":
            node.text += self._pattern(value)
        elif key == "format":
            node.text += _SLOW_PATTERN if value == "regex" else _CLASS
        elif key == "multipleOf":
            node.steps += _division(value)
        elif key == "uniqueItems":
            node.steps += _VALUES_PER_STEP // 2
        elif key in {"required", "dependentRequired", "enum", "const"}:
            node.steps += _size(value) // _VALUES_PER_STEP

    def _pattern(self, pattern: Any) -> int:
        size = pattern_size(pattern) if isinstance(pattern, str) else 0
        self._patterns += _PATTERN + size
        if self._patterns > _MAX_PATTERNS:
            raise TooDearError("the size of its patterns")
        return size


def _division(divisor: Any) -> int:
    """Return what a division costs: the validator computes exactly, with as many digits as it takes."""
    if isinstance(divisor, int) and divisor < 2**53:
        return 0
    return 20 if isinstance(divisor, float) and _MIN_DIVISOR < divisor < 1 / _MIN_DIVISOR else 1_000


def _size(value: Any) -> int:
    """Return the number of values in a value."""
    pending = [value]
    size = 0
    while pending:
        one = pending.pop()
        size += 1
        if is_object(one):
            pending.extend(one.values())
        elif is_list(one):
            pending.extend(one)
    return size


def pattern_size(pattern: str) -> int:
    """Return roughly how many states a regular expression has: repeats in braces multiply what they repeat."""
    groups: list[int] = [0]
    last = 0
    for token in _TOKENS.finditer(pattern):
        text = token[0]
        if text == "(":
            groups.append(0)
            last = 0
            continue
        if text == ")" and len(groups) > 1:
            last = groups.pop()
        elif token[1]:
            times = max(_number(token[1]), _number(token[3]))
            groups[-1] += last * max(times - 1, 0)
            last *= max(times, 1)
            continue
        else:
            last = _CLASS if text[0] in "\\[." else 1
        groups[-1] += last
    return min(sum(groups), 10 * _MAX_PATTERNS)


def _number(digits: str) -> int:
    return int(digits or "0") if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _order(nodes: list[_Node]) -> tuple[list[int], int]:
    """Return the nodes with those in place of each before it, and the longest chain of them.

    :raises TooDearError: a chain is endless or too long.
    """
    lengths: dict[int, int] = {}
    order: list[int] = []

    def visit(index: int, depth: int) -> int:
        if index in lengths:
            return lengths[index]
        if depth > _MAX_CHAIN:
            raise TooDearError("a chain of references")
        length = 1 + max((visit(inner, depth + 1) for inner in set(nodes[index].in_place)), default=0)
        if length > _MAX_CHAIN:
            raise TooDearError("a chain of references")
        lengths[index] = length
        order.append(index)
        return length

    return order, max(visit(index, 0) for index in range(len(nodes)))


def _closure(nodes: list[_Node], index: int) -> tuple[int, ...]:
    """Return everything that applies where a node does, once for each way to it.

    :raises TooDearError: these are too many for `unevaluatedProperties` and `unevaluatedItems`, which check each twice.
    """
    found: list[int] = []
    pending = list(nodes[index].in_place)
    while pending:
        one = pending.pop()
        found.append(one)
        if len(found) > _MAX_CLOSURE:
            raise TooDearError("what it leaves unevaluated")
        pending += nodes[one].in_place
    return tuple(found)


def _levels(nodes: list[_Node], order: list[int]) -> tuple[list[int], list[int], list[int], bool]:
    """Return steps and size of patterns at each level of the worst value, and whether they stop growing.

    The third list has the steps of the most expensive part at each level. The last entry is for all further levels if
    the counts stop growing; otherwise the lists end before the level at which one place takes too many steps. Counts
    stop growing if a level takes at most what a level before it takes, for every node: later levels then do so too.

    :raises TooDearError: the root or its members take too many.
    """
    found: list[list[int]] = []
    edges = sum(2 + len(node.in_place) + len(node.named) + len(node.members) for node in nodes)
    period = 0
    for _ in range(max(2, min(_MAX_LEVELS, _MAX_LOOKS // edges))):
        counts = _place(nodes, order, found[-1] if found else None)
        if counts[0] > _MAX_PLACE_STEPS:
            break
        earlier = enumerate(reversed(found[-_MAX_PERIOD:]), start=1)
        period = next((number for number, one in earlier if all(map(le, counts, one))), 0)
        found.append(counts)
        if period:
            break
    if len(found) < 2:
        raise TooDearError("the number of steps")
    if period:
        found.append([max(several) for several in zip(*found[-period:], strict=True)])
    return [one[0] for one in found], [one[1] for one in found], [max(one[::2]) for one in found], bool(period)


def _place(nodes: list[_Node], order: list[int], below: list[int] | None) -> list[int]:
    """Return steps and size of patterns of every node, one after the other, one level further down than `below`."""
    counts = [0] * (2 * len(nodes))
    for index in order:
        node = nodes[index]
        if below is None:
            steps, text = node.steps, node.text
        elif node.is_leaf:
            steps = text = 0
        else:
            steps, text = _most_below(node, below, 0), _most_below(node, below, 1)
        for inner in node.in_place:
            steps += counts[2 * inner]
            text += counts[2 * inner + 1]
        counts[2 * index] = min(steps, MAX_STEPS)
        counts[2 * index + 1] = min(text, _MAX_TEXT_STEPS)
    return counts


def _most_below(node: _Node, counts: list[int], which: int) -> int:
    members = max((counts[2 * index + which] for index in node.named.values()), default=0)
    members += sum(counts[2 * index + which] for index in node.members)
    items = max((counts[2 * index + which] for index in node.first), default=0)
    return max(members, items + sum(counts[2 * index + which] for index in node.items))


def _has_deep_unions(nodes: list[_Node]) -> bool:
    """Return whether a branch of a union looks into a value: explaining why it fails then costs more than a step."""
    known: set[int] = set()
    pending = [inner for node in nodes if node.is_union for inner in node.in_place]
    while pending:
        index = pending.pop()
        if index in known:
            continue
        known.add(index)
        node = nodes[index]
        if not node.is_leaf:
            return True
        pending += node.in_place
    return False
