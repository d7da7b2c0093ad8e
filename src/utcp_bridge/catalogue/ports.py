"""What the server needs of a UTCP client; `utcp_bridge.client.client.UtcpClient` has all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from utcp_bridge.model import Emit, JsonObject, Result, Tool
from utcp_bridge.search.strategy import Searchable
from utcp_bridge.settings import BridgeSettings

__all__ = ["ClientPort", "ManualReport"]


class ManualReport(Protocol):
    """One configured manual's state."""

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> str:
        """`loading` until its first discovery has ended, then `ready` or `failed`."""
        ...

    @property
    def tools(self) -> int:
        """Tools it has now."""
        ...


class ClientPort(Searchable, Protocol):
    """A UTCP client as the server sees it."""

    @property
    def settings(self) -> BridgeSettings: ...

    @property
    def generation(self) -> int:
        """Grows with every change of the tools."""
        ...

    def tools(self) -> Sequence[Tool]:
        """Every tool, in an order that does not depend on time."""
        ...

    def find(self, name: str) -> Tool | None:
        """The tool of this UTCP name."""
        ...

    async def call(self, tool: Tool, arguments: JsonObject, emit: Emit) -> Result:
        """Run one call; raises UtcpError."""
        ...

    def streams(self, tool: Tool) -> bool:
        """Whether a call of this tool gives partial results."""
        ...

    async def prepare_search(self, queries: Iterable[str]) -> str | None:
        """Get ready to search for these; a note for the model where that failed."""
        ...

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every change of the tools; returns what ends that."""
        ...

    async def wait_loaded(self, seconds: float | None = None) -> bool:
        """Wait until no manual is in its first load; False if `seconds` ran out first."""
        ...

    def report(self) -> Sequence[ManualReport]:
        """Every configured manual's state."""
        ...
