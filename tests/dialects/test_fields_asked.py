"""Examples of requests that authors write next to their tools: `asked_as`, `x-asked-as` and `_meta`."""

import pytest

from utcp_bridge.dialects.manuals import read_manual
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.model import Source, Tool
from utcp_bridge.search.lexical import Bm25Strategy
from utcp_bridge.transports.mcp.servers import tool_object

HTTP = {"call_template_type": "http", "url": "http://127.0.0.1:9/"}


def read(asked):
    tool = {"name": "forecast", "description": "Weather.", "tool_call_template": HTTP, "asked_as": asked}
    document = {"utcp_version": "1.0.1", "tools": [tool]}
    return read_manual(document, default_template=HTTP, where="manual 'm'")


def test_a_manual_carries_them_and_writes_them_again():
    (tool,) = read(["do I need an umbrella", "  ", "x" * 300]).tools
    assert tool.extras["asked_as"] == ["do I need an umbrella", "x" * 200]
    assert tool.as_json()["asked_as"] == tool.extras["asked_as"]
    (tool,) = read("one text").tools
    assert tool.extras["asked_as"] == ["one text"]
    assert len(read([str(number) for number in range(50)]).tools[0].extras["asked_as"]) == 20


@pytest.mark.parametrize("asked", [3, {"a": 1}, ["a", 3], [["a"]]])
def test_anything_else_is_ignored_with_a_fault_and_the_tool_stays(asked):
    manual = read(asked)
    assert manual.tools[0].extras == {}
    assert [fault.what for fault in manual.faults] == ["`asked_as` must be a list of texts, and is ignored."]


def openapi(asked):
    operation = {"operationId": "forecast", "x-asked-as": asked, "responses": {"200": {"description": "ok"}}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": "https://api.example.com"}],
        "paths": {"/f": {"get": operation}},
    }
    return convert(document, url="https://api.example.com/openapi.json", options=ConversionOptions())


def test_an_openapi_operation_carries_them():
    assert openapi(["do I need an umbrella"]).tools[0].extras["asked_as"] == ["do I need an umbrella"]
    wrong = openapi({"a": 1})
    assert wrong.tools[0].extras == {}
    assert any("`x-asked-as` must be a list of texts" in fault.what for fault in wrong.faults)


def test_a_tool_of_an_mcp_server_carries_them_in_its_meta():
    tool = {"name": "t", "inputSchema": {"type": "object"}, "_meta": {"utcp/asked_as": ["do I need an umbrella"]}}
    assert tool_object(tool, "s", flat=True)["extras"]["asked_as"] == ["do I need an umbrella"]
    assert "asked_as" not in tool_object({**tool, "_meta": {"utcp/asked_as": 3}}, "s", flat=True)["extras"]


def test_a_tool_is_found_by_them():
    strategy = Bm25Strategy()
    asked = {"asked_as": ["do I need an umbrella"]}
    strategy.add([Tool(Source("m"), "a", "http", {}, extras=asked), Tool(Source("m"), "b", "http", {})])
    assert [hit.tool.name for hit in strategy.search("umbrella")] == ["a"]
