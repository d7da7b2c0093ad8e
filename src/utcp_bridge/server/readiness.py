"""Whether the first load of the manuals is over, or has taken as long as it may."""

from __future__ import annotations

from time import monotonic
from typing import Any

from utcp_bridge.catalogue.ports import ClientPort

__all__ = ["Readiness"]


class Readiness:
    """`startup_wait` seconds from its making at most, then the server answers with what is up."""

    def __init__(self, client: ClientPort) -> None:
        self._client = client
        self._deadline = monotonic() + client.settings.startup_wait
        self._ready = False

    def is_ready(self) -> bool:
        """Once true, it stays so."""
        if not self._ready:
            settled = all(manual.status != "loading" for manual in self._client.report())
            self._ready = settled or monotonic() >= self._deadline
        return self._ready

    async def wait(self) -> None:
        """Return when ready."""
        if not self.is_ready():
            await self._client.wait_loaded(max(0.0, self._deadline - monotonic()))

    def summary(self) -> dict[str, Any]:
        """Counts for a readiness probe; names and causes stay with `utcp-bridge check`."""
        manuals = list(self._client.report())
        counts = {
            status: sum(manual.status == status for manual in manuals) for status in ("ready", "loading", "failed")
        }
        return {
            "ready": self.is_ready(),
            "manuals": {"total": len(manuals), **counts},
            "tools": sum(manual.tools for manual in manuals),
        }
