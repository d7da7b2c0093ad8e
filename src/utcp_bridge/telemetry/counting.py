"""Counts of calls, and their form for Prometheus.

A call costs an addition: nothing is formatted before somebody asks. Names of tools are labels, so their number has a
limit; calls of further tools count under the name `(other)`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any, Final

from utcp_bridge.late.records import dataclass

__all__ = ["BOUNDS", "EXTRA", "CallCounts", "CallDetails", "Gauges", "Key", "exposition"]

EXTRA: Final = "otel"
"""The extra of the package that has the libraries of OpenTelemetry and Prometheus."""
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of durations, in seconds."""
OTHER: Final = "(other)"
_MAX_SERIES: Final = 5_000
Key = tuple[str, str, str]
"""Manual, tool and outcome."""
Gauges = Mapping[str, tuple[str, Mapping[tuple[tuple[str, str], ...], float]]]
"""For each name of a gauge: its description, and its value for each set of labels."""


@dataclass(frozen=True, slots=True)
class CallDetails:
    """One finished call. `outcome` is `ok`, an error's code, `cancelled` or `internal`; `seconds` is wall time."""

    tool: str
    manual: str
    kind: str
    outcome: str
    seconds: float


@dataclass(slots=True)
class _Durations:
    total: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))


class CallCounts:
    """Counts every finished call, as a hook of the pipeline (`Metrics`)."""

    def __init__(self, *, is_on: bool = False) -> None:
        self.is_on = is_on
        """Whether calls are counted. Tools that were called before keep the state of their first call."""
        self.calls: dict[Key, int] = {}
        """By manual, tool and outcome."""
        self.durations: dict[tuple[str, str], _Durations] = {}
        """By manual and kind."""
        self.also: Callable[[float, Key], None] | None = None
        """Also receives the seconds of each call, and its manual, tool and outcome (OpenTelemetry)."""

    def __call__(self, details: CallDetails, /) -> None:
        key = details.manual, details.tool, details.outcome
        if key not in self.calls and len(self.calls) >= _MAX_SERIES:
            key = details.manual, OTHER, details.outcome
        self.calls[key] = self.calls.get(key, 0) + 1
        group = details.manual, details.kind
        durations = self.durations.get(group)
        if durations is None:
            durations = self.durations[group] = _Durations()
        durations.total += details.seconds
        durations.buckets[bisect_left(BOUNDS, details.seconds)] += 1
        if self.also is not None:
            self.also(details.seconds, key)


def exposition(counts: CallCounts, gauges: Gauges) -> tuple[bytes, str]:
    """Return the text that Prometheus reads, and its content type.

    :raises ImportError: the extra `otel` is not installed.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(counts, gauges))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collector:
    def __init__(self, counts: CallCounts, gauges: Gauges) -> None:
        self._counts = counts
        self._gauges = gauges

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        calls = CounterMetricFamily(
            "utcp_bridge_calls", "Finished calls of tools.", labels=("manual", "tool", "outcome")
        )
        for key, number in self._counts.calls.items():
            calls.add_metric(key, number)
        yield calls
        seconds = HistogramMetricFamily(
            "utcp_bridge_call_seconds", "Seconds that calls of tools took.", labels=("manual", "kind")
        )
        for group, durations in self._counts.durations.items():
            seconds.add_metric(group, _cumulated(durations.buckets), durations.total)
        yield seconds
        for name, (description, values) in self._gauges.items():
            labels = tuple(label for label, _ in next(iter(values), ()))
            family = GaugeMetricFamily(name, description, labels=labels)
            for pairs, value in values.items():
                family.add_metric([one for _, one in pairs], value)
            yield family


def _cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    number = 0
    for bound, more in zip((*map(str, BOUNDS), "+Inf"), buckets, strict=True):
        number += more
        found.append((bound, number))
    return found
