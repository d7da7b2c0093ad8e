"""Deadline: a limit on the total time of a call, whatever the upstream does.

Timeouts of HTTP libraries measure silence, so a call with one byte now and then could run for ever. This layer
measures total time. It includes waiting for a slot and retries, because the caller waits for all of them. It does not
include the time in which an MCP server waits for an answer of the caller itself.
"""

from __future__ import annotations

from collections.abc import Callable

from utcp_bridge.errors import DeadlineExceeded
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Call, Deferred, Emit, Result, Tool, in_seconds, large_reader
from utcp_bridge.pipeline import Next
from utcp_bridge.tasks import TimeLimit, loop_time, scope_until
from utcp_bridge.upstream import CALL_CLOCK, CallClock

__all__ = ["Deadline", "LargeReplies"]


def _never(_tool: Tool) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Deadline:
    """Cancels the call after `seconds(tool)`. `ends_at_once(tool)` says that its clean-up then waits for nothing."""

    seconds: Callable[[Tool], float]
    ends_at_once: Callable[[Tool], bool] = _never

    def __call__(self, tool: Tool, inner: Next) -> Next:
        limit = self.seconds(tool)
        limited = TimeLimit if self.ends_at_once(tool) else scope_until

        async def bounded(call: Call, emit: Emit) -> Result:
            with limited(loop_time() + limit) as scope:
                token = CALL_CLOCK.set(CallClock(scope))
                try:
                    return await inner(call, emit)
                finally:
                    CALL_CLOCK.reset(token)
            raise _late(tool, limit)

        return bounded


@dataclass(frozen=True, slots=True)
class LargeReplies:
    """Has a large reply that the transport did not read itself read by the reader of the caller, in the same time.

    It is outside of the layers that change the value, because the reader does their work too, and inside audit and
    metrics, because reading may fail. The reader has until `seconds(tool)` after the start of the call.
    """

    seconds: Callable[[Tool], float]

    def __call__(self, tool: Tool, inner: Next) -> Next:
        limit = self.seconds(tool)

        async def read(call: Call, emit: Emit) -> Result:
            reader = large_reader.get()
            if reader is None:
                return await inner(call, emit)
            ends = loop_time() + limit
            result = await inner(call, emit)
            if not isinstance(result.value, Deferred):
                return result
            with scope_until(ends):
                return await reader(tool, result)
            raise _late(tool, limit)

        return read


def _late(tool: Tool, seconds: float) -> DeadlineExceeded:
    """Return the error of a call that took longer than its time limit."""
    return DeadlineExceeded(
        f"{tool.qualified_name} did not finish within {in_seconds(seconds)}.",
        remedy=f"Ask for less data, or raise {_setting(tool)} in the configuration.",
    )


def _setting(tool: Tool) -> str:
    """Return the name of the setting that limits the calls of this tool."""
    states_own = "timeout" in (tool.overlay or {}) or "timeout" in tool.template
    return "`timeout` of its entry" if states_own and tool.limits.get("call_timeout") is None else "`call_timeout`"
