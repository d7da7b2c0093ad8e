"""Hot requests over stdio: lines are read, answered and written here; every other line goes to the SDK's stream.

The SDK says of each message when it begins to serve it, and with that which connection the client has and which era
of the protocol. So the handshake, and whatever comes before it, is the SDK's. A hot request starts after the messages
that came before it have started, and not during another `initialize`. An id is cancelled where it was taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import mcp_types as types
import orjson
from mcp.server.connection import Connection, NotifyOnlyOutbound
from mcp.server.context import ServerRequestContext
from mcp.server.runner import modern_error_data
from mcp.shared.dispatcher import CallOptions, as_request_id, coerce_request_id
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp.shared.transport_context import TransportContext
from pydantic_core import from_json

from utcp_bridge.foreign import escape_line_ends
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.server.hot.calls import MAX_HOT_BYTES, HotCalls, HotConnection, HotRequest, read_hot
from utcp_bridge.tasks import scope_until

if TYPE_CHECKING:
    from utcp_bridge.server.app import BridgeServer

__all__ = ["HotLines"]

_logger = logging.getLogger(__name__)
_TURNS: Final = 8
"""Turns of the event loop after which the SDK has started a message that it took: two streams and a task, and more."""
_WITHOUT_PAUSE: Final = 32
"""Lines that are read in one turn of the event loop, if the client sends so many at once."""
_END_SECONDS: Final = 1.0
_TRANSPORT: Final = TransportContext(kind="jsonrpc", can_send_request=True)
_MODERN_TRANSPORT: Final = TransportContext(kind="jsonrpc", can_send_request=False)


class LineWriter(Protocol):
    """Writes what is not a hot response: notifications and errors."""

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message."""
        ...

    async def refuse(self, error: types.JSONRPCError) -> None:
        """Write an error."""
        ...


@dataclass(slots=True, eq=False)
class _HotCall:
    """A request in flight, and its way back to the client, as the SDK's handlers see it."""

    request: HotRequest
    connection: Connection
    writer: LineWriter
    scope: anyio.CancelScope = field(default_factory=scope_until)
    is_cancelled: bool = False
    """Whether the client has cancelled it, and so expects no response."""
    is_closed: bool = False
    message_metadata: None = None
    _cancel_requested: anyio.Event | None = None

    @property
    def request_id(self) -> types.RequestId:
        return self.request.ident

    @property
    def transport(self) -> TransportContext:
        return _TRANSPORT if self.request.version is None else _MODERN_TRANSPORT

    @property
    def can_send_request(self) -> bool:
        return self.request.version is None and not self.is_closed

    @property
    def cancel_requested(self) -> anyio.Event:
        """Part of the SDK's interface. The scope cancels the call."""
        if self._cancel_requested is None:
            self._cancel_requested = anyio.Event()
        return self._cancel_requested

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        if not self.can_send_request:
            raise NoBackChannelError(method)
        return await self.connection.outbound.send_raw_request(method, params, opts)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        del opts
        if self.is_closed:
            return
        fields: JsonObject = {} if params is None else {"params": dict(params)}
        message = types.JSONRPCNotification(jsonrpc="2.0", method=method, **fields)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self.writer.send(SessionMessage(message))

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        if self.request.token is not None:
            fields = {"progressToken": self.request.token, "progress": progress, "total": total, "message": message}
            await self.notify("notifications/progress", {key: one for key, one in fields.items() if one is not None})


