"""Between the wire and the SDK's session: foreign messages are read as they are.

The SDK refuses a message whose envelope differs in one field, and its caller waits until the deadline. Here such a
message is mended, and a result above the limit becomes an error of its request. Results keep their form: nothing checks
them against a model. Half of a surrogate pair, and bytes that are not UTF-8, become U+FFFD.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import Context, ContextVar
from typing import Any, Final, get_args
from urllib.parse import urljoin

import anyio
import httpx2
import mcp_types as types
import orjson
from anyio.abc import ObjectReceiveStream, TaskStatus
from mcp.shared._httpx_utils import sse_within_origin
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from utcp_bridge.errors import PolicyError
from utcp_bridge.foreign import is_deeper, is_number, json_line, most_values
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.tasks import heavy_turn
from utcp_bridge.transports.mcp.results import UNREADABLE, Unread, UnreadReplies
from utcp_bridge.urls import origin_of

__all__ = [
    "VALUE_LIMIT",
    "Sized",
    "WrappedStream",
    "is_too_large",
    "legacy_sse",
    "lenient",
    "mended_message",
    "mended_reply",
    "quiet_sdk",
    "repaired_message",
    "too_large",
    "too_many_values",
    "usable_notification",
]

_TOO_LARGE: Final = -32099
"""Code of the error that stands for a reply above the limit: the SDK passes JSON-RPC errors on."""
_OURS: Final = object()
"""Data of that error. Errors of servers are read from JSON, so none can have it."""
_BOUNDED: Final = frozenset({"tools/call", "resources/read", "prompts/get"})
"""Requests whose results have the limit of a reply. Lists have more room: that of a message."""
_MAX_SDK_WORDS: Final = 500
"""Characters in which the SDK says that a limit was exceeded."""
_EVENT_LIMIT: Final = re.compile(r"exceeded the \d+ byte limit")
VALUE_LIMIT: Final = "exceeded the value limit"
_MAX_DEPTH: Final = 200
"""Levels of a message: the SDK's parser refuses deeper ones."""
_LEVELS: Final = frozenset(get_args(types.LoggingLevel))
_SDK_LOGGERS: Final = (
    "client", "mcp.client.session", "mcp.client.sse", "mcp.client.streamable_http", "mcp.shared.dispatcher",
    "mcp.shared.jsonrpc_dispatcher",
)  # fmt: skip
"""Where the SDK logs what a server sends, with tracebacks and values."""
_IS_OURS: Final[ContextVar[bool]] = ContextVar("utcp_bridge_mcp_connection", default=False)
"""Whether the SDK works for a connection of the bridge, and not for one of the program's own."""


def _is_wanted(record: logging.LogRecord) -> bool:
    """Return whether to keep a line of the SDK. What it says of our connections is in our errors, in one sentence."""
    return not _IS_OURS.get() or logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


for _name in _SDK_LOGGERS:
    logging.getLogger(_name).addFilter(_is_wanted)


@contextmanager
def quiet_sdk() -> Generator[None]:
    """Have the SDK log what it does in the block, and in tasks that begin there, at the level debug only."""
    token = _IS_OURS.set(True)
    try:
        yield
    finally:
        _IS_OURS.reset(token)


class Sized(dict[str, Any]):
    """The result of a request, with its size in bytes of JSON."""

    size: int = 0


@asynccontextmanager
async def lenient(
    transport: AbstractAsyncContextManager[Any],
    max_bytes: int,
    ended: Callable[[], None],
    unread: UnreadReplies | None,
) -> AsyncGenerator[tuple[Any, Any]]:
    """Yield the streams of an SDK transport, with messages mended. A larger result becomes the error of `too_large`.

    `ended` is called when the other side has ended the connection. `unread` has the large replies that a transport
    below the SDK did not show to it.
    """
    async with transport as (read, write):
        requests: dict[Any, str] = {}
        yield _LenientReader(read, requests, max_bytes, ended, unread), _LenientWriter(write, requests)


