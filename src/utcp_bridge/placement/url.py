"""URL templates: each placeholder is encoded for the part of the URL that it is in (pure).

`{name}`, `${name}` and `{{expression}}` may be anywhere after the scheme. In the path, a value is one segment, with `/`
encoded; in the query, it is text; in the host, it may contain only characters of a host name, because any other
character would move the boundary between host and path.

The names in the query of the template are the author's: no argument may add a value to them (`UrlPlan.fixed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeAlias, cast
from urllib.parse import quote

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_list
from utcp_bridge.placement.encoding import MAX_URL, encode_path_segment, format_scalar, percent_encode, refuse_long_url
from utcp_bridge.placement.placeholders import OMITTED, Context, Syntax, Template, closing, compile_template
from utcp_bridge.urls import query_names

__all__ = ["UrlPlan", "compile_url"]

MAX_URL_TEMPLATE: Final = 32_768
"""Characters of a URL in a template. Servers accept 8,000 to 64,000 in a request."""
MAX_URL_PLACEHOLDERS: Final = 100

_Piece: TypeAlias = "str | Callable[[JsonObject], str]"
_Encoder: TypeAlias = Callable[[Any, str], str]

_OPENING = late_pattern(r"\{\{|\$\{(?P<variable>[A-Za-z0-9_]{1,256})\}|\{(?P<name>[^{}]{1,256})\}")
_IN_PLACE_OF_A_VALUE = "\ufffc"
"""A character that is percent-encoded wherever an author writes it."""
_SCHEME = late_pattern(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST_VALUE = late_pattern(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_LONE_PERCENT = late_pattern(r"%(?![0-9A-Fa-f]{2})")
_KEPT_IN_PATH = "%/:@!$&'()*+,;=~"
_KEPT_IN_QUERY = _KEPT_IN_PATH + "?"


@dataclass(frozen=True, slots=True)
class UrlPlan:
    """A compiled URL; `build` runs for each call."""

    pieces: tuple[_Piece, ...] = field(repr=False)
    used: frozenset[str]
    """Arguments that the URL contains."""
    has_query: bool
    fixed: frozenset[str] = frozenset()
    """Names in the query, as `query_names` reads them."""
    open_names: tuple[int, ...] = ()
    """Positions in the query where an argument is (part of) a name."""
    whole: str = field(default="", repr=False)
    """The URL, if no argument is in it."""

    def build(self, arguments: JsonObject, query: str = "") -> str:
        """Return the URL, completely encoded, with `query` (already encoded) appended.

        :raises InvalidArguments: an argument is missing or does not fit its place.
        """
        url = self.whole
        if not url:
            url = "".join([piece if isinstance(piece, str) else piece(arguments) for piece in self.pieces])
        if query:
            url = f"{url}&{query}" if self.has_query else f"{url}?{query}"
        if len(url) > MAX_URL:
            refuse_long_url()
        if self.open_names:
            self._check_names(url)
        return url

    def _check_names(self, url: str) -> None:
        names = list(query_names(url.partition("?")[2]))
        for position in self.open_names:
            if names[position] in self.fixed:
                raise InvalidArguments(
                    f"An argument names {names[position]!r} in the URL's query, which has a fixed value.",
                    remedy="Send another name.",
                )


class _Placeholder(NamedTuple):
    start: int
    end: int
    name: str | None
    """None for an expression."""


def compile_url(url: str, *, where: str = "`url`") -> UrlPlan:
    """Compile a URL template. A fragment is dropped, because it is never sent. `where` is the field, for messages.

    :raises ConfigError: the URL is not absolute or too long, or an expression in it cannot be used.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ConfigError(f"{where} must be an absolute URL.", remedy="Write http(s)://host[:port]/path.")
    if len(url) > MAX_URL_TEMPLATE:
        raise ConfigError(f"{where} has more than {MAX_URL_TEMPLATE:,} characters.", remedy="Write a shorter URL.")
    compiler = _UrlCompiler(scheme[0], where)
    position = scheme.end()
    for found in _placeholders(url, position):
        compiler.literal(url[position : found.start])
        compiler.placeholder(found, url[found.start : found.end])
        position = found.end
    compiler.literal(url[position:])
    return compiler.finish()


