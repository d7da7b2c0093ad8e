"""Odd lists of one MCP server: hosts see what is usable, without secrets, and lose nothing of its neighbours."""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
import pytest
from tests.support.relayed import ERAS, host
from tests.support.source import TESTS

from utcp_bridge import UtcpClient
from utcp_bridge.server.app import BridgeServer

pytestmark = pytest.mark.anyio
HUGE = 10**30
SECRET = "sk-a-secret-of-the-operator"
OBJECT = {"type": "object"}
LISTS = ("list_tools", "list_resources", "list_resource_templates", "list_prompts")


def odd(lists: dict[str, Any], instructions: str = "") -> dict[str, Any]:
    """Return a server with these results of its lists."""
    start = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "odd", "version": "1"}}
    start |= {"capabilities": {"tools": {}, "resources": {}, "prompts": {}}, "instructions": instructions}
    replies = {"initialize": [start], **{method: [result] for method, result in lists.items()}}
    program = str(TESTS / "upstreams" / "odd_mcp_server.py")
    return {"command": sys.executable, "args": [program, json.dumps({"replies": replies})]}


def lists(name: str, more: dict[str, Any]) -> dict[str, Any]:
    """Return one entry of each list, with more members."""
    return {
        "tools/list": {"tools": [{"name": f"{name}_tool", "inputSchema": OBJECT, **more}]},
        "resources/list": {"resources": [{"uri": f"{name}://1", "name": "r", **more}]},
        "resources/templates/list": {"resourceTemplates": [{"uriTemplate": f"{name}://{{x}}", "name": "t", **more}]},
        "prompts/list": {"prompts": [{"name": f"{name}_prompt", **more}]},
    }


def configuration(variables: dict[str, str], **servers: dict[str, Any]) -> dict[str, Any]:
    entries = [
        {"name": name, "call_template_type": "mcp", "config": {"mcpServers": {name: one}}}
        for name, one in servers.items()
    ]
    return {"variables": variables, "manual_call_templates": entries}


async def seen(client: Any) -> str:
    """Return all lists of a host as text."""
    return "".join([str((await getattr(client, one)()).model_dump(by_alias=True)) for one in LISTS])


@pytest.mark.parametrize("era", ERAS)
async def test_numbers_of_any_length_cost_no_list(era: str) -> None:
    bad = lists("bad", {"_meta": {"a/b": HUGE}, "size": HUGE, "annotations": {"x": HUGE}})
    config = configuration({}, good=odd(lists("good", {})), bad=odd(bad))
    with anyio.fail_after(60):
        async with await UtcpClient.create(config, wait=60) as client, host(BridgeServer(client), era) as reader:
            text = await seen(reader)
    for name in ("good", "bad"):
        for one in (f"{name}_tool", f"{name}://1", f"{name}://{{x}}", f"{name}_prompt"):
            assert one in text
    assert str(HUGE) in text


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_repeats_a_credential_does_not_show_it_in_lists_and_instructions(era: str) -> None:
    server = odd(lists("odd", {"description": f"Use {SECRET}.", "_meta": {"a/b": SECRET}}), f"The key is {SECRET}.")
    config = configuration({"odd_API_KEY": SECRET}, odd={**server, "env": {"API_KEY": "${API_KEY}"}})
    with anyio.fail_after(60):
        async with await UtcpClient.create(config, wait=60) as client:
            bridge = BridgeServer(client)
            async with host(bridge, era) as reader:
                text = await seen(reader) + (reader.instructions or "") + bridge.instructions_text()
    assert "The key is ***." in text
    assert text.count("Use ***.") == len(LISTS)
    assert SECRET not in text


async def test_a_uri_with_invisible_characters_is_left_out_and_named() -> None:
    resources = [{"uri": uri, "name": "n"} for uri in ("a://\x1b[2J", "a://\u202e", "a://\n", "a://kept ü")]
    config = configuration({}, odd=odd({**lists("odd", {}), "resources/list": {"resources": resources}}))
    with anyio.fail_after(60):
        async with await UtcpClient.create(config, wait=60) as client, host(BridgeServer(client), "legacy") as reader:
            assert [one.uri for one in (await reader.list_resources()).resources] == ["a://kept ü"]
            [state] = client.report()
            assert sum("invisible characters" in str(fault) for fault in state.faults) == 3
