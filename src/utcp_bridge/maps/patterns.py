"""URI templates of resources (RFC 6570): which URIs a template stands for, and the values of its variables (pure).

{name}          one segment: everything but `/`, `?` and `#`
{+name}         the rest of the path, with slashes
{?one,two}      query parameters, each optional, in any order; `{&one}` goes on with them
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass

__all__ = ["UriPattern", "filled"]

_EXPRESSION: Final = late_pattern(r"\{([^{}]*)\}")
_NAME: Final = late_pattern(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MAX_LENGTH: Final = 2_000
_MAX_VARIABLES: Final = 20


@dataclass(frozen=True, slots=True)
class UriPattern:
    """A parsed URI template."""

    text: str
    names: tuple[str, ...]
    """Variables of the path, in their order."""
    options: tuple[str, ...]
    """Variables of the query, which a URI may leave out."""
    expression: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> UriPattern:
        """Return the template.

        :raises ValueError: it is not a URI template that the bridge understands. The text says why.
        """
        if len(text) > _MAX_LENGTH:
            raise ValueError(f"a URI template has at most {_MAX_LENGTH:,} characters.")
        path, options = _without_query(text)
        pieces = _EXPRESSION.split(path)
        literals = [_literal(piece) for piece in pieces[::2]]
        names = [_name(written.removeprefix("+")) for written in pieces[1::2]]
        parts = [re.escape(literals[0])]
        for written, literal, is_last in zip(pieces[1::2], literals[1:], _last_of_segments(literals[1:]), strict=True):
            parts += [_group(written, "" if is_last else literal[:1]), re.escape(literal)]
        if sum(written.startswith("+") for written in pieces[1::2]) > 1:
            raise ValueError("a URI template has one variable with a plus at most.")
        everything = [*names, *options]
        if len(set(everything)) != len(everything):
            raise ValueError("a URI template has each variable once.")
        if not 0 < len(everything) <= _MAX_VARIABLES:
            raise ValueError(f"a URI template has 1 to {_MAX_VARIABLES} variables.")
        rest = r"(?:[?&]([^#]*))?" if options else ""
        return cls(text, tuple(names), options, re.compile("".join(parts) + rest + r"\Z"))

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of all variables."""
        return (*self.names, *self.options)

    def values(self, uri: str) -> dict[str, str] | None:
        """Return the decoded values of the variables that a URI has; None if the template does not stand for it."""
        found = self.expression.match(uri) if len(uri) <= _MAX_LENGTH else None
        if found is None:
            return None
        groups = found.groups()
        values = {name: unquote(value) for name, value in zip(self.names, groups, strict=False)}
        if not self.options or groups[-1] is None:
            return values
        for pair in groups[-1].split("&"):
            name, _, value = pair.partition("=")
            if name in self.options:
                values.setdefault(name, unquote(value))
        return values


def filled(text: str, values: dict[str, str]) -> str:
    """Return a text with `{name}` and `{{name}}` replaced by the values. Other braces stay as they are."""
    if not values or "{" not in text:
        return text
    names = "|".join(map(re.escape, sorted(values, key=len, reverse=True)))
    return re.sub(
        r"\{\{\s*(" + names + r")\s*\}\}|\{(" + names + r")\}", lambda found: values[found[1] or found[2]], text
    )


def _without_query(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the template without the expressions for its query, which end it, and their variables."""
    options: list[str] = []
    while (found := re.search(r"\{[?&]([^{}]*)\}\Z", text)) is not None:
        options[:0] = [_name(name) for name in found[1].split(",")]
        text = text[: found.start()]
    return text, tuple(options)


def _last_of_segments(literals: list[str]) -> list[bool]:
    """Return for each variable, by the text after it, whether it is the last one of its segment.

    Only that one may contain the first character of what follows it: with more, a match could take very long.

    :raises ValueError: two variables are next to each other.
    """
    if "" in literals[:-1]:
        raise ValueError("two variables need a text between them.")
    return [number == len(literals) or "/" in literal for number, literal in enumerate(literals, 1)]


def _group(written: str, stop: str) -> str:
    return rf"([^?#{re.escape(stop)}]+)" if written.startswith("+") else rf"([^/?#{re.escape(stop)}]+)"


def _name(written: str) -> str:
    if _NAME.match(written) is None:
        raise ValueError(
            f"{{{written[:60]}}} is not understood: write {{name}}, {{+name}}, or {{?name,name}} at the end."
        )
    return written


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError("a brace is not closed, or not opened.")
    return text
