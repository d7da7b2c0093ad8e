"""Headers and cookies of a call template, compiled; those with arguments are built for each call (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import JsonObject
from utcp_bridge.placement.encoding import header_value, percent_encode
from utcp_bridge.placement.placeholders import OMITTED, Context, Syntax, Template, compile_template

__all__ = ["SYNTAXES", "HeaderPlan", "compile_headers"]

SYNTAXES: Final = Syntax.MUSTACHE | Syntax.DOLLAR
"""The placeholders of HTTP fields other than the URL; `${name}` is an argument if no variable has the name."""

_Pairs: TypeAlias = "list[tuple[str, str]]"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
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

    def build(self, arguments: JsonObject) -> _Pairs:
        """Return the headers for these arguments; a header whose argument is absent or null is omitted.

        :raises InvalidArguments: a value contains a line break or another control character.
        """
        headers = list(self.fixed)
        for name, template in self.dynamic:
            value = arguments.get(name) if template is None else template.render(arguments, context=Context.HEADER)
            if value is not None and value is not OMITTED:
                _put(headers, name, header_value(value, argument=name))
        if self.cookies:
            self._add_cookies(headers, arguments)
        return headers

    def _add_cookies(self, headers: _Pairs, arguments: JsonObject) -> None:
        pairs = [value for name, value in headers if name.lower() == "cookie"]
        for name, template in self.cookies:
            value = template.render(arguments, context=Context.HEADER)
            if value is not OMITTED:
                pairs.append(f"{name}={percent_encode(value, argument=name, safe=_COOKIE_SAFE)}")
        if pairs:
            _put(headers, "Cookie", "; ".join(pairs))


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
    fixed: dict[str, tuple[str, str]] = {}
    dynamic: list[tuple[str, Template | None]] = []
    for name, value in headers.items():
        is_dynamic = isinstance(value, str) and ("{{" in value or "${" in value)
        if value is None or _is_engines(name, static=not is_dynamic):
            continue
        if is_dynamic:
            dynamic.append((name, compile_template(value, syntaxes=SYNTAXES)))
        else:
            fixed[name.lower()] = (name, _fixed_value(name, value))
    dynamic.extend((name, None) for name in header_fields if not _is_engines(name, static=False))
    content_type = fixed.pop("content-type", None)
    names = {name.lower() for name, _ in dynamic} | fixed.keys()
    if accept is not None and "accept" not in names:
        fixed["accept"] = ("Accept", accept)
    jar = [
        (_token(name, "cookie"), compile_template(value, syntaxes=SYNTAXES)) for name, value in (cookies or {}).items()
    ]
    used = frozenset[str]().union(*(_names(name, template) for name, template in [*dynamic, *jar]))
    return HeaderPlan(
        tuple(fixed.values()), tuple(dynamic), tuple(jar), None if content_type is None else content_type[1], used
    )


def _names(name: str, template: Template | None) -> frozenset[str]:
    return frozenset({name}) if template is None else template.names


def _put(headers: _Pairs, name: str, value: str) -> None:
    """Add a header and remove others of the same name."""
    lowered = name.lower()
    headers[:] = [pair for pair in headers if pair[0].lower() != lowered]
    headers.append((name, value))


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
