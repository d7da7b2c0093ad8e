"""Which messages are hot: those of which the SDK's checks would refuse none and change nothing.

    message      jsonrpc "2.0"; id, a whole number or text; method; params
    tools/call   name, text; arguments, an object; _meta
    tools/list   cursor, text; _meta
    ping         _meta (until 2025-11-25)
    _meta        progressToken; the client's own members; since 2026-07-28 also version, info and capabilities

A message with any other member, or with one of another type, is not hot. The parser is the SDK's: others read large
numbers and halves of surrogate pairs in another way.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Final, TypeGuard

from pydantic_core import from_json

from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.server.wire.protocol import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    MODERN_PROTOCOL_VERSIONS,
    PROTOCOL_VERSION_META_KEY,
    ProgressToken,
    RequestId,
)

__all__ = ["ENVELOPE", "MAX_HOT_BYTES", "HotRequest", "hot_request", "is_plain_id", "read_hot"]

MAX_HOT_BYTES: Final = 65_536
"""A longer request goes to the SDK: its arguments take more time than everything that the front saves."""
ENVELOPE: Final = (PROTOCOL_VERSION_META_KEY, CLIENT_INFO_META_KEY, CLIENT_CAPABILITIES_META_KEY)
"""What a client says of itself in each request since 2026-07-28. The second is optional."""
_MEMBERS: Final = {
    "tools/call": frozenset({"name", "arguments", "_meta"}),
    "tools/list": frozenset({"cursor", "_meta"}),
    "ping": frozenset({"_meta"}),
}
_WITHOUT_PARAMS: Final = frozenset({"tools/list", "ping"})
_MODERN_METHODS: Final = frozenset({"tools/call", "tools/list"})
_RESERVED: Final = "io.modelcontextprotocol/"
_MAX_NUMBER: Final = 2**53
_MAX_ID: Final = 256


@dataclass(slots=True)
class HotRequest:
    """A request whose shape is plain. `meta` is its `_meta` as handlers get it.

    `version` is that of its envelope (2026-07-28); None if it belongs to a session of the handshake era.
    """

    ident: RequestId
    method: str
    params: JsonObject | None = field(repr=False)
    meta: JsonObject | None = field(default=None, repr=False)
    token: ProgressToken | None = field(default=None, repr=False)
    version: str | None = None


def read_hot(data: bytes) -> HotRequest | None:
    """Return the request that these bytes are; None if the SDK has to read them."""
    if len(data) > MAX_HOT_BYTES:
        return None
    try:
        return hot_request(from_json(data, cache_strings="keys"))  # values differ: to keep them costs memory
    except ValueError:
        return None


def hot_request(message: Any) -> HotRequest | None:
    """Return a message as a request, if its shape is plain."""
    if not is_object(message) or message.get("jsonrpc") != "2.0":
        return None
    method, ident, params = message.get("method"), message.get("id"), message.get("params")
    if not isinstance(method, str) or not is_plain_id(ident) or len(message) != (3 if params is None else 4):
        return None
    request = HotRequest(ident, method, params)
    if params is None:
        return request if method in _WITHOUT_PARAMS else None
    return request if is_object(params) and _has_plain_params(request, params) else None


def _has_plain_params(request: HotRequest, params: JsonObject) -> bool:
    members = _MEMBERS.get(request.method)
    if members is None or not params.keys() <= members:
        return False
    if request.method == "tools/call":
        is_plain = isinstance(params.get("name"), str) and is_object(params.get("arguments", {}))
    else:
        is_plain = isinstance(params.get("cursor", ""), str)
    return is_plain and ("_meta" not in params or _takes_meta(request, params["_meta"]))


def is_plain_id(ident: Any) -> TypeGuard[RequestId]:
    """Return whether an id is written in the response as it was read."""
    if type(ident) is int:
        return -_MAX_NUMBER <= ident <= _MAX_NUMBER
    return isinstance(ident, str) and len(ident) <= _MAX_ID


def _takes_meta(request: HotRequest, meta: Any) -> bool:
    """Note the `_meta` of a request. Return whether it is plain."""
    if not is_object(meta) or "progress_token" in meta:
        return False
    for key in meta:
        if key.startswith(_RESERVED) and key not in ENVELOPE:
            return False
    version = meta.get(PROTOCOL_VERSION_META_KEY)
    if version is None:
        if any(key in meta for key in ENVELOPE):
            return False
    elif version not in MODERN_PROTOCOL_VERSIONS or request.method not in _MODERN_METHODS:
        return False
    if "progressToken" in meta:
        if not is_plain_id(meta["progressToken"]):
            return False
        request.token = meta["progressToken"]
        meta = {"progress_token": request.token, **{key: one for key, one in meta.items() if key != "progressToken"}}
    request.meta, request.version = meta, version
    return True
