"""Traces that are passed on and not noted, and who decides it, at the price of a few microseconds.

The SDK makes a span for a request before it asks the sampler, and asks again for each span below it. The usual samplers
decide by the parent and by the id of the trace alone, so one decision, made here by the same rule, is that of the whole
request. Any other sampler is asked by the SDK, span for span.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from random import getrandbits
from typing import Any, Final, cast

from opentelemetry import context as context_module
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagate import get_global_textmap
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

__all__ = ["Deciding", "TracePlace", "Unsampled", "place_of"]

_PARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-(0[0-3])")
"""`traceparent` in the form of today (W3C Trace Context, section 3.2)."""
_SAMPLED: Final = "13"
"""Last characters of a `traceparent` whose trace is noted, in the form of today."""
_W3C: Final = frozenset({"traceparent", "tracestate", "baggage"})
_STOCK: Final = "opentelemetry.sdk.trace.sampling"
_ROOT: Final = r"(AlwaysOnSampler|AlwaysOffSampler|TraceIdRatioBased\{[0-9.e-]+\})"
_USUAL: Final = re.compile(
    rf"ParentBased\{{root:{_ROOT},remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,"
    r"localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler\}"
)
"""What the samplers `parentbased_…` say of themselves, of which one is the default."""
_RANDOM: Final = 0x02
_ABOVE_ALL: Final = "g"
"""Behind each hexadecimal number."""
_SCOPE: Final = "utcp_bridge"
_blank: Final = object.__new__


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


def place_of(traceparent: str, *, is_remote: bool) -> SpanContext:
    """Return the ids of a valid `traceparent`."""
    _, ident, span, flags = traceparent.split("-")
    return SpanContext(int(ident, 16), int(span, 16), is_remote, TraceFlags(int(flags, 16)))


class _Ids:
    """Gives the next trace the id by which it was decided to note it."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._is_plain: Final = type(real) is RandomIdGenerator
        """Whether ids are random numbers, and nothing else."""
        self._flags = f"{_RANDOM:02x}" if real.is_trace_id_random() else "00"
        self._chosen: str | None = None
        self.generate_span_id: Final = real.generate_span_id
        self.is_trace_id_random: Final = real.is_trace_id_random

    def generate_trace_id(self) -> int:
        """Return the id of the trace that begins."""
        chosen = self.take_chosen()
        found: int = self._real.generate_trace_id() if chosen is None else int(chosen[:32], 16)
        return found

    def take_chosen(self) -> str | None:
        """Return the id by which it was decided to note the next trace, if one was chosen, and that of its span."""
        chosen, self._chosen = self._chosen, None
        return chosen

    def new(self) -> str:
        """Return the id of a new trace, a hyphen, and the id of its first span."""
        if self._is_plain:
            return getrandbits(192).to_bytes(24, "big").hex("-", -16)  # as two calls, but for their checks for zero
        return f"{self._real.generate_trace_id():032x}-{self._real.generate_span_id():016x}"

    def unsampled(self, bound: str) -> Unsampled | None:
        """Return a new trace, whose id is not below the bound in its lower half; None if the next one has to be.

        Numbers of the same length in text are compared as quickly as they are made, and text is what goes on.
        """
        # each request comes here, so the next two lines are those of `new` and of `__init__`, without their calls
        text = getrandbits(192).to_bytes(24, "big").hex("-", -16) if self._is_plain else self.new()
        if text[16:32] < bound:
            self._chosen = text
            return None
        made = _blank(Unsampled)
        made.traceparent = f"00-{text}-{self._flags}"
        return made


