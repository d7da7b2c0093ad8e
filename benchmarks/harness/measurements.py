"""The measurements: each starts its own processes, compares servers within one run, and returns rows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.harness.clients import HttpLane, PipeClient, list_tools, run_burst
from benchmarks.harness.messages import ERAS, Era, Load
from benchmarks.harness.processes import BRIDGE, Running, Server, catalogue, start, write_config

IN_FLIGHT = (1, 16, 64)
MARK = b"pong"


@dataclass
class Samples:
    """One cell: a server under one load, a sample a round."""

    server: str
    transport: str
    era: Era
    in_flight: int
    tools: int = 10
    rate: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    @property
    def cell(self) -> tuple[str, str, int]:
        return self.transport, self.era, self.in_flight


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    starts: int
    sizes: tuple[int, ...] = (10, 1_000, 10_000)
    in_flight: tuple[int, ...] = IN_FLIGHT


class Bench:
    """Holds what every measurement needs: the upstream's port, a folder, the servers to compare."""

    def __init__(self, port: int, servers: Sequence[Server], plan: Plan, folder: Path) -> None:
        self.port, self.servers, self.plan, self._folder = port, list(servers), plan, folder

    def source(self, server: Server, tools: int) -> str:
        """What a server reads: the manual itself, or for the bridge a configuration with it."""
        folder = self._folder / str(tools)
        manual = folder / "catalogue.json"
        if not manual.exists():
            folder.mkdir()
            manual.write_text(json.dumps(catalogue(tools, self.port)), encoding="utf-8")
            write_config(folder, {"catalogue": {"call_template_type": "text", "file_path": str(manual)}})
        return str(folder / "config.json" if server.is_bridge else manual)

    @contextlib.asynccontextmanager
    async def serving(
        self, server: Server, transport: str, era: Era, tools: int
    ) -> AsyncIterator[tuple[Running, HttpLane | PipeClient]]:
        """A started server and a client of it."""
        flags = server.http_flags if transport == "http" else ()
        running = start([*server.command, self.source(server, tools), *flags])
        client: HttpLane | PipeClient | None = None
        try:
            if transport == "http":
                client = await HttpLane.open(await asyncio.to_thread(running.wait_for_url), era)
            else:
                client = await PipeClient.open(running.stdin, running.stdout, era)
            yield running, client
        except Exception as error:
            tail = "\n".join(running.errors[-15:])
            raise RuntimeError(f"{server.name} over {transport}, {era}: {error}\n{tail}") from error
        finally:
            if client is not None:
                client.close()
            await asyncio.sleep(0.05)  # the loop lets go of the pipes before their numbers are used again
            running.stop()

    async def throughput(self) -> list[Samples]:
        """Calls a second and CPU a call, per transport, era and number in flight."""
        found: list[Samples] = []
        for transport in ("http", "stdio"):
            for era in ERAS:
                found += await self._compare([(server, 10) for server in self.servers], transport, era)
        return found

    async def _compare(self, contestants: Sequence[tuple[Server, int]], transport: str, era: Era) -> list[Samples]:
        """Interleave the contestants: one burst each, the order turned every round."""
        cells: list[tuple[Samples, Running, HttpLane | PipeClient, Load]] = []
        async with contextlib.AsyncExitStack() as stack:
            for server, tools in contestants:
                running, client = await stack.enter_async_context(self.serving(server, transport, era, tools))
                await list_tools(client)
                if server.is_bridge:  # the index of the search is made once, soon after the start
                    await client.exchange("tools/call", {"name": "search_tools", "arguments": {"query": "tea"}})
                load = Load(era, server.tool(tools - 1), {"q": "tea", "limit": 5}, MARK)
                await _sample(Samples(server.name, transport, era, 16), running, client, load, self.plan.seconds / 2)
                cells += [
                    (Samples(server.name, transport, era, count, tools), running, client, load)
                    for count in self.plan.in_flight
                ]
            for number in range(self.plan.rounds):
                order = cells if number % 2 == 0 else cells[::-1]
                for samples, running, client, load in sorted(order, key=lambda one: one[0].in_flight):
                    await _sample(samples, running, client, load, self.plan.seconds)
        return [samples for samples, *_ in cells]

    async def growth(self, small: int = 10, large: int = 10_000) -> list[Samples]:
        """The same call with few and with many tools."""
        found: list[Samples] = []
        for transport in ("http", "stdio"):
            for era in ERAS:
                found += await self._compare([(BRIDGE, small), (BRIDGE, large)], transport, era)
        return found

    async def cold_start(self) -> list[dict[str, Any]]:
        """Seconds from spawn to the end of the first full tools/list over stdio; memory; CPU of a second list."""
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for _ in range(self.plan.starts):
            for tools in self.plan.sizes:
                for server in self.servers:
                    row = rows.setdefault(
                        (server.name, tools),
                        {"server": server.name, "tools": tools, "seconds": [], "list_cpu": [], "list_seconds": []},
                    )
                    await self._start_once(server, tools, row)
        return list(rows.values())

    async def _start_once(self, server: Server, tools: int, row: dict[str, Any]) -> None:
        self.source(server, tools)
        started = perf_counter()
        async with self.serving(server, "stdio", "2025-11-25", tools) as (running, client):
            listed = await list_tools(client)
            row["seconds"].append(perf_counter() - started)
            row["memory"] = max(row.get("memory", 0), running.memory())
            if sum(tool["name"].startswith(f"{server.prefix}find_") for tool in listed) != tools:
                raise RuntimeError(f"{len(listed)} tools were listed instead of {tools}")
            spent, again = running.cpu(), perf_counter()
            await list_tools(client)
            row["list_seconds"].append(perf_counter() - again)
            row["list_cpu"].append(running.cpu() - spent)

    async def many_manuals(self, count: int = 20) -> dict[str, list[float]]:
        """Seconds until every tool of `count` fetched manuals is listed: at once, and after 300 ms each."""
        found: dict[str, list[float]] = {"manual": [], "slow": []}
        for _ in range(self.plan.starts):
            for kind, samples in found.items():
                folder = Path(tempfile.mkdtemp(dir=self._folder))
                entry = {"call_template_type": "http", "http_method": "GET"}
                manuals = {
                    f"m{number}": {**entry, "url": f"http://127.0.0.1:{self.port}/{kind}/{number}"}
                    for number in range(count)
                }
                config = write_config(folder, manuals)
                samples.append(await _ready(config, count))
        return found


