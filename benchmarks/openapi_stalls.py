"""Measures how long one client's first `tools/list` of deep schemas keeps another client waiting.

    python -m benchmarks.openapi_stalls

First ports the schemas of the 450 operations of `benchmarks.deep_schemas` in this process, and prints the CPU seconds
and the longest step: for that long the event loop waits at a time. Then starts a bridge on 127.0.0.1 with that document
and lists every tool, page by page, while a second client searches. Prints the longest wait of the second client before
and during the list, and how long the thread of the event loop worked in a wait: on a machine that does nothing else,
nobody waits longer. The waits themselves are of use on such a machine only, so the goal is for the work where the
system counts it (Linux). Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import aiohttp
from benchmarks.deep_schemas import deep_document

from utcp_bridge.catalogue.schemas.parts import SharedParts
from utcp_bridge.catalogue.schemas.portable import input_in_steps
from utcp_bridge.dialects.openapi import ConversionOptions, convert

MOST_CPU = 1.0
"""Seconds for a list that nobody has asked for before."""
MOST_WAIT = 0.05
MAX_SCHEMA_BYTES = 16_384
START_SECONDS = 120
VERSION = "2026-07-28"


class Client:
    """A client that sends plain requests."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}/mcp"

    async def ask(self, method: str, params: dict[str, Any], name: str | None = None) -> tuple[float, dict[str, Any]]:
        """Return the seconds that a request took, and its result."""
        key = "io.modelcontextprotocol"
        about = {"name": "stalls", "version": "1"}
        meta = {f"{key}/protocolVersion": VERSION, f"{key}/clientCapabilities": {}, f"{key}/clientInfo": about}
        message = {"jsonrpc": "2.0", "id": "1", "method": method, "params": {**params, "_meta": meta}}
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": method,
        }
        if name is not None:
            headers["Mcp-Name"] = name
        start = time.monotonic()
        async with self._session.post(self._url, json=message, headers=headers) as response:
            data = await response.read()
        return time.monotonic() - start, json.loads(data)["result"]

    async def search(self) -> float:
        """Return the seconds that a search took."""
        params = {"name": "search_tools", "arguments": {"query": "shard", "limit": 1}}
        return (await self.ask("tools/call", params, "search_tools"))[0]


class LoopClock:
    """The CPU seconds of the first thread of a process, which runs the event loop."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/schedstat")

    def now(self) -> float | None:
        """Return the seconds since the thread began. None if the system keeps no count."""
        try:
            return int(self._path.read_text(encoding="ascii").split()[0]) / 1e9
        except (OSError, ValueError, IndexError):
            return None

    async def of(self, work: Awaitable[float]) -> tuple[float, float]:
        """Return what a wait returns, in seconds, and what the loop worked in it; the wait again without a count."""
        before = self.now()
        wait = await work
        after = self.now()
        return wait, wait if before is None or after is None else after - before


async def measured(port: int, pid: int) -> bool:
    """Measure, print, and return whether each goal was reached."""
    async with aiohttp.ClientSession() as session:
        client, clock = Client(session, port), LoopClock(pid)
        await _started(client)
        waits = [await clock.of(client.search()) for _ in range(100)]
        print(f"another client, idle: {_said(waits)}")
        start = time.monotonic()
        listing = asyncio.ensure_future(_listed(client))
        waits = list[tuple[float, float]]()
        while not listing.done():
            waits.append(await clock.of(client.search()))
            await asyncio.sleep(0.005)
        tools, size = await listing
        seconds = time.monotonic() - start
    print(f"{tools} tools in {size / 1e6:.1f} MB, listed in {seconds:.2f} s")
    print(f"another client meanwhile: {_said(waits)}")
    return max(work for _, work in waits) <= MOST_WAIT


def _said(waits: list[tuple[float, float]]) -> str:
    longest, work = max(wait for wait, _ in waits), max(work for _, work in waits)
    return (
        f"at most {longest * 1e3:.0f} ms in {len(waits)} searches; the loop worked at most {work * 1e3:.0f} ms in one"
    )


async def _started(client: Client) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            params = {"name": "search_tools", "arguments": {"query": "shard", "limit": 1}}
            _, result = await client.ask("tools/call", params, "search_tools")
            if "operation_" in json.dumps(result):
                return
        except (aiohttp.ClientError, KeyError, ValueError):
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.5)


async def _listed(client: Client) -> tuple[int, int]:
    number = size = 0
    cursor: dict[str, str] = {}
    while True:
        _, page = await client.ask("tools/list", cursor)
        number += len(page["tools"])
        size += len(json.dumps(page, separators=(",", ":")))
        if "nextCursor" not in page:
            return number, size
        cursor = {"cursor": page["nextCursor"]}


def ported() -> bool:
    """Port every schema in this process, print what it took, and return whether each goal was reached."""
    made = convert(deep_document(), url=None, options=ConversionOptions())
    parts, longest, sizes = SharedParts(), 0.0, list[int]()
    gc.freeze()
    gc.disable()
    start = now = time.thread_time()
    for tool in made.tools:
        steps = input_in_steps(parts.cleaned(tool.inputs), MAX_SCHEMA_BYTES, parts)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                sizes.append(len(json.dumps(end.value.schema, separators=(",", ":"))))
                now = time.thread_time()
                break
            longest, now = max(longest, time.thread_time() - now), time.thread_time()
    gc.enable()
    seconds = now - start
    print(f"{len(sizes)} schemas, {sum(sizes) / 1e6:.1f} MB: {seconds:.2f} s CPU, longest step {longest * 1e3:.1f} ms")
    return seconds <= MOST_CPU and longest <= MOST_WAIT


def main() -> int:
    is_cheap = ported()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        template = {"name": "deep", "call_template_type": "text", "content": deep_document()}
        config = Path(folder, "config.json")
        config.write_text(json.dumps({"bridge": {"exposure": "all"}, "manual_call_templates": [template]}))
        command = [
            sys.executable,
            "-m",
            "utcp_bridge",
            "serve",
            str(config),
            "--transport",
            "http",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return 0 if asyncio.run(measured(port, process.pid)) and is_cheap else 1
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    sys.exit(main())