class WrappedStream(ObjectReceiveStream[SessionMessage | Exception]):
    """One of the two message streams of a connection, around another one."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def last_context(self) -> Context | None:
        """The context of the last message's sender (the SDK asks for it)."""
        context: Context | None = getattr(self._inner, "last_context", None)
        return context

    def close(self) -> None:
        """Close the inner stream."""
        self._inner.close()

    async def aclose(self) -> None:
        """Close the inner stream."""
        await self._inner.aclose()

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message.

        :raises anyio.EndOfStream: the other side has ended the connection.
        """
        message: SessionMessage | Exception = await self._inner.receive()
        return message


class _LenientWriter(WrappedStream):
    """Remembers the method of each request."""

    def __init__(self, inner: Any, requests: dict[Any, str]) -> None:
        super().__init__(inner)
        self._requests = requests

    async def send(self, item: SessionMessage) -> None:
        message = item.message
        if isinstance(message, types.JSONRPCRequest):
            self._requests[message.id] = message.method
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            self._requests.pop((message.params or {}).get("requestId"), None)
        with quiet_sdk():  # the request has the context of its caller
            await self._inner.send(item)


class _LenientReader(WrappedStream):
    """Measures results, and reads lines that the SDK could not."""

    def __init__(
        self,
        inner: Any,
        requests: dict[Any, str],
        max_bytes: int,
        ended: Callable[[], None],
        unread: UnreadReplies | None,
    ) -> None:
        super().__init__(inner)
        self._unread = unread
        self._requests = requests
        self._max_bytes = max_bytes
        self._ended = ended

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message that can be used, mended."""
        while True:
            try:
                item = self._read(await self._parsed(await super().receive()))
            except anyio.EndOfStream:
                self._ended()
                raise
            message = item.message if isinstance(item, SessionMessage) else None
            if not isinstance(message, types.JSONRPCNotification):
                return item
            if (params := usable_notification(message.method, message.params or {})) is not None:
                message.params = params
                return item

    async def _parsed(self, item: SessionMessage | Exception) -> SessionMessage | Exception:
        """Return a message parsed, unless it is the result of a tool: the task of its call reads that."""
        message = item.message if isinstance(item, SessionMessage) else None
        if self._unread is not None and isinstance(message, types.JSONRPCResponse):
            reply = self._unread.take(message.result)
            message.result = message.result if reply is None else reply
        if (
            not isinstance(message, types.JSONRPCResponse)
            or not isinstance(message.result, Unread)
            or self._requests.get(message.id) == "tools/call"
        ):
            return item
        await heavy_turn(keep=False)
        error = types.ErrorData(code=types.PARSE_ERROR, message=UNREADABLE)
        return SessionMessage(message.result.message() or types.JSONRPCError(jsonrpc="2.0", id=message.id, error=error))

    def _limit_error(self, item: SessionMessage | Exception) -> types.ErrorData | None:
        """Return the error for the oldest request if a stream of all replies ended at a limit."""
        if isinstance(item, httpx2.StreamError | httpx2.SSEError) and VALUE_LIMIT in str(item):
            return too_many_values(self._max_bytes)
        return too_large(self._max_bytes) if isinstance(item, httpx2.SSEError) else None

    def _read(self, item: SessionMessage | Exception) -> SessionMessage | Exception:
        if isinstance(item, ValidationError):
            item = _read_again(item)
        elif self._requests and (error := self._limit_error(item)) is not None:
            item = SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=next(iter(self._requests)), error=error))
        message = item.message if isinstance(item, SessionMessage) else None
        if isinstance(message, types.JSONRPCError) and message.id is not None:
            self._requests.pop(message.id, None)
            if _EVENT_LIMIT.search(message.error.message[:_MAX_SDK_WORDS]):
                message.error = too_large(self._max_bytes)
            elif VALUE_LIMIT in message.error.message[:_MAX_SDK_WORDS]:
                message.error = too_many_values(self._max_bytes)
        elif isinstance(message, types.JSONRPCResponse):
            return self._measured(message, self._requests.pop(message.id, ""))
        return item

    def _measured(self, message: types.JSONRPCResponse, method: str) -> SessionMessage:
        if isinstance(message.result, Unread):
            return SessionMessage(message)
        result = Sized(message.result)
        if method in _BOUNDED:
            result.size = _size(message.result)
            if result.size > self._max_bytes:
                error = types.JSONRPCError(jsonrpc="2.0", id=message.id, error=too_large(self._max_bytes))
                return SessionMessage(error)
        message.result = result
        return SessionMessage(message)


