"""Light spans: what the collector receives is what it receives of spans of the SDK, for any call."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from tests.support.traced_bridge import GIVEN, HEADERS, META, PARENT, TRACE, Peer, bridge, call, peer

from utcp_bridge.telemetry.deciding import Deciding
from utcp_bridge.telemetry.light_spans import LightProvider, LightSpan, SpanShape
from utcp_bridge.telemetry.places import TracePlace
from utcp_bridge.telemetry.span_bytes import encoded

LIMIT = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"


class Kept(SpanExporter):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.sizes: list[int] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans.extend(spans)
        self.sizes.append(len(spans))
        return SpanExportResult.SUCCESS


def posted(base: str, name: str, ident: Any = 1, meta: dict[str, Any] | None = None, **headers: str) -> Any:
    message = {
        "jsonrpc": "2.0", "id": ident, "method": "tools/call",
        "params": {"name": name, "arguments": {}, "_meta": {**META, **(meta or {})}},
    }  # fmt: skip
    return httpx2.post(f"{base}/mcp", json=message, headers={**HEADERS, "Mcp-Name": name, **headers}, timeout=60)


def left(base: str, service: Peer) -> None:
    """Begin a call and leave it: the bridge cancels it."""
    target = urlsplit(base)
    params = {"name": "m_slow", "arguments": {}, "_meta": META}
    body = json.dumps({"jsonrpc": "2.0", "id": "left", "method": "tools/call", "params": params}).encode()
    lines = [f"{name}: {value}" for name, value in {**HEADERS, "Mcp-Name": "m_slow", "Host": target.netloc}.items()]
    head = "\r\n".join(["POST /mcp HTTP/1.1", *lines, f"Content-Length: {len(body)}", "", ""]).encode()
    with socket.create_connection((target.hostname, target.port)) as connection:
        connection.sendall(head + body)
        assert service.is_waiting.wait(60)
    service.is_waiting.clear()


def served(base: str, service: Peer) -> None:
    """Send each kind of call."""
    call(base, "m_post")
    call(base, "m_post", **GIVEN)
    call(base, "m_post", traceparent=f"00-{TRACE}-{PARENT}-03")
    call(base, "m_post", traceparent=GIVEN["traceparent"], tracestate="a=b")
    call(base, "m_failing", **GIVEN)
    call(base, "m_command")
    posted(base, "m_post", "é" * 200)
    posted(base, "m_post", 2, GIVEN)
    posted(base, "m_post", 3, {"traceparent": GIVEN["traceparent"]})
    posted(base, "m_post", 4, {"traceparent": GIVEN["traceparent"], "tracestate": "a=b"})
    posted(base, "m_post", 5, {"traceparent": "00-0-0-0"})
    posted(base, "m_post", 6, {"traceparent": f"00-{TRACE}-{PARENT}-00"}, **GIVEN)
    assert "error" in posted(base, "m_nothing").json()
    posted(base, "m_post", {"no": "id"})
    left(base, service)


def collected(collector: Peer, service: str) -> list[Any]:
    """Return the spans of a service in a form without ids and times: each with those below it."""
    found: list[tuple[Any, Any]] = []
    for _, body in collector.received.get("/v1/traces", []):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {one.key: str(one.value) for one in resource.resource.attributes}
            if service in named.pop("service.name"):
                named.pop("service.instance.id", None)
                for scope in resource.scope_spans:
                    found += [((named, str(scope.scope), scope.schema_url), span) for span in scope.spans]
    idents = {span.span_id for _, span in found}

    def form(around: Any, span: Any) -> Any:
        below = [form(*one) for one in found if one[1].parent_span_id == span.span_id]
        is_root = span.parent_span_id not in idents
        above = span.parent_span_id.hex() if is_root else ""
        trace = span.trace_id.hex() if above else ""
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        for name in ("trace_id", "span_id", "parent_span_id", "start_time_unix_nano", "end_time_unix_nano"):
            span.ClearField(name)
        for one in span.attributes:
            if one.key == "utcp.call":
                one.value.string_value = "an id"
        for event in span.events:
            event.ClearField("time_unix_nano")
        return [around, trace, above, str(span), below]

    roots = [(around, span) for around, span in found if span.parent_span_id not in idents]
    return sorted((form(*one) for one in roots), key=str)


def test_the_collector_receives_the_spans_that_the_sdk_would_send(tmp_path: Path) -> None:
    with peer() as service, peer() as collector:
        otel = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"}
        for name, limits in {"light": {}, "heavy": {LIMIT: "128"}}.items():  # as many as without the variable
            environment = {**otel, **limits, "OTEL_SERVICE_NAME": name}
            with bridge(tmp_path, service.url, {"retries": 1}, environment) as (base, process):
                served(base, service)
                process.terminate()
                assert process.wait() == 0
            service.goes_on.set()
            service.goes_on.clear()
        light, heavy = collected(collector, "light"), collected(collector, "heavy")
    assert light == heavy
    text = str(light)
    assert all(one in text for one in ("tool_error", "rpc.response.status_code", "cancelled", "a=b", "é" * 200))


def kept(environment: dict[str, str]) -> tuple[LightProvider, Kept]:
    exporter = Kept()
    resource = Resource({"service.name": "x"})
    return LightProvider(environment, exporter, sampler=None, resource=resource, shutdown_on_exit=False), exporter


def shape_of(provider: LightProvider, name: str = "n", value: str = "v") -> tuple[Any, SpanShape]:
    lights = Deciding(provider).lights
    return lights, SpanShape(lights.scope("s"), name, SpanKind.CLIENT, {"a": value}, "b", {"c": "1"})


@pytest.mark.parametrize(
    "variable",
    [
        LIMIT, "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT",
        "OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED",
    ],
)  # fmt: skip
def test_a_variable_about_spans_leaves_them_to_the_sdk(variable: str) -> None:
    for environment, is_light in (({}, True), ({variable: " "}, True), ({variable: "7"}, False)):
        provider, _ = kept(environment)
        lights, shape = shape_of(provider)
        assert (lights.begin(shape, "x", None) is not None) is is_light
        provider.shutdown()


@pytest.mark.parametrize(
    ("environment", "most"),
    [({}, 1_024), ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100"}, 100), ({"OTEL_BSP_MAX_QUEUE_SIZE": "600"}, 512)],
)
def test_each_span_is_sent_once_in_batches_of_the_size_that_is_given(
    environment: dict[str, str], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    provider, exporter = kept(environment)
    _, shape = shape_of(provider)
    lights = Deciding(provider).lights
    sent = []
    for number in range(3_000):
        span = lights.begin(shape, str(number), None)
        span.end()
        span.end()
        sent.append(span)
        if number % 500 == 499:  # a queue that is full drops spans, as the SDK does
            provider.force_flush()
    provider.shutdown()
    lights.begin(shape, "late", None).end()
    assert exporter.spans == sent
    assert max(exporter.sizes) <= most
    assert (
        len({span.traceparent[36:52] for span in sent}) == len({span.traceparent[3:35] for span in sent}) == len(sent)
    )


def test_a_processor_that_a_program_adds_sees_each_span() -> None:
    provider, _ = kept({})
    lights, shape = shape_of(provider)
    provider.add_own_processor(SpanProcessor())
    assert lights.begin(shape, "x", None) is not None
    provider.add_span_processor(SpanProcessor())
    assert lights.begin(shape, "x", None) is None
    provider.shutdown()


def test_a_sampler_that_the_bridge_does_not_know_has_no_light_spans() -> None:
    provider = LightProvider({}, Kept(), sampler=ALWAYS_ON, shutdown_on_exit=False)
    assert Deciding(provider).lights is None
    provider.shutdown()


TEXT = st.text(max_size=8) | st.sampled_from(["x" * 300, "\ud800", ""])
VALUES = TEXT | st.booleans() | st.integers(-5, 2**62) | st.floats(allow_nan=False) | st.lists(TEXT, max_size=2)
FLAGS = st.sampled_from([1, 3])
PLACES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.builds(lambda flags: TracePlace(f"00-{TRACE}-{PARENT}-{flags:02x}", is_remote=True), FLAGS),
    st.builds(lambda far, flags: NonRecordingSpan(SpanContext(5, 6, far, TraceFlags(flags))), st.booleans(), FLAGS),
)
KEYS = st.sampled_from(["a", "b", "c", "d", "http.request.method", "server.port"])
STEPS: st.SearchStrategy[Callable[[Any], None]] = st.one_of(
    st.builds(lambda more: lambda span: span.set_attributes(more), st.dictionaries(KEYS, VALUES, max_size=3)),
    st.builds(lambda key, value: lambda span: span.set_attribute(key, value), KEYS, VALUES),
    st.builds(lambda code: lambda span: span.set_status(code), st.sampled_from(StatusCode)),
    st.just(lambda span: span.set_status(Status(StatusCode.ERROR, "why"))),
    st.builds(lambda more: lambda span: span.add_event("e", more, 7), st.dictionaries(KEYS, VALUES, max_size=2)),
    st.just(lambda span: span.add_link(SpanContext(1, 2, False), {"l": 1})),
    st.just(lambda span: span.update_name("another")),
)


@given(PLACES, st.text(max_size=8), TEXT, TEXT, st.lists(STEPS, max_size=4))
def test_a_light_span_is_written_as_the_sdk_writes_its_own(
    above: Any, name: str, value: str, varying: str, steps: list[Callable[[Any], None]]
) -> None:
    provider, exporter = kept({})
    lights, shape = shape_of(provider, name, value)
    span = lights.begin(shape, varying, above)
    for step in steps:
        step(span)
    assert span.is_recording()
    span.end(span.start_time + 1)
    assert not span.is_recording()
    span.set_attribute("late", 1)
    provider.force_flush()
    provider.shutdown()
    assert exporter.spans == [span]
    [around] = ExportTraceServiceRequest.FromString(encoded(exporter.spans)).resource_spans
    [wanted] = encode_spans([span.readable()]).resource_spans
    assert around == wanted

    real = provider.get_tracer("s").start_span(
        name, None, SpanKind.CLIENT, {"a": value, "b": varying, "c": "1"}, start_time=span.start_time
    )
    for step in steps:
        step(real)
    real.end(span.start_time + 1)
    [heavy] = encode_spans([real]).resource_spans  # type: ignore[list-item]  # of the SDK
    [one], [other] = around.scope_spans[0].spans, heavy.scope_spans[0].spans
    assert {each.key: str(each.value) for each in one.attributes} == {
        each.key: str(each.value)
        for each in other.attributes  # the SDK moves what is set again to the end
    }
    for field in ("name", "kind", "start_time_unix_nano", "end_time_unix_nano", "events", "status"):
        assert getattr(one, field) == getattr(other, field), field
    assert (one.trace_id, one.span_id) != (other.trace_id, other.span_id)


@given(PLACES)
def test_a_light_span_is_below_the_one_above_it(above: Any) -> None:
    provider, _ = kept({})
    lights, shape = shape_of(provider)
    span = lights.begin(shape, "x", above)
    inner = lights.begin(shape, "y", span)
    assert isinstance(span, LightSpan)
    place, place_within = span.get_span_context(), inner.get_span_context()
    assert place_within.trace_id == place.trace_id
    assert place_within.span_id != place.span_id
    assert inner.readable().parent.span_id == place.span_id
    assert place.trace_flags.sampled
    wanted = None if above is None else above.get_span_context()
    found = span.readable().parent
    assert (found is None) is (wanted is None)
    if wanted is not None:
        assert found is not None
        assert (found.trace_id, found.span_id, found.is_remote) == (wanted.trace_id, wanted.span_id, wanted.is_remote)
        assert place.trace_flags == wanted.trace_flags
    provider.shutdown()


def test_a_trace_with_a_state_and_a_trace_that_is_not_noted_are_left_to_the_sdk() -> None:
    provider, _ = kept({})
    lights, shape = shape_of(provider)
    state = SpanContext(5, 6, True, TraceFlags(1), TraceState([("a", "b")]))
    for ids in (state, SpanContext(5, 6, True, TraceFlags(0))):
        assert lights.begin(shape, "x", NonRecordingSpan(ids)) is None
    provider.shutdown()


def test_the_last_request_of_a_span_counts() -> None:
    provider, exporter = kept({})
    lights, shape = shape_of(provider)
    span = lights.begin(shape, "x", None)
    for url in ("http://a.test/b", "https://c.test:8443?d=/", "http://e.test:81/f"):
        span.note_request("GET", url)
    span.end()
    provider.force_flush()
    provider.shutdown()
    [written] = ExportTraceServiceRequest.FromString(encoded(exporter.spans)).resource_spans[0].scope_spans[0].spans
    found = {one.key: one.value.string_value or one.value.int_value for one in written.attributes}
    assert found == {
        "a": "v", "b": "x", "c": "1", "http.request.method": "GET", "server.address": "e.test", "server.port": 81
    }  # fmt: skip


def test_spans_that_differ_in_ids_times_and_one_text_are_written_as_the_sdk_writes_them() -> None:
    provider, exporter = kept({})
    lights, shape = shape_of(provider, "100 %", "%b")
    above = lights.begin(shape, "above", None)
    far = TracePlace(f"00-{TRACE}-{PARENT}-01", is_remote=True)
    near = NonRecordingSpan(SpanContext(5, 6, False, TraceFlags(1)))
    asked = [None, *[("POST", f"http://a.test:{port}/%") for port in range(1, 20)], ("GET", "http://a.test:1/%")]
    for varying in ("one", "two", "é", "%%", "", "x" * 300, "\ud800"):
        for parent in (None, above, far, near):
            for request in asked * 2:
                span = lights.begin(shape, varying, parent)
                if request is not None:
                    span.note_request("PUT", "http://another.test/")
                    span.note_request(*request)
                span.end()
        provider.force_flush()
    provider.shutdown()
    [found] = ExportTraceServiceRequest.FromString(encoded(exporter.spans)).resource_spans
    [wanted] = encode_spans([span.readable() for span in exporter.spans]).resource_spans
    assert len(exporter.spans) == 7 * 4 * 2 * len(asked)
    parts = [part.SerializeToString() for part in wanted.scope_spans[0].spans]
    assert all(part in encoded([span]) for span, part in zip(exporter.spans, parts, strict=True))
    in_order(found)
    in_order(wanted)
    assert found.SerializeToString(deterministic=True) == wanted.SerializeToString(deterministic=True)


def in_order(around: Any) -> None:
    """Put spans in the order of their ids. Those that are alike are written together."""
    around.scope_spans[0].spans.sort(key=lambda span: span.span_id)


@pytest.mark.parametrize("number", [1, 15, 16, 17, 300])
@pytest.mark.parametrize("varying", ["17", "x" * 63, "x" * 64, "é", ""])
def test_many_spans_that_are_alike_are_those_of_the_sdk(number: int, varying: str) -> None:
    provider, exporter = kept({})
    lights, shape = shape_of(provider)
    above = lights.begin(shape, varying, None)
    far = TracePlace(f"00-{TRACE}-{PARENT}-01", is_remote=True)
    for place in range(number):
        for parent in (None, above, far):
            span = lights.begin(shape, varying, parent)
            span.note_request("GET", "http://a.test/")
            if place == number // 2:  # one is not as the others
                span.set_attribute("more", place)
            span.end(span.start_time + place)
    provider.force_flush()
    provider.shutdown()
    [found] = ExportTraceServiceRequest.FromString(encoded(exporter.spans)).resource_spans
    [wanted] = encode_spans([span.readable() for span in exporter.spans]).resource_spans
    in_order(found)
    in_order(wanted)
    assert len(wanted.scope_spans[0].spans) == 3 * number
    assert found == wanted


FORKED = """
import os
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import SpanKind
from utcp_bridge.telemetry.deciding import Deciding
from utcp_bridge.telemetry.light_spans import LightProvider, SpanShape
from utcp_bridge.telemetry.places import TracePlace
provider = LightProvider({}, SpanExporter(), shutdown_on_exit=False)
lights = Deciding(provider).lights
shape = SpanShape(lights.scope("s"), "n", SpanKind.CLIENT, {}, "b")
place = TracePlace("00-" + "1" * 32 + "-" + "2" * 16 + "-01", is_remote=True)
lights.begin(shape, "x", place)
lights.begin(shape, "x", None)
child = os.fork()
print(lights.begin(shape, "x", place).traceparent, lights.begin(shape, "x", None).traceparent, flush=True)
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX has forks")
def test_a_fork_gives_its_spans_ids_of_their_own() -> None:
    ended = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, check=True, timeout=60)
    assert len({*ended.stdout.split()}) == 4
