"""The bridge against the least that the same job can cost: `python -m benchmarks.bridge [--quick] [--gate]`.

Servers run interleaved in one run, so that whatever slows the machine slows all of them: read the ratios, not the
absolute figures. docs/benchmarks.md says what is measured and how; `--gate` turns a missed goal into exit status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.harness.commands import Command, commands
from benchmarks.harness.cost import costs
from benchmarks.harness.crowds import Crowd, Stalls, crowds, stalls
from benchmarks.harness.journal import Journal
from benchmarks.harness.measurements import Bench, Plan, import_cost, machine
from benchmarks.harness.peers import PEERS, peer, versions
from benchmarks.harness.processes import BRIDGE, CLIENT_CORE, FLOOR, PLAIN, Server, bridge, fastmcp, pin, upstream
from benchmarks.harness.report import Results, read_page, write_page

FULL = Plan(rounds=5, seconds=1.0, starts=5)
QUICK = Plan(rounds=2, seconds=0.25, starts=1, sizes=(10, 10_000), in_flight=(1, 16))
PARTS = (
    "throughput", "large", "late", "workers", "crowd", "stalls", "growth", "starts", "commands", "manuals", "import",
    "cost",
)  # fmt: skip
LARGE_IN_FLIGHT, LATE_IN_FLIGHT = 16, 64


def contestants(arguments: argparse.Namespace) -> tuple[list[Server], list[Server], dict[str, str]]:
    """Return all servers to compare, those of them that are the bridge in full, and why others are absent."""
    bridges = [BRIDGE, *([bridge("before", arguments.against)] if arguments.against else [])]
    others = [FLOOR]
    absent: dict[str, str] = {}
    if arguments.plain and "plain" not in arguments.peers:
        others.append(PLAIN if arguments.plain == "here" else bridge("plain", arguments.plain))
    if arguments.fastmcp and "fastmcp" not in arguments.peers:
        others.append(fastmcp(arguments.fastmcp))
    for name in arguments.peers:
        found = peer(name)
        if found is None:
            absent[name] = f"It is not installed. `scripts/peers {name}` installs it."
        else:
            others.append(found)
    return [*others[:1], *bridges, *others[1:]], bridges, absent


class Run:
    """One run: its servers, its plan and what it has measured."""

    def __init__(self, arguments: argparse.Namespace, port: int, folder: Path) -> None:
        self.is_quick: bool = arguments.quick
        servers, self.bridges, absent = contestants(arguments)
        plan = QUICK if self.is_quick else FULL
        if arguments.sizes:
            plan = replace(plan, sizes=tuple(arguments.sizes))
        label = json.dumps([[server.name for server in servers], asdict(plan)])
        journal = Journal(arguments.resume, label, arguments.minutes)
        self.bench = Bench(port, servers, plan, folder, journal)
        self.bench.absent.update(absent)
        installed = [server.name for server in servers if server.name in arguments.peers]
        self.results = Results({**machine(), "versions": versions(installed)})

    async def measure(self, parts: Sequence[str]) -> Results:
        """Measure the parts, in the order of `PARTS`, and return everything."""
        steps = {
            "import": self._import, "commands": self._commands, "manuals": self._manuals, "starts": self._starts,
            "growth": self._growth, "crowd": self._crowd, "stalls": self._stalls, "throughput": self._throughput,
            "large": self._large, "late": self._late, "workers": self._workers, "cost": self._cost,
        }  # fmt: skip
        for part, step in steps.items():
            if part in parts:
                await step()
        self.results.absent, self.results.left_out = self.bench.absent, self.bench.journal.left_out
        return self.results

    async def _import(self) -> None:
        self.results.imports = import_cost(3 if self.is_quick else 9)

    async def _commands(self) -> None:
        async def run() -> Any:
            found = await asyncio.to_thread(commands, self.bench, self.bench.plan.starts)
            return [asdict(one) for one in found]

        rows = await self.bench.journal.group("commands", run)
        self.results.commands = [Command(**row) for row in rows or ()]

    async def _manuals(self) -> None:
        self.results.manuals = await self.bench.journal.group("manuals", self.bench.many_manuals)

    async def _starts(self) -> None:
        self.results.starts = await self.bench.cold_start()

    async def _growth(self) -> None:
        self.results.growth = await self.bench.growth()

    async def _crowd(self) -> None:
        async def run() -> Any:
            return [asdict(one) for one in await crowds(self.bench, [FLOOR, *self.bridges], self.bench.plan.starts)]

        self.results.crowds = [Crowd(**row) for row in await self.bench.journal.group("crowd", run) or ()]

    async def _stalls(self) -> None:
        async def run() -> Any:
            return [asdict(one) for one in await stalls(self.bench, self.bridges, self.bench.plan.starts)]

        self.results.stalls = [Stalls(**row) for row in await self.bench.journal.group("stalls", run) or ()]

    async def _throughput(self) -> None:
        self.results.throughput = await self.bench.throughput()

    async def _large(self) -> None:
        self.results.large = await self.bench.loaded("large", LARGE_IN_FLIGHT)

    async def _late(self) -> None:
        self.results.late = await self.bench.loaded("late", LATE_IN_FLIGHT)

    async def _workers(self) -> None:
        self.results.workers = await self.bench.workers()

    async def _cost(self) -> None:
        if len(self.bridges) > 1:
            starts, rounds = (2, 10) if self.is_quick else (6, 20)
            self.results.costs = await costs(self.bench, *self.bridges, starts=starts, rounds=rounds)


async def measure(arguments: argparse.Namespace, port: int, folder: Path) -> Results:
    return await Run(arguments, port, folder).measure(arguments.only or PARTS)


def parse(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about a minute instead of several")
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some of the measurements")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="TOOLS", help="numbers of tools of `starts`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the tables into a page, between its marks")
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="keep each group of cells in FILE, and do not measure those that it has again",
    )
    parser.add_argument(
        "--minutes", type=float, help="begin no group of cells after this time; the page names the rest"
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=PEERS,
        default=[],
        metavar="NAME",
        help=f"compare with servers that `scripts/peers` installed: {', '.join(PEERS)}; without a name, with all",
    )
    parser.add_argument(
        "--against",
        metavar="PYTHON",
        help="an interpreter that has another version of utcp-bridge, which is measured as `before` in the same run",
    )
    parser.add_argument(
        "--plain",
        metavar="PYTHON",
        nargs="?",
        const="here",
        help="measure a *plain* install, too: that of an interpreter, by default this one without uvloop",
    )
    parser.add_argument(
        "--fastmcp",
        metavar="PYTHON",
        default=sys.executable if importlib.util.find_spec("fastmcp") else None,
        help="an interpreter that has fastmcp; default: this one, if it has",
    )
    arguments = parser.parse_args(given)
    words = sys.argv[1:] if given is None else given
    if "--peers" in words and not arguments.peers:
        arguments.peers = list(PEERS)
    if arguments.write:
        try:
            read_page(arguments.write)  # a run of an hour does not end with a wrong name
        except ValueError as error:
            parser.error(str(error))
    return arguments


def main(given: list[str] | None = None) -> int:
    arguments = parse(given)
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    with upstream() as port, tempfile.TemporaryDirectory(prefix="utcp-bridge-bench-") as folder:
        pin(os.getpid(), CLIENT_CORE)
        results = asyncio.run(measure(arguments, port, Path(folder)))
    lines = list(results.lines())
    print("\n".join(lines))
    if arguments.write:
        write_page(arguments.write, lines)
    if arguments.json:
        arguments.json.write_text(json.dumps(results.as_json(), indent=1), encoding="utf-8")
    return int(arguments.gate and not all(goal.met for goal in results.goals()))


if __name__ == "__main__":
    sys.exit(main())
