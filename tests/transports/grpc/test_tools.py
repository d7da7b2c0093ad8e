from typing import Any

import pytest
from google.protobuf import json_format
from tests.upstreams.grpc_service import ITEM, file_descriptor

from utcp_bridge.errors import InvalidArguments, MalformedReply
from utcp_bridge.transports.grpc.descriptors import build_pool
from utcp_bridge.transports.grpc.protos import utcp_messages
from utcp_bridge.transports.grpc.tools import (
    build_requests,
    each,
    native_tool,
    parse_message,
    reply_reader,
    utcp_tool,
    utcp_value,
)

SERVICE = build_pool([file_descriptor()]).FindServiceByName("shop.Orders")


def method(name: str) -> Any:
    return SERVICE.methods_by_name[name]


def test_a_method_is_a_tool_with_both_schemas() -> None:
    tool = native_tool(method("Echo"), None, proto_names=True)
    assert tool is not None
    assert tool["name"] == "Orders_Echo"
    assert "big_number" in tool["inputs"]["properties"]
    assert tool["outputs"]["type"] == "object"
    assert tool["tags"] == ["shop.Orders"]
    assert native_tool(method("Echo"), "Count", proto_names=True) is None


def test_a_client_stream_takes_a_list_and_keeps_its_definitions() -> None:
    tool = native_tool(method("Talk"), "Talk", proto_names=False)
    assert tool is not None
    assert tool["inputs"]["properties"]["messages"]["items"]["properties"]["children"]
    assert "shop.Item" in tool["inputs"]["$defs"]
    assert tool["outputs"] == {"type": "array", "items": {"type": "object"}}


def test_arguments_become_messages_and_replies_values() -> None:
    [request] = build_requests(method("Echo"), {"text": "a", "bigNumber": "9007199254740993"})
    assert json_format.MessageToDict(request) == {"text": "a", "bigNumber": "9007199254740993"}
    assert (
        reply_reader(method("Echo"), proto_names=True)(request.SerializeToString())["big_number"] == "9007199254740993"
    )
    assert [one.text for one in build_requests(method("Join"), {"messages": [{"text": "a"}, {"text": "b"}]})] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(("name", "arguments"), [("Echo", {"no": 1}), ("Join", {}), ("Join", {"messages": [7]})])
def test_arguments_that_do_not_fit_are_refused(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        build_requests(method(name), arguments)


def test_bytes_that_are_no_message_are_malformed() -> None:
    with pytest.raises(MalformedReply, match="no Item"):
        parse_message(ITEM, b"\xff\xff")


def test_tools_of_the_fixed_service_may_have_schemas() -> None:
    made = utcp_messages()["Tool"]
    plain = utcp_tool(made(name="n", description="d", inputs="[1]", outputs="{"))
    assert plain == {
        "name": "n",
        "description": "d",
        "inputs": {"type": "object", "properties": {}},
        "tags": [],
        "overlay": {"wire": "utcp", "tool_name": "n"},
    }
    rich = utcp_tool(made(name="n", inputs='{"type":"object"}', outputs='{"type":"array"}', tags=["t"]))
    assert (rich["inputs"], rich["outputs"], rich["tags"]) == ({"type": "object"}, {"type": "array"}, ["t"])


@pytest.mark.parametrize(("text", "value"), [("", None), ("[1]", [1]), ("plain", "plain")])
def test_a_result_of_the_fixed_service_is_json_or_text(text: str, value: Any) -> None:
    assert utcp_value(text) == value


@pytest.mark.anyio
async def test_requests_of_a_stream_come_one_by_one() -> None:
    assert [one async for one in each([1, 2])] == [1, 2]
