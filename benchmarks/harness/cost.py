"""What a call costs against another version: CPU of the server processes, which take turns in short bursts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, quantiles
from typing import Any

from benchmarks.harness.clients import HttpLane, PipeClient, list_tools, run_burst
from benchmarks.harness.measurements import Bench, lanes_of
from benchmarks.harness.messages import Era, Load
from benchmarks.harness.processes import Running, Server

PATHS: tuple[tuple[str, Era], ...] = (("http", "2025-11-25"), ("http", "2026-07-28"), ("stdio", "2025-11-25"))
MARK = b"pong"
ARGUMENTS = {"q": "tea", "limit": 5}
IN_FLIGHT = 16
BURST_SECONDS = 0.1
WARM_SECONDS = 0.5
SETTLING_SECONDS = 0.03


@dataclass
class Cost:
    """CPU seconds a call of two servers, a pair for each round."""

    transport: str
    era: Era
    before: list[float] = field(default_factory=list)
    now: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """What a call costs now, as a multiple of what it cost before, round by round."""
        return [now / before for now, before in zip(self.now, self.before, strict=True)]


@dataclass(frozen=True)
class _Contestant:
    running: Running
    client: HttpLane | PipeClient
    load: Load


async def costs(bench: Bench, now: Server, before: Server, *, starts: int, rounds: int) -> list[Cost]:
    """Compare two servers: `starts` times with new processes, each time in `rounds` rounds of two bursts each.

    New processes matter: the layout of its memory alone makes a process a few per cent slower or faster.
    """
    found = [Cost(transport, era) for transport, era in PATHS]
    for number in range(starts):
        for cost in found:
            async with contextlib.AsyncExitStack() as stack:
                order = [now, before] if number % 2 == 0 else [before, now]
                started = {server.name: await _start(bench, stack, server, cost) for server in order}
                for _ in range(rounds):
                    await _round(cost, started[now.name], started[before.name])
    return found


async def _start(bench: Bench, stack: contextlib.AsyncExitStack, server: Server, cost: Cost) -> _Contestant:
    running, client = await stack.enter_async_context(bench.serving(server, cost.transport, cost.era, 10))
    await list_tools(client)
    await client.exchange("tools/call", {"name": "search_tools", "arguments": {"query": "tea"}})
    contestant = _Contestant(running, client, Load(cost.era, server.tool(9), ARGUMENTS, MARK))
    async with lanes_of(running, client, contestant.load, IN_FLIGHT) as lanes:
        await _cpu(contestant, lanes, WARM_SECONDS)
    return contestant


async def _round(cost: Cost, now: _Contestant, before: _Contestant) -> None:
    """Add a pair of samples. The order is such that a machine that becomes slower or faster slows both alike."""
    spent: dict[bool, list[float]] = {True: [], False: []}
    async with contextlib.AsyncExitStack() as stack:
        lanes = [
            await stack.enter_async_context(lanes_of(one.running, one.client, one.load, IN_FLIGHT))
            for one in (before, now)
        ]
        for is_now in (False, True):  # both servers end what the old connections and the new ones cost
            await _cpu(now if is_now else before, lanes[is_now], SETTLING_SECONDS)
        for is_now in (True, False, False, True):
            spent[is_now].append(await _cpu(now if is_now else before, lanes[is_now], BURST_SECONDS))
    cost.now.append(fmean(spent[True]))
    cost.before.append(fmean(spent[False]))


async def _cpu(one: _Contestant, lanes: list[Any], seconds: float) -> float:
    """Return the CPU seconds a call of one burst."""
    spent = one.running.cpu()
    burst = await run_burst(lanes, one.load, seconds)
    return (one.running.cpu() - spent) / len(burst.latencies)


def cost_lines(costs: Sequence[Cost]) -> Iterator[str]:
    """The table for people."""
    if not costs:
        return
    yield from ("", "| transport | era | before, CPU ms/call | now | now x before, median [quartiles] | rounds |")
    yield "| --- | --- | --- | --- | --- | --- |"
    for cost in costs:
        low, middle, high = quantiles(cost.ratios, n=4)
        yield (
            f"| {cost.transport} | {cost.era} | {median(cost.before) * 1e3:.3f} | {median(cost.now) * 1e3:.3f} "
            f"| {middle:.3f} [{low:.3f}-{high:.3f}] | {len(cost.now)} |"
        )
