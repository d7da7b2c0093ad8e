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
Rule 4. A text that is a JSON object or list stays one: see `json_text.py`.

Within `{{ }}` is a path to an argument, and filters:

    {{ name }}  {{ user.name }}  {{ rows[0].id }}  {{ units | default:metric }}  {{ ids | join:", " }}

`uuid` and `now` (ISO 8601, UTC) are built in unless the tool declares such an input; within one rendering they do not
change. Filters apply from left to right:

    default:value    if the argument is absent or null; JSON if it parses, else text
    required         an error if the argument is absent or null
    json             the value as JSON text
    join:separator   a list as one text; the default separator is a comma
    urlencode        percent-encoded; no effect in a URL's path or query, which are encoded anyway

Templates come from strangers as well, so everything is bounded: the work of compiling is linear in the template, and
that of rendering in the template and the arguments. The limits are `MAX_…` below, far above those of any known manual.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from enum import Flag, StrEnum, auto
from itertools import islice
from typing import Any, Final, TypeAlias, final
from uuid import uuid4

import orjson

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import is_list, is_object
from utcp_bridge.placement.encoding import (
    JsonPlace,
    JsonText,
    compact_json,
    encode_path_segment,
    format_scalar,
    header_value,
    percent_encode,
    places_in_json,
    written_in_json,
)

__all__ = [
    "MAX_EXPRESSION",
    "MAX_FILTERS",
    "MAX_GROWTH",
    "MAX_PLACEHOLDERS",
    "MAX_TEMPLATE",
    "MAX_VALUES",
    "OMITTED",
    "Context",
    "Expression",
    "Run",
    "Syntax",
    "Template",
    "closing",
    "compile_template",
    "parse_expression",
]

MAX_TEMPLATE: Final = 1_048_576
"""Characters of all texts and keys of one template. Whole documents are sent as bodies; none is near this size."""
MAX_VALUES: Final = 10_000
"""Members and items of one template."""
MAX_PLACEHOLDERS: Final = 1_000
"""Placeholders of one template."""
MAX_EXPRESSION: Final = 8_192
"""Characters between `{{` and `}}`: room for a default that is an object."""
_MAX_EXPRESSIONS: Final = 131_072
"""Characters of all expressions of one template."""
MAX_FILTERS: Final = 8
"""Filters of one expression; there are five kinds, and `json` of `json` doubles the quotes each time."""
MAX_GROWTH: Final = 8_388_608
"""Characters that filters, and the third and later uses of one argument, may add to the arguments in one rendering."""
_FREE_USES: Final = 2

_PATH = late_pattern(r"[\w$@-]+(?:\.[\w$@-]+|\[\d{1,6}\])*")
_QUOTE_OR_BAR = late_pattern(r'(?<!\\)"|\|')


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


@dataclass(slots=True)
class Run:
    """One rendering. `growth` is the number of characters by which the text is longer than the arguments."""

    arguments: Mapping[str, Any] = field(repr=False)
    context: Context
    built_in: dict[str, str] = field(default_factory=dict[str, str])
    where: str = "The call template"
    growth: int = 0

    def grow(self, characters: int, name: str) -> None:
        """Count characters that a filter or a further use of an argument adds.

        :raises InvalidArguments: the limit is reached.
        """
        self.growth += max(0, characters)
        if self.growth > MAX_GROWTH:
            raise InvalidArguments(
                f"{self.where} makes argument {name!r} larger by more than {MAX_GROWTH:,} characters.",
                remedy=f"Send a shorter {name!r}.",
            )


