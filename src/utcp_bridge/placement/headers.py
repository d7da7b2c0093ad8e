"""Headers and cookies of a call template, compiled; those with arguments are built for each call (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, Final, TypeAlias

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject
from utcp_bridge.placement.encoding import header_value, percent_encode
from utcp_bridge.placement.placeholders import OMITTED, Context, Syntax, Template, compile_template
from utcp_bridge.placement.request import FixedHeaders
from utcp_bridge.urls import query_name

__all__ = ["SYNTAXES", "HeaderPlan", "compile_headers", "without_doubles"]

SYNTAXES: Final = Syntax.MUSTACHE | Syntax.DOLLAR
"""The placeholders of HTTP fields other than the URL; `${name}` is an argument if no variable has the name."""

MAX_HEADERS: Final = 200
"""Headers and cookies of one template. Servers accept about 100 in a request."""
MAX_HEADER_BYTES: Final = 262_144
"""Characters of all headers of a request. Servers accept 8,000 to 64,000."""

_Pairs: TypeAlias = "list[tuple[str, str]]"

_TOKEN = late_pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_SAFE = "!#$&'()*+/:<=>?@[]^`{|}"
_WRITTEN_BY_THE_ENGINE = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade"})


@dataclass(frozen=True, slots=True)
class HeaderPlan:
    """Headers without Content-Type, which belongs to the body and is in `content_type`."""

    fixed: tuple[tuple[str, str], ...] = field(repr=False)
    dynamic: tuple[tuple[str, Template | None], ...] = field(repr=False)
    """Name and template; None for the argument of that name."""
    cookies: tuple[tuple[str, Template], ...] = field(repr=False)
    content_type: str | None
    used: frozenset[str]
    """Arguments that a header or cookie contains."""
    semicolons: int | None = None
    """How many the template's own Cookie header has; None for any number, if one argument is the whole header."""
    fixed_lines: FixedHeaders | None = field(default=None, repr=False)
    """What `build` returns, if no argument is in a header: the same object for each call."""

    def build(self, arguments: JsonObject) -> _Pairs:
        """Return the headers for these arguments; a header whose argument is absent or null is omitted.

        :raises InvalidArguments: a value contains a line break or another control character.
        """
        if not self.dynamic and not self.cookies:
            return list(self.fixed)
        lines = {name.lower(): (name, value) for name, value in self.fixed}
        room = MAX_HEADER_BYTES
        for name, template in self.dynamic:
            value = arguments.get(name) if template is None else template.render(arguments, context=Context.HEADER)
            if value is not None and value is not OMITTED:
                text = header_value(value, argument=name)
                room = _room(room - len(text), name)
                if template is not None and self.semicolons is not None and name.lower() == "cookie":
                    _refuse_more_cookies(text, self.semicolons)
                _put(lines, name, text)
        if self.cookies:
            self._add_cookies(lines, arguments, room)
        return list(lines.values())

    def _add_cookies(self, lines: dict[str, tuple[str, str]], arguments: JsonObject, room: int) -> None:
        present = lines["cookie"][1] if "cookie" in lines else ""
        names = {query_name(name) for name, _ in self.cookies}
        pairs = [pair for one in present.split(";") if (pair := one.strip()) and names.isdisjoint(_cookie_names(pair))]
        for name, template in self.cookies:
            value = template.render(arguments, context=Context.HEADER)
            if value is not OMITTED:
                text = percent_encode(value, argument=name, safe=_COOKIE_SAFE)
                room = _room(room - len(text), name)
                pairs.append(f"{name}={text}")
        if pairs:
            _put(lines, "Cookie", "; ".join(pairs))


def _refuse_more_cookies(text: str, semicolons: int) -> None:
    if text.count(";") > semicolons:
        raise InvalidArguments(
            "An argument in the header 'Cookie' contains ';', which would start another cookie.",
            remedy="Send text without ';'.",
        )


def _room(room: int, name: str) -> int:
    if room < 0:
        raise InvalidArguments(
            f"The headers of the request have more than {MAX_HEADER_BYTES:,} characters with {name!r}.",
            remedy="Send shorter arguments.",
        )
    return room


