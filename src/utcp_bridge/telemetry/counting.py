"""Counts of calls, and their form for Prometheus.

A call that ends well costs an entry of a list: such calls of one tool are counted together, when they are many or when
somebody asks. Names of tools are labels, so their number has a limit; calls of further tools count under the name
`(other)`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import partial
from threading import Lock
from typing import Any, Final

from utcp_bridge.late.records import dataclass

__all__ = ["BOUNDS", "EXTRA", "MANY", "CallCounts", "CallDetails", "Gauges", "Key", "buckets_of", "exposition"]

EXTRA: Final = "otel"
"""The extra of the package that has the libraries of OpenTelemetry and Prometheus."""
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of durations, in seconds."""
MANY: Final = 256
"""Calls that are counted together, at most."""
OTHER: Final = "(other)"
_OK: Final = "ok"
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
        self._calls: dict[Key, int] = {}
        self._durations: dict[tuple[str, str], _Durations] = {}
        self._waiting: dict[Key, list[float]] = {}
        """Seconds of calls that ended well and are not counted yet, by manual, tool and kind."""
        self._counting = Lock()
        self.also: Callable[[float, Key], None] | None = None
        """Also receives the seconds of each call, and its manual, tool and outcome (OpenTelemetry)."""
        self.also_many: Callable[[Sequence[float], Key], None] | None = None
        """Does the same for the seconds of many calls, in the order of their size."""

    @property
    def calls(self) -> Mapping[Key, int]:
        """How many calls there were, by manual, tool and outcome."""
        self.settle()
        return self._calls.copy()

    @property
    def durations(self) -> Mapping[tuple[str, str], _Durations]:
        """By manual and kind."""
        self.settle()
        return self._durations.copy()

    def __call__(self, details: CallDetails, /) -> None:
        key = details.manual, details.tool, details.outcome
        key = self._count(key, details.kind, (details.seconds,))
        if self.also is not None:
            self.also(details.seconds, key)

    def waiting(self, manual: str, tool: str, kind: str) -> tuple[list[float], Callable[[], None]]:
        """Return where the seconds of calls of a tool wait that ended well, and what to call when they are `MANY`."""
        key = manual, tool, kind
        if key not in self._waiting and len(self._waiting) >= _MAX_SERIES:
            key = manual, OTHER, kind
        found = self._waiting.setdefault(key, [])
        return found, partial(self._settle, key, found)

    def settle(self) -> None:
        """Count what waits. It may be called in any thread."""
        for key, waiting in list(self._waiting.items()):
            if waiting:
                self._settle(key, waiting)

    def _settle(self, key: Key, waiting: list[float]) -> None:
        """Count what waits in one list. `key` is manual, tool and kind."""
        manual, tool, kind = key
        with self._counting:  # calls add to the end of the list meanwhile
            number = len(waiting)
            seconds = sorted(waiting[:number])
            del waiting[:number]
        if seconds:
            counted = self._count((manual, tool, _OK), kind, seconds)
            if self.also_many is not None:
                self.also_many(seconds, counted)

    def _count(self, key: Key, kind: str, seconds: Sequence[float]) -> Key:
        """Count calls, and return under which names. `seconds` are in the order of their size."""
        manual, _, outcome = key
        with self._counting:
            if key not in self._calls and len(self._calls) >= _MAX_SERIES:
                key = manual, OTHER, outcome
            self._calls[key] = self._calls.get(key, 0) + len(seconds)
            durations = self._durations.get((manual, kind))
            if durations is None:
                durations = self._durations[manual, kind] = _Durations()
            durations.total += sum(seconds)
            for place, number in enumerate(buckets_of(seconds, BOUNDS)):
                durations.buckets[place] += number
        return key


def buckets_of(seconds: Sequence[float], bounds: Sequence[float]) -> list[int]:
    """Return how many values belong to each bucket. The values are in the order of their size, as the upper bounds."""
    if len(seconds) == 1:
        found = [0] * (len(bounds) + 1)
        found[bisect_left(bounds, seconds[0])] = 1
        return found
    ends = [*[bisect_right(seconds, bound) for bound in bounds], len(seconds)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def exposition(counts: CallCounts, gauges: Gauges, totals: Mapping[str, tuple[str, float]]) -> tuple[bytes, str]:
    """Return the text that Prometheus reads, and its content type. `totals` are counts without labels.

    :raises ImportError: the extra `otel` is not installed.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(counts, gauges, totals))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collector:
    def __init__(self, counts: CallCounts, gauges: Gauges, totals: Mapping[str, tuple[str, float]]) -> None:
        self._counts = counts
        self._gauges = gauges
        self._totals = totals

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
        for name, (description, total) in self._totals.items():
            one = CounterMetricFamily(name, description, labels=())
            one.add_metric((), total)
            yield one
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
