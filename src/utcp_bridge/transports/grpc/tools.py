"""gRPC methods as tools, arguments as messages, replies as values (proto3 JSON; pure)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson

from utcp_bridge.errors import InvalidArguments, MalformedReply
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.net.reply import parse_json
from utcp_bridge.transports.grpc.protos import message_class, protobuf
from utcp_bridge.transports.grpc.schema import message_schema

__all__ = ["build_requests", "each", "native_tool", "parse_message", "reply_reader", "utcp_tool", "utcp_value"]


def utcp_tool(tool: Any) -> JsonObject:
    """The normalised tool object of a `grpcpb.Tool`; Go and Rust give no schemas, so anything is accepted."""
    made: JsonObject = {
        "name": tool.name,
        "description": tool.description,
        "inputs": _schema(tool.inputs) or {"type": "object", "properties": {}},
        "tags": list(tool.tags),
        "overlay": {"wire": "utcp", "tool_name": tool.name},
    }
    outputs = _schema(tool.outputs)
    return {**made, "outputs": outputs} if outputs else made


def _schema(text: str) -> JsonObject | None:
    try:
        found = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None
    return found if is_object(found) else None


def utcp_value(text: str) -> Any:
    """Empty is null; what is no JSON is text (as in the Rust library)."""
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def native_tool(
    method: Any, wanted: str | None, *, proto_names: bool, comments: Mapping[str, str] | None = None
) -> JsonObject | None:
    """The normalised tool object of a method; None if another is `wanted`. `comments` describe by full name."""
    if wanted is not None and method.name != wanted:
        return None
    service = method.containing_service
    said = comments or {}
    inputs = message_schema(method.input_type, proto_names=proto_names, comments=said)
    outputs = message_schema(method.output_type, proto_names=proto_names, comments=said)
    if method.client_streaming:
        inputs = _wrapped("messages", inputs)
    idempotent = method.GetOptions().idempotency_level
    return {
        "name": f"{service.name}_{method.name}",
        "description": said.get(method.full_name)
        or f"{service.full_name}/{method.name}, taking {method.input_type.name} and giving "
        f"{'a stream of ' if method.server_streaming else ''}{method.output_type.name}.",
        "inputs": inputs,
        "outputs": {"type": "array", "items": {"type": "object"}} if method.server_streaming else outputs,
        "tags": [service.full_name],
        "annotations": _HINTS.get(idempotent, {}),
        "overlay": {"wire": "native", "service_name": service.full_name, "method_name": method.name},
    }


_HINTS: Mapping[int, JsonObject] = {1: {"readOnlyHint": True, "idempotentHint": True}, 2: {"idempotentHint": True}}
"""`option idempotency_level`: NO_SIDE_EFFECTS, IDEMPOTENT."""


def _wrapped(name: str, schema: JsonObject) -> JsonObject:
    definitions = schema.pop("$defs", None)
    wrapped: JsonObject = {
        "type": "object",
        "properties": {name: {"type": "array", "items": schema}},
        "required": [name],
    }
    return {**wrapped, "$defs": definitions} if definitions else wrapped


def build_requests(method: Any, arguments: JsonObject) -> list[Any]:
    """The request messages: one of all arguments, or for a client stream those of `messages`.

    :raises InvalidArguments: they do not fit the method's input type.
    """
    json_format = protobuf("json_format")
    given: Any = arguments.get("messages") if method.client_streaming else [arguments]
    if not is_list(given):
        raise InvalidArguments("`messages` is no list.", remedy="Give the stream's messages as a list of objects.")
    made = message_class(method.input_type)
    try:
        return [
            json_format.ParseDict(one, made(), descriptor_pool=method.containing_service.file.pool) for one in given
        ]
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise InvalidArguments(f"The arguments are no {method.input_type.name}: {error}.") from None


def parse_message(made: Any, data: bytes) -> Any:
    """Bytes as a message of the class `made`.

    :raises MalformedReply: they are none.
    """
    try:
        return made.FromString(data)
    except protobuf("message").DecodeError:
        raise MalformedReply(f"The server sent bytes that are no {made.DESCRIPTOR.name}.") from None


def reply_reader(method: Any, *, proto_names: bool) -> Callable[[bytes], Any]:
    """What turns the bytes of a reply into its JSON value; raises MalformedReply."""
    json_format = protobuf("json_format")
    made = message_class(method.output_type)
    pool = method.containing_service.file.pool

    def read(data: bytes) -> Any:
        text = json_format.MessageToJson(
            parse_message(made, data), preserving_proto_field_name=proto_names, descriptor_pool=pool, indent=None
        )
        return parse_json(text, "The reply")

    return read


async def each(requests: list[Any]) -> AsyncIterator[Any]:
    """The requests of a client stream, one by one."""
    for request in requests:
        yield request
