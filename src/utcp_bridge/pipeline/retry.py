"""Retry: repeats idempotent calls after failures that may be temporary, until the deadline.

A call is not repeated after a partial result was passed on, nor if it could have an effect twice, nor if the manual has
used its share of retries: an upstream that fails under its load must not get a multiple of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from random import Random
from typing import Any, Final

import anyio

from utcp_bridge.errors import UtcpError
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next
from utcp_bridge.tasks import effective_deadline

__all__ = ["Retry", "RetryBudget"]

_FIRST_PAUSE = 0.1
_MAX_PAUSE = 5.0
_FREE_CALLS: Final = 3
"""Calls that may always use all their retries."""
_REFILL_SECONDS: Final = 10.0
_MAX_SAVED: Final = 50.0
"""Retries that a manual saves while its calls succeed, for a short fault under load."""
_jitter = Random()  # noqa: S311 - spreads retries, guards nothing


@dataclass(slots=True)
class RetryBudget:
    """The retries that a manual has left: each call adds its share, each retry takes one.

    `free` retries come back within ten seconds whatever the calls do, so that a few calls can always be repeated.
    """

    free: float
    left: float = 0.0
    at: float = 0.0
    most: float = field(init=False)
    """What `add` does not go beyond."""

    def __post_init__(self) -> None:
        self.left = self.free
        self.most = max(self.free, _MAX_SAVED)

    def add(self, share: float) -> None:
        """Add the share of one call."""
        self.left = min(self.left + share, self.most)

    def take(self, now: float) -> bool:
        """Take one retry and return True, or return False if none is left."""
        if self.left < self.free:
            self.left = min(self.free, self.left + (now - self.at) * self.free / _REFILL_SECONDS)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class _Noting:
    """Passes partial results on, and notes that there were some."""

    __slots__ = ("_emit", "has_emitted")

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.has_emitted = False

    async def emit(self, partial: Any) -> None:
        self.has_emitted = True
        await self._emit(partial)


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries up to `times(tool)` more times, after the upstream's Retry-After, else with doubling pauses and jitter.

    `idempotent(tool)` returns whether the call may be sent again. `share` returns the most retries for each call of a
    manual on average; None means no limit.
    """

    times: Callable[[Tool], int]
    idempotent: Callable[[Tool], bool]
    first_pause: float = _FIRST_PAUSE
    share: Callable[[], float | None] = lambda: None
    budgets: dict[str, RetryBudget] = field(default_factory=dict[str, RetryBudget])
    emits: Callable[[Tool], bool] = lambda _tool: True
    """Whether calls of a tool may give partial results."""

    def __call__(self, tool: Tool, inner: Next) -> Next:
        times, manual, emits = self.times(tool), tool.manual, self.emits(tool)
        if times == 0 or not self.idempotent(tool):
            return inner

        async def retried(call: Call, emit: Emit) -> Result:
            budget = self.budgets.get(manual)
            if budget is None or budget.left < budget.most:
                budget = self._budget(manual, times)
            noting = _Noting(emit) if emits else None
            for attempt in range(times):
                try:
                    return await inner(call, emit if noting is None else noting.emit)
                except UtcpError as error:
                    if (noting is not None and noting.has_emitted) or not error.retryable:
                        raise
                    pause = self._pause(error, attempt)
                    now = anyio.current_time()
                    if now + pause >= effective_deadline():
                        raise
                    if budget is not None and not budget.take(now):
                        raise
                await anyio.sleep(pause)
            return await inner(call, emit)

        return retried

    def forget(self, manual: str) -> None:
        """Drop the budget of a manual that was deregistered."""
        self.budgets.pop(manual, None)

    def _budget(self, manual: str, times: int) -> RetryBudget | None:
        """Return the manual's budget after the share of one more call; None without a limit."""
        if (share := self.share()) is None:
            return None
        budget = self.budgets.get(manual)
        if budget is None:
            budget = self.budgets[manual] = RetryBudget(float(_FREE_CALLS * times))
        budget.add(share)
        return budget

    def _pause(self, error: UtcpError, attempt: int) -> float:
        if error.retry_after is not None:
            return max(error.retry_after, 0.0)
        longest = min(self.first_pause * float(2**attempt), _MAX_PAUSE)
        return longest * _jitter.uniform(0.5, 1.0)
