"""Limits: calls in flight, calls waiting and calls per second for each manual; partial results for each call.

A slow upstream fills only its own slots. A call that waits for an answer of its host has no slot meanwhile. A call
beyond the limits is refused at once, so that the caller can continue. Clients (`client_request`) take turns, so
one that sends many calls at once does not hold up the others.

Bridges that share a store share the rates, and the slots of manuals whose number the operator set
(`stores/limiter.py`). Each applies its own gate first, which goes on alone while the store is away.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import field
from random import Random
from typing import Any, Final

import anyio

from utcp_bridge.client_request import CLIENT_REQUEST
from utcp_bridge.errors import Busy, ReplyTooLarge
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.stores.limiter import Bucket, Lease, SharedLimits, Slots, Uncovered
from utcp_bridge.tasks import loop_time
from utcp_bridge.upstream import current_clock

__all__ = ["Allowance", "Limits", "allowance_of"]

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.25
"""Seconds between two tries of a call that waits for a slot that another bridge holds."""
_SLACK: Final = 1e-6
_random = Random()  # noqa: S311 - spreads tries, guards nothing


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of one manual. `rate` is calls per second; None means no limit."""

    concurrency: int
    queue: int
    rate: float | None = None
    partials: int = 10_000
    is_shared: bool = False
    """Whether bridges that share a store share the slots."""


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

    def take_back(self) -> None:
        """Have a slot again at once, also beyond the limit: the upstream is working on the call."""
        self.free -= 1

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
            raise self.too_fast((1 - self.tokens) / rate)
        self.tokens -= 1

    def too_fast(self, seconds: float) -> Busy:
        return Busy(
            f"{self.name} allows {self.allowance.rate:g} calls a second.",
            remedy=f"Try again in {seconds:.1f} seconds.",
        )


@dataclass(frozen=True, slots=True)
class _SharedSlot:
    """A slot of a gate, and one among those that bridges share."""

    gate: _Gate
    lease: Lease

    def leave(self) -> None:
        self.gate.leave()
        self.lease.leave()

    def take_back(self) -> None:
        self.gate.take_back()
        self.lease.take_back()


@dataclass(slots=True, eq=False)
class _Cohort:
    """The calls of a manual that began since the manual was last exchanged, and what waits for their end."""

    running: int = 0
    left: anyio.Event | None = None

    def check(self) -> None:
        if not self.running and self.left is not None:
            self.left.set()


@dataclass(slots=True)
class Limits:
    """The gates of all manuals; the tools of a manual share its gate."""

    allowance: Callable[[Tool], Allowance]
    shared: SharedLimits | None = None
    gates: dict[str, _Gate] = field(default_factory=dict[str, _Gate])
    cohorts: dict[str, _Cohort] = field(default_factory=dict[str, _Cohort])
    emits: Callable[[Tool], bool] = lambda _tool: True
    """Whether calls of a tool may give partial results, which are then counted."""

    def __call__(self, tool: Tool, inner: Next) -> Next:
        allowance, manual, emits = self.allowance(tool), tool.manual, self.emits(tool)
        has_rate = allowance.rate is not None
        shared = self.shared if allowance.is_shared or has_rate else None

        async def limited(call: Call, emit: Emit) -> Result:
            gate = self.gates.get(manual)
            if gate is None or (gate.allowance is not allowance and gate.allowance != allowance):
                gate = self.gates[manual] = _Gate(manual, allowance)
            slot: _Gate | _SharedSlot = gate
            clock = current_clock()
            if gate.free > 0 and not has_rate:
                gate.free -= 1
            else:
                await gate.enter(CLIENT_REQUEST.get().caller)
                if clock is not None:
                    clock.began = loop_time()
            if clock is not None:
                clock.place = slot
            cohort = self.cohorts.get(manual) or self.cohorts.setdefault(manual, _Cohort())
            cohort.running += 1
            try:
                if shared is not None:
                    slot = await _shared_slot(shared, gate)
                    if clock is not None:
                        clock.place, clock.began = slot, loop_time()
                return await inner(call, _counting(emit, allowance.partials) if emits else emit)
            finally:
                cohort.running -= 1
                if cohort.left is not None:
                    cohort.check()
                if clock is None or clock.leaves_for_good():
                    slot.leave()

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


async def _shared_slot(shared: SharedLimits, gate: _Gate) -> _Gate | _SharedSlot:
    """Return what a call has that has a slot of its gate already; see `_among_all`."""
    lease = await _among_all(shared, gate)
    return gate if lease is None else _SharedSlot(gate, lease)


async def _among_all(shared: SharedLimits, gate: _Gate) -> Lease | None:
    """Charge a call to what bridges share, and wait for a slot there; None if the store is away.

    :raises Busy: too many calls were sent in this second.
    """
    allowance, rate = gate.allowance, gate.allowance.rate
    slots = [Slots(f"manual:{gate.name}:slots", allowance.concurrency)] if allowance.is_shared else []
    rates = [] if rate is None else [Bucket(f"manual:{gate.name}:calls", max(rate, 1.0), rate, 1 - _SLACK, 1)]
    pause = _FIRST_PAUSE
    while isinstance(found := await shared.enter([*rates, *slots]), Uncovered):
        if found.place < len(rates):
            raise gate.too_fast(found.seconds)
        await anyio.sleep(pause * _random.uniform(0.5, 1))
        pause = min(pause * 2, _LONGEST_PAUSE)
    return found


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
        is_shared="concurrency" in limits or "concurrency" in settings.model_fields_set,
        concurrency=limits.get("concurrency", settings.concurrency),
        queue=limits.get("queue", settings.queue),
        rate=limits.get("rate_limit", settings.rate_limit),
        partials=settings.max_stream_events,
    )
