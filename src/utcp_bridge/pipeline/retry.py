"""Retry: repeats idempotent calls after failures that may be temporary, until the deadline.

A call is not repeated after a partial result was passed on, nor if it could have an effect twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import anyio

from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next

__all__ = ["Retry"]

_FIRST_PAUSE = 0.1
_MAX_PAUSE = 5.0
_jitter = Random()  # noqa: S311 - spreads retries, guards nothing


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries up to `times(tool)` more times, after the upstream's Retry-After, else with doubling pauses and jitter.

    `idempotent(tool)` returns whether the call may be sent again.
    """

    times: Callable[[Tool], int]
    idempotent: Callable[[Tool], bool]
    first_pause: float = _FIRST_PAUSE

    def __call__(self, tool: Tool, inner: Next) -> Next:
        times = self.times(tool)
        if times == 0 or not self.idempotent(tool):
            return inner

        async def retried(call: Call, emit: Emit) -> Result:
            emitted = False

            async def noting(partial: Any) -> None:
                nonlocal emitted
                emitted = True
                await emit(partial)

            for attempt in range(times):
                try:
                    return await inner(call, noting)
                except UtcpError as error:
                    if emitted or not error.retryable:
                        raise
                    pause = self._pause(error, attempt)
                    if anyio.current_time() + pause >= anyio.current_effective_deadline():
                        raise
                await anyio.sleep(pause)
            return await inner(call, emit)

        return retried

    def _pause(self, error: UtcpError, attempt: int) -> float:
        if isinstance(error, Rejected) and error.retry_after is not None:
            return max(error.retry_after, 0.0)
        longest = min(self.first_pause * float(2**attempt), _MAX_PAUSE)
        return longest * _jitter.uniform(0.5, 1.0)