_Filter: TypeAlias = Callable[[Any, Run, str], Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """A path into the arguments, and filters; `typed` if it keeps the value's type where it is the whole text.

    `counted` says that the template has used the argument often, so that the size of its value counts as growth.
    """

    name: str
    path: tuple[str | int, ...]
    filters: tuple[_Filter, ...] = ()
    built_in: bool = False
    typed: bool = True
    counted: bool = False

    def evaluate(self, run: Run) -> Any:
        """Return the value, or `OMITTED` if the argument is absent.

        :raises InvalidArguments: a filter refuses the value, or the text becomes too long.
        """
        value = _built_in(self.name, run) if self.built_in else _follow(run.arguments, self.path)
        if self.counted:
            run.grow(_size(value), self.name)
        for apply in self.filters:
            value = apply(value, run, self.name)
        return value


def parse_expression(text: str, inputs: frozenset[str] | None) -> Expression:
    """Read the inside of `{{ }}`; `inputs` are the tool's declared arguments, if known.

    :raises ConfigError: the text does not start with a path, or a filter is unknown or lacks its value, or a limit is
        reached.
    """
    if len(text) > MAX_EXPRESSION:
        raise ConfigError(
            f"The template expression {{{{{text.strip()[:60]}…}}}} has more than {MAX_EXPRESSION:,} characters.",
            remedy="Write a shorter default.",
        )
    path, *filters = (part.strip() for part in islice(_split(text), MAX_FILTERS + 2))
    if len(filters) > MAX_FILTERS:
        raise ConfigError(
            f"The template expression {{{{{text.strip()[:60]}…}}}} has more than {MAX_FILTERS} filters.",
            remedy="Remove filters.",
        )
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
    for found in _QUOTE_OR_BAR.finditer(text):
        if found[0] == "|" and not quoted:
            yield text[start : found.start()]
            start = found.end()
        elif found[0] == '"':
            quoted = not quoted
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


def _size(value: Any) -> int:
    """Return about how many characters a value is as text."""
    if isinstance(value, str):
        return len(value)
    return len(compact_json(value)) if is_object(value) or is_list(value) else 0


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
    own = is_object(fallback) or is_list(fallback)  # each rendering has its own

    def apply(value: Any, _run: Run, _name: str) -> Any:
        if value is not OMITTED and value is not None:
            return value
        return orjson.loads(text) if own else fallback

    return apply


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
    def apply(value: Any, run: Run, name: str) -> Any:
        if value is OMITTED:
            return value
        written = compact_json(value).decode("utf-8")
        if isinstance(value, str):
            run.grow(len(written) - len(value), name)
        return JsonText(written)

    return apply


def _join(text: str | None) -> _Filter:
    parsed = "," if text is None else _json_or_text(text)
    separator = parsed if isinstance(parsed, str) else str(text)

    def apply(value: Any, run: Run, name: str) -> Any:
        if not is_list(value):
            return value
        run.grow((len(separator) - 1) * len(value), name)  # JSON has one comma for each item
        return separator.join(map(format_scalar, value))

    return apply


def _urlencode(_text: str | None) -> _Filter:
    def apply(value: Any, run: Run, name: str) -> Any:
        if value is OMITTED or run.context in {Context.URL_PATH, Context.QUERY}:
            return value
        plain = format_scalar(value)
        encoded = percent_encode(plain, argument=name)
        run.grow(len(encoded) - len(plain), name)
        return encoded

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
    _where: str = "The call template"
    is_json_text: bool = False
    """Whether it is a text that is a JSON object or list; then `render` returns such a text."""

    def render(self, arguments: Mapping[str, Any], *, context: Context) -> Any:
        """Put the arguments in their places.

        `json` and `query` keep the template's shape and the values' types; the other contexts write text. `argv`
        returns one flat list, in which an argument that is a list becomes several items. Returns `OMITTED` if the
        template is one placeholder whose argument is absent.

        :raises InvalidArguments: an argument is missing or does not fit its place; the message names it.
        """
        return self._render(Run(arguments, context, where=self._where))


def compile_template(
    value: Any, *, syntaxes: Syntax, inputs: frozenset[str] | None = None, where: str = "The call template"
) -> Template:
    """Compile a text, or the texts within a JSON value (never its keys).

    `inputs` are the tool's declared arguments, if known: they hide built-in names, and `${name}` is a placeholder
    only if it is one of them. `where` is the field's name for messages.

    :raises ConfigError: an expression cannot be read, a filter is unknown, the value is nested too deeply, or another
        limit is reached.
    """
    compiler = _TemplateCompiler(syntaxes, inputs, where)
    render = compiler.compile(value, 0)
    return Template(frozenset(compiler.uses), render, where, isinstance(value, str) and compiler.has_json_text)


class _TemplateCompiler:
    def __init__(self, syntaxes: Syntax, inputs: frozenset[str] | None, where: str) -> None:
        self._inputs = inputs
        self._where = where
        chosen = [pattern for syntax, pattern in _PATTERNS.items() if syntax in syntaxes]
        self._pattern = re.compile("|".join(chosen), re.ASCII) if chosen else None
        self.uses: Counter[str] = Counter()
        self._values = self._characters = self._placeholders = self._expressions = 0
        self.has_json_text = False

    def compile(self, value: Any, depth: int) -> _Render:
        if depth > _MAX_DEPTH:
            raise ConfigError(
                f"{self._where} is nested more than {_MAX_DEPTH} levels deep.", remedy="Make the template flatter."
            )
        self._values += 1
        self._check(self._values, MAX_VALUES, "values")
        if isinstance(value, str):
            return self._compile_text(value)
        if is_object(value):
            return _object({self._key(key): self.compile(member, depth + 1) for key, member in value.items()})
        if is_list(value):
            return _list([self.compile(item, depth + 1) for item in value])
        return _constant(value)

    def _key(self, key: str) -> str:
        self._characters += len(key)
        return key

    def _check(self, number: int, most: int, what: str) -> None:
        if number > most:
            raise ConfigError(f"{self._where} has more than {most:,} {what}.", remedy="Make the template smaller.")

    def _compile_text(self, text: str) -> _Render:
        self._characters += len(text)
        self._check(self._characters, MAX_TEMPLATE, "characters")
        parts = tuple(self._parts(text))
        expressions = [part for part in parts if isinstance(part, Expression)]
        if len(parts) == 1 and expressions:
            return _whole(expressions[0])
        places = places_in_json([part if isinstance(part, str) else None for part in parts])
        self.has_json_text = self.has_json_text or places is not None
        if not expressions:
            return _constant(text)
        return _mixed(parts) if places is None else _in_json(parts, places)

    def _parts(self, text: str) -> Iterator[_Part]:
        start = position = 0
        while self._pattern is not None and (match := self._pattern.search(text, position)):
            found, end = self._expression(match, text)
            if found is None:
                position = end
                continue
            if match.start() > start:
                yield text[start : match.start()]
            yield self._counted(found)
            start = position = end
        if start < len(text):
            yield text[start:]

    def _counted(self, found: Expression) -> Expression:
        self._placeholders += 1
        self._check(self._placeholders, MAX_PLACEHOLDERS, "placeholders")
        if found.built_in:
            return found
        self.uses[found.name] += 1
        return found if self.uses[found.name] <= _FREE_USES else replace(found, counted=True)

    def _expression(self, match: re.Match[str], text: str) -> tuple[Expression | None, int]:
        kind, name = match.lastgroup, str(match[match.lastgroup or 0])
        if kind == "mustache":
            end = closing(text, match.end())
            if end is None:
                return None, len(text)
            self._expressions += end - match.end()
            self._check(self._expressions, _MAX_EXPRESSIONS, "characters in its expressions")
            return parse_expression(text[match.end() : end], self._inputs), end + 2
        if kind == "dollar" and self._inputs is not None and name not in self._inputs:
            return None, match.end()
        return Expression(name, (name,), typed=kind == "dollar"), match.end()


def closing(text: str, start: int) -> int | None:
    """Return where the `}}` of a `{{` is; braces in a default are paired, as in `{{ x | default:{} }}`."""
    end = text.find("}}", start)
    if end < 0:
        return None
    if text.startswith("}", end + 2):
        inside = text[start : min(end, start + MAX_EXPRESSION)]
        unpaired = inside.count("{") - inside.count("}")
        while unpaired > 0 and text.startswith("}", end + 2):
            end, unpaired = end + 1, unpaired - 1
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


def _in_json(parts: tuple[_Part, ...], places: list[JsonPlace | None]) -> _Render:
    plain = _mixed(parts)

    def render(run: Run) -> Any:
        if run.context is Context.URL_PATH:
            return plain(run)
        pieces: list[str] = []
        for part, place in zip(parts, places, strict=True):
            if isinstance(part, str) or place is None:
                pieces.append(str(part))
                continue
            value = part.evaluate(run)
            if value is OMITTED:
                if run.context is Context.HEADER:
                    return OMITTED
                raise _missing(part)
            written = written_in_json(value, place, argument=part.name)
            if isinstance(value, str):
                run.grow(len(written) - len(value), part.name)
            if run.context is Context.HEADER:
                header_value(written, argument=part.name)  # refuses what no header can carry
            pieces.append(written)
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
        rendered: dict[str, Any] = {}
        for key, member in members.items():  # not a comprehension: one frame of the stack for each level
            if (value := member(run)) is not OMITTED:
                rendered[key] = value
        return rendered

    return render


def _list(items: list[_Render]) -> _Render:
    def render(run: Run) -> list[Any]:
        rendered: list[Any] = []
        for item in items:
            if (value := item(run)) is not OMITTED:
                rendered.append(value)  # noqa: PERF401 - one frame, as above
        if run.context is not Context.ARGV:
            return rendered
        return [text for value in rendered for text in (value if is_list(value) else [value])]

    return render


def _missing(expression: Expression) -> InvalidArguments:
    return InvalidArguments(
        f"Argument {expression.name!r} is missing.",
        remedy=f"Send {expression.name!r}: the tool's call template uses it.",
    )
