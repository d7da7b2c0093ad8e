"""The trace of a call: taken from the request, noted in a span for each attempt, and passed on to the upstream.

The tracer is OpenTelemetry's, with the standard environment variables. While no OpenTelemetry SDK is there, or before
`begin`, `is_on()` is false and nothing else of this file runs. Sources: W3C Trace Context, W3C Baggage, and the
OpenTelemetry conventions for environment variables as carriers (`TRACEPARENT`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from utcp_bridge.telemetry.deciding import Deciding

__all__ = [
    "NOTHING", "Attempts", "attached", "begin", "continue_in_task", "end", "is_of_sdk", "is_on", "is_unsampled",
    "not_recorded", "note_request", "noted_span", "passed_on", "passed_on_in_environment", "plain_place",
    "request_attributes", "served", "where_places_are", "with_baggage",
]  # fmt: skip

T = TypeVar("T")
_CARRIED: Final = frozenset({"traceparent", "tracestate", "baggage"})
_MAX_CARRIED: Final = 8192
"""Characters of one header of a caller. W3C Baggage asks for 8,192 bytes at least; longer ones are not taken."""
NOTHING: Final = object()
"""The place of a call in no trace."""
_on = False
_otel: Deciding
"""What OpenTelemetry decides, and its functions, while `is_on`."""


def begin() -> bool:
    """Look whether a tracer is there: a provider of an OpenTelemetry SDK. From then on, spans are made if so."""
    global _on, _otel  # noqa: PLW0603 - one tracer provider for the process, as in OpenTelemetry itself
    from opentelemetry import trace

    is_there = is_of_sdk(trace.get_tracer_provider())
    if is_there:
        from utcp_bridge.telemetry.deciding import Deciding

        _otel = Deciding()
    _on = is_there
    return _on


def is_of_sdk(provider: Any) -> bool:
    """Return whether a tracer provider is one of an OpenTelemetry SDK."""
    return any(kind.__module__.startswith("opentelemetry.sdk") for kind in type(provider).__mro__)


def end() -> None:
    """Make no more spans."""
    global _on  # noqa: PLW0603
    _on = False


def is_on() -> bool:
    """Return whether spans are made and the trace is passed on."""
    return _on


def not_recorded() -> int | None:
    """Return how many traces were not recorded because of the limit; None without a limit."""
    limit = _otel.limit if _on else None
    return None if limit is None else limit.left_out


def is_unsampled() -> bool:
    """Return whether nothing is noted of the present request, while `is_on`."""
    return _otel.is_left_out(_otel.current())


def where_places_are() -> tuple[Callable[[], Any], Callable[[Any], bool]]:
    """Return what gives the present place, and what says of it whether nothing is noted of its request, while `is_on`.

    Nothing is noted of one that is a text. A caller who asks for each call looks at that first.
    """
    return _otel.current, _otel.is_left_out


def continue_in_task(headers: Mapping[bytes, bytes] | bytes) -> None:
    """Continue the trace that these headers carry until the end of the task, as `attached` does, while `is_on`.

    `headers` are `traceparent`, `tracestate` and `baggage`, as far as the request has them, or the first one alone.
    """
    if isinstance(headers, bytes):
        if _otel.continues(headers):
            return
        headers = {b"traceparent": headers}
    elif len(headers) == 1 and _otel.continues(headers.get(b"traceparent", b"")):
        return
    carrier = {
        name.decode(): value.strip(b" \t").decode("latin-1")
        for name, value in headers.items()
        if len(value) <= _MAX_CARRIED
    }
    if carrier:
        from opentelemetry import context
        from opentelemetry.propagate import extract

        context.attach(extract(carrier))


@contextmanager
def attached(headers: Iterable[tuple[bytes, bytes]]) -> Generator[None]:
    """Continue the trace that the headers of a request carry. A header that comes twice, or is too long, is left."""
    carrier: dict[str, str] = {}
    for name, value in headers:
        key = name.decode("latin-1").lower()
        if key in _CARRIED:
            carrier[key] = "" if key in carrier or len(value) > _MAX_CARRIED else value.decode("latin-1")
    if not carrier:
        yield
        return
    from opentelemetry import context
    from opentelemetry.propagate import extract

    token = context.attach(extract(carrier))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def with_baggage(meta: Mapping[str, Any] | None) -> Generator[None]:
    """Pass on the baggage in the `_meta` of a request of MCP, of which the MCP SDK continues only the trace."""
    baggage = meta.get("baggage") if _on and meta else None
    if not isinstance(baggage, str) or len(baggage) > _MAX_CARRIED:
        yield
        return
    from opentelemetry import context
    from opentelemetry.propagate import extract

    token = context.attach(extract({"baggage": baggage}, context.get_current()))
    try:
        yield
    finally:
        context.detach(token)


class Attempts:
    """Makes the spans of the attempts of one tool at its upstream, of kind CLIENT, while `is_on`.

    An exception is not noted in one: it may have a secret.
    """

    def __init__(self, name: str, attributes: dict[str, str], varying: str) -> None:
        """`varying` is the name of the attribute that is another one for each attempt. It is the last one."""
        self._name, self._attributes, self._varying = name, attributes, varying
        self._decided: Deciding | None = None
        self._shape: Any = None

    def enter(self, value: str) -> tuple[Any, Any]:
        """Begin a span, make it the current one, and return it with what `leave` needs."""
        decided = _otel
        if decided is not self._decided:
            self._decided = decided
            self._shape = None if decided.lights is None else self._light(decided)
        found = decided.current()
        above = decided.span_in(found)
        if above is None and (place := decided.root()) is not None:  # a call that no request of a client has begun
            return decided.nowhere(place), decided.enter(place, found)
        if self._shape is not None and (lights := decided.lights) is not None:
            span = lights.begin(self._shape, value, above)
            if span is not None:
                return span, decided.enter(span, found)
        attributes = {**self._attributes, self._varying: value}
        span = decided.spans.start_span(self._name, kind=decided.kinds.CLIENT, attributes=attributes)
        return span, decided.enter(span, found)

    def leave(self, span: Any, token: Any) -> None:
        """End a span."""
        _otel.leave(token)
        span.end()

    def _light(self, decided: Deciding) -> Any:
        scope = decided.lights.scope(decided.scope)
        return decided.lights.shape(scope, self._name, decided.kinds.CLIENT, self._attributes, self._varying)


async def served(name: str, tool: str, work: Callable[[], Awaitable[T]]) -> T:
    """Return what `work` returns: a request of a caller for a tool, which is a span while traces are on."""
    if not _on:
        return await work()
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
    span = _otel.spans.start_span(name, kind=_otel.kinds.SERVER, attributes=attributes)
    token = _otel.enter(span, _otel.current())
    try:
        return await work()
    except BaseException as error:
        code = getattr(error, "code", None)
        span.set_attribute("error.type", code if isinstance(code, str) else type(error).__name__)
        raise
    finally:
        _otel.leave(token)
        span.end()


def noted_span() -> Any:
    """Return the current span if it is sent, while `is_on`; None otherwise."""
    found = _otel.current()
    span = _otel.span_in(found)
    if span is None or _otel.is_left_out(found):
        return None
    is_light = getattr(span, "note_request", None) is not None
    return span if is_light or span.get_span_context().trace_flags.sampled else None


def note_request(method: str, url: str) -> None:
    """Note a request to an upstream in the current span, if it notes anything, while `is_on`."""
    found = _otel.current()
    span = _otel.span_in(found)
    if span is None or type(span) is _otel.placed or _otel.is_left_out(found):
        return
    if (note := getattr(span, "note_request", None)) is not None:
        note(method, url)
    elif span.is_recording():
        span.set_attributes(request_attributes(method, url))


def request_attributes(method: str, url: str) -> dict[str, str | int]:
    """Return what a span says of a request over HTTP."""
    from yarl import URL

    target = URL(url)
    return {"http.request.method": method, "server.address": target.host or "", "server.port": target.port or 0}


def plain_place() -> Any:
    """Return the place of the present request if that is all that is passed on. None: more is passed on, or nothing.

    It is `NOTHING` unless `is_on`. A text is a `traceparent`, and nothing is noted of its request. Any other place has
    a `traceparent`, and its `note_request` notes a request to an upstream, unless that is None.
    """
    if not _on:
        return NOTHING
    found = _otel.current()
    if type(found) is str:
        return found
    span = _otel.alone_in(found)
    return span if hasattr(span, "traceparent") else None


def passed_on(known: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers that carry the trace to an upstream, without those that the request has already."""
    has = [name.lower() for name, _ in known]
    if (plain := _plain_traceparent()) is not None:
        return [] if "traceparent" in has else [("traceparent", plain)]
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return [(name, value) for name, value in carrier.items() if name.lower() not in has]


def _plain_traceparent() -> str | None:
    """Return what is passed on of a trace, if that is `traceparent` alone: a quick way to what `inject` writes."""
    found = _otel.current()
    if type(found) is str:
        return found
    span = _otel.alone_in(found)  # the context has the baggage, too
    if span is None:
        return None
    text: str | None = getattr(span, "traceparent", None)
    if text is not None:
        return text
    ids = _otel.current_span().get_span_context()
    if not ids.is_valid or ids.trace_state:
        return None
    return f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags:02x}"


def passed_on_in_environment() -> dict[str, str]:
    """Return the variables that carry the trace to a command."""
    return {name.upper(): value for name, value in passed_on(())}
