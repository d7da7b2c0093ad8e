"""Spans of hot requests: those that the SDK's middleware makes of other requests, with the same names and attributes.

A request whose trace is not sampled costs a decision and an id. It has a place in the trace for upstreams and for the
audit log, and no span. The text of an error is in no span: it may have a secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import Token
from typing import TYPE_CHECKING, Any, Final, cast

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, StatusCode, get_current_span, set_span_in_context

if TYPE_CHECKING:
    from utcp_bridge.telemetry.deciding import Unsampled

__all__ = ["ServerSpans"]

_SCOPE: Final = "mcp-python-sdk"


class ServerSpans:
    """Makes the spans of requests, if the tracer provider of the process is one of an OpenTelemetry SDK."""

    def __init__(self) -> None:
        from utcp_bridge.telemetry.deciding import Deciding, Unsampled

        self._deciding: Final = Deciding()
        self._tracer: Final = self._deciding.tracer(_SCOPE)
        self._unsampled: Final = Unsampled
        self.leave: Final = detach

    def enter(self, meta: Mapping[str, Any] | None) -> tuple[Token[Context] | None, Context | None]:
        """Enter a trace that is not noted, and return what `leave` needs.

        If the request has a span, the first is None, and the second the parent that the request states.
        """
        context = get_current()
        place = self._stated(meta) if meta else None
        if place is None:
            current = get_current_span(context)
            if type(current) is self._unsampled:
                return attach(context), None
            if current.get_span_context().is_valid or (place := self._deciding.root()) is None:
                return None, None
        if type(place) is not self._unsampled:
            return None, cast("Context", place)
        return attach(set_span_in_context(place, context) if context else self._deciding.alone(place)), None

    def _stated(self, meta: Mapping[str, Any]) -> Unsampled | Context | None:
        """Return the trace that the `_meta` of a request carries; None if it carries none that is valid."""
        stated = meta.get("traceparent")
        if type(stated) is str and "tracestate" not in meta:
            found = self._deciding.continued(stated)
            if isinstance(found, self._unsampled):
                return found
            if found is not None and "baggage" not in meta:
                return set_span_in_context(found, Context())
        elif stated is None and self._deciding.is_w3c:
            return None
        try:
            context = extract(meta)
        except (ValueError, TypeError):
            return None
        return context if get_current_span(context).get_span_context().is_valid else None

    async def noted(
        self, ctx: ServerRequestContext[None, Any], parent: Context | None, serve: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Return what `serve` returns, which runs in a span of its own."""
        name = (ctx.params or {}).get("name")
        target = name if isinstance(name, str) else None
        attributes = {
            "mcp.method.name": ctx.method,
            "mcp.protocol.version": ctx.protocol_version,
            "jsonrpc.request.id": str(ctx.request_id),
        }
        if ctx.method == "tools/call":
            attributes["gen_ai.operation.name"] = "execute_tool"
            if target is not None:
                attributes["gen_ai.tool.name"] = target
        title = f"{ctx.method} {target}" if target else ctx.method
        span = self._tracer.start_span(title, parent, SpanKind.SERVER, attributes)
        token = attach(set_span_in_context(span))
        try:
            result = await serve()
        except MCPError as error:
            code = str(error.error.code)
            span.set_attributes({"error.type": code, "rpc.response.status_code": code})
            span.set_status(StatusCode.ERROR)
            raise
        except Exception as error:
            kind = type(error).__qualname__
            span.set_attribute("error.type", kind)
            span.add_event("exception", {"exception.type": kind})
            span.set_status(StatusCode.ERROR)
            raise
        else:
            if ctx.method == "tools/call" and result.get("isError") is True:
                span.set_attribute("error.type", "tool_error")
                span.set_status(StatusCode.ERROR)
            return result
        finally:
            detach(token)
            span.end()
