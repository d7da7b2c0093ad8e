"""URL templates: each placeholder is encoded for the part of the URL that it is in (pure).

`{name}`, `${name}` and `{{expression}}` may be anywhere after the scheme. In the path, a value is one segment, with `/`
encoded; in the query, it is text; in the host, it may contain only characters of a host name, because any other
character would move the boundary between host and path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import JsonObject
from utcp_bridge.placement.encoding import encode_path_segment, format_scalar, percent_encode
from utcp_bridge.placement.placeholders import OMITTED, Context, Syntax, Template, compile_template

__all__ = ["UrlPlan", "compile_url"]

_Piece: TypeAlias = "str | Callable[[JsonObject], str]"
_Encoder: TypeAlias = Callable[[Any, str], str]

_PLACEHOLDER = re.compile(
    r"\{\{(?P<expression>.+?)\}\}(?!\})|\$\{(?P<variable>[A-Za-z0-9_]+)\}|\{(?P<name>[^{}]+)\}", re.DOTALL
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_KEPT_IN_PATH = "%/:@!$&'()*+,;=~"
_KEPT_IN_QUERY = _KEPT_IN_PATH + "?"


@dataclass(frozen=True, slots=True)
class UrlPlan:
    """A compiled URL; `build` runs for each call."""

    pieces: tuple[_Piece, ...] = field(repr=False)
    used: frozenset[str]
    """Arguments that the URL contains."""
    has_query: bool

    def build(self, arguments: JsonObject, query: str = "") -> str:
        """Return the URL, completely encoded, with `query` (already encoded) appended.

        :raises InvalidArguments: an argument is missing or does not fit its place.
        """
        url = "".join([piece if isinstance(piece, str) else piece(arguments) for piece in self.pieces])
        if not query:
            return url
        return f"{url}&{query}" if self.has_query else f"{url}?{query}"


def compile_url(url: str) -> UrlPlan:
    """Compile a URL template. A fragment is dropped, because it is never sent.

    :raises ConfigError: the URL is not absolute, or an expression in it cannot be used.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ConfigError("`url` must be an absolute URL.", remedy="Write http(s)://host[:port]/path.")
    compiler = _UrlCompiler(scheme[0])
    position = scheme.end()
    for found in _PLACEHOLDER.finditer(url, position):
        compiler.literal(url[position : found.start()])
        compiler.placeholder(found)
        position = found.end()
    compiler.literal(url[position:])
    return compiler.finish()


class _UrlCompiler:
    """Collects the pieces of a URL and follows which part they are in: host, path, query or fragment."""

    def __init__(self, scheme: str) -> None:
        self._pieces: list[_Piece] = [scheme.lower()]
        self._used: set[str] = set()
        self._where = "host"
        self._host_is_empty = True
        self._has_query = False

    def literal(self, text: str) -> None:
        for part, start in _split(text, self._where):
            if start:
                self._enter(start)
            if part and self._where != "fragment":
                self._host_is_empty = self._host_is_empty and self._where != "host"
                self._pieces.append(_encode_literal(part, self._where))

    def _enter(self, start: str) -> None:
        self._where = {"/": "path", "?": "query", "#": "fragment"}[start]
        if start == "?":
            self._has_query = True
            self._pieces.append("?")

    def placeholder(self, found: re.Match[str]) -> None:
        if self._where == "fragment":
            return
        self._host_is_empty = self._host_is_empty and self._where != "host"
        encode = {"host": _host_part, "path": _path_part, "query": _query_part}[self._where]
        if (name := found["name"] or found["variable"]) is not None:
            self._used.add(name)
            self._pieces.append(_argument(name, encode))
        else:
            template = compile_template(found[0], syntaxes=Syntax.MUSTACHE)
            self._used |= template.names
            self._pieces.append(_expression(template, found["expression"].strip(), encode))

    def finish(self) -> UrlPlan:
        if self._host_is_empty:
            raise ConfigError("`url` must have a host.", remedy="Write http(s)://host[:port]/path.")
        return UrlPlan(tuple(_merged(self._pieces)), frozenset(self._used), self._has_query)


def _split(text: str, where: str) -> Iterator[tuple[str, str]]:
    """Yield parts of a literal, each with the character that opens its part of the URL; empty for the first."""
    opening = {"host": "/?#", "path": "?#", "query": "#", "fragment": ""}
    start = ""
    while True:
        ahead = [
            index for index in (text.find(mark, 1 if start == "/" else 0) for mark in opening[where]) if index >= 0
        ]
        cut = min(ahead, default=len(text))
        yield text[:cut], start
        if cut == len(text):
            return
        start = text[cut]
        where = {"/": "path", "?": "query", "#": "fragment"}[start]
        text = text[cut:] if start == "/" else text[cut + 1 :]


def _encode_literal(text: str, where: str) -> str:
    if where == "host":
        return _encode_host(text)
    return quote(_LONE_PERCENT.sub("%25", text), safe=_KEPT_IN_PATH if where == "path" else _KEPT_IN_QUERY)


def _encode_host(text: str) -> str:
    try:
        return text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ConfigError("The host in `url` must be a valid host name.") from error


def _merged(pieces: list[_Piece]) -> Iterator[_Piece]:
    """Join neighbouring literals."""
    literal = ""
    for piece in pieces:
        if isinstance(piece, str):
            literal += piece
            continue
        if literal:
            yield literal
        literal = ""
        yield piece
    if literal:
        yield literal


def _argument(name: str, encode: _Encoder) -> _Piece:
    return lambda arguments: encode(arguments.get(name), name)


def _expression(template: Template, shown: str, encode: _Encoder) -> _Piece:
    def piece(arguments: JsonObject) -> str:
        value = template.render(arguments, context=Context.JSON)
        return encode(None if value is OMITTED else value, shown)

    return piece


def _path_part(value: Any, name: str) -> str:
    return encode_path_segment(value, argument=name)


def _query_part(value: Any, name: str) -> str:
    if value is None:
        raise InvalidArguments(f"Argument {name!r} is missing. It is part of the URL.", remedy=f"Send {name!r}.")
    return percent_encode(format_scalar(value), argument=name)


def _host_part(value: Any, name: str) -> str:
    text = "" if value is None else format_scalar(value)
    if not _HOST_VALUE.fullmatch(text):
        raise InvalidArguments(
            f"Argument {name!r} is part of the URL's host and must be a part of a host name.",
            remedy="Send letters, digits, dots and hyphens only.",
        )
    return text
