"""Whatever a server's reflection says, a call ends with a clear error, and the next one works."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.upstreams.grpc_changing import DamagedReflection
from tests.upstreams.grpc_service import file_descriptor

from utcp_bridge.errors import ConfigError, InvalidArguments, MalformedReply, UtcpError
from utcp_bridge.model import Source, discard
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transports.grpc.transport import GrpcTransport

pytestmark = pytest.mark.anyio

PROPERTY = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
FILE = file_descriptor()
ARGUMENTS = {"text": "a", "bigNumber": "5", "children": [{"text": "b"}]}
NAMES = st.sampled_from([
    "", "shop", "shop.proto", "Item", ".shop.Item", ".shop.Kind", "shop.Orders", "text", "Echo", "é", "1x", "a\0b",
    ".google.protobuf.Any", ".google.protobuf.Struct", "google/protobuf/any.proto", "proto2", "editions", "x" * 600,
])  # fmt: skip
NUMBERS = st.sampled_from([0, 1, -1, 2, 19_000, 1 << 29, (1 << 31) - 1])


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[DamagedReflection]:
    async with DamagedReflection() as service:
        yield service


@asynccontextmanager
async def client(service: DamagedReflection) -> AsyncGenerator[tuple[GrpcTransport, Any]]:
    """Return a transport that knows nothing of the server yet, and a target of `Echo`."""
    template = {"call_template_type": "grpc", "host": "127.0.0.1", "port": service.port, "wire": "native"}
    async with open_services() as services:
        transport = GrpcTransport(services)
        source = Source("m", allow_networks=LOOPBACK)
        echo = {**template, "service_name": "shop.Orders", "method_name": "Echo"}
        try:
            with anyio.fail_after(60):
                yield transport, make_target(transport, echo, source=source)
        finally:
            await transport.aclose()


async def outcome(work: Callable[[], Any]) -> Any:
    """Return a value, or the error that a caller would read."""
    try:
        return await work()
    except UtcpError as error:
        return error


async def check(service: DamagedReflection, caplog: Any) -> None:
    """Call and discover while the reflection is damaged, and afterwards."""
    caplog.clear()
    service.metadata.clear()
    service.times_left.clear()
    async with client(service) as (transport, target):
        await outcome(lambda: transport.call(target, make_call(ARGUMENTS), discard))
        found = await outcome(lambda: transport.discover(target))
        service.damage = service.files = None
        then = await outcome(lambda: transport.call(target, make_call(ARGUMENTS), discard))
        if isinstance(found, MalformedReply):
            assert then == ARGUMENTS  # nothing damaged was kept
        elif isinstance(then, UtcpError):  # descriptors that can be used and are others, as of another service
            await transport.forget("m")
        tools = await transport.discover(target)
        assert await transport.call(target, make_call(ARGUMENTS), discard) == ARGUMENTS
        assert [tool["name"] for tool in tools.content["tools"]] == ["Orders_Echo"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


Flips = list[tuple[int, int]]
FLIPS = st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 255)), min_size=1, max_size=4)


def flipped(data: bytes, flips: Flips) -> bytes:
    changed = bytearray(data)
    for place, mask in flips if data else []:
        changed[place % len(changed)] ^= mask
    return bytes(changed)


@PROPERTY
@given(flips=FLIPS)
async def test_flipped_bytes_of_a_file(service: DamagedReflection, caplog: Any, flips: Flips) -> None:
    service.files = [flipped(FILE.SerializeToString(), flips)]
    await check(service, caplog)


@PROPERTY
@given(flips=FLIPS, cut=st.none() | st.integers(0, 2_000))
async def test_flipped_and_missing_bytes_of_replies(
    service: DamagedReflection, caplog: Any, flips: Flips, cut: int | None
) -> None:
    service.damage = lambda data: flipped(data, flips)[:cut]
    await check(service, caplog)


def messages_in(message: Any) -> list[Any]:
    """Return a message and all that are inside it."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None:
            found += [one for part in (value if field.is_repeated else [value]) for one in messages_in(part)]
    return found


def changed_list(draw: st.DrawFn, message: Any, field: Any) -> None:
    members = getattr(message, field.name)
    if len(members) and draw(st.booleans()):
        del members[draw(st.integers(0, len(members) - 1))]
    elif field.message_type is None:
        members.append(draw(NAMES) if field.type == field.TYPE_STRING else draw(NUMBERS))
    elif len(members):
        members.add().CopyFrom(draw(st.sampled_from(list(members))))
    else:
        members.add()


