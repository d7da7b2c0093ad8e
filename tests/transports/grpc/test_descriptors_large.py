"""Descriptors of a hostile server: what all methods name together is shared and bounded."""

from typing import Any

from tests.support.work import calls_made_by

from utcp_bridge.transports.grpc.descriptors import Described, build_pool
from utcp_bridge.transports.grpc.protos import protobuf
from utcp_bridge.transports.grpc.tools import native_tools

MESSAGES, METHODS = 150, 60


def described(values: int = 3) -> Described:
    """Messages that all lead to each other, and methods that take and return them."""
    file: Any = protobuf("descriptor_pb2").FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    enum = file.enum_type.add(name="E")
    for number in range(values):
        enum.value.add(name=f"V{number}", number=number)
    for number in range(MESSAGES):
        message = file.message_type.add(name=f"M{number}")
        for place in range(10):
            other = (number * 7 + place * 13 + 1) % MESSAGES
            message.field.add(name=f"f{place}", number=place + 1, label=1, type=11, type_name=f".a.M{other}")
        message.field.add(name="kind", number=90, label=1, type=14, type_name=".a.E")
    service = file.service.add(name="S")
    for number in range(METHODS):
        service.method.add(name=f"Do{number}", input_type=f".a.M{number}", output_type=f".a.M{number + 1}")
    return Described(build_pool([file]), ["a.S"], {})


def test_methods_share_the_schemas_of_messages() -> None:
    tools = native_tools(described(), None, proto_names=False)
    assert len(tools) == METHODS
    distinct = {id(one) for tool in tools for key in ("inputs", "outputs") for one in tool[key]["$defs"].values()}
    assert len(distinct) == MESSAGES


def test_the_work_grows_with_the_descriptors_and_not_with_their_product() -> None:
    found = described()
    assert calls_made_by(lambda: native_tools(found, None, proto_names=False)) < 400_000


def test_a_huge_enumeration_is_text() -> None:
    tools = native_tools(described(5_000), None, proto_names=False)
    assert tools[0]["inputs"]["properties"]["kind"] == {"type": "string"}
