"""Objects in several parts, one of which excludes what another one describes (pure).

`additionalProperties: false` counts the properties beside it alone (JSON Schema core, section 10.3.2.3), not those of
`allOf`, `anyOf` and `oneOf`. Many documents mean the object as a whole. Taken literally, such an object has members
that it refuses, and often has no value at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.shapes import Located, as_array, as_object
from utcp_bridge.model import is_object

__all__ = ["Closing"]

_PARTS = ("allOf", "anyOf", "oneOf")
_MEMBERS = frozenset({"properties", "additionalProperties"})
_MAX_PARTS = 200
"""Parts of one object that are looked at, in all depths."""
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Described:
    """The members that an object and all its parts describe, and whether one of them is closed."""

    names: frozenset[str]
    is_closed: bool


class Closing:
    """Looks at the objects of one document; `is_hidden` says which properties callers never send."""

    def __init__(self, references: References, is_hidden: Callable[[Located], bool]) -> None:
        self._references = references
        self._is_hidden = is_hidden
        self._seen: dict[tuple[str, str], _Described] = {}

    def excluded(self, located: Located) -> list[str]:
        """Return the members that one part of an object describes and another part excludes, sorted."""
        parts = list(_parts(located))
        if not parts or (len(parts) == 1 and located.value.keys().isdisjoint(_MEMBERS)) or not self.is_closed(located):
            return []  # one part by itself is looked at where it is
        found: set[str] = set()
        seen: set[tuple[str, str]] = set()
        waiting = [(located, _NOTHING)]
        while waiting and len(seen) < _MAX_PARTS:
            part, around = waiting.pop()
            schema = self._references.follow(part)
            key = (schema.base, schema.pointer)
            if not is_object(schema.value) or key in seen:
                continue
            seen.add(key)
            if _is_closed(schema):
                properties = as_object(schema.value.get("properties"))
                found |= {name for name in around | self._described(schema).names if name not in properties}
            own = around | self._own(schema)
            waiting += [(place, own.union(*beside)) for place, beside in self._joined(schema)]
        return sorted(found)

    def is_closed(self, located: Located) -> bool:
        """Return whether an object or one of its parts is closed."""
        return self._described(self._references.follow(located)).is_closed

    def described(self, located: Located) -> frozenset[str]:
        """Return the members that an object and all its parts describe."""
        return self._described(self._references.follow(located)).names

    def _joined(self, schema: Located) -> Iterator[tuple[Located, list[frozenset[str]]]]:
        """Yield each part with the names of those that apply beside it: of a union, only one branch applies."""
        parts = [(key, place, self._described(self._references.follow(place)).names) for key, place in _parts(schema)]
        shared = {key: frozenset[str]().union(*(names for kind, _, names in parts if kind == key)) for key in _PARTS}
        for number, (key, place, _) in enumerate(parts):
            beside = [names for kind, names in shared.items() if kind != key]
            if key == "allOf":
                beside += [names for other, (kind, _, names) in enumerate(parts) if kind == key and other != number]
            yield place, beside

    def _described(self, schema: Located) -> _Described:
        start = (schema.base, schema.pointer)
        if start not in self._seen:
            reached: dict[tuple[str, str], Located] = {start: schema}
            waiting = [schema]
            while waiting and len(reached) < _MAX_PARTS:
                for _, place in _parts(waiting.pop()):
                    part = self._references.follow(place)
                    if (part.base, part.pointer) not in reached:
                        reached[part.base, part.pointer] = part
                        waiting.append(part)
            objects = [part for part in reached.values() if is_object(part.value)]
            names = frozenset[str]().union(*map(self._own, objects))
            self._seen[start] = _Described(names, is_closed=any(map(_is_closed, objects)))
        return self._seen[start]

    def _own(self, schema: Located) -> frozenset[str]:
        properties = as_object(schema.value.get("properties"))
        places = {name: schema.at("properties", name) for name, member in properties.items() if member is not False}
        return frozenset(name for name, place in places.items() if not self._is_hidden(place))


def _parts(schema: Located) -> Iterator[tuple[str, Located]]:
    node = as_object(schema.value)
    for key in _PARTS:
        for index in range(len(as_array(node.get(key)))):
            yield key, schema.at(key, index)


def _is_closed(schema: Located) -> bool:
    """Return whether an object refuses every member that it does not describe. One with patterns is not looked at."""
    return schema.value.get("additionalProperties") is False and "patternProperties" not in schema.value
