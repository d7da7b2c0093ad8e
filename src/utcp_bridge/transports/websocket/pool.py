"""The pool of WebSockets that outlive a call.

Arguments in the URL or in headers make a kind of connection of their own, so connections are counted by origin: those
used least recently are closed, and those that nobody used for a while.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import anyio

from utcp_bridge.tasks import Spawn
from utcp_bridge.transports.websocket.connection import Connection

__all__ = ["Key", "SocketPool"]

_MAX_OF_KEY: Final = 4
_MAX_OF_ORIGIN: Final = 16
_MAX_OF_ALL: Final = 128
_IDLE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05


class Key(NamedTuple):
    """What distinguishes connections: the manual's name, the origin, and the rest of the handshake."""

    manual: str
    origin: str
    handshake: Hashable


Open: TypeAlias = Callable[[], Awaitable[Connection]]


@dataclass(slots=True, eq=False)
class _Idle:
    """A connection that no call has."""

    key: Key
    connection: Connection
    since: float


@dataclass(slots=True, eq=False)
class _Shared:
    """A connection for all calls with its key. `since` is when it was taken last."""

    opening: anyio.Lock = field(default_factory=anyio.Lock)
    connection: Connection | None = None
    since: float = 0.0
    is_former: bool = False
    """Whether later calls use another one."""

    @property
    def is_unused(self) -> bool:
        return not self.opening.locked() and (self.connection is None or not self.connection.busy)


class SocketPool:
    """Open connections by key: leased to one call at a time, or shared by calls whose replies have an id.

    A connection that is closed, or that sent a frame without a request, is not used again. `spawn` runs the task that
    closes idle connections, while there are any.
    """

    def __init__(self, spawn: Spawn, *, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._spawn = spawn
        self._idle_seconds = idle_seconds
        self._idle: list[_Idle] = []
        """The one used least recently first."""
        self._shared: OrderedDict[Key, _Shared] = OrderedDict()
        self._is_swept = False
        self._editions: Counter[str] = Counter()
        """How often the entry of each manual has changed."""

    @asynccontextmanager
    async def lease(self, key: Key, open_one: Open, *, keep: bool) -> AsyncGenerator[Connection]:
        """Lease a connection to one call. It is kept if `keep` is true and the block ends without error."""
        edition = self._editions[key.manual]
        connection = await self._take(key) or await open_one()
        kept = False
        try:
            yield connection
            kept = keep and _is_clean(connection) and edition == self._editions[key.manual]
        finally:
            if kept:
                self._idle.append(_Idle(key, connection, time.monotonic()))
                self._sweep_later()
                await self._make_room(key)
            else:
                await connection.aclose()

    async def share(self, key: Key, open_one: Open) -> Connection:
        """Return the connection that all calls with this key share; the first call opens it."""
        shared = self._shared.setdefault(key, _Shared())
        self._shared.move_to_end(key)
        async with shared.opening:
            shared.since = time.monotonic()
            if shared.connection is None or shared.connection.closed:
                shared.connection = await open_one()
                if shared.is_former:
                    self._spawn(partial(_close_unused, shared.connection))
                    return shared.connection
                self._sweep_later()
                await self._make_room(key)
            return shared.connection

    async def renew(self, manual: str) -> None:
        """Use the connections of a manual for no further call, and close each when its calls have ended."""
        self._editions[manual] += 1
        for key in [key for key in self._shared if key.manual == manual]:
            shared = self._shared.pop(key)
            shared.is_former = True
            if shared.connection is not None:
                self._spawn(partial(_close_unused, shared.connection))
        await _close(self._without([one for one in self._idle if one.key.manual == manual], 0))

    async def close(self, manual: str | None = None) -> None:
        """Close the connections of one manual, or all."""
        idle = [one for one in self._idle if manual in {None, one.key.manual}]
        shared = [key for key in self._shared if manual in {None, key.manual}]
        await _close([*self._without(idle, 0), *self._no_longer_shared(shared)])

    async def _take(self, key: Key) -> Connection | None:
        for one in [one for one in reversed(self._idle) if one.key == key]:
            if one not in self._idle:
                continue  # another call took it meanwhile
            self._idle.remove(one)
            if _is_clean(one.connection):
                return one.connection
            await one.connection.aclose()
        return None

    async def _make_room(self, key: Key) -> None:
        """Close the connections used least recently: of the key, of the manual's origin, and of all."""
        surplus = self._without([one for one in self._idle if one.key == key], _MAX_OF_KEY)
        for scope, most in ((key[:2], _MAX_OF_ORIGIN), ((), _MAX_OF_ALL)):
            surplus += self._without([one for one in self._idle if one.key[: len(scope)] == scope], most)
            shared = [other for other in self._shared if other[: len(scope)] == scope]
            unused = [other for other in shared if other != key and self._shared[other].is_unused]
            surplus += self._no_longer_shared(unused[: max(0, len(shared) - most)])
        await _close(surplus)

    def _without(self, idle: list[_Idle], most: int) -> list[Connection]:
        """Take the first of these out of the pool until `most` are left. Return their connections."""
        surplus = idle[: max(0, len(idle) - most)]
        self._idle = [one for one in self._idle if one not in surplus]
        return [one.connection for one in surplus]

    def _no_longer_shared(self, keys: Iterable[Key]) -> list[Connection]:
        return [one.connection for key in keys if (one := self._shared.pop(key)).connection is not None]

    def _sweep_later(self) -> None:
        if not self._is_swept:
            self._is_swept = True
            self._spawn(self._sweep)

    async def _sweep(self) -> None:
        """Close connections that nobody used for a while, until none is kept."""
        try:
            while self._idle or self._shared:
                await anyio.sleep(self._idle_seconds / 2)
                last = time.monotonic() - self._idle_seconds
                surplus = [one for one in self._idle if one.since <= last or not _is_clean(one.connection)]
                unused = [key for key, one in self._shared.items() if one.is_unused and one.since <= last]
                await _close([*self._without(surplus, 0), *self._no_longer_shared(unused)])
        finally:
            self._is_swept = False


async def _close(connections: Iterable[Connection]) -> None:
    async with anyio.create_task_group() as group:
        for connection in connections:
            group.start_soon(connection.aclose)


async def _close_unused(connection: Connection) -> None:
    """Close a connection when no call uses it."""
    await anyio.sleep(_LOOK_SECONDS)  # who opened it has begun to use it by then
    while connection.busy and not connection.closed:  # noqa: ASYNC110 - it may become free in several ways
        await anyio.sleep(_LOOK_SECONDS)
    await connection.aclose()


def _is_clean(connection: Connection) -> bool:
    return not connection.closed and not connection.busy and connection.unclaimed == 0
