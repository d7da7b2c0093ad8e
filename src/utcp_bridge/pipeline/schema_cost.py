"""What checking one value against a schema may cost, counted before the schema is compiled.

A fetched manual may hold a schema of a few kilobytes that takes 2^40 steps to check (branches that refer to
branches) or overflows the stack of the validator (chains of references). Neither can be interrupted, so
such schemas are recognised and left out of checking instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.urls import at_pointer

__all__ = ["is_affordable"]

_MOST_STEPS = 1_000
_MOST_NODES = 50_000
_LONGEST_CHAIN = 100
_BRANCH_LISTS = ("allOf", "anyOf", "oneOf")
_BRANCHES = ("not", "if", "then", "else")


def is_affordable(schema: JsonObject) -> bool:
    """Whether every place of a value is checked in a bounded number of steps.

    Counted are the sub-schemas that apply to the same place: branches and local references. What applies
    to members or items is bounded by the value itself.
    """
    counter = _Counter(schema)
    for seen, node in enumerate(_objects(schema)):
        if seen >= _MOST_NODES or counter.steps(node, 0) > _MOST_STEPS:
            return False
    return True


class _Counter:
    """Steps per sub-schema, each worked out once."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._known: dict[int, int] = {}

    def steps(self, node: JsonObject, chain: int) -> int:
        if chain > _LONGEST_CHAIN:
            return _MOST_STEPS + 1
        known = self._known.get(id(node))
        if known is not None:
            return known
        self._known[id(node)] = 1  # a cycle that does not descend into the value ends here, as in the validator
        total = 1
        for branch in self._branches(node):
            total += self.steps(branch, chain + 1)
            if total > _MOST_STEPS:
                break
        self._known[id(node)] = total
        return total

    def _branches(self, node: JsonObject) -> Iterator[JsonObject]:
        for key in _BRANCH_LISTS:
            branches = node.get(key)
            yield from (one for one in branches if is_object(one)) if is_list(branches) else ()
        for key in _BRANCHES:
            branch = node.get(key)
            if is_object(branch):
                yield branch
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            target = at_pointer(self._root, reference)
            if is_object(target):
                yield target


def _objects(schema: JsonObject) -> Iterator[JsonObject]:
    pending: list[Any] = [schema]
    while pending:
        value = pending.pop()
        if is_object(value):
            yield value
            pending.extend(value.values())
        elif is_list(value):
            pending.extend(value)
