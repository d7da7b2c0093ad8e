"""Where the CPU of one call goes, by layer: `python -m benchmarks.layers`.

The bridge samples itself while calls are in flight (`harness/sampled.py`). Each sample counts for the layer of its
innermost frame that belongs to one, so that C code counts for the Python code that called it. The shares of the samples
are multiplied by the CPU time of a call, which the kernel's scheduler counts in bursts without samples.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import SIGUSR1

from benchmarks.harness.clients import list_tools, run_burst
from benchmarks.harness.cost import ARGUMENTS, MARK, PATHS
from benchmarks.harness.measurements import Bench, Plan, lanes_of
from benchmarks.harness.messages import Era, Load
from benchmarks.harness.processes import BRIDGE, CLIENT_CORE, pin, upstream

LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "engine (aiohttp's parts)",
        (
            "aiohttp/",
            "multidict/",
            "yarl/",
            "/net/aiohttp_engine.py",
            "/net/http_session.py",
            "/net/heads/known_replies.py",
            "/net/heads/request_heads.py",
        ),
    ),
    ("gate, reply", ("utcp_bridge/net/guard.py", "/net/reply.py", "utcp_bridge/foreign.py", "/net/document.py")),
    ("request and transport", ("utcp_bridge/placement/", "utcp_bridge/transports/")),
    ("pipeline, client", ("utcp_bridge/pipeline/", "utcp_bridge/client/", "utcp_bridge/auth/", "/upstream.py")),
    ("render", ("utcp_bridge/catalogue/",)),
    ("front", ("utcp_bridge/server/hot/", "/server/stdio.py", "/server/http.py", "/server/sessions.py", "/replies.py")),
    ("handlers", ("utcp_bridge/server/",)),
    ("uvicorn and its limits", ("uvicorn/", "/net/asgi_server.py", "/net/heads/ahead.py")),
    ("MCP SDK, pydantic, Starlette", ("/mcp/", "mcp_types/", "pydantic", "starlette/")),
    ("anyio", ("anyio/",)),
    ("tasks, contexts", ("utcp_bridge/",)),
)
TOOLS = 10
OTHER = "event loop, system calls"
_FRAME = re.compile(r"(.*) \((.*?)(?::\d+)?\)$")


@dataclass
class Profile:
    """The samples of one way, by layer and by innermost function, and the CPU seconds of one call."""

    transport: str
    era: Era
    cpu: list[float] = field(default_factory=list)
    layers: Counter[str] = field(default_factory=Counter[str])
    functions: Counter[str] = field(default_factory=Counter[str])

    @property
    def microseconds(self) -> float:
        return sorted(self.cpu)[len(self.cpu) // 2] * 1e6

    def of(self, layer: str) -> float:
        """Return the microseconds of a call that a layer takes."""
        return self.microseconds * self.layers[layer] / max(1, self.layers.total())


def read(profile: Profile, text: str) -> None:
    """Add samples: `frame;frame;… count`, the innermost frame last."""
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        profile.functions[_short(frames[-1])] += int(count)
        found = (layer for frame in reversed(frames) for layer, parts in LAYERS if any(part in frame for part in parts))
        is_loop = "asyncio/runners.py" in frames[-1]  # the code that started the loop is below it
        profile.layers[OTHER if is_loop else next(found, OTHER)] += int(count)


def _short(frame: str) -> str:
    found = _FRAME.match(frame)
    return frame if found is None else f"{found[1]} ({'/'.join(Path(found[2]).parts[-2:])})"


async def profiled(bench: Bench, folder: Path, profile: Profile, arguments: argparse.Namespace) -> None:
    """Sample the bridge under load."""
    file = folder / f"{profile.transport}-{profile.era}.txt"
    command = (arguments.python, "-m", "benchmarks.harness.sampled", str(file), "serve")
    server = replace(BRIDGE, command=command)
    async with bench.serving(server, profile.transport, profile.era, TOOLS, arguments.path) as (running, client):
        await list_tools(client)
        await client.exchange("tools/call", {"name": "search_tools", "arguments": {"query": "tea"}})
        load = Load(profile.era, server.tool(TOOLS - 1), ARGUMENTS, MARK)
        async with lanes_of(running, client, load, arguments.in_flight) as lanes:
            await run_burst(lanes, load, 1.0)
            for _ in range(7):
                spent = running.cpu()
                burst = await run_burst(lanes, load, 0.4)
                profile.cpu.append((running.cpu() - spent) / len(burst.latencies))
            os.kill(running.process.pid, SIGUSR1)
            await run_burst(lanes, load, arguments.seconds)
            os.kill(running.process.pid, SIGUSR1)
            while not file.exists():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)
            read(profile, file.read_text(encoding="utf-8"))


def lines(profiles: list[Profile]) -> list[str]:
    """Return the table for people."""
    names = [f"{one.transport} {one.era}" for one in profiles]
    rows = ["| layer, us a call | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    layers = [*(layer for layer, _ in LAYERS), OTHER]
    rows += [f"| {layer} | " + " | ".join(f"{one.of(layer):.0f}" for one in profiles) + " |" for layer in layers]
    rows.append("| **sum** | " + " | ".join(f"**{one.microseconds:.0f}**" for one in profiles) + " |")
    return rows


def function_lines(profiles: list[Profile], number: int) -> list[str]:
    """Return the functions that take most, of each way."""
    rows: list[str] = []
    for one in profiles if number else ():
        rows.append(f"{one.transport} {one.era}:")
        share = one.microseconds / max(1, one.functions.total())
        rows += [f"  {count * share:6.1f}  {name}" for name, count in one.functions.most_common(number)]
    return rows


async def measure(arguments: argparse.Namespace, port: int, folder: Path) -> list[Profile]:
    bench = Bench(port, [BRIDGE], Plan(rounds=1, seconds=1.0, starts=1), folder)
    profiles = [Profile(transport, era) for transport, era in PATHS]
    for profile in profiles:
        await profiled(bench, folder, profile, arguments)
    return profiles


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has another version")
    parser.add_argument("--seconds", type=int, default=6, help="how long each way is sampled")
    parser.add_argument("--in-flight", type=int, default=16, help="calls in flight")
    parser.add_argument("--path", choices=("small", "large"), default="small", help="the reply of the upstream")
    parser.add_argument("--functions", type=int, default=0, help="also list this number of functions")
    arguments = parser.parse_args(given)
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    with upstream() as port, tempfile.TemporaryDirectory(prefix="utcp-bridge-bench-") as folder:
        pin(os.getpid(), CLIENT_CORE)
        profiles = asyncio.run(measure(arguments, port, Path(folder)))
    print("\n".join([*lines(profiles), *function_lines(profiles, arguments.functions)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
