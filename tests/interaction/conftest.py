"""Real MCP clients on real servers: in memory, over stdio and over streamable HTTP, in both protocol eras."""

import json
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import mcp_types as types
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client._memory import InMemoryTransport
from tests.support.mcp_served import build
from tests.support.own_task import in_its_own_task

ROOT = Path(__file__).parents[2]
KINDS = [f"{transport}-{era}" for transport in ("memory", "stdio", "http") for era in ("legacy", "modern")]


def served(how, **settings):
    """Return the command line of a served bridge."""
    return ["-m", "tests.support.mcp_served", how, json.dumps(settings)]


@contextmanager
def http_server(**settings):
    """Serve a bridge on a free port. Yield (URL, process)."""
    command = [sys.executable, *served("http", **settings)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.terminate()
            process.communicate(timeout=200)


@dataclass
class Connected:
    """One client and the notifications that it received."""

    client: Client
    kind: str
    changed: anyio.Event = field(default_factory=anyio.Event)

    async def call(self, name, arguments=None, **fields):
        with anyio.fail_after(200):
            return await self.client.call_tool(name, arguments or {}, **fields)

    async def list_all(self):
        pages, cursor = [], None
        with anyio.fail_after(200):
            while True:
                page = await self.client.list_tools(cursor=cursor, cache_mode="bypass")
                pages.append(page.tools)
                cursor = page.next_cursor
                if cursor is None:
                    return pages


@asynccontextmanager
async def connect(target, kind):
    """Connect in the protocol era of `kind`, and subscribe to changes as that era does."""
    connected = Connected(None, kind)

    async def heard(message):
        if isinstance(message, types.ToolListChangedNotification):
            connected.changed.set()

    async def listen(*, task_status):
        async with connected.client.listen(tools_list_changed=True) as events:
            task_status.started()
            async for _ in events:
                connected.changed.set()

    modern = kind.endswith("modern")
    async with Client(target, mode="auto" if modern else "legacy", message_handler=heard) as client:
        connected.client = client
        async with anyio.create_task_group() as group:
            if modern:
                await group.start(listen)
            yield connected
            group.cancel_scope.cancel()


@pytest.fixture(scope="module", params=KINDS)
async def bridge(request, anyio_backend):
    """A connected client, one for each module and kind."""
    kind = request.param
    if kind.startswith("http"):
        with http_server() as (url, _):
            async with in_its_own_task(connect(url, kind)) as connected:
                yield connected
        return
    command = StdioServerParameters(command=sys.executable, args=served("stdio"), cwd=ROOT)
    target = InMemoryTransport(build()) if kind.startswith("memory") else command
    async with in_its_own_task(connect(target, kind)) as connected:
        yield connected
