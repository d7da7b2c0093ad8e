"""Spans as the bytes of OTLP (protobuf), written at once.

OpenTelemetry's own encoder makes a message object for each attribute of a span, which takes several times as long as
the span itself. Here the usual span, which has attributes of text and whole numbers alone, is written as it is on the
wire. Any other span, and what is around the spans, is left to that encoder. Source:
opentelemetry/proto/trace/v1/trace.proto.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from utcp_bridge.telemetry.light_spans import LightSpan, Scope, SpanForm
from utcp_bridge.telemetry.otlp import attribute_bytes, part

__all__ = ["SpanExporter", "encoded"]

_TRACE_ID, _SPAN_ID, _PARENT, _NAME, _ATTRIBUTE, _STATUS = 1, 2, 4, 5, 9, 15
_TIMES: Final = Struct("<BBBQBQ")
"""Kind, start and end, each behind its tag."""
_KIND_TAG, _START_TAG, _END_TAG = 0x30, 0x39, 0x41
_SPAN_TIMES: Final = Struct("<BQBQ")
_FLAGS: Final = Struct("<BBI")
_FLAGS_TAG: Final = (0x85, 0x01)
_HAS_REMOTE, _IS_REMOTE = 0x100, 0x200
_LOCAL_FLAGS: Final = _FLAGS.pack(*_FLAGS_TAG, _HAS_REMOTE)
_REMOTE_FLAGS: Final = _FLAGS.pack(*_FLAGS_TAG, _HAS_REMOTE | _IS_REMOTE)
_PLAIN_STATUS: Final = bytes((_STATUS << 3 | 2, 0))
_LOCAL_END: Final = _PLAIN_STATUS + _LOCAL_FLAGS
_REMOTE_END: Final = _PLAIN_STATUS + _REMOTE_FLAGS
_bytes: Final = unhexlify
_SPAN: Final = 2
_MANY: Final = 16
"""From as many spans on, it costs less to write them together."""
_UNLIKE: Final = -1
_TRACE_BYTES, _IDENT_BYTES, _TIME_BYTES, _TAG = 16, 8, 8, 2
_PLACE_BYTES: Final = 1 + _TRACE_BYTES + _IDENT_BYTES + 1
"""Of a `traceparent`: version, trace, span and flags."""
_SHORT: Final = 64
"""Most characters of a text for which the rest of a span is kept."""
_END_BYTE: Final = bytes((_END_TAG,))
_CODE: Final = b"\x18"
_MAX_BYTES: Final = 4 * 1024 * 1024


class SpanExporter(OTLPSpanExporter):
    """Sends spans to a collector, as the class that it extends, with less work."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        session: Any = getattr(getattr(getattr(self, "_client", None), "_transport", None), "_session", None)
        if type(session).__module__ == "requests.sessions" and _is_direct(self._endpoint):
            session.trust_env = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        send: Any = getattr(getattr(self, "_client", None), "export", None)  # of the versions that are tested
        data = b"" if send is None or getattr(self, "_shutdown", True) else encoded(spans)
        if send is None or not 0 < len(data) <= _MAX_BYTES:
            return super().export([one.readable() if isinstance(one, LightSpan) else one for one in spans])
        return SpanExportResult.SUCCESS if send(data).success else SpanExportResult.FAILURE


def _is_direct(url: str) -> bool:
    """Return whether the environment says nothing about requests to this URL: neither a proxy nor a password.

    `requests` looks at each variable several times for each request, which takes a third of the request.
    """
    from requests.utils import get_environ_proxies, get_netrc_auth

    return url.startswith("http://") and not get_environ_proxies(url) and get_netrc_auth(url) is None


def encoded(spans: Iterable[ReadableSpan | LightSpan]) -> bytes:
    """Return spans as an `ExportTraceServiceRequest`."""
    groups: dict[Any, list[ReadableSpan]] = {}
    light: dict[SpanForm, dict[int, list[LightSpan]]] = {}
    for span in spans:
        if type(span) is LightSpan:
            form = span.form
            if (sizes := light.get(form)) is None:
                sizes = light[form] = {}
            size = len(span.varying) if span.more is None else _UNLIKE
            if (alike := sizes.get(size)) is None:
                alike = sizes[size] = []
            alike.append(span)
        else:
            one = span.readable() if isinstance(span, LightSpan) else span
            groups.setdefault((id(one.resource), one.instrumentation_scope), []).append(one)
    scopes: dict[Scope, list[bytes]] = {}
    for form, sizes in light.items():
        scopes.setdefault(form.shape.scope, []).extend([_together(form, size, alike) for size, alike in sizes.items()])
    written = [_grouped(scope.empty(), b"".join(parts)) for scope, parts in scopes.items()]
    written += [_grouped(group[0], b"".join([part(_SPAN, _span(one)) for one in group])) for group in groups.values()]
    return b"".join(written)


