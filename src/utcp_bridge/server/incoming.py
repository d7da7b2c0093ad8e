"""What a client of the server sends: read if that is possible, and otherwise refused with a JSON-RPC error.

A request that nobody can read is never dropped, because its sender waits. Bytes that are not UTF-8 and halves of
surrogate pairs become U+FFFD, and a byte order mark is skipped. The log never has the content of a request.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

import mcp_types as types
import orjson

from utcp_bridge.foreign import has_more_values, json_line, most_values, outer_id
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["TOO_MANY_VALUES", "UnreadableMessage", "has_too_many_values", "mended_body", "read_message", "refuse_long"]

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

_logger = logging.getLogger(__name__)
_MAX_HELD_BYTES: Final = 4 * 1024 * 1024
"""A longer body is passed on as it comes: the server refuses it."""
_TOO_LONG: Final = "it is longer than a message may be"
_MOST: Final = most_values(_MAX_HELD_BYTES)
TOO_MANY_VALUES: Final = f"it has more than {_MOST:,} values"


class UnreadableMessage(ValueError):
    """A message that cannot be read, with the errors to send for it: one for each request in it, or one without id."""

    def __init__(self, code: int, why: str, identifiers: Sequence[str | int | None] = ()) -> None:
        super().__init__(why)
        title = "Parse error" if code == types.PARSE_ERROR else "Invalid Request"
        error = types.ErrorData(code=code, message=f"{title}: {why}.")
        self.errors = [types.JSONRPCError(jsonrpc="2.0", id=one, error=error) for one in identifiers or (None,)]


class IgnoredResponse(UnreadableMessage):
    """A response that cannot be read. No client waits for an error, so the bridge sends none."""

    def __init__(self, why: str) -> None:
        super().__init__(types.INVALID_REQUEST, why)
        self.errors = []


def read_message(line: bytes) -> types.JSONRPCMessage:
    """Return a JSON-RPC message.

    :raises UnreadableMessage: it cannot be read. It is in the log.
    """
    if has_too_many_values(line):
        _logger.warning("A message of %d bytes from the client was refused: %s.", len(line), TOO_MANY_VALUES)
        raise UnreadableMessage(types.INVALID_REQUEST, TOO_MANY_VALUES, [outer_id(line)])
    message = _validated(line)
    mended = line
    if message is None and (mended := json_line(line)) != line:
        message = _validated(mended)
    if message is not None and not _lost_its_id(message, mended):
        return message
    refusal = _refusal(mended)
    _logger.warning("A message of %d bytes from the client was refused: %s.", len(line), refusal)
    raise refusal


def has_too_many_values(message: bytes) -> bool:
    """Return whether a message has too many values: parsing it would take far more memory than its bytes."""
    return has_more_values(message, _MOST)


def _validated(line: bytes) -> types.JSONRPCMessage | None:
    try:
        return types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return None


def _lost_its_id(message: types.JSONRPCMessage, line: bytes) -> bool:
    """Return whether a request with an `id` of a wrong type was taken for a notification."""
    if not isinstance(message, types.JSONRPCNotification) or b'"id"' not in line:
        return False
    try:
        return "id" in orjson.loads(line)
    except orjson.JSONDecodeError:  # NaN, which the SDK reads
        return False


def refuse_long(size: int, excerpt: bytes = b"") -> UnreadableMessage:
    """Return the refusal of a message that is longer than `size` bytes, and log it. `excerpt` is its head and tail."""
    _logger.warning("A message of more than %d bytes from the client was refused: %s.", size, _TOO_LONG)
    found = outer_id(excerpt)
    return UnreadableMessage(types.PARSE_ERROR, _TOO_LONG, () if found is None else (found,))


def _refusal(line: bytes) -> UnreadableMessage:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if "recursion" not in error.msg.lower() and "depth" not in error.msg:
            found = outer_id(line) if b'"method"' in line else None
            return UnreadableMessage(
                types.PARSE_ERROR, f"it is not JSON ({error.msg})", [] if found is None else [found]
            )
        return UnreadableMessage(
            types.INVALID_REQUEST, "it is nested too deeply", [] if (found := outer_id(line)) is None else [found]
        )
    if is_list(value):
        identifiers = [one for item in value for one in _identifier(item)]
        return UnreadableMessage(
            types.INVALID_REQUEST, "batches are not supported; send each request by itself", identifiers
        )
    if not is_object(value):
        return UnreadableMessage(types.INVALID_REQUEST, "it must be a JSON object")
    why = _why_not(value)
    if "method" not in value and ("result" in value or "error" in value):
        return IgnoredResponse(why)
    return UnreadableMessage(types.INVALID_REQUEST, why, list(_identifier(value)))


def _why_not(message: JsonObject) -> str:
    """Return why an object is not a message of JSON-RPC 2.0."""
    if message.get("jsonrpc") != "2.0":
        return 'it has no "jsonrpc": "2.0"'
    if "method" in message and not isinstance(message["method"], str):
        return "`method` must be text"
    if "id" in message and not list(_identifier(message)):
        return "`id` must be text or a whole number"
    if not is_object(message.get("params", {})):
        return "`params` must be an object"
    return "it is nested too deeply" if "method" in message else "it has no `method`"


def _identifier(value: Any) -> Iterator[str | int]:
    if is_object(value) and isinstance(one := value.get("id"), str | int) and not isinstance(one, bool):
        yield one


def mended_body(receive: Receive) -> Receive:
    """Return a `receive` of ASGI whose body is JSON that a strict parser reads, if only its characters are wrong."""
    held = bytearray()

    async def receive_mended() -> MutableMapping[str, Any]:
        message = await receive()
        while message["type"] == "http.request":
            held.extend(message.get("body", b""))
            if not message.get("more_body", False):
                body = bytes(held)
                held.clear()
                return {"type": "http.request", "body": json_line(body), "more_body": False}
            if len(held) > _MAX_HELD_BYTES:
                body = bytes(held)
                held.clear()
                return {"type": "http.request", "body": body, "more_body": True}
            message = await receive()
        return message

    return receive_mended
