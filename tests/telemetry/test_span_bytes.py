"""Spans as OTLP: the same message as that of OpenTelemetry's encoder, for any span."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from utcp_bridge.telemetry.deciding import Deciding
from utcp_bridge.telemetry.light_spans import LightProvider, SpanShape
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


@contextmanager
def collecting(statuses: list[int]) -> Iterator[tuple[str, list[tuple[str, str | None, bytes]]]]:
    """Answer with these statuses. Keep the target, the password and the body of each request."""
    received: list[tuple[str, str | None, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Authorization"], body))
            self.send_response(statuses[len(received) - 1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


SPAN = ReadableSpan("a", SpanContext(1, 2, is_remote=False), start_time=1, end_time=2)


def test_a_collector_that_refuses_is_a_failure() -> None:
    with collecting([200, 400]) as (url, received):
        exporter = SpanExporter(endpoint=f"{url}/v1/traces")
        assert exporter.export([SPAN]) is SpanExportResult.SUCCESS
        assert exporter.export([SPAN]) is SpanExportResult.FAILURE
        exporter.shutdown()
        assert exporter.export([SPAN]) is SpanExportResult.FAILURE
    found = [in_order(ExportTraceServiceRequest.FromString(body))[0][-1].name for *_, body in received]
    assert found == ["a", "a"]


@pytest.mark.parametrize("has_proxy", [True, False])
def test_spans_go_through_the_proxy_of_the_environment(has_proxy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with collecting([200]) as (url, received):
        if has_proxy:
            monkeypatch.setenv("http_proxy", url)
        exporter = SpanExporter(endpoint="http://collector.test/v1/traces" if has_proxy else f"{url}/v1/traces")
        assert exporter.export([SPAN]) is SpanExportResult.SUCCESS
        exporter.shutdown()
    assert [target for target, *_ in received] == ["http://collector.test/v1/traces" if has_proxy else "/v1/traces"]


def test_spans_have_the_password_of_a_netrc_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with collecting([200]) as (url, received):
        exporter = SpanExporter(endpoint=f"{url}/v1/traces")
        assert exporter.export([SPAN]) is SpanExportResult.SUCCESS
        exporter.shutdown()
    assert [password for _, password, _ in received] == ["Basic YTpi"]


def test_light_spans_that_are_large_arrive() -> None:
    provider = LightProvider({}, InMemorySpanExporter(), shutdown_on_exit=False)
    lights = Deciding(provider).lights
    shape = SpanShape(lights.scope("s"), "a", SpanKind.SERVER, {}, "id")
    span = lights.begin(shape, "x" * 5_000_000, None)
    span.end()
    provider.shutdown()
    with collecting([200]) as (url, received):
        exporter = SpanExporter(endpoint=f"{url}/v1/traces")
        assert exporter.export([span]) is SpanExportResult.SUCCESS
        exporter.shutdown()
    [(*_, body)] = received
    [(*_, written)] = in_order(ExportTraceServiceRequest.FromString(body))
    assert len(written.attributes[0].value.string_value) == 5_000_000
