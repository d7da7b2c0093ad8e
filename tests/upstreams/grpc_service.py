"""A real gRPC server on loopback: its own service, the fixed UTCP service, reflection in both versions."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2, timestamp_pb2
from google.rpc import error_details_pb2

from utcp_bridge.transports.grpc.protos import reflection_messages, status_message, utcp_messages

TYPES = {"string": 9, "int64": 3, "int32": 5, "bool": 8, "bytes": 12, "double": 1}
MESSAGES = {
    "Item": [
        (1, "text", "string"),
        (2, "big_number", "int64"),
        (3, "data", "bytes"),
        (4, "kind", ".shop.Kind"),
        (5, "at", ".google.protobuf.Timestamp"),
        (6, "extra", ".google.protobuf.Struct"),
        (7, "children", "repeated .shop.Item"),
        (8, "n", "int32"),
    ]
}
METHODS = {
    "Echo": (False, False),
    "Count": (False, True),
    "Join": (True, False),
    "Talk": (True, True),
    "Slow": (False, False),
    "Fail": (False, False),
    "Flood": (False, False),
    "Junk": (False, False),
}


def file_descriptor() -> Any:
    """Return `shop.proto` as a compiler writes it."""
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.dependency.extend(["google/protobuf/timestamp.proto", "google/protobuf/struct.proto"])
    kinds = file.enum_type.add(name="Kind")
    for number, name in enumerate(("KIND_UNSPECIFIED", "KIND_FRUIT", "KIND_TOOL")):
        kinds.value.add(name=name, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, label, kind in fields:
            word = kind.removeprefix("repeated ")
            made = message.field.add(name=label, number=number, label=3 if word != kind else 1)
            if word in TYPES:
                made.type = TYPES[word]
            else:
                made.type, made.type_name = (14 if word.endswith("Kind") else 11), word
    service = file.service.add(name="Orders")
    for name, (streams_in, streams_out) in METHODS.items():
        method = service.method.add(name=name, input_type=".shop.Item", output_type=".shop.Item")
        method.client_streaming, method.server_streaming = streams_in, streams_out
    service.method[0].options.idempotency_level = 1
    return file


def item_class(file: Any = None) -> Any:
    """Return the class of `shop.Item`, as `shop.proto` or another file describes it."""
    pool = descriptor_pool.DescriptorPool()
    for module in (timestamp_pb2, struct_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(file or file_descriptor())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Item"))


ITEM = item_class()


@dataclass
class GrpcService:
    """`reflection` is "v1", "v1alpha" or None; `utcp` adds the fixed service; `credentials` are for TLS.

    `port` 0 takes a free one.
    """

    reflection: str | None = "v1"
    utcp: bool = False
    credentials: Any = None
    description: str = "Says it again."
    listed: tuple[str, ...] = ()
    """Services that reflection lists and does not know."""
    host: str = "127.0.0.1"
    port: int = 0
    metadata: list[dict[str, str]] = field(default_factory=list)
    times_left: list[float | None] = field(default_factory=list)
    """What each call of Echo, Count or the fixed service says of its deadline, in seconds."""
    times_left_for_tools: list[float | None] = field(default_factory=list)
    """The same for questions about tools."""
    slow_arrived: asyncio.Event = field(default_factory=asyncio.Event)
    slow_gone: asyncio.Event = field(default_factory=asyncio.Event)
    _server: Any = None

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server()
        generic = [grpc.method_handlers_generic_handler("shop.Orders", self._handlers())]
        if self.utcp:
            generic.append(grpc.method_handlers_generic_handler("grpcpb.UTCPService", self._utcp_handlers()))
        if self.reflection:
            generic.append(self._reflection_handler(self.reflection))
        self._server.add_generic_rpc_handlers(tuple(generic))
        if self.credentials is None:
            self.port = self._server.add_insecure_port(f"{self.host}:{self.port}")
        else:
            self.port = self._server.add_secure_port(f"{self.host}:{self.port}", self.credentials)
        await self._server.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._server.stop(None)

    def _handlers(self) -> dict[str, Any]:
        return {name: self._method(name) for name in METHODS}

    def _file(self) -> Any:
        return file_descriptor()

    def _files(self) -> list[bytes]:
        """Return what reflection says of the service."""
        return [self._file().SerializeToString()]

    def _written(self, answer: Any) -> bytes:
        """Return a reply of reflection as bytes."""
        data: bytes = answer.SerializeToString()
        return data

    async def _is_asked(self) -> None:
        """Do something before a question of reflection is replied to."""

    def _method(self, name: str) -> Any:
        streams_in, streams_out = METHODS[name]
        make = getattr(
            grpc, f"{'stream' if streams_in else 'unary'}_{'stream' if streams_out else 'unary'}_rpc_method_handler"
        )
        behaviour = getattr(self, f"_{name.lower()}")
        serialize = (lambda data: data) if name == "Junk" else ITEM.SerializeToString
        return make(behaviour, request_deserializer=ITEM.FromString, response_serializer=serialize)

    async def _echo(self, request: Any, context: Any) -> Any:
        self.metadata.append(dict(context.invocation_metadata()))
        self.times_left.append(context.time_remaining())
        return request

    async def _count(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.times_left.append(context.time_remaining())
        for number in range(request.n):
            yield ITEM(n=number)
        if request.text == "stall":
            await asyncio.Event().wait()
        if request.text == "break":
            await context.abort(grpc.StatusCode.DATA_LOSS, "the disk is gone")

    async def _join(self, requests: AsyncIterator[Any], _context: Any) -> Any:
        return ITEM(text="".join([request.text async for request in requests]))

    async def _talk(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield ITEM(text=request.text.upper())

    async def _slow(self, _request: Any, _context: Any) -> Any:
        self.slow_arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.slow_gone.set()

    async def _fail(self, request: Any, context: Any) -> Any:
        status = status_message()(code=9, message=request.text)
        status.details.add(type_url="type.googleapis.com/shop.Item", value=ITEM(text="why").SerializeToString())
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(1500)
        status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info.SerializeToString())
        status.details.add(type_url="type.googleapis.com/shop.Unknown", value=b"\x08\x01")
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(grpc.StatusCode[request.text or "FAILED_PRECONDITION"], "not now")

    async def _flood(self, request: Any, _context: Any) -> Any:
        return ITEM(text="x" * request.n)

    async def _junk(self, _request: Any, _context: Any) -> Any:
        return b"\xff\xff\xff\xff"

    def _utcp_handlers(self) -> dict[str, Any]:
        messages = utcp_messages()
        tools = [
            {"name": "echo", "description": self.description, "inputs": json.dumps({"type": "object"}), "tags": ["t"]},
            {"name": "plain", "outputs": "no JSON"},
        ]

        async def manual(_request: Any, context: Any) -> Any:
            self.times_left_for_tools.append(context.time_remaining())
            return messages["Manual"](version="1", tools=[messages["Tool"](**tool) for tool in tools])

        async def call(request: Any, context: Any) -> Any:
            self.times_left.append(context.time_remaining())
            replies = {"nothing": "", "text": "not json"}
            echoed = json.dumps({"tool": request.tool, **json.loads(request.args_json)})
            return messages["ToolCallResponse"](result_json=replies.get(request.tool, echoed))

        async def stream(request: Any, _context: Any) -> AsyncIterator[Any]:
            for number in range(json.loads(request.args_json)["n"]):
                yield messages["ToolCallResponse"](result_json=json.dumps({"n": number}))

        request = messages["ToolCallRequest"].FromString
        answer = messages["ToolCallResponse"].SerializeToString
        return {
            "GetManual": grpc.unary_unary_rpc_method_handler(
                manual, messages["Empty"].FromString, messages["Manual"].SerializeToString
            ),
            "CallTool": grpc.unary_unary_rpc_method_handler(call, request, answer),
            "CallToolStream": grpc.unary_stream_rpc_method_handler(stream, request, answer),
        }

    def _reflection_handler(self, version: str) -> Any:
        messages = reflection_messages(version)
        response = messages["ServerReflectionResponse"]

        async def info(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            self.times_left_for_tools.append(context.time_remaining())
            async for request in requests:
                answer = response(original_request=request)
                if request.list_services:
                    await self._is_asked()
                    for name in (
                        *self.listed,
                        "shop.Orders",
                        f"grpc.reflection.{version}.ServerReflection",
                        "grpc.health.v1.Health",
                    ):
                        answer.list_services_response.service.add(name=name)
                elif request.file_containing_symbol == "shop.Orders":
                    answer.file_descriptor_response.file_descriptor_proto.extend(self._files())
                else:
                    answer.error_response.error_code = 5
                yield answer

        handler = grpc.stream_stream_rpc_method_handler(
            info, messages["ServerReflectionRequest"].FromString, self._written
        )
        return grpc.method_handlers_generic_handler(
            f"grpc.reflection.{version}.ServerReflection", {"ServerReflectionInfo": handler}
        )


def item(**fields: Any) -> Any:
    return json_format.ParseDict(fields, ITEM())


class ResettingPort:
    """Accepts connections and resets them."""

    port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._reset, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _reset(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
