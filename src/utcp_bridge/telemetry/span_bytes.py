"""Spans as the bytes of OTLP (protobuf), written at once.

OpenTelemetry's own encoder makes a message object for each attribute of a span, which takes several times as long as
the span itself. Here the usual span, which has attributes of text and whole numbers alone, is written as it is on the
wire. Any other span, and what is around the spans, is left to that encoder. Source:
opentelemetry/proto/trace/v1/trace.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

__all__ = ["SpanExporter", "encoded"]

_TRACE_ID, _SPAN_ID, _PARENT, _NAME, _ATTRIBUTE, _STATUS = 1, 2, 4, 5, 9, 15
_TIMES: Final = Struct("<BBBQBQ")
"""Kind, start and end, each behind its tag."""
_KIND_TAG, _START_TAG, _END_TAG = 0x30, 0x39, 0x41
_FLAGS: Final = Struct("<BBI")
_FLAGS_TAG: Final = (0x85, 0x01)
_HAS_REMOTE, _IS_REMOTE = 0x100, 0x200
_BOOL, _INT = b"\x10", b"\x18"
_CODE: Final = b"\x18"
_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_INT: Final = 2**63


class SpanExporter(OTLPSpanExporter):
    """Sends spans to a collector, as the class that it extends, with less work."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        send: Any = getattr(getattr(self, "_client", None), "export", None)  # of the versions that are tested
        data = b"" if send is None or getattr(self, "_shutdown", True) else encoded(spans)
        if send is None or not 0 < len(data) <= _MAX_BYTES:
            return super().export(spans)
        return SpanExportResult.SUCCESS if send(data).success else SpanExportResult.FAILURE


def encoded(spans: Iterable[ReadableSpan]) -> bytes:
    """Return spans as an `ExportTraceServiceRequest`."""
    groups: dict[tuple[int, Any], list[ReadableSpan]] = {}
    for span in spans:
        groups.setdefault((id(span.resource), span.instrumentation_scope), []).append(span)
    return b"".join(_group(group) for group in groups.values())


def _group(spans: list[ReadableSpan]) -> bytes:
    """Return spans of one resource and one scope. These two are written by OpenTelemetry's encoder."""
    around: Any = encode_spans(spans[:1]).resource_spans[0]
    scope = around.scope_spans[0]
    scope.ClearField("spans")
    head = scope.SerializeToString()
    around.ClearField("scope_spans")
    inner = head + b"".join(_part(2, _span(span)) for span in spans)
    return _part(1, around.SerializeToString() + _part(2, inner))


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
    said = _part(2, status.description.encode()) if status.description else b""
    code = status.status_code.value
    flags = _HAS_REMOTE | (_IS_REMOTE if parent is not None and parent.is_remote else 0)
    attributes: Mapping[str, Any] = span.attributes or {}
    parts = [
        _part(_TRACE_ID, place.trace_id.to_bytes(16, "big")),
        _part(_SPAN_ID, place.span_id.to_bytes(8, "big")),
        b"" if parent is None else _part(_PARENT, parent.span_id.to_bytes(8, "big")),
        _part(_NAME, span.name.encode()),
        _TIMES.pack(_KIND_TAG, span.kind.value + 1, _START_TAG, span.start_time, _END_TAG, span.end_time),
        *[_attribute(name, value) for name, value in attributes.items()],
        _part(_STATUS, said + (_CODE + bytes((code,)) if code else b"")),
        _FLAGS.pack(*_FLAGS_TAG, flags),
    ]
    return b"".join(parts)


@lru_cache(maxsize=1024, typed=True)
def _attribute(name: str, value: Any) -> bytes:
    """Return an attribute.

    :raises TypeError: the value is neither text nor a whole number.
    :raises UnicodeEncodeError: a text has half of a surrogate pair.
    """
    if type(value) is str:
        inner = _part(1, value.encode())
    elif type(value) is bool:
        inner = _BOOL + bytes((value,))
    elif type(value) is int and 0 <= value < _MAX_INT:
        inner = _INT + _number(value)
    else:
        raise TypeError
    return _part(_ATTRIBUTE, _part(1, name.encode()) + _part(2, inner))


def _part(field: int, data: bytes) -> bytes:
    """Return what has a length, behind its tag. `field` is below 16."""
    return bytes((field << 3 | 2,)) + _number(len(data)) + data


def _number(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
