"""What recognising callers, profiles and budgets cost a call: `python -m benchmarks.access [--rounds N] [--starts N]`.

Bridges that differ in their settings alone take turns in short blocks of calls. The figure is the CPU time of a call
(user and system, from the kernel's scheduler) as a multiple of that of the bridge that lets anyone in. Each ratio is of
four blocks in a row, plain, own, own, plain, so a machine that becomes slower or faster slows both alike. All bridges
are in one process, because the layout of its memory alone makes a process some per cent slower or faster than another
one. The interval is a bootstrap over starts, and over rounds within them. `anyone, again` compares two bridges of the
same settings: what its interval leaves open, no other row can decide.

`--instructions` decides where time cannot: it counts the processor's instructions in the bridge, without those of the
kernel, with valgrind. A machine that is busy does not change them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from shutil import which
from statistics import median
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from benchmarks.harness.clients import HttpLane, run_burst
from benchmarks.harness.messages import ERAS, Address, Era, Load
from benchmarks.harness.processes import BRIDGE, CLIENT_CORE, Running, catalogue, pin, start, upstream, write_config

from utcp_bridge.access.tokens import TokenFile

TOOLS, IN_FLIGHT, BLOCK, WARM, SETTLING = 10, 16, 160, 1_500, 48
"""Tools; lanes; and calls: of a block, of a new process, and of new connections before they count."""
MAX_SECONDS = 60.0
"""Of a block, on a machine that is busy."""
GOAL, RESAMPLES, SURE = 1.03, 2_000, 0.95
TOKEN = {"access": {"tokens_file": "tokens.json"}}
MUCH = 1_000_000_000
PLAIN, CONTROL = "anyone", "anyone, again"
SETTINGS: Mapping[str, dict[str, Any]] = {
    CONTROL: {},
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
"""Settings by what they are called."""
COUNTED = 400, 1_600
"""Calls of the two runs whose difference is the instructions of a call."""
COUNTER = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
PARTS = {
    False: ("<!-- cost of access -->", "<!-- end of the cost of access -->"),
    True: ("<!-- instructions of access -->", "<!-- end of the instructions of access -->"),
}
"""What is between these lines of a page is replaced by the table: that of times, and that of instructions."""


@dataclass
class Variant:
    """A running bridge."""

    running: Running
    address: Address
    load: Load

    @contextlib.asynccontextmanager
    async def lanes(self) -> AsyncIterator[list[HttpLane]]:
        """Return new connections, because servers close idle ones, after some calls that do not count."""
        lanes = [await HttpLane.open(self.address, self.load.era) for _ in range(IN_FLIGHT)]
        try:
            await run_burst(lanes, self.load, MAX_SECONDS, SETTLING)
            yield lanes
        finally:
            for lane in lanes:
                lane.close()

    async def block(self, lanes: list[HttpLane], calls: int = BLOCK) -> float:
        """Return the CPU seconds a call of one block."""
        before = self.running.cpu()
        done = await run_burst(lanes, self.load, MAX_SECONDS, calls)
        return (self.running.cpu() - before) / len(done.latencies)


@dataclass
class Ratios:
    """The cost of one variant: a list of ratios for each start, and the CPU seconds of its calls."""

    starts: list[list[float]] = field(default_factory=list[list[float]])
    seconds: list[float] = field(default_factory=list[float])

    @property
    def middle(self) -> float:
        """The median over starts of the median of each."""
        return _middle(self.starts)

    def interval(self) -> tuple[float, float]:
        """Return where the median is, as sure as `SURE` says."""
        chance = Random(len(self.starts))
        found = sorted(
            _middle([chance.choices(one, k=len(one)) for one in chance.choices(self.starts, k=len(self.starts))])
            for _ in range(RESAMPLES)
        )
        rest = (1 - SURE) / 2
        return found[int(rest * RESAMPLES)], found[int((1 - rest) * RESAMPLES) - 1]

    def verdict(self) -> str:
        """Return whether the goal is met, if the interval decides it."""
        low, high = self.interval()
        return "yes" if high <= GOAL else "no" if low > GOAL else "not decided"


def _middle(starts: Sequence[Sequence[float]]) -> float:
    return median(median(one) for one in starts)


def written(folder: Path, settings: dict[str, Any], port: int) -> tuple[Path, tuple[str, ...]]:
    """Write a configuration; return its file, and the headers that clients send."""
    folder.mkdir()
    manual = folder / "manual.json"
    manual.write_text(json.dumps(catalogue(TOOLS, port)), encoding="utf-8")
    path = write_config(folder, {"catalogue": {"call_template_type": "file", "file_path": str(manual)}})
    config = json.loads(path.read_text(encoding="utf-8"))
    config["bridge"] |= {"port": 0, **settings}
    path.write_text(json.dumps(config), encoding="utf-8")
    access = settings.get("access", {})
    if "tokens_file" not in access:
        return path, ()
    profiles = ["all"] if "profiles" in access else None
    token = TokenFile(folder / "tokens.json").add("ci", profiles=profiles).value
    return path, (f"Authorization: Bearer {token}",)


@contextlib.contextmanager
def serving(names: Sequence[str], era: Era, port: int) -> Iterator[dict[str, Variant]]:
    """Start one process with a bridge for each name."""
    load = Load(era, BRIDGE.tool(TOOLS - 1), {"q": "tea", "limit": 5}, b"pong")
    with tempfile.TemporaryDirectory(prefix="benchmark-access-") as above:
        made = [written(Path(above) / str(place), SETTINGS.get(name, {}), port) for place, name in enumerate(names)]
        running = start([sys.executable, "-m", "benchmarks.harness.side_by_side", *(str(path) for path, _ in made)])
        try:
            urls = [urlsplit(url) for url in json.loads(running.stdout.readline())]
            yield {
                name: Variant(running, Address(str(url.hostname), url.port or 0, url.path, headers=headers), load)
                for name, url, (_, headers) in zip(names, urls, made, strict=True)
            }
        finally:
            running.stop()


async def measure(names: Sequence[str], era: Era, rounds: int, starts: int, ends: float) -> dict[str, Ratios]:
    """Return the ratios of each name. No start begins after `ends` (monotonic)."""
    found = {name: Ratios() for name in names}
    with upstream() as port:
        for number in range(starts):
            if number and monotonic() > ends:
                break
            # who is first differs, because that may decide about memory and caches
            every = [PLAIN, *names]
            turned = [*every[number % len(every) :], *every[: number % len(every)]]
            with serving(turned, era, port) as variants:
                for variant in variants.values():
                    async with variant.lanes() as lanes:
                        await variant.block(lanes, WARM)
                plain = variants.pop(PLAIN)
                for name in names:
                    await _compare(plain, variants[name], found[name], rounds)
    return found


async def _compare(plain: Variant, own: Variant, ratios: Ratios, rounds: int) -> None:
    """Add the ratios of one start, each of four blocks."""
    found: list[float] = []
    async with plain.lanes() as theirs, own.lanes() as ours:
        for _ in range(rounds):
            first = await plain.block(theirs)
            spent = [await own.block(ours), await own.block(ours)]
            found.append(sum(spent) / (first + await plain.block(theirs)))
            ratios.seconds += spent
    ratios.starts.append(found)


def table(measured: Mapping[Era, Mapping[str, Ratios]]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| era | settings | CPU ms a call | x anyone [{SURE:.0%} interval] | at most {GOAL:.2f} | starts x rounds |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for era, found in measured.items():
        for name, ratios in found.items():
            low, high = ratios.interval()
            times = f"{ratios.middle:.3f} [{low:.3f}-{high:.3f}]"
            shape = f"{len(ratios.starts)} x {len(ratios.starts[0])}"
            yield f"| {era} | {name} | {median(ratios.seconds) * 1e3:.3f} | {times} | {ratios.verdict()} | {shape} |"


async def count(names: Sequence[str], eras: Sequence[Era]) -> list[str]:
    """Return the lines of a table of instructions."""
    lines = [
        f"| era | settings | instructions a call | x anyone | at most {GOAL:.2f} |",
        "| --- | --- | --- | --- | --- |",
    ]
    for era in eras:
        lines += await _counted(names, era)
    return lines


async def _counted(names: Sequence[str], era: Era) -> list[str]:
    lines, plain = list[str](), 0.0
    with upstream() as port:
        for name in [PLAIN, *names]:
            few, many = [await _instructions(name, era, port, calls) for calls in COUNTED]
            found = (many - few) / (COUNTED[1] - COUNTED[0])
            plain = plain or found
            verdict = "yes" if found / plain <= GOAL else "no"
            lines.append(f"| {era} | {name} | {found:,.0f} | {found / plain:.3f} | {verdict} |")
    return lines


async def _instructions(name: str, era: Era, port: int, calls: int) -> int:
    """Return the instructions of a process with one bridge, from its start to its end, with this many calls."""
    load = Load(era, BRIDGE.tool(TOOLS - 1), {"q": "tea", "limit": 5}, b"pong")
    with tempfile.TemporaryDirectory(prefix="benchmark-access-") as above:
        path, headers = written(Path(above) / "one", SETTINGS.get(name, {}), port)
        command = [*COUNTER, sys.executable, "-m", "benchmarks.harness.side_by_side", str(path)]
        running = start(command, environment={"PYTHONHASHSEED": "0"})
        try:
            url = urlsplit(json.loads(running.stdout.readline())[0])
            address = Address(str(url.hostname), url.port or 0, url.path, headers=headers)
            lanes = [await HttpLane.open(address, era) for _ in range(IN_FLIGHT)]
            await run_burst(lanes, load, MAX_SECONDS * 10, calls)
            for lane in lanes:
                lane.close()
        finally:
            running.process.send_signal(signal.SIGTERM)
            running.url.wait(MAX_SECONDS)  # its output has ended
            running.stop()
    told = re.search(r"I\s+refs:\s+([\d,]+)", "\n".join(running.errors))
    if told is None:
        raise RuntimeError(f"valgrind counted nothing: {running.errors[-3:]}")
    return int(told[1].replace(",", ""))


def write_table(page: Path, lines: Sequence[str], first: str, last: str) -> None:
    """Replace the table of a page, between two lines.

    :raises ValueError: the page does not have these lines.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{page} has no lines {first} and {last}. Add them where the table belongs.")
    page.write_text("\n".join([f"{before}{begin}", "", *lines, "", f"{end}{after}"]), encoding="utf-8")


async def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="rounds for each start")
    parser.add_argument("--starts", type=int, default=6, help="how often new processes are started")
    parser.add_argument("--minutes", type=float, default=60.0, help="of an era; no start begins after them")
    parser.add_argument("--era", choices=ERAS, action="append", help="versions of the protocol; default: both")
    parser.add_argument(
        "--only", action="append", choices=list(SETTINGS), help="settings to compare; may be given again"
    )
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions with valgrind, once for each row"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the table into a page, too")
    options = parser.parse_args()
    pin(0, CLIENT_CORE)
    names = list(dict.fromkeys([CONTROL, *(options.only or SETTINGS)]))
    if options.instructions:
        if which("valgrind") is None:
            parser.error("--instructions needs valgrind. Install the package of that name.")
        lines = await count(names, options.era or ERAS)
    else:
        measured: dict[Era, dict[str, Ratios]] = {}
        for era in options.era or ERAS:
            ends = monotonic() + options.minutes * 60
            measured[era] = await measure(names, era, options.rounds, options.starts, ends)
        lines = list(table(measured))
    print("\n".join(lines))
    if options.write is not None:
        write_table(options.write, lines, *PARTS[options.instructions])


if __name__ == "__main__":
    asyncio.run(main())
