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
from pathlib import Path

from benchmarks.harness.cost import costs
from benchmarks.harness.crowds import crowds, stalls
from benchmarks.harness.measurements import Bench, Plan, import_cost, machine
from benchmarks.harness.processes import BRIDGE, CLIENT_CORE, FLOOR, PLAIN, Server, bridge, fastmcp, pin, upstream
from benchmarks.harness.report import Results

FULL = Plan(rounds=5, seconds=1.0, starts=5)
QUICK = Plan(rounds=2, seconds=0.25, starts=1, sizes=(10, 10_000), in_flight=(1, 16))
PARTS = ("throughput", "crowd", "stalls", "growth", "starts", "manuals", "import", "cost")


def contestants(arguments: argparse.Namespace) -> tuple[list[Server], list[Server]]:
    """Return all servers to compare, and those of them that are the bridge in full."""
    bridges = [BRIDGE, *([bridge("before", arguments.against)] if arguments.against else [])]
    others = [FLOOR]
    if arguments.plain:
        others.append(PLAIN if arguments.plain == "here" else bridge("plain", arguments.plain))
    if arguments.fastmcp:
        others.append(fastmcp(arguments.fastmcp))
    return [*others[:1], *bridges, *others[1:]], bridges


async def measure(arguments: argparse.Namespace, port: int, folder: Path) -> Results:
    plan = QUICK if arguments.quick else FULL
    servers, bridges = contestants(arguments)
    bench = Bench(port, servers, plan, folder)
    results = Results(machine())
    parts = arguments.only or PARTS
    if "import" in parts:
        results.imports = import_cost(3 if arguments.quick else 9)
    if "manuals" in parts:
        results.manuals = await bench.many_manuals()
    if "starts" in parts:
        results.starts = await bench.cold_start()
    if "growth" in parts:
        results.growth = await bench.growth()
    if "crowd" in parts:
        results.crowds = await crowds(bench, [FLOOR, *bridges], plan.starts)
    if "stalls" in parts:
        results.stalls = await stalls(bench, bridges, plan.starts)
    if "throughput" in parts:
        results.throughput = await bench.throughput()
    if "cost" in parts and len(bridges) > 1:
        starts, rounds = (2, 10) if arguments.quick else (6, 20)
        results.costs = await costs(bench, *bridges, starts=starts, rounds=rounds)
    return results


def parse(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about a minute instead of several")
    parser.add_argument("--gate", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="some of the measurements")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
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
        help="measure a *plain* install, too: that of an interpreter, by default this one without uvloop and httptools",
    )
    parser.add_argument(
        "--fastmcp",
        metavar="PYTHON",
        default=sys.executable if importlib.util.find_spec("fastmcp") else None,
        help="an interpreter that has fastmcp; default: this one, if it has",
    )
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    arguments = parse(given)
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    with upstream() as port, tempfile.TemporaryDirectory(prefix="utcp-bridge-bench-") as folder:
        pin(os.getpid(), CLIENT_CORE)
        results = asyncio.run(measure(arguments, port, Path(folder)))
    print("\n".join(results.lines()))
    if arguments.json:
        arguments.json.write_text(json.dumps(results.as_json(), indent=1), encoding="utf-8")
    return int(arguments.gate and not all(goal.met for goal in results.goals()))


if __name__ == "__main__":
    sys.exit(main())
