"""Errors that cross the border between a worker and the bridge, as JSON."""

from __future__ import annotations

from typing import Final

from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    InternalError,
    InvalidArguments,
    MalformedReply,
    ManualError,
    Rejected,
    ReplyTooLarge,
    UtcpError,
)
from utcp_bridge.model import JsonObject

__all__ = ["TOO_MUCH", "rebuilt_error", "stated_error"]

TOO_MUCH: Final = "The reply took more memory or processor time than it may take."

_KINDS: Final[dict[str, type[UtcpError]]] = {
    kind.code: kind
    for kind in (
        ConfigError,
        ConnectionLost,
        InternalError,
        InvalidArguments,
        MalformedReply,
        ManualError,
        Rejected,
        ReplyTooLarge,
    )
}
_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    ManualError.code: ("line", "column"),
    Rejected.code: ("status", "detail", "retry_after", "retryable"),
}


def stated_error(error: UtcpError, otherwise: type[UtcpError]) -> JsonObject:
    """Return an error as JSON. One of another kind than workers raise becomes an `otherwise`."""
    known = error if error.code in _KINDS else otherwise(str(error))
    own = {name: getattr(known, name) for name in _FIELDS.get(known.code, ())}
    return {"code": known.code, "message": known.message, "remedy": known.remedy, **own}


def rebuilt_error(stated: JsonObject) -> UtcpError:
    """Return the error that a worker raised."""
    members = {key: value for key, value in stated.items() if key != "code"}
    return _KINDS[stated["code"]](members.pop("message"), **members)
