"""Spans of hot requests: those that the SDK's middleware makes of other requests, with the same names and attributes.

A request whose trace is not sampled costs a decision and an id. It has a place in the trace for upstreams and for the
audit log, and no span. The text of an error is in no span: it may have a secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from opentelemetry.context import Context
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span, set_span_in_context

if TYPE_CHECKING:
    from utcp_bridge.telemetry.light_spans import Lights, Scope, SpanShape
    from utcp_bridge.telemetry.places import TracePlace

__all__ = ["ServerSpans"]

_SCOPE: Final = "mcp-python-sdk"
_ID: Final = "jsonrpc.request.id"
_CALL: Final = "tools/call"
_MAX_SHAPES: Final = 1_024
_MAX_NAME: Final = 256
"""Characters of a name in a shape that is kept: it comes from the client."""


class ServerSpans:
    """Makes the spans of requests, if the tracer provider of the process is one of an OpenTelemetry SDK."""

    def __init__(self) -> None:
        from utcp_bridge.telemetry.deciding import Deciding
        from utcp_bridge.telemetry.places import TracePlace, Unsampled

        self._deciding: Final = Deciding()
        self._tracer: Final = self._deciding.tracer(_SCOPE)
        self._placed, self._unsampled = TracePlace, Unsampled
        self._reads_all: Final = not self._deciding.is_w3c
        """Whether other members of a `_meta` than `traceparent` may carry a trace."""
        self._lights: Final[Lights | None] = self._deciding.lights
        self._scope: Final = None if self._lights is None else self._lights.scope(_SCOPE)
        self._shapes: Final[dict[tuple[str, str | None, str], SpanShape]] = {}

    def served(
        self, ctx: ServerRequestContext[None, Any], serve: Callable[[Any, Any], Awaitable[Any]], call_next: Any
    ) -> Awaitable[Any]:
        """Return what `serve` returns for a request and `call_next`. It runs in the place of the request in a trace.

        The request has its place until the end of its task.
        """
        deciding, meta = self._deciding, ctx.meta
        found = deciding.current()
        stated = self._stated(meta) if meta and (self._reads_all or "traceparent" in meta) else None
        if stated is None and type(found) is str:  # the headers have said that nothing is noted
            return serve(ctx, call_next)
        if stated is None and not found:
            place = deciding.root()
            if place is None:
                return self._noted(ctx, serve, call_next, self._begun(ctx, None, None), found)
            deciding.attach(place)
            return serve(ctx, call_next)
        above: Any = deciding.span_in(found) if stated is None else stated
        if deciding.is_left_out(above):
            if stated is not None:
                deciding.enter(above, found)
            return serve(ctx, call_next)
        if isinstance(above, Context):
            above = deciding.span_in(above)
        if above is None or (type(above) is not self._placed and not above.get_span_context().is_valid):
            above = deciding.root()
            if above is not None:
                deciding.enter(above, found)
                return serve(ctx, call_next)
        return self._noted(ctx, serve, call_next, self._begun(ctx, above, stated), found)

    async def _noted(
        self,
        ctx: ServerRequestContext[None, Any],
        serve: Callable[[Any, Any], Awaitable[Any]],
        call_next: Any,
        span: Span,
        found: Any,
    ) -> Any:
        """Return what `serve` returns, and note it in a span. `found` is the place or the context above it."""
        self._deciding.enter(span, found)
        try:
            result = await serve(ctx, call_next)
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
            if ctx.method == _CALL and result.get("isError") is True:
                span.set_attribute("error.type", "tool_error")
                span.set_status(StatusCode.ERROR)
            return result
        finally:
            span.end()

    def _stated(self, meta: Mapping[str, Any]) -> TracePlace | Context | None:
        """Return the trace that the `_meta` of a request carries; None if it carries none that is valid."""
        stated = meta.get("traceparent")
        if type(stated) is str and "tracestate" not in meta:
            found = self._deciding.continued(stated)
            if found is not None and (type(found) is self._unsampled or "baggage" not in meta):
                return found
        try:
            context = extract(meta)
        except (ValueError, TypeError):
            return None
        return context if get_current_span(context).get_span_context().is_valid else None

    def _begun(self, ctx: ServerRequestContext[None, Any], above: Span | None, stated: Any) -> Span:
        """Return a new span below another one, or below none."""
        name = (ctx.params or {}).get("name")
        target = name if isinstance(name, str) and name else None
        if self._lights is not None and self._scope is not None:
            shape = self._shapes.get((ctx.method, target, ctx.protocol_version))
            if shape is None:
                shape = self._shape(self._lights, self._scope, ctx.method, target, ctx.protocol_version)
            light = self._lights.begin(shape, str(ctx.request_id), above)
            if light is not None:
                return light
        before, after = _attributes(ctx.method, name, ctx.protocol_version)
        attributes = {**before, _ID: str(ctx.request_id), **after}
        parent = stated if stated is None or isinstance(stated, Context) else set_span_in_context(stated, Context())
        span: Span = self._tracer.start_span(_title(ctx.method, target), parent, SpanKind.SERVER, attributes)
        return span

    def _shape(self, lights: Lights, scope: Scope, method: str, name: Any, version: str) -> SpanShape:
        before, after = _attributes(method, name, version)
        made = lights.shape(scope, _title(method, name), SpanKind.SERVER, before, _ID, after)
        if name is None or len(name) <= _MAX_NAME:
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            self._shapes[method, name, version] = made
        return made


def _title(method: str, name: str | None) -> str:
    return f"{method} {name}" if name else method


def _attributes(method: str, name: Any, version: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the attributes of a request in front of its id, and behind it."""
    before = {"mcp.method.name": method, "mcp.protocol.version": version}
    if method != _CALL:
        return before, {}
    tool = {"gen_ai.tool.name": name} if isinstance(name, str) else {}
    return before, {"gen_ai.operation.name": "execute_tool", **tool}
