"""Deadline: a limit on the total time of a call, whatever the upstream does.

Timeouts of HTTP libraries measure silence, so a call with one byte now and then could run for ever. This layer
measures total time. It includes waiting for a slot and retries, because the caller waits for all of them. It does not
include the time in which an MCP server waits for an answer of the caller itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Token
from math import inf
from time import monotonic
from typing import Any, Final

from utcp_bridge.errors import DeadlineExceeded
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Call, Deferred, Emit, Result, Tool, current_reader, in_seconds
from utcp_bridge.pipeline import Next
from utcp_bridge.tasks import loop_time, scope_until
from utcp_bridge.upstream import CALL_CLOCK, CallClock

__all__ = ["Deadline", "LargeReplies", "LimitClock", "TimeLimits"]

_TICK_SECONDS: Final = 0.001
"""What timers of uvloop are rounded to."""


_set_clock, _reset_clock = CALL_CLOCK.set, CALL_CLOCK.reset
_blank: Final = object.__new__


def _never(_tool: Tool) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Deadline:
    """Cancels the call after `seconds(tool)`. `ends_at_once(tool)` says that its clean-up then waits for nothing."""

    seconds: Callable[[Tool], float]
    ends_at_once: Callable[[Tool], bool] = _never

    def __call__(self, tool: Tool, inner: Next) -> Next:
        limit = self.seconds(tool)
        if self.ends_at_once(tool):
            return _bounded_by_timer(tool, inner, limit)

        async def bounded(call: Call, emit: Emit) -> Result:
            began = loop_time()
            with scope_until(began + limit) as scope:
                token = CALL_CLOCK.set(CallClock(scope, began))
                try:
                    return await inner(call, emit)
                finally:
                    CALL_CLOCK.reset(token)
            raise _late(tool, limit)

        return bounded


def _bounded_by_timer(tool: Tool, inner: Next, seconds: float) -> Next:
    limits = TimeLimits(seconds)

    async def bounded(call: Call, emit: Emit) -> Result:
        clock = limits.begin()
        try:
            result = await inner(call, emit)
        except BaseException as error:
            if not clock.end(error):  # `with` takes twice as long
                raise
        else:
            clock.end()
            return result
        raise _late(tool, seconds)

    return bounded


class LimitClock(CallClock):
    """The clock of a call that ends the call itself, which then goes on without an error.

    It costs a tenth of a scope of anyio, and cancels once: for work whose clean-up waits for nothing. It is the clock
    and the limit in one, because another object and another variable of the context would take three times as long.
    While it is in `running`, it has no timer, and `TimeLimits` calls `expire`.
    """

    _has_expired = False
    _timer: asyncio.TimerHandle | None = None
    _ends: float
    _running: dict[LimitClock, None] | None
    _task: asyncio.Task[Any]
    _loop: asyncio.AbstractEventLoop
    _before: int
    """How often others had cancelled the task when the call began."""
    _token: Token[CallClock | None]

    def begin(
        self,
        began: float,
        ends: float,
        running: dict[LimitClock, None],
        task: asyncio.Task[Any],
        loop: asyncio.AbstractEventLoop,
    ) -> LimitClock:
        """Begin with a call, and return itself. `end` ends it."""
        self.began, self._ends, self._running, self._task, self._loop = began, ends, running, task, loop
        self._before = task.cancelling()
        self._token = _set_clock(self)
        running[self] = None
        return self

    def end(self, error: BaseException | None = None) -> bool:
        """Note that the call has ended. Return whether `error` is that of this limit alone."""
        _reset_clock(self._token)
        if self._running is not None:
            self._running.pop(self, None)
        elif self._timer is not None:
            self._timer.cancel()
        is_own = self._has_expired and self._task.uncancel() <= self._before
        return is_own and isinstance(error, asyncio.CancelledError)

    @property
    def ends(self) -> float:
        return self._ends

    @property
    def own_limit(self) -> float:
        return self._ends

    def move(self, ends: float) -> None:
        self._ends = ends
        if self._running is not None:
            self._running.pop(self, None)
            self._running = None
        if self._timer is not None:
            self._timer.cancel()
        is_bounded = ends != inf and not self._has_expired
        self._timer = self._loop.call_at(ends, self.expire) if is_bounded else None

    def expire(self) -> None:
        """End the call: its deadline has come."""
        self._has_expired = True
        self._task.cancel()


class TimeLimits:
    """Makes time limits of one length. They share one timer, because a timer costs more than the rest of a limit.

    Each limit ends after those that began before it. So the timer is that of the oldest one that has not ended, or of
    one before it: then it only waits for the next.
    """

    __slots__ = ("_loop", "_seconds", "_timer", "running")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.running: dict[LimitClock, None] = {}
        """In the order of their deadlines."""

    def begin(self) -> LimitClock:
        """Return the clock of a call that begins now; `end` ends it."""
        # The running loop is looked for only if this is not it: that asks the system which process this is.
        loop = self._loop
        if loop is None or (task := asyncio.current_task(loop)) is None:
            loop, task = self._in_this_loop()
        began = loop.time()
        ends = began + self._seconds
        if self._timer is None and ends != inf:
            self._timer = loop.call_at(ends, self._look)
        made: LimitClock = _blank(LimitClock)  # `__init__` takes twice as long
        return made.begin(began, ends, self.running, task, loop)

    def _in_this_loop(self) -> tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]:
        loop = asyncio.get_running_loop()
        self._loop, self._timer, self.running = loop, None, {}
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("A time limit needs a task.")
        return loop, task

    def _look(self) -> None:
        """End the limits whose deadline has come, and wait for the next one."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the timer is one of a former event loop
            return
        self._timer = None
        now = loop.time()
        for limit in list(self.running):
            if limit.ends > now:
                self._timer = loop.call_at(max(limit.ends, now + _TICK_SECONDS), self._look)
                return
            del self.running[limit]
            limit.expire()


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
            reader = current_reader()
            if reader is None:
                return await inner(call, emit)
            began = monotonic()  # takes a tenth of the time of `loop_time`
            result = await inner(call, emit)
            if not isinstance(result.value, Deferred):
                return result
            with scope_until(loop_time() + limit - (monotonic() - began)):
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
