"""What stands within `{{ }}`: a path to an argument and filters (pure).

    {{ name }}  {{ user.name }}  {{ rows[0].id }}  {{ units | default:metric }}  {{ ids | join:", " }}

`uuid` and `now` (ISO 8601, UTC) are built in unless the tool declares such an input; within one rendering
they do not change. Filters are applied from left to right:

    default:value    if the argument is absent or null; JSON where it parses, else text
    required         an error if the argument is absent or null
    json             the value as JSON text
    join:separator   a list as one text; a comma unless stated
    urlencode        percent-encoded; nothing to do in a URL's path or query, which are encoded anyway
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias, final
from uuid import uuid4

import orjson

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import is_list, is_object
from utcp_bridge.placement.encoding import compact_json, format_scalar, percent_encode

__all__ = ["OMITTED", "Context", "Expression", "Run", "parse_expression"]

_PATH = re.compile(r"[\w$@-]+(?:\.[\w$@-]+|\[\d{1,6}\])*")


class Context(StrEnum):
    """Where rendered text goes, and how it is therefore written."""

    URL_PATH = "url_path"
    QUERY = "query"
    HEADER = "header"
    ARGV = "argv"
    JSON = "json"
    TEXT = "text"


@final
class _Omitted:
    def __repr__(self) -> str:
        return "OMITTED"


OMITTED: Final = _Omitted()
"""In place of a value: the argument is absent, so leave out whatever it would have made up."""


@dataclass(frozen=True, slots=True)
class Run:
    """One rendering."""

    arguments: Mapping[str, Any] = field(repr=False)
    context: Context
    built_in: dict[str, str] = field(default_factory=dict[str, str])


_Filter: TypeAlias = Callable[[Any, Run, str], Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """A path into the arguments, and filters; `typed` if, standing alone, it keeps the value's type."""

    name: str
    path: tuple[str | int, ...]
    filters: tuple[_Filter, ...] = ()
    built_in: bool = False
    typed: bool = True

    def evaluate(self, run: Run) -> Any:
        """The value, `OMITTED` if the argument is absent.

        :raises InvalidArguments: a filter refuses the value.
        """
        value = _built_in(self.name, run) if self.built_in else _follow(run.arguments, self.path)
        for apply in self.filters:
            value = apply(value, run, self.name)
        return value


def parse_expression(text: str, inputs: frozenset[str] | None) -> Expression:
    """Read the inside of `{{ }}`; `inputs` are the tool's declared arguments, if known.

    :raises ConfigError: it is no path, or a filter is unknown or lacks its value.
    """
    path, *filters = (part.strip() for part in _split(text))
    if not _PATH.fullmatch(path):
        raise ConfigError(
            f"The template expression {{{{{text.strip()[:60]}}}}} names no argument.",
            remedy="Write {{ name }}, {{ name.member }} or {{ name[0] }}, then filters.",
        )
    declared = inputs or frozenset[str]()
    steps = (path,) if path in declared else tuple(_steps(path))
    return Expression(
        name=str(steps[0]),
        path=steps,
        filters=tuple(_read_filter(part) for part in filters),
        built_in=path in _BUILT_IN and path not in declared,
    )


def _split(text: str) -> Iterator[str]:
    """At every `|` that stands outside double quotes."""
    start, quoted = 0, False
    for position, character in enumerate(text):
        if character == '"' and text[position - 1 : position] != "\\":
            quoted = not quoted
        elif character == "|" and not quoted:
            yield text[start:position]
            start = position + 1
    yield text[start:]


def _steps(path: str) -> Iterator[str | int]:
    for step in path.replace("[", ".[").split("."):
        yield int(step[1:-1]) if step.startswith("[") else step


def _follow(arguments: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
    first, *rest = path
    value: Any = arguments.get(str(first), OMITTED)
    for step in rest:
        if isinstance(step, int):
            value = value[step] if is_list(value) and step < len(value) else OMITTED
        else:
            value = value.get(step, OMITTED) if is_object(value) else OMITTED
    return value


_BUILT_IN: dict[str, Callable[[], str]] = {
    "uuid": lambda: str(uuid4()),
    "now": lambda: datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
}


def _built_in(name: str, run: Run) -> str:
    if name not in run.built_in:
        run.built_in[name] = _BUILT_IN[name]()
    return run.built_in[name]


def _read_filter(text: str) -> _Filter:
    name, colon, value = text.partition(":")
    make = _FILTERS.get(name.strip())
    if make is None:
        raise ConfigError(
            f"The template filter {name.strip()[:40]!r} is unknown.", remedy=f"Filters: {', '.join(sorted(_FILTERS))}."
        )
    return make(value.strip() if colon else None)


def _default(text: str | None) -> _Filter:
    if text is None:
        raise ConfigError("The template filter 'default' has no value.", remedy="Write {{ name | default:value }}.")
    fallback = _json_or_text(text)
    return lambda value, _run, _name: copy.deepcopy(fallback) if value is OMITTED or value is None else value


def _json_or_text(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _required(_text: str | None) -> _Filter:
    def apply(value: Any, _run: Run, name: str) -> Any:
        if value is OMITTED or value is None:
            raise InvalidArguments(f"Argument {name!r} is missing.", remedy=f"Send {name!r}.")
        return value

    return apply


def _json(_text: str | None) -> _Filter:
    return lambda value, _run, _name: value if value is OMITTED else compact_json(value).decode("utf-8")


def _join(text: str | None) -> _Filter:
    parsed = "," if text is None else _json_or_text(text)
    separator = parsed if isinstance(parsed, str) else str(text)
    return lambda value, _run, _name: separator.join(map(format_scalar, value)) if is_list(value) else value


def _urlencode(_text: str | None) -> _Filter:
    def apply(value: Any, run: Run, name: str) -> Any:
        if value is OMITTED or run.context in {Context.URL_PATH, Context.QUERY}:
            return value
        return percent_encode(format_scalar(value), argument=name)

    return apply


_FILTERS: dict[str, Callable[[str | None], _Filter]] = {
    "default": _default,
    "join": _join,
    "json": _json,
    "required": _required,
    "urlencode": _urlencode,
}
