"""Calls over every transport through faults, and every reply accounted for.

    python -m benchmarks.soak [--seed N ...] [--calls N] [--over stdio|http-new|http-old ...] [--quiet-network]

Sixteen lanes call a bridge whose services are behind proxies that delay, cut, reset, stall and change what passes
through. Services and children are killed, and clients cancel or leave. Checked are: one reply to each request; no reply
with the token of another call; no key that a service counted twice; every error with a code; after the storm every
kind of tool works again, and the bridge holds no more descriptors, threads, tasks, children and memory than before.
WebRTC is not among the transports, because its peers do not meet on loopback addresses.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from benchmarks.harness.accounting import AccountingClient, Outcome, StdioAccount, http_clients
from benchmarks.harness.faults import NONE, FaultProxy, any_fault
from benchmarks.harness.held import Held, children, settled
from benchmarks.harness.messages import Era
from benchmarks.harness.processes import Running, start

Json = dict[str, Any]
DEADLINE, STREAM_DEADLINE = 4.0, 6.0
MARGIN = 0.5
"""Seconds after its deadline in which the reply to a call comes."""
PATIENCE = 30.0
LANES, HTTP_CLIENTS, STORMS = 16, 8, 3
WARM_CALLS = 480
WARM_STORM = 0.5
"""The share of calls, in faults as well, before the memory is measured first: caches with limits fill, and the heap
takes the shape of a storm. What grows after that is a leak.
"""
RECOVERY = 75.0
MAX_GROWTH_MB = 1.0
CORRUPT_SECONDS = 8.0
"""For this long after a proxy changed bytes, a reply may be wrong: nothing told the bridge."""
_TOKEN = re.compile(r"tok-\d+-\d{6}")
TEXT: Final[Json] = {"type": "string"}
WEIGHTS: Final[dict[str, float]] = {
    "get": 8, "post": 14, "query": 6, "mutation": 10, "tcp": 10, "udp": 6, "websocket": 8, "events": 4, "lines": 4,
    "command": 3, "slow": 0.3, "file": 2, "grpc": 8, "grpc_stream": 2, "child": 4, "mcp": 5,
}  # fmt: skip
BEHIND: Final[dict[str, str]] = {
    "get": "http", "post": "http", "query": "http", "mutation": "http", "events": "http", "lines": "http",
    "tcp": "tcp", "websocket": "websocket", "grpc": "grpc", "grpc_stream": "grpc", "mcp": "mcp",
}  # fmt: skip
"""The proxy that a kind of call goes through."""
STREAMS: Final = frozenset({"events", "lines", "grpc_stream"})
COUNTED: Final = frozenset({"post", "mutation", "tcp"})
SILENT: Final = frozenset({"file", "slow", "grpc_stream"})
"""Kinds whose results do not have the token."""


@dataclass
class Storm:
    """What one run was told and what it found."""

    seed: int
    over: str
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    late: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    faults: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])
    recovery: dict[str, float] = field(default_factory=dict[str, float])
    seconds: float = 0.0
    before: Held | None = None
    after: Held | None = None


class Services:
    """The services, the proxies before them, and the configuration of a bridge that uses them."""

    def __init__(self, seed: int, folder: Path, *, has_faults: bool) -> None:
        self._seed = seed
        self._folder = folder
        self._has_faults = has_faults
        self.proxies: dict[str, FaultProxy] = {}
        self.counting_port = 0
        self._udp = 0
        self._mortal: Running | None = None
        self._is_restarting = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        module = [sys.executable, "-m", "benchmarks.harness.soak_services"]
        counting = start([*module, "counting", str(self._seed), "yes" if self._has_faults else "no"], core=None)
        self._mortal = start([*module, "mortal"], core=None)
        try:
            async with AsyncExitStack() as stack:
                ports = await _ports(counting)
                self.counting_port, self._udp = ports["http"], ports.pop("udp")
                for name, port in {**ports, **await _ports(self._mortal)}.items():
                    self.proxies[name] = await stack.enter_async_context(FaultProxy(port, self._seed))
                yield
        finally:
            counting.stop()
            self._mortal.stop()

    async def kill(self) -> None:
        """Kill the mortal services and start them again, on other ports behind the same proxies."""
        self._is_restarting = True
        if self._mortal is not None:
            self._mortal.process.kill()
            await asyncio.to_thread(self._mortal.stop)
        self._mortal = start([sys.executable, "-m", "benchmarks.harness.soak_services", "mortal"], core=None)
        for name, port in (await _ports(self._mortal)).items():
            self.proxies[name].target = port
        self._is_restarting = False

    async def revive(self) -> None:
        """Start the services that a cancelled `kill` left dead."""
        if self._is_restarting:
            await self.kill()

    def configuration(self) -> Path:
        """Write the configuration of the bridge."""
        at = {name: f"127.0.0.1:{proxy.port}" for name, proxy in self.proxies.items()}
        usual: Json = {"call_timeout": DEADLINE}
        child = [sys.executable, "-m", "tests.upstreams.mcp_server", "child"]
        manuals: list[Json] = [
            {"name": "m", "call_template_type": "text", "content": self._manual(at), **usual,
             "allowed_communication_protocols": [
                 "http", "sse", "streamable_http", "graphql", "tcp", "udp", "websocket", "cli", "file"]},
            {"name": "g", "call_template_type": "grpc", "host": "127.0.0.1", "port": self.proxies["grpc"].port,
             **usual},
            {"name": "c", "call_template_type": "mcp", "command": child[0], "args": child[1:],
             "cwd": str(Path(__file__).parents[1]), **usual},
            {"name": "h", "call_template_type": "mcp", "url": f"http://{at['mcp']}/mcp", **usual},
        ]  # fmt: skip
        settings = {
            "stream_timeout": STREAM_DEADLINE,
            "idle_timeout": 2,
            "retries": 2,
            "concurrency": 64,
            "exposure": "all",
        }
        file = self._folder / "soak.json"
        file.write_text(json.dumps({"manual_call_templates": manuals, "bridge": settings}), encoding="utf-8")
        return file

    def _manual(self, at: dict[str, str]) -> Json:
        host, web = {"host": "127.0.0.1"}, f"http://{at['http']}"
        document = self._folder / "document.txt"
        document.write_text("the whole of the document", encoding="utf-8")
        graph = {"call_template_type": "graphql", "url": f"{web}/graphql"}
        return {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": [
            _tool("get", {"call_template_type": "http", "url": f"{web}/echo", "http_method": "GET"}, "v"),
            _tool("post", {"call_template_type": "http", "url": f"{web}/count", "http_method": "POST",
                           "body_field": "body"}, "body", {"type": "object"}),
            _tool("events", {"call_template_type": "sse", "url": f"{web}/events", "retry_timeout": 100}, "v"),
            _tool("lines", {"call_template_type": "streamable_http", "url": f"{web}/lines", "http_method": "GET"}, "v"),
            _tool("query", {**graph, "query": "query($key: String!) { echo(key: $key) }"}, "key"),
            _tool("mutation", {**graph, "query": "mutation($key: String!) { add(key: $key) }"}, "key"),
            _tool("tcp", {"call_template_type": "tcp", **host, "port": self.proxies["tcp"].port,
                          "framing_strategy": "delimiter", "message_delimiter": "\n"}, "key"),
            _tool("udp", {"call_template_type": "udp", **host, "port": self._udp, "request_data_format": "text",
                          "request_data_template": "{{v}}"}, "v"),
            _tool("websocket", {"call_template_type": "websocket", "url": f"ws://{at['websocket']}/ws"}, "v"),
            _tool("command", {"call_template_type": "cli", "command": "printf", "args": ["%s", "{{v}}"]}, "v"),
            _tool("slow", {"call_template_type": "cli", "command": "/bin/sh", "args": ["-c", "sleep 8; echo never"]}),
            _tool("file", {"call_template_type": "file", "file_path": str(document)}),
        ]}  # fmt: skip


def _tool(name: str, template: Json, argument: str = "", schema: Json = TEXT) -> Json:
    inputs: Json = {"type": "object", "properties": {argument: schema} if argument else {}}
    return {"name": name, "description": name, "inputs": inputs, "tool_call_template": template}


async def _ports(running: Running) -> dict[str, int]:
    line = await asyncio.to_thread(running.stdout.readline)
    if not line:
        raise RuntimeError("a service did not start:\n" + "\n".join(running.errors[-20:]))
    ports: dict[str, int] = json.loads(line)
    return ports


def calls(listed: list[str]) -> dict[str, tuple[str, str]]:
    """Return the name of the tool of each kind of call, and the argument that has the token."""
    own = {kind: (f"m_{kind}", "v") for kind in WEIGHTS}
    own |= {kind: (f"m_{kind}", "key") for kind in ("query", "mutation", "tcp")}
    own |= {"post": ("m_post", "body"), "slow": ("m_slow", ""), "file": ("m_file", "")}

    def find(prefix: str, word: str) -> str:
        names = [name for name in listed if name.startswith(prefix) and name.lower().endswith(word)]
        return names[0] if names else ""

    own |= {"grpc": (find("g_", "echo"), "text"), "grpc_stream": (find("g_", "count"), "n")}
    own |= {"child": (find("c_", "echo"), "text"), "mcp": (find("h_", "echo"), "text")}
    return own


class Soak:
    """One run against one bridge."""

    def __init__(self, storm: Storm, services: Services, clients: list[AccountingClient], bridge: Running) -> None:
        self._storm = storm
        self._services = services
        self._clients = clients
        self._bridge = bridge
        self._rnd = random.Random(storm.seed)
        self._kinds: dict[str, tuple[str, str]] = {}
        self._corrupt_until: dict[str, float] = defaultdict(float)

    async def run(self, number: int, *, has_faults: bool) -> None:
        await self._all_listed()
        await self._lanes(WARM_CALLS, first=900_000, is_judged=False)
        await self._among_faults(int(number * WARM_STORM), first=number, has_faults=has_faults)
        await self._recover()
        self._storm.before = await settled(self._bridge, None)
        began = perf_counter()
        await self._among_faults(number, first=0, has_faults=has_faults)
        self._storm.seconds = perf_counter() - began
        await self._recover()
        await self._check_counts()
        self._storm.after = await settled(self._bridge, self._storm.before)

    async def _among_faults(self, number: int, *, first: int, has_faults: bool) -> None:
        """Make calls while faults come and go. Afterwards all services run, and no proxy has a fault."""
        around = [self._faults] * STORMS + [self._killer, self._leaver] if has_faults else []
        tasks = [asyncio.ensure_future(work()) for work in around]
        await self._lanes(number, first=first, is_judged=True)
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, Exception):
                raise end
        await self._services.revive()
        for proxy in self._services.proxies.values():
            proxy.fault = NONE
            proxy.drop_all()

    async def _all_listed(self) -> None:
        """Wait until the tools of all manuals are listed."""
        for _ in range(120):
            self._kinds = calls(await self._clients[0].tools())
            if all(name for name, _ in self._kinds.values()):
                return
            await asyncio.sleep(0.5)
        missing = [kind for kind, (name, _) in self._kinds.items() if not name]
        raise RuntimeError(f"no tools for {', '.join(missing)}:\n" + "\n".join(self._bridge.errors[-20:]))

    async def _lanes(self, number: int, *, first: int, is_judged: bool) -> None:
        numbers = iter(range(first, first + number))

        async def lane(place: int) -> None:
            client = self._clients[place % len(self._clients)]
            for one in numbers:
                kind = self._rnd.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
                token = f"tok-{self._storm.seed}-{one:06d}"
                if not is_judged and kind == "slow":
                    continue
                outcome = await self._call(client, kind, token)
                if is_judged:
                    self._judge(kind, token, outcome)

        await asyncio.gather(*map(lane, range(LANES)))

    async def _call(self, client: AccountingClient, kind: str, token: str) -> Outcome:
        name, argument = self._kinds[kind]
        value: Any = {"key": token} if argument == "body" else 3 if argument == "n" else token
        return await client.call(name, {argument: value} if argument else {}, PATIENCE)

    def _judge(self, kind: str, token: str, outcome: Outcome) -> None:
        storm = self._storm
        storm.outcomes[kind][outcome.key] += 1
        storm.times[kind].append(outcome.seconds)
        if outcome.seconds > (STREAM_DEADLINE if kind in STREAMS else DEADLINE) + MARGIN:
            storm.late.append((kind, outcome.seconds))
        if outcome.kind not in {"ok", "error"} or outcome.key == "error":
            storm.problems.append(f"{kind} {token}: {outcome.key} {outcome.text[:120]}")
        if "Traceback" in outcome.text or "Internal error" in outcome.text or "inside the bridge" in outcome.text:
            storm.problems.append(f"{kind} {token}: an internal error: {outcome.text[:120]}")
        if others := set(_TOKEN.findall(outcome.text)) - {token}:
            storm.problems.append(f"{kind} {token}: has the token of another call: {min(others)}")
        is_sure = perf_counter() > self._corrupt_until[BEHIND.get(kind, "")]
        if outcome.kind == "ok" and is_sure and kind not in SILENT and token not in outcome.text:
            storm.problems.append(f"{kind} {token}: a wrong result: {outcome.text[:120]}")

    async def _faults(self) -> None:
        """Give a proxy a fault, and take it away again, without end."""
        while True:
            at = self._rnd.choice(list(self._services.proxies))
            proxy = self._services.proxies[at]
            name, fault = any_fault(self._rnd)
            self._storm.faults[name] += 1
            if fault.corrupt:
                self._corrupt_until[at] = perf_counter() + 3600
            proxy.fault = fault
            if fault.is_refusing and self._rnd.random() < 0.5:
                proxy.drop_all()
            await asyncio.sleep(self._rnd.uniform(0.2, 0.8))
            proxy.fault = NONE
            if fault.is_silent or fault.stall_after is not None:
                proxy.drop_all()
            if fault.corrupt:
                self._corrupt_until[at] = perf_counter() + CORRUPT_SECONDS
            await asyncio.sleep(self._rnd.uniform(0.1, 0.5))

    async def _killer(self) -> None:
        """Kill services and children in turns."""
        while True:
            await asyncio.sleep(4)
            await self._services.kill()
            self._storm.faults["killed services"] += 1
            await asyncio.sleep(4)
            for child in children(self._bridge.process.pid, b"tests.upstreams.mcp_server"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                self._storm.faults["killed children"] += 1

    async def _leaver(self) -> None:
        """Let a client cancel or leave in the middle of a call."""
        while True:
            await asyncio.sleep(1)
            await self._rnd.choice(self._clients).leave("m_slow", {}, 0.3)
            self._storm.faults["left calls"] += 1

    async def _recover(self) -> None:
        """Call each kind until it works."""
        for kind in WEIGHTS:
            if kind == "slow":
                continue
            began = perf_counter()
            outcome = await self._call(self._clients[0], kind, f"tok-{self._storm.seed}-{990_000}")
            while outcome.kind != "ok" and perf_counter() - began < RECOVERY:
                await asyncio.sleep(0.25)
                outcome = await self._call(self._clients[0], kind, f"tok-{self._storm.seed}-{990_000}")
            self._storm.recovery[kind] = perf_counter() - began
            if outcome.kind != "ok":
                self._storm.problems.append(f"{kind} does not work after the storm: {outcome.key} {outcome.text[:120]}")

    async def _check_counts(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._services.counting_port)
        writer.write(b"GET /counts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reply = await reader.read()
        writer.close()
        counts: dict[str, int] = json.loads(reply.partition(b"\r\n\r\n")[2])
        # The calls after the storm all have one key.
        twice = [key for key, count in counts.items() if count > 1 and not key.endswith("990000")]
        self._storm.problems += [f"{key} was counted {counts[key]} times" for key in twice]


async def soak(seed: int, over: str, number: int, folder: Path, *, has_faults: bool) -> Storm:
    """Run the soak against a bridge of its own."""
    storm = Storm(seed, over)
    services = Services(seed, folder, has_faults=has_faults)
    async with services.running():
        program = [sys.executable, "-m", "benchmarks.harness.probed", "serve", str(services.configuration())]
        http = [] if over == "stdio" else ["--http", "--port", "0"]
        bridge = start([*program, *http], core=None)
        try:
            if over == "stdio":
                client = await StdioAccount.open(bridge.stdin, bridge.stdout, "2025-11-25")
                await Soak(storm, services, [client], bridge).run(number, has_faults=has_faults)
                storm.problems += client.account.faults
                storm.problems += [f"no reply to {ident}" for ident in client.account.waiting]
                client.close()
            else:
                era: Era = "2026-07-28" if over == "http-new" else "2025-11-25"
                address = await asyncio.to_thread(bridge.wait_for_url)
                async with http_clients(address, era, HTTP_CLIENTS) as clients:
                    await Soak(storm, services, [*clients], bridge).run(number, has_faults=has_faults)
        finally:
            await asyncio.to_thread(bridge.stop)
        traced = [place for place, line in enumerate(bridge.errors) if "Traceback" in line]
        for place in traced[:3]:
            storm.problems.append(
                "a traceback in the log:\n" + "\n".join(bridge.errors[max(place - 1, 0) : place + 20])
            )
        if bridge.process.returncode != 0:
            storm.problems.append(f"the bridge ended with {bridge.process.returncode}")
    return storm


def lines(storm: Storm, growth: float) -> Iterator[str]:
    """The report of one run."""
    total = sum(sum(found.values()) for found in storm.outcomes.values())
    yield f"\nseed {storm.seed}, {storm.over}: {total} calls in {storm.seconds:.0f} s; faults: {dict(storm.faults)}"
    for kind, found in storm.outcomes.items():
        times = storm.times[kind]
        p99 = statistics.quantiles(times, n=100)[98] if len(times) > 1 else times[0]
        back = f"works again after {storm.recovery[kind]:.1f} s" if kind in storm.recovery else ""
        yield f"  {kind:12} p99 {p99:5.2f} s  {dict(found.most_common())}  {back}"
    late = Counter(kind for kind, _ in storm.late)
    yield f"  later than the deadline + {MARGIN} s: {len(storm.late)} {dict(late)}"
    if storm.before and storm.after:
        yield f"  held before: {storm.before}"
        yield f"  held after:  {storm.after}"
        storm.problems += storm.after.grown(storm.before, growth)
    yield f"  problems: {len(storm.problems)}"
    for problem in storm.problems[:20]:
        yield f"    {problem}"


def parse(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", nargs="+", type=int, default=[1, 2, 3], help="a run for each (default: 1 2 3)")
    parser.add_argument("--calls", type=int, default=10_000, help="calls of a run (default: 10000)")
    parser.add_argument(
        "--over",
        nargs="+",
        choices=["stdio", "http-new", "http-old"],
        default=["stdio", "http-new", "http-old"],
        help="how the clients reach the bridge, for the runs in turns (default: all)",
    )
    parser.add_argument("--growth", type=float, default=MAX_GROWTH_MB, help="MiB that may stay (default: 1)")
    parser.add_argument("--quiet-network", action="store_true", help="without faults")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    arguments = parse(given)
    problems = 0
    for place, seed in enumerate(arguments.seed):
        over = arguments.over[place % len(arguments.over)]
        with tempfile.TemporaryDirectory(prefix="utcp-bridge-soak-") as folder:
            os.environ["PROBE"] = str(Path(folder) / "tasks")
            run = soak(seed, over, arguments.calls, Path(folder), has_faults=not arguments.quiet_network)
            storm = asyncio.run(run)
        print("\n".join(lines(storm, arguments.growth)), flush=True)
        problems += len(storm.problems)
    print(f"\n{problems} problems.")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
