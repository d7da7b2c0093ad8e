"""What the refreshes of a large manual cost everything else: `python -m benchmarks.refresh [--quick] [--gate]`.

Two bridges run at the same time. One has a small manual alone. The other one also has a manual of 10,000 tools, which
it reads again every second. A client calls the small manual through both in turns, so whatever slows the machine slows
both. For each case the report has the p99 of these calls, the longest search beside the refreshes, the CPU of one
refresh, and the memory that the refreshes added.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.request import urlopen

from benchmarks.harness.changing_upstream import CASES
from benchmarks.harness.clients import PipeClient
from benchmarks.harness.processes import start, upstream

TOOLS = 10_000
INTERVAL = 1.0
PAUSE = 0.01
SETTLING = 8.0
"""Seconds from the start to the measurement: the index of the search is made in them."""
MAX_MORE_MS = 50.0
MAX_SEARCH = 2.0
MAX_MEMORY = 10.0


@dataclass(frozen=True)
class Outcome:
    """What the refreshes of one case cost. Times in milliseconds, `search` in seconds, memory in MiB."""

    case: str
    refreshes: int
    alone: float
    beside: float
    worst: float
    search: float
    cpu: float
    memory: float

    def missed(self) -> list[str]:
        """Return the goals that were missed."""
        found = {
            "p99": self.beside > self.alone + MAX_MORE_MS,
            "search": self.search > MAX_SEARCH,
            "memory": self.memory > MAX_MEMORY,
        }
        return [name for name, is_missed in found.items() if is_missed]

    def line(self) -> str:
        missed = ", ".join(self.missed())
        return (
            f"| {self.case} | {self.refreshes} | {self.alone:.1f} | {self.beside:.1f} | {self.worst:.0f} "
            f"| {self.search:.2f} | {self.cpu * 1000:.0f} | {self.memory:+.0f} "
            f"| {f'missed: {missed}' if missed else 'held'} |"
        )


HEAD = [
    "| the manual is | refreshes | p99 alone, ms | p99 beside, ms | longest, ms | search, s | CPU, ms | memory | |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
]


@contextlib.contextmanager
def changing_upstream(tools: int) -> Iterator[str]:
    """Start the providers of the large manual; yields their address."""
    running = start([sys.executable, "-m", "benchmarks.harness.changing_upstream", str(tools)], core=None)
    try:
        yield f"http://127.0.0.1:{int(running.stdout.readline())}"
    finally:
        running.stop()


def reads(at: str, case: str) -> int:
    """Return how often a case's manual was read."""
    with urlopen(f"{at}/reads") as reply:
        return int(json.load(reply).get(case, 0))


def configuration(folder: Path, small: str, at: str, case: str | None) -> Path:
    """Write the configuration of a bridge with the small manual and, if a case is named, the large one."""
    entries: list[dict[str, Any]] = [{"name": "good", "call_template_type": "http", "url": small}]
    if case is not None:
        entries.append(
            {"name": "big", "call_template_type": "http", "url": f"{at}/{case}/utcp", "refresh_interval": INTERVAL}
        )
    file = folder / f"{case or 'alone'}.json"
    file.write_text(json.dumps({"manual_call_templates": entries}), encoding="utf-8")
    return file


@contextlib.asynccontextmanager
async def bridge(config: Path, python: str) -> Any:
    """Start a bridge that has a session with a client."""
    running = start([python, "-m", "utcp_bridge", "serve", str(config)], core=None)
    try:
        client = await PipeClient.open(running.stdin, running.stdout, "2025-11-25")
        yield running, client
        client.close()
    finally:
        running.stop()


async def call(client: PipeClient, name: str, arguments: dict[str, Any]) -> float:
    """Call a tool and return how many seconds it took."""
    started = perf_counter()
    await client.exchange("tools/call", {"name": name, "arguments": arguments})
    return perf_counter() - started


async def search(client: PipeClient, times: list[float]) -> None:
    """Search from time to time."""
    number = 0
    while True:
        number += 1
        arguments = {"query": f"collection {number}"}
        started = perf_counter()
        reply = await client.exchange("tools/call", {"name": "search_tools", "arguments": arguments})
        if not reply["structuredContent"]["results"]:
            raise RuntimeError("A search found nothing.")
        times.append(perf_counter() - started)
        await asyncio.sleep(INTERVAL)


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[98] * 1000


async def measure(case: str, configs: list[Path], at: str, seconds: float, python: str) -> Outcome:
    """Call the small manual through both bridges in turns, while one of them reads the large manual every second."""
    alone: list[float] = []
    beside: list[float] = []
    searches: list[float] = []
    async with bridge(configs[0], python) as (_, quiet), bridge(configs[1], python) as (running, noisy):
        await noisy.exchange("tools/list", {})
        await asyncio.sleep(SETTLING)
        before, cpu, memory = reads(at, case), running.cpu(), running.memory()
        searching = asyncio.ensure_future(search(noisy, searches))
        until = perf_counter() + seconds
        while perf_counter() < until:
            alone.append(await call(quiet, "good_get", {}))
            beside.append(await call(noisy, "good_get", {}))
            await asyncio.sleep(PAUSE)
        searching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await searching
        count = max(1, reads(at, case) - before)
        cost, more = (running.cpu() - cpu) / count, running.memory() - memory
    longest = max(searches, default=seconds)
    return Outcome(case, count, p99(alone), p99(beside), max(beside) * 1000, longest, cost, more)


async def run(arguments: argparse.Namespace, small: str, at: str, folder: Path) -> list[Outcome]:
    print("\n".join(HEAD), flush=True)
    outcomes: list[Outcome] = []
    for case in arguments.only or CASES:
        configs = [configuration(folder, small, at, one) for one in (None, case)]
        outcome = await measure(case, configs, at, 8.0 if arguments.quick else 30.0, arguments.python)
        print(outcome.line(), flush=True)
        outcomes.append(outcome)
    return outcomes


def parse(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refresh", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="eight seconds for each case instead of thirty")
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"some of: {', '.join(CASES)}")
    parser.add_argument("--tools", type=int, default=TOOLS, help="the tools of the large manual")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has utcp-bridge")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    arguments = parse(given)
    with (
        upstream() as port,
        changing_upstream(arguments.tools) as at,
        tempfile.TemporaryDirectory(prefix="utcp-bridge-bench-") as folder,
    ):
        outcomes = asyncio.run(run(arguments, f"http://127.0.0.1:{port}/manual/1", at, Path(folder)))
    return int(arguments.gate and any(outcome.missed() for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
