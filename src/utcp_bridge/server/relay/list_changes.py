"""Who hears that resources or prompts have changed: a host that was given such a list, if it would get another one now.

The same rules as for tools hold (`server/changes.py`).
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import PromptsListChanged, ResourcesListChanged, ServerEvent

from utcp_bridge.server.relay.directory import Directory
from utcp_bridge.server.relay.requests import connection_of, is_modern

__all__ = ["ListChanges"]

_SEND_SECONDS: Final = 5.0
_EVENTS: Final[dict[str, Callable[[], ServerEvent]]] = {
    "resources": ResourcesListChanged,
    "prompts": PromptsListChanged,
}


class ListChanges:
    """The lists that sessions were given, by the digests of their entries, and those that streams start from."""

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


async def _notify(connection: Connection, what: str) -> None:
    with anyio.move_on_after(_SEND_SECONDS):
        send = connection.send_resource_list_changed if what == "resources" else connection.send_prompt_list_changed
        await send()
