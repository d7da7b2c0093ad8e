"""Placeholders for arguments in templates: compiled once for each tool, rendered for each call (pure).

    {{ name | filter | filter:value }}   any text or JSON value; the extended dialect, v1's WebSocket documents
    ${name}                              an argument, where variable substitution did not replace it
    {name}                               a part of a URL
    UTCP_ARG_name_UTCP_ARG               tcp, udp, websocket
    UTCP_ARG_name_UTCP_END               cli

Rule 1. A text that consists of one `{{ }}` or `${ }` gives the typed value, in `json` and `query`.
Rule 2. An absent argument omits what it alone makes up: the member, the item, the header. Within longer text, in a
        URL, or under `required`, a missing argument is an error of the caller.
Rule 3. A value is never scanned again: an argument that looks like a placeholder is plain text.

Within `{{ }}` is a path to an argument, and filters:

    {{ name }}  {{ user.name }}  {{ rows[0].id }}  {{ units | default:metric }}  {{ ids | join:", " }}

`uuid` and `now` (ISO 8601, UTC) are built in unless the tool declares such an input; within one rendering they do not
change. Filters apply from left to right:

    default:value    if the argument is absent or null; JSON if it parses, else text
    required         an error if the argument is absent or null
    json             the value as JSON text
    join:separator   a list as one text; the default separator is a comma
    urlencode        percent-encoded; no effect in a URL's path or query, which are encoded anyway
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Flag, StrEnum, auto
from typing import Any, Final, TypeAlias, final
from uuid import uuid4

import orjson

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import is_list, is_object
from utcp_bridge.placement.encoding import (
    compact_json,
    encode_path_segment,
    format_scalar,
    header_value,
    percent_encode,
)

__all__ = ["OMITTED", "Context", "Expression", "Run", "Syntax", "Template", "compile_template", "parse_expression"]

_PATH = re.compile(r"[\w$@-]+(?:\.[\w$@-]+|\[\d{1,6}\])*")


class Context(StrEnum):
    """Where rendered text goes, which decides how it is written."""

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
"""In place of a value: the argument is absent, so omit what consists of it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One rendering."""

    arguments: Mapping[str, Any] = field(repr=False)
    context: Context
    built_in: dict[str, str] = field(default_factory=dict[str, str])


_Filter: TypeAlias = Callable[[Any, Run, str], Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """A path into the arguments, and filters; `typed` if it keeps the value's type where it is the whole text."""

    name: str
    path: tuple[str | int, ...]
    filters: tuple[_Filter, ...] = ()
    built_in: bool = False
    typed: bool = True

    def evaluate(self, run: Run) -> Any:
        """Return the value, or `OMITTED` if the argument is absent.

        :raises InvalidArguments: a filter refuses the value.
        """
        value = _built_in(self.name, run) if self.built_in else _follow(run.arguments, self.path)
        for apply in self.filters:
            value = apply(value, run, self.name)
        return value