def _placeholders(url: str, position: int) -> Iterator[_Placeholder]:
    """Yield the placeholders. Each character is looked at a bounded number of times, whatever the braces."""
    last = url.rfind("}}")
    while found := _OPENING.search(url, position):
        start, position = found.span()
        if found[0] != "{{":
            yield _Placeholder(start, position, found["name"] or found["variable"])
        elif position < last and (end := closing(url, position)) is not None and end > position:
            position = end + 2
            yield _Placeholder(start, position, None)
        else:
            position = start + 1


class _UrlCompiler:
    """Collects the pieces of a URL and follows which part they are in: host, path, query or fragment."""

    def __init__(self, scheme: str, field_name: str) -> None:
        self._field = field_name
        self._placeholders = 0
        self._query: list[str] = []
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
                self._add(_encode_literal(part, self._where))

    def _add(self, piece: _Piece) -> None:
        self._pieces.append(piece)
        if self._where == "query":
            self._query.append(piece if isinstance(piece, str) else _IN_PLACE_OF_A_VALUE)

    def _enter(self, start: str) -> None:
        self._where = {"/": "path", "?": "query", "#": "fragment"}[start]
        if start == "?":
            self._has_query = True
            self._pieces.append("?")

    def placeholder(self, found: _Placeholder, text: str) -> None:
        if self._where == "fragment":
            return
        self._placeholders += 1
        if self._placeholders > MAX_URL_PLACEHOLDERS:
            raise ConfigError(
                f"{self._field} has more than {MAX_URL_PLACEHOLDERS} placeholders.", remedy="Send values in the body."
            )
        self._host_is_empty = self._host_is_empty and self._where != "host"
        encode = {"host": _host_part, "path": _path_part, "query": _query_part}[self._where]
        if found.name is not None:
            self._used.add(found.name)
            self._add(_argument(found.name, encode))
        else:
            template = compile_template(text, syntaxes=Syntax.MUSTACHE, where=self._field)
            self._used |= template.names
            self._add(_expression(template, text[2:-2].strip(), encode))

    def finish(self) -> UrlPlan:
        if self._host_is_empty:
            raise ConfigError(f"{self._field} must have a host.", remedy="Write http(s)://host[:port]/path.")
        names = list(query_names("".join(self._query)))
        pieces = tuple(_merged(self._pieces))
        return UrlPlan(
            pieces,
            frozenset(self._used),
            self._has_query,
            frozenset(name for name in names if name and _IN_PLACE_OF_A_VALUE not in name),
            tuple(position for position, name in enumerate(names) if _IN_PLACE_OF_A_VALUE in name),
            pieces[0] if len(pieces) == 1 and isinstance(pieces[0], str) else "",
        )


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
    for is_literal, group in groupby(pieces, key=lambda piece: isinstance(piece, str)):
        if is_literal:
            yield "".join(cast("Iterator[str]", group))
        else:
            yield from group


def _argument(name: str, encode: _Encoder) -> _Piece:
    return lambda arguments: encode(arguments.get(name), name)


def _expression(template: Template, shown: str, encode: _Encoder) -> _Piece:
    def piece(arguments: JsonObject) -> str:
        value = template.render(arguments, context=Context.JSON)
        return encode(None if value is OMITTED else value, shown)

    return piece


def _path_part(value: Any, name: str) -> str:
    if (isinstance(value, str) or is_list(value)) and len(value) > MAX_URL:
        refuse_long_url(name)
    return encode_path_segment(value, argument=name)


def _query_part(value: Any, name: str) -> str:
    if value is None:
        raise InvalidArguments(f"Argument {name!r} is missing. It is part of the URL.", remedy=f"Send {name!r}.")
    text = format_scalar(value)
    if len(text) > MAX_URL:
        refuse_long_url(name)
    return percent_encode(text, argument=name)


def _host_part(value: Any, name: str) -> str:
    text = "" if value is None else format_scalar(value)
    if not _HOST_VALUE.fullmatch(text):
        raise InvalidArguments(
            f"Argument {name!r} is part of the URL's host and must be a part of a host name.",
            remedy="Send letters, digits, dots and hyphens only.",
        )
    return text
