from typing import Any

import jsonschema_rs
import pytest
from google.protobuf import descriptor_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from tests.upstreams.grpc_service import ITEM

from utcp_bridge.transports.grpc import schema as grpc_schema
from utcp_bridge.transports.grpc.descriptors import build_pool
from utcp_bridge.transports.grpc.schema import message_schema


def message(**fields: Any) -> Any:
    """A message of these fields: name = (type number, type name, repeated)."""
    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="m", syntax="proto3")
    made = file.message_type.add(name="M")
    for number, (name, (kind, type_name, repeated)) in enumerate(fields.items(), 1):
        field = made.field.add(name=name, number=number, type=kind, label=3 if repeated else 1)
        if type_name:
            field.type_name = type_name
    return build_pool([file]).FindMessageTypeByName("m.M")


def test_a_message_within_itself_is_a_definition() -> None:
    schema = message_schema(ITEM.DESCRIPTOR)
    assert schema["properties"]["children"] == {"type": "array", "items": {"$ref": "#/$defs/shop.Item"}}
    assert schema["$defs"]["shop.Item"]["properties"]["children"]["items"] == {"$ref": "#/$defs/shop.Item"}
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid({"text": "a", "bigNumber": "7", "children": [{"kind": "KIND_TOOL"}]})
    assert not validator.is_valid({"children": [{"kind": "NO_SUCH_KIND"}]})


def test_names_are_those_of_json_or_of_the_proto_file() -> None:
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


def test_alternatives_are_told_in_words() -> None:
    assert message_schema(struct_pb2.Value.DESCRIPTOR)["description"].startswith(
        "At most one of nullValue, numberValue"
    )


def test_a_flood_of_messages_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_schema, "_MAX_DEFINITIONS", 0)
    assert message_schema(ITEM.DESCRIPTOR)["properties"]["children"] == {"type": "array", "items": {"type": "object"}}
