"""What the handlers of the relay share: the directory of the moment, and the way of a request to its upstream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.context import ServerRequestContext

from utcp_bridge.auth.results import masked_partial
from utcp_bridge.model import JsonObject, Tool
from utcp_bridge.server.hosts.interaction import Interaction
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.relay.directory import Directory, Owner
from utcp_bridge.server.relay.list_changes import ListChanges
from utcp_bridge.server.relay.requests import ask, passed_meta

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["Desk"]


class Desk:
    """Finds the owner of a name or a URI, and asks it."""

    def __init__(self, client: UtcpClient, readiness: Readiness, interaction: Interaction) -> None:
        self.client = client
        self._readiness = readiness
        self._interaction = interaction
        self._directory = Directory(())
        self.changes = ListChanges()

    @property
    def directory(self) -> Directory:
        """What the upstreams offer now."""
        upstreams = self.client.upstreams()
        if not self._directory.is_of(upstreams):
            self._directory = Directory(upstreams)
        return self._directory

    def shown_link(self, tool: Tool, uri: str, is_refused: bool) -> str | None:
        """Return the URI by which a host reads a resource that a tool named; None if it cannot.

        A link that hosts must not open themselves, such as a file on another machine, is read through its upstream.
        """
        name = (tool.overlay or {}).get("server")
        known = (one for one in self.client.upstreams() if one.manual == tool.manual and one.name == name)
        upstream = next(known, None)
        if upstream is None:
            return None if is_refused else uri
        return self.directory.shown_link(upstream, uri, is_refused)

    @property
    def is_waiting(self) -> bool:
        """Whether an MCP server that the configuration names has not been read yet, or cannot be reached."""
        known = {(one.manual, one.name) for one in self.client.upstreams()}
        return any(state.kind == "mcp" and state.status != "ready" for state in self.client.report()) or any(
            server.status != "disabled" and (server.manual, server.name) not in known
            for server in self.client.servers()
        )

    async def introduced(self, seconds: float) -> None:
        """Wait until the MCP servers of the configuration are read for the first time, at most for so long."""
        with anyio.move_on_after(seconds):
            while any(state.kind == "mcp" and state.is_loading for state in self.client.report()):
                await self.client.next_loaded()

    async def settled(self) -> Directory:
        """Return the directory once the first load of the manuals has ended, or has taken long enough."""
        await self._readiness.settle()
        return self.directory

    async def ask(
        self, ctx: ServerRequestContext[Any, Any], owner: Owner, method: str, params: JsonObject
    ) -> JsonObject:
        """Send a host's request to an upstream and return its result. See `requests.ask`."""
        return await ask(self.client, owner[0], method, {**params, **passed_meta(ctx.params)})

    async def masked(self, listed: JsonObject) -> JsonObject:
        """Return a list for a host without the operator's credentials: an upstream may repeat what it received."""
        masked: JsonObject = await masked_partial(listed, self.client.redactor)
        return masked

    async def interact(
        self, ctx: ServerRequestContext[Any, Any], work: Callable[[], Awaitable[JsonObject]]
    ) -> JsonObject:
        """Return what `work` returns. Meanwhile upstreams may ask the host of the request. See `Interaction.serve`."""
        return await self._interaction.serve(ctx, lambda _emit: work())
