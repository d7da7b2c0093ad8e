"""Large replies: a reply that a transport did not read itself is read by the reader of the caller.

The layer is outside of those that change the value, because the reader does their work too, and inside audit and
metrics, because reading may fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from utcp_bridge.model import Call, Deferred, Emit, Result, Tool, large_reader
from utcp_bridge.pipeline import Next, late

__all__ = ["LargeReplies"]


@dataclass(frozen=True, slots=True)
class LargeReplies:
    """Lets the reader read until `seconds(tool)` after the start of the call."""

    seconds: Callable[[Tool], float]

    def __call__(self, tool: Tool, inner: Next) -> Next:
        limit = self.seconds(tool)

        async def read(call: Call, emit: Emit) -> Result:
            reader = large_reader.get()
            if reader is None:
                return await inner(call, emit)
            ends = anyio.current_time() + limit
            result = await inner(call, emit)
            if not isinstance(result.value, Deferred):
                return result
            with anyio.CancelScope(deadline=ends):
                return await reader(tool, result)
            raise late(tool, limit)

        return read
