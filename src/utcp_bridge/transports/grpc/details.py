"""What a gRPC error carries beside its status: `google.rpc.Status` with typed details, decoded where they are known.

The standard details (BadRequest, ErrorInfo, RetryInfo, QuotaFailure, …; google/rpc/error_details.proto) always are,
others by the descriptors of the manual. An unknown one keeps its type and its size.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from utcp_bridge.model import JsonObject
from utcp_bridge.transports.grpc.protos import message_class, protobuf, status_message

__all__ = ["decode_details", "retry_after"]

_KEY = "grpc-status-details-bin"
_PREFIX = "type.googleapis.com/"
_MOST = 20


def decode_details(metadata: Iterable[tuple[str, Any]], pool: Any = None) -> list[JsonObject]:
    """The details of an error's trailing metadata, each `{"@type": …, fields}`. `pool` knows the manual's own types."""
    found: list[JsonObject] = []
    for key, value in metadata:
        if key != _KEY or not isinstance(value, bytes):
            continue
        status = status_message()()
        try:
            status.ParseFromString(value)
        except protobuf("message").DecodeError:
            continue
        found += [_decoded(one.type_url.removeprefix(_PREFIX), one.value, pool) for one in status.details[:_MOST]]
    return found


def retry_after(details: Iterable[JsonObject]) -> float | None:
    """Seconds that a `google.rpc.RetryInfo` asks to wait."""
    for detail in details:
        delay = detail.get("retryDelay")
        if detail.get("@type") == "google.rpc.RetryInfo" and isinstance(delay, str):
            try:
                return float(delay.removesuffix("s"))
            except ValueError:
                return None
    return None


def _decoded(name: str, value: bytes, pool: Any) -> JsonObject:
    descriptor = _find(name, pool)
    if descriptor is None:
        return {"@type": name, "bytes": len(value)}
    json_format = protobuf("json_format")
    try:
        message = message_class(descriptor).FromString(value)
        fields = json_format.MessageToDict(message, descriptor_pool=descriptor.file.pool)
    except (protobuf("message").DecodeError, json_format.Error, TypeError):
        return {"@type": name, "bytes": len(value)}
    return {"@type": name, **fields}


def _find(name: str, pool: Any) -> Any:
    """The descriptor of a message type: the manual's own, or one of the standard details."""
    import_module("google.rpc.error_details_pb2")
    for known in (pool, protobuf("descriptor_pool").Default()):
        if known is not None:
            try:
                return known.FindMessageTypeByName(name)
            except KeyError:
                continue
    return None