class HotLines:
    """Takes hot requests of one client on stdio. `started` and `answered` are told of each, `send_line` writes."""

    def __init__(
        self,
        server: BridgeServer,
        send_line: Callable[[bytes], Awaitable[None]],
        writer: LineWriter,
        counts: tuple[Callable[[], None], Callable[[], None]],
    ) -> None:
        self._server = server
        self._calls: HotCalls = server.hot
        self._send_line = send_line
        self._writer = writer
        self._started, self._answered = counts
        self._session: Connection | None = None
        """That of the handshake; None before it, and if the client has none (2026-07-28)."""
        self._outbound: NotifyOnlyOutbound | None = None
        """Where notifications go to a client of 2026-07-28."""
        self._taken: dict[types.RequestId, _HotCall] = {}
        self._others: set[types.RequestId] = set()
        """Ids of the requests that the SDK serves."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshake: types.RequestId | None = None
        self._follows = False
        self._run = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Take requests until the end of the context. Those in flight are then cancelled."""
        self._server.hear = self._hear
        try:
            yield
        finally:
            self._server.hear = None
            await self.end()

    def cancel(self) -> None:
        """Cancel every request in flight. Each gets an error, because its client may still wait."""
        self._session = self._outbound = None
        for call in tuple(self._taken.values()):
            call.scope.cancel()

    async def end(self) -> None:
        """Cancel every request in flight, and wait for their errors."""
        self.cancel()
        with anyio.move_on_after(_END_SECONDS, shield=True):
            while self._tasks:
                await asyncio.wait(tuple(self._tasks))

    def _hear(self, ctx: ServerRequestContext[None, Any]) -> None:
        connection = ctx.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime
        if isinstance(connection.outbound, NotifyOnlyOutbound):
            self._outbound = connection.outbound
        elif ctx.method == "initialize" and isinstance(connection.outbound, JSONRPCDispatcher):
            self._session = connection

    async def takes(self, line: bytes) -> bool:
        """Begin to answer a line, or cancel the request that it names. Return whether it was taken."""
        if (self._session is None and self._outbound is None) or self._handshake is not None:
            return False
        request = read_hot(line) if self._calls.may_answer else None
        if request is None:
            return bool(self._taken) and self._cancels(line)
        if self._follows or self._run >= _WITHOUT_PAUSE:
            await self._pause()
        call = self._call(request)
        if call is None:
            return False
        self._run += 1
        self._taken[coerce_request_id(request.ident)] = call
        self._started()
        task = asyncio.get_running_loop().create_task(self._serve(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _pause(self) -> None:
        for _ in range(_TURNS if self._follows else 1):
            await asyncio.sleep(0)
        self._follows, self._run = False, 0

    def passed(self, message: types.JSONRPCMessage) -> None:
        """Note that the SDK takes this message."""
        self._follows = True
        if isinstance(message, types.JSONRPCRequest):
            key = coerce_request_id(message.id)
            self._others.add(key)
            self._taken.pop(key, None)  # as in the SDK: of two requests with one id, the later one can be cancelled
            if message.method == "initialize":
                self._handshake = key
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            ident = as_request_id((message.params or {}).get("requestId"))
            if ident is not None:
                self._others.discard(coerce_request_id(ident))

    def settled(self, ident: types.RequestId | None) -> None:
        """Note that the SDK has answered a request."""
        if ident is None:
            return
        key = coerce_request_id(ident)
        self._others.discard(key)
        if key == self._handshake:
            self._handshake = None

    def _call(self, request: HotRequest) -> _HotCall | None:
        if coerce_request_id(request.ident) in self._others:
            return None
        if request.version is None:
            session = self._session
            if session is None or session.client_params is None:
                return None
            return _HotCall(request, session, self._writer)
        envelope = None if self._outbound is None else self._calls.envelope_of(request)
        if envelope is None:
            return None
        return _HotCall(request, HotConnection(self._outbound, request.version, envelope), self._writer)

    def _cancels(self, line: bytes) -> bool:
        """Cancel the request that a `notifications/cancelled` names, if it was taken."""
        if b"notifications/cancelled" not in line or len(line) > MAX_HOT_BYTES:
            return False
        try:
            message = from_json(line)
        except ValueError:
            return False
        if not is_object(message) or message.get("method") != "notifications/cancelled" or "id" in message:
            return False
        params = message.get("params")
        ident = as_request_id(params.get("requestId")) if is_object(params) else None
        if ident is None or message.get("jsonrpc") != "2.0":
            return False
        call = self._taken.get(coerce_request_id(ident))
        if call is None:
            return False
        call.is_cancelled = True
        call.scope.cancel()
        return True

    async def _serve(self, call: _HotCall) -> None:
        try:
            error = await self._answer(call)
        except Exception as raised:  # noqa: BLE001 - the SDK says which text of it clients may read
            error = None if call.is_cancelled else modern_error_data(raised)
        finally:
            self._answered()
        if error is not None:
            await self._writer.refuse(types.JSONRPCError(jsonrpc="2.0", id=call.request.ident, error=error))

    async def _answer(self, call: _HotCall) -> types.ErrorData | None:
        """Answer a request. Return the error that it gets if the connection ends first."""
        begun = False
        with call.scope:
            try:
                result = await self._calls.respond(call.request, call, call.connection)
            finally:
                call.is_closed = True
                key = coerce_request_id(call.request.ident)
                if self._taken.get(key) is call:
                    del self._taken[key]
                if isinstance(call.connection, HotConnection):
                    await call.connection.aclose()
            begun = True
            await self._write(call.request.ident, result)
        if begun or call.is_cancelled:
            return None
        return types.ErrorData(code=types.CONNECTION_CLOSED, message="Connection closed")

    async def _write(self, ident: types.RequestId, result: JsonObject) -> None:
        try:
            line = escape_line_ends(orjson.dumps({"jsonrpc": "2.0", "id": ident, "result": result}))
        except TypeError:  # an integer above 64 bits, or half of a surrogate pair
            self._started()
            await self._writer.send(SessionMessage(types.JSONRPCResponse(jsonrpc="2.0", id=ident, result=result)))
            return
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._send_line(line + b"\n")
