"""The work of `search_tools`: read the arguments, search, and return a page of entries (pure, without the MCP SDK).

Results are plain JSON, which `presentation.as_text` turns into compact text for models. Searches by regular expression
and by exact name, and the nearest names, do not use the ranking of a strategy.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from heapq import nlargest
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, Tool, counted, is_object, matches_glob
from utcp_bridge.search.fields import parameters_of
from utcp_bridge.search.input_schema import MAX_PATTERN
from utcp_bridge.search.presentation import MAX_NAME, cut, one_line, summary_of
from utcp_bridge.search.strategy import Accept, Hit, Searchable, tool_filter
from utcp_bridge.search.text import compact

if TYPE_CHECKING:
    from utcp_bridge.search.arguments import SearchArguments

__all__ = [
    "MATCHING_SECONDS",
    "RegexMatches",
    "SearchContext",
    "describe_catalogue",
    "match_exact",
    "match_regex",
    "nearest_names",
    "ranked_queries",
    "search_tools",
]

RANKED_DEPTH: Final = 100
"""A ranked search ends after this many tools: beyond, relevance is noise."""
_MAX_PROVIDERS: Final = 200
_MIN_LISTED: Final = 4
_HEADING: Final = "Search before saying that something cannot be done."
MATCHING_SECONDS: Final = 1.0
"""Wall-clock limit of one regex search; a partial result has a note."""
_TOOLS_PER_CLOCK_READING: Final = 64
_MAX_HAYSTACK: Final = 20_000
_MIN_LIKENESS: Final = 0.25
_NEAREST: Final = 3
_ERROR_LINE: Final = late_pattern(r"error: (.+)")


@dataclass(frozen=True, slots=True)
class SearchContext:
    """The tools to search, and how the server names and exposes them.
    `tools` are all tools, in the order of `tools/list`. `mcp_name` gives a tool's MCP name, `is_listed`
    whether `tools/list` shows it to this client. `call` is the name of the meta-tool that calls a tool which is not
    listed; None without one. `visible` is None when this client may see every tool. `definition` gives the tool's
    `tools/list` entry for full detail; the raw schemas are used without it.
    """

    searchable: Searchable
    tools: Sequence[Tool]
    mcp_name: Callable[[Tool], str]
    is_listed: Accept
    call: str | None = None
    visible: Accept | None = None
    definition: Callable[[Tool], Mapping[str, Any]] | None = None


def describe_catalogue(counts: Mapping[str, int], budget: int) -> str:
    """What can be searched, for a tool description: providers and counts within `budget` characters.

    Providers with most tools come first; those that no longer fit are counted.
    """
    total = sum(counts.values())
    if not counts:
        return cut(f"No tools yet. {_HEADING}", budget)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))[: max(0, budget) // _MIN_LISTED]
    listed = [f"{one_line(name, MAX_NAME)} ({counts[name]:,})" for name in ranked]
    for shown in range(len(listed), -1, -1):
        rest = len(counts) - shown
        names = listed[:shown] + ([f"{rest:,} {'more ' if shown else ''}providers"] if rest else [])
        text = f"{counted(total, 'tool')} from {', '.join(names)}. {_HEADING}"
        if len(text) <= budget:
            return text
    return cut(f"{counted(total, 'tool')}. {_HEADING}", budget)


def search_tools(arguments: Any, context: SearchContext, *, note: str | None = None) -> JsonObject:
    """Run one call of `search_tools` and return its result.

    It is `{total, results: [{name, provider?, title?, description?, parameters?, tags?, inputSchema?, outputSchema?}],
    call_with?, next_cursor?, did_you_mean?, note?}`. With `queries` it has `groups: [{query, results, did_you_mean?}]`
    instead of `results`, and a call without arguments gives `providers: [{name, tools}]` too. `provider` is missing
    where the name begins with it, and `call_with` where `tools/list` shows every found tool. The model receives `note`
    (a fallback, a limit).

    :raises InvalidArguments: the arguments are invalid.
    """
    from utcp_bridge.search.arguments import decode_cursor, read_arguments  # its model takes 6 ms of a start

    read = read_arguments(arguments)
    offset = decode_cursor(read)
    scope = _scope(read, context)
    if read.queries:
        result = _grouped(read, scope, context)
    elif not read.query.strip() and not read.filters:
        result = _orientation(scope)
    else:
        result = _single(read, scope, context, offset)
    notes = [text for text in (result.pop("note", None), scope.note, note) if text]
    if notes:
        result["note"] = " ".join(notes)
    return result


def ranked_queries(arguments: Any) -> list[str]:
    """Return the queries of a call that a strategy will rank.

    :raises InvalidArguments: the arguments are invalid.
    """
    from utcp_bridge.search.arguments import read_arguments  # see `search_tools`

    read = read_arguments(arguments)
    if read.queries:
        return [query for query in (read.query, *read.queries) if query.strip()]
    return [read.query.strip()] if read.mode == "auto" and read.query.strip() else []


@dataclass(frozen=True, slots=True)
class _SearchScope:
    """The part of the catalogue that filters and visibility allow."""

    every: Sequence[Tool]
    providers: Collection[str] | None
    tags: Collection[str] | None
    accept: Accept | None
    note: str = ""

    def tools(self) -> Iterable[Tool]:
        return filter(tool_filter(self.tags, self.providers, self.accept), self.every)


def _scope(read: SearchArguments, context: SearchContext) -> _SearchScope:
    providers: set[str] | None = None
    note = ""
    if read.providers or read.exclude_providers:
        known = {tool.manual for tool in context.tools if context.visible is None or context.visible(tool)}
        wanted = {name for name in known if not read.providers or _matches_any(name, read.providers)}
        providers = {name for name in wanted if not _matches_any(name, read.exclude_providers)}
        if not providers:
            listed = ", ".join(one_line(name, 60) for name in sorted(known)[:20])
            note = f"No provider matches these filters; available providers: {listed or 'none'}."
    accept = context.visible
    if read.tags and read.tags_mode == "all":
        folded = {tag.casefold() for tag in read.tags}
        visible = context.visible

        def accept_all(tool: Tool) -> bool:
            return folded <= {tag.casefold() for tag in tool.tags} and (visible is None or visible(tool))

        accept = accept_all
    return _SearchScope(context.tools, providers, read.tags or None, accept, note)


def _matches_any(name: str, globs: Collection[str]) -> bool:
    return any(matches_glob(glob, name) for glob in globs)


def _single(read: SearchArguments, scope: _SearchScope, context: SearchContext, offset: int) -> JsonObject:
    """Return one page of a listing, or of a ranked, regex or exact search."""
    query = read.query.strip()
    note = ""
    if not query:
        hits = [Hit(tool, 1.0) for tool in scope.tools()]
    elif read.mode == "regex":
        matches = match_regex(read.query, scope.tools(), context.mcp_name)
        hits = matches.hits
        if not matches.complete:
            note = f"Time ran out after {matches.looked_at} tools: narrow the search with providers or tags."
    elif read.mode == "exact":
        hits = match_exact(query, scope.tools(), context.mcp_name)
    else:
        hits = _ranked(query, RANKED_DEPTH, scope, context)
    page = hits[offset : offset + read.page_size]
    result: JsonObject = {"total": len(hits), "results": _entries(page, read, context)}
    result |= _way_to_call(page, context)
    if offset + len(page) < len(hits):
        from utcp_bridge.search.arguments import encode_cursor  # see `search_tools`

        result["next_cursor"] = encode_cursor(read, offset + len(page))
    if not hits and query and read.mode != "regex":
        result |= _did_you_mean(query, scope, context)
    if note:
        result["note"] = note
    return result


def _grouped(read: SearchArguments, scope: _SearchScope, context: SearchContext) -> JsonObject:
    groups: list[JsonObject] = []
    found: list[Hit] = []
    for query in [read.query, *read.queries] if read.query.strip() else read.queries:
        hits = _ranked(query, read.page_size, scope, context)
        found += hits
        group: JsonObject = {"query": query, "results": _entries(hits, read, context)}
        groups.append(group if hits else group | _did_you_mean(query, scope, context))
    return {"total": len(found), "groups": groups} | _way_to_call(found, context)


def _ranked(query: str, limit: int, scope: _SearchScope, context: SearchContext) -> list[Hit]:
    return context.searchable.search(
        query, limit=limit, tags=scope.tags, providers=scope.providers, accept=scope.accept
    )


def _did_you_mean(query: str, scope: _SearchScope, context: SearchContext) -> JsonObject:
    near = nearest_names(query, scope.tools(), context.mcp_name)
    return {"did_you_mean": near} if near else {}


def _orientation(scope: _SearchScope) -> JsonObject:
    """Return the providers with their numbers of tools, for a call without query and filters."""
    counts = Counter(tool.manual for tool in scope.tools())
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    result: JsonObject = {
        "total": sum(counts.values()),
        "results": [],
        "providers": [{"name": name, "tools": counts[name]} for name in ranked[:_MAX_PROVIDERS]],
    }
    hint = "Search with a query, or list a provider's tools with `providers`."
    more = len(ranked) - _MAX_PROVIDERS
    result["note"] = f"{hint} There are {more} more providers." if more > 0 else hint
    return result


def _way_to_call(hits: Iterable[Hit], context: SearchContext) -> JsonObject:
    """Return the meta-tool that calls the found tools, if one of them is not listed."""
    needs_it = context.call is not None and not all(context.is_listed(hit.tool) for hit in hits)
    return {"call_with": context.call} if needs_it else {}


def _entries(hits: Iterable[Hit], read: SearchArguments, context: SearchContext) -> list[JsonObject]:
    return [_entry(hit, read, context) for hit in hits]


def _entry(hit: Hit, read: SearchArguments, context: SearchContext) -> JsonObject:
    tool = hit.tool
    name = context.mcp_name(tool)
    entry: JsonObject = {"name": name}
    if not compact(name).startswith(compact(tool.manual)):
        entry["provider"] = tool.manual
    if read.detail != "names":
        entry |= summary_of(tool)
    if read.detail == "full":
        entry |= _schemas(tool, context)
    return entry


def _schemas(tool: Tool, context: SearchContext) -> JsonObject:
    if context.definition is not None:
        shown = context.definition(tool)
        return {key: shown[key] for key in ("description", "inputSchema", "outputSchema") if shown.get(key) is not None}
    schemas: JsonObject = {"description": tool.description, "inputSchema": tool.inputs}
    return schemas if tool.outputs is None else {**schemas, "outputSchema": tool.outputs}


@dataclass(frozen=True, slots=True)
class RegexMatches:
    """Hits (name matches first, then by name) and the number of tools that were searched in time."""

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
    """Return up to three MCP names that share most letter triples with the query, the nearest first."""
    wanted = _triples(query)
    if not wanted:
        return []
    found: list[tuple[float, str]] = []
    for tool in tools:
        offered = _triples(tool.name)
        likeness = 2 * len(wanted & offered) / (len(wanted) + len(offered))
        if likeness >= _MIN_LIKENESS:
            found.append((likeness, mcp_name(tool)))
    return [name for _, name in sorted(nlargest(_NEAREST, found), key=lambda pair: (-pair[0], pair[1]))]


def _compile(pattern: str) -> SchemaValidator:
    if len(pattern) > MAX_PATTERN:
        raise InvalidArguments(f"The regular expression is longer than {MAX_PATTERN} characters.", remedy="Shorten it.")
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
    return _printable("\n".join(lines)[:_MAX_HAYSTACK])


def _printable(text: str) -> str:
    """Return the text without lone surrogates, which the engine does not accept."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _ordered(hits: list[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.score, hit.tool.qualified_name))


def _triples(text: str) -> set[str]:
    key = compact(text)
    padded = f"^{key}$"
    return {padded[i : i + 3] for i in range(len(padded) - 2)} if key else set()
