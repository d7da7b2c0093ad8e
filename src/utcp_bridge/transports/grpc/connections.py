"""The channels of the grpc transport, by manual and address. A channel follows its host's name and its server.

gRPC would keep the addresses that it got, for as long as the channel lives. So the name is looked up again after some
time and after a failure, and a new channel takes the place of one whose addresses are out of date. Calls under way
finish on the old one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeAlias

import anyio

from utcp_bridge.errors import Unreachable
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Address, Guard
from utcp_bridge.tasks import Flights, Spawn
from utcp_bridge.transports.grpc.channel import ChannelOptions, open_channel
from utcp_bridge.transports.grpc.protos import grpc_module

__all__ = ["Channels", "Key", "Line", "ReplySizes"]

Key: TypeAlias = tuple[str, ChannelOptions]
"""The manual's name, and where the channel goes."""

_CHECK_SECONDS: Final = 30.0
"""Until the name is looked up again, so that a service that moved is followed while its old address still works."""
_PATIENCE_SECONDS: Final = 1.0
_MAX_CHANNELS: Final = 256
"""Kept open. Above it, the channel that no call uses and that was used least recently is closed."""
_builds = count(1)


@dataclass(slots=True, eq=False)
class ReplySizes:
    """How large the replies of a method are. gRPC says so only when it has all of one."""

    largest: int | None = None
    """Bytes of the largest of the last replies; None before the first."""
    first: anyio.Event | None = None
    """While the first reply is received: set when it has come, or its call has failed."""

    def note(self, size: int) -> None:
        """Count a reply. Each smaller one halves the size that is expected."""
        self.largest = max(size, (self.largest or 0) // 2)

    @asynccontextmanager
    async def expected(self) -> AsyncGenerator[int]:
        """Yield how large the next reply may be; 0 if that is not known. The reply is received within the context.

        The first of several calls at once shows it to the others, which wait for it at most a second.
        """
        if self.largest is None and self.first is not None:
            with anyio.move_on_after(_PATIENCE_SECONDS) as scope:
                await self.first.wait()
            if scope.cancelled_caught and self.largest is None:
                self.largest = 0  # nobody waits for this method again
        if self.largest is not None or self.first is not None:
            yield self.largest or 0
            return
        self.first = first = anyio.Event()
        try:
            yield 0
        finally:
            self.first = None
            first.set()


@dataclass(slots=True, eq=False)
class Line:
    """A channel with its checked addresses. `build` changes when it connected anew: the server may be another build."""

    channel: Any
    addresses: list[Address]
    checked: float
    build: int
    users: int = 0
    was_ready: bool = False
    broken: bool = False
    retired: bool = False
    stop: Callable[[], None] = lambda: None
    """Ends the task that watches the channel."""
    replies: dict[str, ReplySizes] = field(default_factory=dict[str, "ReplySizes"])
    """What is known of the replies of each method, by its path."""
    streams: set[Any] = field(default_factory=set[Any])
    """The calls whose replies are streams. An older grpcio does not end them with the channel."""

    def observe(self) -> None:
        """Note whether the connection has ended since the last call."""
        if self._is_ready():
            self.was_ready = True
        else:
            self._note_end()

    def failed(self) -> None:
        """Note that a call did not reach the server. A server that itself says UNAVAILABLE keeps its connection."""
        self.observe()
        self.broken = not self._is_ready()
        self.checked = float("-inf")

    async def watch(self) -> None:
        """Note each end of the connection, also one that gRPC repairs during a call, until the channel is closed."""
        with suppress(grpc_module("grpc.aio").UsageError):
            while (state := self.channel.get_state()).name != "SHUTDOWN":
                self.was_ready = self.was_ready or state.name == "READY"
                await self.channel.wait_for_state_change(state)
                if state.name == "READY":
                    self._note_end()

    async def close(self) -> None:
        """Close the channel. Calls under way end."""
        self.stop()
        for stream in tuple(self.streams):
            stream.cancel()
        with anyio.CancelScope(shield=True):
            await self.channel.close()

    def _note_end(self) -> None:
        if self.was_ready:
            self.was_ready = False
            self.build = next(_builds)

    def _is_ready(self) -> bool:
        return bool(self.channel.get_state().name == "READY")


class Channels:
    """Lends channels to calls. `spawn` runs the tasks that watch them."""

    def __init__(self, guard: Guard, spawn: Spawn, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = guard
        self._spawn = spawn
        self._clock = clock
        self._lines: OrderedDict[Key, Line] = OrderedDict()
        self._flights: Flights[Line] = Flights()

    @asynccontextmanager
    async def lend(self, key: Key, source: Source) -> AsyncGenerator[Line]:
        """Lend the channel to one call.

        :raises PolicyError: an address is not allowed.
        :raises Unreachable: the name has no address.
        :raises ConfigError: a certificate file cannot be read.
        :raises MissingExtra: grpcio is not installed.
        """
        line = self._lines.get(key)
        if line is None or line.broken or self._clock() >= line.checked + _CHECK_SECONDS:
            line = await self._flights.join(key, lambda: self._renewed(key, source))
        while line.retired:  # the entry has changed since
            line = await self._flights.join(key, lambda: self._renewed(key, source))
        line.observe()
        line.users += 1
        if key in self._lines:
            self._lines.move_to_end(key)
        try:
            yield line
        finally:
            line.users -= 1
            if line.retired:
                await _retire(line)

    def current(self, key: Key) -> Line | None:
        """Return the channel that calls use now."""
        return self._lines.get(key)

    async def renew(self, manual: str) -> None:
        """Lend the channels of a manual to no further call, and close each when no call uses it."""
        for key in [key for key in self._lines if key[0] == manual]:
            await _retire(self._lines.pop(key))

    async def close(self, manual: str | None = None) -> None:
        """Close the channels of one manual, or all. Calls under way end."""
        for key in [key for key in self._lines if manual in {None, key[0]}]:
            await self._lines.pop(key).close()

    async def _renewed(self, key: Key, source: Source) -> Line:
        """Look the name up. Return the channel if it has the right addresses and works, or else a new one."""
        options, old = key[1], self._lines.get(key)
        try:
            addresses = await self._guard.resolve(options.host, options.port, source)
        except Unreachable:
            if old is None or old.broken:
                raise
            addresses = old.addresses  # name servers that fail do not end a connection
        if old is not None and not old.broken and set(old.addresses) <= set(addresses):
            old.checked = self._clock()
            return old
        channel = await open_channel(options, addresses)
        line = Line(channel, addresses, self._clock(), next(_builds))
        line.stop = self._spawn(line.watch)
        self._lines[key] = line
        if old is not None:
            await _retire(old)
        await self._make_room()
        return line

    async def _make_room(self) -> None:
        unused = [key for key, line in self._lines.items() if line.users == 0]
        for key in unused[: max(0, len(self._lines) - _MAX_CHANNELS)]:
            await _retire(self._lines.pop(key))


async def _retire(line: Line) -> None:
    """Close a channel as soon as no call uses it."""
    line.retired = True
    if line.users == 0:
        await line.close()
