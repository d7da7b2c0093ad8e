"""What the servers and maps of a client offer, counted, and what of it hosts do not get."""

import sys
from pathlib import Path

import pytest
from tests.support.local_manuals import entry
from tests.upstreams import mcp_server, task_server

from utcp_bridge import UtcpClient
from utcp_bridge.client.offered import offer_lines, offered
from utcp_bridge.model import JsonObject

pytestmark = pytest.mark.anyio


def server(name: str, file: str | None, *words: str) -> JsonObject:
    started = {"command": sys.executable, "args": [str(Path(str(file))), *words]}
    return {"name": name, "call_template_type": "mcp", "config": {"mcpServers": {"one": started}}}


async def test_servers_and_maps_are_counted() -> None:
    entries = [
        server("memo", mcp_server.__file__, "memo"),
        server("slow", task_server.__file__, "legacy"),
        entry("docs", resources={"a://b": {"text": "x"}, "a://{c}/d": {"text": "y"}}, prompts={"p": {"text": "z"}}),
        entry("plain"),
    ]
    async with await UtcpClient.create({"manual_call_templates": entries}) as client:
        memo, slow, docs = offered(client)
        assert (memo.tools, memo.resources, memo.templates, memo.prompts) == (9, 3, 2, 0)
        assert str(slow) == "9 tools, tasks"
        assert str(docs) == "1 resource, 1 resource template, 1 prompt, subscriptions, completions"
        assert docs.as_json()["not_relayed"] == []
        assert [one.manual for one in offered(client, "slow")] == ["slow"]
        lines = offer_lines(client)
        assert lines[0].startswith("memo, MCP server 'one' offers 9 tools, 3 resources, 2 resource templates")
        assert "docs offers 1 resource, 1 resource template, 1 prompt, subscriptions, completions." in lines


ODD = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    offers = {
        "tools": {}, "dreams": {}, "experimental": {"smell": {}},
        "extensions": {"org.example/x": {}, "io.modelcontextprotocol/ui": {}},
    }
    results = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": offers, "instructions": "Be kind.",
                       "serverInfo": {"name": "odd", "version": "1"}},
        "tools/list": {"tools": []},
    }
    if "id" in message and message.get("method"):
        result = results.get(message["method"])
        reply = {"result": result} if result else {"error": {"code": -32601, "message": "unknown"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)
"""


async def test_what_hosts_do_not_get_is_named() -> None:
    odd = {"command": sys.executable, "args": ["-c", ODD]}
    template = {"name": "odd", "call_template_type": "mcp", "config": {"mcpServers": {"odd": odd}}}
    async with await UtcpClient.create({"manual_call_templates": [template]}) as client:
        assert offer_lines(client) == [
            "odd offers instructions of 8 characters, org.example/x, io.modelcontextprotocol/ui.",
            "odd: The bridge does not relay the extension org.example/x.",
            "odd: The bridge does not relay the experimental feature smell.",
            "odd: The bridge does not relay the capability dreams.",
        ]
        assert offered(client)[0].version == "2025-06-18"
