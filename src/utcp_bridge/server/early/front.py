"""Serves a host over stdio without the MCP SDK, until a message comes that needs it.

The SDK takes most of the bridge's start and a third of its memory, and a session of plain messages needs nothing of it:

    initialize, server/discover                 of a plain shape (`hello.py`)
    tools/list, tools/call, ping                hot requests (`hot/requests.py`)
    resources/list, resources/templates/list    empty, because only MCP servers and kept results have entries
    notifications                               initialized, cancelled, roots/list_changed

With the first message of any other kind, the SDK is imported, and `server/stdio.py` serves the rest. It sees the
messages first that a session has a memory of (`initialize` above all); their responses are not sent again. Calls in
flight end here. What a call, its host or its result needs of the SDK begins the same (`EarlyFront.server`).

A client with MCP servers or mapped resources is served by the SDK from the start: it needs the SDK anyway.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections import deque
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import anyio.to_thread
import orjson
from pydantic_core import from_json, to_json

from utcp_bridge.access.principals import ANYONE
from utcp_bridge.auth.results import masked_partial
from utcp_bridge.catalogue.render import fault_result, render_error
from utcp_bridge.catalogue.spliced import spliced_message
from utcp_bridge.errors import StaleCursor, UnknownTool
from utcp_bridge.foreign import escape_line_ends, json_line
from utcp_bridge.model import REQUESTER, JsonObject, LogMessage, discard, is_object, log_receiver
from utcp_bridge.server.callers import caller_on_stdio, requester_on_stdio
from utcp_bridge.server.early.handover import CANCELLED, EarlyHost, Replay, again
from utcp_bridge.server.early.hello import (
    Hello,
    discovered,
    envelope_name,
    greeting,
    is_discovery,
    read_hello,
    server_info,
)
from utcp_bridge.server.hot.plain_results import in_order
from utcp_bridge.server.hot.requests import MAX_HOT_BYTES, HotRequest, KnownMeta, is_plain_id, read_hot
from utcp_bridge.server.parts import Parts, progress_emitter
from utcp_bridge.server.profiles.parts import size_of
from utcp_bridge.server.wire.lines import LongLineError, Wire, open_wire
from utcp_bridge.server.wire.protocol import (
    CONNECTION_CLOSED,
    DEFAULT_LEVEL,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    LOGGING_LEVELS,
    MODERN_PROTOCOL_VERSIONS,
    RequestId,
    same_id,
)
from utcp_bridge.tasks import OwnTasks, Stoppable
from utcp_bridge.upstream import HOST, CallingHost, ProtocolError

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.server.app import BridgeServer
    from utcp_bridge.server.meta_tools import Caller

__all__ = ["EarlyFront", "is_sdk_imported", "needs_sdk", "serve_stdio"]

_logger = logging.getLogger(__name__)
_LAST_ANSWERS_SECONDS: Final = 0.5
_END_SECONDS: Final = 1.0
_WITHOUT_PAUSE: Final = 32
"""Most lines that are read in one turn of the event loop."""
_DEFAULT_LEVEL: Final = LOGGING_LEVELS.index(DEFAULT_LEVEL)
_INITIALIZED: Final = "notifications/initialized"
_WITHOUT_EFFECT: Final = frozenset({_INITIALIZED, "notifications/roots/list_changed"})
_LISTS: Final = {"resources/list": "resources", "resources/templates/list": "resourceTemplates"}
_OWNER: Final = "stdio"
_CLOSED: Final = {"code": CONNECTION_CLOSED, "message": "Connection closed"}
_TRACING: Final = "OTEL_PYTHON_TRACER_PROVIDER"


async def serve_stdio(client: UtcpClient) -> None:
    """Serve one client until it closes stdin or stdout, or a signal arrives. Calls in flight are then cancelled."""
    parts = Parts(client)
    parts.part.serve_anyone()
    if needs_sdk(client):
        from utcp_bridge.server import stdio
        from utcp_bridge.server.app import BridgeServer

        await stdio.serve_stdio(BridgeServer(client, parts=parts))
        return
    async with open_wire() as wire, parts.open():
        await EarlyFront(parts, wire).run()


def is_sdk_imported() -> bool:
    """Return whether something else has imported the SDK, so that nothing is gained without it."""
    return "mcp" in sys.modules


def needs_sdk(client: UtcpClient) -> bool:
    """Return whether a session needs the SDK from the start: for MCP servers, mapped resources or tracing."""
    if is_sdk_imported() or "opentelemetry.sdk" in sys.modules or _TRACING in os.environ:  # noqa: TID251 - of OpenTelemetry
        return True
    return any(state.kind == "mcp" or state.maps for state in client.report()) or bool(client.servers())


class _EarlyCall(Stoppable):
    """A request in flight. `key` is its id, as cancelling compares it."""

    is_cancelled = False
    """Whether the client has cancelled it, and so expects no response."""
    is_closed = False

    def __init__(self, request: HotRequest, caller: Caller, version: str, key: RequestId) -> None:
        self.request, self.caller, self.version, self.key = request, caller, version, key


class _RefusedError(Exception):
    """A request that gets an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message}


