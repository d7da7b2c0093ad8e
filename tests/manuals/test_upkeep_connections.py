"""Connections of a former entry end once its calls are through, for each transport that keeps connections.

Each service is behind two relays, which count connections and can withhold the reply of a call. The entry of its manual
changes from each of several forms into each other one, while a call is in flight.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from tests.upstreams.grpc_service import GrpcService
from tests.upstreams.mcp_server import http_server
from tests.upstreams.websocket_service import WebSocketService

from utcp_bridge import UtcpClient
from utcp_bridge.client.reconfiguring import Reconfiguring
from utcp_bridge.model import JsonObject
from utcp_bridge.settings import UtcpClientConfig

pytestmark = pytest.mark.anyio


@dataclass(eq=False)
class Line:
    """One connection through a relay."""

    writer: asyncio.StreamWriter
    may_go: asyncio.Event = field(default_factory=asyncio.Event)
    waits: bool = False
    """Whether a reply was withheld."""


class Relay:
    """Passes TCP connections on to a port, and knows those that are open."""

    def __init__(self, port: int) -> None:
        self._to, self.port = port, 0
        self.lines: set[Line] = set()
        self.changed, self.withheld = asyncio.Event(), asyncio.Event()
        self._withholds = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Relay]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
        lines = {*self.lines}
        for line in lines:
            line.may_go.set()
            line.writer.close()
        await self.ends(lines)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(writer)
        if not self._withholds:
            line.may_go.set()
        self.lines.add(line)
        from_service, to_service = await asyncio.open_connection("127.0.0.1", self._to)
        back = asyncio.ensure_future(self._back(line, from_service))
        try:
            with suppress(OSError):
                while data := await reader.read(65_536):
                    to_service.write(data)
        finally:
            to_service.close()
            await back
            with suppress(OSError):
                await to_service.wait_closed()
            self.lines.discard(line)
            self.changed.set()

    async def _back(self, line: Line, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if not line.may_go.is_set():
                    line.waits = True
                    self.withheld.set()
                    await line.may_go.wait()
                line.writer.write(data)
        line.writer.close()

    def withhold(self) -> None:
        """Withhold what comes back, until `frozen`."""
        self._withholds = True
        self.withheld.clear()
        for line in self.lines:
            line.may_go.clear()

    async def frozen(self) -> set[Line]:
        """Wait until a reply is withheld. Return its connection, which goes on to wait; idle and new ones do not."""
        with anyio.fail_after(60):
            await self.withheld.wait()
        self._withholds = False
        waiting = {line for line in self.lines if line.waits}
        for line in self.lines - waiting:
            line.may_go.set()
        return waiting

    async def ends(self, lines: set[Line]) -> None:
        """Wait until these connections are closed."""
        with anyio.fail_after(60):
            while lines & self.lines:
                self.changed.clear()
                await self.changed.wait()


@dataclass
class Kept:
    """A service, the tool to call, and the entry of its manual at a port, with credentials or without."""

    port: int
    tool: str
    entry: Callable[[int, JsonObject], JsonObject]
    arguments: JsonObject


def written(template: JsonObject) -> JsonObject:
    """Return the entry of a manual whose text has one tool."""
    tool = {"name": "t", "tool_call_template": template}
    content = {"utcp_version": "1.0.1", "manual_version": "1", "tools": [tool]}
    allowed = {"allowed_communication_protocols": ["text", template["call_template_type"]]}
    return {"name": "m", "call_template_type": "text", "content": content, **allowed}


@asynccontextmanager
async def websocket(path: str, **fields: Any) -> AsyncGenerator[Kept]:
    async with WebSocketService() as service:

        def entry(port: int, auth: JsonObject) -> JsonObject:
            url = f"ws://127.0.0.1:{port}{path}"
            return written({"call_template_type": "websocket", "url": url, "keep_alive": True, **fields, **auth})

        yield Kept(int(service.base.rpartition(":")[2]), "m.t", entry, {"text": "x"})


@asynccontextmanager
async def grpc() -> AsyncGenerator[Kept]:
    async with GrpcService() as service:

        def entry(port: int, auth: JsonObject) -> JsonObject:
            names = {"service_name": "shop.Orders", "method_name": "Echo", "use_ssl": False}
            return written({"call_template_type": "grpc", "host": "127.0.0.1", "port": port, **names, **auth})

        yield Kept(service.port, "m.t", entry, {"text": "x"})


@asynccontextmanager
async def mcp() -> AsyncGenerator[Kept]:
    async with http_server("s", json_replies=True) as url:

        def entry(port: int, auth: JsonObject) -> JsonObject:
            server = {"transport": "http", "url": f"http://127.0.0.1:{port}/mcp"}
            return {"name": "m", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}, **auth}

        yield Kept(int(url.rpartition(":")[2].partition("/")[0]), "m.s.echo", entry, {"text": "x"})


@asynccontextmanager
async def mcp_servers() -> AsyncGenerator[Kept]:
    """Two servers of one entry; the other one has its own address."""
    async with mcp() as kept, http_server("other", json_replies=True) as url:

        def entry(port: int, auth: JsonObject) -> JsonObject:
            written = kept.entry(port, {})
            headers = {"headers": {"Authorization": "Bearer secret-of-the-test"}} if auth else {}
            servers = {
                "s": {**written["config"]["mcpServers"]["s"], **headers},
                "other": {"transport": "http", "url": url},
            }
            return {**written, "config": {"mcpServers": servers}}

        yield Kept(kept.port, kept.tool, entry, kept.arguments)


SERVICES: dict[str, Callable[[], AbstractAsyncContextManager[Kept]]] = {
    "websocket": lambda: websocket("/ws"),
    "websocket that calls share": lambda: websocket("/envelope", wire="envelope"),
    "grpc": grpc,
    "mcp": mcp,
    "mcp servers": mcp_servers,
}
_KEY = {"auth_type": "api_key", "api_key": "Bearer secret-of-the-test", "var_name": "Authorization"}
CHANGES: dict[str, tuple[JsonObject, JsonObject]] = {
    "as it is": ({}, {}),
    "other credentials": ({"auth": {**_KEY, "location": "header"}}, {}),
    "another limit": ({}, {"call_timeout": 30}),
}
"""Credentials, and what else is in the entry."""


class Bridge:
    """A client with one manual, whose entry is in one of several forms."""

    def __init__(self, client: UtcpClient, kept: Kept, relays: dict[str, Relay]) -> None:
        self.client, self._kept, self._relays = client, kept, relays

    async def become(self, form: tuple[str, str] | None) -> None:
        """Have the entry in a form: at a relay, with a change; None: without the manual."""
        entries: tuple[JsonObject, ...] = ()
        if form is not None:
            auth, more = CHANGES[form[1]]
            entries = ({**self._kept.entry(self._relays[form[0]].port, auth), **more},)
        await self.client.reconfigure(UtcpClientConfig(manual_call_templates=entries), Reconfiguring())
        assert await self.client.wait_loaded(60)

    async def call(self) -> None:
        await self.client.call(self._kept.tool, self._kept.arguments)


FIRST, SECOND, KEYED, LIMITED = (
    ("first", "as it is"),
    ("second", "as it is"),
    ("first", "other credentials"),
    ("first", "another limit"),
)
FORMS: dict[str, list[tuple[str, str] | None]] = {
    "websocket": [FIRST, SECOND, None, KEYED, LIMITED],
    "websocket that calls share": [FIRST, SECOND, None, KEYED, LIMITED],
    "grpc": [FIRST, SECOND, None, KEYED, LIMITED],
    "mcp": [FIRST, SECOND],
    "mcp servers": [FIRST, KEYED],
}
"""A session with an MCP server goes on if nothing of the server and of the way to it has changed."""


@pytest.mark.parametrize("service", SERVICES)
async def test_each_change_of_an_entry_ends_its_connections_after_its_calls(service: str) -> None:
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(SERVICES[service]())
        relays = {name: await stack.enter_async_context(Relay(kept.port).open()) for name in ("first", "second")}
        client = await stack.enter_async_context(await UtcpClient.create([]))
        bridge = Bridge(client, kept, relays)
        for before, after in itertools.permutations(FORMS[service], 2):
            await bridge.become(before)
            if before is None:
                await bridge.become(after)
                continue
            await changes(bridge, relays, before, after)


async def changes(
    bridge: Bridge, relays: dict[str, Relay], before: tuple[str, str], after: tuple[str, str] | None
) -> None:
    """Let a call be in flight while the entry changes."""
    await bridge.call()
    relay = relays[before[0]]
    relay.withhold()
    done: list[str] = []

    async def in_flight() -> None:
        await bridge.call()
        done.append("in flight")

    async with anyio.create_task_group() as group:
        group.start_soon(in_flight)
        former = await relay.frozen()
        await bridge.become(after)
        if after is not None:
            await bridge.call()
            done.append("new")
        assert "in flight" not in done
        assert relay.lines & former, "the connection of the call is still there"
        for line in former:
            line.may_go.set()
    assert done[-1] == "in flight"
    await relay.ends(former)
    if after is not None:
        await bridge.call()
