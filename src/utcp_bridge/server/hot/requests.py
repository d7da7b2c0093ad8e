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

__all__ = ["ENVELOPE", "MAX_HOT_BYTES", "HotRequest", "KnownMeta", "hot_request", "is_plain_id", "read_hot"]

MAX_HOT_BYTES: Final = 65_536
"""A longer request goes to the SDK: its arguments take more time than everything that the front saves."""
ENVELOPE: Final = (PROTOCOL_VERSION_META_KEY, CLIENT_INFO_META_KEY, CLIENT_CAPABILITIES_META_KEY)
"""What a client says of itself in each request since 2026-07-28. The second is optional."""
_MEMBERS: Final = {
    "tools/list": frozenset({"cursor", "_meta"}),
    "ping": frozenset({"_meta"}),
}
_WITHOUT_PARAMS: Final = frozenset({"tools/list", "ping"})
_MODERN_METHODS: Final = frozenset({"tools/call", "tools/list"})
_RESERVED: Final = "io.modelcontextprotocol/"
_MAX_NUMBER: Final = 2**53
_MAX_ID: Final = 256
_ABSENT: Final = object()
_NOTHING: Final[JsonObject] = {}
_blank: Final = object.__new__


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
    envelope: tuple[Any, Any] | None = field(default=None, repr=False)
    """What `HotCalls.envelope_of` returned for an equal `_meta`; None if it has to be asked."""
    caller: Any = field(default=None, repr=False)
    """The client that sends it, if that is known (`meta_tools.Caller`)."""


class KnownMeta:
    """The `_meta` of the last request of 2026-07-28 with one head, which most clients send again and again.

    Only one of texts and objects is kept: then an equal one is the same JSON, while `1` and `true` are equal in Python.
    """

    __slots__ = ("envelope", "stated", "version")

    def __init__(self) -> None:
        self.stated: Any = None
        self.version: str | None = None
        self.envelope: tuple[Any, Any] | None = None

    def learn(self, request: HotRequest, envelope: tuple[Any, Any]) -> None:
        """Keep the `_meta` of a request and what its client says of itself in it."""
        if request.meta != self.stated and _has_only_texts(request.meta):
            self.stated, self.version, self.envelope = request.meta, request.version, envelope


def _has_only_texts(value: Any) -> bool:
    if is_object(value):
        return all(_has_only_texts(one) for one in value.values())
    return isinstance(value, str)


def read_hot(data: bytes, known: KnownMeta | None = None) -> HotRequest | None:
    """Return the request that these bytes are; None if the SDK has to read them."""
    if len(data) > MAX_HOT_BYTES:
        return None
    try:
        message = from_json(data, cache_strings="keys")  # values differ: to keep them costs memory
    except ValueError:
        return None
    return hot_request(message, known)


def hot_request(  # noqa: PLR0911 - every request passes here, and calls of functions are most of what it costs
    message: Any, known: KnownMeta | None = None
) -> HotRequest | None:
    """Return a message as a request, if its shape is plain."""
    if message.__class__ is not dict or message.get("jsonrpc") != "2.0":  # not `is_object`: it is a call more
        return None
    ident: Any = message.get("id")
    method, params = message.get("method"), message.get("params")
    if not isinstance(method, str) or len(message) != (3 if params is None else 4):
        return None
    if not (len(ident) <= _MAX_ID if isinstance(ident, str) else is_plain_id(ident)):
        return None
    if params is None:
        return HotRequest(ident, method, None) if method in _WITHOUT_PARAMS else None
    if params.__class__ is not dict:
        return None
    meta: Any = params.get("_meta", _ABSENT)
    if not (_is_plain_call(params, meta) if method == "tools/call" else _has_plain_params(method, params)):
        return None
    request = _blank(HotRequest)  # `__init__` takes as long as all of this
    request.ident, request.method, request.params = ident, method, params
    request.meta = request.token = request.version = request.envelope = request.caller = None
    if meta is _ABSENT:
        return request
    if known is not None and known.stated is not None and meta == known.stated and method in _MODERN_METHODS:
        request.meta, request.version, request.envelope = meta, known.version, known.envelope
        return request
    return request if _takes_meta(request, meta) else None


def _is_plain_call(params: JsonObject, meta: Any) -> bool:
    arguments: Any = params.get("arguments", _NOTHING)
    others = len(params) - (arguments is not _NOTHING) - (meta is not _ABSENT)  # a set of members takes longer
    return others == 1 and isinstance(params.get("name"), str) and isinstance(arguments, dict)


def _has_plain_params(method: str, params: JsonObject) -> bool:
    members = _MEMBERS.get(method)
    return members is not None and params.keys() <= members and isinstance(params.get("cursor", ""), str)


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
