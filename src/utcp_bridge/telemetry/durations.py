"""The histogram of durations for OpenTelemetry, from numbers of our own: a call costs an entry of a queue.

`Histogram.record` of OpenTelemetry looks up, checks and locks for each value. Here values wait in a queue, or with the
counts of calls (`CallCounts`), are added together, and become the points of OpenTelemetry when they are sent. The
points are those of its own histogram with the usual bounds; `Durations.can_count` says when.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from threading import Lock
from time import time_ns
from typing import Any, Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from utcp_bridge.telemetry import trace_context
from utcp_bridge.telemetry.counting import Key, buckets_of

__all__ = ["Durations", "DurationsReader", "attributes_of"]

_BOUNDS: Final = (0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1e3, 2.5e3, 5e3, 7.5e3, 1e4)
"""The upper bounds of OpenTelemetry's histograms."""
_MAX_TOGETHER: Final = 256
_MAX_SERIES: Final = 2_000
"""As in the SDK."""
_OVERFLOW: Final = {"otel.metric.overflow": True}
_CHANGING: Final = (
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_METRICS_EXEMPLAR_FILTER",
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED",
)


class _Series:
    """The values of calls of one manual and tool with one outcome, since the start."""

    __slots__ = ("attributes", "buckets", "exemplars", "highest", "lowest", "start", "total")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = attributes
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0
        self.lowest, self.highest = inf, -inf
        self.start = time_ns()
        self.exemplars: dict[int, tuple[float, int, Any]] = {}
        """By bucket: the last value of a call whose trace is noted, its time, and the span."""

    def add(self, seconds: float, span: Any) -> None:
        place = bisect_left(_BOUNDS, seconds)
        self.buckets[place] += 1
        self.total += seconds
        self.lowest, self.highest = min(self.lowest, seconds), max(self.highest, seconds)
        if span is not None:
            self.exemplars[place] = seconds, time_ns(), span

    def add_many(self, seconds: Sequence[float]) -> None:
        """Add values in the order of their size, of calls whose trace is not noted."""
        for place, number in enumerate(buckets_of(seconds, _BOUNDS)):
            self.buckets[place] += number
        self.total += sum(seconds)
        self.lowest, self.highest = min(self.lowest, seconds[0]), max(self.highest, seconds[-1])

    def point(self, now: int) -> HistogramDataPoint:
        exemplars: list[Exemplar] = []
        for _, (seconds, at, span) in sorted(self.exemplars.items()):
            ids = span.get_span_context()
            exemplars.append(Exemplar({}, seconds, at, ids.span_id, ids.trace_id))
        self.exemplars.clear()
        counts = tuple(self.buckets)
        return HistogramDataPoint(
            self.attributes, self.start, now, sum(counts), self.total, counts, _BOUNDS, self.lowest, self.highest,
            exemplars,
        )  # fmt: skip


class Durations:
    """Takes the durations of calls in one thread, and gives points of OpenTelemetry in another."""

    def __init__(self, settle: Callable[[], None] | None = None) -> None:
        """`settle` calls `many` with what waits elsewhere."""
        self._settle = settle
        self._waiting: deque[tuple[float, Key, Any]] = deque()
        self._series: dict[Key, _Series] = {}
        self._overflow: _Series | None = None
        self._adding = Lock()

    @staticmethod
    def can_count(environment: Mapping[str, str]) -> bool:
        """Return whether no variable asks for another kind of histogram than the usual one."""
        return not any(environment.get(name, "").strip() for name in _CHANGING)

    def __call__(self, seconds: float, key: Key, /) -> None:
        """Take the duration of a call. `key` is manual, tool and outcome."""
        self._waiting.append((seconds, key, trace_context.noted_span() if trace_context.is_on() else None))
        if len(self._waiting) >= _MAX_TOGETHER:
            self._add()

    def many(self, seconds: Sequence[float], key: Key, /) -> None:
        """Take the durations of calls whose trace is not noted, in the order of their size."""
        with self._adding:
            (self._series.get(key) or self._new(key)).add_many(seconds)

    def _add(self) -> None:
        waiting, series = self._waiting, self._series
        with self._adding, suppress(IndexError):  # another thread was quicker
            while waiting:
                seconds, key, span = waiting.popleft()
                if (found := series.get(key)) is None:
                    found = self._new(key)
                found.add(seconds, span)

    def _new(self, key: Key) -> _Series:
        if len(self._series) >= _MAX_SERIES - 1:
            if self._overflow is None:
                self._overflow = _Series(_OVERFLOW)
            return self._overflow
        made = self._series[key] = _Series(attributes_of(key))
        return made

    def points(self) -> list[HistogramDataPoint]:
        """Return a point for each manual, tool and outcome."""
        if self._settle is not None:
            self._settle()
        self._add()
        now = time_ns()
        with self._adding:
            further = () if self._overflow is None else (self._overflow,)
            return [one.point(now) for one in (*self._series.values(), *further)]


def attributes_of(key: Key) -> dict[str, str]:
    """Return the attributes of a call in this metric."""
    manual, tool, outcome = key
    failed = {} if outcome == "ok" else {"error.type": outcome}
    return {"mcp.method.name": "tools/call", "gen_ai.tool.name": tool, "utcp.manual": manual, **failed}


class DurationsReader(PeriodicExportingMetricReader):
    """Sends durations every while, as the reader that it extends, which takes the values from OpenTelemetry."""

    def __init__(
        self, exporter: Any, durations: Durations, metric: Mapping[str, str], scope: Any, resource: Any
    ) -> None:
        """`metric` has the name, the description and the unit, `scope` a name and a version."""
        self._durations, self._metric, self._resource = durations, metric, resource
        self._scope = InstrumentationScope(*scope)
        super().__init__(exporter)
        taken: Any = self._taken
        self._set_collect_callback(taken)  # a provider of OpenTelemetry would set its own

    def _taken(self, *_: Any, **_options: Any) -> MetricsData | None:
        """Return what was taken; None if nothing was."""
        points = self._durations.points()
        if not points:
            return None
        histogram = Histogram(points, AggregationTemporality.CUMULATIVE)
        scope = ScopeMetrics(self._scope, [Metric(**self._metric, data=histogram)], self._scope.schema_url or "")
        resource = ResourceMetrics(self._resource, [scope], self._resource.schema_url)
        return MetricsData([resource])
