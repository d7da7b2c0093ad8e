"""The listed view over the client's tools: names, exposure, entries, pages. Knows no MCP SDK.

Nothing here costs time in proportion to the tools unless they changed: names are assigned once per generation, an
entry is made when it is first listed or called and kept for as long as its tool lives, pages are kept too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Final

import orjson

from utcp_bridge.errors import CallerError
from utcp_bridge.model import JsonObject, Tool
from utcp_bridge.server.conforming import Conformer
from utcp_bridge.server.naming import assign_names
from utcp_bridge.server.portable_schema import PortableInput, PortableOutput, portable_input, portable_output
from utcp_bridge.server.ports import ClientPort
from utcp_bridge.server.text import clean, clean_line

__all__ = ["Catalogue", "Entry", "Page", "StaleCursor"]

_LONGEST_DESCRIPTION: Final = 1024
_LONGEST_TITLE: Final = 120
_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_RENAMED: Final = "utcp/renamed"


class StaleCursor(CallerError):
    """A `tools/list` cursor that is malformed or belongs to an earlier list."""

    code = "stale_cursor"


class Entry:
    """One tool under its MCP name; the listed parts are worked out when first asked for."""

    def __init__(self, tool: Tool, name: str, *, max_schema_bytes: int, with_output: bool) -> None:
        self.tool = tool
        self.name = name
        self._max_schema_bytes = max_schema_bytes
        self._with_output = with_output

    @cached_property
    def input(self) -> PortableInput:
        return portable_input(self.tool.inputs, self._max_schema_bytes)

    @cached_property
    def output(self) -> PortableOutput | None:
        if not self._with_output or not self.tool.outputs:
            return None
        return portable_output(self.tool.outputs, self._max_schema_bytes)

    @cached_property
    def conform(self) -> Conformer | None:
        """Fits structured results to the listed output schema; None where none is listed."""
        return None if self.output is None else Conformer(self.output.schema)

    @cached_property
    def listed(self) -> JsonObject:
        """The entry of `tools/list`, for every protocol version."""
        tool = self.tool
        description = clean(tool.description)
        if tool.deprecated:
            description = f"Deprecated. {description}"
        meta: JsonObject = {"utcp/name": clean_line(tool.qualified_name, 256)}
        if tool.tags:
            meta["utcp/tags"] = [tag for one in tool.tags[:20] if (tag := clean_line(one, 64))]
        if self.input.renamed:
            meta[_RENAMED] = {name: clean_line(key, 256) for name, key in self.input.renamed.items()}
        entry: JsonObject = {
            "name": self.name,
            "title": clean_line(tool.title, _LONGEST_TITLE) or clean_line(tool.qualified_name, _LONGEST_TITLE),
            "description": clean(description, _LONGEST_DESCRIPTION),
            "inputSchema": self.input.schema,
        }
        if self.output is not None:
            entry["outputSchema"] = self.output.schema
        if hints := {key: tool.annotations[key] for key in _HINTS if isinstance(tool.annotations.get(key), bool)}:
            entry["annotations"] = hints
        entry["_meta"] = meta
        return entry

    @cached_property
    def composed(self) -> JsonObject:
        """The entry for protocol versions whose input schemas may have combinators at the root."""
        if self.input.composed is self.input.schema:
            return self.listed
        return {**self.listed, "inputSchema": self.input.composed}

    @cached_property
    def data(self) -> bytes:
        """`listed` as JSON."""
        return orjson.dumps(self.listed)

    def own_arguments(self, arguments: JsonObject) -> JsonObject:
        """Arguments with listed keys turned back into the tool's own."""
        renamed = self.input.renamed
        if not renamed:
            return arguments
        return {renamed.get(key, key): value for key, value in arguments.items()}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of `tools/list`; `next_cursor` is None on the last."""

    tools: list[JsonObject]
    next_cursor: str | None


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
        self._pages: dict[tuple[int, bool], Page] = {}
        self._listed: list[Entry] | None = None
        self._listed_tools: frozenset[Tool] | None = None
        self._fingerprint = ""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every tool by its MCP name, listed or not, in the client's order."""
        self._refresh()
        return self._entries

    @property
    def listed(self) -> Sequence[Entry]:
        """The tools that `tools/list` shows, meta-tools aside."""
        self._refresh()
        if self._listed is None:
            self._listed = self._exposed()
        return self._listed

    @property
    def meta_tools(self) -> Sequence[JsonObject]:
        """The bridge's own tools, as listed."""
        self._refresh()
        if self._meta_tools is None:
            self._meta_tools = self._describe_meta_tools()
        return self._meta_tools

    @property
    def fingerprint(self) -> str:
        """Changes with the names listed; cursors carry it."""
        if not self._fingerprint:
            names = "\n".join(entry.name for entry in self.listed)
            self._fingerprint = hashlib.sha256(names.encode()).hexdigest()[:12]
        return self._fingerprint

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

    def is_listed(self, tool: Tool) -> bool:
        """Whether `tools/list` shows a tool."""
        listed = self.listed
        if self._listed_tools is None:
            self._listed_tools = frozenset(entry.tool for entry in listed)
        return tool in self._listed_tools

    def input_schema(self, name: str) -> JsonObject | None:
        """The listed input schema of a tool or meta-tool."""
        for meta_tool in self.meta_tools:
            if meta_tool["name"] == name:
                schema: JsonObject = meta_tool["inputSchema"]
                return schema
        entry = self.resolve(name)
        return None if entry is None else entry.input.schema

    def page(self, cursor: str | None = None, *, composed: bool = False) -> Page:
        """One page of `tools/list`; `composed` for protocol 2026-07-28 and later.

        :raises StaleCursor: the cursor is none of ours or the list has changed since.
        """
        self._refresh()
        start = 0 if cursor is None else self._position(cursor)
        page = self._pages.get((start, composed))
        if page is None:
            page = self._pages[start, composed] = self._make_page(start, composed=composed)
        return page

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
        self._pages, self._listed, self._listed_tools = {}, None, None
        self._meta_tools, self._fingerprint = None, ""
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

    def _exposed(self) -> list[Entry]:
        entries = list(self._entries.values())
        settings = self._settings
        if settings.exposure == "all" or (settings.exposure == "auto" and self._is_small(entries)):
            return entries
        return [entry for entry in entries if self._is_pinned(entry)]

    def _is_small(self, entries: Sequence[Entry]) -> bool:
        settings = self._settings
        if settings.meta_tools.search is None or settings.meta_tools.call is None:
            return True
        if len(entries) > settings.exposure_max_tools:
            return False
        return sum(len(entry.data) for entry in entries) <= settings.exposure_max_bytes

    def _is_pinned(self, entry: Entry) -> bool:
        names = (entry.tool.qualified_name, entry.name)
        return any(fnmatchcase(name, pattern) for pattern in self._settings.pinned for name in names)

    def _make_page(self, start: int, *, composed: bool) -> Page:
        size = self._settings.page_size
        listed = self.listed
        chosen = listed[start : start + size]
        tools = [entry.composed if composed else entry.listed for entry in chosen]
        if start == 0:
            tools = [*self.meta_tools, *tools]
        end = start + size
        return Page(tools, self._cursor(end) if end < len(listed) else None)

    def _cursor(self, position: int) -> str:
        return base64.urlsafe_b64encode(f"{position}.{self.fingerprint}".encode()).decode().rstrip("=")

    def _position(self, cursor: str) -> int:
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        except (binascii.Error, ValueError):
            text = ""
        position, _, fingerprint = text.partition(".")
        if not position.isdecimal() or len(position) > 9 or fingerprint != self.fingerprint:
            raise StaleCursor(
                "The cursor belongs to an earlier list of tools.", remedy="Call tools/list again without a cursor."
            )
        return int(position)
