"""Whether the server should get requests: the first load of the manuals has ended, and its own end has not begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["Readiness"]


class Readiness:
    """Waits for the manuals, at most `startup_wait` seconds from when it was made."""

    def __init__(self, client: UtcpClient) -> None:
        self._client = client
        self._deadline = monotonic() + client.settings.startup_wait
        self._ready = False
        self._has_settled = False
        self.whole: Callable[[dict[str, Any]], dict[str, Any]] = lambda summary: summary
        """Turns the summary of this process into that of all that serve one address."""
        self.is_draining = False
        """Whether the server is about to end. It still serves, but probes send new clients elsewhere."""
        self.access_lost: Callable[[], int] | None = None
        """Returns how many lines of the access log were lost, if there is one."""

    def is_ready(self) -> bool:
        """Return whether the first load has ended. Once true, it stays true."""
        if not self._ready:
            settled = not any(manual.is_loading for manual in self._client.report())
            self._ready = settled or monotonic() >= self._deadline
        return self._ready

    async def wait(self) -> None:
        """Return when the first load has ended."""
        if not self.is_ready():
            await self._client.wait_loaded(max(0.0, self._deadline - monotonic()))

    async def settle(self) -> None:
        """Return when the first load has ended, or when tools have arrived and no other manual follows for a while.

        Some hosts wait no longer than ten seconds for the tools of a server. Only the first list waits: those after it
        are asked for because something has changed.
        """
        while not (self._has_settled or self.is_ready()):
            now, until = monotonic(), self._deadline
            manuals = [manual for manual in self._client.report() if manual.status != "loading"]
            if any(manual.tools for manual in manuals):
                last = max(manual.arrived for manual in manuals)
                until = min(until, last + self._client.settings.startup_settle)
            if until <= now:
                self._has_settled = True
                return
            with anyio.move_on_after(until - now):
                await self._client.next_loaded()

    def summary(self) -> dict[str, Any]:
        """Return counts for a readiness probe. `utcp-bridge check` shows names and causes."""
        manuals = list(self._client.report())
        counts = {
            status: sum(manual.status == status for manual in manuals) for status in ("ready", "loading", "failed")
        }
        lost = self._client.audit_lost
        outages = self._client.outages()
        servers = dict(Counter(server.status.replace(" ", "_") for server in self._client.servers()))
        return {
            "ready": self.is_ready() and not self.is_draining,
            "manuals": {"total": len(manuals), **counts},
            "retrying": sum(manual.next_try is not None for manual in manuals),
            "breakers": {
                "open": sum(outage.seconds > 0 for outage in outages),
                "half_open": sum(outage.seconds <= 0 for outage in outages),
            },
            **({"servers": servers} if servers else {}),
            "tools": sum(manual.tools for manual in manuals),
            **({"draining": True} if self.is_draining else {}),
            **({} if lost is None else {"audit": {"lost": lost}}),
            **({} if self.access_lost is None else {"access_log": {"lost": self.access_lost()}}),
            **({} if self._client.shared is None else {"store": self._client.shared.state}),
            **({} if self._client.configuration is None else {"configuration": self._client.configuration}),
        }
