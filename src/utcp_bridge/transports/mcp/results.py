"""Results of tools of MCP servers, also those that are not read yet.

A large reply of a child process is one line, and so is one in an event stream; over HTTP it may be the whole body.
Where a worker reads large replies, this process looks at the two ends of the text, and the worker does the rest.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, Final

import orjson

from utcp_bridge.errors import MalformedReply, ReplyTooLarge
from utcp_bridge.foreign import has_more_values, is_deeper, is_heavy, json_line, most_values
from utcp_bridge.model import ContentBlocks, Deferred, JsonObject, is_list, is_object
from utcp_bridge.net.collecting import LARGE

__all__ = ["UNREADABLE", "Unread", "UnreadReplies", "content_of", "read_result", "unread_reply"]

UNREADABLE: Final = "The server sent a response that cannot be read."

_MAX_DEPTH: Final = 200
_LESS: Final = "Ask for less, or raise `max_reply_bytes`."
_MAX_HEAD: Final = 300
_ID: Final = rb'(-?\d{1,18}|"[^"\\]{0,100}")'
_VERSION: Final = rb'"jsonrpc"\s?:\s?"2\.0"'
_HEAD: Final = re.compile(rb'\{(?:%s,\s?"id"\s?:\s?%s,\s?)?"result"\s?:\s?\{' % (_VERSION, _ID))
_TAIL: Final = re.compile(rb'\}(?:,\s?%s,\s?"id"\s?:\s?%s)?\}\s*\Z' % (_VERSION, _ID))
_KIND: Final = re.compile(rb'"resultType"(?!\s?:\s?"complete")')


class Unread(dict[str, Any]):
    """The result of a reply whose line nothing has parsed yet. It has no members.

    `parse` returns the message of the line, or None.
    """

    def __init__(self, line: bytes, parse: Callable[[bytes], Any]) -> None:
        super().__init__()
        self._line = line
        self._parse = parse
        self.size: Final = len(line)

    def message(self) -> Any:
        """Return the message as it is for all requests but calls of tools; None if it cannot be read."""
        return self._parse(self._line)

    def is_plain(self) -> bool:
        """Return whether the result can be nothing but contents without addresses, which only this process rewrites."""
        return b'"uri"' not in self._line and _KIND.search(self._line) is None

    def read(self, where: str, max_bytes: int) -> JsonObject:
        """Return the result. `where` names the server in messages.

        :raises MalformedReply: it cannot be read.
        :raises ReplyTooLarge: it has more than `max_bytes` bytes, or too many values.
        """
        return _result_of(self._line, where, max_bytes)

    def deferred(self, where: str, max_bytes: int) -> Deferred:
        """Return the contents, to be read later."""
        line, self._line = self._line, b""
        return Deferred(line, ((read_result, {"where": where, "max_bytes": max_bytes}),))


_KEY: Final = "utcp-bridge/unread"
_KEY_BITS: Final = 62
_KEPT_SECONDS: Final = 60.0
"""The SDK passes a small reply on at once. One whose request has been cancelled may never come."""


class UnreadReplies:
    """Large replies below the SDK: it gets a small reply with a key in the place of each, and parses that.

    `max_bytes` is the most that a reply may have. `parse` returns the message of a text, or None.
    """

    def __init__(self, max_bytes: int, parse: Callable[[bytes], Any]) -> None:
        self.max_bytes: Final = max_bytes
        self._parse = parse
        self._kept: dict[int, tuple[Unread, float]] = {}

    def keep(self, text: bytes, now: float) -> bytes | None:
        """Return the small reply for a large one; None for any other message. `now` is in seconds."""
        if not LARGE < len(text) <= self.max_bytes:
            return None
        for key in [key for key, (_, since) in self._kept.items() if now - since > _KEPT_SECONDS]:
            del self._kept[key]
        response = unread_reply(text, self._parse)
        if response is None:
            return None
        key = secrets.randbits(_KEY_BITS)  # a server cannot say it
        self._kept[key] = response.result, now
        return orjson.dumps({"jsonrpc": "2.0", "id": response.id, "result": {_KEY: key}})

    def take(self, result: JsonObject) -> Unread | None:
        """Return the large reply for the result of a small one; None if it is a result like any other.

        A result that only looks like that of a small reply cannot be read.
        """
        if result.keys() != {_KEY}:
            return None
        key = result[_KEY]
        reply, _ = self._kept.pop(key, (_NOTHING, 0.0)) if isinstance(key, int) else (_NOTHING, 0.0)
        return reply


_NOTHING: Final = Unread(b"", lambda _line: None)


def unread_reply(line: bytes, parse: Callable[[bytes], Any]) -> Any:
    """Return the response of a large line as it is, if its two ends show the `id` and a result; else None."""
    import mcp_types as types

    head = _HEAD.match(line[:_MAX_HEAD]) if is_heavy(line) else None
    tail = _TAIL.search(line[-_MAX_HEAD:]) if head is not None else None
    if head is None or tail is None or (head[1] is None) == (tail[1] is None):
        return None
    identifier = orjson.loads(head[1] or tail[1])
    return types.JSONRPCResponse.model_construct(jsonrpc="2.0", id=identifier, result=Unread(line, parse))


def read_result(data: bytes, *, where: str, max_bytes: int) -> ContentBlocks:
    """Return the contents in the line of a reply, as a part of `Unread.deferred`."""
    return content_of(_result_of(data, where, max_bytes))


def _result_of(line: bytes, where: str, max_bytes: int) -> JsonObject:
    if has_more_values(line, most := most_values(max_bytes)):
        raise ReplyTooLarge(f"{where} returned more than {most:,} values.", remedy=_LESS)
    try:
        message: Any = orjson.loads(json_line(line))
    except orjson.JSONDecodeError as error:
        raise MalformedReply(f"{where} sent a response that cannot be read: {error.msg}.") from None
    result = message.get("result") if is_object(message) and message.get("error") is None else None
    if not is_object(result) or is_deeper(result, _MAX_DEPTH):
        raise MalformedReply(f"{where} sent a response that cannot be read.")
    if len(orjson.dumps(result)) > max_bytes:
        raise ReplyTooLarge(f"{where} returned more than {max_bytes} bytes.", remedy=_LESS)
    return result


def content_of(result: JsonObject) -> ContentBlocks:
    """Return a result of another server as it is, block by block. A null is the same as nothing."""
    content = result.get("content")
    blocks: list[Any] = content if is_list(content) else [] if content is None else [content]
    kept = [_without_nulls(block) for block in blocks if block is not None]
    meta = result.get("_meta")
    return ContentBlocks(
        kept, result.get("structuredContent"), _is_true(result.get("isError")), meta if is_object(meta) else None
    )


def _is_true(value: Any) -> bool:
    """Return whether a server means true: some write `"true"` or 1. An error must not pass for a result."""
    return value == 1 or (isinstance(value, str) and value.strip().lower() == "true")


def _without_nulls(block: Any) -> Any:
    return {key: value for key, value in block.items() if value is not None} if is_object(block) else block