class Deciding:
    """What a tracer provider decides, as its sampler does; without one, that of the process."""

    unsampled: Final = Unsampled
    placed: Final = TracePlace
    current_span: Final = staticmethod(trace.get_current_span)
    kinds: Final = trace.SpanKind
    scope: Final = _SCOPE
    """The name of the tracer of the bridge."""

    def __init__(self, provider: Any = None) -> None:
        provider = trace.get_tracer_provider() if provider is None else provider
        self._provider = provider
        sampler = getattr(provider, "sampler", None)
        stock = sampler is not None and type(sampler).__module__ == _STOCK
        found = _USUAL.fullmatch(sampler.get_description()) if stock and sampler is not None else None
        self.is_w3c: Final = frozenset(get_global_textmap().fields) == _W3C
        """Whether the trace goes on in the form of W3C alone."""
        self.is_usual: Final = found is not None and self.is_w3c
        """Whether one decision is that of a whole request."""
        variable = _variable()
        self.current: Final[Callable[[], Context]] = get_current if variable is None else variable.get
        """Return the present context."""
        self.leave: Final[Callable[[Any], None]] = detach if variable is None else variable.reset
        """Leave what `enter` has entered."""
        self.attach: Final[Callable[[Context], Any]] = attach if variable is None else variable.set
        """Make a context the present one, and return what `leave` needs."""
        self.key: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
        """Under which a context has its span."""
        self.spans: Final = provider.get_tracer(_SCOPE)
        """The tracer of the bridge."""
        self._ids = _Ids(provider.id_generator) if self.is_usual else None
        bound = _bound("" if found is None else found[1])
        self.root: Final[Callable[[], Unsampled | None]] = (
            _undecided if self._ids is None or bound is None else partial(self._ids.unsampled, bound)
        )
        """Return a new trace that is not noted; None if the tracer has to begin one."""
        make = None if self._ids is None else getattr(provider, "lights", None)
        self.lights: Final[Any] = None if make is None else make(self._ids)
        """Begins spans that cost little (`Lights`); None if this provider has none."""

    def tracer(self, scope: str) -> Any:
        """Return a tracer of this scope, whose traces have the ids that `root` has chosen."""
        found = self._provider.get_tracer(scope)
        if self._ids is not None:
            found = copy.copy(found)  # the SDK has one for each scope, which others use too
            found.id_generator = self._ids
        return found

    def continued(self, traceparent: str) -> TracePlace | None:
        """Return the place in the trace of a caller. None: `traceparent` is not of the usual form."""
        found = _PARENT.fullmatch(traceparent) if self.is_usual else None
        if found is None:
            return None
        return (TracePlace if traceparent[-1] in _SAMPLED else Unsampled)(traceparent, is_remote=True)

    def continues(self, traceparent: bytes) -> bool:
        """Continue the trace of a caller in this task. False: `traceparent` is not of the usual form."""
        text = traceparent.decode("latin-1")
        if not self.is_usual or _PARENT.fullmatch(text) is None:
            return False
        span = _blank(TracePlace if text[-1] in _SAMPLED else Unsampled)
        span.traceparent, span.is_remote = text, True
        self.attach(Context({self.key: span}))
        return True

    def enter(self, span: Any, context: Context) -> Any:
        """Make a span the current one in a context, and return what `leave` needs."""
        if not context or (self.key in context and len(context) == 1):
            return self.attach(Context({self.key: span}))
        return self.attach(set_span_in_context(span, context))


def _undecided() -> None:
    """Leave it to the tracer."""


def _variable() -> ContextVar[Context] | None:
    """Return the variable that has the context, without four functions around it; None if another kind of place has it.

    It is not in OpenTelemetry's documentation, so all else uses its functions.
    """
    found: Any = getattr(getattr(context_module, "_RUNTIME_CONTEXT", None), "_current_context", None)
    return cast("ContextVar[Context]", found) if isinstance(found, ContextVar) else None


def _bound(root: str) -> str | None:
    """Return below which number, in 16 digits, the half of an id of a trace is one that is noted; None if each is."""
    name, _, rate = root.rstrip("}").partition("{")
    if name == "TraceIdRatioBased":
        bound = TraceIdRatioBased(float(rate)).bound
        return f"{bound:016x}" if bound <= TraceIdRatioBased.TRACE_ID_LIMIT else _ABOVE_ALL
    return "" if name == "AlwaysOffSampler" else None
