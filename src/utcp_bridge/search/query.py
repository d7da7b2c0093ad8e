"""What `search_tools` does: reads the arguments, searches, gives pages of entries. Pure; knows no MCP SDK.

Results are plain JSON for `structuredContent`; `as_text` gives the same as compact text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from utcp_bridge.model import JsonObject, Tool, matches_glob
from utcp_bridge.search.arguments import (
    SEARCH_TOOLS_INPUT_SCHEMA,
    SearchArguments,
    decode_cursor,
    encode_cursor,
    read_arguments,
)
from utcp_bridge.search.matching import match_exact, match_regex, nearest_names
from utcp_bridge.search.presentation import as_text, describe_catalogue, one_line, summary_of
from utcp_bridge.search.strategy import Accept, Hit, has_any_tag

__all__ = [
    "SEARCH_TOOLS_INPUT_SCHEMA",
    "SEARCH_TOOLS_OUTPUT_SCHEMA",
    "Search",
    "SearchContext",
    "as_text",
    "describe_catalogue",
    "ranked_queries",
    "search_tools",
]

RANKED_DEPTH: Final = 100
"""A ranked search ends after this many tools: beyond, relevance is noise."""
_MOST_PROVIDERS: Final = 200
_LONGEST_SCORE: Final = 4


class Search(Protocol):
    """`ToolSearchStrategy.search`, or the client's method of the same shape."""

    def __call__(
        self,
        query: str,
        *,
        limit: int,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Accept | None = None,
    ) -> list[Hit]: ...


@dataclass(frozen=True, slots=True)
class SearchContext:
    """What is searched, and how its owner names and exposes tools.

    `tools` are all tools, in the order of `tools/list`. `mcp_name` gives a tool's MCP name, `is_listed`
    whether `tools/list` shows it to this client. `visible` is None when this client may see every tool.
    `definition` gives the tool's `tools/list` entry for full detail; the raw schemas are used without it.
    """

    search: Search
    tools: Sequence[Tool]
    mcp_name: Callable[[Tool], str]
    is_listed: Accept
    visible: Accept | None = None
    definition: Callable[[Tool], Mapping[str, Any]] | None = None


def search_tools(arguments: Any, context: SearchContext, *, note: str | None = None) -> JsonObject:
    """One call of `search_tools`; the shape is `SEARCH_TOOLS_OUTPUT_SCHEMA`.

    `note` is passed on to the model (a fallback, a limit). Raises `InvalidArguments`.
    """
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
    """The queries of a call that will be ranked by a strategy. Raises `InvalidArguments`."""
    read = read_arguments(arguments)
    if read.queries:
        return [query for query in (read.query, *read.queries) if query.strip()]
    return [read.query.strip()] if read.mode == "auto" and read.query.strip() else []


@dataclass(frozen=True, slots=True)
class _Scope:
    """The part of the catalogue that filters and visibility leave."""

    every: Sequence[Tool]
    providers: Collection[str] | None
    tags: Collection[str] | None
    accept: Accept | None
    note: str = ""

    def tools(self) -> Iterable[Tool]:
        wanted = None if self.tags is None else {tag.casefold() for tag in self.tags}
        for tool in self.every:
            if self.providers is not None and tool.manual not in self.providers:
                continue
            if wanted is not None and not has_any_tag(tool, wanted):
                continue
            if self.accept is None or self.accept(tool):
                yield tool


def _scope(read: SearchArguments, context: SearchContext) -> _Scope:
    providers: set[str] | None = None
    note = ""
    if read.providers or read.exclude_providers:
        known = {tool.manual for tool in context.tools if context.visible is None or context.visible(tool)}
        wanted = {name for name in known if not read.providers or _matches_any(name, read.providers)}
        providers = {name for name in wanted if not _matches_any(name, read.exclude_providers)}
        if not providers:
            listed = ", ".join(one_line(name, 60) for name in sorted(known)[:20])
            note = f"No provider is left by these filters; there are: {listed or 'none'}."
    accept = context.visible
    if read.tags and read.tags_mode == "all":
        folded = {tag.casefold() for tag in read.tags}
        visible = context.visible

        def accept_all(tool: Tool) -> bool:
            return folded <= {tag.casefold() for tag in tool.tags} and (visible is None or visible(tool))

        accept = accept_all
    return _Scope(context.tools, providers, read.tags or None, accept, note)


