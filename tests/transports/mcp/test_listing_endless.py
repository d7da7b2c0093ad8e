"""A server whose lists never end: each stops at its limit in bytes, what came is used, and the report names the cut."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from tests.support.source import TESTS
from tests.upstreams.hostile_mcp import HostileMcp, Message, Wire, result_of
from tests.upstreams.odd_mcp_server import endless_page

from utcp_bridge.client.client import UtcpClient

pytestmark = pytest.mark.anyio
VERSIONS = ["2025-06-18", "2026-07-28"]
PAGE, LIMIT = 9_500, 100_000
PAGES = 11
"""Pages of `PAGE` bytes and a little more, of which the sum is above `LIMIT` for the first time."""
LISTS = ["tools/list", "resources/list", "resources/templates/list", "prompts/list"]
PROGRAM = str(TESTS / "upstreams" / "odd_mcp_server.py")
OFFERED: dict[str, Any] = {"tools": {}, "resources": {}, "prompts": {}}


def over_stdio(version: str) -> dict[str, Any]:
    start = {"protocolVersion": version, "capabilities": OFFERED, "serverInfo": {"name": "s", "version": "1"}}
    found = {"supportedVersions": [version], "capabilities": OFFERED, "resultType": "complete"}
    replies = {"server/discover": [found]} if version >= "2026" else {"initialize": [start]}
    config = {"version": version, "replies": replies, "endless": dict.fromkeys(LISTS, PAGE)}
    return {"command": sys.executable, "args": ["-S", "-E", PROGRAM, json.dumps(config)]}


async def endless(_server: HostileMcp, wire: Wire, message: Message) -> None:
    cursor = (message.get("params") or {}).get("cursor", "0")
    await wire.json(result_of(message, endless_page(message["method"], cursor, PAGE)))


@asynccontextmanager
async def entry(way: str, version: str) -> AsyncIterator[dict[str, Any]]:
    if way == "stdio":
        yield over_stdio(version)
        return
    async with HostileMcp(version, dict.fromkeys(LISTS, endless), **OFFERED) as server:
        yield {"url": server.url}
        for method in LISTS:
            assert sum(message.get("method") == method for message in server.heard) == PAGES


@pytest.mark.parametrize("way", ["stdio", "http"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_lists_without_end_are_cut_at_their_limit_and_named(way: str, version: str) -> None:
    async with entry(way, version) as server:
        manual = {
            "name": "m",
            "call_template_type": "mcp",
            "config": {"mcpServers": {"s": server}},
            "register_resources_as_tools": True,
            "allow_networks": ["127.0.0.0/8"],
        }
        config = {"manual_call_templates": [manual], "bridge": {"max_manual_bytes": LIMIT}}
        with anyio.fail_after(120):
            async with await UtcpClient.create(config, wait=90) as client:
                [state] = client.report()
                [upstream] = client.upstreams()
                tools = [tool.name for tool in client.tools()]
    assert sorted(str(fault).partition(".")[0] for fault in state.faults) == sorted(
        f"MCP server 's': the pages of `{method}` have more than {LIMIT:,} bytes" for method in LISTS
    )
    assert upstream.offers is not None
    for listed in (upstream.offers.resources, upstream.offers.resource_templates, upstream.offers.prompts):
        assert len(listed) == PAGES
    assert len(tools) == 3 * PAGES
