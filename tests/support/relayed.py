"""A bridge in front of real MCP servers, and real SDK clients in both protocol eras in front of the bridge."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mcp import Client
from tests.support.source import TESTS
from tests.upstreams.mcp_offers import OffersServer, offers_over_http
from tests.upstreams.mcp_server import serving

from utcp_bridge import UtcpClient
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http import build_app

ERAS = ("legacy", "2026-07-28")
"""Modes of the SDK's client; as eras of upstreams, `legacy` is the handshake era alone."""


def program(name: str, era: str = "") -> dict[str, Any]:
    """Return an upstream as a child process."""
    args = ["-m", "tests.upstreams.mcp_offers", name, *([era] if era == "legacy" else [])]
    return {"command": sys.executable, "args": args, "env": {"PYTHONPATH": str(TESTS.parent)}}


@asynccontextmanager
async def upstream(server: OffersServer, era: str) -> AsyncIterator[dict[str, Any]]:
    """Serve an upstream over HTTP in this era; yield its entry."""
    async with offers_over_http(server, legacy=era == "legacy") as url:
        yield {"url": url}


@asynccontextmanager
async def bridge(servers: dict[str, dict[str, Any]], **settings: Any) -> AsyncIterator[BridgeServer]:
    """Yield a bridge with one manual for each server."""
    manuals = [
        {"name": name, "call_template_type": "mcp", "config": {"mcpServers": {name: one}}}
        for name, one in servers.items()
    ]
    config = {"manual_call_templates": manuals, "bridge": {"discovery_timeout": 200, **settings}}
    async with await UtcpClient.create(config, wait=60) as client:
        yield BridgeServer(client)


@asynccontextmanager
async def relayed(
    upstream_era: str, *names: str, **settings: Any
) -> AsyncIterator[tuple[BridgeServer, list[OffersServer]]]:
    """Yield a bridge with upstreams of these names over HTTP, and the upstreams."""
    async with AsyncExitStack() as stack:
        served = [OffersServer(name) for name in names]
        entries = {server.name: await stack.enter_async_context(upstream(server, upstream_era)) for server in served}
        yield await stack.enter_async_context(bridge(entries, **settings)), served


@asynccontextmanager
async def bridge_url(server: BridgeServer) -> AsyncIterator[str]:
    """Serve a bridge over HTTP and yield the URL of its endpoint."""
    async with serving(build_app(server)) as base:
        yield f"{base}/mcp"


@asynccontextmanager
async def host(server: BridgeServer | str, era: str, **options: Any) -> AsyncIterator[Client]:
    """Yield a client of the bridge: in process, or over HTTP if a URL is given."""
    async with Client(server, mode=era, **options) as client:  # type: ignore[arg-type]
        yield client
