"""What an MCP server asks of the host whose request is in flight: sampling, elicitation and roots.

A server of the handshake era sends requests of its own. They are taken off the wire before the SDK reads them, so that
parameters and answers pass as they are. A request on the event stream of a POST belongs to that POST. Over stdio and on
other streams it belongs to the one host that has requests in flight; if several hosts have, it is refused, so that no
host receives what was meant for another one.
"""

from __future__ import annotations

import contextvars
import logging
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.transport import Services
from utcp_bridge.transports.mcp.hosts.rounds import ASKING_METHODS, for_host, identity_of
from utcp_bridge.transports.mcp.lenient import WrappedStream
from utcp_bridge.upstream import (
    APP_MEDIA_TYPE,
    APPS,
    CALL_CLOCK,
    CAPABILITY_OF,
    HOST,
    HOST_ENDED,
    ROOTS_CHANGED,
    URL_ELICITATION_REQUIRED,
    AnyHost,
    CallClock,
    CallingHost,
    ProtocolError,
    ask_host,
)

__all__ = ["Asking"]

_logger = logging.getLogger(__name__)
_CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
_VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_COMPLETE: Final = "notifications/elicitation/complete"
_MAX_ASKS: Final = 64
"""Requests of one server that wait for answers at the same time."""
_MAX_OWED: Final = 256
"""Requests of one server that have no answer yet. Further ones are dropped: a server that asks faster than it takes
answers would fill the memory, and keep the connection from others."""
_MAX_IDENT: Final = 1_000
"""Characters of the id of a page."""
_MAX_PAGES: Final = 1_000
"""Pages that a server asked to open, to be remembered until it says that they are done."""
_LEFT_SECONDS: Final = 300.0
"""For so long a server may still work on a request whose caller has given up."""
_SIGN_SECONDS: Final = 10.0
"""Between two signs of life for a server that waits for an answer."""


@dataclass(slots=True, eq=False)
class _Underway:
    """A request during which the server may ask its host. `context` is that of the caller, with its clock."""

    host: CallingHost | None
    context: Context
    until: float = 0.0
    """How long a request that its caller gave up may still be worked on."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request of the server that waits for an answer. It belongs to one of the `flights`, and ends with the last."""

    cancel: Callable[[], None]
    flights: list[_Underway]


_FLIGHT: Final[ContextVar[_Underway | None]] = ContextVar("utcp_bridge_flight", default=None)
"""The request that a message is sent for. HTTP transports return the context with what arrives on its stream."""


