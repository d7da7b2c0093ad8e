"""Tools as lines of JSON between two processes. What several tools share crosses once, and they share it again.

A line is the fields of one tool, in their order, after a list of the fields that are split. A field with an object that
came before, byte for byte, has its number instead. The definitions and properties of a split field have numbers, too.
Writer and reader count alike, so numbers are not sent.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Final

import orjson

from utcp_bridge.dialects.readings import RawTool
from utcp_bridge.model import JsonObject, draft_of, is_object

__all__ = ["ToolReader", "ToolWriter"]

_KEYS: Final = ("", *(one.name for one in fields(RawTool)))
"""The parts of a line; the first is the list of those that are split."""
_FIELDS_OF: Final = attrgetter(*_KEYS[1:])
_TUPLES: Final = tuple(_KEYS.index(key) for key in ("tags", "body_members"))
_OBJECTS: Final = tuple(
    _KEYS.index(key)
    for key in ("template", "inputs", "outputs", "annotations", "decided", "overlay", "defaults", "extras", "rest")
)
_SPLIT: Final = ("$defs", "properties")
"""Members of a schema whose own members are often the same in many schemas."""
_ToolDraft: Final = draft_of(RawTool)
_MAX_KEY: Final = 1_024
_DIGEST_BYTES: Final = 32


class ToolWriter:
    """Writes the tools of one document."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {b"{}": 0}
        self._of_parts: dict[int, int] = {}

    def line(self, tool: RawTool) -> bytes:
        """Return the line of a tool. The caller keeps the tool, unchanged, until all are written.

        JSON of Python has whole numbers of any length, which YAML may contain.
        """
        split: list[int] = []
        values = [split, *_FIELDS_OF(tool)]
        for position in _OBJECTS:
            value = values[position]
            if not value:
                values[position] = 0 if value == {} else value
            elif is_object(value):
                values[position], is_split = self._shared(value)
                if is_split:
                    split.append(position)
        with suppress(TypeError):
            return b"T" + orjson.dumps(values) + b"\n"
        return b"J" + json.dumps(values).encode() + b"\n"

    def _shared(self, value: JsonObject) -> tuple[Any, bool]:
        """Return the number of an object that was written before, or the object, and whether it is split."""
        split: dict[str, JsonObject] = {key: parts for key in _SPLIT if is_object(parts := value.get(key))}
        if not split or not all(map(_can_be_split, split.values())):
            number, is_new = self._number(value)
            return value if is_new else number, False
        numbers: JsonObject = dict(value)
        written: JsonObject = dict(value)
        for key, parts in split.items():
            numbers[key], written[key] = self._numbered(parts)
        number, is_new = self._number(numbers, b"split")
        return (written, True) if is_new else (number, False)

    def _numbered(self, parts: JsonObject) -> tuple[JsonObject, JsonObject]:
        """Return the parts by their numbers, and the same with the new ones in full."""
        numbers, written = dict(parts), dict(parts)
        for name, part in parts.items():
            if is_object(part):
                number = self._of_parts.get(id(part))
                is_new = False
                if number is None:
                    number, is_new = self._number(part)
                    self._of_parts[id(part)] = number
                numbers[name] = number
                if not is_new:
                    written[name] = number
        return numbers, written

    def _number(self, value: JsonObject, kind: bytes = b"") -> tuple[int, bool]:
        """Return the number of an object, and whether it is a new one."""
        key = kind + _key(value)
        known = self._numbers.get(key)
        if known is not None:
            return known, False
        number = self._numbers[key] = len(self._numbers)
        return number, True


class ToolReader:
    """Reads the lines of one `ToolWriter`, in their order."""

    def __init__(self) -> None:
        self._shared: list[JsonObject] = [{}]

    def tool(self, line: bytes) -> RawTool:
        """Return the tool of a line."""
        values: list[Any] = orjson.loads(line[1:]) if line.startswith(b"T") else json.loads(line[1:])
        split, shared = values[0], self._shared
        for position in _OBJECTS:
            value = values[position]
            if type(value) is int:
                values[position] = shared[value]
            elif is_object(value):
                if position in split:
                    self._join(value)
                shared.append(value)
        for position in _TUPLES:
            values[position] = tuple(values[position])
        return _made(values)

    def _join(self, value: JsonObject) -> None:
        shared = self._shared
        for key in _SPLIT:
            parts: Any = value.get(key)
            if not is_object(parts):
                continue
            for name, part in parts.items():
                if type(part) is int:
                    parts[name] = shared[part]
                elif is_object(part):
                    shared.append(part)


def _made(values: list[Any]) -> RawTool:
    """Return the tool of a line's parts. A draft is filled in a third of the time that `RawTool()` takes."""
    draft: Any = _ToolDraft()
    (
        _split, draft.name, draft.template, draft.inputs, draft.description, draft.title, draft.outputs, draft.tags,
        draft.annotations, draft.decided, draft.deprecated, draft.average_response_size, draft.body_members,
        draft.returns_bytes, draft.overlay, draft.defaults, draft.projection, draft.extras, draft.rest,
    ) = values  # fmt: skip
    draft.__class__ = RawTool
    tool: RawTool = draft
    return tool


def _can_be_split(parts: JsonObject) -> bool:
    """Return whether no part could be taken for a number."""
    return all(type(part) is not int for part in parts.values())


def _key(value: JsonObject) -> bytes:
    try:
        data = orjson.dumps(value)
    except TypeError:
        data = json.dumps(value).encode()
    return data if len(data) < _MAX_KEY else blake2b(data, digest_size=_DIGEST_BYTES).digest()
