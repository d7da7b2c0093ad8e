"""Large replies over every transport: `python -m benchmarks.large [--megabytes N] [--at-once N] [--only KIND ...]`.

A bridge has one manual with a tool for each transport, and a small tool over HTTP. One client calls the small tool all
the time, while another one asks for large replies. For each transport, the report has the p99 and the longest of the
small calls before and during that, the seconds of the large calls, the memory at the peak, and that two seconds later.
Each transport has a bridge of its own. The goal is a p99 of at most 50 ms more. The text of a `text` template has at
most 9 MB, because the configuration that contains it has a limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.harness.clients import PipeClient
from benchmarks.harness.processes import start
from benchmarks.hostile import peak

GOAL_MS = 50.0
PAUSE = 0.002
QUIET, AFTER = 2.0, 2.0
MOST_TEXT = 9_000_000
KINDS = ("http", "sse", "streamable_http", "websocket", "graphql", "grpc", "tcp", "cli", "file", "text")
HEAD = [
    "| transport | p99 before, ms | p99 beside, ms | longest | large calls, s | peak, MiB | after | |",
    "| --- " * 8 + "|",
]


def template(kind: str, ports: dict[str, int], file: Path) -> dict[str, Any]:
    """Return the call template of the large reply over a transport."""
    at = f"127.0.0.1:{ports['http']}/{kind}"
    own: dict[str, dict[str, Any]] = {
        "websocket": {"url": f"ws://{at}", "message": "go"},
        "graphql": {"url": f"http://{at}", "query": "query { rows }"},
        "grpc": {"host": "127.0.0.1", "port": ports["grpc"], "wire": "utcp"},
        "tcp": {"host": "127.0.0.1", "port": ports["tcp"], "framing_strategy": "delimiter"},
        "cli": {"command": "cat", "args": [str(file)]},
        "file": {"file_path": str(file)},
        "text": {"content": file.read_text(encoding="utf-8")[:MOST_TEXT]} if kind == "text" else {},
    }
    return {"call_template_type": kind, **own.get(kind, {"url": f"http://{at}", "http_method": "GET"})}


def configuration(folder: Path, kind: str, ports: dict[str, int], file: Path) -> Path:
    small = {"call_template_type": "http", "url": f"http://127.0.0.1:{ports['http']}/small", "http_method": "GET"}
    inputs = {"type": "object", "properties": {}}
    tools = [
        {"name": name, "description": name, "inputs": inputs, "tool_call_template": at}
        for name, at in (("small", small), ("large", template(kind, ports, file)))
    ]
    entry = {
        "name": "m",
        "call_template_type": "text",
        "content": {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": tools},
        "allowed_communication_protocols": sorted({"http", kind}),
    }
    most = 2 * file.stat().st_size
    limits = {"max_reply_bytes": most, "max_manual_bytes": most, "call_timeout": 120}
    path = folder / f"{kind}.json"
    path.write_text(json.dumps({"manual_call_templates": [entry], "bridge": limits}), encoding="utf-8")
    return path


async def measured(client: PipeClient, until: asyncio.Future[Any]) -> list[float]:
    """Call the small tool until `until` is done; return the times in milliseconds."""
    times: list[float] = []
    while not until.done():
        began = perf_counter()
        await client.exchange("tools/call", {"name": "m_small", "arguments": {}})
        times.append((perf_counter() - began) * 1000)
        await asyncio.sleep(PAUSE)
    return times


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]


async def one(kind: str, config: Path, at_once: int) -> tuple[str, bool]:
    """Measure one transport; return its line, and whether the goal is met."""
    running = start([sys.executable, "-m", "utcp_bridge", "serve", str(config)], core=None)
    try:
        client = await PipeClient.open(running.stdin, running.stdout, "2025-11-25")

        async def large() -> str:
            result = await client.exchange("tools/call", {"name": "m_large", "arguments": {}})
            return json.dumps(result)[:200] if result.get("isError") else ""

        await client.exchange("tools/call", {"name": "m_small", "arguments": {}})
        before = await measured(client, asyncio.ensure_future(asyncio.sleep(QUIET)))
        memory = running.memory()
        began = perf_counter()
        calls = asyncio.gather(*(large() for _ in range(at_once)))
        beside = await measured(client, calls)
        seconds = perf_counter() - began
        failed = next(filter(None, calls.result()), "")
        most = peak(running) - memory
        await asyncio.sleep(AFTER)
        stays = running.memory() - memory
        client.close()
    finally:
        running.stop()
    is_met = p99(beside) <= p99(before) + GOAL_MS and not failed
    figures = f"{p99(before):.1f} | {p99(beside):.1f} | {max(beside):.0f} | {seconds:.1f} | {most:+.0f} | {stays:+.0f}"
    return f"| {kind} | {figures} | {failed or ('held' if is_met else 'missed')} |", is_met


async def run(arguments: argparse.Namespace, folder: Path) -> int:
    file = folder / "rows.json"
    upstream = start(
        [sys.executable, "-m", "benchmarks.harness.large_upstream", str(arguments.megabytes), str(file)], core=None
    )
    missed = 0
    try:
        ports: dict[str, int] = json.loads(await asyncio.to_thread(upstream.stdout.readline))
        print("\n".join(HEAD), flush=True)
        for kind in arguments.only or KINDS:
            line, is_met = await one(kind, configuration(folder, kind, ports, file), arguments.at_once)
            print(line, flush=True)
            missed += not is_met
    finally:
        upstream.stop()
    return missed


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=60, help="size of a large reply (default 60)")
    parser.add_argument("--at-once", type=int, default=1, help="large calls at once (default 1)")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", help=f"some of: {', '.join(KINDS)}")
    arguments = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="utcp-bridge-bench-") as folder:
        return int(asyncio.run(run(arguments, Path(folder))) > 0)


if __name__ == "__main__":
    sys.exit(main())
