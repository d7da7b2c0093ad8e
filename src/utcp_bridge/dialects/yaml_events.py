"""YAML 1.2 (core schema) as plain JSON data, built from libyaml's events.

PyYAML's own composer recurses in C and ends the process on deep nesting, and its constructor speaks YAML 1.1
(dates, `no` as false). Building from events is safe and takes half the time.
"""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

import yaml

__all__ = ["MAX_ALIASED_NODES", "MAX_DEPTH", "YamlProblem", "parse_yaml"]

MAX_DEPTH = 200
MAX_ALIASED_NODES = 1_000_000
"""How many nodes a document's aliases may stand for in total: beyond it, it is an alias bomb."""

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


class YamlProblem(Exception):
    """Why the text is not usable; `line` and `column` count from 1; `is_limit`: valid YAML beyond our limits."""

    def __init__(self, what: str, mark: Any = None, *, is_limit: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.line: int | None = mark.line + 1 if mark is not None else None
        self.column: int | None = mark.column + 1 if mark is not None else None
        self.is_limit = is_limit


def parse_yaml(text: str) -> Any:
    """The one document in `text`.

    :raises YamlProblem: a syntax error, a duplicate key, a broken limit, more than one document.
    """
    try:
        loader: Any = yaml.CSafeLoader(text)
        return _Builder(loader).document()
    except yaml.MarkedYAMLError as error:
        raise YamlProblem(error.problem or "it cannot be parsed", error.problem_mark) from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise YamlProblem("it holds characters that YAML does not allow") from error


class _Builder:
    def __init__(self, loader: Any) -> None:
        self._next = loader.get_event
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._open_anchors: set[str] = set()
        self._nodes = 0
        self._aliased = 0

    def document(self) -> Any:
        self._next()  # stream start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()  # document end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise YamlProblem("it holds more than one document", after.start_mark)
        return value

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._nodes
        self._nodes += 1
        if event.anchor:
            self._open_anchors.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        elif depth >= MAX_DEPTH:
            raise YamlProblem(f"it is nested more than {MAX_DEPTH} levels deep", event.start_mark, is_limit=True)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(depth + 1)
        else:
            value = self._mapping(depth + 1)
        if event.anchor:
            self._open_anchors.discard(event.anchor)
            self._anchors[event.anchor] = (value, self._nodes - before)
        return value

    def _alias(self, event: Any) -> Any:
        name = event.anchor
        if name in self._open_anchors:
            raise YamlProblem(f"alias *{name} stands inside its own anchor", event.start_mark, is_limit=True)
        if name not in self._anchors:
            raise YamlProblem(f"alias *{name} has no anchor", event.start_mark)
        value, size = self._anchors[name]
        self._nodes += size
        self._aliased += size
        if self._aliased > MAX_ALIASED_NODES:
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
        """Keys are text: `200:` is "200", `on:` is "on"."""
        if isinstance(event, yaml.ScalarEvent):
            self._value(event, depth)  # counts it and keeps its anchor
            return str(event.value)
        if isinstance(event, yaml.AliasEvent):
            value = self._alias(event)
            if isinstance(value, str):
                return value
        raise YamlProblem("a key is not plain text", event.start_mark)


def _mergeable(value: dict[str, Any] | list[Any], event: Any) -> list[dict[str, Any]]:
    candidates = value if isinstance(value, list) else [value]
    if not all(isinstance(candidate, dict) for candidate in candidates):
        raise YamlProblem("merge key << takes mappings", event.start_mark)
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
    raise YamlProblem("a number is not finite, which JSON cannot hold", event.start_mark)
