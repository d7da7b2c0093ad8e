"""The protobuf messages that the grpc transport itself sends and reads, built at run time without generated code.

`grpcpb.UTCPService` is the fixed service of the Go, Rust and Elixir libraries, with fields 3 to 5 of the Elixir
library. Server reflection is the same in v1 and v1alpha, except for its package. `google.rpc.Status` has the details of
errors. protobuf is an optional package: it is imported on first use, and everything here is typed Any.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

from utcp_bridge.errors import MalformedReply, MissingExtra, UtcpError

__all__ = [
    "classes_of",
    "file_descriptor",
    "foreign_messages",
    "grpc_module",
    "message_class",
    "protobuf",
    "reflection_messages",
    "status_message",
    "utcp_messages",
]

_logger = logging.getLogger(__name__)

_Fields = Sequence[tuple[int, str, str]]
_SCALARS = {"string": 9, "bytes": 12, "int32": 5}
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3
_MAX_CAUSE = 200


def grpc_module(name: str = "grpc") -> Any:
    """Return a module of grpcio.

    :raises MissingExtra: it is not installed.
    """
    # Its C core writes a line to stderr each time a process is started, and its other lines say what our errors say.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # noqa: TID251 - read when grpcio is imported
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - as above
    # Its Python part logs a traceback if a server sends a status that is not UTF-8; the call gets an error of its own.
    logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtra("grpc", "grpc") from None


def protobuf(name: str) -> Any:
    """Return a module of google.protobuf.

    :raises MissingExtra: it is not installed.
    """
    return grpc_module(f"google.protobuf.{name}")


def message_class(descriptor: Any) -> Any:
    """Return the Python class of a message descriptor."""
    return protobuf("message_factory").GetMessageClass(descriptor)


@contextmanager
def foreign_messages(what: str) -> Generator[None]:
    """Report any exception of protobuf as a malformed reply. `what` begins the sentence: "The server's descriptors".

    Descriptors and messages of other programs cause exceptions of many types: a text that is not UTF-8 is bytes where
    a str is expected, a type that contradicts another one is a TypeError, a time of the year 10,000 a ValueError.

    :raises MalformedReply: what is done inside failed. Errors of this package pass.
    """
    try:
        yield
    except UtcpError:
        raise
    except Exception as error:
        _logger.debug("%s cannot be used:", what, exc_info=error)
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_CAUSE].rstrip(" .:")
        raise MalformedReply(f"{what} cannot be used: {cause}.") from None


@lru_cache(maxsize=1)
def utcp_messages() -> Mapping[str, Any]:
    """Return the classes of `grpcpb`: Empty, Tool, Manual, ToolCallRequest, ToolCallResponse."""
    return _build(
        "grpcpb",
        {
            "Empty": (),
            "Tool": (
                (1, "name", "string"),
                (2, "description", "string"),
                (3, "inputs", "string"),
                (4, "outputs", "string"),
                (5, "tags", "repeated string"),
            ),
            "Manual": ((1, "version", "string"), (2, "tools", "repeated Tool")),
            "ToolCallRequest": ((1, "tool", "string"), (2, "args_json", "string")),
            "ToolCallResponse": ((1, "result_json", "string"),),
        },
    )


@lru_cache(maxsize=2)
def reflection_messages(version: str) -> Mapping[str, Any]:
    """Return the classes of `grpc.reflection.<version>`: ServerReflectionRequest, ServerReflectionResponse, parts."""
    return _build(
        f"grpc.reflection.{version}",
        {
            "ServerReflectionRequest": (
                (1, "host", "string"),
                (3, "file_by_filename", "string"),
                (4, "file_containing_symbol", "string"),
                (7, "list_services", "string"),
            ),
            "FileDescriptorResponse": ((1, "file_descriptor_proto", "repeated bytes"),),
            "ServiceResponse": ((1, "name", "string"),),
            "ListServiceResponse": ((1, "service", "repeated ServiceResponse"),),
            "ErrorResponse": ((1, "error_code", "int32"), (2, "error_message", "string")),
            "ServerReflectionResponse": (
                (1, "valid_host", "string"),
                (2, "original_request", "ServerReflectionRequest"),
                (4, "file_descriptor_response", "FileDescriptorResponse"),
                (6, "list_services_response", "ListServiceResponse"),
                (7, "error_response", "ErrorResponse"),
            ),
        },
    )


@lru_cache(maxsize=1)
def status_message() -> Any:
    """Return the class of `google.rpc.Status`, with details as type name and bytes (as in `google.protobuf.Any`)."""
    messages = _build(
        "google.rpc",
        {
            "Detail": ((1, "type_url", "string"), (2, "value", "bytes")),
            "Status": ((1, "code", "int32"), (2, "message", "string"), (3, "details", "repeated Detail")),
        },
    )
    return messages["Status"]


def _build(package: str, messages: Mapping[str, _Fields]) -> Mapping[str, Any]:
    return classes_of(file_descriptor(package, messages))


def classes_of(file: Any) -> Mapping[str, Any]:
    """Return the classes of the messages that a file describes, by their names."""
    pool = protobuf("descriptor_pool").DescriptorPool()
    pool.Add(file)
    found = {one.name: pool.FindMessageTypeByName(f"{file.package}.{one.name}") for one in file.message_type}
    return {name: message_class(descriptor) for name, descriptor in found.items()}


def file_descriptor(package: str, messages: Mapping[str, _Fields]) -> Any:
    """Return the description of a proto3 file. A field is its number, its name and its type.

    :raises MissingExtra: protobuf is not installed.
    """
    file = protobuf("descriptor_pb2").FileDescriptorProto(
        name=f"{package.replace('.', '/')}.proto", package=package, syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            _add_field(message, package, number, field, kind)
    return file


def _add_field(message: Any, package: str, number: int, name: str, kind: str) -> None:
    word = kind.removeprefix("repeated ")
    field = message.field.add(name=name, number=number, label=_REPEATED if word != kind else _OPTIONAL)
    if word in _SCALARS:
        field.type = _SCALARS[word]
    else:
        field.type = _MESSAGE
        field.type_name = f".{package}.{word}"
