"""The servers of one manual: quick ones are listed at once, and the others are announced when they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio

from utcp_bridge.transport import Services
from utcp_bridge.transports.mcp.supervisor import McpSupervisor

__all__ = ["Gathering"]

_SETTLE_SECONDS: Final = 0.25
"""How long a discovery waits for one more server after the last one that arrived."""


class Gathering:
    """Waits for the servers of one manual, and reports those that come later."""

    def __init__(self, services: Services, manual: str) -> None:
        self._services = services
        self._manual = manual
        self._moved = anyio.Event()
        self._late: set[McpSupervisor] = set()
        """Servers without which a discovery ended."""
        self._is_told = True
        self._knows_what_changed = False
        """Whether the next discovery may use what other servers listed before."""

    async def gather(self, servers: Sequence[McpSupervisor]) -> None:
        """Read the servers. Return when all of them have a listing or a failure, or a moment after one has a listing.

        Servers that come later have the manual read again: then only what has changed is asked for.
        """
        again, self._knows_what_changed = not self._knows_what_changed, False
        for server in servers:
            server.read(again=again)
        while not all(server.settled.is_set() for server in servers):
            some = any(server.settled.is_set() and server.failure is None for server in servers)
            moved = self._moved
            with anyio.move_on_after(_SETTLE_SECONDS if some else float("inf")) as wait:
                await moved.wait()
            if wait.cancelled_caught:
                break
        self._late = {server for server in servers if server.is_reading}

    def note(self, server: McpSupervisor) -> None:
        """Note that a server has been read, or that it has failed."""
        self._moved.set()
        self._moved = anyio.Event()
        if server in self._late and self._is_told:
            self._is_told = False
            self._services.spawn(self._tell)

    def changed(self) -> None:
        """Have the manual read again; servers that have not changed are not asked."""
        self._knows_what_changed = True
        self._services.changed(self._manual)

    async def _tell(self) -> None:
        """Report the servers that arrive within a moment as one change."""
        await anyio.sleep(_SETTLE_SECONDS)
        self._is_told = True
        self.changed()
