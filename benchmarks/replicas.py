"""Three bridges behind haproxy and nginx, round robin, with one Redis: calls, failures, limits and changes.

    python -m benchmarks.replicas [--calls N] [--balancer haproxy|nginx ...] [--seconds N]

Each balancer gets N calls in each era (10,000 by default), over eight sessions without affinity. Every fiftieth call is
one whose result is cut and read on by its handle. When four tenths are done, one bridge is killed; at six tenths Redis
is restarted, and forgets everything. A call that failed on its way is repeated, as any client would; none may fail for
good. Then a manual with a rate is called as fast as possible, and a manual changes. The exit status is 1 if a call
failed, a limit missed its rate by more than 5 %, or an announcement took longer than a second.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import aiohttp
from benchmarks.harness.messages import ERAS, Era, initialize, message, payload
from tests.support.balanced import BALANCERS, NEEDED, RATE, ROWS, Balanced, balanced

LANES: Final = 8
_TRIES: Final = 200
_PAUSE: Final = 0.05
_AGAIN: Final = frozenset({502, 503, 504})
_HANDLE: Final = re.compile(r'"handle": ?"([0-9a-f]{32})"')


class CallFailed(Exception):
    """A reply that is wrong, or a call that did not pass however often it was sent."""


@dataclass
class McpClient:
    """A client at one URL. `repeated` counts what was sent once more, by the reason."""

    url: str
    era: Era
    http: aiohttp.ClientSession
    session: str = ""
    repeated: Counter[str] = field(default_factory=Counter)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def headers(self, method: str, name: str = "") -> dict[str, str]:
        found = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if method != "initialize":
            found["MCP-Protocol-Version"] = self.era
        if self.era == "2026-07-28":
            found["Mcp-Method"] = method
            if name:
                found["Mcp-Name"] = name
        elif self.session:
            found["Mcp-Session-Id"] = self.session
        return found

    async def open(self) -> None:
        """Begin a session, in the era that has them."""
        if self.era != "2026-07-28":
            await self.request("initialize", initialize(self.era))
            await self.send(message(self.era, None, "notifications/initialized", {}), self.headers("-"))

    async def request(self, method: str, params: dict[str, Any], name: str = "") -> dict[str, Any]:
        body = message(self.era, str(next(self._numbers)), method, params)
        return payload(await self.send(body, self.headers(method, name)))

    async def send(self, body: bytes, headers: dict[str, str]) -> bytes:
        """Return the reply. What fails on its way is sent again."""
        for _ in range(_TRIES):
            try:
                async with self.http.post(self.url, data=body, headers=headers) as reply:
                    data = await reply.read()
                    if reply.status in {200, 202}:
                        self.session = reply.headers.get("Mcp-Session-Id", self.session)
                        return data
                    if reply.status not in _AGAIN:
                        raise CallFailed(f"status {reply.status}: {data[:200]!r}")
                    self.repeated[f"status {reply.status}"] += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                self.repeated[type(error).__name__] += 1
            await asyncio.sleep(_PAUSE)
        raise CallFailed(f"{_TRIES} tries did not pass")

    async def call(self, tool: str, **arguments: str) -> tuple[str, bool]:
        """Return the text of a result, and whether it is an error."""
        result = await self.request("tools/call", {"name": tool, "arguments": arguments}, tool)
        return "\n".join(block.get("text", "") for block in result["content"]), bool(result.get("isError"))

    async def echo(self, token: str) -> None:
        text, is_error = await self.call("m_echo", token=token)
        if is_error or token not in text:
            raise CallFailed(f"{token}: {text[:200]}")

    async def read_on(self, token: str) -> None:
        """Have a result cut, and read its end by its handle, which a restart of the store may have lost."""
        for _ in range(_TRIES):
            text, is_error = await self.call("m_rows", token=token)
            handle = _HANDLE.search(text)
            if is_error or handle is None:
                raise CallFailed(f"{token}: {text[-300:]}")
            text, is_error = await self.call("read_result", handle=handle[1], jmespath=f"[{ROWS - 1}].token")
            if not is_error and token in text:
                return
            if "handle" not in text.lower():
                raise CallFailed(f"{token}: {text[:200]}")
            self.repeated["handle lost"] += 1
            await asyncio.sleep(_PAUSE)
        raise CallFailed(f"{token}: its handle was lost {_TRIES} times")


async def calls(world: Balanced, era: Era, count: int, events: dict[int, Callable[[], None]]) -> Counter[str]:
    """Send calls through the balancer. `events` happen when so many calls are done. Return what was counted."""
    counts: Counter[str] = Counter()
    numbers = iter(range(count))

    async def lane(client: McpClient) -> None:
        await client.open()
        for number in numbers:
            if (event := events.pop(number, None)) is not None:
                await asyncio.to_thread(event)
            token = f"tok-{number:06}"
            try:
                await (client.read_on(token) if number % 50 == 49 else client.echo(token))
                counts["done"] += 1
            except (CallFailed, RuntimeError) as error:
                counts["failed"] += 1
                print(f"failed: {error}", file=sys.stderr)
        for reason, times in client.repeated.items():
            counts[f"repeated: {reason}"] += times

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http, asyncio.TaskGroup() as group:
        for _ in range(LANES):
            group.create_task(lane(McpClient(world.url, era, http)))
    return counts


async def rate(world: Balanced, seconds: float) -> float:
    """Return the calls that a limited manual let through, as a share of what its rate allows."""
    done = 0
    began = perf_counter()
    until = began + seconds

    async def lane(client: McpClient) -> None:
        nonlocal done
        await client.open()
        while perf_counter() < until:
            text, is_error = await client.call("limited_echo", token="t")
            done += not is_error
            if is_error and "calls a second" not in text:
                raise CallFailed(text)

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        for era in ERAS:
            for _ in range(LANES // 2):
                group.create_task(lane(McpClient(world.url, era, http)))
    return done / (RATE + RATE * (perf_counter() - began))


async def announced(world: Balanced, urls: list[str]) -> float:
    """Return how many seconds after the first bridge the last one announced a change that only the first looked for."""
    heard: list[float] = []

    async def listen(client: McpClient, ready: asyncio.Event) -> None:
        await client.open()
        await client.request("tools/list", {})
        async with client.http.get(client.url, headers={**client.headers("-"), "Accept": "text/event-stream"}) as reply:
            ready.set()
            async for line in reply.content:
                if b"list_changed" in line:
                    heard.append(perf_counter())
                    return

    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        group = await stack.enter_async_context(asyncio.TaskGroup())
        events = [asyncio.Event() for _ in urls]
        for url, event in zip(urls, events, strict=True):
            group.create_task(listen(McpClient(url, "2025-11-25", http), event))
        for event in events:
            await event.wait()
        world.upstream.names.append(f"grown_{len(world.upstream.names)}")
    return max(heard) - min(heard)


def run(balancer: str, count: int, seconds: float) -> dict[str, Any]:
    """Return the figures of one balancer."""
    with tempfile.TemporaryDirectory() as folder, balanced(balancer, Path(folder)) as world:
        found: dict[str, Any] = {"balancer": balancer, "announced_seconds": asyncio.run(announced(world, world.urls))}
        found["rate_share"] = asyncio.run(rate(world, seconds))

        def restart() -> None:
            world.redis.stop()
            world.redis.start()

        for era, dead in zip(ERAS, (2, 1), strict=True):
            events = {count * 4 // 10: lambda dead=dead: world.kill(dead), count * 6 // 10: restart}
            began = perf_counter()
            counts = asyncio.run(calls(world, era, count, events))
            found[era] = {**counts, "calls_per_second": round(count / (perf_counter() - began))}
        return found


def is_good(found: dict[str, Any], count: int) -> bool:
    """Return whether the figures meet their goals."""
    eras = [found[era] for era in ERAS]
    return (
        all(one.get("done") == count and not one.get("failed") for one in eras)
        and abs(found["rate_share"] - 1) <= 0.05
        and found["announced_seconds"] <= 1
    )


def main() -> int:
    """Print the figures of each balancer as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000, help="calls in each era")
    parser.add_argument("--balancer", nargs="+", choices=list(BALANCERS), default=list(BALANCERS))
    parser.add_argument("--seconds", type=float, default=10.0, help="of the calls of a limited manual")
    options = parser.parse_args()
    if missing := [one.package for one in NEEDED if not one.present]:
        print(f"Skipped: {', '.join(missing)} of Debian; `scripts/interop` unpacks them.", file=sys.stderr)
        return 3
    goals = True
    for balancer in options.balancer:
        found = run(balancer, options.calls, options.seconds)
        goals &= is_good(found, options.calls)
        print(json.dumps(found), flush=True)
    return 0 if goals else 1


if __name__ == "__main__":
    sys.exit(main())