class Asking:
    """One connection to a server: the requests in flight on it, and the server's own requests that wait for answers.

    `expected` is the host that the connection is opened for: its capabilities are declared to a server of the handshake
    era, which learns them once. It is also asked when the server asks outside of a request. `noticed` is called when
    the server asks something.
    """

    def __init__(
        self,
        expected: CallingHost | None,
        services: Services,
        noticed: Callable[[], object],
    ) -> None:
        self.declared: Final[JsonObject] = {} if expected is None else expected.capabilities
        self.users: Final[set[Hashable]] = set()
        """The hosts that had a request on this connection."""
        self._expected = None if expected is None else _Underway(expected, contextvars.copy_context())
        self._seconds = services.settings.ask_timeout
        self._spawn = services.spawn
        self._noticed = noticed
        self._write: Any = None
        self._flights: dict[Any, _Underway] = {}
        self._left: dict[Any, _Underway] = {}
        self._asks: dict[Any, _Ask] = {}
        self._pages: OrderedDict[str, CallingHost] = OrderedDict()
        self._watched: list[Callable[[], object]] = []
        self._owes_roots = False
        self._owed = 0
        self._has_dropped = False

    @contextmanager
    def relaying(self, read: Any, write: Any) -> Generator[tuple[Any, Any]]:
        """Yield the streams of a connection, with the server's requests to hosts taken out."""
        self._write = write
        try:
            yield _AskingReader(read, self), _AskingWriter(write, self)
        finally:
            for end in (*(ask.cancel for ask in self._asks.values()), *self._watched):
                end()

    @property
    def is_disputed(self) -> bool:
        """Whether a request that its caller gave up may still ask something."""
        self._forget_left()
        return bool(self._left)

    # --- what is sent ---

    async def sending(self, message: Any) -> _Underway | None:
        """Declare the host's capabilities in a message, and note the request. Return what to remember of it."""
        if isinstance(message, types.JSONRPCNotification):
            ident = (message.params or {}).get("requestId")
            if message.method == "notifications/cancelled" and (flight := self._flights.pop(ident, None)) is not None:
                flight.until = anyio.current_time() + _LEFT_SECONDS
                self._left[ident] = flight
                self._end_asks(flight)
            return None
        if not isinstance(message, types.JSONRPCRequest):
            return None
        self._declare(message)
        if message.method not in ASKING_METHODS:
            return None
        flight = self._flights[message.id] = _Underway(HOST.get(), contextvars.copy_context())
        await self._meet(flight.host)
        return flight

    def _declare(self, message: types.JSONRPCRequest) -> None:
        params: JsonObject = message.params or {}
        meta = params.get("_meta")
        if message.method == "initialize":
            message.params = {**params, "capabilities": _declared(params.get("capabilities"), self.declared)}
        elif is_object(meta) and _VERSION_KEY in meta:
            host, stated = HOST.get(), meta.get(_CAPABILITIES_KEY)
            own = host.capabilities if host is not None else {}
            of_host = own if message.method in ASKING_METHODS else self.declared
            message.params = {**params, "_meta": {**meta, _CAPABILITIES_KEY: _declared(stated, of_host)}}

    async def _meet(self, host: CallingHost | None) -> None:
        """Note the host of a request. Hear of changes of its roots, and report those that the server asked too early
        for.
        """
        identity = identity_of(host)
        if identity not in self.users:
            self.users.add(identity)
            if host is not None and "roots" in host.capabilities:
                self._watched.append(host.watch(partial(self._hear, identity)))
        if self._owes_roots and host is not None and "roots" in host.capabilities and self.users == {identity}:
            self._owes_roots = False
            await self._send_roots_changed()

    def _hear(self, identity: Hashable, what: str) -> None:
        if what == ROOTS_CHANGED and self.users == {identity} and "roots" in self.declared:
            self._spawn(self._send_roots_changed)
        elif what == HOST_ENDED and self._expected is not None and identity_of(self._expected.host) == identity:
            self._expected = None

    async def _send_roots_changed(self) -> None:
        await self._send(types.JSONRPCNotification(jsonrpc="2.0", method=ROOTS_CHANGED))

    def sent(self, message: Any) -> None:
        """Note that a message was sent: it may be an answer."""
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            self._owed = max(0, self._owed - 1)

    # --- what arrives ---

    def received(self, message: Any, context: Context | None) -> bool:
        """Note what arrived, and return whether it belongs to the relay alone. `context` is that of its stream."""
        if isinstance(message, types.JSONRPCRequest):
            if self._owed >= _MAX_OWED:
                self._note_drop()
                return True
            self._owed += 1
            if message.method not in CAPABILITY_OF:
                return False
            self._begin(message, None if context is None else context.get(_FLIGHT))
            return True
        if isinstance(message, types.JSONRPCNotification):
            return self._noted(message)
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            flight = self._flights.pop(message.id, None) or self._left.pop(message.id, None)
            if flight is not None:
                self._end_asks(flight)
                if isinstance(message, types.JSONRPCError):
                    self._note_pages(message.error, flight.host)
        return False

    def _noted(self, message: types.JSONRPCNotification) -> bool:
        params: JsonObject = message.params or {}
        if message.method == "notifications/cancelled":
            ident = params.get("requestId")
            ask = self._asks.pop(ident, None) if isinstance(ident, str | int) else None
            if ask is not None:
                self._end_ask(ask)
            return ask is not None
        if message.method != _COMPLETE:
            return False
        host = self._pages.pop(str(params.get("elicitationId")), None)
        if host is not None:
            self._spawn(partial(host.notify, _COMPLETE, params))
        return True

    def _note_pages(self, error: types.ErrorData, host: CallingHost | None) -> None:
        data: Any = error.data
        pages = data.get("elicitations") if error.code == URL_ELICITATION_REQUIRED and is_object(data) else None
        for page in pages if is_list(pages) else ():
            if host is not None and is_object(page):
                self._note_page(page, host)

    def _note_page(self, params: JsonObject, host: CallingHost) -> None:
        ident = params.get("elicitationId")
        if isinstance(ident, str) and len(ident) <= _MAX_IDENT:
            self._pages[ident] = host
            while len(self._pages) > _MAX_PAGES:
                self._pages.popitem(last=False)

    def _begin(self, message: types.JSONRPCRequest, flight: _Underway | None) -> None:
        """Answer a request of the server, in the context of the call that it belongs to."""
        self._noticed()
        refusal: ProtocolError | None = None
        flights = [] if flight is None else [flight]
        try:
            flights = flights or self._flights_of_host()
            if len(self._asks) >= _MAX_ASKS:
                refusal = ProtocolError(types.INVALID_REQUEST, f"{_MAX_ASKS} requests wait for answers already.")
            elif message.id in self._asks:
                refusal = ProtocolError(types.INVALID_REQUEST, "A request with this id waits for an answer already.")
        except ProtocolError as error:
            refusal = error
        context = flights[-1].context if flights else contextvars.copy_context()
        cancel = context.run(self._spawn, partial(self._answer, message, flights, refusal))
        if refusal is None:
            self._asks[message.id] = _Ask(cancel, flights)

    def _end_asks(self, flight: _Underway) -> None:
        """End what the server asks for a request that is over, unless it may ask that for another one."""
        for ident, ask in [(ident, ask) for ident, ask in self._asks.items() if flight in ask.flights]:
            ask.flights.remove(flight)
            if not ask.flights:
                del self._asks[ident]
                self._end_ask(ask)

    def _end_ask(self, ask: _Ask) -> None:
        ask.cancel()
        self._owed = max(0, self._owed - 1)

    def _note_drop(self) -> None:
        if not self._has_dropped:
            self._has_dropped = True
            _logger.warning("An MCP server sends requests faster than it takes answers. The bridge drops some of them.")

    def _flights_of_host(self) -> list[_Underway]:
        """Return the requests that the server may ask for, where the stream does not say it: all are of one host."""
        self._forget_left()
        hosts = {identity_of(flight.host) for flight in (*self._flights.values(), *self._left.values())}
        if len(hosts) > 1:
            raise ProtocolError(
                types.INVALID_REQUEST,
                "Several clients have calls in flight on this connection, so the bridge cannot say which of them this "
                "request is for. Call the tool again: the bridge then gives each client a connection of its own.",
            )
        flights = [*self._flights.values()]
        if not flights and self._expected is not None and self.users <= {identity_of(self._expected.host)}:
            return [self._expected]
        return flights

    def _forget_left(self) -> None:
        now = anyio.current_time()
        self._left = {ident: flight for ident, flight in self._left.items() if flight.until > now}

    async def _answer(
        self, message: types.JSONRPCRequest, flights: list[_Underway], refusal: ProtocolError | None
    ) -> None:
        reply: Any
        try:
            result = await self._result(message.method, message.params or {}, flights, refusal)
            reply = types.JSONRPCResponse(jsonrpc="2.0", id=message.id, result=result)
        except ProtocolError as error:
            data = types.ErrorData(code=error.code, message=str(error), data=error.data)
            reply = types.JSONRPCError(jsonrpc="2.0", id=message.id, error=data)
        except Exception as error:  # noqa: BLE001 - whatever the host's code raises, the server gets an answer
            _logger.warning("A request of an MCP server was not answered (%s).", type(error).__name__)
            data = types.ErrorData(code=types.INTERNAL_ERROR, message="Internal error in utcp-bridge.")
            reply = types.JSONRPCError(jsonrpc="2.0", id=message.id, error=data)
        finally:
            if refusal is None:
                self._asks.pop(message.id, None)
        await self._send(reply)

    async def _result(
        self, method: str, params: JsonObject, flights: list[_Underway], refusal: ProtocolError | None
    ) -> JsonObject:
        if refusal is not None:
            raise refusal
        host = flights[-1].host if flights else None
        is_unknown = isinstance(host, AnyHost) or (host is None and "roots" in self.declared)
        if method == "roots/list" and is_unknown:
            self._owes_roots = True
            return {"roots": []}
        given = for_host(method, params, host)
        if host is not None and given.get("mode") == "url":
            self._note_page(given, host)
        meta = params.get("_meta")
        token = meta.get("progressToken") if is_object(meta) else None
        end = self._spawn(partial(self._give_signs, token)) if token is not None else None
        try:
            with ExitStack() as stopped:
                for clock in _clocks(flights):
                    stopped.enter_context(clock.stopped())
                return await ask_host(host, method, given, seconds=self._seconds)
        finally:
            if end is not None:
                end()

    async def _give_signs(self, token: Any) -> None:
        """Report progress to a server that waits, so that its own time limit starts again."""
        progress = 0
        while True:
            await anyio.sleep(_SIGN_SECONDS)
            progress += 1
            params = {"progressToken": token, "progress": progress}
            await self._send(types.JSONRPCNotification(jsonrpc="2.0", method="notifications/progress", params=params))

    async def _send(self, message: Any) -> None:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await self._write.send(SessionMessage(message))


