"""The bridge's own tools: `search_tools` finds tools of every manual, `call_tool` calls one by name.

They serve hosts that take only so many tools, or that do not act on `list_changed`: whatever a search finds can
be called at once. A search never changes what is listed. Knows no MCP SDK.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from utcp_bridge.errors import ConfigError, InvalidArguments, UnknownTool
from utcp_bridge.model import Emit, JsonObject, is_list, is_object
from utcp_bridge.server.catalogue import Catalogue, Entry
from utcp_bridge.server.naming import NAME_PATTERN
from utcp_bridge.server.ports import ClientPort
from utcp_bridge.server.render import compact, fault_result, render_error, text_result
from utcp_bridge.server.text import clean, shorten

__all__ = ["MetaTools", "describe_providers"]

_LONGEST_QUERY: Final = 1_000
_MOST_HITS: Final = 50
_LONGEST_SUMMARY: Final = 300
_LONGEST_PROVIDERS: Final = 700

Run = Callable[[Entry, JsonObject, Emit], Awaitable[JsonObject]]
"""Runs one call and renders it; raises InvalidArguments only."""


class MetaTools:
    """The meta-tools that the settings leave in, by name."""

    def __init__(self, client: ClientPort, run: Run) -> None:
        self._client = client
        self._run = run
        names = client.settings.meta_tools
        self._calls: dict[str, Callable[[JsonObject, Emit], Awaitable[JsonObject]]] = {}
        for name, function in ((names.search, self._search), (names.call, self._call)):
            if name is None:
                continue
            if not NAME_PATTERN.fullmatch(name) or name in self._calls:
                raise ConfigError(
                    f"{name[:80]!r} cannot be the name of a meta-tool.",
                    remedy="Give `meta_tools` two different names of at most 48 letters, digits, '_' and '-', or null.",
                )
            self._calls[name] = function
        self.catalogue = Catalogue(client, self.listed)

    def __contains__(self, name: str) -> bool:
        return name in self._calls

    async def call(self, name: str, arguments: JsonObject, emit: Emit) -> JsonObject:
        """Run one of them; a fault of any kind is an `isError` result."""
        return await self._calls[name](arguments, emit)

    def listed(self) -> list[JsonObject]:
        """Their entries of `tools/list`; the descriptions name the providers, for hosts that index only those."""
        names = self._client.settings.meta_tools
        providers = describe_providers(self.catalogue.counts(), _LONGEST_PROVIDERS)
        entries: list[JsonObject] = []
        if names.search:
            entries.append(_search_entry(names.search, names.call, providers))
        if names.call:
            entries.append(_call_entry(names.call, names.search))
        return entries

    async def _search(self, arguments: JsonObject, _emit: Emit) -> JsonObject:
        try:
            query, limit, filters = _search_arguments(arguments)
        except InvalidArguments as error:
            return render_error(error)
        hits = self._client.search(query, limit=limit, **filters)
        found = [_found(entry, hit.score) for hit in hits if (entry := self.catalogue.entry_of(hit.tool))]
        structured: JsonObject = {"total": len(self.catalogue.entries), "results": found}
        return text_result(compact(structured), structured)

    async def _call(self, arguments: JsonObject, emit: Emit) -> JsonObject:
        name, inner = arguments.get("name"), arguments.get("arguments")
        inner = _parsed(inner)
        if not isinstance(name, str) or not is_object(inner):
            return fault_result('Give {"name": "...", "arguments": {...}}: a tool\'s name and an object.')
        if name in self._calls:
            return fault_result(f"{clean(name, 64)} is called directly, not through another tool.")
        entry = self.catalogue.resolve(name)
        if entry is None:
            return render_error(self.unknown(name))
        try:
            return await self._run(entry, inner, emit)
        except InvalidArguments as error:
            schema = orjson.dumps(entry.input.schema).decode()
            return fault_result(f"{error}\nIts input schema: {schema}")

    def unknown(self, name: str) -> UnknownTool:
        """The error for a name that no tool has."""
        search = self._client.settings.meta_tools.search
        remedy = f"Find the right name with {search}." if search else "Call tools/list for the names."
        return UnknownTool(f"There is no tool {clean(name, 128)!r}.", remedy=remedy)


def describe_providers(counts: dict[str, int], limit: int) -> str:
    """`1,240 tools from github (800), slack (440)`, at most `limit` characters long."""
    total = sum(counts.values())
    if not counts:
        return "no tools yet"
    listed = ", ".join(f"{clean(manual, 64)} ({count:,})" for manual, count in counts.items())
    return shorten(f"{total:,} tools from {listed}", limit)


def _parsed(arguments: Any) -> Any:
    """Some hosts send nested objects as JSON text."""
    if arguments is None:
        return {}
    if isinstance(arguments, str):
        try:
            return orjson.loads(arguments)
        except orjson.JSONDecodeError:
            return arguments
    return arguments


def _search_arguments(arguments: JsonObject) -> tuple[str, int, JsonObject]:
    query, limit = arguments.get("query", ""), arguments.get("limit", 5)
    if not isinstance(query, str) or len(query) > _LONGEST_QUERY:
        raise InvalidArguments(f"`query` must be a string of at most {_LONGEST_QUERY} characters.")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST_HITS:
        raise InvalidArguments(f"`limit` must be an integer from 1 to {_MOST_HITS}.")
    filters: JsonObject = {}
    for key in ("tags", "providers"):
        value = arguments.get(key)
        if value is None:
            continue
        if not is_list(value) or not all(isinstance(one, str) for one in value):
            raise InvalidArguments(f"`{key}` must be a list of strings.")
        filters[key] = value
    return query, limit, filters


def _found(entry: Entry, score: float) -> JsonObject:
    return {
        "name": entry.name,
        "provider": entry.tool.manual,
        "description": clean(entry.tool.description, _LONGEST_SUMMARY),
        "inputSchema": entry.input.schema,
        "score": round(score, 3),
    }


def _search_entry(name: str, call: str | None, providers: str) -> JsonObject:
    how = f"Any tool found can be called by its name, directly or with {call}." if call else ""
    return {
        "name": name,
        "title": "Search tools",
        "description": shorten(
            f"Find tools by what they do. There are {providers}. Search before saying that something cannot be done. "
            f"{how}".strip(),
            1024,
        ),
        "inputSchema": _SEARCH_INPUT,
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }


def _call_entry(name: str, search: str | None) -> JsonObject:
    hint = f"Find its name and input schema with {search} first. " if search else ""
    return {
        "name": name,
        "title": "Call a tool",
        "description": f"Call any tool by name, also one that is not listed. {hint}"
        "Arguments are checked against the tool's own input schema; a mistake is answered with that schema.",
        "inputSchema": _CALL_INPUT,
    }


_SEARCH_INPUT: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "query": {
            "type": "string",
            "maxLength": _LONGEST_QUERY,
            "description": "What the tool should do, or words of its name.",
        },
        "limit": {"type": "integer", "minimum": 1, "maximum": _MOST_HITS, "default": 5, "description": "Most results."},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "Only tools with any of these tags."},
        "providers": {"type": "array", "items": {"type": "string"}, "description": "Only tools of these providers."},
    },
    "required": ["query"],
}
_CALL_INPUT: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "The tool's name, as listed or as found."},
        "arguments": {"type": "object", "properties": {}, "description": "The tool's arguments."},
    },
    "required": ["name"],
}
