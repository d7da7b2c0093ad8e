"""Serve an ASGI application on listening sockets until a signal arrives.

Every connection is bounded before the application sees a request: its number, the size of a request head, and the time
for a head, for a body and for reading a response. uvicorn bounds none of these with httptools, and only the size of a
head with h11. One sweep each second looks for overdue connections, so that a request itself starts no timer.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal, NoReturn, cast

import anyio
import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:  # other Pythons than CPython
    HttpToolsProtocol = None  # type: ignore[assignment, misc]

from utcp_bridge.net.heads.ahead import (
    Ahead,
    JoinedWrites,
    KnownHeads,
    cycle_of,
    head_of_response,
    plain_answer,
    start_known,
    stays_open,
)  # fmt: skip
from utcp_bridge.net.heads.repeats import Repeats
from utcp_bridge.net.listening import (
    ConnectionLimits,
    Passing,
    accept_last,
    close_all,
    counted_address,
    half_of_the_files,
)  # fmt: skip
from utcp_bridge.net.tls import ListenerTls, is_former, with_certificate
from utcp_bridge.processes.ending import Ending, watched_signals
from utcp_bridge.tasks import OwnTasks

__all__ = ["serve_asgi"]

_logger = logging.getLogger(__name__)
_uvicorns_logger = logging.getLogger("uvicorn.error")
_MAX_HEAD_BYTES: Final = 64 * 1024
"""Most bytes of a request line and its headers. Browsers and proxies send a few kilobytes."""
_MAX_HEADERS: Final = 256
_MAX_PIPELINED: Final = 16
"""Most requests that wait behind another on one connection. MCP clients send one at a time."""
_MAX_FRAMING_SHARE: Final = 8
"""Most bytes of framing for each byte of a chunked body. A body in chunks of one byte has five."""
_MAX_LEARNED: Final = 70_000
_LOG_SECONDS: Final = 10.0
_SILENT: Final = 0
"""A connection that waits for the first byte of a request."""
_HEAD: Final = 1
_BODY: Final = 2
_UNREAD: Final = 3
"""The response is complete, and the client still sends the body."""
_RECEIVED: Final = 4


async def serve_asgi(  # noqa: PLR0913 - one for each stage of a server
    app: Any,
    listeners: Sequence[socket.socket],
    *,
    on_ready: Callable[[], None],
    lifespan: Literal["on", "auto"] = "auto",
    drain: Callable[[Callable[[], None]], Awaitable[None]] | None = None,
    at_end: Callable[[], Awaitable[None]] | None = None,
    limits: ConnectionLimits | None = None,
    ahead: Ahead | None = None,
    tls: ListenerTls | None = None,
    passing: Passing | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then close the listening sockets. With httptools, `ahead` may take requests.

    `on_ready` is called when the server accepts connections. After SIGTERM, `drain` runs while the server goes on; it
    gets a function that ends accepting new connections. A further signal, and SIGINT, cut it short. Then the server
    accepts no new connections in any case, `at_end` runs, and requests in flight have `limits.grace` seconds to finish.
    """
    limits = limits or ConnectionLimits()
    connections, repeats = _Connections(limits), Repeats()
    config = _Config(
        app,
        http=_protocol(),
        log_config=None,
        access_log=False,
        lifespan=lifespan,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=limits.grace,
    )
    config.open_connections, config.ahead, config.tls, config.passing = connections, ahead, tls, passing
    if tls is not None:
        tls.on_authorities.append(connections.sweep)
    runner = _Uvicorn(config, on_ready)
    try:
        async with watched_signals() as ending, anyio.create_task_group() as group:
            _uvicorns_logger.addFilter(repeats)
            begin_drain = None if drain is None else partial(drain, partial(runner.stop_accepting, listeners))
            group.start_soon(_end_on_signal, ending, runner, begin_drain, at_end)
            group.start_soon(connections.sweep_for_ever, repeats.report)
            await runner.serve(sockets=list(listeners))
            group.cancel_scope.cancel()
    finally:
        _uvicorns_logger.removeFilter(repeats)
        repeats.report(at_end=True)
        close_all(runner.servers, listeners)  # uvicorn leaves its own if this task is cancelled


