"""What a caller reads and sends back: readOnly members inside the objects of a request body, which are not sent (pure).

OpenAPI does not want them in a request (3.0.4, Schema Object). The listed input schema has no such members, and an
object that is closed would refuse them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeAlias

from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.shapes import Located, as_array, as_object
from utcp_bridge.model import is_object

__all__ = ["MemberPath", "ReadOnlyMembers"]

MemberPath: TypeAlias = tuple[str | None, ...]
"""Names of members from the outside inwards; None stands for each item of a list and each value of a map."""
_Places: TypeAlias = tuple[Located, ...]
_PARTS: Final = ("allOf", "anyOf", "oneOf")
_INNER: Final = frozenset({"$ref", "properties", "items", "additionalProperties", *_PARTS})
_MAX_DEPTH: Final = 5
_MAX_PARTS: Final = 100
"""Parts of one value that are looked at."""
_MAX_PATHS: Final = 200
_MAX_MEMBERS: Final = 100_000
"""Members that are looked at in one document, which take about half a second."""


class ReadOnlyMembers:
    """Finds the readOnly members of one document; `is_read_only` says whether a property itself is one."""

    def __init__(self, references: References, is_read_only: Callable[[Located], bool]) -> None:
        self._references = references
        self._is_read_only = is_read_only
        self._left = _MAX_MEMBERS if references.mentions(b'"readOnly":true') else 0
        self._known: dict[tuple[tuple[tuple[str, str], ...], int], tuple[MemberPath, ...]] = {}

    def within(self, place: Located) -> tuple[MemberPath, ...]:
        """Return the paths to the readOnly members inside a value, at most 200 of them and six levels deep.

        A member counts if it is readOnly in each part of its object that describes it.
        """
        return self._within((place,), _MAX_DEPTH)

    def _within(self, places: _Places, depth: int) -> tuple[MemberPath, ...]:
        if self._left <= 0:
            return ()
        places = tuple(place for place in places if not _INNER.isdisjoint(as_object(place.value)))
        if not places:
            return ()
        key = tuple((place.base, place.pointer) for place in places), depth
        if key not in self._known:
            self._known[key] = tuple(islice(self._found(places, depth), _MAX_PATHS))
        return self._known[key]

    def _found(self, places: _Places, depth: int) -> Iterator[MemberPath]:
        members: dict[str | None, list[Located]] = {}
        for part in self._parts(places):
            own = as_object(part.value.get("properties"))
            for name in own:
                members.setdefault(name, []).append(part.at("properties", name))
            for key in ("items",) if own else ("items", "additionalProperties"):
                if is_object(part.value.get(key)):
                    members.setdefault(None, []).append(part.at(key))
        self._left -= len(members)
        for step, of in members.items():
            if step is not None and all(map(self._is_read_only, of)):
                yield (step,)
            elif depth:
                yield from ((step, *path) for path in self._within(tuple(of), depth - 1))

    def _parts(self, places: Iterable[Located]) -> Iterator[Located]:
        """Yield what describes one value: the places, and all that they join or choose from."""
        seen: set[tuple[str, str]] = set()
        waiting = list(places)
        while waiting and len(seen) < _MAX_PARTS:
            part = self._references.follow(waiting.pop())
            if not is_object(part.value) or (part.base, part.pointer) in seen:
                continue
            seen.add((part.base, part.pointer))
            yield part
            for key in _PARTS:
                waiting += [part.at(key, index) for index in range(len(as_array(part.value.get(key))))]
