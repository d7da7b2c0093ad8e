"""What recognising callers, profiles and budgets cost a call: `python -m benchmarks.access [--rounds N] [--starts N]`.

Bridges that differ in their settings alone take turns in short bursts. A figure is the CPU time of a call as a multiple
of that of the bridge that lets anyone in, round by round, so what slows the machine slows both. New processes matter:
the layout of its memory alone makes a process a few per cent slower or faster, hence the starts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

from benchmarks.harness.clients import HttpLane, run_burst
from benchmarks.harness.messages import ERAS, Address, Era, Load
from benchmarks.harness.processes import BRIDGE, CLIENT_CORE, Running, catalogue, pin, start, upstream, write_config

from utcp_bridge.access.tokens import TokenFile

TOOLS, IN_FLIGHT, BURST_SECONDS, WARM_SECONDS, SETTLING_SECONDS = 10, 16, 0.15, 0.5, 0.03
TOKEN = {"access": {"tokens_file": "tokens.json"}}
MUCH = 1_000_000_000
PLAIN = "anyone"
SETTINGS: Mapping[str, dict[str, Any]] = {
    PLAIN: {},
    "anyone, again": {},
    "token": TOKEN,
    "profile": {"access": {"profiles": {"all": {}}, "default_profile": "all"}},
    "token with a profile": {"access": {**TOKEN["access"], "profiles": {"all": {}}}},
    "budget of calls": {"access": {"budgets": {"*": {"rate": MUCH, "concurrency": MUCH}}}},
    "budget of bytes": {"access": {"budgets": {"*": {"bytes_per_minute": MUCH * 1000, "bytes_per_day": MUCH * 1000}}}},
    "all of it": {
        "access": {
            **TOKEN["access"],
            "profiles": {"all": {"budget": {"rate": MUCH}}},
            "budgets": {"*": {"rate": MUCH, "concurrency": MUCH, "bytes_per_minute": MUCH * 1000}},
        }
    },
}
"""Settings by what they are called; `anyone, again` shows what the figures are worth."""


@dataclass
class Variant:
    """A running bridge."""

    running: Running
    address: Address
    load: Load

    async def burst(self, seconds: float = BURST_SECONDS) -> float:
        """Return the CPU seconds a call of one burst. Its connections are new, because servers close idle ones."""
        lanes = [await HttpLane.open(self.address, self.load.era) for _ in range(IN_FLIGHT)]
        try:
            await run_burst(lanes, self.load, SETTLING_SECONDS)
            before = self.running.cpu()
            done = await run_burst(lanes, self.load, seconds)
            return (self.running.cpu() - before) / len(done.latencies)
        finally:
            for lane in lanes:
                lane.close()


@contextlib.asynccontextmanager
async def serving(name: str, era: Era, port: int) -> AsyncIterator[Variant]:
    """Start a bridge with these settings."""
    with tempfile.TemporaryDirectory(prefix="benchmark-access-") as written:
        folder = Path(written)
        manual = folder / "manual.json"
        manual.write_text(json.dumps(catalogue(TOOLS, port)), encoding="utf-8")
        path = write_config(folder, {"catalogue": {"call_template_type": "file", "file_path": str(manual)}})
        config = json.loads(path.read_text(encoding="utf-8"))
        config["bridge"] |= SETTINGS[name]
        path.write_text(json.dumps(config), encoding="utf-8")
        headers: tuple[str, ...] = ()
        if "tokens_file" in SETTINGS[name].get("access", {}):
            profiles = ["all"] if "profiles" in SETTINGS[name]["access"] else None
            headers = (f"Authorization: Bearer {TokenFile(folder / 'tokens.json').add('ci', profiles=profiles).value}",)
        running = start([*BRIDGE.command, str(path), *BRIDGE.http_flags])
        try:
            address = replace(await asyncio.to_thread(running.wait_for_url), headers=headers)
            yield Variant(running, address, Load(era, BRIDGE.tool(TOOLS - 1), {"q": "tea", "limit": 5}, b"pong"))
        finally:
            running.stop()


async def measure(names: list[str], era: Era, rounds: int, starts: int) -> dict[str, list[tuple[float, float]]]:
    """Return pairs of CPU seconds a call by name: of the bridge for anyone, and of this one, in the same round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with upstream() as port:
        for _ in range(starts):
            async with contextlib.AsyncExitStack() as stack:
                variants = {name: await stack.enter_async_context(serving(name, era, port)) for name in names}
                for variant in variants.values():
                    await variant.burst(WARM_SECONDS)
                for _ in range(rounds):
                    await _round(variants, found)
    return found


async def _round(variants: dict[str, Variant], found: dict[str, list[tuple[float, float]]]) -> None:
    """Add a sample of each. The order is such that a machine that becomes slower or faster slows all alike."""
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for name in [*variants, *reversed(variants)]:
        spent[name].append(await variants[name].burst())
    plain = fmean(spent[PLAIN])
    for name, samples in spent.items():
        found[name].append((plain, fmean(samples)))


async def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="rounds for each start")
    parser.add_argument("--starts", type=int, default=3, help="how often new processes are started")
    parser.add_argument("--era", choices=ERAS, action="append", help="versions of the protocol; default: both")
    parser.add_argument(
        "--only", action="append", choices=list(SETTINGS), help="settings to compare; may be given again"
    )
    options = parser.parse_args()
    pin(0, CLIENT_CORE)
    names = list(dict.fromkeys([PLAIN, *(options.only or SETTINGS)]))
    print("| era | settings | CPU ms/call | x anyone, median [quartiles] | rounds |\n| --- | --- | --- | --- | --- |")
    for era in options.era or ERAS:
        for name, pairs in (await measure(names, era, options.rounds, options.starts)).items():
            low, middle, high = quantiles([own / plain for plain, own in pairs], n=4)
            cost = median(own for _, own in pairs) * 1e3
            print(f"| {era} | {name} | {cost:.3f} | {middle:.3f} [{low:.3f}-{high:.3f}] | {len(pairs)} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