def _clocks(flights: Sequence[_Underway]) -> list[CallClock]:
    """Return the clocks of several requests, one of which waits. That of a single one is its caller's (`ask_host`)."""
    found = [flight.context.get(CALL_CLOCK) for flight in flights] if len(flights) > 1 else []
    return [clock for clock in found if clock is not None]


def _declared(own: Any, of_host: JsonObject) -> JsonObject:
    """Return the capabilities of the session with those of a host. Both may have extensions."""
    own = own if is_object(own) else {}
    stated: JsonObject = own.get("extensions") or {}
    of_host_too: JsonObject = of_host.get("extensions") or {}
    extensions = {**stated, **of_host_too}
    if APPS in extensions:
        extensions[APPS] = {"mimeTypes": [APP_MEDIA_TYPE]}
    return {**own, **of_host, "extensions": extensions} if extensions else {**own, **of_host}


class _AskingWriter(WrappedStream):
    def __init__(self, inner: Any, asking: Asking) -> None:
        super().__init__(inner)
        self._asking = asking

    async def send(self, item: SessionMessage) -> None:
        token = _FLIGHT.set(await self._asking.sending(item.message))
        try:
            await self._inner.send(item)
        finally:
            _FLIGHT.reset(token)
            self._asking.sent(item.message)


class _AskingReader(WrappedStream):
    def __init__(self, inner: Any, asking: Asking) -> None:
        super().__init__(inner)
        self._asking = asking

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message that is not for hosts."""
        while True:
            item = await super().receive()
            if isinstance(item, Exception) or not self._asking.received(item.message, self.last_context):
                return item
