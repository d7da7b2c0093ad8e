"""Serve MCP over stdin and stdout.

stdout carries JSON-RPC alone. Serving ends when stdin or stdout closes, or on SIGTERM or SIGINT. `wire/lines.py` reads
and writes the lines. `early/front.py` comes before this module, which is imported with the SDK.

The SDK takes the first request for the protocol era of the whole connection. A client may ask `server/discover` first,
and go back to `initialize` if the answer is late, so `ProbeReader` answers such a probe and the next request decides.
Most requests never reach the SDK: `HotLines` answers them (`hot/calls.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import mcp_types as types
import orjson
from anyio.abc import AsyncResource, ObjectReceiveStream
from mcp.server.connection import Connection, NotifyOnlyOutbound
from mcp.server.context import ServerRequestContext
from mcp.server.runner import modern_error_data, modern_on_request
from mcp.shared.dispatcher import CallOptions, as_request_id, coerce_request_id
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp.shared.transport_context import TransportContext
from pydantic_core import from_json

from utcp_bridge.catalogue.spliced import spliced
from utcp_bridge.foreign import escape_line_ends, json_line
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.callers import known_caller
from utcp_bridge.server.hot.calls import HotCalls, HotConnection, OneWay
from utcp_bridge.server.hot.requests import MAX_HOT_BYTES, HotRequest, KnownMeta, read_hot
from utcp_bridge.server.incoming import UnreadableMessage, read_message, refuse_long
from utcp_bridge.server.meta_tools import Caller
from utcp_bridge.server.wire.lines import MAX_LINE_BYTES, InFlight, Lines, LongLineError, SendLine, Wire, open_wire
from utcp_bridge.tasks import OwnTasks, Stoppable

__all__ = ["MessageReader", "MessageWriter", "ProbeReader", "serve_stdio", "serve_wire"]

_LAST_ANSWERS_SECONDS: Final = 0.5

_TURNS: Final = 8
"""Turns of the event loop after which the SDK has started a message that it took: two streams and a task, and more."""
_WITHOUT_PAUSE: Final = 32
"""Most lines that are read in one turn of the event loop."""
_END_SECONDS: Final = 1.0
_TRANSPORT: Final = TransportContext(kind="jsonrpc", can_send_request=True)
_MODERN_TRANSPORT: Final = TransportContext(kind="jsonrpc", can_send_request=False)


async def serve_stdio(server: BridgeServer) -> None:
    """Serve one client until it closes stdin or stdout, or a signal arrives. Calls in flight are then cancelled."""
    server.part.serve_anyone()
    async with open_wire() as wire:
        await serve_wire(server, wire)


async def serve_wire(
    server: BridgeServer,
    wire: Wire,
    withheld: dict[types.RequestId, Callable[[Any], object]] | None = None,
    on_connection: Callable[[Connection], object] = lambda _: None,
) -> None:
    """Serve the client of a wire until its input ends.

    A response whose id is in `withheld` is not sent: the function gets it instead. `on_connection` receives the
    session of a handshake.
    """
    writer = MessageWriter(wire.send_line, wire.in_flight, withheld)
    writer.front = hot = HotLines(server, wire.send_line, writer, wire.in_flight, on_connection)
    wire.cancel = hot.cancel
    messages = MessageReader(wire.lines, wire.in_flight, writer, at_end=wire.at_end)
    reader = ProbeReader(server, messages, writer)
    async with hot.open():
        await server.run(reader, writer, server.create_initialization_options())


class _Stream(AsyncResource):
    async def aclose(self) -> None:
        """Do nothing: the code that opened the descriptors closes them."""


class _Incoming(_Stream, ObjectReceiveStream[SessionMessage | Exception]):
    """A stream of messages from the client. Subclasses say how to receive one."""


class MessageReader(_Incoming):
    """Reads messages from lines. For a line that cannot be read, `writer` sends the error; without one it is returned.

    The `front` of the writer takes hot requests before anything else reads them.
    At the end of input, requests in flight have a moment to finish: a shell writes its requests and closes.
    """

    def __init__(
        self,
        lines: Lines,
        in_flight: InFlight,
        writer: MessageWriter | None = None,
        *,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._lines = lines
        self._in_flight = in_flight
        self._writer = writer
        self._at_end = at_end

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message.

        :raises anyio.EndOfStream: the input has ended.
        """
        front = None if self._writer is None else self._writer.front
        while True:
            try:
                line = await self._lines()
                if not line:
                    self._at_end()
                    await self._in_flight.settle(_LAST_ANSWERS_SECONDS)
                    if front is not None:
                        await front.end()
                    raise anyio.EndOfStream
                if line.isspace() or (front is not None and await front.takes(line)):
                    continue
                message = read_message(line)
            except (UnreadableMessage, LongLineError) as error:
                refusal = error if isinstance(error, UnreadableMessage) else refuse_long(MAX_LINE_BYTES, error.excerpt)
                if self._writer is None:
                    return refusal
                for one in refusal.errors:
                    await self._writer.refuse(one)
                continue
            if isinstance(message, types.JSONRPCRequest):
                self._in_flight.started()
            if front is not None:
                front.passed(message)
            return SessionMessage(message)


