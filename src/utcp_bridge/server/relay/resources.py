"""`resources/list`, `resources/templates/list` and `resources/read`: those of the upstreams, and kept results."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from utcp_bridge.access.gatekeeper import is_protected
from utcp_bridge.model import Emit, JsonObject
from utcp_bridge.server.callers import caller_of
from utcp_bridge.server.relay.desk import Desk
from utcp_bridge.server.relay.directory import Owner
from utcp_bridge.server.relay.kept import KeptResources
from utcp_bridge.server.relay.pages import page_of_list
from utcp_bridge.server.relay.requests import is_modern, not_found, speaking_protocol
from utcp_bridge.server.relay.results import read_result
from utcp_bridge.upstream import ProtocolError

__all__ = ["Resources"]

Context = ServerRequestContext[Any, Any]


class Resources:
    """The handlers of resources."""

    def __init__(self, desk: Desk, kept: KeptResources) -> None:
        self._desk = desk
        self._kept = kept

    def register(self, server: Server[Any]) -> None:
        """Add the handlers to a server."""
        server.add_request_handler("resources/list", types.PaginatedRequestParams, self._list)
        server.add_request_handler("resources/templates/list", types.PaginatedRequestParams, self._list_templates)
        server.add_request_handler("resources/read", types.ReadResourceRequestParams, self._read)

    async def _list(self, ctx: Context, params: types.PaginatedRequestParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            directory = await self._desk.settled()
            self._desk.changes.given(ctx, "resources", directory)
            kept = self._kept.entries(caller_of(ctx)) if self._kept.is_on else []
            return await self._desk.shown(listed("resources", [*kept, *directory.resources], params.cursor))

    async def _list_templates(self, ctx: Context, params: types.PaginatedRequestParams) -> JsonObject:
        with speaking_protocol(self._desk.client, ctx):
            directory = await self._desk.settled()
            self._desk.changes.given(ctx, "resources", directory)
            return await self._desk.shown(listed("resourceTemplates", directory.resource_templates, params.cursor))

    async def _read(self, ctx: Context, params: types.ReadResourceRequestParams) -> JsonObject:
        uri = str(params.uri)
        with speaking_protocol(self._desk.client, ctx):
            if self._kept.has(uri):
                return await self._kept.read(uri, caller_of(ctx))
            return await self._desk.interact(ctx, partial(self._read_from_owner, ctx, uri))

    async def _read_from_owner(self, ctx: Context, uri: str, emit: Emit) -> JsonObject:
        directory = await self._desk.settled()
        refused: ProtocolError | None = None
        for owner in directory.owners(uri):
            try:
                result = await self._desk.ask(ctx, owner, "resources/read", {"uri": owner[1]}, emit)
            except ProtocolError as error:
                refused = refused or error
                continue
            shown = read_result(result, uri, partial(self._shown, owner, uri))
            settings = self._desk.client.settings
            if (is_protected(settings) or settings.profiles) and shown.get("cacheScope") == "public":
                shown["cacheScope"] = "private"  # it is public for those who may use the bridge
            return shown
        if refused is not None:
            raise refused
        raise not_found("Resource not found.", {"uri": uri}, modern=is_modern(ctx), is_resource=True)

    def _shown(self, owner: Owner, asked: str, uri: str) -> str:
        """Return the URI of a part for the host: the one that it asked for, if the upstream repeats its own."""
        return asked if uri == owner[1] else self._desk.directory.uri_for(owner[0], uri)


def listed(field: str, entries: Sequence[JsonObject], cursor: str | None) -> JsonObject:
    """Return one page of a list as a result."""
    page, following = page_of_list(entries, cursor)
    result: JsonObject = {field: page, "resultType": "complete"}
    return result if following is None else {**result, "nextCursor": following}