def parse_expression(text: str, inputs: frozenset[str] | None) -> Expression:
    """Read the inside of `{{ }}`; `inputs` are the tool's declared arguments, if known.

    :raises ConfigError: the text does not start with a path, or a filter is unknown or lacks its value.
    """
    path, *filters = (part.strip() for part in _split(text))
    if not _PATH.fullmatch(path):
        raise ConfigError(
            f"The template expression {{{{{text.strip()[:60]}}}}} does not name an argument.",
            remedy="Write {{ name }}, {{ name.member }} or {{ name[0] }}, and then filters.",
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
    """Split at every `|` outside double quotes."""
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
            f"The template filter {name.strip()[:40]!r} is unknown.",
            remedy=f"Use one of: {', '.join(sorted(_FILTERS))}.",
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


_MAX_DEPTH = 200
_TYPED = frozenset({Context.JSON, Context.QUERY})
_WITHOUT_NULL = frozenset({Context.HEADER, Context.ARGV})


class Syntax(Flag):
    """Which placeholders a template may contain."""

    MUSTACHE = auto()
    """`{{ name }}`"""
    DOLLAR = auto()
    """`${name}`"""
    BRACES = auto()
    """`{name}`"""
    UTCP_ARG = auto()
    """`UTCP_ARG_name_UTCP_ARG`"""
    UTCP_END = auto()
    """`UTCP_ARG_name_UTCP_END`"""


_PATTERNS = {
    Syntax.MUSTACHE: r"(?P<mustache>\{\{)",
    Syntax.DOLLAR: r"\$\{(?P<dollar>[A-Za-z0-9_]{1,128})\}",
    Syntax.BRACES: r"\{(?P<braces>[^{}\s/]{1,128})\}",
    Syntax.UTCP_ARG: r"UTCP_ARG_(?P<arg>\w{1,128}?)_UTCP_ARG",
    Syntax.UTCP_END: r"UTCP_ARG_(?P<end>\w{1,128}?)_UTCP_END",
}
_Part: TypeAlias = "str | Expression"
_Render: TypeAlias = Callable[[Run], Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template; `names` are the arguments that it mentions, without built-in names."""

    names: frozenset[str]
    _render: _Render

    def render(self, arguments: Mapping[str, Any], *, context: Context) -> Any:
        """Put the arguments in their places.

        `json` and `query` keep the template's shape and the values' types; the other contexts write text. `argv`
        returns one flat list, in which an argument that is a list becomes several items. Returns `OMITTED` if the
        template is one placeholder whose argument is absent.

        :raises InvalidArguments: an argument is missing or does not fit its place; the message names it.
        """
        return self._render(Run(arguments, context))


def compile_template(value: Any, *, syntaxes: Syntax, inputs: frozenset[str] | None = None) -> Template:
    """Compile a text, or the texts within a JSON value (never its keys).

    `inputs` are the tool's declared arguments, if known: they hide built-in names, and `${name}` is a placeholder
    only if it is one of them.

    :raises ConfigError: an expression cannot be read, a filter is unknown, or the value is nested too deeply.
    """
    compiler = _TemplateCompiler(syntaxes, inputs)
    render = compiler.compile(value, 0)
    return Template(frozenset(compiler.names), render)


class _TemplateCompiler:
    def __init__(self, syntaxes: Syntax, inputs: frozenset[str] | None) -> None:
        self._inputs = inputs
        chosen = [pattern for syntax, pattern in _PATTERNS.items() if syntax in syntaxes]
        self._pattern = re.compile("|".join(chosen), re.ASCII) if chosen else None
        self.names: set[str] = set()

    def compile(self, value: Any, depth: int) -> _Render:
        if depth > _MAX_DEPTH:
            raise ConfigError(
                f"A template is nested more than {_MAX_DEPTH} levels deep.", remedy="Make the template flatter."
            )
        if isinstance(value, str):
            return self._compile_text(value)
        if is_object(value):
            return _object({key: self.compile(member, depth + 1) for key, member in value.items()})
        if is_list(value):
            return _list([self.compile(item, depth + 1) for item in value])
        return _constant(value)

    def _compile_text(self, text: str) -> _Render:
        parts = tuple(self._parts(text))
        expressions = [part for part in parts if isinstance(part, Expression)]
        if not expressions:
            return _constant(text)
        self.names.update(expression.name for expression in expressions if not expression.built_in)
        if len(parts) == 1:
            return _whole(expressions[0])
        return _mixed(parts)

    def _parts(self, text: str) -> Iterator[_Part]:
        start = position = 0
        while self._pattern is not None and (match := self._pattern.search(text, position)):
            found, end = self._expression(match, text)
            if found is None:
                position = end
                continue
            if match.start() > start:
                yield text[start : match.start()]
            yield found
            start = position = end
        if start < len(text):
            yield text[start:]

    def _expression(self, match: re.Match[str], text: str) -> tuple[Expression | None, int]:
        kind, name = match.lastgroup, str(match[match.lastgroup or 0])
        if kind == "mustache":
            end = _closing(text, match.end())
            if end is None:
                return None, len(text)
            return parse_expression(text[match.end() : end], self._inputs), end + 2
        if kind == "dollar" and self._inputs is not None and name not in self._inputs:
            return None, match.end()
        return Expression(name, (name,), typed=kind == "dollar"), match.end()


def _closing(text: str, start: int) -> int | None:
    """Return where the `}}` of a `{{` is; braces in a default are paired, as in `{{ x | default:{} }}`."""
    end = text.find("}}", start)
    if end < 0:
        return None
    while text.startswith("}", end + 2) and text.count("{", start, end) > text.count("}", start, end):
        end += 1
    return end


def _constant(value: Any) -> _Render:
    def render(run: Run) -> Any:
        if run.context in _TYPED or isinstance(value, str):
            return value
        return OMITTED if value is None else format_scalar(value)

    return render


def _whole(expression: Expression) -> _Render:
    def render(run: Run) -> Any:
        value = expression.evaluate(run)
        if value is OMITTED or (value is None and run.context in _WITHOUT_NULL):
            if run.context in {Context.URL_PATH, Context.TEXT}:
                raise _missing(expression)
            return OMITTED
        if expression.typed and run.context in _TYPED:
            return value
        if expression.typed and run.context is Context.ARGV and is_list(value):
            return [format_scalar(item) for item in value if item is not None]
        return _as_text(value, expression, run, in_query=False)

    return render


def _mixed(parts: tuple[_Part, ...]) -> _Render:
    def render(run: Run) -> Any:
        pieces: list[str] = []
        in_query = False
        for part in parts:
            if isinstance(part, str):
                in_query = in_query or "?" in part
                pieces.append(part)
                continue
            value = part.evaluate(run)
            if value is OMITTED or (value is None and run.context is Context.HEADER):
                if run.context is Context.HEADER:
                    return OMITTED
                raise _missing(part)
            pieces.append(_as_text(value, part, run, in_query=in_query))
        return "".join(pieces)

    return render


def _as_text(value: Any, expression: Expression, run: Run, *, in_query: bool) -> str:
    name = expression.name
    if run.context is Context.HEADER:
        return header_value(value, argument=name)
    if run.context is not Context.URL_PATH:
        return format_scalar(value)
    if in_query:
        return percent_encode(format_scalar(value), argument=name)
    return encode_path_segment(value, argument=name)


def _object(members: dict[str, _Render]) -> _Render:
    def render(run: Run) -> dict[str, Any]:
        rendered = ((key, member(run)) for key, member in members.items())
        return {key: value for key, value in rendered if value is not OMITTED}

    return render


def _list(items: list[_Render]) -> _Render:
    def render(run: Run) -> list[Any]:
        rendered = [value for item in items if (value := item(run)) is not OMITTED]
        if run.context is not Context.ARGV:
            return rendered
        return [text for value in rendered for text in (value if is_list(value) else [value])]

    return render


def _missing(expression: Expression) -> InvalidArguments:
    return InvalidArguments(
        f"Argument {expression.name!r} is missing.",
        remedy=f"Send {expression.name!r}: the tool's call template uses it.",
    )
