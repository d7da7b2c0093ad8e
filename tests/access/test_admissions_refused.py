"""Requests that are refused before they reach a tool have lines in the audit log."""

import json
from pathlib import Path

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from tests.support.served_here import serve

from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.server.app import BridgeServer

pytestmark = pytest.mark.anyio
ENTRIES = [
    {
        "name": name,
        "call_template_type": "text",
        "content": {
            "utcp_version": "1.0.1",
            "tools": [{"name": "read", "tool_call_template": {"call_template_type": "text", "content": name}}],
        },
    }
    for name in ("shop", "wiki")
]


async def refused(tmp_path: Path, work, **access) -> list[dict[str, object]]:
    """Serve with tokens while `work(url, tokens)` runs, and return the lines of what was refused."""
    file = TokenFile(tmp_path / "tokens.json")
    tokens = {
        "all": file.add("all", scopes=["use"]).value,
        "shopper": file.add("shopper", scopes=["use"], profiles=["shop"]).value,
        "narrow": file.add("narrow").value,
    }
    settings = {
        "access": {
            "tokens_file": "tokens.json",
            "required_scopes": ["use"],
            "profiles": {"shop": {"manuals": "shop"}},
            **access,
        }
    }
    lines: list[bytes] = []
    config = {"manual_call_templates": ENTRIES, "bridge": settings}
    async with await UtcpClient.create(config, root=tmp_path, extensions=Extensions(audit=lines.append)) as client:
        await serve(BridgeServer(client), lambda url: work(url, tokens))
    return [line for line in map(json.loads, lines) if "refused" in line]


def authorised(token: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
async def test_a_call_of_a_hidden_or_unknown_tool_has_a_line_whatever_way_it_takes(tmp_path: Path, era: str) -> None:
    async def work(url, tokens):
        mode = "legacy" if era == "2025-11-25" else "auto"
        async with (
            authorised(tokens["shopper"]) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            assert not (await client.call_tool("shop_read", {})).is_error
            with pytest.raises(MCPError):
                await client.call_tool("wiki_read", {})
            assert (await client.call_tool("call_tool", {"tool_name": "wiki.read", "arguments": {}})).is_error
            path = url.replace("/mcp", "/utcp/tools/wiki_read")
            assert (await http.post(path, json={})).status_code == 404

    found = await refused(tmp_path, work)
    assert {line["outcome"] for line in found} == {"unknown_tool"}
    assert {line["principal"] for line in found} == {"token:shopper"}
    assert {line["profile"] for line in found} == {"shop"}
    assert {line["address"] for line in found} == {"127.0.0.1"}
    assert found[0]["asked"] == "wiki_read"
    assert sum(int(str(line["refused"])) for line in found) == 3


async def test_401_403_and_an_unknown_profile_have_lines(tmp_path: Path) -> None:
    async def work(url, tokens):
        async with httpx2.AsyncClient() as http:
            statuses = [(await http.post(url, json={})).status_code for _ in range(50)]
        for token, path, status in (
            ("x" * 43, "", 401),
            (tokens["narrow"], "", 403),
            (tokens["shopper"], "/p/wiki", 404),
        ):
            async with authorised(token) as http:
                assert (await http.post(f"{url}{path}", json={})).status_code == status
        assert statuses == [401] * 50

    found = await refused(tmp_path, work)
    seen = [(line["outcome"], line.get("principal"), line["refused"], line["address"]) for line in found]
    assert seen == [
        ("unauthorized", None, 1, "127.0.0.1"),
        ("forbidden", "token:narrow", 1, "127.0.0.1"),
        ("unknown_profile", "token:shopper", 1, "127.0.0.1"),
        ("unauthorized", None, 50, "127.0.0.1"),
    ]
    assert found[2]["asked"] == "wiki"
    assert not any("xxxx" in str(line) for line in found), "no token is in a line"