def _matches_any(name: str, globs: Collection[str]) -> bool:
    return any(matches_glob(glob, name) for glob in globs)


def _single(read: SearchArguments, scope: _Scope, context: SearchContext, offset: int) -> JsonObject:
    """One page of a listing, a ranked, a regex or an exact search."""
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
    if offset + len(page) < len(hits):
        result["next_cursor"] = encode_cursor(read, offset + len(page))
    if not hits and query and read.mode != "regex":
        result |= _did_you_mean(query, scope, context)
    if note:
        result["note"] = note
    return result


def _grouped(read: SearchArguments, scope: _Scope, context: SearchContext) -> JsonObject:
    groups: list[JsonObject] = []
    for query in [read.query, *read.queries] if read.query.strip() else read.queries:
        hits = _ranked(query, read.page_size, scope, context)
        group: JsonObject = {"query": query, "results": _entries(hits, read, context)}
        groups.append(group if hits else group | _did_you_mean(query, scope, context))
    return {"total": sum(len(group["results"]) for group in groups), "groups": groups}


def _ranked(query: str, limit: int, scope: _Scope, context: SearchContext) -> list[Hit]:
    return context.search(query, limit=limit, tags=scope.tags, providers=scope.providers, accept=scope.accept)


def _did_you_mean(query: str, scope: _Scope, context: SearchContext) -> JsonObject:
    near = nearest_names(query, scope.tools(), context.mcp_name)
    return {"did_you_mean": near} if near else {}


def _orientation(scope: _Scope) -> JsonObject:
    """Without query and filters: who provides how much, so that a model sees where to look."""
    counts = Counter(tool.manual for tool in scope.tools())
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    result: JsonObject = {
        "total": sum(counts.values()),
        "results": [],
        "providers": [{"name": name, "tools": counts[name]} for name in ranked[:_MOST_PROVIDERS]],
    }
    hint = "Search with a query, or list a provider's tools with `providers`."
    more = len(ranked) - _MOST_PROVIDERS
    result["note"] = f"{hint} There are {more} more providers." if more > 0 else hint
    return result


def _entries(hits: Iterable[Hit], read: SearchArguments, context: SearchContext) -> list[JsonObject]:
    return [_entry(hit, read, context) for hit in hits]


def _entry(hit: Hit, read: SearchArguments, context: SearchContext) -> JsonObject:
    tool = hit.tool
    entry: JsonObject = {
        "name": context.mcp_name(tool),
        "provider": tool.manual,
        "score": round(hit.score, _LONGEST_SCORE),
        "callable_as": "tools/call" if context.is_listed(tool) else "call_tool",
    }
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


_NAMES: Final[JsonObject] = {"type": "array", "items": {"type": "string"}}
_RESULTS: Final[JsonObject] = {
    "type": "array",
    "description": "Found tools, best first.",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "The name to call it by."},
            "provider": {"type": "string"},
            "title": {"type": "string"},
            "description": {"type": "string"},
            "parameters": {"type": "string", "description": "Parameters with types; * marks required ones."},
            "tags": _NAMES,
            "score": {"type": "number", "description": "Relevance, relative to the best: 1.0."},
            "callable_as": {"type": "string", "enum": ["tools/call", "call_tool"]},
            "inputSchema": {"type": "object"},
            "outputSchema": {"type": "object"},
        },
        "required": ["name", "provider", "score", "callable_as"],
    },
}
SEARCH_TOOLS_OUTPUT_SCHEMA: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "total": {"type": "integer", "description": f"Tools found; a ranked search stops at {RANKED_DEPTH}."},
        "results": _RESULTS,
        "groups": {
            "type": "array",
            "description": "With `queries`: one group for each need, in place of `results`.",
            "items": {
                "type": "object",
                "properties": {"query": {"type": "string"}, "results": _RESULTS, "did_you_mean": _NAMES},
                "required": ["query", "results"],
            },
        },
        "providers": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "tools": {"type": "integer"}},
                "required": ["name", "tools"],
            },
        },
        "next_cursor": {"type": "string"},
        "did_you_mean": _NAMES,
        "note": {"type": "string"},
    },
    "required": ["total"],
}
