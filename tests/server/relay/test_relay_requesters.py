"""A mapped resource calls a tool: rules and the audit log know who reads it, and through which profile."""

import json

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from tests.support.relayed import ERAS
from tests.support.served_here import serve

from utcp_bridge import Extensions, UtcpClient
from utcp_bridge.access.rules import open_rules
from utcp_bridge.server.app import BridgeServer

pytestmark = pytest.mark.anyio
RULES = [
    {"do": "deny", "name": "closed", "tools": "shop.orders", "profiles": "support"},
    {"do": "redact", "patterns": ["email"], "profiles": "readers", "principals": "anyone"},
]


def configuration():
    names = {"orders": "Seven.", "contact": "ann@example.com"}
    tools = [
        {"name": name, "tool_call_template": {"call_template_type": "text", "content": text}}
        for name, text in names.items()
    ]
    manual = {
        "name": "shop",
        "call_template_type": "text",
        "content": {"utcp_version": "1.0.1", "tools": tools},
        "resources": {f"shop://{name}": {"tool": name} for name in names},
    }
    bridge = {"port": 0, "profiles": {"support": {}, "readers": {}}, "access_rules": RULES}
    return {"manual_call_templates": [manual], "bridge": bridge}


@pytest.mark.parametrize("era", ERAS)
async def test_rules_and_the_audit_log_know_who_reads_a_mapped_resource(era):
    lines = []

    async def read(url, uri):
        async with Client(url, mode=era) as host:
            return (await host.read_resource(uri)).contents[0].text

    async def work(url):
        assert "Seven." in await read(url, "shop://orders")
        assert "ann@example.com" in await read(f"{url}/p/support", "shop://contact")
        assert "[email]" in await read(f"{url}/p/readers", "shop://contact")
        async with Client(f"{url}/p/support", mode=era) as host:
            with pytest.raises(MCPError, match=r"The rule 'closed' refuses shop\.orders"):
                await host.read_resource("shop://orders")

    extensions = Extensions(ruling=open_rules(RULES), audit=lines.append)
    async with await UtcpClient.create(configuration(), extensions=extensions) as client:
        await serve(BridgeServer(client), work)
    lines = [json.loads(line) for line in lines]
    seen = [(line["tool"], line.get("profile"), line["outcome"]) for line in lines]
    assert seen == [
        ("shop.orders", None, "ok"),
        ("shop.contact", "support", "ok"),
        ("shop.contact", "readers", "ok"),
        ("shop.orders", "support", "policy"),
    ]
    assert all(line["client"] and line["session"] and line["principal"] == "anyone" for line in lines)
