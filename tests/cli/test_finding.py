"""Finding a tool by any of its names."""

import pytest

from utcp_bridge import UtcpClient
from utcp_bridge.cli.finding import find_tool, in_short, summary
from utcp_bridge.errors import UnknownTool

pytestmark = pytest.mark.anyio

TEXT = {"call_template_type": "text", "content": "x"}


@pytest.fixture
async def client():
    def manual(name, *tools):
        content = {"utcp_version": "1.0.1", "tools": [{"tool_call_template": TEXT, **tool} for tool in tools]}
        return {"name": name, "call_template_type": "text", "content": content}

    config = {
        "manual_call_templates": [
            manual("shop", {"name": "list_orders", "description": "First. Second."}, {"name": "status"}),
            manual("bank", {"name": "status", "deprecated": True, "description": "Balance\nand more", "tags": ["a"]}),
        ]
    }
    async with await UtcpClient.create(config) as opened:
        yield opened


@pytest.mark.parametrize("name", ["shop.list_orders", "shop_list_orders", "list_orders"])
async def test_every_name_of_a_tool_finds_it(client, name):
    assert find_tool(client, name).qualified_name == "shop.list_orders"


async def test_an_ambiguous_name_is_refused_with_both_tools(client):
    with pytest.raises(UnknownTool) as caught:
        find_tool(client, "status")
    assert caught.value.remedy == "Use the full name: bank.status or shop.status."


async def test_a_misspelt_name_is_refused_with_the_nearest(client):
    with pytest.raises(UnknownTool) as caught:
        find_tool(client, "shop.list_order")
    assert "shop.list_orders" in caught.value.remedy


async def test_an_unknown_name_is_refused_with_the_command_that_lists_tools(client):
    with pytest.raises(UnknownTool) as caught:
        find_tool(client, "zzzzzzzzzzz")
    assert "utcp-bridge tools" in caught.value.remedy


async def test_a_summary_omits_the_template(client):
    told = summary(find_tool(client, "bank.status"))
    assert told["name"] == "bank.status"
    assert told["tags"] == ["a"]
    assert told["deprecated"] is True
    assert not [key for key in told if "template" in key]


async def test_the_short_form_is_the_first_sentence_or_line(client):
    assert in_short(find_tool(client, "shop.list_orders")) == "First"
    assert in_short(find_tool(client, "bank.status")) == "(deprecated) Balance"
