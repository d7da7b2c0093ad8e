"""Spans of hot calls that cost little: a few references while the call runs, and bytes in the thread that sends them.

OpenTelemetry's SDK makes about ten objects for each span, asks its sampler, and checks each attribute. Here all that
is the same in each call of a tool is written once (`SpanShape`), and a span keeps what differs: its ids and times, one
text, and what an error adds. It goes through the SDK's own batch processor and exporter, so queue, batches, limits,
retries and the variables OTEL_BSP_* and OTEL_EXPORTER_OTLP_* are theirs.

That is possible while nobody else sees the spans: with the bridge's own provider, its exporter, and no limits of
attributes, events or links. In any other case the SDK makes the spans.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import time_ns
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from utcp_bridge.telemetry.idents import idents, more_idents
from utcp_bridge.telemetry.otlp import attribute_bytes, head_bytes, part
from utcp_bridge.telemetry.places import PLACES, TracePlace, place_of
from utcp_bridge.telemetry.trace_context import request_attributes

if TYPE_CHECKING:
    _Base = Span
else:
    _Base = object

__all__ = ["LightProvider", "LightSpan", "Lights", "Scope", "SpanForm", "SpanShape"]

_MAX_ATTRIBUTES: Final = 128
"""As in the SDK."""
_BATCH: Final = 1_024
"""Spans of one request to the collector: a request costs as much as hundreds of spans. The SDK sends half of them."""
_QUEUE: Final = 4 * _BATCH
_SIZES: Final = ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE")
_MAX_REQUESTS: Final = 16
"""Methods and origins of requests to upstreams that are kept for a tool: nearly all tools have one."""
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_SAMPLED: Final = SimpleNamespace(trace_flags=SimpleNamespace(sampled=True))
_next_ident: Final = idents.pop
_blank: Final = object.__new__


class LightProvider(TracerProvider):
    """The bridge's own provider: it has the place where light spans go, and who else sees spans."""

    def __init__(self, environment: Mapping[str, str], exporter: Any, **options: Any) -> None:
        super().__init__(**options)
        is_given = any(environment.get(name, "").strip() for name in _SIZES)
        sizes: dict[str, Any] = {} if is_given else {"max_queue_size": _QUEUE, "max_export_batch_size": _BATCH}
        batches = BatchSpanProcessor(exporter, **sizes)
        super().add_span_processor(batches)
        self.take: Final = _taking(batches)
        self.has_light_spans = not any(_is_about_spans(name) for name, value in environment.items() if value.strip())
        """Whether light spans may take the place of the SDK's."""

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor. It sees the spans of the SDK alone, so the SDK makes every span from now on."""
        self.has_light_spans = False
        super().add_span_processor(span_processor)

    def lights(self, ids: Any) -> Lights:
        """Return what begins light spans, with these ids of traces."""
        return Lights(self, ids)

    def add_own_processor(self, processor: SpanProcessor) -> None:
        """Add a processor that has nothing to do for light spans."""
        super().add_span_processor(processor)


def _taking(batches: BatchSpanProcessor) -> Callable[[Any], object]:
    """Return what adds a light span to the queue of the batches.

    The processor looks at its process, its state and the span each time. A batch that has room for more, and wakes
    nobody, needs none of it. What it looks at is not in OpenTelemetry's documentation, so without it `on_end` is asked.
    """
    batch: Any = getattr(batches, "_batch_processor", None)
    queue: Any = getattr(batch, "_queue", None)
    most: Any = getattr(batch, "_max_export_batch_size", None)
    take: Final = batches.on_end
    if (type(queue), type(most), type(getattr(batch, "_shutdown", None))) != (deque, int, bool):
        return take
    add, room = queue.appendleft, most - 1

    def add_or_take(span: Any) -> None:
        if len(queue) < room and not batch._shutdown:  # noqa: SLF001 - see above
            add(span)
        else:
            take(span)

    return add_or_take


def _is_about_spans(variable: str) -> bool:
    """Return whether a variable changes what spans have, or counts them."""
    is_limit = variable.startswith("OTEL_") and variable.endswith("_LIMIT")
    return is_limit or variable == "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"


class Scope:
    """The tracer of which light spans are."""

    def __init__(self, name: str, provider: LightProvider) -> None:
        self.provider: Final = provider
        self.take: Final = provider.take
        self.instrumentation: Final = InstrumentationScope(name, "")

    def empty(self) -> ReadableSpan:
        """Return a span of the SDK that has no more than this scope."""
        place = SpanContext(1, 1, is_remote=False)
        return ReadableSpan("", place, resource=self.provider.resource, instrumentation_scope=self.instrumentation)


class SpanShape:
    """What spans of the same tool have in common. `varying` is the name of the one attribute that differs.

    It comes behind `before`, and in front of `after`.
    """

    __slots__ = (
        "after", "before", "first", "inner", "key", "key_bytes", "keys", "kind", "name", "remote", "scope", "written",
    )  # fmt: skip

    def __init__(
        self,
        scope: Scope,
        name: str,
        kind: SpanKind,
        before: Mapping[str, str],
        varying: str,
        after: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.kind, self.scope = name, kind, scope
        self.before, self.key, self.after = before, varying, after or {}
        self.keys: Final = frozenset({*before, varying, *self.after})
        self.key_bytes: Final = part(1, varying.encode())
        self.written: tuple[bytes, bytes, bytes] | None
        """Name and kind, the attributes in front of the varying one, and those behind it. None: UTF-8 has no form."""
        try:
            self.written = (
                head_bytes(name, kind.value + 1),
                b"".join(attribute_bytes(key, value) for key, value in before.items()),
                b"".join(attribute_bytes(key, value) for key, value in self.after.items()),
            )
        except UnicodeEncodeError:
            self.written = None
        self.first: Final = SpanForm(self, has_parent=False)
        self.inner: Final = SpanForm(self)
        self.remote: Final = SpanForm(self, is_remote=True)


class SpanForm:
    """What spans of a shape have in common if their parents and their requests to an upstream are alike.

    A parent is of this process or remote; the first span of a trace has none.
    """

    __slots__ = ("_noted", "asked", "has_parent", "is_remote", "last", "layouts", "plain", "request", "shape", "take")

    def __init__(self, shape: SpanShape, *, has_parent: bool = True, is_remote: bool = False) -> None:
        self.shape, self.has_parent, self.is_remote = shape, has_parent, is_remote
        self.take: Final = shape.scope.take
        self.request = b""
        self.asked: Mapping[str, Any] = _NONE
        """Attributes of the request, as they are written and as they are."""
        self.layouts: Final[dict[int, Any]] = {}
        """What is written of these spans but for what differs, by the bytes of the text that varies (`span_bytes`)."""
        self.plain = self
        """The form of such spans without a request."""
        self.last: tuple[str, str, SpanForm] = "", "", self
        """The last request that was noted, and its form."""
        self._noted: Final[dict[tuple[str, str], SpanForm]] = {}

    def noting(self, method: str, url: str) -> SpanForm:
        """Return the form of spans with this request. To be asked of a form without one."""
        origin = method, url[: url.find("/", 8) + 1 or None]  # behind the host, which needs a character at least
        found = self._noted.get(origin)
        if found is None:
            if len(self._noted) >= _MAX_REQUESTS:
                self._noted.clear()
            found = self._noted[origin] = SpanForm(self.shape, has_parent=self.has_parent, is_remote=self.is_remote)
            found.asked, found.plain = request_attributes(method, url), self
            found.request = b"".join([attribute_bytes(key, value) for key, value in found.asked.items()])
        self.last = method, url, found
        return found


class _More:
    """What a span has besides its form. Most have nothing."""

    __slots__ = ("attributes", "events", "links", "name", "status")

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}
        self.status: Status | None = None
        self.name: str | None = None
        self.events: list[Event] = []
        self.links: list[Link] = []

    @property
    def is_usual(self) -> bool:
        """Whether it has attributes and a status without a text alone."""
        is_silent = self.status is None or not self.status.description
        return is_silent and self.name is None and not self.events and not self.links


class LightSpan(_Base):
    """A span that is noted. Everything but its place, times and one text is left out until it is there.

    `traceparent` is its place, and `above` is that of the span above it, or "". It is a `Span` of OpenTelemetry without
    its base, which takes place and time.
    """

    __slots__ = ("above", "end_time", "form", "more", "start_time", "traceparent", "varying")

    context: Any = _SAMPLED
    """What the SDK's batch processor looks at: the span is sampled."""
    form: SpanForm
    varying: str
    traceparent: str
    above: str
    start_time: int
    end_time: int | None
    more: _More | None

    def get_span_context(self) -> SpanContext:
        """Return the ids, which few ask for."""
        return place_of(self.traceparent, is_remote=False)

    def end(self, end_time: int | None = None) -> None:
        """End the span: it is sent with others."""
        if self.end_time is None:
            self.end_time = time_ns() if end_time is None else end_time
            self.form.take(self)

    def is_recording(self) -> bool:
        """Return whether the span is running."""
        return self.end_time is None

    def note_request(self, method: str, url: str) -> None:
        """Note a request to an upstream. The last one counts."""
        form = self.form.plain
        known, last, found = form.last
        self.form = found if url == last and method == known else form.noting(method, url)

    def _with_more(self) -> _More:
        if self.more is None:
            self.more = _More()
        return self.more

    def set_attribute(self, key: str, value: Any) -> None:
        """Note an attribute. The last value of a key counts."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Note attributes."""
        if self.end_time is None:
            self._with_more().attributes.update(attributes)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status, as the SDK does: OK is final, and UNSET changes nothing."""
        given = Status(status, description) if isinstance(status, StatusCode) else status
        known = None if self.more is None else self.more.status
        is_final = known is not None and known.status_code is StatusCode.OK
        if self.end_time is None and not is_final and given.status_code is not StatusCode.UNSET:
            self._with_more().status = given

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Note an event."""
        if self.end_time is None:
            kept: Any = BoundedAttributes(_MAX_ATTRIBUTES, attributes)
            self._with_more().events.append(Event(name, kept, timestamp))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Note a link to another span."""
        if self.end_time is None and (context.is_valid or attributes or context.trace_state):
            kept: Any = BoundedAttributes(_MAX_ATTRIBUTES, attributes)
            self._with_more().links.append(Link(context, kept))

    def update_name(self, name: str) -> None:
        """Give the span another name."""
        if self.end_time is None:
            self._with_more().name = name

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        """Note an exception without its text, which may have a secret."""
        del attributes, escaped
        self.add_event("exception", {"exception.type": type(exception).__qualname__}, timestamp)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def readable(self) -> ReadableSpan:
        """Return the span as one of the SDK."""
        form, shape, more = self.form, self.form.shape, self.more or _More()
        place = self.get_span_context()
        parent = None
        if self.above:
            parent = SpanContext(place.trace_id, int(self.above[36:52], 16), form.is_remote, place.trace_flags)
        kept = {**shape.before, shape.key: self.varying, **shape.after, **form.asked, **more.attributes}
        attributes: Any = BoundedAttributes(_MAX_ATTRIBUTES, kept)
        return ReadableSpan(
            more.name or shape.name,
            place,
            parent,
            shape.scope.provider.resource,
            attributes,
            more.events,
            more.links,
            shape.kind,
            status=more.status or Status(),
            start_time=self.start_time,
            end_time=self.end_time,
            instrumentation_scope=shape.scope.instrumentation,
        )


Span.register(LightSpan)
PLACES.add(LightSpan)


class Lights:
    """Begins light spans, where they may be."""

    def __init__(self, provider: LightProvider, ids: Any) -> None:
        self._provider = provider
        self._noted: Final[Callable[[], str]] = ids.noted

    def scope(self, name: str) -> Scope:
        """Return the scope of this name."""
        return Scope(name, self._provider)

    @staticmethod
    def shape(
        scope: Scope,
        name: str,
        kind: SpanKind,
        before: Mapping[str, str],
        varying: str,
        after: Mapping[str, str] = _NONE,
    ) -> SpanShape:
        """Return what spans of a tool have in common."""
        return SpanShape(scope, name, kind, before, varying, after)

    def begin(self, shape: SpanShape, varying: str, above: Any) -> LightSpan | None:
        """Begin a span below another one, or a new trace below none. None: the SDK has to begin it.

        A trace that begins has been decided about already (`Deciding.root`).
        """
        if not self._provider.has_light_spans:
            return None
        if type(above) is LightSpan:
            return _begun(shape.inner, varying, above.traceparent)
        if type(above) is TracePlace:
            return _begun(shape.remote if above.is_remote else shape.inner, varying, above.traceparent)
        ids = None if above is None else above.get_span_context()
        if ids is None or not ids.is_valid:
            return _begun(shape.first, varying, "", self._noted())
        if ids.trace_state or not ids.trace_flags.sampled:
            return None
        over = f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags & 3:02x}"
        return _begun(shape.remote if ids.is_remote else shape.inner, varying, over)


def _begun(form: SpanForm, varying: str, above: str, place: str = "") -> LightSpan:
    """Return a span that begins, at a place or at a new one below another place."""
    made = _blank(LightSpan)
    if not place:
        try:
            ident = _next_ident()
        except IndexError:
            ident = more_idents()
        place = f"{above[:36]}{ident}{above[52:]}"
    made.form, made.varying, made.above, made.traceparent = form, varying, above, place
    made.more = made.end_time = None
    made.start_time = time_ns()
    return made
