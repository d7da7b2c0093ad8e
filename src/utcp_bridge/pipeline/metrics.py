"""Metrics and traces: hooks that receive the details of every finished call, and a span for each attempt.

So a trace shows retries, and where the time went.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import Protocol

from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Call, Emit, Result, Tool
from utcp_bridge.pipeline import Next, outcome_of
from utcp_bridge.telemetry import trace_context
from utcp_bridge.telemetry.counting import MANY, CallCounts, CallDetails
from utcp_bridge.telemetry.recent import RecentCalls

__all__ = ["CallDetails", "Metrics", "MetricsHook", "tracing"]

_logger = logging.getLogger(__name__)


class MetricsHook(Protocol):
    """A function that runs after every call, on the event loop; it must not block."""

    def __call__(self, details: CallDetails, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Metrics:
    """Calls every hook, and `counts` and `recent` if they are on.

    A hook that raises is logged and does not change the outcome.
    """

    hooks: Sequence[MetricsHook] = ()
    counts: CallCounts | None = None
    recent: RecentCalls | None = None

    def __call__(self, tool: Tool, inner: Next) -> Next:
        own = [one for one in (self.counts, self.recent) if one is not None and one.is_on]
        hooks = (*self.hooks, *own)
        if not hooks:
            return inner
        if hooks == (self.counts,) and self.counts is not None:
            return _counted(tool, inner, self.counts)

        async def measured(call: Call, emit: Emit) -> Result:
            started = perf_counter()
            try:
                result = await inner(call, emit)
            except BaseException as error:
                _report(hooks, tool, outcome_of(error), perf_counter() - started)
                raise
            _report(hooks, tool, outcome_of(result.failure), perf_counter() - started)
            return result

        return measured


def _counted(tool: Tool, inner: Next, counts: CallCounts) -> Next:
    """Count calls. Those that end well wait for others, with as little as possible done for each."""
    hooks = (counts,)
    waiting, settle = counts.waiting(tool.manual, tool.qualified_name, tool.kind)

    async def counted(call: Call, emit: Emit) -> Result:
        started = perf_counter()
        try:
            result = await inner(call, emit)
        except BaseException as error:
            _report(hooks, tool, outcome_of(error), perf_counter() - started)
            raise
        if result.failure is not None or (counts.also is not None and _is_alone(counts)):
            _report(hooks, tool, outcome_of(result.failure), perf_counter() - started)
        else:
            waiting.append(perf_counter() - started)
            if len(waiting) >= MANY:
                settle()
        return result

    return counted


def _is_alone(counts: CallCounts) -> bool:
    """Return whether a call is counted by itself: its trace may be noted, and then it is an example for others."""
    return counts.also_many is None or (trace_context.is_on() and not trace_context.is_unsampled())


def _report(hooks: Sequence[MetricsHook], tool: Tool, outcome: str, seconds: float) -> None:
    details = CallDetails(tool.qualified_name, tool.manual, tool.kind, outcome, seconds)
    for hook in hooks:
        try:
            hook(details)
        except Exception:
            _logger.warning("A metrics hook failed.", exc_info=True)


def tracing(tool: Tool, inner: Next) -> Next:
    """Note each attempt of a tool's calls. The layer is left out while there is no tracer (`trace_context.begin`)."""
    if not trace_context.is_on():
        return inner
    name = tool.qualified_name
    fixed = {"utcp.tool": name, "utcp.kind": tool.kind, "utcp.manual": tool.manual}
    attempts = trace_context.Attempts(f"{tool.kind} {name}", fixed, "utcp.call")
    current, is_left_out = trace_context.where_places_are()

    def traced(call: Call, emit: Emit) -> Awaitable[Result]:
        place = current()
        return inner(call, emit) if type(place) is str or is_left_out(place) else noted(call, emit)

    async def noted(call: Call, emit: Emit) -> Result:
        span, token = attempts.enter(call.id)
        try:
            result = await inner(call, emit)
        except BaseException as error:
            span.set_attribute("error.type", outcome_of(error))
            raise
        else:
            if result.failure is not None:
                span.set_attribute("error.type", outcome_of(result.failure))
            return result
        finally:
            attempts.leave(span, token)

    return traced
