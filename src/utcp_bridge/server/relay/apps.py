"""Pages of MCP servers (MCP Apps) and skills: extensions whose messages are resources and calls, so the relay has them.

A tool names its page in `_meta`, as a `ui://` URI of its own server. Where two servers have the same URI, hosts see
another one for each. A page calls the tools of its server under their own names, which need not be the listed ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import mcp_types as types

from utcp_bridge.model import JsonObject, Tool, is_object
from utcp_bridge.server.relay.desk import Desk
from utcp_bridge.server.relay.directory import Directory
from utcp_bridge.upstream import APPS

__all__ = ["Apps"]

_SKILLS: Final = "io.modelcontextprotocol/skills"
_PASSED: Final = (APPS, _SKILLS)
"""Extensions that hosts hear of if an upstream has them."""
_OLD_KEY: Final = "ui/resourceUri"
_UTCP_NAME: Final = "utcp/name"


class Apps:
    """What the pages of upstreams need of the server."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._looked: tuple[Directory | None, bool] = (None, False)

    def advertised(self, base: types.ServerCapabilities) -> types.ServerCapabilities:
        """Return the capabilities of the server with the extensions that an upstream has."""
        found: JsonObject = {}
        for upstream in self._desk.client.upstreams():
            stated: Any = upstream.offers.capabilities.get("extensions") if upstream.offers is not None else None
            for name in _PASSED:
                if is_object(stated) and name in stated:
                    found.setdefault(name, stated[name] if is_object(stated[name]) else {})
        return base.model_copy(update={"extensions": {**(base.extensions or {}), **found}}) if found else base

    def listed(self, tools: list[JsonObject]) -> list[JsonObject]:
        """Return entries of `tools/list` with the URIs of their pages as hosts read them."""
        return [self._entry(one) for one in tools] if self._has_pages else tools

    def result(self, tool: Tool, result: JsonObject) -> JsonObject:
        """Return the result of a tool with the URI of its page as hosts read it."""
        meta = result.get("_meta")
        if not is_object(meta) or not _has_page(meta):
            return result
        return {**result, "_meta": _with_page(meta, lambda uri: self._desk.shown_link(tool, uri, False))}

    def tool_of_page(self, name: str) -> Tool | None:
        """Return the tool that a page means, by its name at its own server. None if none or several have it."""
        if not self._has_pages:
            return None
        found = [one for one in self._desk.client.tools() if (one.overlay or {}).get("tool_name") == name]
        with_pages = [one for one in found if is_object(meta := one.extras.get("_meta")) and _has_page(meta)] or found
        return with_pages[0] if len(with_pages) == 1 else None

    @property
    def _has_pages(self) -> bool:
        directory = self._desk.directory
        if self._looked[0] is not directory:
            extensions = (one.offers.capabilities.get("extensions") for one in directory.upstreams if one.offers)
            has_pages = any(is_object(one) and APPS in one for one in extensions)
            has_pages = has_pages or any(one["uri"].lower().startswith("ui://") for one in directory.resources)
            self._looked = (directory, has_pages)
        return self._looked[1]

    def _entry(self, entry: JsonObject) -> JsonObject:
        meta = entry.get("_meta")
        if not is_object(meta) or not _has_page(meta):
            return entry
        tool = self._desk.client.find(str(meta.get(_UTCP_NAME)))
        if tool is None:
            return entry
        return {**entry, "_meta": _with_page(meta, lambda uri: self._desk.shown_link(tool, uri, False))}


def _with_page(meta: JsonObject, show: Callable[[str], str | None]) -> JsonObject:
    """Return the `_meta` of a tool or of its result with the URI of its page as hosts read it."""
    if not _has_page(meta):
        return meta
    shown: JsonObject = dict(meta)
    if isinstance(old := meta.get(_OLD_KEY), str):
        shown[_OLD_KEY] = show(old) or old
    page: Any = meta.get("ui")
    if is_object(page) and isinstance(uri := page.get("resourceUri"), str):
        shown["ui"] = {**page, "resourceUri": show(uri) or uri}
    return shown


def _has_page(meta: JsonObject) -> bool:
    return "ui" in meta or _OLD_KEY in meta
