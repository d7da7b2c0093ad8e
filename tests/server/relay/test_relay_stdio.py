"""The relay between real processes: a host, the bridge over stdio, and a server over stdio, in every pair of eras."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from tests.server.relay.test_relay_logs import Lines
from tests.support.relayed import ERAS, program

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the handshake era is tested
]


@pytest.mark.parametrize("upstream_era", ERAS)
@pytest.mark.parametrize("host_era", ["legacy", "auto"])
async def test_offers_pass_through_two_processes(host_era: Any, upstream_era: str, tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    servers = {name: program(name, upstream_era) for name in ("shop", "store")}
    config.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    command = StdioServerParameters(command=sys.executable, args=["-m", "utcp_bridge", "serve", str(config)])
    lines = Lines()
    meta: Any = None if host_era == "legacy" else {"io.modelcontextprotocol/logLevel": "debug"}
    with anyio.fail_after(120):
        async with Client(stdio_client(command), mode=host_era, logging_callback=lines) as client:
            assert client.server_capabilities.prompts is not None
            uris: list[str] = []
            while not {"shop://own", "store://own"} <= set(uris):  # the slower of the two comes later
                uris = [one.uri for one in (await client.list_resources()).resources]
            assert len(uris) == 4
            assert "utcp-bridge://store/memo://guide" in uris
            [part] = (await client.read_resource("store://own")).contents
            assert isinstance(part, types.TextResourceContents)
            assert part.text == "Only store has this."
            said = await client.get_prompt("shop_greet", {"who": "Ada"})
            assert said.messages[0].content.model_dump()["text"] == "shop greet Ada"
            name = next(one.name for one in (await client.list_tools()).tools if one.name.endswith("shop_say"))
            if host_era == "legacy":
                await client.set_logging_level("debug")
            await client.call_tool(name, {"uri": "Ada"}, meta=meta)
            await lines.until(3)
            assert [line.rpartition(": ")[2] for line in lines.texts] == [
                f"{level} for Ada" for level in ("debug", "info", "error")
            ]
