"""What the console knows of a client."""

import pytest
from tests.console.conftest import WEATHER, text_manual

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.console.admin import MAX_PAGE, Admin
from utcp_bridge.errors import UnknownTool
from utcp_bridge.model import Requester

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
