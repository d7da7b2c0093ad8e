"""Commands that end by themselves: `--help`, and one call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

from benchmarks.harness.measurements import Bench
from benchmarks.harness.processes import BRIDGE, ROOT, Server

PROGRAM = (sys.executable, "-m", "utcp_bridge")
SIZES = (10, 10_000)


@dataclass
class Command:
    """One command, with wall and CPU seconds of each round."""

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def commands(bench: Bench, rounds: int) -> list[Command]:
    """Run each command once a round. `python -c pass` is what any Python program costs here."""
    calls = {f"call, {tools:,} tools": _call(BRIDGE, bench.source(BRIDGE, tools)) for tools in SIZES}
    every = {"python -c pass": (sys.executable, "-c", "pass"), "--help": (*PROGRAM, "--help"), **calls}
    found = {name: Command(name) for name in every}
    for number in range(rounds + 1):
        for name, words in every.items():
            wall, cpu = _run(words)
            if number:  # the first round fills the caches of the system
                found[name].wall.append(wall)
                found[name].cpu.append(cpu)
    return list(found.values())


def _call(server: Server, source: str) -> tuple[str, ...]:
    del server
    return (*PROGRAM, "call", source, "catalogue.find_1", "q=tea", "limit:=5")


def _run(words: Sequence[str]) -> tuple[float, float]:
    started = perf_counter()
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return wall, used.ru_utime + used.ru_stime


def command_lines(rows: Sequence[Command]) -> list[str]:
    """Return the table of `commands`, nothing if it was left out."""
    if not rows:
        return []
    lines = ["", "| command | ms [range] | CPU ms |", "| --- | --- | --- |"]
    for row in rows:
        wall, cpu = ([value * 1e3 for value in values] for values in (row.wall, row.cpu))
        lines.append(f"| `{row.name}` | {median(wall):.0f} [{min(wall):.0f}-{max(wall):.0f}] | {median(cpu):.0f} |")
    return lines