def changed_value(draw: st.DrawFn, message: Any, field: Any) -> None:
    if field.message_type is not None:
        getattr(message, field.name).SetInParent()
    elif field.enum_type is not None:
        setattr(message, field.name, draw(st.sampled_from([one.number for one in field.enum_type.values])))
    elif field.type in {field.TYPE_STRING, field.TYPE_BOOL}:
        setattr(message, field.name, draw(NAMES if field.type == field.TYPE_STRING else st.booleans()))
    elif field.type in {field.TYPE_INT32, field.TYPE_INT64}:
        setattr(message, field.name, draw(NUMBERS))


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A file with other names, types, numbers, options and members."""
    file = descriptor_pb2.FileDescriptorProto()
    file.CopyFrom(FILE)
    for _ in range(draw(st.integers(1, 4))):
        message = draw(st.sampled_from(messages_in(file)))
        field = draw(st.sampled_from(list(message.DESCRIPTOR.fields)))
        (changed_list if field.is_repeated else changed_value)(draw, message, field)
    data: bytes = file.SerializePartialToString()
    return data


@PROPERTY
@given(file=edited())
async def test_other_names_types_and_members(service: DamagedReflection, caplog: Any, file: bytes) -> None:
    service.files = [file]
    await check(service, caplog)


def with_name(name: str, *, dependency: str | None = None, has_service: bool = True) -> bytes:
    """Return the file under another name, without its types if it has no service."""
    file = descriptor_pb2.FileDescriptorProto()
    file.CopyFrom(FILE)
    file.name = name
    if dependency is not None:
        file.dependency.append(dependency)
    if not has_service:
        del file.message_type[:]
        del file.service[:]
    data: bytes = file.SerializeToString()
    return data


@pytest.mark.parametrize(
    "files",
    [
        [],
        [b""],
        [b"", FILE.SerializeToString()],
        [FILE.SerializeToString(), with_name("again.proto")],
        [with_name("google/protobuf/any.proto")],
        [with_name("shop.proto", dependency="shop.proto")],
        [with_name("shop.proto", dependency="nowhere.proto")],
        [with_name("shop.proto", has_service=False), FILE.SerializeToString()],
        [b"\x0a\x02\xff\xfe" + FILE.SerializeToString()[12:]],
        [FILE.SerializeToString() + b"\x1a\x02\xff\xfe"],
        [b"\xff" * 100],
    ],
    ids=[
        "no file", "an empty file", "an empty file and the right one", "the types twice", "the name of another file",
        "a file that needs itself", "a file that is missing", "two files of one name", "a name that is not text",
        "a dependency that is not text", "no file at all",
    ],
)  # fmt: skip
async def test_files_that_do_not_belong_together(service: DamagedReflection, caplog: Any, files: list[bytes]) -> None:
    service.files = files
    await check(service, caplog)


async def test_a_comment_that_is_not_utf_8_is_a_comment(service: DamagedReflection) -> None:
    place = descriptor_pb2.SourceCodeInfo.Location(path=[6, 0, 2, 0], leading_comments="Prix: ~")
    written = place.SerializeToString().replace(b"~", b"\xe9")
    location = b"\x0a" + bytes([len(written)]) + written
    service.files = [FILE.SerializeToString() + b"\x4a" + bytes([len(location)]) + location]
    try:
        async with client(service) as (transport, target):
            tools = await transport.discover(target)
    finally:
        service.files = None
    assert [tool["description"] for tool in tools.content["tools"]] == ["Prix: \ufffd"]


async def test_arguments_that_other_descriptors_refuse_cause_one_more_look(service: DamagedReflection) -> None:
    file = descriptor_pb2.FileDescriptorProto.FromString(FILE.SerializeToString())
    file.message_type[0].field[0].name = "renamed"
    file.message_type[0].field[0].ClearField("json_name")
    service.files = [file.SerializeToString()]
    async with client(service) as (transport, target):
        with pytest.raises(InvalidArguments, match="text"):
            await transport.call(target, make_call(ARGUMENTS), discard)
    async with client(service) as (transport, target):
        await transport.discover(target)
        service.files = None
        assert await transport.call(target, make_call(ARGUMENTS), discard) == ARGUMENTS


WHOLE = descriptor_pb2.FileDescriptorSet(file=[FILE]).SerializeToString()
NOT_TEXT = WHOLE.replace(b"shop", b"\xff\xfeop")


@pytest.mark.parametrize("data", [b"\xff" * 50, NOT_TEXT], ids=["no set", "names that are not text"])
async def test_a_damaged_file_of_descriptors_is_the_operators(
    service: DamagedReflection, tmp_path: Any, data: bytes
) -> None:
    (tmp_path / "set").write_bytes(data)
    template = {"call_template_type": "grpc", "host": "127.0.0.1", "port": service.port, "wire": "native"}
    async with open_services(root=tmp_path) as services:
        transport = GrpcTransport(services)
        with pytest.raises(ConfigError, match="'set' is not a descriptor set"):
            await transport.discover(make_target(transport, {**template, "descriptor_set": "set"}))
        await transport.aclose()


PARTS = [
    FILE.SerializeToString(), with_name("again.proto"), with_name("x", has_service=False), b"",
    with_name("google/protobuf/any.proto"),
]  # fmt: skip


@PROPERTY
@given(files=st.lists(st.sampled_from(PARTS), max_size=4))
async def test_any_mixture_of_files(service: DamagedReflection, caplog: Any, files: list[bytes]) -> None:
    service.files = files
    await check(service, caplog)
