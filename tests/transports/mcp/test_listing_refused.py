"""A server that refuses one of its lists loses that list alone, whatever the code of its error. The report names it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from tests.support.source import TESTS
from tests.upstreams.hostile_mcp import Attack, HostileMcp, Message, Wire

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.manuals.registration import ManualState

pytestmark = pytest.mark.anyio
VERSIONS = ["2025-06-18", "2026-07-28"]
CODES = [-32601, -32600, -32602, -32603, -32000, 7]
UNKNOWN = -32601
PROGRAM = str(TESTS / "upstreams" / "odd_mcp_server.py")
OFFERED: dict[str, Any] = {"tools": {}, "resources": {}, "prompts": {}}
LISTS: dict[str, Any] = {
    "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]},
    "resources/list": {"resources": [{"uri": "memo://a", "name": "a"}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "memo://{b}", "name": "b"}]},
    "prompts/list": {"prompts": [{"name": "p"}]},
}
FIELDS = {"resources/list": "resources", "resources/templates/list": "resource_templates", "prompts/list": "prompts"}
CASES = [(method, code) for method in LISTS for code in CODES]


def name_of(method: str, code: int) -> str:
    return f"{method.replace('/', '_')}_{abs(code)}"


def over_stdio(version: str, method: str, code: int) -> dict[str, Any]:
    """Return a child that refuses one list."""
    start = {"protocolVersion": version, "capabilities": OFFERED, "serverInfo": {"name": "s", "version": "1"}}
    found = {"supportedVersions": [version], "capabilities": OFFERED, "resultType": "complete"}
    replies: dict[str, Any] = {listed: [result] for listed, result in LISTS.items()}
    replies |= {"server/discover": [found]} if version >= "2026" else {"initialize": [start]}
    replies[method] = [f'"error": {json.dumps(error_of(method, code))}']
    config = {"version": version, "replies": replies}
    return {"command": sys.executable, "args": ["-S", "-E", PROGRAM, json.dumps(config)]}


def error_of(method: str, code: int) -> dict[str, Any]:
    return {"code": code, "message": f"No {method} today."}


def refusal(code: int) -> Attack:
    """Answer with an error. In 2026-07-28, an unknown method has the status 404."""

    async def attack(server: HostileMcp, wire: Wire, message: Message) -> None:
        body = {"jsonrpc": "2.0", "id": message["id"], "error": error_of(message["method"], code)}
        is_status = code == UNKNOWN and server.version >= "2026"
        await wire.whole(json.dumps(body).encode(), "application/json", 404 if is_status else 200)

    return attack


@asynccontextmanager
async def entries(way: str, version: str) -> AsyncIterator[dict[str, Any]]:
    """Yield one server for each list and code."""
    async with AsyncExitStack() as stack:
        found: dict[str, Any] = {}
        for method, code in CASES:
            if way == "stdio":
                found[name_of(method, code)] = over_stdio(version, method, code)
            else:
                server = HostileMcp(version, {method: refusal(code)}, results=LISTS, **OFFERED)
                url = (await stack.enter_async_context(server)).url
                found[name_of(method, code)] = {"url": url}
        yield found


@pytest.mark.parametrize("way", ["stdio", "http"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_refused_list_costs_no_server_and_no_other_list(way: str, version: str) -> None:
    async with entries(way, version) as servers:
        manuals = [
            {
                "name": name,
                "call_template_type": "mcp",
                "config": {"mcpServers": {"s": server}},
                "register_resources_as_tools": True,
                "allow_networks": ["127.0.0.0/8"],
            }
            for name, server in servers.items()
        ]
        with anyio.fail_after(240):
            async with await UtcpClient.create({"manual_call_templates": manuals}, wait=180) as client:
                states = {state.name: state for state in client.report()}
                for method, code in CASES:
                    check(client, states[name_of(method, code)], method, code)
                called = await client.call_tool(f"{name_of('resources/templates/list', UNKNOWN)}.s.t", {})
                assert "called t" in str(called)


def check(client: UtcpClient, state: ManualState, method: str, code: int) -> None:
    """Check what the bridge shows of a server that refuses `method` with `code`, and what it reports."""
    said = [str(fault) for fault in state.faults]
    tools = {tool.name for tool in client.tools() if tool.manual == state.name}
    if method == "tools/list" and code != UNKNOWN:
        assert (tools, state.status) == (set(), "failed"), (state, said)
        assert f"refused `{method}`: error {code}, 'No {method} today'." in str(state.error)
        return
    wanted = {"tools/list": "s.t", "resources/list": "s.resource_a", "resources/templates/list": "s.resource_b"}
    assert tools == {name for listed, name in wanted.items() if listed != method}, (state, said)
    assert len(said) == 1
    assert state.faults[0].severity == "warning"
    assert (f"it does not know `{method}`" if code == UNKNOWN else f"`{method}` failed: error {code}") in said[0]
    [upstream] = [one for one in client.upstreams() if one.manual == state.name]
    assert upstream.offers is not None
    for listed, field in FIELDS.items():
        assert len(getattr(upstream.offers, field)) == (listed != method), (method, code, field)
