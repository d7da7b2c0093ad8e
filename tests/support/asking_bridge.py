"""A bridge in front of servers that ask, with real hosts of both eras that answer in their own name."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp import StdioServerParameters
from mcp.client import Client
from tests.upstreams.mcp_asking import AskingServer, asking_http
from tests.upstreams.mcp_server import serving

from utcp_bridge import Extensions, UtcpClient
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http import build_app
from utcp_bridge.upstream import HostAhead

ROOT = Path(__file__).parents[2]
ERAS = ("handshake", "modern")
MODES = {"handshake": "legacy", "modern": "2026-07-28"}


@dataclass
class Person:
    """A host that answers with its name. `asked` has the methods that it was asked for."""

    name: str
    abilities: tuple[str, ...] = ("elicitation", "sampling", "roots")
    asked: list[str] = field(default_factory=list[str])
    action: str = "accept"
    waits: anyio.Event | None = None
    is_asked: anyio.Event = field(default_factory=anyio.Event)
    logs: list[Any] = field(default_factory=list[Any])
    heard: list[str] = field(default_factory=list[str])
    client: Any = None

    async def _elicit(self, _ctx: Any, params: Any) -> Any:
        self.asked.append(f"elicitation {params.mode}")
        self.is_asked.set()
        if self.waits is not None:
            await self.waits.wait()
        if self.action != "accept" or params.mode == "url":
            return types.ElicitResult(action=self.action)
        return types.ElicitResult(action="accept", content={"name": self.name})

    async def _sample(self, _ctx: Any, params: Any) -> Any:
        self.asked.append(f"sampling {params.max_tokens}")
        text = types.TextContent(type="text", text=self.name)
        return types.CreateMessageResult(role="assistant", content=text, model="m")

    async def _roots(self, _ctx: Any) -> Any:
        self.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root(uri=f"file:///home/{self.name}")])

    async def _hear(self, message: Any) -> None:
        self.heard.append(type(message).__name__)

    @asynccontextmanager
    async def connected(self, target: Any, era: str) -> AsyncIterator[Person]:
        """Connect to a bridge in an era of the protocol."""
        able = self.abilities
        async with Client(
            target,
            mode=MODES[era],
            client_info=types.Implementation(name=self.name, version="1"),
            elicitation_callback=self._elicit if "elicitation" in able else None,
            sampling_callback=self._sample if "sampling" in able else None,
            list_roots_callback=self._roots if "roots" in able else None,
            message_handler=self._hear,
        ) as self.client:
            yield self

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
        """Return the value that a tool says."""
        with anyio.fail_after(600):
            result = await self.client.call_tool(f"up_s_{tool}", arguments or {}, **options)
        text = result.content[0].text
        return {"error": text} if result.is_error else json.loads(text)


def configuration(server: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Return a configuration with one server that asks."""
    entry = {"name": "up", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}}
    patient = {"startup_wait": 200, "discovery_timeout": 200}
    return {"manual_call_templates": [entry], "bridge": {"transport": "http", **patient, **settings}}


def command(era: str, record: Path | None = None, **options: Any) -> dict[str, Any]:
    """Return a server that asks, as a command."""
    arguments = ["-m", "tests.upstreams.mcp_asking", era, *([] if record is None else [str(record)])]
    return {"command": sys.executable, "args": arguments, "cwd": str(ROOT), **options}


@asynccontextmanager
async def asking_server(era: str, way: str) -> AsyncIterator[dict[str, Any]]:
    """Yield a server that asks, as a configuration has it: `stdio` or `http`."""
    if way == "stdio":
        yield command(era)
        return
    async with asking_http(AskingServer(era)) as url:
        yield {"url": url}


@asynccontextmanager
async def serving_bridge(config: dict[str, Any]) -> AsyncIterator[tuple[str, BridgeServer]]:
    """Serve a bridge in this process and yield its URL and the server."""
    extensions = Extensions(host=HostAhead.of_server("http"))
    async with await UtcpClient.create(config, extensions=extensions) as client:
        assert [state.status for state in client.report()] == ["ready"]
        server = BridgeServer(client)
        async with serving(build_app(server)) as base:
            yield f"{base}/mcp", server


@asynccontextmanager
async def bridge_over_http(config: dict[str, Any]) -> AsyncIterator[str]:
    """Serve a bridge in this process and yield the URL."""
    async with serving_bridge(config) as (url, _):
        yield url


def bridge_over_stdio(config: dict[str, Any], folder: Path) -> StdioServerParameters:
    """Return the command that serves a configuration over stdio."""
    file = folder / "bridge.json"
    file.write_text(json.dumps({**config, "bridge": {**config["bridge"], "transport": "stdio"}}), encoding="utf-8")
    return StdioServerParameters(command=sys.executable, args=["-m", "utcp_bridge", "serve", str(file)], cwd=ROOT)


@asynccontextmanager
async def bridge(config: dict[str, Any], way: str, folder: Path) -> AsyncIterator[Any]:
    """Yield what a host connects to: a bridge over `stdio` or `http`."""
    if way == "stdio":
        yield bridge_over_stdio(config, folder)
        return
    async with bridge_over_http(config) as url:
        yield url