class MessageWriter(_Stream):
    """Writes messages as lines."""

    def __init__(
        self,
        send_line: SendLine,
        in_flight: InFlight,
        withheld: dict[types.RequestId, Callable[[Any], object]] | None = None,
    ) -> None:
        self._send_line = send_line
        self._in_flight = in_flight
        self._withheld = {} if withheld is None else withheld
        """What gets the response to a request instead of the client, by the ids of such requests."""
        self.front: HotLines | None = None
        """Takes hot requests. It receives the id of each request whose response the SDK has sent."""

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message. It is lost if the client has closed."""
        withhold = self._withheld.pop(getattr(item.message, "id", ""), None) if self._withheld else None
        if withhold is None:
            await self._write(item.message)
        if isinstance(item.message, types.JSONRPCResponse | types.JSONRPCError):
            self._in_flight.answered()
            if self.front is not None:
                self.front.settled(item.message.id)
        if withhold is not None:
            withhold(item.message)

    async def refuse(self, error: types.JSONRPCError) -> None:
        """Write the error for a message that was not read as a request. It is lost if the client has closed."""
        with suppress(anyio.BrokenResourceError):
            await self._write(error)

    async def _write(self, message: types.JSONRPCMessage) -> None:
        try:
            data = message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        except ValueError:  # a lone surrogate: JSON could escape it, but few parsers read it
            data = json_line(json.dumps(message.model_dump(by_alias=True, mode="python", exclude_unset=True)))
        await self._send_line(escape_line_ends(data) + b"\n")


@dataclass(slots=True)
class _Probe(OneWay):
    """The SDK's view of a request that is answered here: it has no way back to the client but its response."""

    request_id: types.RequestId
    transport: TransportContext = field(default_factory=lambda: TransportContext(kind="stdio", can_send_request=False))
    message_metadata: None = None
    can_send_request: bool = False
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)