def usable_notification(method: str, params: JsonObject) -> JsonObject | None:
    """Return the parameters of a server's notification in the form of the protocol; None if it cannot be used."""
    if not is_object(params.get("_meta", {})):
        params = {key: value for key, value in params.items() if key != "_meta"}
    read = _NOTICES.get(method)
    return params if read is None else read(params)


def _progress(params: JsonObject) -> JsonObject | None:
    if not _is_id(params.get("progressToken")) or not is_number(params.get("progress")):
        return None
    checks: Mapping[str, Callable[[Any], bool]] = {"total": is_number, "message": _is_text}
    return {key: value for key, value in params.items() if key not in checks or checks[key](value)}


def _log_line(params: JsonObject) -> JsonObject | None:
    if "data" not in params:
        return None
    kept = {key: value for key, value in params.items() if key != "logger" or _is_text(value)}
    level = params.get("level")
    return {**kept, "level": level if _is_text(level) and level in _LEVELS else "info"}


_NOTICES: Final[Mapping[str, Callable[[JsonObject], JsonObject | None]]] = {
    "notifications/progress": _progress,
    "notifications/message": _log_line,
    "notifications/cancelled": lambda params: params if _is_id(params.get("requestId")) else None,
    "notifications/resources/updated": lambda params: params if _is_text(params.get("uri")) else None,
    "notifications/elicitation/complete": lambda params: params if _is_text(params.get("elicitationId")) else None,
}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def too_large(max_bytes: int) -> types.ErrorData:
    """Return the error that stands for a reply above the limit."""
    return types.ErrorData(code=_TOO_LARGE, message=f"more than {max_bytes} bytes", data=_OURS)


def too_many_values(max_bytes: int) -> types.ErrorData:
    """Return the error that stands for a reply of too many values, where one may have `max_bytes` bytes."""
    return types.ErrorData(code=_TOO_LARGE, message=f"more than {most_values(max_bytes):,} values", data=_OURS)


def is_too_large(error: Any) -> bool:
    """Return whether an `MCPError` stands for a reply above the limit."""
    return error.data is _OURS


def _read_again(error: ValidationError) -> SessionMessage | Exception:
    """Return the message of a line that the SDK refused, if it is JSON-RPC apart from its texts and its result."""
    message = repaired_message(error.errors(include_url=False)[0]["input"])
    return error if message is None else SessionMessage(message)


def repaired_message(line: Any) -> Any:
    """Return the message of a line that is JSON-RPC apart from its texts, its envelope and its result; else None."""
    try:
        raw = orjson.loads(json_line(line))
        if is_object(raw) and raw.get("id") is not None:
            raw = _reply(raw)
        if is_deeper(raw, _MAX_DEPTH):
            return None
        return types.jsonrpc_message_adapter.validate_python(raw, by_name=False)
    except (ValueError, TypeError, AttributeError):
        return None


def mended_reply(data: bytes, identifier: Any = None) -> bytes:
    """Return a reply in JSON with the envelope of JSON-RPC; the same bytes if it has that, or is not a reply.

    `identifier` is that of the request, if the reply can be to no other.
    """
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    if not is_object(raw) or "method" in raw or raw.keys().isdisjoint({"result", "error"}):
        return data
    has_id = raw.get("id") is not None
    if identifier is not None and (not has_id or str(raw["id"]) != str(identifier)):
        raw["id"] = identifier
    elif not has_id or _is_well_formed(raw):
        return data
    return _written(_reply(raw), data)


def mended_message(data: bytes) -> bytes:
    """Return a message of an event stream in JSON as the SDK reads it: a reply as `mended_reply`, a notification with
    the envelope of JSON-RPC. Nothing is returned for a notification without that.
    """
    raw = _loaded(data)
    if not is_object(raw) or "method" not in raw or raw.get("id") is not None:
        return mended_reply(data)
    params = raw.get("params")
    if not isinstance(raw["method"], str):
        return b""
    if raw.get("jsonrpc") == "2.0" and "id" not in raw and ("params" not in raw or is_object(params)):
        return data
    return _written({"jsonrpc": "2.0", "method": raw["method"], "params": params if is_object(params) else {}}, b"")


