"""The line of each part of a JSON or YAML document in its text (pure). Used for documents with faults only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeAlias

import orjson

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.urls import steps_of

__all__ = ["Path", "as_pointer", "lines_of", "of_pointer"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead from the root of a document to a part of it."""

_TOKEN = late_pattern(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|//[^\n]*|/\*.*?(?:\*/|\Z)|[{}\[\]]|[^\s"{}\[\]:,]+', re.DOTALL)
_MAX_KEY = 1_000


class _Event(NamedTuple):
    kind: Literal["map", "list", "end", "scalar"]
    text: str
    line: int


@dataclass(slots=True)
class _Frame:
    """An open container: its kind, and the key (in a map) or index (in a list) of the current member."""

    is_map: bool
    key: str | int
    line: int = 0
    expects_key: bool = True


def as_pointer(path: Path) -> str:
    """Return the JSON pointer of a path (RFC 6901); it is empty for the whole document."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def of_pointer(pointer: str) -> Path:
    """Return the path of a JSON pointer, with or without `#`; every step is text."""
    return tuple(steps_of(pointer))


def lines_of(text: str, paths: Iterable[Path]) -> dict[Path, int]:
    """Return the line, from 1, of each path, or of the nearest part around it that the text has."""
    import yaml  # slow to import, and most documents have no faults

    asked = {path: tuple(map(str, path)) for path in paths}
    wanted = {steps[:length] for steps in asked.values() for length in range(len(steps) + 1)}
    found: dict[tuple[str, ...], int] = {(): 1}
    try:
        for place, line in _places(_events(text)):
            if place in wanted:
                found.setdefault(place, line)
    except yaml.YAMLError:
        pass  # What was found before the error is right.
    return {
        path: next(found[steps[:length]] for length in range(len(steps), -1, -1) if steps[:length] in found)
        for path, steps in asked.items()
    }


def _events(text: str) -> Iterator[_Event]:
    return _json_events(text) if text.lstrip("\ufeff \t\r\n")[:1] in {"{", "[", "/"} else _yaml_events(text)


def _places(events: Iterator[_Event]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the path and the line of every part. The line of a member of a map is the line of its key."""
    frames: list[_Frame] = []
    for event in events:
        if event.kind == "end":
            if frames:
                frames.pop()
            continue
        top = frames[-1] if frames else None
        if top is not None and top.is_map and top.expects_key:
            top.key, top.line, top.expects_key = event.text, event.line, False
            continue
        if top is not None and not top.is_map:
            top.key = int(top.key) + 1
        yield tuple(str(frame.key) for frame in frames), top.line if top is not None and top.is_map else event.line
        if top is not None:
            top.expects_key = True
        if event.kind in {"map", "list"}:
            frames.append(_Frame(event.kind == "map", "" if event.kind == "map" else -1))


def _json_events(text: str) -> Iterator[_Event]:
    line, last = 1, 0
    for match in _TOKEN.finditer(text):
        found = match[0]
        line += text.count("\n", last, match.start())
        last = match.start()
        if found in "{[":
            yield _Event("map" if found == "{" else "list", "", line)
        elif found in "}]":
            yield _Event("end", "", line)
        elif not found.startswith(("//", "/*")):
            yield _Event("scalar", _unquoted(found), line)


def _yaml_events(text: str) -> Iterator[_Event]:
    import yaml  # see lines_of

    loader: Any = yaml.CSafeLoader(text)
    while loader.check_event():
        event = loader.get_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.MappingStartEvent):
            yield _Event("map", "", line)
        elif isinstance(event, yaml.SequenceStartEvent):
            yield _Event("list", "", line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            yield _Event("end", "", line)
        elif isinstance(event, yaml.ScalarEvent):
            yield _Event("scalar", event.value, line)
        elif isinstance(event, yaml.AliasEvent):
            yield _Event("scalar", f"*{event.anchor}", line)


def _unquoted(word: str) -> str:
    """Return the text of a JSON string. Long strings are values, whose text is not needed."""
    if not word.startswith('"'):
        return word
    if "\\" in word and len(word) < _MAX_KEY:
        with suppress(orjson.JSONDecodeError):  # it is not closed
            return str(orjson.loads(word))
    return word[1:-1]
