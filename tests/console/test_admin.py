"""What the console knows of a client."""

import pytest
from mcp import Client
from tests.console.conftest import WEATHER, text_manual

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.console.admin import MAX_PAGE, Admin
from utcp_bridge.errors import UnknownTool
from utcp_bridge.model import Requester
from utcp_bridge.server.app import BridgeServer

pytestmark = pytest.mark.anyio


async def test_tools_come_in_pages_and_by_search():
    tools = [{**WEATHER, "name": f"t{number:03}"} for number in range(250)]
    async with await UtcpClient.create(
        {"manual_call_templates": [text_manual("a", *tools), text_manual("b", WEATHER)]}
    ) as client:
        admin = Admin(client, dict)
        page = admin.tools(offset=200, limit=10_000)
        assert (page["total"], len(page["tools"]), page["offset"]) == (251, 51, 200)
        assert len(admin.tools(limit=10_000)["tools"]) == MAX_PAGE
        assert admin.tools(manual="b")["total"] == 1
        assert admin.tools("get the weather", "b")["tools"][0]["name"] == "b.get"
        with pytest.raises(UnknownTool):
            admin.tool("b.none")


async def test_secrets_of_the_configuration_are_masked_in_results_and_texts():
    tool = {**WEATHER, "tool_call_template": {"call_template_type": "text", "content": "key ${KEY}"}}
    config = {"manual_call_templates": [text_manual("a", tool)], "variables": {"KEY": "s3cret-value-of-key"}}
    async with await UtcpClient.create(config) as client:
        admin = Admin(client, dict)
        called = await admin.call("a.get", {"city": "x"}, Requester())
        assert "s3cret" not in str(called)
        assert "s3cret" not in str(await admin.explain("a.get", {"city": "x"}))
        failed = await admin.call("a.get", {"city": 1, "none": 2}, Requester())
        assert failed["result"]["isError"] is True


async def test_the_tokens_of_lists_and_results_are_counted_from_the_first_visit_on():
    long = {**WEATHER, "name": "long", "tool_call_template": {"call_template_type": "text", "content": "x" * 30_000}}
    tools = [long, *({**WEATHER, "name": f"t{number:04}"} for number in range(1_500))]
    bridge = {"max_result_bytes": 10_000, "exposure": "pinned", "pinned": ["m.long"]}
    async with await UtcpClient.create(
        {"manual_call_templates": [text_manual("m", *tools)], "bridge": bridge}
    ) as client:
        server = BridgeServer(client)
        admin = Admin(client, dict, catalogue=lambda: server.catalogue)
        async with Client(server) as host:
            await host.call_tool("m_long", {"city": "x"})
            assert (await admin.tokens())["results"] == {"tokens": 0}
            client.keep_recent_calls()
            await host.call_tool("m_long", {"city": "x"})
        found = await admin.tokens()
        assert 4_500 < found["results"]["tokens"] < 7_500  # 20,000 of 30,000 bytes, without the notice
        counted = found["tools"]
        assert (counted["listed"], counted["all"]) == (1, 1_501)
        one = counted["listed_tokens"]
        assert 20 < one < 200
        assert counted["all_tokens"] == pytest.approx(1_501 * one, rel=0.1)
        assert (await Admin(client, dict).tokens())["tools"] is None
