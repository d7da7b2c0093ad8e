"""One bad provider never hurts another: `python -m benchmarks.hostile [--quick | --gate] [--only CASE ...]`.

Two bridges run at the same time: one has a good provider alone, the other one has a hostile provider, too. A client
calls the good provider through both in turns, while eight calls at a time go to the hostile one. So whatever slows the
machine slows both. For each case the report has the p99 of the good calls through either bridge, the memory that the
hostile provider cost at its peak, and the seconds until SIGTERM ended the bridge. The bridge with the good provider
alone is the same one for all cases.

`--gate` is for CI: a second for each case, and again for one that misses a goal. It prints the table only if one misses
a goal each time, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import re
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.harness.clients import PipeClient
from benchmarks.harness.hostile_upstream import CASES, Case
from benchmarks.harness.processes import Running, start, upstream

MAX_RATIO = 1.2
MAX_MORE_MS = 10.0
"""A good call may take this much longer at the p99, whatever the ratio: a fast call has a p99 of few milliseconds."""
MAX_MEMORY = 50.0
MAX_STOP = 5.0
HOSTILE_CALLS = 8
PAUSE = 0.002
HOSTILE_PAUSE = 0.5
"""Seconds from a hostile reply to the next call: one event loop serves all, so a flood takes time from the others."""
PATIENCE = 10.0
ATTEMPTS = 4
"""A case that misses a goal is measured again, because another program on the machine may be the cause."""
SECONDS, QUICK_SECONDS, GATE_SECONDS = 6.0, 2.0, 1.0
"""For each case. A case that is measured again in the gate gets more time, so that one slow call counts less."""


@dataclass(frozen=True)
class Outcome:
    """What one case cost the good provider. Times in milliseconds, memory in MiB, `stop` in seconds."""

    case: str
    calls: int
    alone: float
    beside: float
    worst: float
    memory: float
    stop: float

    def missed(self) -> list[str]:
        """Return the goals that were missed."""
        slow = self.beside > self.alone * MAX_RATIO and self.beside > self.alone + MAX_MORE_MS
        found = {"p99": slow, "memory": self.memory > MAX_MEMORY, "SIGTERM": self.stop > MAX_STOP}
        return [name for name, is_missed in found.items() if is_missed]

    def line(self) -> str:
        missed = ", ".join(self.missed())
        return (
            f"| {self.case} | {self.alone:.1f} | {self.beside:.1f} | {self.worst:.0f} | {self.memory:+.0f} "
            f"| {self.stop:.1f} | {f'missed: {missed}' if missed else 'held'} |"
        )


@dataclass(frozen=True)
class Reference:
    """The bridge that has the good provider alone: a client of it, and its memory in MiB."""

    client: PipeClient
    memory: float


HEAD = [
    "| hostile provider | p99 alone, ms | p99 beside it, ms | longest, ms | memory, MiB | SIGTERM, s | |",
    "| --- | --- | --- | --- | --- | --- | --- |",
]


@contextlib.contextmanager
def hostile_upstream() -> Iterator[str]:
    """Start the providers; yields their address."""
    running = start([sys.executable, "-m", "benchmarks.harness.hostile_upstream"])
    try:
        yield f"http://127.0.0.1:{int(running.stdout.readline())}"
    finally:
        running.stop()


def peak(running: Running) -> float:
    """Return the largest resident set that a process had so far, in MiB."""
    status = Path(f"/proc/{running.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def configuration(folder: Path, good: str, at: str, case: str | None) -> Path:
    """Write the configuration of a bridge with the good provider and, if named, a hostile one."""
    usual = {"call_template_type": "http", "http_method": "GET"}
    entries: list[dict[str, Any]] = [{"name": "good", **usual, "url": good}]
    if case is not None:
        found = CASES[case]
        url = f"{at}/{case.replace(' ', '-')}/{found.path}"
        entry = _mcp(url) if found.entry.get("call_template_type") == "mcp" else {**usual, "url": url, **found.entry}
        entries.append({"name": "bad", **entry})
    file = folder / f"{case or 'alone'}.json"
    file.write_text(json.dumps({"manual_call_templates": entries}), encoding="utf-8")
    return file


def _mcp(url: str) -> dict[str, Any]:
    return {"call_template_type": "mcp", "config": {"mcpServers": {"it": {"transport": "http", "url": url}}}}


@contextlib.asynccontextmanager
async def bridge(config: Path, python: str) -> AsyncIterator[tuple[Running, PipeClient]]:
    """Start a bridge that has a session with a client."""
    running = start([python, "-m", "utcp_bridge", "serve", str(config)], core=None)
    try:
        client = await PipeClient.open(running.stdin, running.stdout, "2025-11-25")
        yield running, client
        client.close()
    finally:
        running.stop()


async def call(client: PipeClient, name: str, arguments: dict[str, Any]) -> float:
    """Call a tool and return how long it took, in milliseconds, at most PATIENCE seconds."""
    started = perf_counter()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await client.exchange("tools/call", {"name": name, "arguments": arguments})
    return (perf_counter() - started) * 1000


async def attack(client: PipeClient, case: Case) -> None:
    """Keep calls to the hostile provider in flight, whatever they return."""

    async def lane() -> None:
        while True:
            for name, arguments in case.calls.items():
                with contextlib.suppress(RuntimeError):
                    await client.exchange("tools/call", {"name": f"bad_{name}", "arguments": arguments})
                await asyncio.sleep(HOSTILE_PAUSE)

    if case.calls:
        await asyncio.gather(*(lane() for _ in range(HOSTILE_CALLS)))


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]


async def measure(name: str, reference: Reference, config: Path, seconds: float, python: str) -> Outcome:
    """Call the good provider through both bridges in turns, while the hostile one is called through one of them."""
    alone: list[float] = []
    beside: list[float] = []
    async with bridge(config, python) as (running, noisy):
        await call(noisy, "good_get", {})
        listing = asyncio.ensure_future(noisy.exchange("tools/list", {}))
        attacking = asyncio.ensure_future(attack(noisy, CASES[name]))
        until = perf_counter() + seconds
        while perf_counter() < until:
            alone.append(await call(reference.client, "good_get", {}))
            beside.append(await call(noisy, "good_get", {}))
            await asyncio.sleep(PAUSE)
        memory = peak(running) - reference.memory
        stop = await asyncio.to_thread(_terminated, running)
        for task in (attacking, listing):
            task.cancel()
            with contextlib.suppress(BaseException):
                await task
    return Outcome(name, len(beside), p99(alone), p99(beside), max(beside), memory, stop)


def _terminated(running: Running) -> float:
    """Return the seconds that a bridge took to end after SIGTERM."""
    started = perf_counter()
    running.process.terminate()
    with contextlib.suppress(Exception):
        running.process.wait(2 * MAX_STOP)
    return perf_counter() - started


async def run(arguments: argparse.Namespace, good: str, at: str, folder: Path) -> list[Outcome]:
    def show(line: str) -> None:
        if not arguments.gate:
            print(line, flush=True)

    show("\n".join(HEAD))
    outcomes: list[Outcome] = []
    async with bridge(configuration(folder, good, at, None), arguments.python) as (running, quiet):
        for _ in range(100):
            await call(quiet, "good_get", {})
        reference = Reference(quiet, peak(running))
        for name in arguments.only or CASES:
            config = configuration(folder, good, at, name)
            first, *more = _attempts(arguments)
            outcome = await measure(name, reference, config, first, arguments.python)
            while outcome.missed() and more:
                outcome = await measure(name, reference, config, more.pop(0), arguments.python)
            show(outcome.line())
            outcomes.append(outcome)
    return outcomes


def _attempts(arguments: argparse.Namespace) -> list[float]:
    """Return how long a case is measured, and again if it misses a goal."""
    if arguments.gate:
        return [GATE_SECONDS * (number + 1) for number in range(ATTEMPTS)]
    return [QUICK_SECONDS if arguments.quick else SECONDS]


def parse(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=(__doc__ or "").splitlines()[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="two seconds for each case instead of six")
    length.add_argument("--gate", action="store_true", help="one second, quiet; exit with 1 if a case misses each time")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"some of: {', '.join(CASES)}")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has utcp-bridge")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    arguments = parse(given)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each message to a bridge that has ended
    with (
        upstream() as port,
        hostile_upstream() as at,
        tempfile.TemporaryDirectory(prefix="utcp-bridge-bench-") as folder,
    ):
        good = f"http://127.0.0.1:{port}/manual/1"
        outcomes = asyncio.run(run(arguments, good, at, Path(folder)))
    failed = [outcome for outcome in outcomes if outcome.missed()]
    if arguments.gate and failed:
        print("\n".join([*HEAD, *(outcome.line() for outcome in failed)]))
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} hostile providers hurt no other.")
    return int(arguments.gate and bool(failed))


if __name__ == "__main__":
    sys.exit(main())
