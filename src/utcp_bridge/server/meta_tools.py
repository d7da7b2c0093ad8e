"""The bridge's own tools: `search_tools` finds tools of every manual, `call_tool` calls one by name.

They serve hosts that take only so many tools, or that do not act on `list_changed`: whatever a search finds can
be called at once. A search never changes what is listed. Knows no MCP SDK.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from utcp_bridge.catalogue.catalogue import Catalogue, Entry
from utcp_bridge.catalogue.naming import NAME_PATTERN
from utcp_bridge.catalogue.ports import ClientPort
from utcp_bridge.catalogue.render import fault_result, render_error, text_result
from utcp_bridge.catalogue.text import clean
from utcp_bridge.errors import ConfigError, InvalidArguments, UnknownTool
from utcp_bridge.model import Emit, JsonObject, Tool, is_object
from utcp_bridge.search.arguments import SEARCH_TOOLS_INPUT_SCHEMA
from utcp_bridge.search.presentation import as_text
from utcp_bridge.search.query import (
    SEARCH_TOOLS_OUTPUT_SCHEMA,
    SearchContext,
    describe_catalogue,
    ranked_queries,
    search_tools,
)

__all__ = ["MetaTools"]

_LONGEST_PROVIDERS: Final = 700

Run = Callable[[Entry, JsonObject, Emit], Awaitable[JsonObject]]
"""Runs one call and renders it; raises InvalidArguments only."""


class MetaTools:
    """The meta-tools that the settings leave in, by name."""

    def __init__(self, client: ClientPort, run: Run) -> None:
        self._client = client
        self._run = run
        names = client.settings.meta_tools
        self._calls: dict[str, Callable[[JsonObject, Emit, str | None], Awaitable[JsonObject]]] = {}
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

    async def call(self, name: str, arguments: JsonObject, emit: Emit, client: str | None = None) -> JsonObject:
        """Run one of them for the client of this name; a fault of any kind is an `isError` result."""
        return await self._calls[name](arguments, emit, client)

    def listed(self) -> list[JsonObject]:
        """Their entries of `tools/list`; the descriptions name the providers, for hosts that index only those."""
        names = self._client.settings.meta_tools
        providers = describe_catalogue(self.catalogue.counts(), _LONGEST_PROVIDERS)
        entries: list[JsonObject] = []
        if names.search:
            entries.append(_search_entry(names.search, names.call, providers))
        if names.call:
            entries.append(_call_entry(names.call, names.search))
        return entries

    async def _search(self, arguments: JsonObject, _emit: Emit, client: str | None) -> JsonObject:
        catalogue = self.catalogue
        context = SearchContext(
            searchable=self._client,
            tools=self._client.tools(),
            mcp_name=catalogue.name_of,
            is_listed=catalogue.view(client).is_listed if self._client.settings.meta_tools.call else _always,
            definition=catalogue.definition_of,
        )
        try:
            note = await self._client.prepare_search(ranked_queries(arguments))
            found = search_tools(arguments, context, note=note)
        except InvalidArguments as error:
            return render_error(error)
        return text_result(as_text(found), found)

    async def _call(self, arguments: JsonObject, emit: Emit, _client: str | None) -> JsonObject:
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


def _always(_tool: Tool) -> bool:
    return True


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


def _search_entry(name: str, call: str | None, providers: str) -> JsonObject:
    how = f" Any tool found can be called by its name, directly or with {call}." if call else ""
    return {
        "name": name,
        "title": "Search tools",
        "description": f"Find tools by what they do. {providers}{how}",
        "inputSchema": SEARCH_TOOLS_INPUT_SCHEMA,
        "outputSchema": SEARCH_TOOLS_OUTPUT_SCHEMA,
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


_CALL_INPUT: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "The tool's name, as listed or as found."},
        "arguments": {"type": "object", "properties": {}, "description": "The tool's arguments."},
    },
    "required": ["name"],
}