class _Config(uvicorn.Config):
    """uvicorn's configuration, with what its protocols share."""

    open_connections: _Connections
    ahead: Ahead | None
    tls: ListenerTls | None
    passing: Passing | None

    def load(self) -> None:
        super().load()
        self.ssl = None if self.tls is None else self.tls.context


class _Uvicorn(uvicorn.Server):
    """uvicorn with a call when it is ready, and without its signal handling, which ends the process by the signal."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self.servers: list[asyncio.base_events.Server] = []
        self._connecting = OwnTasks()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        config = cast("_Config", self.config)
        if self.started and config.passing is not None:
            config.passing.open(self._protocol(), config.open_connections.__len__)
        if self.started:
            self._on_ready()

    def stop_accepting(self, listeners: Iterable[socket.socket]) -> None:
        """Accept no connections any more. Those that are open go on."""
        accept_last(listeners, self._protocol(), self.config.ssl, self._connecting)
        close_all(self.servers, listeners)

    def _protocol(self) -> Callable[[], Any]:
        """Return what makes the protocol of a connection."""
        config: Any = self.config
        shared = {"config": config, "server_state": self.server_state, "app_state": self.lifespan.state}
        return partial(config.http_protocol_class, **shared)


async def _end_on_signal(
    ending: Ending,
    runner: uvicorn.Server,
    drain: Callable[[], Awaitable[None]] | None,
    at_end: Callable[[], Awaitable[None]] | None,
) -> None:
    first = anyio.Event()
    with ending.stops(first.set):
        await first.wait()
    with anyio.CancelScope() as draining, ending.stops(draining.cancel):
        if drain is not None and ending.asked_by != signal.SIGINT:
            await drain()
    ending.begin()
    runner.should_exit = True
    if at_end is not None:
        await at_end()


# --- connections ---------------------------------------------------------------------------------


class _Connections:
    """The open connections of one server."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits: Final = limits
        self._of_files = half_of_the_files()
        self._open: set[_Inbound] = set()
        self._by_address: Counter[str] = Counter()
        self._busy: set[str] = set()
        """Addresses without an idle connection, so that a flood does not look again before the next sweep."""
        self._logged_at = -_LOG_SECONDS

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: _Inbound) -> bool:
        """Count a new connection. Return whether it may stay. If there are too many, one that is idle makes room."""
        address = connection.address
        total, most = self.limits.most()
        if len(self._open) >= min(total, self._of_files) and not self._end_one_idle(""):
            self._log(f"The server has {len(self._open)} connections. At most {total} are allowed: `max_connections`.")
            return False
        if most is not None and address and self._by_address[address] >= most and not self._end_one_idle(address):
            self._log(f"A client has {most} connections, which is `max_connections_per_address`.")
            return False
        self._open.add(connection)
        if address:
            self._by_address[address] += 1
        return True

    def _end_one_idle(self, address: str) -> bool:
        """Close the connection from this address, or from any if it is empty, that was idle for longest."""
        if address in self._busy:
            return False
        idle = [one for one in self._open if one.is_idle() and address in {"", one.address}]
        if not idle:
            self._busy.add(address)
            return False
        oldest = min(idle, key=lambda one: one.since)
        self.forget(oldest)
        oldest.transport.close()
        return True

    def forget(self, connection: _Inbound) -> None:
        """Stop counting a connection that has ended."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        if connection.address:
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    async def sweep_for_ever(self, report: Callable[[], None]) -> None:
        """End overdue connections and report what was counted, for as long as the server runs."""
        while True:
            before = anyio.current_time()
            await anyio.sleep(self.limits.sweep)
            report()
            if anyio.current_time() - before > 2 * self.limits.sweep:
                continue  # this process was slow, and has yet to read what clients sent meanwhile
            self.sweep()

    def sweep(self) -> None:
        """End overdue connections, and idle ones whose client has to show its certificate again."""
        self._busy.clear()
        for connection in tuple(self._open):
            connection.end_if_overdue(self.limits)

    def _log(self, what: str) -> None:
        now = anyio.current_time()
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            _logger.warning("%s More connections are refused.", what)


class _Inbound:
    """What a connection is doing, and since when. Its protocol reports each step."""

    __slots__ = (
        "_ending", "_protocol", "_stalled", "_time", "address", "body", "decoded", "head", "phase", "refusal",
        "shares", "since", "transport",
    )  # fmt: skip

    def __init__(self, protocol: Any, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._time: Callable[[], float] = protocol.loop.time
        self._stalled: tuple[float, int] | None = None
        self._ending: float | None = None
        self.transport = transport
        self.address = counted_address(transport.get_extra_info("peername"))
        self.phase = _SILENT
        self.since = self._time()
        self.head = self.body = self.decoded = 0
        self.shares = False
        self.refusal: tuple[HTTPStatus, str] | None = None

    # Steps of a request

    def begin(self) -> None:
        """The first byte of a request has come."""
        if self._protocol.pipeline_length() > _MAX_PIPELINED:
            self.refuse(HTTPStatus.BAD_REQUEST, "Too many requests wait on this connection.")
        self.phase, self.since = _HEAD, self._time()

    def end_head(self, parts: Iterable[tuple[bytes, bytes]], count: int, target: bytes, chunk: int) -> None:
        """The head has come; `chunk` is the size of the data that contains its end.

        :raises ValueError: the head is larger than allowed.
        """
        if not target.startswith(b"/"):
            self.refuse(HTTPStatus.BAD_REQUEST, "The target of a request is a path.")
        if count > _MAX_HEADERS:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A request has at most {_MAX_HEADERS} headers.")
        if self.head + chunk >= _MAX_HEAD_BYTES:
            size = len(target) + sum(len(name) + len(value) + 4 for name, value in parts)
            if size > _MAX_HEAD_BYTES:
                self.refuse_long_head()
        self.phase, self.since = _BODY, self._time()
        self.head = self.body = self.decoded = 0

    def end_request(self) -> None:
        """The whole request has come."""
        self.shares = True
        self.phase, self.since = (_SILENT if self.phase == _UNREAD else _RECEIVED), self._time()

    def end_response(self) -> None:
        """The response was written."""
        self.since = self._time()
        if self.phase == _RECEIVED:
            self.phase = _SILENT
        elif self.phase == _BODY:
            self.phase = _UNREAD

    def count(self, before: int, size: int) -> None:
        """Count data that was read; `before` is the phase at its start.

        :raises ValueError: the head, or the framing of the body, is larger than allowed.
        """
        if self.phase == _HEAD:
            # A head that shares its first data with other requests is counted from the next data on.
            self.head += 0 if self.shares else size
            if self.head > _MAX_HEAD_BYTES:
                self.refuse_long_head()
        elif before == self.phase and before in {_BODY, _UNREAD}:
            self.body += size
            if self.body - _MAX_FRAMING_SHARE * self.decoded > _MAX_HEAD_BYTES:
                self.refuse(HTTPStatus.BAD_REQUEST, "The body consists of framing.")

    def refuse_long_head(self) -> NoReturn:
        """Refuse a head.

        :raises ValueError: always.
        """
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self.refuse(status, f"A request line and its headers have at most {_MAX_HEAD_BYTES} bytes.")

    def refuse(self, status: HTTPStatus, message: str) -> NoReturn:
        """Note the answer to a request that is not read further.

        :raises ValueError: always.
        """
        self.refusal = status, message
        raise ValueError(message)

    def answer_and_close(self, status: HTTPStatus, message: str) -> None:
        """Close the connection. Send a plain answer before, unless it could be taken for that of another request."""
        if is_free := self.is_free():
            self._protocol.config.open_connections.limits.on_refused(self.transport.get_extra_info("peername"), status)
        elif self.phase == _BODY:
            is_free = not self._protocol.cycle.response_started and not self._protocol.pipeline_length()
        if is_free:
            self.transport.write(plain_answer(status, message))
        self.transport.close()

    def is_free(self) -> bool:
        """Return whether no request is being served."""
        cycle = self._protocol.cycle
        return cycle is None or bool(cycle.response_complete)

    def is_idle(self) -> bool:
        """Return whether a response was written, and no further request has begun."""
        return self.phase == _SILENT and self._protocol.cycle is not None and self.is_free()

    def reset(self) -> None:
        """Drop the connection at once, also what the system still holds for the client."""
        with suppress(AttributeError, OSError):
            form = "hh" if sys.platform == "win32" else "ii"
            opened: socket.socket = self.transport.get_extra_info("socket")
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(form, 1, 0))
        self.transport.abort()

    # Overdue

    def end_if_overdue(self, limits: ConnectionLimits) -> None:
        """Close the connection if the client takes too long."""
        now = self._time()
        if self.transport.is_closing():
            self._ending = self._ending or now
            if self.transport.get_write_buffer_size():
                self._end_if_unread(now, limits)
            elif now - self._ending > limits.closing:
                self.reset()
        elif self._protocol.flow.write_paused:
            self._end_if_unread(now, limits)
        else:
            self._stalled = None
            if self.phase == _SILENT and is_former(self.transport) and self.is_free():
                self.transport.close()
            elif now - self.since > self._patience(now, limits):
                if self.phase == _SILENT:
                    self.transport.close()
                else:
                    self.answer_and_close(HTTPStatus.REQUEST_TIMEOUT, "The request did not come in time.")

    def _patience(self, now: float, limits: ConnectionLimits) -> float:
        """Return how many seconds the present step may take."""
        if self.phase in {_SILENT, _HEAD}:
            return (limits.idle() if self.is_idle() else limits.head) if self.is_free() else float("inf")
        if self.phase == _UNREAD:
            return limits.closing
        if self.phase == _RECEIVED:
            return float("inf")
        if self._protocol.flow.read_paused:  # the application reads slowly, not the client
            self.since = now
        return limits.body + self.decoded / limits.rate

    def _end_if_unread(self, now: float, limits: ConnectionLimits) -> None:
        """Abort the connection if the client reads its response more slowly than `rate`."""
        waiting = self.transport.get_write_buffer_size()
        if self._stalled is None:
            self._stalled = now, waiting
        elif now - self._stalled[0] > limits.reading:
            if self._stalled[1] - waiting < limits.rate * limits.reading:
                self.reset()
            self._stalled = now, waiting


# --- uvicorn's two protocols ---------------------------------------------------------------------


def _protocol() -> type[asyncio.Protocol]:
    return _H11Protocol if HttpToolsProtocol is None else _HttpToolsProtocol


def _admitted(protocol: Any, transport: asyncio.BaseTransport) -> _Inbound:
    """Return the record of a new connection, which is closed at once if there are too many."""
    connection = _Inbound(protocol, cast("asyncio.Transport", transport))
    if not protocol.config.open_connections.admit(connection):
        connection.answer_and_close(HTTPStatus.SERVICE_UNAVAILABLE, "The server has too many connections.")
    return connection


class _WatchedParser(h11.Connection):
    """h11's parser, which reports each step."""

    watched: _Inbound

    def __init__(self) -> None:
        super().__init__(h11.SERVER, _MAX_HEAD_BYTES)
        self._raw = bytearray()

    def receive_data(self, data: bytes) -> None:
        if self.their_state is not h11.SEND_BODY:
            self._raw += data
        super().receive_data(data)

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if not _is_strict(self._raw) or {b"transfer-encoding", b"content-length"} <= names:
                raise h11.RemoteProtocolError("The head of the request is not valid.")
            raw = event.headers.raw_items()
            try:
                self.watched.end_head(raw, len(raw), event.target, _MAX_HEAD_BYTES)
            except ValueError as error:
                raise h11.RemoteProtocolError(str(error)) from None
        elif isinstance(event, h11.Data):
            self.watched.decoded += len(event.data)
        elif isinstance(event, h11.EndOfMessage):
            self.watched.end_request()
            self._raw[:] = self.trailing_data[0]
        elif event is h11.NEED_DATA and self._has_begun():
            self.watched.begin()
        return event

    def _has_begun(self) -> bool:
        """Return whether the first part of a head has come."""
        return self.their_state is h11.IDLE and self.watched.phase == _SILENT and bool(self.trailing_data[0])


