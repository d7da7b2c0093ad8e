"""WebSockets that outlive a call: leased to one call at a time, or shared by calls whose replies name them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio

from utcp_bridge.transports.websocket.connection import Connection

__all__ = ["SocketPool"]

Key: TypeAlias = tuple[str, Hashable]
"""The manual's name, and whatever tells its connections apart."""
Open: TypeAlias = Callable[[], Awaitable[Connection]]

_KEPT = 4


@dataclass(slots=True)
class _Shared:
    opening: anyio.Lock = field(default_factory=anyio.Lock)
    connection: Connection | None = None


class SocketPool:
    """Open connections by key. A connection that was closed, or that sent what nobody asked for, is not used again."""

    def __init__(self) -> None:
        self._idle: dict[Key, list[Connection]] = defaultdict(list)
        self._shared: dict[Key, _Shared] = defaultdict(_Shared)

    @asynccontextmanager
    async def lease(self, key: Key, open_one: Open, *, keep: bool) -> AsyncGenerator[Connection]:
        """A connection for one call alone; kept for the next only if the block ends in order and `keep` says so."""
        connection = await self._take(key) or await open_one()
        kept = False
        try:
            yield connection
            kept = keep and _is_clean(connection) and len(self._idle[key]) < _KEPT
        finally:
            if kept:
                self._idle[key].append(connection)
            else:
                await connection.aclose()

    async def share(self, key: Key, open_one: Open) -> Connection:
        """The one connection of all calls with this key, opened by the first of them."""
        shared = self._shared[key]
        async with shared.opening:
            if shared.connection is None or shared.connection.closed:
                shared.connection = await open_one()
            return shared.connection

    async def close(self, manual: str | None = None) -> None:
        """Close the connections of one manual, or all."""
        idle = [key for key in self._idle if manual in {None, key[0]}]
        shared = [key for key in self._shared if manual in {None, key[0]}]
        connections = [connection for key in idle for connection in self._idle.pop(key)]
        connections += [one.connection for key in shared if (one := self._shared.pop(key)).connection is not None]
        async with anyio.create_task_group() as group:
            for connection in connections:
                group.start_soon(connection.aclose)

    async def _take(self, key: Key) -> Connection | None:
        idle = self._idle[key]
        while idle:
            connection = idle.pop()
            if _is_clean(connection):
                return connection
            await connection.aclose()
        return None


def _is_clean(connection: Connection) -> bool:
    return not connection.closed and not connection.busy and connection.unclaimed == 0