class ProbeReader(_Incoming):
    """Reads messages, and answers each `server/discover` that comes before another request."""

    def __init__(self, server: BridgeServer, messages: MessageReader, writer: MessageWriter) -> None:
        self._messages = messages
        self._writer = writer
        self._answer = modern_on_request(server, None)
        self._probes = True

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message that is not a probe.

        :raises anyio.EndOfStream: the input has ended.
        """
        while True:
            item = await self._messages.receive()
            if not self._probes or isinstance(item, Exception) or not isinstance(item.message, types.JSONRPCRequest):
                return item
            if item.message.method != "server/discover":
                self._probes = False
                return item
            await self._writer.send(SessionMessage(await self._response(item.message)))

    async def _response(self, request: types.JSONRPCRequest) -> types.JSONRPCMessage:
        body = {"method": request.method, "params": request.params}
        route = classify_inbound_request(body)
        if isinstance(route, InboundLadderRejection):
            error = types.ErrorData(code=route.code, message=route.message, data=route.data)
            return types.JSONRPCError(jsonrpc="2.0", id=request.id, error=error)
        try:
            result = await self._answer(_Probe(request.id), request.method, request.params)
        except Exception as error:  # noqa: BLE001 - the SDK says which text of it clients may read
            return types.JSONRPCError(jsonrpc="2.0", id=request.id, error=modern_error_data(error))
        return types.JSONRPCResponse(jsonrpc="2.0", id=request.id, result=result)


@dataclass(slots=True, eq=False)
class _HotCall:
    """A request in flight, and its way back to the client, as the SDK's handlers see it."""

    request: HotRequest
    connection: Connection
    writer: MessageWriter
    stoppable: Stoppable = field(default_factory=Stoppable)
    is_cancelled: bool = False
    """Whether the client has cancelled it, and so expects no response."""
    is_closed: bool = False
    is_answered: bool = False
    message_metadata: None = field(default=None, repr=False)
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
    """Takes hot requests of one client: lines are read, answered and written here. Others go to the SDK's stream.

    The SDK says of each message when it begins to serve it, and with that which connection the client has and which era
    of the protocol. So the handshake, and whatever comes before it, is the SDK's. A hot request starts after the
    messages that came before it have started, and not during another `initialize`. An id is cancelled where it was
    taken.
    """

    def __init__(
        self,
        server: BridgeServer,
        send_line: Callable[[bytes], Awaitable[None]],
        writer: MessageWriter,
        in_flight: InFlight,
        on_connection: Callable[[Connection], object] = lambda _: None,
    ) -> None:
        self._server = server
        self._on_connection = on_connection
        self._calls: HotCalls = server.hot
        self._send_line = send_line
        self._writer = writer
        self._in_flight = in_flight
        self._session: Connection | None = None
        """That of the handshake; None before it, and if the client has none (2026-07-28)."""
        self._outbound: NotifyOnlyOutbound | None = None
        """Where notifications go to a client of 2026-07-28."""
        self._taken: dict[types.RequestId, _HotCall] = {}
        self._others: set[types.RequestId] = set()
        """Ids of the requests that the SDK serves."""
        self._tasks = OwnTasks()
        self._known: Final = KnownMeta()
        self._caller: tuple[Any, Caller] | None = None
        """The last envelope of 2026-07-28, and the client that it means."""
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
            call.stoppable.cancel()

    async def end(self) -> None:
        """Cancel every request in flight, and wait for their errors."""
        self.cancel()
        with anyio.move_on_after(_END_SECONDS, shield=True):
            await self._tasks.ended()

    def _hear(self, ctx: ServerRequestContext[None, Any]) -> None:
        connection = ctx.session._connection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public way to a session's lifetime
        if isinstance(connection.outbound, NotifyOnlyOutbound):
            self._outbound = connection.outbound
        elif ctx.method == "initialize" and isinstance(connection.outbound, JSONRPCDispatcher):
            self._session = connection
            self._on_connection(connection)

    async def takes(self, line: bytes) -> bool:
        """Begin to answer a line, or cancel the request that it names. Return whether it was taken."""
        if (self._session is None and self._outbound is None) or self._handshake is not None:
            return False
        request = read_hot(line, self._known) if self._calls.may_answer else None
        if request is None:
            return bool(self._taken) and self._cancels(line)
        if self._follows or self._run >= _WITHOUT_PAUSE:
            await self._pause()
        call = self._call(request)
        if call is None:
            return False
        self._run += 1
        self._taken[coerce_request_id(request.ident)] = call
        self._in_flight.started()
        self._tasks.start_leaving(self._serve(call))
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
        """Note that the response of the SDK to a request was sent."""
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
        envelope = None if self._outbound is None else request.envelope or self._calls.envelope_of(request)
        if envelope is None:
            return None
        if request.envelope is None and request.token is None:
            self._known.learn(request, envelope)
        request.envelope = envelope
        if self._caller is not None and self._caller[0] is envelope:
            request.caller = self._caller[1]
        return _HotCall(request, HotConnection.of(self._outbound, request.version, envelope), self._writer)

    def _cancels(self, line: bytes) -> bool:
        """Cancel the request that a `notifications/cancelled` names, if it was taken."""
        if b"notifications/cancelled" not in line or len(line) > MAX_HOT_BYTES:
            return False
        try:
            message = from_json(line, cache_strings="keys")
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
        call.stoppable.cancel()
        return True

    async def _serve(self, call: _HotCall) -> None:
        """Answer a request, and leave the tasks."""
        try:
            error = await self._error_of(call)
            if error is not None:
                await self._writer.refuse(types.JSONRPCError(jsonrpc="2.0", id=call.request.ident, error=error))
        finally:
            self._tasks.leave()

    async def _error_of(self, call: _HotCall) -> types.ErrorData | None:
        """Answer a request. Return the error that it gets if the connection ends first, or if it fails."""
        error = None
        try:
            call.stoppable.begin()
            await self._answer(call)
        except asyncio.CancelledError:
            if not call.stoppable.has_stopped():
                raise
            if not (call.is_answered or call.is_cancelled):
                error = types.ErrorData(code=types.CONNECTION_CLOSED, message="Connection closed")
        except Exception as raised:  # noqa: BLE001 - the SDK says which text of it clients may read
            error = None if call.is_cancelled else modern_error_data(raised)
        finally:
            call.stoppable.close()  # the call and the task would keep each other until the collector finds them
            self._in_flight.answered()
        return error

    async def _answer(self, call: _HotCall) -> None:
        ident = call.request.ident
        try:
            result = await self._calls.respond(call.request, call, call.connection)
            envelope, caller = call.request.envelope, call.request.caller or known_caller(call.connection)
            if envelope is not None and caller is not None:
                self._caller = envelope, caller
        finally:
            call.is_closed = True
            key = coerce_request_id(ident)
            if self._taken.get(key) is call:
                del self._taken[key]
            if isinstance(call.connection, HotConnection):
                await call.connection.aclose()
        call.is_answered = True
        await self._write(ident, result)

    async def _write(self, ident: types.RequestId, result: JsonObject) -> None:
        try:
            message = {"jsonrpc": "2.0", "id": ident, "result": spliced(result)}
            line = escape_line_ends(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))
        except TypeError:  # an integer above 64 bits, or half of a surrogate pair
            self._in_flight.started()
            await self._writer.send(SessionMessage(types.JSONRPCResponse(jsonrpc="2.0", id=ident, result=result)))
            return
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._send_line(line)
