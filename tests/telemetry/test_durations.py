"""Durations in numbers of our own: the points are those of OpenTelemetry's histogram."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, MetricExportResult
from opentelemetry.sdk.resources import Resource

from utcp_bridge.telemetry import durations
from utcp_bridge.telemetry.counting import CallCounts
from utcp_bridge.telemetry.durations import Durations, DurationsReader, attributes_of

SECONDS = st.floats(0, 20_000, allow_nan=False) | st.sampled_from([0.0, 5.0, 10.0, 1e4])
KEYS = st.tuples(st.sampled_from("mn"), st.sampled_from(["m.a", "m.b"]), st.sampled_from(["ok", "timeout"]))
METRIC = {"name": "d", "unit": "s", "description": "Durations."}
RESOURCE = Resource({"service.name": "x"})


class Kept(MetricExporter):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Any] = []

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        self.sent.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Nothing is to be done."""


def plain(data: Any) -> Any:
    """Return what was sent, without times; sums are rounded, because numbers are added in another order."""
    [resource] = data.resource_metrics
    [scope] = resource.scope_metrics
    [metric] = scope.metrics
    points = [
        (
            sorted(one.attributes.items()), one.count, pytest.approx(one.sum), tuple(one.bucket_counts),
            tuple(one.explicit_bounds), one.min, one.max, list(one.exemplars),
        )
        for one in metric.data.data_points
    ]  # fmt: skip
    assert all(0 < one.start_time_unix_nano <= one.time_unix_nano for one in metric.data.data_points)
    around = resource.resource, resource.schema_url, scope.scope, scope.schema_url
    named = metric.name, metric.unit, metric.description, metric.data.aggregation_temporality
    return around, named, sorted(points, key=lambda one: one[0])


@given(st.lists(st.tuples(SECONDS, KEYS), min_size=1, max_size=20), st.integers(1, 4))
def test_the_points_are_those_of_the_histogram_of_opentelemetry(calls: list[Any], together: int) -> None:
    exporter, counts = Kept(), CallCounts()
    counted = Durations(counts.settle)
    counts.also_many = counted.many
    reader = DurationsReader(exporter, counted, METRIC, ("s", "1"), RESOURCE)
    known = InMemoryMetricReader()
    histogram = MeterProvider([known], RESOURCE, shutdown_on_exit=False).get_meter("s", "1").create_histogram(**METRIC)
    for number, (seconds, key) in enumerate(calls):
        if number % 3 and key[2] == "ok":
            counts.waiting(key[0], key[1], "http")[0].append(seconds)
        else:
            counted(seconds, key)
        histogram.record(seconds, attributes_of(key))
        if number % together == 0:
            reader.collect()
            assert plain(exporter.sent[-1]) == plain(known.get_metrics_data())
    reader.shutdown()
    assert plain(exporter.sent[-1]) == plain(known.get_metrics_data())


def test_without_a_call_nothing_is_sent() -> None:
    exporter = Kept()
    reader = DurationsReader(exporter, Durations(), METRIC, ("s", "1"), RESOURCE)
    reader.collect()
    reader.shutdown()
    assert exporter.sent == []


def test_names_without_end_have_one_point_as_in_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "_MAX_SERIES", 4)
    counted = Durations()
    for number in range(9):
        counted(1.0, ("m", f"m.t{number}", "ok"))
    found = {str(one.attributes.get("gen_ai.tool.name")): one for one in counted.points()}
    assert {name: one.count for name, one in found.items()} == {"m.t0": 1, "m.t1": 1, "m.t2": 1, "None": 6}
    assert found["None"].attributes == {"otel.metric.overflow": True}


def test_many_calls_are_added_before_they_are_sent() -> None:
    counted = Durations()
    for _ in range(10_000):
        counted(0.25, ("m", "m.t", "ok"))
    [point] = counted.points()
    assert (point.count, point.sum, point.min, point.max) == (10_000, 2_500.0, 0.25, 0.25)
