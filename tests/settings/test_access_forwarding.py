"""Headers of a client's request that the operator lets go on to a service, through a whole bridge."""

import anyio.to_thread
import httpx2
import pytest
from aiohttp import web
from tests.support.hot_requests import plain
from tests.support.one_connection import Line
from tests.support.served_here import serve

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.net.heads.ahead import KnownHeads
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.settings import BridgeSettings, ManualOptions, UtcpClientConfig

pytestmark = pytest.mark.anyio
TOKEN = "t" * 32
MANUAL = {
    "utcp_version": "1.1.0",
    "manual_version": "1.0.0",
    "tools": [
        {
            "name": "get",
            "description": "-",
            "inputs": {"type": "object", "properties": {}},
            "tool_call_template": {"call_template_type": "http", "url": "URL/items", "http_method": "GET"},
        }
    ],
}


@pytest.fixture
async def service():
    """Yield (URL, received headers of each call)."""
    received = []
    base = []

    async def manual(request):
        import json

        return web.json_response(json.loads(json.dumps(MANUAL).replace("URL", base[0])))

    async def items(request):
        received.append({name.lower(): value for name, value in request.headers.items()})
        return web.json_response([1])

    app = web.Application()
    app.add_routes([web.get("/utcp", manual), web.get("/items", items)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield base[0], received
    await runner.cleanup()


def entry(url, **more):
    return {"name": "shop", "call_template_type": "http", "url": f"{url}/utcp", **more}


async def calls(url, **headers):
    """Make the same call in both eras and as UTCP."""
    both = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {TOKEN}", **headers}
    modern = {**both, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "shop_get"}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    async with httpx2.AsyncClient(timeout=60) as http:
        call = plain("tools/call", {"name": "shop_get", "arguments": {}}, modern=True)
        assert (await http.post(url, json=call, headers=modern)).status_code == 200
        session = (await http.post(url, json=plain("initialize", hello), headers=both)).headers["mcp-session-id"]
        call = plain("tools/call", {"name": "shop_get", "arguments": {}})
        found = await http.post(url, json=call, headers={**both, "Mcp-Session-Id": session})
        assert found.json()["result"]["content"]
        found = await http.post(url.replace("/mcp", "/utcp/tools/shop_get"), json={}, headers=both)
        assert found.status_code == 200


async def served(manual, work):
    config = UtcpClientConfig(
        manual_call_templates=[manual], bridge=BridgeSettings(port=0, bearer_token=TOKEN, startup_wait=60)
    )
    async with await UtcpClient.create(config) as client:
        await client.wait_loaded(60)
        await serve(BridgeServer(client), lambda url: work(url, client))


async def test_the_named_headers_arrive_and_the_token_and_cookies_never_do(service):
    address, received = service

    async def work(url, _client):
        await calls(url, **{"X-Request-Id": "7", "X-Secret": "s", "Cookie": "c=1", "X-Forwarded-For": "1.2.3.4"})
        await calls(url)

    await served(entry(address, forward_headers=["x-request-id"]), work)
    assert [one.get("x-request-id") for one in received] == ["7"] * 3 + [None] * 3
    for one in received:
        names = {name.lower() for name in one}
        assert names.isdisjoint({"authorization", "cookie", "x-secret", "x-forwarded-for", "mcp-session-id"})
        assert TOKEN not in str(one)


@pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
async def test_each_request_with_a_known_head_has_its_own_headers(service, modern, monkeypatch):
    pytest.importorskip("httptools")
    address, received = service
    known = []
    find = KnownHeads.find
    monkeypatch.setattr(
        KnownHeads, "find", lambda heads, data: known.append((found := find(heads, data)) is not None) or found
    )

    def on_a_line(url):
        with Line(url, modern=modern) as line:
            secret = {"Cookie": "c=1", "X_Forwarded_For": "1.2.3.4"}
            more = line.enter(TOKEN)
            for number in ("7", "8", "7", None, "8", None, "7"):
                mine = {} if number is None else {"X_Request_Id": number}
                assert line.call("shop_get", TOKEN, **more, **secret, **mine)[0] == 200

    async def work(url, _client):
        await anyio.to_thread.run_sync(on_a_line, url)

    await served(entry(address, forward_headers=["x-request-id"]), work)
    assert known[-5:] == [True, False, True, True, True]
    assert [one.get("x-request-id") for one in received] == ["7", "8", "7", None, "8", None, "7"]
    for one in received:
        assert one.keys().isdisjoint({"authorization", "cookie", "x-forwarded-for", "mcp-session-id", "mcp-name"})
        assert TOKEN not in str(one)


async def test_without_the_key_nothing_goes_on(service):
    address, received = service

    async def work(url, _client):
        await calls(url, **{"X-Request-Id": "7"})

    await served(entry(address), work)
    assert [one.get("x-request-id") for one in received] == [None] * 3


@pytest.mark.parametrize(
    "name",
    ["Authorization", "cookie", "Proxy-Authorization", "Connection", "Host", "Mcp-Session-Id", "X-Forwarded-For",
     "Transfer-Encoding", "Content-Length", "X-API-Key", "TE", "Forwarded", "Sec-Fetch-Site", "DPoP"],
)  # fmt: skip
async def test_a_header_that_must_not_go_on_is_refused_by_name(service, name):
    address, received = service

    async def work(_url, client):
        [state] = client.report()
        assert state.status == "failed"
        assert f"`{name}` is never forwarded" in str(state.error)
        assert "\n" not in str(state.error)

    await served(entry(address, forward_headers=[name]), work)
    assert not received


async def test_a_type_whose_connections_are_shared_is_refused_with_the_types_that_work():
    async def work(_url, client):
        [state] = client.report()
        assert "`forward_headers` has no effect on a call template of type 'websocket'" in str(state.error)

    manual = {"name": "w", "call_template_type": "websocket", "url": "ws://127.0.0.1:9/x"}
    await served({**manual, "forward_headers": ["X-Request-Id"]}, work)


def test_a_fetched_manual_cannot_ask_for_headers():
    from utcp_bridge.dialects.v1 import OPERATOR_KEYS

    assert "forward_headers" in ManualOptions.model_fields
    assert "forward_headers" in OPERATOR_KEYS
