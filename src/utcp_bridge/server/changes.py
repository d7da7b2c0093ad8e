"""Announces changed tools: `list_changed` to every open session, in both protocol eras, debounced.

2026-07-28: clients subscribe with `subscriptions/listen`, served from a bus. Earlier versions: the SDK keeps no
registry of sessions, so those that have said `notifications/initialized` are remembered here, weakly.
"""

from __future__ import annotations

import logging
import weakref
from typing import Any, Final

import anyio
import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged

__all__ = ["Changes"]

_log = logging.getLogger(__name__)
_DEBOUNCE: Final = 0.2
_SEND_TIMEOUT: Final = 5.0


class Changes:
    """Collects changes and tells the clients once for each burst of them."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self.listen = ListenHandler(self._bus)
        self._sessions: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._changed = anyio.Event()

    async def remember(self, ctx: ServerRequestContext[Any, Any], _params: types.NotificationParams | None) -> None:
        """Handler of `notifications/initialized`: the session is told of changes from now on."""
        self._sessions.add(ctx.session._connection)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime

    def mark(self) -> None:
        """Something changed; callable from the event loop's thread at any time."""
        self._changed.set()

    async def announce(self) -> None:
        """Run for as long as the server does."""
        while True:
            await self._changed.wait()
            await anyio.sleep(_DEBOUNCE)
            self._changed = anyio.Event()
            await self._bus.publish(ToolsListChanged())
            async with anyio.create_task_group() as group:
                for session in list(self._sessions):
                    group.start_soon(_tell, session)

    def close(self) -> None:
        """End every open listen stream in order."""
        self.listen.close()


async def _tell(session: Connection) -> None:
    try:
        with anyio.move_on_after(_SEND_TIMEOUT):
            await session.send_tool_list_changed()
    except Exception as error:  # noqa: BLE001 - one broken session must not end the announcements
        _log.debug("A session was not told of changed tools (%s).", type(error).__name__)