class EarlyFront:
    """Serves the host on a wire: by itself at first, and then with the SDK. `parts` are open."""

    def __init__(self, parts: Parts, wire: Wire) -> None:
        self._parts = parts
        self._wire = wire
        self._lines = wire.lines
        self._modern: HotRequest | None = None
        """The first request of a host of 2026-07-28."""
        self._known: Final = KnownMeta()
        self._hello: Hello | None = None
        """What a host of the handshake era has said."""
        self._caller: Caller | None = None
        self._host: EarlyHost | None = None
        self._remembered: deque[JsonObject] = deque()
        """The messages that a session has a memory of. The SDK has to see them."""
        self._held: bytes | LongLineError | None = None
        """The first line that the SDK serves; empty at the end of the input."""
        self._taken: dict[RequestId, _EarlyCall] = {}
        self._tasks = OwnTasks()
        self._context: Final = copy_context()
        """What requests run in a copy of: it has the host, which is the same for all of them."""
        self._reading = anyio.CancelScope()
        self._server: BridgeServer | None = None
        self._connection: Any = None
        self._handed = anyio.Event()
        wire.cancel = self.cancel

    # --- the course of a session ---

    async def run(self) -> None:
        """Serve until the input ends."""
        try:
            if not await self._serve_alone():
                await self._serve_with_sdk()
        finally:
            await self._end()

    async def _serve_alone(self) -> bool:
        """Serve until the input ends. Return False if the SDK is needed before."""
        with self._watched(), self._reading:
            return await self._read()
        return False

    @contextmanager
    def _watched(self) -> Generator[None]:
        """End the time without the SDK when the client gets an MCP server, or resources."""

        def look(*_what: object) -> None:
            if needs_sdk(client):
                self._reading.cancel()

        client = self._parts.client
        ends = client.on_change(look), client.on_upstream(look)
        try:
            yield
        finally:
            for end in ends:
                end()

    async def _read(self) -> bool:
        run = 0
        while True:
            try:
                line = await (self._lines() if self._wire.untaken is None else self._wire.untaken(self._takes_line))
            except LongLineError as error:
                self._held = error
                return False
            if not line:
                self._held = b""
                self._wire.at_end()
                await self._wire.in_flight.settle(_LAST_ANSWERS_SECONDS)
                return True
            if line.isspace():
                continue
            if not self._takes(line):
                self._held = line
                return False
            run += 1
            if run >= _WITHOUT_PAUSE:
                run = 0
                await asyncio.sleep(0)

    async def _serve_with_sdk(self) -> None:
        await anyio.to_thread.run_sync(_import_sdk)
        from utcp_bridge.server.app import BridgeServer
        from utcp_bridge.server.stdio import serve_wire

        self._server = BridgeServer(self._parts.part.whole, parts=self._parts)
        replay = Replay(self, self._lines, again(self._modern, self._remembered))
        wire = Wire(replay.next_line, self._wire.send_line, self._wire.at_end, self._wire.in_flight)

        def cancel() -> None:
            self.cancel()
            wire.cancel()

        self._wire.cancel = cancel
        await serve_wire(self._server, wire, replay.withheld, self._connected)

    def handed_over(self) -> bytes:
        """Note that the SDK has seen what it has to see. Return the line that it has to serve first.

        :raises LongLineError: the line is too long.
        """
        self._handed.set()
        self._parts.changes.mark()
        held, self._held = self._held, None
        if isinstance(held, LongLineError):
            raise held
        return b"\n" if held is None else held

    def compare(self, method: str, response: Any) -> None:
        """Notify the client of a list that is not the empty one any more that it was given."""
        if method in _LISTS and getattr(response, "result", None) != {_LISTS[method]: []}:
            self._start(self._send({"jsonrpc": "2.0", "method": "notifications/resources/list_changed"}))

    def _connected(self, connection: Any) -> None:
        if self._host is not None and self._connection is None:
            self._parts.changes.moved(self._host, connection)
            self._connection = connection

    async def server(self) -> BridgeServer:
        """Return the server with the SDK, which serves all later messages."""
        self._reading.cancel()
        await self._handed.wait()
        return cast("BridgeServer", self._server)

    async def host_with_sdk(self) -> CallingHost:
        """Return the host of the session as the SDK reaches it, which from then on serves all messages."""
        server = await self.server()
        from utcp_bridge.server.hosts.adapters import HandshakeHost

        return HandshakeHost.of(self._connection, server.client.redactor)

    def cancel(self) -> None:
        """Cancel every request in flight. Each gets an error, because its client may still wait."""
        for call in tuple(self._taken.values()):
            call.cancel()

    async def _end(self) -> None:
        self.cancel()
        with anyio.move_on_after(_END_SECONDS, shield=True):
            await self._tasks.ended()

    # --- messages ---

    def _takes_line(self, line: bytes) -> bool:
        """Begin to serve a line, which may be blank. Return False if `_read` has to look at it."""
        return line.isspace() or self._takes(line)

    def _takes(self, line: bytes) -> bool:
        """Begin to serve a line. Return False if the SDK has to."""
        if len(line) > MAX_HOT_BYTES or is_sdk_imported():
            return False
        request = read_hot(line, self._known)
        if request is not None:
            return self._begins(request)
        try:
            message = from_json(line, cache_strings="keys")
        except ValueError:
            return False
        if not is_object(message) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
            return False
        return self._takes_other(message)

    def _takes_other(self, message: JsonObject) -> bool:
        if "id" not in message:
            return self._notes(message)
        if not is_plain_id(message["id"]):
            return False
        return self._greets(message) if self._hello is None else self._lists(message)

    def _greets(self, message: JsonObject) -> bool:
        """Answer a hello. Return False if the SDK has to."""
        if self._modern is not None or len(message) != 4:
            return False
        if is_discovery(message):
            self._start(self._answer(message["id"], discovered(self._parts)))
            return True
        hello = read_hello(message)
        if hello is None:
            return False
        self._hello = hello
        self._caller = caller_on_stdio(hello.name, hello.version)
        self._host = EarlyHost(self, hello)
        self._context.run(HOST.set, self._host)
        self._remembered.append(message)
        self._start(self._answer(message["id"], greeting(self._parts, hello.version)))
        return True

    def _lists(self, message: JsonObject) -> bool:
        """Begin to answer a list of what MCP servers and kept results have. Return False if the SDK has to."""
        method, params = message.get("method"), message.get("params", {})
        if method not in _LISTS or params != {} or len(message) != (4 if "params" in message else 3):
            return False
        if self._parts.budgets.kept.handles(_OWNER):
            return False
        if all(one.get("method") != method for one in self._remembered):
            self._remembered.append(message)
        return self._begins(HotRequest(message["id"], str(method), params))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what answers a request."""
        self._wire.in_flight.started()
        self._tasks.start_leaving(self._counted(work), self._context.copy())

    async def _counted(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._wire.in_flight.answered()
            self._tasks.leave()

    def _notes(self, message: JsonObject) -> bool:
        """Take a notification. Return False if the SDK has to."""
        method, params = message.get("method"), message.get("params", {})
        if (self._hello is None and self._modern is None) or not is_object(params):
            return False
        if method == CANCELLED:
            self.cancels(params)
            return True
        if method not in _WITHOUT_EFFECT or params:
            return False
        if method == _INITIALIZED:
            self._remembered.append(message)
        return True

    def cancels(self, params: JsonObject) -> bool:
        """Cancel the request that a `notifications/cancelled` names. Return whether it was in flight here."""
        ident = params.get("requestId")
        call = self._taken.get(same_id(ident)) if is_plain_id(ident) else None
        if call is None:
            return False
        call.is_cancelled = True
        call.cancel()
        return True

    @property
    def is_busy(self) -> bool:
        """Whether a request is in flight here."""
        return bool(self._taken)

    def _begins(self, request: HotRequest) -> bool:
        """Begin to answer a hot request. Return False if the SDK has to."""
        key = same_id(request.ident)
        if key in self._taken:
            return False
        if request.version is None:
            if self._hello is None or self._caller is None:
                return False
            call = _EarlyCall(request, self._caller, self._hello.version, key)
        else:
            caller = None if self._hello is not None else self._caller_of(request, request.version)
            if caller is None:
                return False
            self._modern = self._modern or request
            call = _EarlyCall(request, caller, request.version, key)
        self._taken[key] = call
        self._wire.in_flight.started()
        self._tasks.start_leaving(self._serve(call), self._context.copy())
        return True

    def _caller_of(self, request: HotRequest, version: str) -> Caller | None:
        """Return who sends a request of 2026-07-28; None if the SDK has to look at what it says of its client."""
        if request.envelope is not None:  # what is known by an equal `_meta`
            caller: Caller = request.envelope[0]
            return caller
        is_plain, name = envelope_name((request.params or {}).get("_meta"))
        if not is_plain:
            return None
        caller = caller_on_stdio(name, version)
        if request.token is None:
            self._known.learn(request, (caller, None))
        return caller

    # --- requests ---

    async def _serve(self, call: _EarlyCall) -> None:
        """Answer a request, and leave the tasks. One coroutine for both: it is the way of every call."""
        task = self._tasks.current()
        error: JsonObject | None = _CLOSED
        try:
            try:
                call.begin(task)
                try:
                    result = await (self._called(call) if call.request.method == "tools/call" else self._result(call))
                finally:
                    call.is_closed = True
                    if self._taken.get(call.key) is call:
                        del self._taken[call.key]
                error = None
                await self._respond(call.request.ident, result)
            except anyio.BrokenResourceError:  # the client has closed
                error = None
            except asyncio.CancelledError:
                if not call.has_stopped():
                    raise
            except _RefusedError as refused:
                error = refused.error
            except Exception:  # its text may have what clients must not read
                _logger.exception("A request failed with an internal error.")
                error = {"code": INTERNAL_ERROR, "message": "Internal server error"}
            if error is not None and not call.is_cancelled:
                await self._send({"jsonrpc": "2.0", "id": call.request.ident, "error": error})
        finally:
            self._wire.in_flight.answered()
            self._tasks.leave(task)
            call.close()  # it and the task would keep each other until the collector finds them

    async def _result(self, call: _EarlyCall) -> JsonObject:
        method = call.request.method
        if method == "ping":
            return {}
        if method == "tools/list":
            return await self._page(call)
        await self._parts.readiness.settle()
        return {_LISTS[method]: []}

    async def _page(self, call: _EarlyCall) -> JsonObject:
        modern = call.version in MODERN_PROTOCOL_VERSIONS
        try:
            cursor = (call.request.params or {}).get("cursor")
            view, page = await self._parts.page(call.caller.client, cursor or None, modern=modern)
            if self._host is not None:
                self._parts.changes.given(self._connection or self._host, call.caller.client, view, page)
            result: JsonObject = {"tools": await self._parts.masked_tools(page.tools.asked())}
        except StaleCursor as error:
            raise _RefusedError(INVALID_PARAMS, str(error)) from None
        except Exception as error:  # noqa: BLE001 - its text may have what clients must not read
            from utcp_bridge.server.relay.requests import internal_error

            refusal = internal_error("tools/list", error)
            raise _RefusedError(refusal.code, refusal.message) from None
        if page.next_cursor is not None:
            result["nextCursor"] = page.next_cursor
        return self._parts.stamped(result, server_info()) if modern else result

    async def _called(self, call: _EarlyCall) -> JsonObject:
        """Return the result of a call in its final form. It runs in the task of the request, and so resets nothing."""
        params, parts = call.request.params or {}, self._parts
        log_receiver.set(partial(self._log, call))
        if parts.part.whole.notes_requesters:
            REQUESTER.set(requester_on_stdio(call.caller, parts.part.profile_name))
        try:
            emit = discard if call.request.token is None else progress_emitter(partial(self._progress, call))
            name: str = params["name"]
            arguments: JsonObject = params.get("arguments") or {}
            spending = parts.part.spending
            if spending.spend is None:
                result = await parts.called(name, arguments, emit, call.caller)
            else:
                work = partial(parts.called, name, arguments, emit, call.caller)
                result = await spending.within(ANYONE, work, size_of)
        except UnknownTool as error:
            raise _RefusedError(INVALID_PARAMS, str(error)) from None
        except ProtocolError as error:
            result = fault_result(parts.client.redactor(str(error)))
        except Exception as error:  # noqa: BLE001 - a result that says what is wrong
            result = render_error(error)
        plain = in_order(result, server_info() if call.version in MODERN_PROTOCOL_VERSIONS else None)
        return plain if plain is not None else (await self.server()).hot.shaped(call.version, result)

    async def _progress(self, call: _EarlyCall, progress: float, total: float | None, message: str | None) -> None:
        fields = {"progressToken": call.request.token, "progress": progress, "total": total, "message": message}
        await self._notify(call, "notifications/progress", {key: one for key, one in fields.items() if one is not None})

    async def _log(self, call: _EarlyCall, message: LogMessage) -> None:
        """Send a log message. A host of 2026-07-28 has not asked for it: such a request is not hot."""
        level = message.level if message.level in LOGGING_LEVELS else DEFAULT_LEVEL
        if self._hello is None or LOGGING_LEVELS.index(level) < _DEFAULT_LEVEL:
            return
        redactor = self._parts.client.redactor
        params: JsonObject = {"level": level}
        if message.logger is not None:
            params["logger"] = redactor(message.logger)
        params["data"] = await masked_partial(message.data, redactor)
        await self._notify(call, "notifications/message", params)

    # --- what is sent ---

    async def send_tool_list_changed(self) -> None:
        """Notify the client that the tools have changed."""
        await self._send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})

    async def _notify(self, call: _EarlyCall, method: str, params: JsonObject) -> None:
        if not call.is_closed:
            await self._send({"jsonrpc": "2.0", "method": method, "params": params})

    async def _answer(self, ident: RequestId, result: JsonObject) -> None:
        with suppress(anyio.BrokenResourceError):
            await self._respond(ident, result)

    def _respond(self, ident: RequestId, result: JsonObject) -> Awaitable[None]:
        """Write a response, at once if nothing keeps it waiting.

        :raises anyio.BrokenResourceError: the client has closed.
        """
        try:
            message = spliced_message({"jsonrpc": "2.0", "id": ident, "result": result})
            line = orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # an integer above 64 bits, or half of a surrogate pair
            return self._send({"jsonrpc": "2.0", "id": ident, "result": result})
        return self._wire.send_line(escape_line_ends(line))

    async def _send(self, message: JsonObject) -> None:
        """Write a message as the SDK does. It is lost if the client has closed."""
        try:
            line = to_json(message, inf_nan_mode="null")
        except ValueError:  # half of a surrogate pair: JSON could escape it, but few parsers read it
            line = json_line(json.dumps(message))
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._wire.send_line(escape_line_ends(line) + b"\n")


def _import_sdk() -> None:
    """Import what serves with the SDK. The caller waits for it, so the process does not end meanwhile."""
    import_module("utcp_bridge.server.stdio")
