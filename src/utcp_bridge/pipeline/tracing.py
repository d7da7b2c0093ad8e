"""Tracing: a span for each attempt at an upstream, so that a trace shows retries and where the time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from utcp_bridge.pipeline import Next, outcome_of
from utcp_bridge.telemetry import trace_context

if TYPE_CHECKING:
    from utcp_bridge.model import Call, Emit, Result, Tool

__all__ = ["tracing"]


def tracing(tool: Tool, inner: Next) -> Next:
    """Note each attempt of a tool's calls. The layer is left out while there is no tracer (`trace_context.begin`)."""
    if not trace_context.is_on():
        return inner
    name, fixed = f"{tool.kind} {tool.qualified_name}", {"utcp.tool": tool.qualified_name, "utcp.kind": tool.kind}

    async def traced(call: Call, emit: Emit) -> Result:
        with trace_context.attempt_span(name, {**fixed, "utcp.manual": tool.manual, "utcp.call": call.id}) as span:
            try:
                result = await inner(call, emit)
            except BaseException as error:
                span.set_attribute("error.type", outcome_of(error))
                raise
            if result.failure is not None:
                span.set_attribute("error.type", outcome_of(result.failure))
            return result

    return traced
