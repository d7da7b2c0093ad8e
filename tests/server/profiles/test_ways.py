"""Profiles over HTTP, with real clients in both protocol eras, and as a UTCP service."""

import json
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from tests.support.relayed import ERAS, bridge_url, host, relayed
from tests.support.served_here import serve
from tests.support.server_client import StandIn
from tests.support.source import ROOT
from tests.upstreams.mcp_offers import INSTRUCTIONS
from tests.upstreams.mcp_server import serving

from utcp_bridge import UtcpClient
from utcp_bridge.access.admissions import Admission, note_admission
from utcp_bridge.access.principals import Principal
from utcp_bridge.errors import ConfigError
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http import build_app
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def client_with_tools(**settings):
    profiles = {"orders": {"manuals": "shop"}, "pages": {"manuals": "wiki"}, "none": {"manuals": "nothing"}}
    client = StandIn(BridgeSettings(**{"port": 0, "exposure": "all", "profiles": profiles, **settings}))
    client.loaded.set()
    client.add("shop", "buy", description="Buy a thing.")
    client.add("shop", "sell", description="Sell a thing.")
    client.add("wiki", "read", description="Read a thing.")
    return client


async def tools_at(url, era):
    async with Client(url, mode=era) as client:
        return {tool.name for tool in (await client.list_tools()).tools} - {"search_tools", "call_tool", "read_result"}


@pytest.mark.parametrize("era", ERAS)
async def test_each_profile_has_its_own_address(era):
    async def work(url):
        assert await tools_at(url, era) == {"shop_buy", "shop_sell", "wiki_read"}
        assert await tools_at(f"{url}/p/orders", era) == {"shop_buy", "shop_sell"}
        assert await tools_at(f"{url}/p/orders/", era) == {"shop_buy", "shop_sell"}
        assert await tools_at(f"{url}/p/pages", era) == {"wiki_read"}
        assert await tools_at(f"{url}/p/none", era) == set()

    await serve(BridgeServer(client_with_tools()), work)


@pytest.mark.parametrize("era", ERAS)
async def test_a_hidden_tool_and_an_unknown_tool_have_the_same_error(era):
    async def refusal(client, name):
        with pytest.raises(MCPError) as caught:
            await client.call_tool(name, {})
        return caught.value.error.model_dump_json().replace(name, "NAME")

    async def work(url):
        async with Client(f"{url}/p/orders", mode=era) as client:
            assert (await client.call_tool("shop_buy", {"n": 1})).is_error is False
            assert await refusal(client, "wiki_read") == await refusal(client, "wiki_raed")
            hidden = await client.call_tool("call_tool", {"name": "wiki.read", "arguments": {}})
            unknown = await client.call_tool("call_tool", {"name": "wiki.raed", "arguments": {}})
            assert hidden.is_error
            assert hidden.model_dump_json().replace("read", "") == unknown.model_dump_json().replace("raed", "")
        assert {name for name, _ in server.client.calls} == {"shop.buy"}

    server = BridgeServer(client_with_tools())
    await serve(server, work)


async def test_hot_requests_take_the_way_of_their_profile():
    """A plain POST is answered ahead of ASGI. It reaches the same server as any other request."""

    def call(name):
        return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "_meta": META}}

    async def work(url):
        async with httpx2.AsyncClient() as http:
            for path, name, status in (
                ("", "wiki_read", 200),
                ("/p/pages", "wiki_read", 200),
                ("/p/orders", "wiki_read", 400),
                ("/p/orders", "shop_buy", 200),
                ("/p/unknown", "shop_buy", 404),
            ):
                headers = {
                    "Accept": "application/json",
                    "MCP-Protocol-Version": "2026-07-28",
                    "Mcp-Method": "tools/call",
                    "Mcp-Name": name,
                }
                for more in ({}, {"X-Cold": "1", "Origin": "http://localhost"}):
                    response = await http.post(f"{url}{path}", json=call(name), headers={**headers, **more})
                    assert (path, name, response.status_code) == (path, name, status), response.text

    await serve(BridgeServer(client_with_tools()), work)


@asynccontextmanager
async def served_as(client, principal):
    """Serve for one principal, as the check of a token hands it over."""
    app = build_app(BridgeServer(client))

    async def with_principal(scope, receive, send):
        note_admission(scope, Admission(principal))
        await app(scope, receive, send)

    async with serving(with_principal) as base:
        yield base


async def statuses(base, *paths):
    async with httpx2.AsyncClient() as http:
        return [(await http.get(f"{base}{path}")).status_code for path in paths]