async def _ready(config: Path, count: int) -> float:
    started = perf_counter()
    running = start([*BRIDGE.command, str(config)])
    try:
        client = await PipeClient.open(running.stdin, running.stdout, "2025-11-25")
        while sum(tool["name"].endswith("_get") for tool in await list_tools(client)) < count:
            if perf_counter() - started > 20:
                raise RuntimeError("Manuals did not load:\n" + "\n".join(running.errors[-15:]))
        seconds = perf_counter() - started
        client.close()
        await asyncio.sleep(0.05)
    finally:
        running.stop()
    return seconds


@contextlib.asynccontextmanager
async def lanes_of(running: Running, client: HttpLane | PipeClient, load: Load, count: int) -> AsyncIterator[Any]:
    """One lane for each call in flight: connections of their own, as servers close idle ones, or the one pipe."""
    if isinstance(client, PipeClient):
        yield [client] * count
        return
    lanes = [await HttpLane.open(running.wait_for_url(), load.era) for _ in range(count)]
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.close()


async def _sample(
    samples: Samples, running: Running, client: HttpLane | PipeClient, load: Load, seconds: float
) -> None:
    async with lanes_of(running, client, load, samples.in_flight) as lanes:
        spent, started = running.cpu(), perf_counter()
        burst = await run_burst(lanes, load, seconds)
        elapsed, spent = perf_counter() - started, running.cpu() - spent
    latencies = sorted(burst.latencies)
    samples.rate.append(len(latencies) / elapsed)
    samples.cpu.append(spent / len(latencies))
    samples.p50.append(median(latencies))
    samples.p99.append(latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))])


def import_cost(times: int) -> list[float]:
    """CPU seconds of `import utcp_bridge` in fresh interpreters."""
    code = "import time; s = time.process_time(); import utcp_bridge; print(time.process_time() - s)"
    run = [sys.executable, "-c", code]
    return [
        float(subprocess.run(run, capture_output=True, check=True, text=True, timeout=60).stdout) for _ in range(times)
    ]


def machine() -> dict[str, Any]:
    """The machine in general terms."""
    return {
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "system": sys.platform,
        "load": [round(value, 1) for value in os.getloadavg()],
    }
