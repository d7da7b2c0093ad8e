"""Pages of MCP servers (MCP Apps) behind the bridge, with one server and with two that have the same URIs."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from mcp import MCPError
from mcp.shared.memory import create_client_server_memory_streams
from mcp_types import Implementation
from tests.upstreams import app_server

from utcp_bridge import UtcpClient
from utcp_bridge.model import JsonObject
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.transports.mcp.handshake import RawSession
from utcp_bridge.upstream import APP_MEDIA_TYPE, APPS

pytestmark = pytest.mark.anyio
SHOWS: JsonObject = {APPS: {"mimeTypes": [APP_MEDIA_TYPE]}}


@asynccontextmanager
async def host_of(*names: str, extensions: JsonObject = SHOWS) -> AsyncGenerator[RawSession]:
    entries = [
        {
            "name": name,
            "call_template_type": "mcp",
            "command": sys.executable,
            "args": [str(Path(str(app_server.__file__))), name],
        }
        for name in names
    ]
    async with await UtcpClient.create({"manual_call_templates": entries}) as client:
        bridge = BridgeServer(client)
        async with create_client_server_memory_streams() as (mine, theirs), anyio.create_task_group() as group:
            group.start_soon(bridge.run, *theirs, bridge.create_initialization_options())
            info = Implementation(name="host", version="1")
            async with RawSession(*mine, client_info=info, extensions=extensions) as session:
                await session.open(quietly=False)
                yield session
            group.cancel_scope.cancel()


async def pages_of(host: RawSession) -> dict[str, JsonObject]:
    tools = (await host.request("tools/list", {}))["tools"]
    return {one["name"]: one["_meta"] for one in tools if "ui" in one.get("_meta", {})}


async def called(host: RawSession, name: str) -> JsonObject:
    return await host.request("tools/call", {"name": name, "arguments": {}})


async def test_one_server_keeps_its_uris() -> None:
    async with host_of("a") as host:
        offered = host.capabilities["extensions"]
        assert {APPS, "io.modelcontextprotocol/skills"} <= offered.keys()
        pages = await pages_of(host)
        assert pages["a_show"]["ui"] == {"resourceUri": app_server.PAGE, "visibility": ["model", "app"]}
        assert pages["a_show"]["ui/resourceUri"] == app_server.PAGE
        assert pages["a_tick"]["ui"]["visibility"] == ["app"]
        [page] = (await host.request("resources/read", {"uri": app_server.PAGE}))["contents"]
        assert (page["uri"], page["text"], page["mimeType"]) == (app_server.PAGE, "<p>a", APP_MEDIA_TYPE)
        assert (await called(host, "a_show"))["_meta"]["ui"]["resourceUri"] == app_server.PAGE


async def test_two_servers_with_the_same_uri_get_one_each() -> None:
    async with host_of("a", "b") as host:
        pages = await pages_of(host)
        for name in ("a", "b"):
            uri = pages[f"{name}_show"]["ui"]["resourceUri"]
            assert uri == f"ui://utcp-bridge.{name}/clock/page.html"
            assert pages[f"{name}_show"]["ui/resourceUri"] == uri
            [page] = (await host.request("resources/read", {"uri": uri}))["contents"]
            assert (page["uri"], page["text"]) == (uri, f"<p>{name}")
            assert (await called(host, f"{name}_show"))["_meta"]["ui"]["resourceUri"] == uri
        listed = [one["uri"] for one in (await host.request("resources/list", {}))["resources"]]
        assert sorted(listed) == [f"ui://utcp-bridge.{name}/clock/page.html" for name in ("a", "b")]


async def test_a_page_calls_the_tools_of_its_server_by_their_own_names() -> None:
    async with host_of("a", "b") as host:
        assert (await called(host, "only_b"))["content"][0]["text"] == "only_b of b"
        with pytest.raises(MCPError, match="tick"):
            await called(host, "tick")


async def test_servers_learn_whether_the_host_shows_pages() -> None:
    async with host_of("a") as host:
        assert json.loads((await called(host, "a_declared"))["content"][0]["text"])[APPS] == SHOWS[APPS]
    async with host_of("a", extensions={APPS: {"mimeTypes": ["text/plain"]}}) as host:
        assert APPS not in json.loads((await called(host, "a_declared"))["content"][0]["text"])
