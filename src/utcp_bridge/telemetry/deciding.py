"""Traces that are passed on and not noted, and who decides it, at the price of a few microseconds.

The SDK makes a span for a request before it asks the sampler, and asks again for each span below it. The usual samplers
decide by the parent and by the id of the trace alone, so one decision, made here by the same rule, is that of the whole
request. Any other sampler is asked by the SDK, span for span.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import get_global_textmap
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import set_span_in_context

from utcp_bridge.telemetry import idents
from utcp_bridge.telemetry.limiting import LimitedSampler, TraceLimit
from utcp_bridge.telemetry.places import KEY, PLACES, Present, TracePlace, Unsampled

__all__ = ["Deciding"]

_PARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")
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
_NOTED, _RANDOM = 0x01, 0x02
_SCOPE: Final = "utcp_bridge"
_blank: Final = object.__new__


class _Ids:
    """Gives the next trace the id by which it was decided to note it."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._is_plain: Final = type(real) is RandomIdGenerator
        """Whether ids are random numbers, and nothing else."""
        is_random = real.is_trace_id_random()
        self._flags: Final = f"{_RANDOM if is_random else 0:02x}"
        self._sampled: Final = f"{_RANDOM | _NOTED if is_random else _NOTED:02x}"
        self._noted: Final = idents.traces(self._sampled) if self._is_plain else []
        self._chosen: str | None = None
        self.generate_span_id: Final = real.generate_span_id
        self.is_trace_id_random: Final = real.is_trace_id_random

    def generate_trace_id(self) -> int:
        """Return the id of the trace that begins."""
        chosen, self._chosen = self._chosen, None
        found: int = self._real.generate_trace_id() if chosen is None else int(chosen[3:35], 16)
        return found

    def noted(self) -> str:
        """Return the `traceparent` of the next trace, which is noted: the chosen one, if one was chosen."""
        if self._noted and self._chosen is None:
            return self._noted.pop()
        chosen, self._chosen = self._chosen, None
        return self._new(self._sampled) if chosen is None else chosen[:53] + self._sampled

    def _new(self, flags: str) -> str:
        """Return the `traceparent` of a new trace, if none is ready with these flags."""
        if self._is_plain:
            return idents.more_traces(flags)
        return f"00-{self._real.generate_trace_id():032x}-{self._real.generate_span_id():016x}-{flags}"

    def deciding(self, bound: str) -> Callable[[], str | None]:
        """Return what begins a new trace, whose id is not below the bound in its lower half; None if it has to be.

        Numbers of the same length in text are compared as quickly as they are made, and text is what goes on.
        """
        new = partial(self._new, self._flags)
        pop = idents.traces(self._flags).pop if self._is_plain else new

        def left_out() -> str:
            try:  # each request comes here
                return pop()
            except IndexError:
                return new()

        def decided() -> str | None:
            text = left_out()
            if text[19:35] < bound:
                self._chosen = text
                return None
            return text

        return decided if bound else left_out

    def limited(self, limit: TraceLimit) -> Callable[[], str | None]:
        """Return what begins a new trace above a limit; None below it, where the trace is noted."""
        new, takes, clock = partial(self._new, self._flags), limit.takes, limit.clock
        pop = idents.traces(self._flags).pop if self._is_plain else new

        def begun() -> str | None:
            is_noted = False
            if limit.left_out and clock() < limit.free:  # each request of a load comes here
                limit.left_out += 1
            else:
                is_noted = takes()
            try:
                text = pop()
            except IndexError:
                text = new()
            if is_noted:
                self._chosen = limit.granted = text
                return None
            return text

        return begun


class Deciding:
    """What a tracer provider decides, as its sampler does; without one, that of the process."""

    placed: Final = TracePlace
    nowhere: Final = Unsampled
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
        self.limit: Final = sampler.limit if type(sampler) is LimitedSampler else None
        """How many traces that begin are noted; None if a sampler of OpenTelemetry decides."""
        self.is_w3c: Final = frozenset(get_global_textmap().fields) == _W3C
        """Whether the trace goes on in the form of W3C alone."""
        self.is_usual: Final = (found is not None or self.limit is not None) and self.is_w3c
        """Whether one decision is that of a whole request."""
        present = Present()
        self.current: Final = present.current
        """Return the present place, or the present context if there is more than a place."""
        self.leave: Final = present.leave
        """Leave what `enter` has entered."""
        self.attach: Final = present.attach
        """Make a place or a context the present one, and return what `leave` needs."""
        self._ids = _Ids(provider.id_generator) if self.is_usual else None
        self.spans: Final = self.tracer(_SCOPE)
        """The tracer of the bridge."""
        self.root: Final[Callable[[], str | None]] = self._root("" if found is None else found[1])
        """Return the place of a request in a new trace that is not noted; None if the tracer has to begin one."""
        make = None if self._ids is None else getattr(provider, "lights", None)
        self.lights: Final[Any] = None if make is None else make(self._ids)
        """Begins spans that cost little (`Lights`); None if this provider has none."""

    def _root(self, sampler: str) -> Callable[[], str | None]:
        """Return `root` for a sampler of OpenTelemetry, by what it says of itself, or for the limit."""
        if self._ids is None:
            return _undecided
        if self.limit is not None:
            return self._ids.limited(self.limit)
        bound = _bound(sampler)
        return _undecided if bound is None else self._ids.deciding(bound)

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
        """Continue the trace of a caller in this task. False: `traceparent` is not of the usual form.

        If it is not sampled, its text is the place, as that of a trace that begins here and is not noted: nobody asks
        where a trace comes from of which nothing is noted.
        """
        text = traceparent.decode("latin-1")
        if not self.is_usual or _PARENT.fullmatch(text) is None:
            return False
        if text[-1] in _SAMPLED:
            span = _blank(TracePlace)
            span.traceparent, span.is_remote = text, True
            self.attach(span)
        else:
            self.attach(text)
        return True

    def span_in(self, found: Any) -> Any:
        """Return the span of what `current` has returned, or a text, which is the place of a request that has none."""
        return found.get(KEY) if isinstance(found, Context) else found

    def alone_in(self, found: Any) -> Any:
        """Return what `span_in` does; None if a context has something besides, which is passed on too."""
        if not isinstance(found, Context):
            return found
        return found.get(KEY) if len(found) == 1 and self.is_w3c else None

    def is_left_out(self, found: Any) -> bool:
        """Return whether nothing is noted of the request of which this is the place or the context."""
        span = self.span_in(found)
        return type(span) is str or type(span) is Unsampled

    def enter(self, span: Any, found: Any) -> Any:
        """Make a span the present one, and return what `leave` needs. `found` is what `current` has returned."""
        if type(found) in PLACES or not found or (KEY in found and len(found) == 1):
            return self.attach(span if type(span) in PLACES else Context({KEY: span}))
        return self.attach(set_span_in_context(Unsampled(span) if type(span) is str else span, found))


def _undecided() -> None:
    """Leave it to the tracer."""


def _bound(root: str) -> str | None:
    """Return below which number, in 16 digits, the half of an id of a trace is one that is noted; None if each is.

    If none is, it is "".
    """
    name, _, rate = root.rstrip("}").partition("{")
    if name == "TraceIdRatioBased":
        bound = TraceIdRatioBased(float(rate)).bound
        return None if bound > TraceIdRatioBased.TRACE_ID_LIMIT else f"{bound:016x}" if bound else ""
    return "" if name == "AlwaysOffSampler" else None
