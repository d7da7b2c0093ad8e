"""What the handlers of the relay share: the directory of the moment, who was given it, and the way to an upstream."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import PromptsListChanged, ResourcesListChanged, ServerEvent

from utcp_bridge.auth.results import shown_to_hosts
from utcp_bridge.model import REQUESTER, Emit, JsonObject, Requester, Tool, discard
from utcp_bridge.server.hosts.interaction import Interaction
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.server.relay.directory import Directory, Owner
from utcp_bridge.server.relay.requests import ask, connection_of, is_modern, passed_meta
from utcp_bridge.tasks import setting

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["Desk", "ListChanges"]

_SEND_SECONDS: Final = 5.0
_EVENTS: Final[dict[str, Callable[[], ServerEvent]]] = {
    "resources": ResourcesListChanged,
    "prompts": PromptsListChanged,
}


class ListChanges:
    """The lists that sessions were given, by the digests of their entries, and those that streams start from.

    A host hears that resources or prompts have changed if it was given such a list and would get another one now, as
    for tools (`server/changes.py`).
    """

    def __init__(self) -> None:
        self._given: weakref.WeakKeyDictionary[Connection, dict[str, str]] = weakref.WeakKeyDictionary()
        self._known: dict[str, str] | None = None

    def given(self, ctx: ServerRequestContext[Any, Any], what: str, directory: Directory) -> None:
        """Note that a session receives the resources (with templates) or the prompts of a directory."""
        if not is_modern(ctx):
            self._given.setdefault(connection_of(ctx), {})[what] = directory.digests[what]

    async def announce(self, directory: Directory, publish: Callable[[ServerEvent], Awaitable[None]]) -> None:
        """Notify sessions, and with `publish` the streams, of what has changed since they were notified last."""
        now = directory.digests
        before, self._known = self._known, now
        for what, event in _EVENTS.items():
            if before is not None and before[what] != now[what]:
                await publish(event())
        async with anyio.create_task_group() as group:
            for connection, given in list(self._given.items()):
                for what in [what for what, digest in given.items() if digest != now[what]]:
                    given[what] = now[what]
                    group.start_soon(_notify, connection, what)


class Desk:
    """Finds the owner of a name or a URI, and asks it."""

    def __init__(self, client: UtcpClient, readiness: Readiness, interaction: Interaction) -> None:
        self.client = client
        self._readiness = readiness
        self._interaction = interaction
        self._directory = Directory(())
        self.changes = ListChanges()
        self.requester_of: Callable[[ServerRequestContext[Any, Any]], Requester] | None = None
        """Returns who a request comes from. A mapped resource calls a tool, and rules and the audit log may want to
        know it, also those that come while the server runs."""

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
        self,
        ctx: ServerRequestContext[Any, Any],
        owner: Owner,
        method: str,
        params: JsonObject,
        emit: Emit = discard,
    ) -> JsonObject:
        """Send a host's request to an upstream and return its result. See `requests.ask`."""
        return await ask(self.client, owner[0], method, {**params, **passed_meta(ctx.params)}, emit)

    async def shown(self, listed: JsonObject) -> JsonObject:
        """Return a list of what upstreams offer as hosts may see it."""
        shown: JsonObject = await shown_to_hosts(listed, self.client.redactor)
        return shown

    async def interact(
        self, ctx: ServerRequestContext[Any, Any], work: Callable[[Emit], Awaitable[JsonObject]]
    ) -> JsonObject:
        """Return what `work` returns. Meanwhile upstreams may ask the host of the request, and their logs and progress
        reach it. See `Interaction.serve`.
        """
        if self.requester_of is None or not self.client.notes_requesters:
            return await self._interaction.serve(ctx, work)
        with setting(REQUESTER, self.requester_of(ctx)):
            return await self._interaction.serve(ctx, work)


async def _notify(connection: Connection, what: str) -> None:
    with anyio.move_on_after(_SEND_SECONDS):
        send = connection.send_resource_list_changed if what == "resources" else connection.send_prompt_list_changed
        await send()
