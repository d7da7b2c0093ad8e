from typing import Any

import jsonschema_rs
import pytest
from google.protobuf import descriptor_pb2, json_format, struct_pb2, timestamp_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st
from tests.upstreams.grpc_service import ITEM, file_descriptor

from utcp_bridge.errors import InvalidArguments, MalformedReply
from utcp_bridge.transports.grpc import tools as grpc_tools
from utcp_bridge.transports.grpc.descriptors import Described, build_pool
from utcp_bridge.transports.grpc.protos import utcp_messages
from utcp_bridge.transports.grpc.tools import (
    build_requests,
    each,
    message_schema,
    native_tools,
    parse_message,
    portable_files,
    read_native_reply,
    reply_reader,
    utcp_tool,
    utcp_value,
)

POOL = build_pool([file_descriptor()])
DESCRIBED = Described(POOL, ["shop.Orders"], {})
SERVICE = POOL.FindServiceByName("shop.Orders")


def method(name: str) -> Any:
    return SERVICE.methods_by_name[name]


def test_a_method_is_a_tool_with_both_schemas() -> None:
    tools = native_tools(DESCRIBED, None, proto_names=True)
    tool = next(tool for tool in tools if tool["name"] == "Orders_Echo")
    assert "big_number" in tool["inputs"]["properties"]
    assert tool["outputs"]["type"] == "object"
    assert tool["tags"] == ["shop.Orders"]
    assert len(tools) == len(SERVICE.methods)


def test_a_client_stream_takes_a_list_and_keeps_its_definitions() -> None:
    [tool] = native_tools(DESCRIBED, "Talk", proto_names=False)
    assert tool["inputs"]["properties"]["messages"]["items"]["properties"]["children"]
    assert "shop.Item" in tool["inputs"]["$defs"]
    assert tool["outputs"] == {"type": "array", "items": {"type": "object"}}


def test_arguments_become_messages_and_replies_values() -> None:
    [request] = build_requests(method("Echo"), {"text": "a", "bigNumber": "9007199254740993"})
    assert json_format.MessageToDict(request) == {"text": "a", "bigNumber": "9007199254740993"}
    read = reply_reader(method("Echo").output_type, proto_names=True)
    assert read(request.SerializeToString())["big_number"] == "9007199254740993"
    assert [one.text for one in build_requests(method("Join"), {"messages": [{"text": "a"}, {"text": "b"}]})] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(("name", "arguments"), [("Echo", {"no": 1}), ("Join", {}), ("Join", {"messages": [7]})])
def test_arguments_that_do_not_match_are_refused(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArguments):
        build_requests(method(name), arguments)


def test_bytes_that_are_not_a_message_are_malformed() -> None:
    with pytest.raises(MalformedReply, match="type Item"):
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
async def test_requests_of_a_stream_are_sent_one_by_one() -> None:
    assert [one async for one in each([1, 2])] == [1, 2]


def test_a_reply_is_read_the_same_way_without_the_pool() -> None:
    item = {"text": "a", "bigNumber": "7", "kind": "KIND_TOOL", "at": "2026-01-02T03:04:05Z", "extra": {"b": [1]}}
    data = json_format.ParseDict({**item, "children": [item]}, ITEM()).SerializeToString()
    output = method("Echo").output_type
    files = portable_files(output)
    assert files is not None
    for proto_names in (True, False):
        here = reply_reader(output, proto_names=proto_names)(data)
        assert read_native_reply(data, files=files, name=output.full_name, proto_names=proto_names) == here
    with pytest.raises(MalformedReply):
        read_native_reply(b"\xff", files=files, name=output.full_name, proto_names=True)


def test_a_type_with_a_value_of_any_type_needs_the_whole_pool() -> None:
    assert portable_files(message(one=(11, ".google.protobuf.Any", False))) is None
    assert portable_files(message(one=(11, ".google.protobuf.Struct", False))) is not None


def message(**fields: Any) -> Any:
    """Return a message type with these fields: name = (type number, type name, repeated)."""
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="m", syntax="proto3")
    made = file.message_type.add(name="M")
    for number, (name, (kind, type_name, repeated)) in enumerate(fields.items(), 1):
        field = made.field.add(name=name, number=number, type=kind, label=3 if repeated else 1)
        if type_name:
            field.type_name = type_name
    return build_pool([file]).FindMessageTypeByName("m.M")


def test_a_recursive_message_is_a_definition() -> None:
    schema = message_schema(ITEM.DESCRIPTOR)
    assert schema["properties"]["children"] == {"type": "array", "items": {"$ref": "#/$defs/shop.Item"}}
    assert schema["$defs"]["shop.Item"]["properties"]["children"]["items"] == {"$ref": "#/$defs/shop.Item"}
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid({"text": "a", "bigNumber": "7", "children": [{"kind": "KIND_TOOL"}]})
    assert not validator.is_valid({"children": [{"kind": "NO_SUCH_KIND"}]})


def test_names_come_from_json_or_from_the_proto_file() -> None:
    assert "bigNumber" in message_schema(ITEM.DESCRIPTOR)["properties"]
    assert "big_number" in message_schema(ITEM.DESCRIPTOR, proto_names=True)["properties"]


@pytest.mark.parametrize("number", range(1, 19))
def test_every_scalar_type_has_a_schema(number: int) -> None:
    if number in {10, 11, 14}:
        return
    schema = message_schema(message(x=(number, None, False)))
    jsonschema_rs.validator_for(schema)
    assert schema["properties"]["x"]


@pytest.mark.parametrize(
    ("descriptor", "value"),
    [
        (timestamp_pb2.Timestamp.DESCRIPTOR, "2026-01-02T03:04:05Z"),
        (struct_pb2.Struct.DESCRIPTOR, {"a": 1}),
        (struct_pb2.Value.DESCRIPTOR, [1]),
        (wrappers_pb2.Int64Value.DESCRIPTOR, "7"),
        (wrappers_pb2.BoolValue.DESCRIPTOR, True),
    ],
)
def test_well_known_types_have_their_own_json_form(descriptor: Any, value: Any) -> None:
    schema = message_schema(message(x=(11, f".{descriptor.full_name}", False)))
    assert jsonschema_rs.validator_for(schema).is_valid({"x": value})
    assert "$defs" not in schema


def test_null_values_and_maps() -> None:
    assert message_schema(message(x=(14, ".google.protobuf.NullValue", False)))["properties"]["x"] == {"type": "null"}
    fields = message_schema(struct_pb2.Struct.DESCRIPTOR)["properties"]["fields"]
    assert fields == {"type": "object", "additionalProperties": {}}


def test_oneof_alternatives_are_described_in_words() -> None:
    assert message_schema(struct_pb2.Value.DESCRIPTOR)["description"].startswith(
        "At most one of nullValue, numberValue"
    )


def test_the_number_of_definitions_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_tools, "_MAX_DEFINITIONS", 0)
    assert message_schema(ITEM.DESCRIPTOR)["$defs"]["shop.Item"] == {"type": "object"}


@given(st.binary(max_size=10), st.binary(max_size=10))
def test_text_of_a_message_that_is_not_utf_8_is_replaced(name: bytes, key: bytes) -> None:
    made = type(struct_pb2.Struct())
    entry = b"\x0a%c%b\x12%c\x1a%c%b" % (len(key), key, len(name) + 2, len(name), name)
    read = parse_message(made, b"\x0a%c%b" % (len(entry), entry))
    assert dict(read) == {key.decode("utf-8", "replace"): name.decode("utf-8", "replace")}
