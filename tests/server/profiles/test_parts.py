"""Budgets of callers, and the profile of a server on stdio, through real clients."""

import re
import sys

import anyio
import httpx2
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from tests.server.profiles.test_ways import client_with_tools
from tests.support.relayed import ERAS
from tests.support.served_here import serve
from tests.support.source import ROOT

from utcp_bridge.server.app import BridgeServer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_beyond_the_rate_is_busy_and_says_when_to_try_again(era):
    client = client_with_tools(budgets={"*": {"rate": 0.001, "burst": 2}})

    async def work(url):
        async with Client(url, mode=era) as one:
            for _ in range(2):
                assert not (await one.call_tool("shop_buy", {})).is_error
            refused = await one.call_tool("shop_buy", {})
            assert refused.is_error
            assert refused.content[0].text.startswith("This caller may send 0.001 calls a second. Try again in ")
            assert refused.meta["utcp/error"] == "busy"
            assert 0 < refused.meta["utcp/retry_after"] <= 1_000
        base = url.removesuffix("/mcp")
        async with httpx2.AsyncClient() as http:
            answer = await http.post(f"{base}/utcp/tools/shop_buy", json={})
        assert (answer.status_code, answer.json()["code"]) == (429, "busy")
        assert 0 < int(answer.headers["retry-after"]) <= 1_000

    await serve(BridgeServer(client), work)
    assert len(client.calls) == 2


async def test_the_budget_of_a_profile_is_for_all_its_callers_together():
    profiles = {"a": {"manuals": "shop", "budget": {"bytes_per_minute": 1}}, "b": {"manuals": "shop"}}

    async def work(url):
        async with Client(f"{url}/p/a", mode="legacy") as one, Client(f"{url}/p/a", mode="2026-07-28") as other:
            assert not (await one.call_tool("shop_buy", {})).is_error
            refused = await other.call_tool("shop_buy", {})
            assert "Profile 'a' has used up its 1 bytes of results a minute." in refused.content[0].text
        async with Client(f"{url}/p/b", mode="2026-07-28") as free:
            assert not (await free.call_tool("shop_buy", {})).is_error

    await serve(BridgeServer(client_with_tools(profiles=profiles)), work)


async def test_a_stream_of_utcp_counts_as_one_call():
    client = client_with_tools(budgets={"*": {"concurrency": 1}})
    begun, release = anyio.Event(), anyio.Event()

    async def slow(_arguments, emit):
        await emit(1)
        begun.set()
        await release.wait()
        return [1]

    client.add("shop", "slow", slow, tags=("stream",))

    async def work(url):
        base = url.removesuffix("/mcp")
        headers = {"Accept": "application/x-ndjson"}
        async with httpx2.AsyncClient() as http, anyio.create_task_group() as group:

            async def read():
                answer = await http.post(f"{base}/utcp/tools/shop_slow", json={}, headers=headers)
                assert answer.text == "1\n"

            group.start_soon(read)
            await begun.wait()
            busy = await http.post(f"{base}/utcp/tools/shop_buy", json={})
            assert busy.status_code == 429
            release.set()

    await serve(BridgeServer(client), work)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((), ["wiki_read_page"]),
        (("--profile", "support"), ["shop_list_orders", "shop_refund_order"]),
        (("--profile", "reports"), ["shop_list_orders"]),
    ],
)
@pytest.mark.parametrize("era", ERAS)
async def test_a_server_on_stdio_has_the_profile_of_its_command_line_or_the_default_one(options, names, era):
    config = str(ROOT / "configs" / "profiles.yaml")
    args = ["-m", "utcp_bridge", "serve", config, "--transport", "stdio", "--exposure", "all", *options]
    parameters = StdioServerParameters(command=sys.executable, args=args)
    with anyio.fail_after(60):
        async with Client(stdio_client(parameters), mode=era) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]
            assert [name for name in listed if name not in {"search_tools", "call_tool"}] == names
            found = await client.call_tool("search_tools", {"query": "orders refund page"})
            hits = set(re.findall(r"^\d+\. (\w+)", found.content[0].text, re.MULTILINE))
            assert hits
            assert hits <= set(names)
