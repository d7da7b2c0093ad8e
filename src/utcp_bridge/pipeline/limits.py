"""Limits: calls in flight, calls waiting and calls per second for each manual; partial results for each call.

A slow upstream fills only its own slots. A call that waits for an answer of its host has no slot meanwhile. A call
beyond the limits is refused at once, so that the caller can continue. Callers (`model.CALLER`) take turns, so one that
sends many calls at once does not hold up the others.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from utcp_bridge.errors import Busy, ReplyTooLarge
from utcp_bridge.model import CALLER, Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.upstream import CALL_CLOCK

__all__ = ["Allowance", "Limits", "allowance_of"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of one manual. `rate` is calls per second; None means no limit."""

    concurrency: int
    queue: int
    rate: float | None = None
    partials: int = 10_000


@dataclass(slots=True, eq=False)
class _Ticket:
    """One waiting call."""

    caller: str
    called: anyio.Event = field(default_factory=anyio.Event)
    admitted: bool = False


@dataclass(slots=True)
class _Gate:
    """The slots of one manual, and a token bucket of one second's size for the rate.

    Callers take turns: a free slot goes to the next caller that waits, whatever number of calls another one has sent.
    `lines` has the waiting calls of each caller, in the order of their turns.
    """

    name: str
    allowance: Allowance
    free: int = field(init=False)
    waiting: int = 0
    lines: OrderedDict[str, deque[_Ticket]] = field(default_factory=OrderedDict[str, "deque[_Ticket]"])
    tokens: float = field(init=False)
    refilled: float = 0.0

    def __post_init__(self) -> None:
        self.free = self.allowance.concurrency
        self.tokens = max(self.allowance.rate or 0.0, 1.0)

    async def enter(self, caller: str) -> None:
        self._take_token()
        if self.free > 0:
            self.free -= 1
        else:
            await self._wait(caller)

    def leave(self) -> None:
        """Hand the slot to the caller whose turn it is, unless calls that went on have more slots than there are."""
        if self.free < 0 or not self.lines:
            self.free += 1
            return
        caller, line = next(iter(self.lines.items()))
        ticket = line.popleft()
        self.waiting -= 1
        if line:
            self.lines.move_to_end(caller)
        else:
            del self.lines[caller]
        ticket.admitted = True
        ticket.called.set()

    async def _wait(self, caller: str) -> None:
        if self.waiting >= self.allowance.queue:
            self._make_room(caller)
        ticket = _Ticket(caller)
        self.lines.setdefault(caller, deque()).append(ticket)
        self.waiting += 1
        try:
            await ticket.called.wait()
        except BaseException:
            if ticket.admitted:
                self.leave()
            elif not ticket.called.is_set():
                self._remove(ticket)
            raise
        if not ticket.admitted:
            raise self._busy()

    def _make_room(self, caller: str) -> None:
        """Refuse the last call of the caller with the most waiting calls, so that no caller fills the queue alone.

        :raises Busy: this caller has the most, or nearly.
        """
        own = len(self.lines.get(caller, ()))
        longest = max(self.lines.values(), key=len, default=None)
        if longest is None or len(longest) <= own + 1:
            raise self._busy()
        ticket = longest[-1]
        self._remove(ticket)
        ticket.called.set()

    def _remove(self, ticket: _Ticket) -> None:
        line = self.lines[ticket.caller]
        line.remove(ticket)
        self.waiting -= 1
        if not line:
            del self.lines[ticket.caller]

    def _busy(self) -> Busy:
        return Busy(
            f"{self.name} has {self.allowance.concurrency} calls in flight and {self.waiting} waiting.",
            remedy="Try again in a moment.",
        )

    def _take_token(self) -> None:
        rate = self.allowance.rate
        if rate is None:
            return
        now = anyio.current_time()
        self.tokens = min(max(rate, 1.0), self.tokens + (now - self.refilled) * rate)
        self.refilled = now
        if self.tokens < 1:
            seconds = (1 - self.tokens) / rate
            raise Busy(f"{self.name} allows {rate:g} calls a second.", remedy=f"Try again in {seconds:.1f} seconds.")
        self.tokens -= 1


@dataclass(slots=True, eq=False)
class _Slot:
    """The slot of one call, which it does not have while its host is asked.

    It has the slot again at once after that, also beyond the limit: the upstream is working on the call.
    """

    gate: _Gate
    is_held: bool = True
    is_over: bool = False

    def give_up(self) -> None:
        if self.is_held:
            self.is_held = False
            self.gate.leave()

    def take_back(self) -> None:
        if not (self.is_held or self.is_over):
            self.is_held = True
            self.gate.free -= 1

    def end(self) -> None:
        self.is_over = True
        self.give_up()


@dataclass(slots=True, eq=False)
class _Cohort:
    """The calls of a manual that began since the manual was last exchanged, and what waits for their end."""

    running: int = 0
    left: anyio.Event | None = None

    def leave(self) -> None:
        self.running -= 1
        if not self.running and self.left is not None:
            self.left.set()


@dataclass(slots=True)
class Limits:
    """The gates of all manuals; the tools of a manual share its gate."""

    allowance: Callable[[Tool], Allowance]
    gates: dict[str, _Gate] = field(default_factory=dict[str, _Gate])
    cohorts: dict[str, _Cohort] = field(default_factory=dict[str, _Cohort])

    def __call__(self, tool: Tool, inner: Next) -> Next:
        allowance, manual = self.allowance(tool), tool.manual

        async def limited(call: Call, emit: Emit) -> Result:
            gate = self.gates.get(manual)
            if gate is None or gate.allowance != allowance:
                gate = self.gates[manual] = _Gate(manual, allowance)
            if gate.free > 0 and allowance.rate is None:
                gate.free -= 1
            else:
                await gate.enter(CALLER.get())
            slot, clock = _Slot(gate), CALL_CLOCK.get()
            if clock is not None:
                clock.place = slot
            cohort = self.cohorts.get(manual) or self.cohorts.setdefault(manual, _Cohort())
            cohort.running += 1
            try:
                return await inner(call, _counting(emit, allowance.partials))
            finally:
                cohort.leave()
                slot.end()

        return limited

    def forget(self, manual: str) -> None:
        """Drop the gate of a manual that was deregistered."""
        self.gates.pop(manual, None)

    async def left(self, manual: str) -> None:
        """Return when the calls of a manual that run now have ended. Later calls are not waited for."""
        cohort = self.cohorts.pop(manual, None)
        if cohort is not None and cohort.running:
            cohort.left = anyio.Event()
            await cohort.left.wait()


def _counting(emit: Emit, most: int) -> Emit:
    count = 0

    async def counted(partial: Any) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise ReplyTooLarge(f"The stream sent more than {most} partial results.")
        await emit(partial)

    return counted


def allowance_of(settings: BridgeSettings, tool: Tool) -> Allowance:
    """Return what the settings and the entry of its manual allow the calls of a tool."""
    limits = tool.limits
    return Allowance(
        concurrency=limits.get("concurrency", settings.concurrency),
        queue=limits.get("queue", settings.queue),
        rate=limits.get("rate_limit", settings.rate_limit),
        partials=settings.max_stream_events,
    )
