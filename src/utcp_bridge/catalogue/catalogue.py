"""The listed view over the client's tools: names, entries, and one view for each exposure. Knows no MCP SDK.

Nothing here costs time in proportion to the tools unless they changed: names are assigned once per generation, an
entry is made when it is first listed or called and kept for as long as its tool lives, pages are kept too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from utcp_bridge.catalogue.entry import Entry
from utcp_bridge.catalogue.exposure import Page, View, exposure_for
from utcp_bridge.catalogue.naming import assign_names
from utcp_bridge.catalogue.ports import ClientPort
from utcp_bridge.model import JsonObject, Tool
from utcp_bridge.settings import Exposure

__all__ = ["Catalogue", "Entry", "Page"]


class Catalogue:
    """What `tools/list` shows and `tools/call` resolves."""

    def __init__(self, client: ClientPort, meta_tools: Callable[[], list[JsonObject]] = list) -> None:
        """`meta_tools` gives the entries that stand before the tools; it is asked once per generation."""
        self._client = client
        self._settings = client.settings
        self._describe_meta_tools = meta_tools
        self._meta_tools: list[JsonObject] | None = None
        self._reserved = tuple(
            name for name in (self._settings.meta_tools.search, self._settings.meta_tools.call) if name
        )
        self._generation: int | None = None
        self._entries: dict[str, Entry] = {}
        self._by_alias: dict[str, Entry] = {}
        self._of_tool: dict[Tool, Entry] = {}
        self._views: dict[Exposure, View] = {}

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every tool by its MCP name, listed or not, in the client's order."""
        self._refresh()
        return self._entries

    @property
    def listed(self) -> Sequence[Entry]:
        """The tools that `tools/list` shows to a client without a name, meta-tools aside."""
        return self.view().listed

    def view(self, client: str | None = None) -> View:
        """What `tools/list` shows to the client of this name."""
        self._refresh()
        exposure = exposure_for(self._settings, client)
        view = self._views.get(exposure)
        if view is None:
            entries = list(self._entries.values())
            view = self._views[exposure] = View(entries, self.meta_tools, exposure, self._settings)
        return view

    @property
    def meta_tools(self) -> Sequence[JsonObject]:
        """The bridge's own tools, as listed."""
        self._refresh()
        if self._meta_tools is None:
            self._meta_tools = self._describe_meta_tools()
        return self._meta_tools

    def resolve(self, name: str) -> Entry | None:
        """The tool of this MCP name, UTCP name or alias."""
        self._refresh()
        entry = self._entries.get(name) or self._by_alias.get(name)
        if entry is None and (tool := self._client.find(name)) is not None:
            entry = self._of_tool.get(tool)
        return entry

    def name_of(self, tool: Tool) -> str:
        """The MCP name of a tool; its UTCP name if it has just gone."""
        self._refresh()
        entry = self._of_tool.get(tool)
        return tool.qualified_name if entry is None else entry.name

    def definition_of(self, tool: Tool) -> JsonObject:
        """The `tools/list` entry of a tool; empty if it has just gone."""
        self._refresh()
        entry = self._of_tool.get(tool)
        return {} if entry is None else entry.listed

    def input_schema(self, name: str) -> JsonObject | None:
        """The listed input schema of a tool or meta-tool."""
        for meta_tool in self.meta_tools:
            if meta_tool["name"] == name:
                schema: JsonObject = meta_tool["inputSchema"]
                return schema
        entry = self.resolve(name)
        return None if entry is None else entry.input.schema

    def page(self, cursor: str | None = None, *, composed: bool = False, client: str | None = None) -> Page:
        """One page of `tools/list`; `composed` for protocol 2026-07-28 and later.

        :raises StaleCursor: the cursor is none of ours or the list has changed since.
        """
        return self.view(client).page(cursor, composed=composed)

    def counts(self) -> dict[str, int]:
        """Tools per manual, in the client's order."""
        self._refresh()
        return dict(Counter(entry.tool.manual for entry in self._entries.values()))

    def _refresh(self) -> None:
        generation = self._client.generation
        if generation == self._generation:
            return
        tools = {(tool.manual, tool.name): tool for tool in self._client.tools()}
        settings = self._settings
        names = assign_names(tools, style=settings.naming, aliases=settings.aliases, reserved=self._reserved)
        of_tool = {tool: self._entry(tool, names[key]) for key, tool in tools.items()}
        self._of_tool = of_tool
        self._entries = {entry.name: entry for entry in of_tool.values()}
        self._by_alias = self._further_aliases()
        self._views, self._meta_tools = {}, None
        self._generation = generation

    def _entry(self, tool: Tool, name: str) -> Entry:
        known = self._of_tool.get(tool)
        if known is not None and known.name == name:
            return known
        return Entry(
            tool,
            name,
            max_schema_bytes=self._settings.max_schema_bytes,
            with_output=self._settings.structured_content != "never",
        )

    def _further_aliases(self) -> dict[str, Entry]:
        if not self._settings.aliases:
            return {}
        by_name = {entry.tool.qualified_name: entry for entry in self._entries.values()}
        return {alias: by_name[name] for alias, name in self._settings.aliases.items() if name in by_name}
