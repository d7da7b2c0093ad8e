"""The measurements: each starts its own processes, compares servers within one run, and returns rows."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.harness.clients import HttpLane, PipeClient, list_tools, run_burst
from benchmarks.harness.journal import Journal
from benchmarks.harness.messages import ERAS, Era, Load
from benchmarks.harness.processes import BRIDGE, SERVER_CORE, Running, Server, catalogue, start, write_config

IN_FLIGHT = (1, 16, 64)
MARK = b"pong"


@dataclass
class Samples:
    """One cell: a server under one load, a sample a round. `path` is what its tools ask the upstream for."""

    server: str
    transport: str
    era: Era
    in_flight: int
    tools: int = 10
    path: str = "small"
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
    """Holds what every measurement needs: the upstream's port, a folder, the servers to compare, the journal."""

    def __init__(
        self, port: int, servers: Sequence[Server], plan: Plan, folder: Path, journal: Journal | None = None
    ) -> None:
        self.port, self.servers, self.plan, self._folder = port, list(servers), plan, folder
        self.journal = journal or Journal()
        self.absent: dict[str, str] = {}
        """Why a server has no figures, by the server and what was asked of it."""

    def source(self, server: Server, tools: int, path: str = "small") -> str:
        """What a server reads: the manual itself, or for the bridge a configuration with it."""
        folder = self._folder / f"{path}-{tools}"
        manual = folder / "catalogue.json"
        if not manual.exists():
            folder.mkdir()
            manual.write_text(json.dumps(catalogue(tools, self.port, path)), encoding="utf-8")
            write_config(folder, {"catalogue": {"call_template_type": "text", "file_path": str(manual)}})
        return str(folder / "config.json" if server.is_bridge else manual)

    @contextlib.asynccontextmanager
    async def serving(
        self, server: Server, transport: str, era: Era, tools: int, path: str = "small"
    ) -> AsyncIterator[tuple[Running, HttpLane | PipeClient]]:
        """A started server and a client of it."""
        flags = server.http_flags if transport == "http" else ()
        command = [*server.command, self.source(server, tools, path), *flags]
        running = start(command, SERVER_CORE if server.is_pinned else None)
        client: HttpLane | PipeClient | None = None
        try:
            if transport == "http":
                client = await HttpLane.open(await asyncio.to_thread(running.wait_for_url), era)
            else:
                client = await PipeClient.open(running.stdin, running.stdout, era)
            yield running, client
        except Exception as error:
            tail = "\n".join(running.errors[-15:])
            what = str(error) or "It did not reply in time."
            raise RuntimeError(f"{server.name} over {transport}, {era}: {what}\n{tail}") from error
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
                contestants = [(server, 10) for server in self.servers]
                found += await self.compare("throughput", contestants, transport, era)
        return found

    async def loaded(self, path: str, in_flight: int) -> list[Samples]:
        """The same with another reply of the upstream: `large`, or `late`."""
        found: list[Samples] = []
        for transport, era in (("http", ERAS[0]), ("http", ERAS[1]), ("stdio", ERAS[1])):
            contestants = [(server, 10) for server in self.servers]
            found += await self.compare(path, contestants, transport, era, path=path, in_flight=(in_flight,))
        return found

    async def workers(self) -> list[Samples]:
        """One process and two, which may use any core, with 64 calls in flight."""
        one = replace(BRIDGE, name="1 worker", is_pinned=False)
        two = replace(one, name="2 workers", http_flags=(*BRIDGE.http_flags, "--workers", "2"))
        found: list[Samples] = []
        for era in ERAS:
            found += await self.compare("workers", [(one, 10), (two, 10)], "http", era, in_flight=(64,))
        return found

    async def compare(
        self,
        name: str,
        contestants: Sequence[tuple[Server, int]],
        transport: str,
        era: Era,
        *,
        path: str = "small",
        in_flight: Sequence[int] | None = None,
    ) -> list[Samples]:
        """Return the cells of a group, from the journal or measured now. Those of an absent server are missing."""
        counts = in_flight or self.plan.in_flight
        absent = self.absent

        async def measure() -> Any:
            before = dict(absent)
            found = await self._compare(contestants, transport, era, path, counts)
            new = {key: why for key, why in absent.items() if before.get(key) != why}
            return {"samples": [asdict(one) for one in found], "absent": new}

        group = await self.journal.group(f"{name}, {transport}, {era}", measure)
        if group is None:
            return []
        absent.update(group["absent"])
        return [Samples(**one) for one in group["samples"]]

    async def _open(self, stack: contextlib.AsyncExitStack, server: Server, given: tuple[str, Era, int, str]) -> Any:
        """Return a server and its client; None, with the reason in `absent`, if it does not speak the protocol."""
        transport, era, tools, path = given
        own = contextlib.AsyncExitStack()
        try:
            running, client = await own.enter_async_context(self.serving(server, transport, era, tools, path))
            await _spoken(client, era, server)
        except Exception as error:
            await own.aclose()
            if server.is_bridge or server.name == "floor":
                raise
            self.absent[f"{server.name}, {transport}, {era}"] = _why(error)
            return None
        stack.push_async_exit(own)
        return running, client

    async def _compare(
        self, contestants: Sequence[tuple[Server, int]], transport: str, era: Era, path: str, counts: Sequence[int]
    ) -> list[Samples]:
        """Interleave the contestants: one burst each, the order turned every round."""
        cells: list[tuple[Samples, Running, HttpLane | PipeClient, Load]] = []
        async with contextlib.AsyncExitStack() as stack:
            for server, tools in contestants:
                opened = await self._open(stack, server, (transport, era, tools, path))
                if opened is None:
                    continue
                running, client = opened
                if server.is_bridge:  # the index of the search is made once, soon after the start
                    await client.exchange("tools/call", {"name": "search_tools", "arguments": {"query": "tea"}})
                load = Load(era, *server.call(tools - 1), MARK)
                await _sample(Samples(server.name, transport, era, 16), running, client, load, self.plan.seconds / 2)
                cells += [
                    (Samples(server.name, transport, era, count, tools, path), running, client, load)
                    for count in counts
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
                found += await self.compare("growth", [(BRIDGE, small), (BRIDGE, large)], transport, era)
        return found

    async def cold_start(self) -> list[dict[str, Any]]:
        """Seconds from spawn to the end of the first full tools/list over stdio; memory; CPU of a second list."""
        found: list[dict[str, Any]] = []
        for tools in self.plan.sizes:
            group = await self.journal.group(f"starts, {tools} tools", partial(self._starts, tools))
            if group is not None:
                self.absent.update(group["absent"])
                found += group["rows"]
        return found

    async def _starts(self, tools: int) -> dict[str, Any]:
        empty: dict[str, Any] = {"seconds": [], "list_cpu": [], "list_seconds": []}
        rows = {one.name: {"server": one.name, "tools": tools, **copy.deepcopy(empty)} for one in self.servers}
        absent: dict[str, str] = {}
        for _ in range(self.plan.starts):
            for server in self.servers:
                if server.name not in absent:
                    try:
                        await self._start_once(server, tools, rows[server.name])
                    except RuntimeError as error:
                        if server.is_bridge or server.name == "floor":
                            raise
                        absent[server.name] = _why(error)
        kept = [row for name, row in rows.items() if name not in absent]
        return {"rows": kept, "absent": {f"{name}, start with {tools:,} tools": why for name, why in absent.items()}}

    async def _start_once(self, server: Server, tools: int, row: dict[str, Any]) -> None:
        self.source(server, tools)
        started = perf_counter()
        async with self.serving(server, "stdio", "2025-11-25", tools) as (running, client):
            listed = await list_tools(client)
            row["seconds"].append(perf_counter() - started)
            row["memory"] = max(row.get("memory", 0), running.memory())
            if (
                server.through is None
                and sum(tool["name"].startswith(f"{server.prefix}find_") for tool in listed) != tools
            ):
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


def _why(error: Exception) -> str:
    """Return why a server has no figures in a line: its own last word if it ended, or else what it replied."""
    first, *errors = str(error).splitlines() or ["It did not reply in time."]
    if errors and ("closed" in first or "did not start" in first):
        return errors[-1]
    return re.sub(r"^\S+ over \w+, [\d-]+: ", "", first)


async def _spoken(client: HttpLane | PipeClient, era: Era, server: Server) -> None:
    """Check that a server speaks the protocol version, and does not only ignore it, and that a call succeeds.

    :raises RuntimeError: it does not.
    """
    page = await client.exchange("tools/list", {})
    if era == ERAS[0] and "resultType" not in page:
        raise RuntimeError(f"{era} is not spoken")
    name, arguments = server.call()
    result = await client.exchange("tools/call", {"name": name, "arguments": arguments})
    if MARK.decode() not in json.dumps(result):
        raise RuntimeError(f"a call returns {json.dumps(result)[:200]}")


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
