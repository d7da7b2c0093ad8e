"""Placeholders for arguments in templates: compiled once for a tool, rendered for every call (pure).

    {{ name | filter | filter:value }}   any text or JSON value; the extended dialect, v1's WebSocket documents
    ${name}                              an argument, where variable substitution left it
    {name}                               a place in a URL
    UTCP_ARG_name_UTCP_ARG               tcp, udp, websocket
    UTCP_ARG_name_UTCP_END               cli

Rule 1. A text that is one `{{ }}` or `${ }` and nothing else gives the typed value, in `json` and `query`.
Rule 2. An absent argument leaves out what it alone makes up: the member, the item, the header. Within longer
        text, in a URL, or under `required`, its absence is the caller's error.
Rule 3. A value is never scanned again: an argument that looks like a placeholder is plain text.

The syntax within `{{ }}` is that of `expressions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any, TypeAlias

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import is_list, is_object
from utcp_bridge.placement.encoding import encode_path_segment, format_scalar, header_value, percent_encode
from utcp_bridge.placement.expressions import OMITTED, Context, Expression, Run, parse_expression

__all__ = ["OMITTED", "Context", "Syntax", "Template", "compile_template"]

_MAX_DEPTH = 200
_TYPED = frozenset({Context.JSON, Context.QUERY})
_WITHOUT_NULL = frozenset({Context.HEADER, Context.ARGV})


class Syntax(Flag):
    """Which placeholders a template may hold."""

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
    """A compiled template; `names` are the arguments that it mentions, built-in names left out."""

    names: frozenset[str]
    _render: _Render

    def render(self, arguments: Mapping[str, Any], *, context: Context) -> Any:
        """Put the arguments in their places.

        `json` and `query` keep the template's shape and the values' types; the others write texts. `argv`
        makes a list of items one flat list, in which an argument that is a list becomes several. Answers
        `OMITTED` if the template is one placeholder whose argument is absent.

        :raises InvalidArguments: an argument is missing or cannot stand in its place; its name is in the message.
        """
        return self._render(Run(arguments, context))


def compile_template(value: Any, *, syntaxes: Syntax, inputs: frozenset[str] | None = None) -> Template:
    """Compile a text, or the texts within a JSON value (never its keys).

    `inputs` are the tool's declared arguments, if known: they hide built-in names, and `${name}` is a
    placeholder only for one of them.

    :raises ConfigError: an expression cannot be read, a filter is unknown, or the value is nested too deeply.
    """
    compiler = _Compiler(syntaxes, inputs)
    render = compiler.compile(value, 0)
    return Template(frozenset(compiler.names), render)


class _Compiler:
    def __init__(self, syntaxes: Syntax, inputs: frozenset[str] | None) -> None:
        self._inputs = inputs
        chosen = [pattern for syntax, pattern in _PATTERNS.items() if syntax in syntaxes]
        self._pattern = re.compile("|".join(chosen), re.ASCII) if chosen else None
        self.names: set[str] = set()

    def compile(self, value: Any, depth: int) -> _Render:
        if depth > _MAX_DEPTH:
            raise ConfigError("A template is nested too deeply.")
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
    """Where the `}}` of a `{{` stands; braces within a default, as in `{{ x | default:{} }}`, are paired."""
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
        f"Argument {expression.name!r} is missing.", remedy=f"The tool's call needs it: send {expression.name!r}."
    )
