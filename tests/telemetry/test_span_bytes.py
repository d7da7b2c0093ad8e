"""Spans as OTLP: the same message as that of OpenTelemetry's encoder, for any span."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from utcp_bridge.telemetry.span_bytes import SpanExporter, encoded

TEXT = st.text(max_size=20) | st.just("x" * 300)
VALUES = (
    TEXT
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, 1, 127, 128, 2**63 - 1])
    | st.floats(allow_nan=False)
    | st.lists(TEXT, max_size=2).map(tuple)
)
ATTRIBUTES = st.dictionaries(TEXT, VALUES, max_size=5)
PLACES = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.just(TraceFlags(1)),
    st.none() | st.just(TraceState([("a", "b")])),
)
TIMES = st.integers(0, 2**63)
RESOURCES = st.sampled_from([Resource({"service.name": "a"}, "https://127.0.0.1/schema"), Resource({"n": 1})])
SCOPES = st.sampled_from([InstrumentationScope("a", "1", "https://127.0.0.1/schema"), InstrumentationScope("b"), None])
STATUSES = st.builds(Status, st.sampled_from([StatusCode.UNSET, StatusCode.OK])) | st.builds(
    Status, st.just(StatusCode.ERROR), st.none() | TEXT
)
SPANS = st.builds(
    ReadableSpan,
    TEXT,
    PLACES,
    st.none() | PLACES,
    RESOURCES,
    ATTRIBUTES,
    st.lists(st.builds(Event, TEXT, ATTRIBUTES, TIMES), max_size=1),
    st.lists(st.builds(Link, PLACES, ATTRIBUTES), max_size=1),
    st.sampled_from(SpanKind),
    status=STATUSES,
    start_time=TIMES,
    end_time=TIMES,
    instrumentation_scope=SCOPES,
)


def in_order(message: Any) -> list[Any]:
    """Return the spans with what is around them."""
    return [
        (resource.resource, resource.schema_url, scope.scope, scope.schema_url, span)
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


@given(st.lists(SPANS, min_size=1, max_size=4))
def test_spans_are_those_of_the_encoder_of_opentelemetry(spans: list[ReadableSpan]) -> None:
    found, wanted = in_order(ExportTraceServiceRequest.FromString(encoded(spans))), in_order(encode_spans(spans))
    assert len(found) == len(wanted) == len(spans)
    assert all(one in wanted for one in found)


@given(SPANS, SPANS)
def test_spans_of_one_scope_stay_in_their_order(first: ReadableSpan, second: ReadableSpan) -> None:
    spans = [first, second, first]
    message = ExportTraceServiceRequest.FromString(encoded(spans))
    groups = [[span.name for span in scope.spans] for one in message.resource_spans for scope in one.scope_spans]
    is_one = first.resource is second.resource and first.instrumentation_scope == second.instrumentation_scope
    assert groups == ([[first.name, second.name, first.name]] if is_one else [[first.name] * 2, [second.name]])


@given(SPANS)
def test_a_text_that_utf_8_cannot_carry_costs_its_attribute_alone(span: ReadableSpan) -> None:
    spans = [ReadableSpan("a", span.context, attributes={"bad": "\ud83d", "good": "x"}, start_time=1, end_time=2)]
    [(*_, written)] = in_order(ExportTraceServiceRequest.FromString(encoded(spans)))
    assert [one.key for one in written.attributes] == ["good"]


def test_a_collector_that_refuses_is_a_failure() -> None:
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if len(received) == 1 else 400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            """Keep quiet."""

    span = ReadableSpan("a", SpanContext(1, 2, is_remote=False), start_time=1, end_time=2)
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        exporter = SpanExporter(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces")
        assert exporter.export([span]) is SpanExportResult.SUCCESS
        assert exporter.export([span]) is SpanExportResult.FAILURE
        exporter.shutdown()
        assert exporter.export([span]) is SpanExportResult.FAILURE
        server.shutdown()
        thread.join()
    assert [in_order(ExportTraceServiceRequest.FromString(one))[0][-1].name for one in received] == ["a", "a"]
