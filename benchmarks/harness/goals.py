"""The goals, and whether a run reached them. Each is a ratio, a difference or a time within one run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.harness.measurements import Samples

if TYPE_CHECKING:
    from benchmarks.harness.report import Results

__all__ = ["Goal", "cell_name", "goals", "growth_ratios", "ratio"]

IMPORT_SECONDS = 0.05
MANUALS_SECONDS = 0.35
GROWTH = 1.05
STALL_SECONDS = 0.05
COST = 1.03
LATE_SHARE = 0.85
LATE_IDEAL = 3_200
"""Calls a second of 64 in flight, if each takes the 20 ms of the upstream and nothing else."""
RATES = {
    ("http", 1): 4.0, ("http", 16): 12.0, ("http", 64): 15.0,
    ("stdio", 1): 4.5, ("stdio", 16): 12.0, ("stdio", 64): 14.0,
}  # fmt: skip
"""Calls a second, x floor, by transport and number in flight."""
LARGE = {"http": 4.0, "stdio": 3.0}
CPU_SHARE = 0.08
ALONE_SECONDS = 0.000_3
TOOLBOX = 1.5
PLAIN = 1.5
STARTS = {10: 0.4, 10_000: 0.7}
LIST_SHARE = 0.05
MEMORY_MIB = 50
GROWTH_KIB = 3
COMMANDS = {"--help": 0.06, "call, 10 tools": 0.25, "call, 10,000 tools": 0.5}
WORKERS = 1.8
_CORES_FOR_WORKERS = 4
"""Two for the workers, and one each for the clients and the upstream."""


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
        shown = f"{self.value:.4f}" if abs(self.value) < 1 else f"{self.value:,.2f}"
        return f"| {'reached' if self.met else '**missed**'} | {self.name} | {shown} | {sign} {self.bar:g} |"


def goals(results: Results) -> Iterator[Goal]:
    """Yield each goal whose figures were measured."""
    yield from _rate_goals(results.throughput)
    yield from _loaded_goals(results)
    for (transport, era), ratios in growth_ratios(results.growth).items():
        yield Goal(f"CPU a call at many tools against few, {transport} {era}", median(ratios), GROWTH)
    yield from _start_goals(results.starts)
    if results.manuals is not None:
        added = median(results.manuals["slow"]) - median(results.manuals["manual"])
        yield Goal("20 manuals of 300 ms each, s added", added, MANUALS_SECONDS)
    yield from _crowd_goals(results)
    for cost in results.costs:
        yield Goal(f"CPU a call against before, {cost.transport} {cost.era}", median(cost.ratios), COST)
    for command in results.commands:
        if command.name in COMMANDS:
            yield Goal(f"`{command.name}`, s", median(command.wall), COMMANDS[command.name])
    if results.imports:
        yield Goal("import utcp_bridge, CPU s", median(results.imports), IMPORT_SECONDS)
    if (os.cpu_count() or 1) >= _CORES_FOR_WORKERS:
        for one, two in zip(results.workers[::2], results.workers[1::2], strict=True):
            yield Goal(f"calls/s of 2 workers against 1, {two.era}", ratio(two.rate, one.rate), WORKERS, at_least=True)


def _rate_goals(samples: Sequence[Samples]) -> Iterator[Goal]:
    cells = {(one.server, one.cell): one for one in samples}
    for (server, cell), one in cells.items():
        floor, toolbox = cells.get(("floor", cell)), cells.get(("toolbox", cell))
        if server == "plain" and ("bridge", cell) in cells:
            value = ratio(one.cpu, cells["bridge", cell].cpu)
            yield Goal(f"CPU a call of a plain install, x bridge, {cell_name(one)}", value, PLAIN)
        if server != "bridge":
            continue
        if floor is not None:
            value, bar = ratio(one.rate, floor.rate), RATES[one.transport, one.in_flight]
            yield Goal(f"calls/s, x floor, {cell_name(one)}", value, bar, at_least=True)
            if (one.transport, one.in_flight) == ("http", 16):
                yield Goal(f"CPU a call, x floor, {cell_name(one)}", ratio(one.cpu, floor.cpu), CPU_SHARE)
        if toolbox is not None and one.in_flight > 1:
            value = ratio(one.rate, toolbox.rate)
            yield Goal(f"calls/s, x MCP Toolbox (Go), {cell_name(one)}", value, TOOLBOX, at_least=True)
        if (one.transport, one.in_flight) == ("http", 1):
            yield Goal(f"median of a call, s, {cell_name(one)}", median(one.p50), ALONE_SECONDS)


def _loaded_goals(results: Results) -> Iterator[Goal]:
    floors = {one.cell: one for one in results.large if one.server == "floor"}
    for one in results.large:
        if one.server == "bridge" and one.cell in floors:
            value = ratio(one.rate, floors[one.cell].rate)
            yield Goal(f"50 KB replies, calls/s, x floor, {cell_name(one)}", value, LARGE[one.transport], at_least=True)
    for one in results.late:
        if one.server == "bridge":
            share = median(one.rate) / LATE_IDEAL
            yield Goal(f"upstream of 20 ms, share of the ideal, {cell_name(one)}", share, LATE_SHARE, at_least=True)


def _start_goals(starts: Sequence[dict[str, Any]]) -> Iterator[Goal]:
    rows = {(row["server"], row["tools"]): row for row in starts}
    for (server, tools), row in rows.items():
        floor = rows.get(("floor", tools))
        if server == "bridge" and floor is not None and tools in STARTS:
            value = ratio(row["seconds"], floor["seconds"])
            yield Goal(f"cold start with {tools:,} tools, x floor", value, STARTS[tools])
    few, many = rows.get(("bridge", 10)), rows.get(("bridge", 10_000))
    if few is not None:
        yield Goal("memory with 10 tools, MiB", few["memory"], MEMORY_MIB)
    if few is not None and many is not None:
        yield Goal("growth a tool, KiB", grown(few, many), GROWTH_KIB)
        floor = rows.get(("floor", 10_000))
        if floor is not None:
            value = ratio(many["list_cpu"], floor["list_cpu"])
            yield Goal("CPU of tools/list with 10,000 tools, x floor", value, LIST_SHARE)


def grown(few: dict[str, Any], many: dict[str, Any]) -> float:
    """Return the KiB that each tool adds."""
    return float((many["memory"] - few["memory"]) * 1_024 / (many["tools"] - few["tools"]))


def _crowd_goals(results: Results) -> Iterator[Goal]:
    for row in results.crowds:
        if row.server == "bridge":
            yield Goal(f"calls refused of {row.calls:,} by many clients, {row.era}", row.refused, 0)
    for stall in results.stalls:
        if stall.server == "bridge":
            for name, values in (("the first search", stall.search), ("refreshes", stall.refresh)):
                added = median(values) - median(stall.quiet)
                yield Goal(f"longest call of others during {name}, s above a quiet server's", added, STALL_SECONDS)


def growth_ratios(growth: Sequence[Samples]) -> dict[tuple[str, str], list[float]]:
    """Return the ratios of all rounds and numbers in flight: the cost of a catalogue does not depend on either."""
    few = min((samples.tools for samples in growth), default=0)
    small = {samples.cell: samples for samples in growth if samples.tools == few}
    found: dict[tuple[str, str], list[float]] = {}
    for large in growth:
        if large.tools != few:
            pairs = zip(large.cpu, small[large.cell].cpu, strict=True)
            found.setdefault((large.transport, large.era), []).extend(more / less for more, less in pairs)
    return found


def ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """Return the median of the rounds' own ratios: what slows the machine down slows both."""
    return median(value / other for value, other in zip(values, base, strict=True))


def cell_name(samples: Samples) -> str:
    """Return what a cell measures."""
    return f"{samples.transport} {samples.era}, {samples.in_flight} in flight"
