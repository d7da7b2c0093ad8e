from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from tests.upstreams.grpc_service import file_descriptor

from utcp_bridge.errors import ManualError
from utcp_bridge.transports.grpc.descriptors import build_pool, well_known_files


def file(name: str, package: str, *dependencies: str) -> Any:
    made = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    made.dependency.extend(dependencies)
    return made


def add_field(message: Any, name: str, type_name: str) -> None:
    message.field.add(name=name, number=len(message.field) + 1, type=11, label=1, type_name=type_name)


def test_a_compilers_file_is_taken_as_it_is() -> None:
    pool = build_pool([file_descriptor()])
    assert [method.name for method in pool.FindServiceByName("shop.Orders").methods][:2] == ["Echo", "Count"]


def test_files_may_come_in_any_order_and_twice() -> None:
    base, user = file("base.proto", "b"), file("user.proto", "u", "base.proto")
    base.message_type.add(name="Base")
    add_field(user.message_type.add(name="User"), "base", ".b.Base")
    pool = build_pool([user, base, user])
    assert pool.FindMessageTypeByName("u.User").fields[0].message_type.full_name == "b.Base"


def test_relative_names_without_dependencies_are_resolved_from_the_inside_out() -> None:
    one = file("one", "p.q")
    outer = one.message_type.add(name="Outer")
    outer.nested_type.add(name="Inner")
    add_field(outer, "near", "Inner")
    add_field(outer, "far", "Other")
    two = file("two", "p")
    two.message_type.add(name="Other")
    service = one.service.add(name="S")
    service.method.add(name="M", input_type="Outer", output_type="Outer.Inner")
    pool = build_pool([one, two])
    fields = pool.FindMessageTypeByName("p.q.Outer").fields
    assert [field.message_type.full_name for field in fields] == ["p.q.Outer.Inner", "p.Other"]
    assert pool.FindServiceByName("p.q.S").methods[0].output_type.full_name == "p.q.Outer.Inner"


def test_a_servers_own_copy_of_a_well_known_type_gives_way_to_ours() -> None:
    theirs = file("google_protobuf", "google.protobuf")
    stamp = theirs.message_type.add(name="Timestamp")
    stamp.field.add(name="secondsRenamed", number=1, type=3, label=1)
    user = file("user", "u")
    add_field(user.message_type.add(name="User"), "at", "google.protobuf.Timestamp")
    used = build_pool([theirs, user]).FindMessageTypeByName("u.User").fields[0].message_type
    assert [field.name for field in used.fields] == ["seconds", "nanos"]


def test_nested_enumerations_and_extensions_are_found() -> None:
    made = file("e", "e")
    message = made.message_type.add(name="M")
    message.enum_type.add(name="E").value.add(name="ZERO", number=0)
    message.field.add(name="e", number=1, type=14, label=1, type_name="E")
    made.enum_type.add(name="Top").value.add(name="NONE", number=0)
    pool = build_pool([made])
    assert pool.FindMessageTypeByName("e.M").fields[0].enum_type.full_name == "e.M.E"


@pytest.mark.parametrize("name", [".no.such.Type", "Nothing"])
def test_a_type_that_nobody_defines_is_named(name: str) -> None:
    made = file("x", "x")
    add_field(made.message_type.add(name="M"), "f", name)
    with pytest.raises(ManualError, match=name.strip(".")):
        build_pool([made])


def test_files_that_contradict_one_another_are_refused() -> None:
    one, two = file("one", "p"), file("two", "p")
    for made in (one, two):
        made.message_type.add(name="Same")
    add_field(two.message_type.add(name="User"), "f", "Same")
    with pytest.raises(ManualError, match="do not fit together"):
        build_pool([one, two])


def test_all_well_known_files_are_there() -> None:
    assert {"google/protobuf/any.proto", "google/protobuf/descriptor.proto"} <= well_known_files().keys()
