"""The bridge's own tools: `search_tools` finds tools of every manual, `call_tool` calls one by name.

They serve hosts that take a limited number of tools, or that ignore `list_changed`: a tool that a search finds can be
called at once. A search never changes what is listed. This module does not use the MCP SDK.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from utcp_bridge.catalogue.catalogue import Catalogue, Entry
from utcp_bridge.catalogue.naming import NAME_PATTERN
from utcp_bridge.catalogue.render import Rendering, fault_result, render_error, render_result, text_result
from utcp_bridge.catalogue.text import clean
from utcp_bridge.errors import ConfigError, InvalidArguments, UnknownTool
from utcp_bridge.manuals.repository import unknown_tool
from utcp_bridge.model import Emit, JsonObject, Tool, is_object
from utcp_bridge.pipeline.reading import object_in
from utcp_bridge.search.arguments import SEARCH_TOOLS_INPUT_SCHEMA
from utcp_bridge.search.presentation import as_text
from utcp_bridge.search.query import (
    SEARCH_TOOLS_OUTPUT_SCHEMA,
    SearchContext,
    describe_catalogue,
    ranked_queries,
    search_tools,
)
from utcp_bridge.settings import BridgeSettings, MetaToolNames

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["MetaTools", "call_entry", "catalogue_with_meta_tools"]

_MAX_PROVIDERS_TEXT: Final = 700
_NAME_KEYS: Final = ("name", "tool_name", "tool")
_ARGUMENT_KEYS: Final = ("arguments", "args", "parameters", "params", "input", "tool_input")


def catalogue_with_meta_tools(client: UtcpClient) -> Catalogue:
    """Return the catalogue of a client, with the meta-tools that the settings name."""
    return Catalogue(client, partial(_listed, client.settings.meta_tools))


async def call_entry(client: UtcpClient, entry: Entry, arguments: JsonObject, emit: Emit) -> JsonObject:
    """Call a tool and render its result. An error is a result with `isError`.

    :raises InvalidArguments: the arguments do not fit. The caller can say more about it.
    """
    try:
        result = await client.call(entry.tool, entry.own_arguments(arguments), emit)
        return render_result(result, _rendering(entry, client.settings))
    except InvalidArguments:
        raise
    except Exception as error:  # noqa: BLE001 - an error of any kind is a result
        return render_error(error)


class MetaTools:
    """The meta-tools that the settings name, ready to call."""

    def __init__(self, client: UtcpClient, catalogue: Catalogue) -> None:
        """Check the names.

        :raises ConfigError: a name is not usable.
        """
        self._client = client
        self._catalogue = catalogue
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

    def __contains__(self, name: str) -> bool:
        return name in self._calls

    async def call(self, name: str, arguments: JsonObject, emit: Emit, client: str | None = None) -> JsonObject:
        """Run a meta-tool for the client of this name. Every failure is a result with `isError`."""
        return await self._calls[name](arguments, emit, client)

    def unknown(self, name: str) -> UnknownTool:
        """Return the error for a name that no tool has."""
        search = self._client.settings.meta_tools.search
        remedy = f"Find the right name with {search}." if search else "Call tools/list for the names."
        return unknown_tool(clean(name, 128), self._catalogue.entries, remedy=remedy)

    async def _search(self, arguments: JsonObject, _emit: Emit, client: str | None) -> JsonObject:
        catalogue = self._catalogue
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
        name, inner = _named_call(arguments)
        if not isinstance(name, str) or not is_object(inner):
            return fault_result('Send {"name": "...", "arguments": {...}}: the name of a tool and an object.')
        if name in self._calls:
            return fault_result(f"Call {clean(name, 64)} directly, not through another tool.")
        entry = self._catalogue.resolve(name)
        if entry is None:
            return render_error(self.unknown(name))
        try:
            return await call_entry(self._client, entry, inner, emit)
        except InvalidArguments as error:
            schema = orjson.dumps(entry.input.schema).decode()
            return fault_result(f"{error}\nIts input schema: {schema}")


def _rendering(entry: Entry, settings: BridgeSettings) -> Rendering:
    output = entry.output
    return Rendering(
        max_bytes=settings.max_result_bytes,
        structured=output is not None or settings.structured_content == "always",
        conform=entry.conform,
        wrapped=output is not None and output.wrapped,
        uri=f"utcp:{entry.name}",
    )


def _listed(names: MetaToolNames, counts: Mapping[str, int]) -> list[JsonObject]:
    """Return the entries of `tools/list`. The descriptions name the providers, for hosts that index only those."""
    providers = describe_catalogue(dict(counts), _MAX_PROVIDERS_TEXT)
    entries: list[JsonObject] = []
    if names.search:
        entries.append(_search_entry(names.search, names.call, providers))
    if names.call:
        entries.append(_call_entry(names.call, names.search))
    return entries


def _always(_tool: Tool) -> bool:
    return True


def _named_call(arguments: JsonObject) -> tuple[Any, Any]:
    """Return the name of the tool and its arguments, under the names that models give them.

    Arguments may be the text of a JSON object. Without a member for them, all members but the name are the arguments.
    """
    name_key = next((key for key in _NAME_KEYS if isinstance(arguments.get(key), str)), "name")
    rest = {key: value for key, value in arguments.items() if key != name_key}
    key = next((key for key in _ARGUMENT_KEYS if key in rest), None)
    inner = rest if key is None else rest[key]
    return arguments.get(name_key), {} if inner is None else object_in(inner)


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
        "description": f"Call any tool by name, also a tool that is not listed. {hint}"
        "Arguments are checked against the tool's own input schema. If they do not fit, the result shows that schema.",
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
