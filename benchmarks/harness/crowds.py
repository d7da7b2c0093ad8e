"""Many clients at once, and what one client's large work does to the calls of another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.harness.clients import HttpLane, list_tools
from benchmarks.harness.measurements import Bench
from benchmarks.harness.messages import ERAS, Era
from benchmarks.harness.processes import Running, Server, start

CLIENTS = 200
CALLS = 10
TOOLS = 10_000
REFRESH_SECONDS = 3


@dataclass
class Crowd:
    """Clients that all call one manual at the same time."""

    server: str
    era: Era
    calls: int = 0
    refused: int = 0
    rate: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)


@dataclass
class Stalls:
    """The longest call of one client while another one makes the server work, in seconds, a sample a round."""

    server: str
    quiet: list[float] = field(default_factory=list)
    search: list[float] = field(default_factory=list)
    refresh: list[float] = field(default_factory=list)


async def crowds(bench: Bench, servers: Sequence[Server], rounds: int) -> list[Crowd]:
    """Let `CLIENTS` clients call one manual at once, each with a session or connection of its own."""
    found: list[Crowd] = []
    for era in ERAS:
        rows = {server.name: Crowd(server.name, era) for server in servers}
        async with AsyncExitStack() as stack:
            running = {
                server: (await stack.enter_async_context(bench.serving(server, "http", era, 10)))[0]
                for server in servers
            }
            for _ in range(rounds):
                for server, process in running.items():
                    await _crowd(rows[server.name], server, process)
        found += rows.values()
    return found


async def _crowd(row: Crowd, server: Server, process: Running) -> None:
    lanes = [await HttpLane.open(process.wait_for_url(), row.era) for _ in range(CLIENTS)]
    latencies: list[float] = []

    async def client(lane: HttpLane) -> None:
        for _ in range(CALLS):
            started = perf_counter()
            result = await lane.exchange("tools/call", _call(server))
            latencies.append(perf_counter() - started)
            row.refused += bool(result.get("isError"))

    began = perf_counter()
    await asyncio.gather(*map(client, lanes))
    seconds = perf_counter() - began
    for lane in lanes:
        lane.close()
    row.calls += len(latencies)
    row.rate.append(len(latencies) / seconds)
    row.p99.append(sorted(latencies)[int(len(latencies) * 0.99)])


async def stalls(bench: Bench, servers: Sequence[Server], rounds: int) -> list[Stalls]:
    """Search and refresh a catalogue of `TOOLS` tools while another client calls one of them."""
    rows = {server.name: Stalls(server.name) for server in servers}
    for _ in range(rounds):
        for server in servers:
            await _stalls(rows[server.name], server, bench.source(server, TOOLS))
    return list(rows.values())


async def _stalls(row: Stalls, server: Server, source: str) -> None:
    every = f"refresh_interval={REFRESH_SECONDS}"
    running = start([*server.command, source, *server.http_flags, "--set", every])
    try:
        address = await asyncio.to_thread(running.wait_for_url)
        with (
            closing(await HttpLane.open(address, "2025-11-25")) as caller,
            closing(await HttpLane.open(address, "2025-11-25")) as other,
        ):
            await list_tools(other)
            await caller.exchange("tools/call", _call(server))
            search = {"name": "search_tools", "arguments": {"query": "collection"}}
            row.search.append(await _longest(caller, server, other.exchange("tools/call", search)))
            row.quiet.append(await _longest(caller, server, asyncio.sleep(0.5)))
            row.refresh.append(await _longest(caller, server, asyncio.sleep(REFRESH_SECONDS * 2.5)))
    finally:
        running.stop()


async def _longest(lane: HttpLane, server: Server, work: Any) -> float:
    """Return the longest call of this client until `work` ends."""
    task = asyncio.ensure_future(work)
    longest = 0.0
    while not task.done():
        started = perf_counter()
        await lane.exchange("tools/call", _call(server))
        longest = max(longest, perf_counter() - started)
    await task
    return longest


def _call(server: Server) -> dict[str, Any]:
    return {"name": server.tool(1), "arguments": {"q": "tea", "limit": 5}}


def crowd_lines(rows: Sequence[Crowd]) -> list[str]:
    """Return the table of `crowds`, nothing if it was left out."""
    if not rows:
        return []
    lines = [
        "",
        f"| {CLIENTS} clients | era | calls | refused | calls/s | p99 ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        figures = f"{median(row.rate):,.0f} | {median(row.p99) * 1e3:.0f}"
        lines.append(f"| {row.server} | {row.era} | {row.calls:,} | {row.refused:,} | {figures} |")
    return lines


def stall_lines(rows: Sequence[Stalls]) -> list[str]:
    """Return the table of `stalls`, nothing if it was left out."""
    if not rows:
        return []
    lines = [
        "",
        f"| longest call of another client at {TOOLS:,} tools, ms | quiet | first search | refresh |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        figures = " | ".join(f"{median(values) * 1e3:.0f}" for values in (row.quiet, row.search, row.refresh))
        lines.append(f"| {row.server} | {figures} |")
    return lines
