"""What was measured, as tables for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness.commands import Command, command_lines
from benchmarks.harness.cost import Cost, cost_lines
from benchmarks.harness.crowds import Crowd, Stalls, crowd_lines, stall_lines
from benchmarks.harness.goals import Goal, goals, grown
from benchmarks.harness.measurements import Samples

BEGIN, END = "<!-- measured -->", "<!-- end of what was measured -->"
"""What is between these lines of a page is replaced by the tables of a run."""


@dataclass
class Results:
    """Everything of one run; what was left out is empty."""

    machine: dict[str, Any]
    throughput: Sequence[Samples] = ()
    large: Sequence[Samples] = ()
    late: Sequence[Samples] = ()
    workers: Sequence[Samples] = ()
    growth: Sequence[Samples] = ()
    starts: Sequence[dict[str, Any]] = ()
    manuals: dict[str, list[float]] | None = None
    imports: Sequence[float] = ()
    crowds: Sequence[Crowd] = ()
    stalls: Sequence[Stalls] = ()
    costs: Sequence[Cost] = ()
    commands: Sequence[Command] = ()
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Why a server has no figures, by the server and what was asked of it."""
    left_out: Sequence[str] = ()
    """Groups for which there was no time."""

    def goals(self) -> Iterator[Goal]:
        """Yield each goal whose figures were measured."""
        return goals(self)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "goals": [{**asdict(goal), "met": goal.met} for goal in self.goals()]}

    def lines(self) -> Iterator[str]:
        """Yield the lines of the page: the machine, the tables, the goals."""
        versions: dict[str, str] = self.machine.get("versions", {})
        yield ", ".join(f"{key} {value}" for key, value in self.machine.items() if key != "versions")
        yield from ("", *(f"* **{name}**: {found}" for name, found in versions.items())) if versions else ()
        yield from _sample_lines("Calls a second", self.throughput)
        yield from _sample_lines("50 KB replies", self.large)
        yield from _sample_lines("An upstream of 20 ms", self.late)
        yield from _sample_lines("Two workers", self.workers, base="1 worker")
        yield from self._growth_lines()
        tables = (*crowd_lines(self.crowds), *stall_lines(self.stalls), *cost_lines(self.costs))
        yield from (*tables, *self._start_lines(), *command_lines(self.commands))
        if self.manuals is not None:
            at_once, slow = self.manuals["manual"], self.manuals["slow"]
            text = f"20 manuals ready: {_range(at_once)} s when they answer at once, {_range(slow)} s after 300 ms each"
            yield from ("", text)
        if self.imports:
            yield from ("", f"import utcp_bridge: {_range([value * 1e3 for value in self.imports])} ms CPU")
        if self.absent:
            yield from ("", "Without figures:", "")
            yield from (f"* {what}: {why}" for what, why in self.absent.items())
        if self.left_out:
            yield from ("", f"Not measured, because the time was over: {'; '.join(self.left_out)}")
        found = list(self.goals())
        if found:
            reached = sum(goal.met for goal in found)
            yield from ("", f"{reached} of {len(found)} goals are reached:", "")
            yield from ("| | goal | this run | bar |", "| --- | --- | --- | --- |", *map(str, found))

    def _growth_lines(self) -> Iterator[str]:
        if not self.growth:
            return
        yield from ("", "| bridge with | transport | era | in flight | calls/s | CPU ms a call | x 10 tools [range] |")
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        few = min(samples.tools for samples in self.growth)
        small = {samples.cell: samples for samples in self.growth if samples.tools == few}
        for one in sorted(self.growth, key=lambda samples: (samples.cell, samples.tools)):
            figures = f"{median(one.rate):,.0f} | {median(one.cpu) * 1e3:.2f} | {_spread(one.cpu, small[one.cell].cpu)}"
            yield f"| {one.tools:,} tools | {one.transport} | {one.era} | {one.in_flight} | {figures} |"

    def _start_lines(self) -> Iterator[str]:
        if not self.starts:
            return
        yield ""
        yield "| server | tools | cold start s [range] | x floor [range] | RSS MiB | KiB a tool | list s | its CPU s |"
        yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
        rows = {(row["server"], row["tools"]): row for row in self.starts}
        for (server, tools), row in rows.items():
            floor, few = rows.get(("floor", tools)), rows.get((server, 10))
            times = _spread(row["seconds"], floor["seconds"]) if floor is not None else "-"
            added = f"{grown(few, row):.1f}" if few is not None and tools > 10 else "-"
            figures = f"{added} | {median(row['list_seconds']):.3f} | {median(row['list_cpu']):.3f}"
            yield (f"| {server} | {tools:,} | {_range(row['seconds'])} | {times} | {row['memory']:.0f} | {figures} |")


def read_page(page: Path) -> str:
    """Return the text of a page that has the two marks.

    :raises ValueError: it cannot be read, or does not have them.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{page} cannot be read: {error.strerror}.") from None
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} does not have the lines {BEGIN} and {END}.")
    return text


def write_page(page: Path, lines: Sequence[str]) -> None:
    """Replace what a page has between its two marks.

    :raises ValueError: it cannot be read, or does not have them.
    """
    text = read_page(page)
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]), encoding="utf-8")


def _sample_lines(title: str, found: Sequence[Samples], base: str = "floor") -> Iterator[str]:
    if not found:
        return
    figures = f"calls/s | x {base} [range] | CPU ms a call | x {base} [range] | p50 / p99 ms"
    yield from ("", f"| {title}: server | transport | era | in flight | {figures} |")
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    bases = {samples.cell: samples for samples in found if samples.server == base}
    for one in sorted(found, key=lambda samples: samples.cell):
        other = bases.get(one.cell)
        rates, costs = ("-", "-") if other is None else (_spread(one.rate, other.rate), _spread(one.cpu, other.cpu))
        yield (
            f"| {one.server} | {one.transport} | {one.era} | {one.in_flight} | {median(one.rate):,.0f} | {rates} "
            f"| {median(one.cpu) * 1e3:.2f} | {costs} | {median(one.p50) * 1e3:.2f} / {median(one.p99) * 1e3:.2f} |"
        )


def _spread(values: Sequence[float], base: Sequence[float]) -> str:
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    return f"{median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"


def _range(values: Sequence[float]) -> str:
    return f"{median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"
