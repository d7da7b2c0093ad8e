"""What traces, metrics and the access log cost a call: `python -m benchmarks.sight [--instructions]`.

Bridges that differ in their telemetry alone take turns in short bursts, as in `benchmarks.access`. A figure is the CPU
time of a call, in all threads, as a multiple of that of the bridge without telemetry, round by round. What a call costs
when the spans are exported is in it: the collector is another process, which counts the spans that it receives.

`--instructions` counts the processor's instructions in place of the time, as in `benchmarks.access`: those of the whole
process, with all threads and what the end of the bridge sends. A machine that is busy does not change them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shutil import which
from statistics import fmean, median, quantiles
from time import monotonic
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from benchmarks.access import IN_FLIGHT, MAX_SECONDS, TOOLS
from benchmarks.harness.clients import SPAN, HttpLane, PipeClient, list_tools, run_burst
from benchmarks.harness.cost import SETTLING_SECONDS, WARM_SECONDS
from benchmarks.harness.messages import ERAS, Address, Era, Load
from benchmarks.harness.processes import BRIDGE, CLIENT_CORE, Running, catalogue, pin, start, upstream, write_config

BURST_SECONDS = 0.2
OFF = "off"
TRACE = f"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-{SPAN.decode()}-00"
"""A trace that the caller does not sample. Each call has a span of its own."""


@dataclass(frozen=True)
class Sight:
    """Settings of one bridge, and what its callers send. `share` is that of the calls whose trace is sampled.

    With `is_default`, traces are on and no sampler is set: the bridge's limit holds.
    """

    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    share: float | None = None
    metrics: bool = False
    is_traced_by_callers: bool = False
    is_default: bool = False

    def environment(self, name: str, collector: int) -> dict[str, str]:
        """Return the variables of OpenTelemetry; none without traces and metrics. `name` is that of the service."""
        if self.share is None and not self.metrics and not self.is_default:
            return {}
        sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(self.share or 0.0)}
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}",
            "OTEL_TRACES_EXPORTER": "otlp" if self.share is not None or self.is_default else "none",
            "OTEL_METRICS_EXPORTER": "otlp" if self.metrics else "none",
            "OTEL_SERVICE_NAME": name,
            **({} if self.is_default else sampler),
        }


LOG = {"log": {"access_log": "access.jsonl"}}
SIGHTS: Mapping[str, Sight] = {
    OFF: Sight(),
    "off, again": Sight(),
    "off, callers trace": Sight(is_traced_by_callers=True),
    "traces, default": Sight(is_default=True),
    "traces, default, callers trace": Sight(is_default=True, is_traced_by_callers=True),
    "traces, 0 %": Sight(share=0.0),
    "traces, 0 %, callers trace": Sight(share=0.0, is_traced_by_callers=True),
    "traces, 1 %": Sight(share=0.01),
    "traces, 10 %": Sight(share=0.1),
    "traces, 100 %": Sight(share=1.0),
    "metrics, Prometheus": Sight({"telemetry": {"metrics": True}}),
    "metrics, OTLP": Sight(metrics=True),
    "access log": Sight(LOG),
    "traces 1 %, metrics, access log": Sight({**LOG, "telemetry": {"metrics": True}}, share=0.01),
}
"""What is compared; `off, again` shows what the figures are worth."""
Lanes = list[HttpLane] | list[PipeClient]
Way = Literal["2026-07-28", "2025-11-25", "stdio 2026-07-28", "stdio 2025-11-25"]
WAYS: tuple[Way, ...] = ("2026-07-28", "2025-11-25", "stdio 2026-07-28", "stdio 2025-11-25")
"""Versions of the protocol, over HTTP or over stdio."""
UNCOUNTED, COUNTED = 300, 1_024
"""Calls before the instructions are counted, and while they are."""
IDLE_CPU, QUIET_SECONDS = 0.02, 1.0
"""CPU seconds of a process that does nothing but its timers, and the time in which they are counted."""
BATCH_MILLISECONDS = 20_000
"""How long a span waits at most for others, while instructions are counted."""
COUNTER = ["valgrind", "--tool=callgrind", "--fair-sched=try", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]


@dataclass
class Variant:
    """A running bridge."""

    running: Running
    address: Address
    load: Load
    calls: int = 0

    async def burst(self, seconds: float = BURST_SECONDS) -> float:
        """Return the CPU seconds a call of one burst. Its connections are new, because servers close idle ones."""
        lanes = [await HttpLane.open(self.address, self.load.era) for _ in range(IN_FLIGHT)]
        try:
            self.calls += len((await run_burst(lanes, self.load, SETTLING_SECONDS)).latencies)
            before = self.running.cpu()
            done = await run_burst(lanes, self.load, seconds)
            self.calls += len(done.latencies)
            return (self.running.cpu() - before) / len(done.latencies)
        finally:
            for lane in lanes:
                lane.close()


class Collector:
    """The collector, which counts spans."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.port = int(running.stdout.readline())

    def spans(self) -> dict[str, int]:
        """Return how many spans each service has sent."""
        self._running.stdin.write(b"\n")
        self._running.stdin.flush()
        found: dict[str, int] = json.loads(self._running.stdout.readline())
        return found


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Start the collector."""
    running = start([sys.executable, "-m", "benchmarks.harness.collector"], CLIENT_CORE)
    try:
        yield Collector(running)
    finally:
        running.stop()


def config_of(sight: Sight, folder: Path, port: int) -> Path:
    """Write the configuration of a bridge whose tools are those of the upstream on this port."""
    manual = folder / "manual.json"
    manual.write_text(json.dumps(catalogue(TOOLS, port)), encoding="utf-8")
    path = write_config(folder, {"catalogue": {"call_template_type": "file", "file_path": str(manual)}})
    config = json.loads(path.read_text(encoding="utf-8"))
    config["bridge"] |= {"port": 0, **sight.settings}
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def load_of(era: Era) -> Load:
    """Return the call that is repeated."""
    return Load(era, BRIDGE.tool(TOOLS - 1), {"q": "tea", "limit": 5}, b"pong")


@contextlib.asynccontextmanager
async def serving(name: str, era: Era, port: int, collector: int, command: Sequence[str]) -> AsyncIterator[Variant]:
    """Start a bridge of `SIGHTS`."""
    sight = SIGHTS[name]
    with tempfile.TemporaryDirectory(prefix="benchmark-sight-") as written:
        path = config_of(sight, Path(written), port)
        arguments = [*command, str(path), *BRIDGE.http_flags]
        running = start(arguments, environment=sight.environment(name, collector))
        try:
            address = await asyncio.to_thread(running.wait_for_url)
            address = replace(address, headers=(TRACE,) if sight.is_traced_by_callers else ())
            yield Variant(running, address, load_of(era))
        finally:
            running.stop()


@dataclass
class Found:
    """What was measured of one variant: pairs of CPU seconds a call, off and its own, in the same round."""

    pairs: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    calls: int = 0
    spans: int = 0

    def row(self, era: Era, name: str) -> str:
        """Return the row of the table."""
        low, middle, high = quantiles([own / off for off, own in self.pairs], n=4)
        added = median(own - off for off, own in self.pairs) * 1e6
        cost = median(own for _, own in self.pairs) * 1e6
        spans = f"{self.spans / self.calls:.2f}" if self.spans else "-"
        ratio = f"{middle:.3f} [{low:.3f}-{high:.3f}]"
        return f"| {era} | {name} | {cost:.0f} | {added:+.1f} | {ratio} | {spans} | {len(self.pairs)} |"


async def measure(names: Sequence[str], era: Era, options: argparse.Namespace) -> dict[str, Found]:
    """Return what the variants of these names cost."""
    found = {name: Found() for name in names}
    ends = monotonic() + options.minutes * 60 / len(options.era or ERAS)
    for number in range(options.starts):
        if number and monotonic() > ends:
            break
        with upstream() as port, collecting() as collector:
            async with contextlib.AsyncExitStack() as stack:
                command = (options.python, "-m", "utcp_bridge", "serve")
                variants = {
                    name: await stack.enter_async_context(serving(name, era, port, collector.port, command))
                    for name in names
                }
                for variant in variants.values():
                    await variant.burst(WARM_SECONDS)
                for round_number in range(options.rounds):
                    if round_number >= 2 and monotonic() > ends:
                        break
                    await _round(variants, found)
            spans = await asyncio.to_thread(collector.spans)
            for name, variant in variants.items():
                found[name].calls += variant.calls
                found[name].spans += spans.get(name, 0)
    return found


async def _round(variants: Mapping[str, Variant], found: Mapping[str, Found]) -> None:
    """Add a sample of each. The order is such that a machine that becomes slower or faster slows all alike."""
    spent: dict[str, list[float]] = {name: [] for name in variants}
    for name in [*variants, *reversed(variants)]:
        spent[name].append(await variants[name].burst())
    off = fmean(spent[OFF])
    for name, samples in spent.items():
        found[name].pairs.append((off, fmean(samples)))


async def count(names: Sequence[str], way: Way, python: str, in_flight: int) -> None:
    """Print the rows of a table of instructions."""
    off = 0.0
    with upstream() as port, collecting() as collector:
        for name in names:
            found, spans = await _instructions(name, way, port, collector, python, in_flight)
            off = off or found
            row = f"{found:,.0f} | {found - off:+,.0f} | {found / off:.3f} | {spans:.2f}"
            print(f"| {way} | {name} | {row} |", flush=True)


async def _instructions(
    name: str, way: Way, port: int, collector: Collector, python: str, in_flight: int
) -> tuple[float, float]:
    """Return the instructions of a call, and its spans. Those of the start are not counted, for they are many more.

    Over HTTP, the process does nothing from time to time (`side_by_side`), because that would depend on the machine.
    """
    sight, era = SIGHTS[name], cast("Era", way.removeprefix("stdio "))
    if sight.is_default:  # the limit is one of time, in which a counted process does far less
        sight = replace(sight, settings={"telemetry": {"traces_per_second": 1}})
    is_http = way == era
    with tempfile.TemporaryDirectory(prefix="benchmark-sight-") as written:
        path = str(config_of(sight, Path(written), port))
        program = ("benchmarks.harness.side_by_side",) if is_http else ("utcp_bridge", "serve")
        # batches are full, as those of a bridge that is not slowed down
        variables = {"PYTHONHASHSEED": "0", "OTEL_BSP_SCHEDULE_DELAY": str(BATCH_MILLISECONDS)}
        environment = {**variables, **sight.environment(name, collector.port)}
        running = start([*COUNTER, python, "-m", *program, path], environment=environment)
        try:
            opened = partial(_http_lanes, await _address(running, sight), era, in_flight) if is_http else None
            async with opened() if opened else _stdio_lanes(running, era, in_flight) as lanes:
                await run_burst(lanes, load_of(era), MAX_SECONDS * 10, UNCOUNTED)
                before = await _arrived(collector, name, sight, UNCOUNTED)
                await _quiet(running)
                async with opened() if opened else contextlib.nullcontext(lanes) as new:  # servers close idle ones
                    _switch(running, "on")
                    calls = len((await run_burst(new, load_of(era), MAX_SECONDS * 10, COUNTED)).latencies)
                spans = await _arrived(collector, name, sight, UNCOUNTED + calls) - before
                _switch(running, "off")
        finally:
            running.process.terminate()
            running.process.wait(MAX_SECONDS)
            running.ended.wait(MAX_SECONDS)
            running.stop()
    told = [int(one) for one in re.findall(r"Collected : (\d+)", "\n".join(running.errors))]
    if not told:
        raise RuntimeError(f"valgrind counted nothing: {running.errors[-3:]}")
    return max(told) / calls, spans / calls


async def _address(running: Running, sight: Sight) -> Address:
    url = urlsplit(json.loads(await asyncio.to_thread(running.stdout.readline))[0])
    headers = (TRACE,) if sight.is_traced_by_callers else ()
    return Address(str(url.hostname), url.port or 0, url.path, headers=headers)


async def _quiet(running: Running) -> None:
    """Wait until the process does nothing by itself: some work, once, follows its start."""
    ends, before = monotonic() + MAX_SECONDS, -1.0
    while (now := running.cpu()) - before > IDLE_CPU and monotonic() < ends:
        before = now
        await asyncio.sleep(QUIET_SECONDS)


def _switch(running: Running, state: str) -> None:
    """Turn counting on or off."""
    subprocess.run(["callgrind_control", "-i", state, str(running.process.pid)], check=True, capture_output=True)


async def _arrived(collector: Collector, name: str, sight: Sight, calls: int) -> int:
    """Return how many spans of a service arrived, after those of so many calls if each is sampled."""
    ends = monotonic() + MAX_SECONDS
    while (found := (await asyncio.to_thread(collector.spans)).get(name, 0)) < 2 * calls * (sight.share == 1.0):
        if monotonic() > ends:
            raise RuntimeError(f"{name}: only {found} spans of {calls} calls have arrived.")
        await asyncio.sleep(0.1)
    return found


@contextlib.asynccontextmanager
async def _http_lanes(address: Address, era: Era, in_flight: int) -> AsyncIterator[Lanes]:
    lanes = [await HttpLane.open(address, era) for _ in range(in_flight)]
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.close()


@contextlib.asynccontextmanager
async def _stdio_lanes(running: Running, era: Era, in_flight: int) -> AsyncIterator[Lanes]:
    client = await PipeClient.open(running.stdin, running.stdout, era)
    try:
        await list_tools(client)
        yield [client] * in_flight
    finally:
        client.close()


async def main(given: list[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sight", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="rounds for each start")
    parser.add_argument("--starts", type=int, default=3, help="how often new processes are started")
    parser.add_argument("--minutes", type=float, default=15.0, help="no round begins later, but for the first two")
    parser.add_argument("--era", choices=ERAS, action="append", help="versions of the protocol; default: both")
    parser.add_argument("--instructions", action="store_true", help="count instructions with valgrind, once a row")
    parser.add_argument("--way", choices=WAYS, action="append", help="of instructions; default: HTTP, both versions")
    counted = f"calls in flight while instructions are counted; default: {IN_FLIGHT}. One depends least on the machine"
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help=counted)
    parser.add_argument("--only", action="append", choices=list(SIGHTS), help="what to compare; may be given again")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has another version")
    options = parser.parse_args(given)
    pin(0, CLIENT_CORE)
    names = list(dict.fromkeys([OFF, *(options.only or SIGHTS)]))
    if options.instructions:
        if which("valgrind") is None:
            parser.error("--instructions needs valgrind. Install the package of that name.")
        print("| protocol | telemetry | instructions a call | added | x off | spans a call |")
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        for way in options.way or ERAS:
            await count(names, way, options.python, options.in_flight)
        return
    print("| protocol | telemetry | CPU us/call | added us | x off, median [quartiles] | spans a call | rounds |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for era in options.era or ERAS:
        for name, one in (await measure(names, era, options)).items():
            print(one.row(era, name), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