async def test_a_principal_reaches_its_own_profiles_only():
    principal = Principal("ci", profiles=("pages", "orders"))
    async with served_as(client_with_tools(), principal) as base:
        assert await tools_at(f"{base}/mcp", "legacy") == {"wiki_read"}
        assert await tools_at(f"{base}/mcp/p/orders", "2026-07-28") == {"shop_buy", "shop_sell"}
        async with httpx2.AsyncClient() as http:
            bodies = []
            for kind in ("mcp", "utcp"):
                for name in ("none", "nene"):
                    response = await http.get(f"{base}/{kind}/p/{name}", headers={"Accept": "text/event-stream"})
                    assert response.status_code == 404
                    bodies.append(response.text.replace(name, "NAME"))
            assert len(set(bodies)) == 1
            listed = (await http.get(f"{base}/utcp")).json()["tools"]
            assert [tool["name"] for tool in listed] == ["wiki_read"]


async def test_a_principal_without_any_profile_reaches_nothing():
    async with served_as(client_with_tools(), Principal("nobody", profiles=())) as base:
        assert await statuses(base, "/utcp", "/utcp/p/orders", "/utcp/proof") == [404, 404, 404]
        async with httpx2.AsyncClient() as http:
            refused = await http.post(f"{base}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert (refused.status_code, refused.json()["error"]) == (404, "not found")


async def test_the_default_profile_is_the_only_one_of_anyone():
    client = client_with_tools(default_profile="pages")
    async with served_as(client, Principal("anyone", "anyone")) as base:
        assert await tools_at(f"{base}/mcp", "legacy") == {"wiki_read"}
        assert await statuses(base, "/utcp/p/orders", "/utcp/p/pages") == [404, 200]
    async with served_as(client, Principal("admin", "token")) as base:
        assert len(await tools_at(f"{base}/mcp", "legacy")) == 3
        assert await statuses(base, "/utcp/p/orders", "/utcp/p/pages") == [200, 200]


async def test_a_server_of_one_profile_has_no_other():
    async def work(url):
        assert await tools_at(url, "legacy") == {"wiki_read"}
        assert await tools_at(f"{url}/p/pages", "2026-07-28") == {"wiki_read"}
        assert await statuses(url.removesuffix("/mcp"), "/utcp/p/orders", "/utcp/p/pages") == [404, 200]

    await serve(BridgeServer(client_with_tools(profile="pages")), work)


async def test_utcp_of_a_profile_lists_and_calls_its_own_tools():
    async def work(url):
        base = url.removesuffix("/mcp")
        entry = {"name": "bridge", "call_template_type": "http", "url": f"{base}/utcp/p/orders"}
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            assert {tool.name for tool in client.tools()} == {"shop_buy", "shop_sell"}
            assert await client.call_tool("bridge.shop_buy", {}) == {}
        async with httpx2.AsyncClient() as http:
            hidden = await http.post(f"{base}/utcp/p/orders/tools/wiki_read", json={})
            unknown = await http.post(f"{base}/utcp/p/orders/tools/wiki_raed", json={})
            assert (hidden.status_code, hidden.text.replace("read", "")) == (404, unknown.text.replace("raed", ""))
            proof = (await http.get(f"{base}/utcp/p/orders/proof")).text
            assert "wiki" not in proof

    await serve(BridgeServer(client_with_tools()), work)


async def test_a_session_hears_of_changes_of_its_own_list_only():
    client = client_with_tools()
    heard = {name: anyio.Event() for name in ("orders", "pages")}

    def hear(name):
        async def handler(message):
            if "list_changed" in type(message).__name__.lower() or "ToolListChanged" in type(message).__name__:
                heard[name].set()

        return handler

    async def work(url):
        async with (
            Client(f"{url}/p/orders", mode="legacy", message_handler=hear("orders")) as one,
            Client(f"{url}/p/pages", mode="legacy", message_handler=hear("pages")) as other,
        ):
            await one.list_tools()
            await other.list_tools()
            client.add("shop", "swap")
            with anyio.fail_after(100):
                await heard["orders"].wait()
            assert not heard["pages"].is_set()
            client.add("wiki", "write")
            with anyio.fail_after(100):
                await heard["pages"].wait()

    await serve(BridgeServer(client), work)


async def test_documents_that_need_no_token_name_no_profile():
    async def work(url):
        base = url.removesuffix("/mcp")
        async with httpx2.AsyncClient() as http:
            for path in ("/.well-known/ai-catalog.json", "/mcp/server-card", "/readyz", "/healthz"):
                text = (await http.get(f"{base}{path}")).text
                assert not any(name in text for name in ("orders", "pages", "/p/"))

    await serve(BridgeServer(client_with_tools()), work)


@pytest.mark.parametrize("era", ERAS)
async def test_resources_prompts_and_instructions_of_one_server_stay_in_its_profile(era):
    profiles = {"one": {"manuals": "north"}, "two": {"manuals": "south"}, "tools": {"names": ["north.*"]}}
    async with relayed(era, "north", "south", profiles=profiles) as (server, upstreams), bridge_url(server) as url:
        seen = {}
        for name in profiles:
            async with host(f"{url}/p/{name}", era) as client:
                seen[name] = SimpleNamespace(
                    text=(client.instructions or ""),
                    resources={str(one.uri) for one in (await client.list_resources()).resources},
                    prompts=[one.name for one in (await client.list_prompts()).prompts],
                )
        assert upstreams[0].name == "north"
        assert seen["one"].resources
        assert seen["tools"].resources == set()
        assert seen["tools"].prompts == []
        assert seen["one"].prompts
        assert (INSTRUCTIONS.format(name="north") in seen["one"].text) == (era == "legacy")  # the other era asks apart
        assert INSTRUCTIONS.format(name="north") not in seen["tools"].text  # they may name any tool of the server
        for name, other in (("one", "south"), ("two", "north"), ("tools", "south")):
            assert other not in json.dumps(vars(seen[name]), default=sorted)


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_updates_of_a_resource_reach_the_subscribers_of_each_profile_that_has_it():
    profiles = {"one": {"manuals": "north"}, "same": {"manuals": "n*"}, "other": {"manuals": "south"}}
    uri, heard = "north://own", {name: [] for name in profiles}
    arrived = {name: anyio.Event() for name in profiles}

    def hear(name):
        async def handler(message):
            if isinstance(message, types.ResourceUpdatedNotification):
                heard[name].append(str(message.params.uri))
                arrived[name].set()

        return handler

    with anyio.fail_after(60):
        async with (
            relayed("legacy", "north", "south", profiles=profiles) as (server, [north, _]),
            bridge_url(server) as url,
            host(f"{url}/p/one", "legacy", message_handler=hear("one")) as one,
            host(f"{url}/p/same", "legacy", message_handler=hear("same")) as same,
            host(f"{url}/p/other", "legacy", message_handler=hear("other")) as other,
        ):
            await one.subscribe_resource(uri)
            await same.subscribe_resource(uri)
            with suppress(MCPError):  # its own upstream may refuse a URI that is not its own
                await other.subscribe_resource(uri)
            await one.unsubscribe_resource(uri)  # the other profile still has it
            await north.touch(uri)
            await arrived["same"].wait()
            assert heard == {"one": [], "same": [uri], "other": []}


async def test_results_that_were_cut_are_read_in_their_profile_only():
    client = client_with_tools(max_result_bytes=8_192)

    async def many(_arguments, _emit):
        return [{"n": n, "text": "x" * 50} for n in range(2_000)]

    client.add("shop", "many", many)

    async def work(url):
        async with Client(f"{url}/p/orders", mode="2026-07-28") as one:
            cut = await one.call_tool("shop_many", {})
            text = cut.model_dump_json()
            handle = text.partition('handle\\": \\"')[2].partition('\\"')[0]
            assert handle
            assert not (await one.call_tool("read_result", {"handle": handle})).is_error
        async with Client(f"{url}/p/pages", mode="2026-07-28") as other:
            assert (await other.call_tool("read_result", {"handle": handle})).is_error

    await serve(BridgeServer(client), work)


async def test_the_example_serves_its_profiles():
    async with await UtcpClient.create(ROOT / "configs" / "profiles.yaml") as client:
        server = BridgeServer(client)
        names = {
            profile.name: sorted(BridgeServer(client, part=server.part.of(profile)).catalogue.entries)
            for profile in server.part.profiles
        }
        assert names == {
            "support": ["shop_list_orders", "shop_refund_order"],
            "reports": ["shop_list_orders"],
            "readers": ["wiki_read_page"],
        }
        server.part.serve_anyone()
        assert list(server.catalogue.entries) == ["wiki_read_page"]


def test_an_unknown_profile_of_the_settings_is_named():
    with pytest.raises(ConfigError, match=r"`profile`: the configuration does not have a profile 'order'\. Did you"):
        BridgeServer(client_with_tools(profile="order"))
