"""Places for large bodies: of each manual one is collected at a time, and all of them together have a limit of bytes.

A body, line or message below `LARGE` bytes needs no place. A larger one waits for its place, and is not read meanwhile:
the flow control of its connection makes the sender wait. It keeps the place until the call has worked on it, so that
large replies do not lie in memory together. A sender that stops in the middle holds the place of its own manual only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import field
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.lowlevel import RunVar

from utcp_bridge.late.records import dataclass
from utcp_bridge.tasks import HeavyWork, current_work

__all__ = ["LARGE", "Collecting", "arrived"]

LARGE: Final = 1 << 20
_MAX_BYTES: Final = 32 << 20
"""Bytes of all bodies that are collected or worked on. One that is alone may be larger."""
_PATIENCE_SECONDS: Final = 1.0
"""When no body has grown for this time, their senders stall, and the next one may grow beyond the limit."""


@dataclass(slots=True)
class _Place:
    """The place of one manual. Tasks of the work that has it do not wait for one another."""

    work: HeavyWork | None = None
    is_taken: bool = False
    waiting: deque[anyio.Event] = field(default_factory=deque[anyio.Event])

    async def take(self, *, first: bool) -> None:
        """Wait for the place, `first` before all others."""
        if not self.is_taken:
            self.is_taken = True
            return
        called = anyio.Event()
        if first:
            self.waiting.appendleft(called)
        else:
            self.waiting.append(called)
        try:
            await called.wait()
        except BaseException:
            if called.is_set():
                self.leave()
            else:
                self.waiting.remove(called)
            raise

    def leave(self) -> None:
        """Hand the place to the one that waits next."""
        self.work = None
        self.is_taken = bool(self.waiting)
        if self.waiting:
            self.waiting.popleft().set()


@dataclass(slots=True)
class _Places:
    """The places of all manuals in one event loop, and the bytes that they hold."""

    of: dict[str, _Place] = field(default_factory=dict[str, _Place])
    held: int = 0
    grown_at: float = 0.0
    has_room: anyio.Event = field(default_factory=anyio.Event)

    def take(self, size: int) -> None:
        self.held += size
        self.grown_at = anyio.current_time()

    def give_back(self, size: int) -> None:
        self.held -= size
        self.has_room.set()
        self.has_room = anyio.Event()


_places: RunVar[_Places] = RunVar("_places")


class Collecting:
    """One body, line or message that a manual's connection collects: `grow` before more bytes of it are read.

    Within the work of a call, the place is kept until the call has worked on the body. Elsewhere, the end of the `with`
    block or `release` gives it back. One that `has_arrived` already is served before those that are still to be read.
    """

    __slots__ = ("_all", "_has_arrived", "_held", "_is_patient", "_manual", "_place", "_size", "_work")

    def __init__(self, manual: str, *, has_arrived: bool = False) -> None:
        self._manual = manual
        self._has_arrived = has_arrived
        self._size = 0
        self._held = 0
        self._is_patient = True
        self._place: _Place | None = None
        self._work: HeavyWork | None = None
        self._all: _Places | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        if self._work is None or exc_type is not None:
            self.release()

    async def grow(self, size: int) -> None:
        """Count bytes that were read. Return when more of them may be read."""
        self._size += size
        if self._size <= LARGE:
            return
        if self._all is None:
            await self._enter()
        if self._all is not None:
            if not self._has_arrived:
                await self._make_room(self._all)
            more = self._size - self._held
            self._held += more
            self._all.take(more)

    def release(self) -> None:
        """Give the place back. The body counts from zero again."""
        if self._all is not None:
            self._all.give_back(self._held)
            if self._place is not None:
                self._place.leave()
                if not self._place.is_taken:
                    del self._all.of[self._manual]
        self._size = self._held = 0
        self._is_patient, self._all, self._place, self._work = True, None, None, None

    async def _enter(self) -> None:
        places = _places.get(None)
        if places is None:
            places = _Places()
            _places.set(places)
        work = current_work()
        place = places.of.setdefault(self._manual, _Place())
        if work is None or place.work is not work:
            await place.take(first=self._has_arrived)
            place.work, self._place = work, place
        self._all, self._work = places, work
        if work is not None:
            work.at_end(self.release)

    async def _make_room(self, places: _Places) -> None:
        """Wait until the bytes fit, or until nobody else makes progress. A body waits for the latter only once."""
        while self._is_patient and places.held + self._size - self._held > _MAX_BYTES and places.held > self._held:
            left = places.grown_at + _PATIENCE_SECONDS - anyio.current_time()
            if left <= 0:
                self._is_patient = False
                return
            with anyio.move_on_after(left):
                await places.has_room.wait()


async def arrived(manual: str, size: int) -> None:
    """Wait for the place of a message that a library has collected. The work of the call keeps it to its end."""
    with Collecting(manual, has_arrived=True) as place:
        await place.grow(size)