def compile_headers(
    headers: Mapping[str, Any],
    header_fields: Iterable[str] = (),
    cookies: Mapping[str, Any] | None = None,
    *,
    accept: str | None = None,
) -> HeaderPlan:
    """Compile `headers` (fixed, or with `{{…}}`), `header_fields` (arguments by name) and `cookies`.

    `accept` is sent if the template has no Accept header. An argument overrides a fixed header of its name, as UTCP
    says.

    :raises ConfigError: a header name is not valid or is reserved, or a fixed value contains a line break.
    """
    header_fields, cookies = tuple(header_fields), cookies or {}
    if len(headers) + len(header_fields) + len(cookies) > MAX_HEADERS:
        raise ConfigError(
            f"`headers`, `header_fields` and `cookies` have more than {MAX_HEADERS} entries.", remedy="Remove some."
        )
    fixed: dict[str, tuple[str, str]] = {}
    dynamic: list[tuple[str, Template | None]] = []
    for name, value in headers.items():
        is_dynamic = isinstance(value, str) and ("{{" in value or "${" in value)
        if value is None or _is_engines(name, static=not is_dynamic):
            continue
        if is_dynamic:
            dynamic.append((name, _template(value, f"The header {name!r}")))
        else:
            fixed[name.lower()] = (name, _fixed_value(name, value))
    dynamic.extend((name, None) for name in header_fields if not _is_engines(name, static=False))
    content_type = fixed.pop("content-type", None)
    names = {name.lower() for name, _ in dynamic} | fixed.keys()
    if accept is not None and "accept" not in names:
        fixed["accept"] = ("Accept", accept)
    written = next((value for name, value in headers.items() if name.lower() == "cookie"), None)
    kept = without_doubles(cookies, _cookie_names(written))
    jar = {_token(name, "cookie"): _template(value, f"The cookie {name!r}") for name, value in cookies.items()}
    cookie_pairs = tuple((name, template) for name, template in jar.items() if name in kept)
    return HeaderPlan(
        tuple(fixed.values()),
        tuple(dynamic),
        cookie_pairs,
        None if content_type is None else content_type[1],
        frozenset[str]().union(*(_names(name, template) for name, template in [*dynamic, *jar.items()])),
        written.count(";") if isinstance(written, str) and not _is_one_placeholder(written) else None,
        None if dynamic or cookie_pairs else FixedHeaders(fixed.values()),
    )


def without_doubles(values: Mapping[str, Any], fixed: frozenset[str] = frozenset()) -> Mapping[str, Any]:
    """Return a template's named values without those of an argument whose name has a fixed value.

    `fixed` are names (`query_name`) that are fixed elsewhere.
    """
    names = Counter(map(query_name, values))
    if len(names) == len(values) and fixed.isdisjoint(names):
        return values
    constant = {name for name, value in values.items() if not _template(value, "The template").names}
    fixed |= {query_name(name) for name in constant}
    return {name: value for name, value in values.items() if name in constant or query_name(name) not in fixed}


def _cookie_names(written: Any) -> frozenset[str]:
    if not isinstance(written, str):
        return frozenset()
    return frozenset(query_name(pair.partition("=")[0]) for pair in written.split(";"))


def _is_one_placeholder(text: str) -> bool:
    return text.startswith(("{{", "${")) and text.find("}") >= len(text) - 2


def _template(value: Any, where: str) -> Template:
    return compile_template(value, syntaxes=SYNTAXES, where=where)


def _names(name: str, template: Template | None) -> frozenset[str]:
    return frozenset({name}) if template is None else template.names


def _put(lines: dict[str, tuple[str, str]], name: str, value: str) -> None:
    """Add a header at the end and remove the other of the same name."""
    lines.pop(name.lower(), None)
    lines[name.lower()] = (name, value)


def _token(name: str, what: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ConfigError(f"{name[:64]!r} is not a {what} name.", remedy="Use letters, digits and hyphens.")
    return name


def _is_engines(name: str, *, static: bool) -> bool:
    """Return whether the HTTP engine writes this header itself; no argument may set it."""
    lowered = _token(name, "header").lower()
    if static:
        return lowered in _WRITTEN_BY_THE_ENGINE
    if lowered not in _WRITTEN_BY_THE_ENGINE and lowered != "content-type":
        return False
    raise ConfigError(
        f"The header {name!r} must not come from an argument.",
        remedy="Remove it: the bridge writes this header itself.",
    )


def _fixed_value(name: str, value: Any) -> str:
    try:
        return header_value(value, argument=name)
    except InvalidArguments as error:
        raise ConfigError(
            f"The header {name!r} contains a line break or another control character.",
            remedy="Check the value, or the variable in it, for a line break at its end.",
        ) from error
