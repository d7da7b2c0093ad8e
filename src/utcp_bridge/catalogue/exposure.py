"""Which tools `tools/list` shows, for all clients or for one by its name, and in which pages."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from utcp_bridge.catalogue.entry import Entry
from utcp_bridge.errors import StaleCursor
from utcp_bridge.model import JsonObject, Tool, matches_glob
from utcp_bridge.settings import BridgeSettings, Exposure

__all__ = ["Page", "View", "exposure_for"]

BYTES_A_TOKEN: Final = 4
"""What a token of JSON comes to, roughly; counting exactly would need every model's own tokenizer."""


class Page:
    """One page of `tools/list`; `next_cursor` is None on the last."""

    __slots__ = ("next_cursor", "tools")

    def __init__(self, tools: list[JsonObject], next_cursor: str | None) -> None:
        self.tools = tools
        self.next_cursor = next_cursor


def exposure_for(settings: BridgeSettings, client: str | None) -> Exposure:
    """The exposure for a client of this name: the first pattern of `exposure_by_client` that fits, else `exposure`."""
    if client is not None:
        for pattern, exposure in settings.exposure_by_client.items():
            if matches_glob(pattern, client):
                return exposure
    return settings.exposure


class View:
    """What one exposure lists of one generation of tools."""

    def __init__(
        self, entries: Sequence[Entry], meta_tools: Sequence[JsonObject], exposure: Exposure, settings: BridgeSettings
    ) -> None:
        self._entries = entries
        self._meta_tools = [] if exposure == "pinned" else list(meta_tools)
        self._exposure = exposure
        self._settings = settings
        self._pages: dict[tuple[int, bool], Page] = {}

    @cached_property
    def listed(self) -> Sequence[Entry]:
        """The tools shown, meta-tools aside."""
        if self._exposure == "all" or (self._exposure == "auto" and self._is_small()):
            return self._entries
        return [entry for entry in self._entries if self._is_pinned(entry)]

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the names listed; cursors carry it."""
        names = "\n".join(entry.name for entry in self.listed)
        return hashlib.sha256(names.encode()).hexdigest()[:12]

    def is_listed(self, tool: Tool) -> bool:
        """Whether a tool is shown."""
        return tool in self._listed_tools

    def page(self, cursor: str | None = None, *, composed: bool = False) -> Page:
        """One page; `composed` for protocol 2026-07-28 and later. Raises StaleCursor."""
        start = 0 if cursor is None else self._position(cursor)
        page = self._pages.get((start, composed))
        if page is None:
            page = self._pages[start, composed] = self._make_page(start, composed=composed)
        return page

    @cached_property
    def _listed_tools(self) -> frozenset[Tool]:
        return frozenset(entry.tool for entry in self.listed)

    def _is_small(self) -> bool:
        names, limits = self._settings.meta_tools, self._settings.exposure_limits
        if names.search is None or names.call is None:
            return True
        if len(self._entries) > limits.tools:
            return False
        return sum(len(entry.data) for entry in self._entries) <= limits.tokens * BYTES_A_TOKEN

    def _is_pinned(self, entry: Entry) -> bool:
        names = (entry.tool.qualified_name, entry.name)
        return any(matches_glob(pattern, name) for pattern in self._settings.pinned for name in names)

    def _make_page(self, start: int, *, composed: bool) -> Page:
        end = start + self._settings.page_size
        tools = [entry.composed if composed else entry.listed for entry in self.listed[start:end]]
        if start == 0:
            tools = [*self._meta_tools, *tools]
        return Page(tools, self._cursor(end) if end < len(self.listed) else None)

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
