"""Limits: calls in flight, calls waiting and calls per second for each manual; partial results for each call.

A slow upstream fills only its own slots. A call beyond the limits is refused at once, so that the caller can continue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from utcp_bridge.errors import Busy, ReplyTooLarge
from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next

__all__ = ["Allowance", "Limits"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of one manual. `rate` is calls per second; None means no limit."""

    concurrency: int
    queue: int
    rate: float | None = None
    partials: int = 10_000


@dataclass(slots=True)
class _Gate:
    """The slots of one manual, and a token bucket of one second's size for the rate."""

    name: str
    allowance: Allowance
    slots: anyio.Semaphore = field(init=False)
    waiting: int = 0
    tokens: float = field(init=False)
    refilled: float = 0.0

    def __post_init__(self) -> None:
        self.slots = anyio.Semaphore(self.allowance.concurrency, fast_acquire=True)
        self.tokens = max(self.allowance.rate or 0.0, 1.0)

    async def enter(self) -> None:
        self._take_token()
        try:
            self.slots.acquire_nowait()
        except anyio.WouldBlock:
            await self._wait()

    async def _wait(self) -> None:
        if self.waiting >= self.allowance.queue:
            raise Busy(
                f"{self.name} has {self.allowance.concurrency} calls in flight and {self.waiting} waiting.",
                remedy="Try again in a moment.",
            )
        self.waiting += 1
        try:
            await self.slots.acquire()
        finally:
            self.waiting -= 1

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


@dataclass(slots=True)
class Limits:
    """The gates of all manuals; the tools of a manual share its gate."""

    allowance: Callable[[Tool], Allowance]
    gates: dict[str, _Gate] = field(default_factory=dict[str, _Gate])

    def __call__(self, tool: Tool, inner: Next) -> Next:
        allowance = self.allowance(tool)

        async def limited(call: Call, emit: Emit) -> Result:
            gate = self.gates.get(tool.manual)
            if gate is None or gate.allowance != allowance:
                gate = self.gates[tool.manual] = _Gate(tool.manual, allowance)
            await gate.enter()
            try:
                return await inner(call, _counting(emit, allowance.partials))
            finally:
                gate.slots.release()

        return limited

    def forget(self, manual: str) -> None:
        """Drop the gate of a manual that was deregistered."""
        self.gates.pop(manual, None)


def _counting(emit: Emit, most: int) -> Emit:
    count = 0

    async def counted(partial: Any) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise ReplyTooLarge(f"The stream sent more than {most} partial results.")
        await emit(partial)

    return counted
