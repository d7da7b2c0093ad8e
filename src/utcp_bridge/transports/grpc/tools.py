"""gRPC methods as tools, arguments as messages, replies as values (proto3 JSON; pure).

Schemas follow the proto3 JSON mapping: 64-bit integers are integer or text, bytes are Base64, enumerations are names,
well-known types have their own JSON forms. A message type that is used as a field is in `$defs`.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from utcp_bridge.errors import InvalidArguments, MalformedReply
from utcp_bridge.foreign import load_json
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.net.reply import parse_json
from utcp_bridge.transports.grpc.descriptors import Described, build_pool
from utcp_bridge.transports.grpc.protos import foreign_messages, message_class, protobuf, utcp_messages

__all__ = [
    "build_requests",
    "each",
    "message_schema",
    "native_tools",
    "parse_message",
    "portable_files",
    "read_native_reply",
    "read_utcp_reply",
    "reply_reader",
    "utcp_tool",
    "utcp_value",
]

_MAX_DEFINITIONS = 300
_MAX_ALL_DEFINITIONS = 100_000
"""Definitions of all methods of one server together. The methods share them, so each of them costs a reference."""
_MAX_ENUM = 2_000
"""Names of an enumeration that a schema states. Every use repeats them where a host reads it."""
_INTEGER_OR_TEXT: JsonObject = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]+$"}]}
_SCALARS: dict[int, JsonObject] = {
    1: {"type": "number"},
    2: {"type": "number"},
    3: _INTEGER_OR_TEXT,
    4: _INTEGER_OR_TEXT,
    5: {"type": "integer"},
    6: _INTEGER_OR_TEXT,
    7: {"type": "integer"},
    8: {"type": "boolean"},
    9: {"type": "string"},
    12: {"type": "string", "contentEncoding": "base64"},
    13: {"type": "integer"},
    15: {"type": "integer"},
    16: _INTEGER_OR_TEXT,
    17: {"type": "integer"},
    18: _INTEGER_OR_TEXT,
}
_ENUM, _MESSAGE, _GROUP = 14, 11, 10
_HINTS: Mapping[int, JsonObject] = {1: {"readOnlyHint": True, "idempotentHint": True}, 2: {"idempotentHint": True}}
"""MCP hints for `option idempotency_level`: NO_SIDE_EFFECTS, IDEMPOTENT."""
_WELL_KNOWN: dict[str, JsonObject] = {
    "Timestamp": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string", "description": "Seconds with the suffix s, such as 1.5s."},
    "FieldMask": {"type": "string", "description": "Field paths, separated by commas."},
    "Struct": {"type": "object"},
    "Value": {},
    "ListValue": {"type": "array", "items": {}},
    "NullValue": {"type": "null"},
    "Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
    "Empty": {"type": "object", "properties": {}},
    "DoubleValue": {"type": "number"},
    "FloatValue": {"type": "number"},
    "Int64Value": _INTEGER_OR_TEXT,
    "UInt64Value": _INTEGER_OR_TEXT,
    "Int32Value": {"type": "integer"},
    "UInt32Value": {"type": "integer"},
    "BoolValue": {"type": "boolean"},
    "StringValue": {"type": "string"},
    "BytesValue": {"type": "string", "contentEncoding": "base64"},
}


def utcp_tool(tool: Any) -> JsonObject:
    """Return the normalised tool object of a `grpcpb.Tool`. Without a schema (Go, Rust) it accepts any arguments."""
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
        found = load_json(text) if text else None
    except orjson.JSONDecodeError:
        return None
    return found if is_object(found) else None


def utcp_value(text: str) -> Any:
    """Return the value of a result: null if it is empty, text if it is not JSON (as in the Rust library)."""
    if not text:
        return None
    try:
        return load_json(text)
    except orjson.JSONDecodeError:
        return text


def native_tools(described: Described, wanted: str | None, *, proto_names: bool) -> list[JsonObject]:
    """Return a normalised tool object for each method, or only for the methods with the name `wanted`.

    Their schemas share the definitions of messages.

    :raises MalformedReply: the descriptors cannot be used.
    """
    messages = Messages(proto_names=proto_names, comments=described.comments)
    with foreign_messages("The server's descriptors"):
        return [
            _native_tool(method, messages, described.comments)
            for service in described.services
            for method in described.pool.FindServiceByName(service).methods
            if wanted in {None, method.name}
        ]


def _native_tool(method: Any, messages: Messages, said: Mapping[str, str]) -> JsonObject:
    service = method.containing_service
    inputs = messages.schema(method.input_type)
    outputs = {} if method.server_streaming else messages.schema(method.output_type)
    if method.client_streaming:
        inputs = _wrapped("messages", inputs)
    idempotent = method.GetOptions().idempotency_level
    return {
        "name": f"{service.name}_{method.name}",
        "description": said.get(method.full_name)
        or f"{service.full_name}/{method.name}: takes {method.input_type.name} and returns "
        f"{'a stream of ' if method.server_streaming else ''}{method.output_type.name}.",
        "inputs": inputs,
        "outputs": {"type": "array", "items": {"type": "object"}} if method.server_streaming else outputs,
        "tags": [service.full_name],
        "annotations": _HINTS.get(idempotent, {}),
        "overlay": {"wire": "native", "service_name": service.full_name, "method_name": method.name},
    }


def _wrapped(name: str, schema: JsonObject) -> JsonObject:
    definitions = schema.pop("$defs", None)
    wrapped: JsonObject = {
        "type": "object",
        "properties": {name: {"type": "array", "items": schema}},
        "required": [name],
    }
    return {**wrapped, "$defs": definitions} if definitions else wrapped


def build_requests(method: Any, arguments: JsonObject) -> list[Any]:
    """Return the request messages: one with all arguments, or for a client stream those in `messages`.

    :raises InvalidArguments: they do not match the method's input type.
    :raises MalformedReply: the server's description of this type cannot be used.
    """
    json_format = protobuf("json_format")
    given: Any = arguments.get("messages") if method.client_streaming else [arguments]
    if not is_list(given):
        raise InvalidArguments("`messages` must be a list.", remedy="Write the stream's messages as a list of objects.")
    with foreign_messages(f"The server's description of {method.input_type.name}"):
        made, pool = message_class(method.input_type), method.containing_service.file.pool
        try:
            requests = [json_format.ParseDict(one, made(), descriptor_pool=pool) for one in given]
        except (json_format.ParseError, TypeError, ValueError) as error:
            raise InvalidArguments(f"The arguments do not match {method.input_type.name}: {error}.") from None
        missing = [name for request in requests for name in request.FindInitializationErrors()]
    if missing:
        raise InvalidArguments(f"The arguments do not match {method.input_type.name}: {missing[0]!r} is required.")
    return requests


def parse_message(made: Any, data: bytes | None) -> Any:
    """Return the bytes as a message of the class `made`.

    :raises MalformedReply: they are not such a message, or gRPC got none: None, after a success or a damaged message.
    """
    if data is None:
        raise MalformedReply(f"The server reported success without a message of the type {made.DESCRIPTOR.name}.")
    error = protobuf("message").DecodeError
    try:
        return made.FromString(data)
    except error:
        pass
    try:
        return made.FromString(_with_valid_text(data, made.DESCRIPTOR))
    except Exception:  # noqa: BLE001 - descriptors of a server may be odd in any way
        raise MalformedReply(
            f"The server sent bytes that are not a message of the type {made.DESCRIPTOR.name}."
        ) from None


_VARINT, _FIXED_64, _DELIMITED, _FIXED_32 = 0, 1, 2, 5
_SIZES = {_FIXED_64: 8, _FIXED_32: 4}


def _with_valid_text(data: bytes, descriptor: Any) -> bytes:
    """Return a message with U+FFFD in its texts where they are not UTF-8; protobuf refuses such a message.

    :raises ValueError: it is not a message in the wire format.
    :raises LookupError: it ends inside a field, or has groups.
    """
    written, position = bytearray(), 0
    while position < len(data):
        start = position
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == _DELIMITED:
            head = data[start:position]
            length, position = _varint(data, position)
            value, position = data[position : position + length], position + length
            value = _valid_value(value, descriptor.fields_by_number.get(tag >> 3))
            written += head + _as_varint(len(value)) + value
            continue
        position = _varint(data, position)[1] if wire == _VARINT else position + _SIZES[wire]
        written += data[start:position]
    return bytes(written)


def _valid_value(value: bytes, field: Any) -> bytes:
    if field is None:
        return value
    if field.type == field.TYPE_STRING:
        return value.decode("utf-8", "replace").encode()
    return _with_valid_text(value, field.message_type) if field.type == field.TYPE_MESSAGE else value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("A number of the wire format is too long.")


def _as_varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def read_utcp_reply(data: bytes | None) -> Any:
    """Return the value in a reply of the fixed service.

    :raises MalformedReply: the bytes are not such a reply.
    """
    return utcp_value(parse_message(utcp_messages()["ToolCallResponse"], data).result_json)


def read_native_reply(data: bytes, *, files: str, name: str, proto_names: bool) -> Any:
    """Return a reply as a JSON value; `name` is its message type, and `files` come from `portable_files`.

    :raises MalformedReply: the bytes are not such a message.
    """
    return reply_reader(_pool_of(files).FindMessageTypeByName(name), proto_names=proto_names)(data)


def portable_files(message: Any) -> str | None:
    """Return the files that a message type needs, as text, for a process without the pool.

    None if the type uses `google.protobuf.Any`: its value may be of any type of the pool.
    """
    found: dict[str, Any] = {}
    waiting = [message.file]
    while waiting:
        file = waiting.pop()
        if file.name not in found:
            found[file.name] = file
            waiting += file.dependencies
    if "google/protobuf/any.proto" in found:
        return None
    files = protobuf("descriptor_pb2").FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(files.file.add())
    return base64.b64encode(zlib.compress(files.SerializeToString())).decode()


@lru_cache(maxsize=4)
def _pool_of(files: str) -> Any:
    data = zlib.decompress(base64.b64decode(files))
    return build_pool(protobuf("descriptor_pb2").FileDescriptorSet.FromString(data).file)


def reply_reader(message: Any, *, proto_names: bool) -> Callable[[bytes], Any]:
    """Return a function that reads the bytes of a reply, of this message type, as a JSON value.

    The function raises MalformedReply.
    """
    json_format = protobuf("json_format")
    with foreign_messages(f"The server's description of {message.name}"):
        made, pool = message_class(message), message.file.pool

    def read(data: bytes) -> Any:
        message = parse_message(made, data)
        with foreign_messages(f"The server's message of the type {made.DESCRIPTOR.name}"):
            text = json_format.MessageToJson(
                message, preserving_proto_field_name=proto_names, descriptor_pool=pool, indent=None
            )
        return parse_json(text, "The reply")

    return read


async def each(requests: list[Any]) -> AsyncIterator[Any]:
    """Yield the requests of a client stream one by one."""
    for request in requests:
        yield request


def message_schema(
    descriptor: Any, *, proto_names: bool = False, comments: Mapping[str, str] | None = None
) -> JsonObject:
    """Return the JSON Schema of one message (`google.protobuf.descriptor.Descriptor`).

    Properties have their JSON names (lower camel case), or with `proto_names` the names in the .proto file. `comments`,
    by full name, become descriptions.
    """
    return Messages(proto_names=proto_names, comments=comments or {}).schema(descriptor)


class Messages:
    """The messages of one server as JSON Schemas. Each is made once, and the schemas of the methods share it."""

    def __init__(self, *, proto_names: bool, comments: Mapping[str, str]) -> None:
        self._proto_names = proto_names
        self._comments = comments
        self._named: dict[str, Any] = {}
        self._made: dict[str, tuple[JsonObject, list[Any]]] = {}
        self._enums: dict[str, list[str]] = {}
        self._left = _MAX_ALL_DEFINITIONS

    def schema(self, descriptor: Any) -> JsonObject:
        """Return the schema of one message, with the messages that it leads to in `$defs`."""
        if self._left <= 0:
            return {"type": "object"}
        made, waiting = self._message_of(descriptor)
        definitions: JsonObject = {}
        waiting = waiting[::-1]
        while waiting:
            one = waiting.pop()
            if one.full_name in definitions:
                continue
            self._left -= 1
            following: list[Any] = []
            if len(definitions) >= _MAX_DEFINITIONS or self._left <= 0:
                definitions[one.full_name] = {"type": "object"}
            else:
                definitions[one.full_name], following = self._message_of(one)
            waiting += following
        return {**made, "$defs": definitions} if definitions else dict(made)

    def _message_of(self, descriptor: Any) -> tuple[JsonObject, list[Any]]:
        """Return the schema of a message, and the messages that it names."""
        if descriptor.full_name not in self._made:
            self._named = {}
            self._made[descriptor.full_name] = self.body(descriptor), list(self._named.values())
        return self._made[descriptor.full_name]

    def body(self, descriptor: Any) -> JsonObject:
        """Return the object schema of a message, with fields in the order of the .proto file."""
        properties = {
            (field.name if self._proto_names else field.json_name): self._field(field) for field in descriptor.fields
        }
        schema: JsonObject = {"type": "object", "properties": properties}
        alternatives = [_one_of(group, self._proto_names) for group in descriptor.oneofs if len(group.fields) > 1]
        if alternatives:
            schema["description"] = " ".join(alternatives)
        return schema

    def _field(self, field: Any) -> JsonObject:
        schema = self._bare_field(field)
        comment = self._comments.get(field.full_name)
        return schema if comment is None else {**schema, "description": comment}

    def _bare_field(self, field: Any) -> JsonObject:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._single(entry.fields_by_name["value"])}
        schema = self._single(field)
        return {"type": "array", "items": schema} if _is_repeated(field) else schema

    def _single(self, field: Any) -> JsonObject:
        if field.type == _ENUM:
            if field.enum_type.full_name == "google.protobuf.NullValue":
                return {"type": "null"}
            return self._enum(field.enum_type)
        if field.type in {_MESSAGE, _GROUP}:
            return self._message(field.message_type)
        return dict(_SCALARS[field.type])

    def _message(self, descriptor: Any) -> JsonObject:
        package, _, name = descriptor.full_name.rpartition(".")
        if package == "google.protobuf" and name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        self._named[descriptor.full_name] = descriptor
        return {"$ref": f"#/$defs/{descriptor.full_name}"}

    def _enum(self, descriptor: Any) -> JsonObject:
        names = self._enums.get(descriptor.full_name)
        if names is None:
            names = self._enums[descriptor.full_name] = [value.name for value in descriptor.values]
        return {"type": "string", "enum": names} if len(names) <= _MAX_ENUM else {"type": "string"}


def _is_repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)


def _one_of(group: Any, proto_names: bool) -> str:
    names = [field.name if proto_names else field.json_name for field in group.fields]
    return f"At most one of {', '.join(names)}."
