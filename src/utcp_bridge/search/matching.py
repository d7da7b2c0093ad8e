"""Matching without ranking: regular expressions, exact names, and names that are near to one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import Tool, is_object
from utcp_bridge.search.arguments import LONGEST_PATTERN
from utcp_bridge.search.fields import parameters_of
from utcp_bridge.search.strategy import Hit
from utcp_bridge.search.text import compact

__all__ = ["MATCHING_SECONDS", "RegexMatches", "match_exact", "match_regex", "nearest_names"]

MATCHING_SECONDS: Final = 1.0
"""Wall-clock budget of one regex search; a partial answer says so."""
_TOOLS_PER_CLOCK_READING: Final = 64
_LONGEST_HAYSTACK: Final = 20_000
_LEAST_LIKENESS: Final = 0.25
_NEAREST: Final = 3
_ERROR_LINE: Final = re.compile(r"error: (.+)")


@dataclass(frozen=True, slots=True)
class RegexMatches:
    """Hits (name matches first, then by name) and how many tools were looked at before time ran out."""

    hits: list[Hit]
    looked_at: int
    complete: bool


def match_regex(
    pattern: str, tools: Iterable[Tool], mcp_name: Callable[[Tool], str], *, seconds: float = MATCHING_SECONDS
) -> RegexMatches:
    """Tools whose name, description or parameters match, letter case aside.

    The engine is Rust's, by way of pydantic: time linear in the text, no look-around, no back-references.
    `^` and `$` match at every line; names and parameters stand on lines of their own. Raises
    `InvalidArguments` that names the fault of a pattern.
    """
    matcher = _compile(pattern)
    until = time.monotonic() + seconds
    hits: list[Hit] = []
    looked_at = 0
    for tool in tools:
        if looked_at % _TOOLS_PER_CLOCK_READING == 0 and time.monotonic() > until:
            return RegexMatches(_ordered(hits), looked_at, complete=False)
        looked_at += 1
        if matcher.isinstance_python(_printable(f"{mcp_name(tool)}\n{tool.qualified_name}\n{tool.name}")):
            hits.append(Hit(tool, 1.0))
        elif matcher.isinstance_python(_haystack(tool)):
            hits.append(Hit(tool, 0.5))
    return RegexMatches(_ordered(hits), looked_at, complete=True)


def match_exact(name: str, tools: Iterable[Tool], mcp_name: Callable[[Tool], str]) -> list[Hit]:
    """Tools of this MCP name, UTCP name or bare name; if there are none, those that differ in punctuation only."""
    folded = name.strip().casefold()
    key = compact(name)
    exact: list[Hit] = []
    loose: list[Hit] = []
    for tool in tools:
        names = (mcp_name(tool), tool.qualified_name, tool.name)
        if any(one.casefold() == folded for one in names):
            exact.append(Hit(tool, 1.0))
        elif key and any(compact(one) == key for one in names):
            loose.append(Hit(tool, 1.0))
    return _ordered(exact or loose)


def nearest_names(query: str, tools: Iterable[Tool], mcp_name: Callable[[Tool], str]) -> list[str]:
    """Up to three MCP names that share most letter triples with the query, the nearest first."""
    wanted = _triples(query)
    if not wanted:
        return []
    found: list[tuple[float, str]] = []
    for tool in tools:
        offered = _triples(tool.name)
        likeness = 2 * len(wanted & offered) / (len(wanted) + len(offered))
        if likeness >= _LEAST_LIKENESS:
            found.append((likeness, mcp_name(tool)))
    return [name for _, name in sorted(nlargest(_NEAREST, found), key=lambda pair: (-pair[0], pair[1]))]


def _compile(pattern: str) -> SchemaValidator:
    if len(pattern) > LONGEST_PATTERN:
        raise InvalidArguments(
            f"The regular expression is longer than {LONGEST_PATTERN} characters.", remedy="Shorten it."
        )
    try:
        return SchemaValidator(core_schema.str_schema(pattern=f"(?mi){_printable(pattern)}"))
    except SchemaError as error:
        found = _ERROR_LINE.search(str(error))
        fault = found.group(1) if found else "it is too large once compiled"
        raise InvalidArguments(
            f"The regular expression is not valid: {fault}.",
            remedy="Use Rust's regex syntax (no look-around, no back-references), or mode auto for plain words.",
        ) from None


def _haystack(tool: Tool) -> str:
    lines = [tool.title or "", tool.description]
    for name, schema in parameters_of(tool.inputs).items():
        described = schema.get("description") if is_object(schema) else None
        lines += [name, described] if isinstance(described, str) else [name]
    return _printable("\n".join(lines)[:_LONGEST_HAYSTACK])


def _printable(text: str) -> str:
    """Lone surrogates cannot be given to the engine."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _ordered(hits: list[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, hit.tool.qualified_name))


def _triples(text: str) -> set[str]:
    key = compact(text)
    padded = f"^{key}$"
    return {padded[i : i + 3] for i in range(len(padded) - 2)} if key else set()