def _grouped(first: ReadableSpan, spans: bytes) -> bytes:
    """Return spans of one resource and one scope. These two are written by OpenTelemetry's encoder."""
    around: Any = encode_spans([first]).resource_spans[0]
    scope = around.scope_spans[0]
    scope.ClearField("spans")
    head: bytes = scope.SerializeToString()
    around.ClearField("scope_spans")
    return part(1, around.SerializeToString() + part(2, head + spans))


def _together(form: SpanForm, size: int, spans: list[LightSpan]) -> bytes:
    """Return light spans of a form, each as a field of what is around it. `size` is that of their texts, or `_UNLIKE`.

    Many that are alike are written byte by byte: the first byte of each id of all of them, then the second one. One
    after the other would take four times as long.
    """
    first = _whole(spans[0])
    texts = "".join([span.varying for span in spans])
    layout = form.layouts.get(size)
    if len(spans) < _MANY or layout is None or not texts.isascii():
        return b"".join([first, *[_whole(span) for span in spans[1:]]])
    _, begin, head, before, _ = layout
    rows, width = bytearray(first * len(spans)), len(first)
    trace = len(begin) // 2
    ident = trace + _TRACE_BYTES + _TAG
    ends = ident + _IDENT_BYTES
    places = _places([span.traceparent for span in spans])
    _fill(rows, trace, width, places[1:], _PLACE_BYTES, _TRACE_BYTES)
    _fill(rows, ident, width, places[1 + _TRACE_BYTES :], _PLACE_BYTES, _IDENT_BYTES)
    if form.has_parent:
        above = _places([span.above for span in spans])
        _fill(rows, ends + _TAG, width, above[1 + _TRACE_BYTES :], _PLACE_BYTES, _IDENT_BYTES)
        ends += _TAG + _IDENT_BYTES
    numbers = Struct(f"<{len(spans)}Q").pack
    start = ends + len(head)
    end = start + _TIME_BYTES + len(_END_BYTE)
    _fill(rows, start, width, numbers(*[span.start_time for span in spans]), _TIME_BYTES, _TIME_BYTES)
    _fill(rows, end, width, numbers(*[span.end_time for span in spans]), _TIME_BYTES, _TIME_BYTES)
    _fill(rows, end + _TIME_BYTES + len(before), width, texts.encode(), size, size)
    return bytes(rows)


def _places(texts: list[str]) -> bytes:
    """Return the bytes of `traceparent`s."""
    return bytes.fromhex("".join(texts).replace("-", " "))  # to remove the hyphens takes longer


def _fill(rows: bytearray, place: int, width: int, values: bytes, step: int, size: int) -> None:
    """Write a value of `size` bytes at the same place of each row. `values` has another one every `step` bytes."""
    for number in range(size):
        rows[place + number :: width] = values[number::step]


def _whole(span: LightSpan) -> bytes:
    """Return a light span, as a field of what is around it.

    Most differ in their ids, times and one text alone. All else of them is kept, for each size of that text.
    """
    form, place = span.form, span.traceparent
    try:
        varying = span.varying.encode()
        pack, begin, head, before, end = form.layouts[len(varying) if span.more is None else _UNLIKE]
    except (KeyError, UnicodeEncodeError):
        return _first(span)
    if form.has_parent:
        ids = f"{begin}{place[3:35]}1208{place[36:52]}2208{span.above[36:52]}"
    else:
        ids = f"{begin}{place[3:35]}1208{place[36:52]}"
    found: bytes = pack(_bytes(ids), head, span.start_time, _END_BYTE, span.end_time, before, varying, end)
    return found


def _first(span: LightSpan) -> bytes:
    """Return a light span, as a field of what is around it, and keep what others have in common with it."""
    form, written = span.form, _light(span)
    fixed = form.shape.written
    if span.more is None and fixed is not None and span.varying.isascii() and len(span.varying) < _SHORT:
        size = len(span.varying)
        form.layouts[size] = _layout(form, fixed, size, len(written))
    return part(_SPAN, written)