def _loaded(data: bytes) -> Any:
    """Return JSON as a value, also with integers that no float can hold; None if it is not JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _written(message: JsonObject, otherwise: bytes) -> bytes:
    try:
        return orjson.dumps(message)
    except TypeError:  # it is nested too deep
        return otherwise


def _is_well_formed(raw: JsonObject) -> bool:
    error = raw.get("error")
    if "error" in raw:
        code = error.get("code") if is_object(error) else None
        is_code = isinstance(code, int) and not isinstance(code, bool)
        is_error = is_object(error) and is_code and isinstance(error.get("message"), str)
        return is_error and "result" not in raw and raw.get("jsonrpc") == "2.0"
    return is_object(raw.get("result")) and raw.get("jsonrpc") == "2.0"


def _reply(raw: JsonObject) -> JsonObject:
    """Return a message that has an `id`, with its envelope in the form of JSON-RPC: somebody may wait for it."""
    envelope: JsonObject = {"jsonrpc": "2.0", "id": raw["id"]}
    if "method" in raw:
        return {**raw, **envelope}
    if raw.keys().isdisjoint({"result", "error"}):
        return raw
    error = raw.get("error")
    if error is not None:
        code = error.get("code") if is_object(error) else None
        message = error.get("message") if is_object(error) else error
        known = isinstance(code, int) and not isinstance(code, bool)
        return {**envelope, "error": {"code": code if known else types.INTERNAL_ERROR, "message": str(message)}}
    result = raw.get("result")
    return {**envelope, "result": result if is_object(result) else {"content": result}}


def _size(result: Any) -> int:
    try:
        return len(orjson.dumps(result))
    except TypeError:
        return len(json.dumps(result, default=str).encode())


@asynccontextmanager
async def legacy_sse(url: str, client: Any, max_bytes: int) -> AsyncGenerator[tuple[Any, Any]]:
    """Yield the streams of a server of the HTTP+SSE transport (2024-11-05), for an `httpx2.AsyncClient`.

    The SDK's own function refuses events above 1 MiB.
    """
    incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    async with (
        client,
        incoming,
        read,
        write,
        outgoing,
        sse_within_origin(client, url, max_event_size=max_bytes) as events,
        anyio.create_task_group() as group,
    ):
        events.response.raise_for_status()
        endpoint = await group.start(_receive_events, events, incoming, url)
        group.start_soon(_post_messages, client, endpoint, outgoing, incoming)
        yield read, write
        group.cancel_scope.cancel()


async def _receive_events(
    events: httpx2.EventSource, incoming: Any, url: str, *, task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Pass messages on. The first event names the address for requests, which must be at the same origin."""
    async with incoming:
        try:
            async for event in events:
                if event.event == "endpoint":
                    endpoint = urljoin(url, event.data)
                    if origin_of(endpoint) != origin_of(url):
                        raise PolicyError("The server names an address at another origin for requests.")
                    task_status.started(endpoint)
                elif event.event == "message" and event.data:
                    await incoming.send(_parsed(event.data))
        except (httpx2.SSEError, httpx2.StreamError) as error:
            await incoming.send(error)


def _parsed(data: str) -> SessionMessage | Exception:
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(data, by_name=False))
    except ValidationError as error:
        return error


async def _post_messages(client: Any, endpoint: str, outgoing: Any, incoming: Any) -> None:
    """Send messages. The reply of a request arrives as an event, but an error may be in the response itself."""
    async for item in outgoing:
        body = item.message.model_dump(by_alias=True, mode="json", exclude_unset=True)
        response = await client.post(endpoint, json=body)
        said = _parsed(response.text) if "json" in response.headers.get("content-type", "") else None
        if isinstance(said, SessionMessage) and isinstance(said.message, types.JSONRPCError) and "id" in body:
            said.message.id = body["id"]
            await incoming.send(said)
        else:
            response.raise_for_status()
