"""YAML text, read into plain JSON data and written (pure). `documents` has the limits and the advice.

YAML is built from libyaml's events. PyYAML's own composer recurses in C, so deep nesting ends the process, and its
constructor follows YAML 1.1 (dates, `no` as false). Building from events is safe and takes half the time.
"""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

import yaml

__all__ = ["MAX_ALIASED_NODES", "MAX_ALIASED_TEXT", "YamlProblem", "read_yaml", "write_yaml"]

MAX_ALIASED_NODES = 1_000_000
"""The number of nodes that the aliases of a document may stand for in total; more is an alias bomb."""
MAX_ALIASED_TEXT = 64 * 1024 * 1024
"""The number of characters in the texts that the aliases of a document stand for."""
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NUMBER_STARTS = frozenset("0123456789+-.")
_TAG = "tag:yaml.org,2002:"
_STARTS = frozenset({"", *"0123456789+-.~nNtTfF"})
"""The first characters of numbers, booleans and null."""
_FEW = 100
"""Values and levels of one line of text, to see whether it reads as text."""


class YamlProblem(Exception):
    """YAML text that cannot be used. `line` and `column` count from 1. `is_limit`: it is valid but exceeds a limit."""

    def __init__(self, what: str, mark: Any = None, *, is_limit: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.line: int | None = mark.line + 1 if mark is not None else None
        self.column: int | None = mark.column + 1 if mark is not None else None
        self.is_limit = is_limit


def read_yaml(text: str, *, most: int, depth: int) -> Any:
    """Return the one document in `text`.

    `most` is the most values (nodes), without those that aliases stand for, and `depth` the most levels.

    :raises YamlProblem: a syntax error, a duplicate key, an exceeded limit, or more than one document.
    """
    try:
        loader: Any = yaml.CSafeLoader(text)
        return _Builder(loader, most, depth).document()
    except yaml.MarkedYAMLError as error:
        raise YamlProblem(error.problem or "it cannot be parsed", error.problem_mark) from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise YamlProblem("it contains characters that YAML does not allow") from error


class _Builder:
    def __init__(self, loader: Any, most: int, max_depth: int) -> None:
        self._next = loader.get_event
        self._most = most
        self._max_depth = max_depth
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._open_anchors: set[str] = set()
        self._nodes = 0
        self._aliased = 0
        self._characters = 0
        self._aliased_characters = 0

    def document(self) -> Any:
        self._next()  # stream start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()  # document end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise YamlProblem("it contains more than one document", after.start_mark)
        return value

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before, written = self._nodes, self._characters
        self._nodes += 1
        if self._nodes - self._aliased > self._most:
            raise YamlProblem(f"it has more than {self._most:,} values", event.start_mark, is_limit=True)
        if event.anchor:
            self._open_anchors.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
            self._characters += len(event.value)
        elif depth >= self._max_depth:
            raise YamlProblem(f"it is nested more than {self._max_depth} levels deep", event.start_mark, is_limit=True)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(depth + 1)
        else:
            value = self._mapping(depth + 1)
        if event.anchor:
            self._open_anchors.discard(event.anchor)
            self._anchors[event.anchor] = (value, self._nodes - before, self._characters - written)
        return value

    def _alias(self, event: Any) -> Any:
        name = event.anchor
        if name in self._open_anchors:
            raise YamlProblem(f"alias *{name} is inside its own anchor", event.start_mark, is_limit=True)
        if name not in self._anchors:
            raise YamlProblem(f"alias *{name} has no anchor", event.start_mark)
        value, size, characters = self._anchors[name]
        self._nodes += size
        self._aliased += size
        self._characters += characters
        self._aliased_characters += characters
        if self._aliased > MAX_ALIASED_NODES or self._aliased_characters > MAX_ALIASED_TEXT:
            raise YamlProblem("its aliases stand for too many nodes", event.start_mark, is_limit=True)
        return value

    def _sequence(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, depth))
        return items

    def _mapping(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, depth)
            value = self._value(self._next(), depth)
            if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
                merged.extend(_mergeable(value, event))
            elif key in result:
                raise YamlProblem(f"key {key!r} appears twice", event.start_mark)
            else:
                result[key] = value
        for other in merged:
            for key, value in other.items():
                result.setdefault(key, value)
        return result

    def _key(self, event: Any, depth: int) -> str:
        """Return a key as text: `200:` is "200", `on:` is "on"."""
        if isinstance(event, yaml.ScalarEvent):
            self._value(event, depth)  # counts the node and keeps its anchor
            return str(event.value)
        if isinstance(event, yaml.AliasEvent):
            value = self._alias(event)
            if isinstance(value, str):
                return value
        raise YamlProblem("a key is not plain text", event.start_mark)


def _mergeable(value: dict[str, Any] | list[Any], event: Any) -> list[dict[str, Any]]:
    candidates = value if isinstance(value, list) else [value]
    if not all(isinstance(candidate, dict) for candidate in candidates):
        raise YamlProblem("the merge key << must have a mapping or a list of mappings", event.start_mark)
    return candidates


def _scalar(event: Any) -> Any:
    text: str = event.value
    tag: str | None = event.tag
    if tag is None and not event.implicit[0]:
        return text  # quoted or block text
    if tag is None or tag in {_TAG + "int", _TAG + "float", _TAG + "bool", _TAG + "null"}:
        return _plain(text, event)
    return text  # !!str, !!timestamp, !!binary and foreign tags: the text as written


def _plain(text: str, event: Any) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _NOT_FINITE.fullmatch(text):
        _refuse_not_finite(event)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else _refuse_not_finite(event)
    return text


def _refuse_not_finite(event: Any) -> NoReturn:
    raise YamlProblem("a number is not finite, and JSON has no such numbers", event.start_mark)


def write_yaml(value: Any) -> str:
    """Return the text of a document, indented, with a line break at the end; keys keep their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.2 would not read as text, and writes repeated values in full, without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True for everything, because aliases are hard to read and to edit."""
        del data
        return True


def _write_text(dumper: Any, text: str) -> yaml.ScalarNode:
    node: yaml.ScalarNode = dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if _is_plain(text) else '"'
    )
    return node


def _is_plain(text: str) -> bool:
    """Return whether the library may write the text without quotes: `read_yaml` reads the bare word as text."""
    if not all(character.isprintable() or character == "\n" for character in text):
        return False
    if text[:1] not in _STARTS or "\n" in text:
        return True
    try:
        return isinstance(read_yaml(text, most=_FEW, depth=_FEW), str | list | dict)
    except YamlProblem:
        return False


_Dumper.add_representer(str, _write_text)