def _layout(form: SpanForm, fixed: tuple[bytes, bytes, bytes], size: int, whole: int) -> tuple[Any, ...]:
    """Return what is written of spans of a form: a function that writes them, and the parts that do not vary.

    `fixed` are those of the shape, `size` is that of the text that varies, and `whole` that of a span.
    """
    name, attributes, after = fixed
    begin = part(_SPAN, bytes(whole))[:-whole] + b"\x0a\x10"
    head = name + bytes((_START_TAG,))
    varied = part(_ATTRIBUTE, form.shape.key_bytes + part(2, part(1, bytes(size))))
    before = attributes + varied[: len(varied) - size]
    end = after + form.request + (_REMOTE_END if form.is_remote else _LOCAL_END)
    ids = len(begin) + 16 + 2 + 8 + (2 + 8) * form.has_parent
    written = Struct(f"<{ids}s{len(head)}sQ1sQ{len(before)}s{size}s{len(end)}s")
    return written.pack, begin.hex(), head, before, end


def _light(span: LightSpan) -> bytes:
    """Return a light span. One that has more than is usual is written as one of the SDK."""
    form, more, place = span.form, span.more, span.traceparent
    shape, request = form.shape, form.request
    written = shape.written
    if written is None or not (more is None or more.is_usual):
        return _span(span.readable())
    head, before, after = written
    end = _REMOTE_END if form.is_remote else _LOCAL_END
    try:
        varying = span.varying.encode()
        if more is not None:
            if not (shape.keys.isdisjoint(more.attributes) and form.asked.keys().isdisjoint(more.attributes)):
                return _span(span.readable())
            request += b"".join([attribute_bytes(name, value) for name, value in more.attributes.items()])
    except (UnicodeEncodeError, TypeError):
        return _span(span.readable())
    if more is not None and more.status is not None:
        end = part(_STATUS, _CODE + bytes((more.status.status_code.value,))) + end[len(_PLAIN_STATUS) :]
    ids = b"\x0a\x10%b\x12\x08%b" % (_bytes(place[3:35]), _bytes(place[36:52]))
    if span.above:
        ids += b'"\x08%b' % _bytes(span.above[36:52])
    times = _SPAN_TIMES.pack(_START_TAG, span.start_time, _END_TAG, span.end_time)
    varied = part(_ATTRIBUTE, shape.key_bytes + part(2, part(1, varying)))
    return b"".join((ids, head, times, before, varied, after, request, end))


def _span(span: ReadableSpan) -> bytes:
    try:
        written = _usual(span)
    except (UnicodeEncodeError, TypeError):
        written = None
    if written is None:
        found: bytes = encode_spans((span,)).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
        return found
    return written


def _usual(span: ReadableSpan) -> bytes | None:
    """Return a span; None if it has something that is not usual.

    :raises TypeError: an attribute is neither text nor a whole number.
    :raises UnicodeEncodeError: a text has half of a surrogate pair.
    """
    place, parent, status = span.context, span.parent, span.status
    if place is None or place.trace_state or span.start_time is None or span.end_time is None:
        return None
    if span.events or span.links or span.dropped_attributes or span.dropped_events or span.dropped_links:
        return None
    said = part(2, status.description.encode()) if status.description else b""
    code = status.status_code.value
    flags = _HAS_REMOTE | (_IS_REMOTE if parent is not None and parent.is_remote else 0)
    attributes: Mapping[str, Any] = span.attributes or {}
    parts = [
        part(_TRACE_ID, place.trace_id.to_bytes(16, "big")),
        part(_SPAN_ID, place.span_id.to_bytes(8, "big")),
        b"" if parent is None else part(_PARENT, parent.span_id.to_bytes(8, "big")),
        part(_NAME, span.name.encode()),
        _TIMES.pack(_KIND_TAG, span.kind.value + 1, _START_TAG, span.start_time, _END_TAG, span.end_time),
        *[attribute_bytes(name, value) for name, value in attributes.items()],
        part(_STATUS, said + (_CODE + bytes((code,)) if code else b"")),
        _FLAGS.pack(*_FLAGS_TAG, flags),
    ]
    return b"".join(parts)
