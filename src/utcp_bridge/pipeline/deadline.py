"""Deadline: a limit on the total time of a call, whatever the upstream does.

Timeouts of HTTP libraries measure silence, so a call with one byte now and then could run for ever. This layer
measures total time. It includes waiting for a slot and retries, because the caller waits for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next, late

__all__ = ["Deadline"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """Cancels the call after `seconds(tool)`."""

    seconds: Callable[[Tool], float]

    def __call__(self, tool: Tool, inner: Next) -> Next:
        limit = self.seconds(tool)

        async def bounded(call: Call, emit: Emit) -> Result:
            with anyio.move_on_after(limit):
                return await inner(call, emit)
            raise late(tool, limit)

        return bounded
