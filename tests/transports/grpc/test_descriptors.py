from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
from google.protobuf import descriptor_pb2
from tests.upstreams.grpc_service import GrpcService, file_descriptor

from utcp_bridge.errors import ConfigError, MalformedReply, ManualError, MissingExtra
from utcp_bridge.transports.grpc import descriptors as grpc_descriptors
from utcp_bridge.transports.grpc.descriptors import build_pool, comments_of, compile_protos, reflect, well_known_files

pytestmark = pytest.mark.anyio


def file(name: str, package: str, *dependencies: str) -> Any:
    made = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    made.dependency.extend(dependencies)
    return made


def add_field(message: Any, name: str, type_name: str) -> None:
    message.field.add(name=name, number=len(message.field) + 1, type=11, label=1, type_name=type_name)


def test_a_compiled_file_is_used_unchanged() -> None:
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


def test_a_servers_copy_of_a_well_known_type_is_replaced_by_ours() -> None:
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
def test_the_error_names_an_undefined_type(name: str) -> None:
    made = file("x", "x")
    add_field(made.message_type.add(name="M"), "f", name)
    with pytest.raises(MalformedReply, match=name.strip(".")):
        build_pool([made])


def test_files_that_contradict_one_another_are_refused() -> None:
    one, two = file("one", "p"), file("two", "p")
    for made in (one, two):
        made.message_type.add(name="Same")
    add_field(two.message_type.add(name="User"), "f", "Same")
    with pytest.raises(MalformedReply, match="cannot be used"):
        build_pool([one, two])


def test_all_well_known_files_are_available() -> None:
    assert {"google/protobuf/any.proto", "google/protobuf/descriptor.proto"} <= well_known_files().keys()


TEXT = """
syntax = "proto3";
package p;
// A message
// of two lines.
message M {
  string a = 1;  // Beside it.
  // Inside.
  message N { int32 b = 1; }
  enum E { ZERO = 0; }
  // An option's comment is nobody's.
  option deprecated = true;
}
// A service.
service S {
  // A method.
  rpc Do (M) returns (M);
}
"""


async def test_comments_are_found_by_the_full_name_of_their_element(tmp_path: Path) -> None:
    (tmp_path / "m.proto").write_text(TEXT, encoding="utf-8")
    files = descriptor_pb2.FileDescriptorSet.FromString(await compile_protos(["m.proto"], [], tmp_path)).file
    assert comments_of(files) == {
        "p.M": "A message of two lines.",
        "p.M.a": "Beside it.",
        "p.M.N": "Inside.",
        "p.S": "A service.",
        "p.S.Do": "A method.",
    }
    files[0].ClearField("source_code_info")
    assert comments_of(files) == {}


async def compiled(root: Path, *files: str, imports: tuple[str, ...] = ()) -> list[str]:
    found = descriptor_pb2.FileDescriptorSet.FromString(await compile_protos(files, imports, root))
    return [file.name for file in found.file]


async def test_imports_are_found_next_to_the_file_or_in_import_paths(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "base.proto").write_text('syntax = "proto3"; message B {}', encoding="utf-8")
    text = 'syntax = "proto3"; import "base.proto"; message A { B b = 1; }'
    (tmp_path / "a" / "user.proto").write_text(text, encoding="utf-8")
    assert await compiled(tmp_path, "a/user.proto", imports=("a", "b")) == ["base.proto", "user.proto"]
    with pytest.raises(ConfigError, match="base"):
        await compiled(tmp_path, "a/user.proto")


async def test_without_the_extra_the_error_has_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_descriptors, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r"\[proto\]"):
        await compile_protos(["x.proto"], [], tmp_path)


def is_unimplemented(error: Exception) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_finds_services_and_types_but_not_its_own_service(version: str) -> None:
    async with (
        GrpcService(reflection=version) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        with anyio.fail_after(60):
            known = await reflect(channel, lambda _name: True, is_unimplemented)
    assert known.services == ["shop.Orders"]
    assert (
        known.pool.FindMessageTypeByName("shop.Item").fields_by_name["at"].message_type.full_name
        == "google.protobuf.Timestamp"
    )


async def test_a_service_that_reflection_cannot_describe_does_not_hide_the_others() -> None:
    async with (
        GrpcService(listed=("lost.Service",)) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        with anyio.fail_after(60):
            assert (await reflect(channel, lambda _name: True, is_unimplemented)).services == ["shop.Orders"]
        with pytest.raises(ManualError, match="describes none"), anyio.fail_after(60):
            await reflect(channel, lambda name: name == "lost.Service", is_unimplemented)


async def test_no_matching_service_is_an_error() -> None:
    async with GrpcService() as service, grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        with pytest.raises(ManualError, match="service_name"), anyio.fail_after(60):
            await reflect(channel, lambda _name: False, is_unimplemented)


async def test_a_server_without_reflection_names_the_remedy() -> None:
    async with (
        GrpcService(reflection=None) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        with pytest.raises(ManualError, match="descriptor_set"), anyio.fail_after(60):
            await reflect(channel, lambda _name: True, is_unimplemented)


async def test_errors_of_the_channel_are_not_caught() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:9", options=[("grpc.enable_retries", 0)]) as channel:
        with pytest.raises(grpc.aio.AioRpcError), anyio.fail_after(60):
            await reflect(channel, lambda _name: True, is_unimplemented)
