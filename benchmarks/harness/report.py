"""What was measured, as tables for people, as JSON for machines, and as goals that hold or do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.harness.cost import Cost, cost_lines
from benchmarks.harness.crowds import Crowd, Stalls, crowd_lines, stall_lines
from benchmarks.harness.measurements import Samples

IMPORT_SECONDS = 0.05
START_SECONDS = 0.3
MANUALS_SECONDS = 0.6
GROWTH = 1.10
STALL_SECONDS = 0.05
COST = 1.03


@dataclass(frozen=True)
class Goal:
    """One bar: `value` against `bar`."""

    name: str
    value: float
    bar: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{'met   ' if self.met else 'MISSED'}  {self.name}: {self.value:.3f} {sign} {self.bar:g}"


@dataclass
class Results:
    """Everything of one run; what was left out is empty."""

    machine: dict[str, Any]
    throughput: Sequence[Samples] = ()
    growth: Sequence[Samples] = ()
    starts: Sequence[dict[str, Any]] = ()
    manuals: dict[str, list[float]] | None = None
    imports: Sequence[float] = ()
    crowds: Sequence[Crowd] = ()
    stalls: Sequence[Stalls] = ()
    costs: Sequence[Cost] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "throughput": [asdict(samples) for samples in self.throughput],
            "growth": [asdict(samples) for samples in self.growth],
            "starts": list(self.starts),
            "manuals": self.manuals,
            "crowds": [asdict(row) for row in self.crowds],
            "stalls": [asdict(row) for row in self.stalls],
            "costs": [asdict(row) for row in self.costs],
            "import_cpu_seconds": list(self.imports),
            "goals": [{**asdict(goal), "met": goal.met} for goal in self.goals()],
        }

    def goals(self) -> Iterator[Goal]:
        floors = {samples.cell: samples for samples in self.throughput if samples.server == "floor"}
        for samples in self.throughput:
            if samples.server == "bridge":
                name = f"calls/s against the floor, {_cell(samples)}"
                yield Goal(name, _ratio(samples.rate, floors[samples.cell].rate), 1.0, at_least=True)
        for (transport, era), ratios in _growth(self.growth).items():
            name = f"CPU a call at many tools against few, {transport} {era}"
            yield Goal(name, median(ratios), GROWTH)
        starts = {(row["server"], row["tools"]): median(row["seconds"]) for row in self.starts}
        for (server, tools), seconds in starts.items():
            if server == "bridge":
                name = f"cold start above the floor's at {tools:,} tools, s"
                yield Goal(name, seconds - starts["floor", tools], START_SECONDS)
        if self.manuals is not None:
            added = median(self.manuals["slow"]) - median(self.manuals["manual"])
            yield Goal("20 manuals of 300 ms each, s added", added, MANUALS_SECONDS)
        yield from self._crowd_goals()
        for cost in self.costs:
            yield Goal(f"CPU a call against before, {cost.transport} {cost.era}", median(cost.ratios), COST)
        if self.imports:
            yield Goal("import utcp_bridge, CPU s", median(self.imports), IMPORT_SECONDS)

    def _crowd_goals(self) -> Iterator[Goal]:
        for row in self.crowds:
            if row.server == "bridge":
                yield Goal(f"calls refused of {row.calls:,} by many clients, {row.era}", row.refused, 0)
        for stall in self.stalls:
            if stall.server == "bridge":
                for name, values in (("the first search", stall.search), ("refreshes", stall.refresh)):
                    added = median(values) - median(stall.quiet)
                    yield Goal(f"longest call of others during {name}, s above a quiet server's", added, STALL_SECONDS)

    def lines(self) -> Iterator[str]:
        yield f"{self.machine}"
        if self.throughput:
            yield from (
                "",
                "| server | transport | era | in flight | calls/s | x floor [range] | CPU ms/call | p50 / p99 ms |",
            )
            yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
            yield from self._throughput_lines()
        if self.growth:
            yield from (
                "",
                "| bridge with | transport | era | in flight | calls/s | CPU ms/call | x 10 tools [range] |",
            )
            yield "| --- | --- | --- | --- | --- | --- | --- |"
            for small, large in _pairs(self.growth):
                for one in (small, large):
                    spread = _spread(one.cpu, small.cpu)
                    yield (
                        f"| {one.tools:,} tools | {one.transport} | {one.era} | {one.in_flight} "
                        f"| {median(one.rate):,.0f} | {median(one.cpu) * 1e3:.2f} | {spread} |"
                    )
        yield from (*crowd_lines(self.crowds), *stall_lines(self.stalls), *cost_lines(self.costs))
        if self.starts:
            yield from ("", "| server | tools | cold start s [range] | RSS MiB | warm tools/list s | its CPU s |")
            yield "| --- | --- | --- | --- | --- | --- |"
            for row in self.starts:
                yield (
                    f"| {row['server']} | {row['tools']:,} | {_range(row['seconds'])} | {row['memory']:.0f} "
                    f"| {median(row['list_seconds']):.3f} | {median(row['list_cpu']):.3f} |"
                )
        if self.manuals is not None:
            at_once, slow = self.manuals["manual"], self.manuals["slow"]
            yield from (
                "",
                f"20 manuals ready: {_range(at_once)} s when they answer at once, {_range(slow)} s after 300 ms each",
            )
        if self.imports:
            yield from ("", f"import utcp_bridge: {_range([value * 1e3 for value in self.imports])} ms CPU")
        yield from ("", *map(str, self.goals()))

    def _throughput_lines(self) -> Iterator[str]:
        floors = {samples.cell: samples for samples in self.throughput if samples.server == "floor"}
        for samples in sorted(self.throughput, key=lambda one: (one.transport, one.era, one.in_flight)):
            spread = _spread(samples.rate, floors[samples.cell].rate)
            yield (
                f"| {samples.server} | {samples.transport} | {samples.era} | {samples.in_flight} "
                f"| {median(samples.rate):,.0f} | {spread} | {median(samples.cpu) * 1e3:.2f} "
                f"| {median(samples.p50) * 1e3:.2f} / {median(samples.p99) * 1e3:.2f} |"
            )


def _pairs(growth: Sequence[Samples]) -> list[tuple[Samples, Samples]]:
    few = min((samples.tools for samples in growth), default=0)
    small = {samples.cell: samples for samples in growth if samples.tools == few}
    return [(small[samples.cell], samples) for samples in growth if samples.tools != few]


def _growth(growth: Sequence[Samples]) -> dict[tuple[str, str], list[float]]:
    """Ratios of every round and number in flight, together: the cost of a catalogue does not depend on either."""
    found: dict[tuple[str, str], list[float]] = {}
    for small, large in _pairs(growth):
        ratios = [more / less for more, less in zip(large.cpu, small.cpu, strict=True)]
        found.setdefault((large.transport, large.era), []).extend(ratios)
    return found


def _ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """Median of the rounds' own ratios: what slows the machine down slows both."""
    return median(value / other for value, other in zip(values, base, strict=True))


def _spread(values: Sequence[float], base: Sequence[float]) -> str:
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    return f"{median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"


def _range(values: Sequence[float]) -> str:
    return f"{median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"


def _cell(samples: Samples) -> str:
    return f"{samples.transport} {samples.era}, {samples.in_flight} in flight"
