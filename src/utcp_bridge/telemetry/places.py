"""Places in traces, and where the place of the present request is: in OpenTelemetry's own variable.

OpenTelemetry keeps a `Context` in its variable, a dict that has the span. Most requests end before anybody looks into
it, so the bridge keeps the place itself there, which costs a tenth, and the context is made when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import context as context_module
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

__all__ = ["KEY", "PLACES", "Present", "TracePlace", "Unsampled", "context_of", "place_of"]

KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""Under which a context has its span."""


class TracePlace(NonRecordingSpan):
    """A place in a trace that a caller notes. `traceparent` is its text, and the ids are read when somebody asks."""

    note_request: Final = None
    """Nothing of requests to upstreams is noted here."""
    is_remote = False
    _read: SpanContext | None = None

    def __init__(self, traceparent: str, *, is_remote: bool = False) -> None:
        self.traceparent = traceparent
        if is_remote:
            self.is_remote = True

    def get_span_context(self) -> SpanContext:
        """Return the ids, which few ask for."""
        if self._read is None:
            self._read = place_of(self.traceparent, is_remote=self.is_remote)
        return self._read

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.traceparent!r})"


class Unsampled(TracePlace):
    """The place of a request in a trace of which nothing is noted. `traceparent` is what upstreams receive."""


PLACES: Final[set[type]] = {str, TracePlace, Unsampled}
"""What may be in the variable in place of a context. A text is the `traceparent` of `Unsampled`."""


def place_of(traceparent: str, *, is_remote: bool) -> SpanContext:
    """Return the ids of a valid `traceparent`."""
    _, ident, span, flags = traceparent.split("-")
    return SpanContext(int(ident, 16), int(span, 16), is_remote, TraceFlags(int(flags, 16)))


def context_of(place: Any) -> Context:
    """Return the context of a place. It has no more than its span."""
    return Context({KEY: Unsampled(place) if type(place) is str else place})


class _PlacesRuntime(ContextVarsRuntimeContext):
    """OpenTelemetry's way to its variable, which may have a place in place of a context."""

    def get_current(self) -> Context:
        """Return the present context."""
        found: Any = self._current_context.get()
        return found if isinstance(found, Context) else context_of(found)


class Present:
    """Where the place of the present request is."""

    def __init__(self) -> None:
        variable = _variable()
        self.current: Final[Callable[[], Any]] = get_current if variable is None else variable.get
        """Return the present place or context."""
        self.attach: Final[Callable[[Any], Any]] = _attach if variable is None else variable.set
        """Make a place or a context the present one, and return what `leave` needs."""
        self.leave: Final[Callable[[Any], None]] = detach if variable is None else variable.reset
        """Leave what `attach` has made the present one."""


def _attach(place: Any) -> Any:
    return attach(place if isinstance(place, Context) else context_of(place))


def _variable() -> ContextVar[Any] | None:
    """Return the variable that has the context, or a place; None if another kind of object has the context.

    It is not in OpenTelemetry's documentation, so all others use its functions.
    """
    runtime: Any = getattr(context_module, "_RUNTIME_CONTEXT", None)
    variable: Any = getattr(runtime, "_current_context", None)
    if type(runtime) not in {ContextVarsRuntimeContext, _PlacesRuntime} or variable.__class__ is not ContextVar:
        return None
    runtime.__class__ = _PlacesRuntime  # the object stays: others may have it
    found: ContextVar[Any] = variable
    return found