def _is_strict(raw: bytearray) -> bool:
    """Return whether a head has CRLF after each line and no folded line, as the other parser demands."""
    head, end, _ = bytes(raw).partition(b"\r\n\r\n")
    return bool(end) and head.count(b"\n") == head.count(b"\r\n") and b"\n " not in head and b"\n\t" not in head


class _H11Protocol(H11Protocol):
    """uvicorn's protocol in Python, with the limits of this module."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = self._parser = _WatchedParser()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        joined: Any = JoinedWrites(transport, self.loop)
        self.app_state = with_certificate(self.app_state, transport)
        super().connection_made(joined)
        self._watched = self._parser.watched = _admitted(self, joined)

    def connection_lost(self, exc: Exception | None) -> None:
        cast("_Config", self.config).open_connections.forget(self._watched)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        self._watched.answer_and_close(*(self._watched.refusal or (HTTPStatus.BAD_REQUEST, msg)))

    def on_response_complete(self) -> None:
        self._watched.end_response()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Do nothing: the sweep closes idle connections."""

    def pipeline_length(self) -> int:
        """Return how many requests wait: h11 stops at the second one."""
        return 0


if HttpToolsProtocol is not None:

    class _HttpToolsProtocol(HttpToolsProtocol):
        """uvicorn's protocol in C, with the limits of this module, and with a front that takes requests."""

        _chunk = 0
        _waiting: tuple[Any, Any, Any] | None = None
        """A request that may be taken, until its body has come: its cycle, the application, and what `take` needs."""
        _taken: Any = None
        _data = b""
        """What was read of a request whose head may be learned."""
        _read = b""
        """What was read since a request began, if connections may be handed over."""
        _has_learned = False
        is_settled = False
        """Whether the connection stays here unless a request belongs elsewhere."""

        _start = HttpToolsProtocol._start_asgi_task  # noqa: SLF001 - the own one hands requests to the front

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self._own = cast("_Config", self.config)
            self._joined = joined = cast("Any", JoinedWrites(transport, self.loop))
            self._is_closing = transport.is_closing
            self.app_state = with_certificate(self.app_state, transport)
            super().connection_made(joined)
            self._watched = _admitted(self, joined)
            self._known = KnownHeads()

        def connection_lost(self, exc: Exception | None) -> None:
            self._own.open_connections.forget(self._watched)
            self._end_waiting()
            self._known.forget()
            super().connection_lost(exc)
            if self._taken is not None:
                self._taken.disconnected()

        def _start_asgi_task(self, cycle: Any, app: Any) -> None:
            config = self._own
            if config.passing is not None and self._leaves(config.passing, cycle.scope):
                return
            ahead = config.ahead
            if ahead is None or (head := ahead.may_take(cycle.scope)) is None:
                self._start(cycle, app)
                return
            self._waiting = cycle, app, head
            if not cycle.more_body:
                self._take_or_start()

        def _leaves(self, passing: Passing, scope: Any) -> bool:
            """Hand the connection over if its request belongs elsewhere. Return whether it has left."""
            scope["utcp_bridge.connection"] = self
            is_first, self.is_settled = not self.is_settled, True
            if not self._read or self._watched.shares:  # part of an earlier request was read with this one
                return False
            place = passing.place_of(scope, is_first=is_first)
            return place is not None and passing.send(place, self.transport, self._read)

        def _end_waiting(self) -> tuple[Any, Any, Any] | None:
            """Return the request that waits for its body, which then waits no longer."""
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                cast("Any", self._own.ahead).let_go()
            return waiting

        def shutdown(self) -> None:
            if (waiting := self._end_waiting()) is not None:
                self._start(*waiting[:2])
            super().shutdown()

        def data_received(self, data: bytes) -> None:
            if self._is_closing():
                return
            watched, data = self._watched, bytes(data)  # asyncio on Windows hands over a bytearray in Python 3.11
            before, self._chunk = watched.phase, len(data)
            watched.shares = False
            if self._own.passing is not None:
                self._read = data if before == _SILENT else self._read + data if before == _HEAD else b""
            cycle: Any = self.cycle  # None before the first request
            if before == _SILENT and (cycle is None or cycle.response_complete):
                if self._has_learned and self._takes_known(data):
                    return
                self._data = data if len(data) <= _MAX_LEARNED else b""
            super().data_received(data)
            if watched.phase < _RECEIVED:
                try:
                    watched.count(before, self._chunk)
                except ValueError as error:
                    self.send_400_response(str(error))

        def send_400_response(self, msg: str) -> None:
            self._watched.answer_and_close(*(self._watched.refusal or (HTTPStatus.BAD_REQUEST, msg)))

        def on_message_begin(self) -> None:
            self._watched.begin()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._watched.end_head(self.headers, len(self.headers), self.url, self._chunk)
            super().on_headers_complete()
            self.headers = []  # for trailers, which nothing reads; the scope has the list of the head

        def on_body(self, body: bytes) -> None:
            self._watched.decoded += len(body)
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._watched.end_request()
            super().on_message_complete()
            self._take_or_start()

        def _take_or_start(self) -> None:
            """Let a request whose body has come be answered, if it waited for that."""
            if (waiting := self._end_waiting()) is not None:
                cycle, app, head = waiting
                taken = cast("Any", self._own.ahead).take(head, cycle.scope, bytes(cycle.body))
                if taken is not None:
                    self._known.learn(self._data, cycle, head)
                    self._has_learned = True
                    taken.whole = partial(self._write_whole, cycle)
                self._data, self._taken = b"", taken
                self._start(cycle, taken or app)

        def _takes_known(self, data: bytes) -> bool:
            """Let a request be answered whose head is known. Return whether that was possible."""
            found = None if self.flow.write_paused else self._known.find(data)
            if found is None:
                return False
            known, scope, body = found
            config, ahead = self._own, self._own.ahead
            if config.passing is not None and self._leaves(config.passing, scope):
                return True
            if ahead is None or (again := ahead.again(known.head, scope, body)) is None:
                return False
            known.head, taken = again
            self._watched.phase = _RECEIVED  # without the time, for which nothing asks in this phase
            self.cycle = cycle = cycle_of(known, scope, self.server_state.default_headers)
            self._taken, taken.whole = taken, partial(self._write_known, cycle)
            start_known(cycle, taken, self.tasks, self.loop)
            return True

        def _write_whole(self, cycle: Any, status: int, own: bytes, body: bytes) -> bool:
            """Write a response at once, if nothing is in its way (`ahead.WriteWhole`)."""
            return stays_open(cycle) and self._write_known(cycle, status, own, body)

        def _write_known(self, cycle: Any, status: int, own: bytes, body: bytes) -> bool:
            """Do the same for a request with a known head, which does not ask to close the connection."""
            if cycle.response_started or cycle.disconnected or not cycle.keep_alive:
                return False
            if cycle is not self.cycle or self.flow.write_paused or self._is_closing():
                return False
            cycle.response_started = cycle.response_complete = True
            self._joined.write_whole(head_of_response(status, cycle.default_headers, own), body)
            if self.pipeline or self.timeout_keep_alive_task is None:
                self.on_response_complete()
            else:  # the timer goes on
                self._watched.end_response()
                self._taken = None
                self.server_state.total_requests += 1
            return True

        def timeout_keep_alive_handler(self) -> None:
            """Do nothing: the sweep closes idle connections."""

        def on_response_complete(self) -> None:
            self._watched.end_response()
            self._taken = None
            super().on_response_complete()

        def pipeline_length(self) -> int:
            """Return how many requests wait behind the one that is served."""
            return len(self.pipeline)
