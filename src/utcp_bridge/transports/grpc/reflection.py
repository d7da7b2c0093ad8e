"""Server reflection (grpc.reflection v1, then v1alpha): a server's services and their descriptors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from utcp_bridge.errors import ManualError
from utcp_bridge.transports.grpc.comments import comments_of
from utcp_bridge.transports.grpc.descriptors import Described, build_pool, is_known, well_known_files
from utcp_bridge.transports.grpc.protos import protobuf, reflection_messages

__all__ = ["HIDDEN_SERVICES", "reflect"]

_VERSIONS = ("v1", "v1alpha")
_MOST_FILES = 2000
HIDDEN_SERVICES = ("grpc.reflection.", "grpc.health.", "grpc.channelz.", "grpcpb.UTCPService")
"""Services that are no tools, by their prefix."""


async def reflect(
    channel: Any, wanted: Callable[[str], bool], is_unimplemented: Callable[[Exception], bool]
) -> Described:
    """All services that `wanted` says yes to; one that reflection lists and cannot describe is left out.

    :raises ManualError: the server has no reflection, or what it says cannot be used. Errors of the channel pass.
    """
    for version in _VERSIONS:
        try:
            async with _conversation(channel, version) as ask:
                return await _gather(ask, wanted)
        except Exception as error:
            if not is_unimplemented(error):
                raise
    raise ManualError(
        "The server has no reflection.",
        remedy="Give its `proto_files`, a `descriptor_set` (protoc --include_imports --descriptor_set_out), "
        "or write the tools into a manual.",
    )


async def _gather(ask: Callable[..., Any], wanted: Callable[[str], bool]) -> Described:
    listed = await ask(list_services="*")
    services = [
        service.name
        for service in listed.list_services_response.service
        if not service.name.startswith(HIDDEN_SERVICES) and wanted(service.name)
    ]
    if not services:
        raise ManualError("The server names no service that fits.", remedy="Check `service_name`.")
    files: dict[str, Any] = {}
    own = well_known_files()
    for service in services:
        await _learn(ask, files, file_containing_symbol=service)
    waiting = [name for file in files.values() for name in file.dependency]
    while waiting and len(files) < _MOST_FILES:
        name = waiting.pop()
        if name not in files and name not in own:
            waiting += await _learn(ask, files, file_by_filename=name)
    pool = build_pool(files.values())
    known = [name for name in services if is_known(pool, name)]
    if not known:
        raise ManualError("The server's reflection describes none of its services.", remedy="Use `proto_files`.")
    return Described(pool, known, comments_of(files.values()))


async def _learn(ask: Callable[..., Any], files: dict[str, Any], **question: str) -> list[str]:
    """Add the files of one answer; returns what these depend on."""
    answer = await ask(**question)
    dependencies: list[str] = []
    for data in answer.file_descriptor_response.file_descriptor_proto:
        file = protobuf("descriptor_pb2").FileDescriptorProto()
        file.ParseFromString(data)
        if file.name not in files:
            files[file.name] = file
            dependencies += file.dependency
    return dependencies


@asynccontextmanager
async def _conversation(channel: Any, version: str) -> AsyncGenerator[Callable[..., Any]]:
    """One reflection stream; the yielded coroutine function asks one question."""
    messages = reflection_messages(version)
    request, response = messages["ServerReflectionRequest"], messages["ServerReflectionResponse"]
    stream = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )()

    async def ask(**question: str) -> Any:
        await stream.write(request(**question))
        answer = await stream.read()
        if not hasattr(answer, "valid_host"):
            raise ManualError("The server ended its reflection before it had answered.")
        return answer

    try:
        yield ask
    finally:
        stream.cancel()
