"""Plain requests over aiohttp's connector, protocol and parser, without its session, requests and responses.

A request is written in one piece, over a connection that waits for the next request of its origin. A reply that comes
whole, with a head that is known, is handed over at once (`WholeReply`). Any other one arrives as aiohttp's parser reads
it (`PlainReply`).
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable
from functools import partial
from inspect import signature
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import aiohttp
from aiohttp import hdrs, http_exceptions
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from yarl import URL

from utcp_bridge.net.heads.idle_connections import IdleConnector, TellingProtocol
from utcp_bridge.net.heads.idle_times import REPEATABLE, IdleTime
from utcp_bridge.net.heads.known_replies import GivenBody, Head, KnownHead, KnownReplies, PlainProtocol
from utcp_bridge.net.heads.request_heads import RequestHeads
from utcp_bridge.placement.request import RequestParts

if TYPE_CHECKING:
    from utcp_bridge.net.heads.arrivals import Arrival

__all__ = ["MAX_HEADER_BYTES", "Begun", "PlainReply", "PlainRequests", "WholeReply", "has_known_parts", "is_plain"]

MAX_HEADER_BYTES: Final = 65536
_PLAIN_BODY: Final = 1 << 16
"""Up to this, a body is written in one piece together with its head. A larger one waits for its receiver."""
_PLAIN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PATH: Final = re.compile(r"/[\x21\x22\x24-\x7e]*").fullmatch
"""An encoded path with its query, and without a fragment."""
_AFTER_SCHEME: Final = len("https://")
_FINAL: Final = 200
_SWITCHING: Final = 101
_MAX_PLACES: Final = 1024
_PARKED_SHARE: Final = 2
"""Half of the connections that the connector allows may wait here. Those count as in use there."""
_OF_BODY: Final[dict[str, Any]] = {
    "skip_payload": False,
    "read_until_eof": True,
    "max_line_size": MAX_HEADER_BYTES,
    "max_field_size": MAX_HEADER_BYTES,
}
_OF_HEAD: Final[dict[str, Any]] = {**_OF_BODY, "skip_payload": True}


def is_plain(parts: RequestParts) -> bool:
    """Return whether `PlainRequests` can send the request: a usual method, and a body that is small or absent."""
    return parts.method in _PLAIN_METHODS and (parts.body is None or len(parts.body) <= _PLAIN_BODY)


def has_known_parts() -> bool:
    """Return whether the parts of aiohttp that `PlainRequests` uses have the form that it expects.

    They are not in aiohttp's documentation. If a version changes them, all requests go through its session.
    """
    try:
        connect = tuple(signature(aiohttp.BaseConnector.connect).parameters)
        expected = signature(ResponseHandler.set_response_params).parameters
        queue = ResponseHandler(cast(Any, None))  # its loop, which it does not use to be made
        return (
            connect == ("self", "req", "traces", "timeout")
            and {"skip_payload", "read_until_eof", "max_line_size", "max_field_size"} <= set(expected)
            and tuple(signature(ResponseHandler.read).parameters) == ("self",)
            and {"code", "headers"} <= set(dir(RawResponseMessage))
            and all(hasattr(queue, name) for name in ("_buffer", "_eof", "_waiter", "_tail", "_upgraded"))
        )
    except (AttributeError, TypeError, ValueError):
        return False


class WholeReply:
    """A reply that came in one piece. Its connection waits for the next request already."""

    __slots__ = ("_content", "data", "headers", "status", "url")

    connection: Final = None

    def __init__(self, status: int, headers: Any, data: bytes, url: URL) -> None:
        self.status = status
        self.headers = headers
        self.data = data
        self.url = url
        self._content: GivenBody | None = None

    @property
    def content(self) -> GivenBody:
        """The body in the form of aiohttp's stream."""
        if self._content is None:
            self._content = GivenBody(self.data)
        return self._content

    def close(self) -> None:
        """Do nothing: the body has ended."""


class PlainReply:
    """The head of a reply to a plain request, and its body. It has what `ReplyBody` needs of a response."""

    __slots__ = ("_requests", "connection", "content", "headers", "status", "url")

    def __init__(
        self, requests: PlainRequests, message: Head, content: aiohttp.StreamReader, url: URL, used: _Used
    ) -> None:
        self._requests = requests
        self.status: int = message.code
        self.headers = message.headers
        self.url = url
        self.content = content
        self.connection: Connection | None = used.connection
        content.on_eof(partial(self._release, used))

    def _release(self, used: _Used) -> None:
        """Let the connection be used again at the end of the body."""
        if self.connection is not None:
            self.connection = None
            self._requests.park(used)

    def close(self) -> None:
        """Close the connection, unless the body has ended."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


class _Used:
    """A connection and its parts. It waits in `place` between two requests, since `since`, on the clock `monotonic`.

    `since` is 0 until it waits for the first time.
    """

    __slots__ = ("connection", "place", "protocol", "since")

    def __init__(self, connection: Connection, protocol: ResponseHandler, place: _PoolPlace) -> None:
        self.connection = connection
        self.protocol = protocol
        self.place = place
        self.since = 0.0
        if isinstance(protocol, PlainProtocol):
            protocol.used = self


class _TakenOver:
    """A connection that is not of the connector. It ends with its reply."""

    def __init__(self, protocol: ResponseHandler) -> None:
        self.protocol = protocol

    def close(self) -> None:
        """Close it."""
        self.protocol.close()

    release = close


_Waiter: TypeAlias = "asyncio.Future[tuple[KnownHead, bytes] | None] | None"
Begun: TypeAlias = "tuple[_Used, _Waiter]"
"""A request that was written to a connection which waited: the connection, and what `PlainProtocol.expect` returned.
It is a pair because each call makes one."""


class _PoolPlace(aiohttp.ClientRequest):
    """What names a place of the pool: a request to the origin, which is never sent. Its key is made once.

    `parked` are connections that wait for the next request, the last one that was used at the end. It is a POST, so
    that the pool gives it no connection that may be closing.
    """

    def __init__(self, origin: URL, connector: IdleConnector, **options: Any) -> None:
        super().__init__(hdrs.METH_POST, origin, loop=asyncio.get_running_loop(), **options)
        self._key = super().connection_key
        self.idle: IdleTime = connector.idle.of(self._key[:3])
        self.authority = origin.raw_authority
        self.origin = origin.scheme, self.authority
        self.parked: list[_Used] = []

    @property
    def connection_key(self) -> ConnectionKey:
        return self._key


class PlainRequests:
    """Sends plain requests over the connections of a client, without the client's own request and response.

    aiohttp's connector, protocol and parser do the work, so limits, TLS, gate and errors are the same. What is left out
    (cookies, proxies, redirects, traces, uploads) costs half of the CPU time of a request: docs/benchmarks.md.

    A connection that is free waits here, not in the connector, whose way of taking it and giving it back costs as much
    as a request. It is closed after `IDLE_SECONDS` all the same, and `idle_times` says which requests it takes.
    """

    def __init__(self, connector: IdleConnector, timeout: aiohttp.ClientTimeout) -> None:
        self._loop = asyncio.get_running_loop()
        # not in aiohttp's documentation; a connector without it keeps its own protocol
        vars(connector)["_factory"] = partial(PlainProtocol, loop=self._loop, lost=self._lost, known=KnownReplies())
        self._heads = RequestHeads()
        self._connector = connector
        self._timeout = timeout
        self._places: dict[tuple[str, str, bool], _PoolPlace] = {}
        self._origins: dict[str, _PoolPlace] = {}
        """The places of `_places` again, by the beginning of URLs that were sent."""
        self._room = connector.limit // _PARKED_SHARE if connector.limit else _MAX_PLACES
        """How many more connections may wait."""
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def send(
        self,
        parts: RequestParts,
        target: URL,
        headers: Iterable[tuple[str, str]],
        own: dict[str, Any] | None = None,
        begun: Begun | None = None,
    ) -> PlainReply | WholeReply:
        """Send a request for which `is_plain` is true, and return the head of its reply.

        `own` has the TLS options of the manual's own origins. One that may be repeated is sent twice if the connection
        ends before a reply. `begun` is the same request, if `begin` has sent it already.
        """
        method = parts.method
        request = self._heads.written(method, target, headers, parts.body)
        place = self._places.get((target.scheme, target.raw_authority, own is not None)) or self._place(target, own)
        is_last = method not in REPEATABLE
        used = self._parked(place, method) if begun is None else begun[0]
        while True:
            if used is None:
                used = await self._connected(place)
            try:
                waiter = _begin(used.protocol, method, request) if begun is None else begun[1]
                begun = None
                if waiter is not None and (known := await waiter) is not None:
                    head, data = known
                    self._note_announced(used, head)
                    self.park(used, is_known=True)
                    return WholeReply(head.code, head.headers, data, target)
                message, content = await used.protocol.read()
                while message.code < _FINAL and message.code != _SWITCHING:
                    message, content = await used.protocol.read()
            except http_exceptions.HttpProcessingError as error:
                used.connection.close()
                raise aiohttp.ClientResponseError(place.request_info, (), status=error.code) from error
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                self._note_closed(used)
                if is_last:
                    raise
                is_last, used = True, None  # a new connection: those that wait may have ended with this one
            except BaseException:
                used.connection.close()
                raise
            else:
                self._note_announced(used, message)
                return PlainReply(self, message, content, target, used)

    def remember(self, url: str, target: URL, own: dict[str, Any] | None) -> None:
        """Note to which place requests belong whose URL begins like this one, for `begin`.

        It takes the URL apart at the first slash after the host, so `target` must say the same of it.
        """
        end = url.find("/", _AFTER_SCHEME)
        origin = url[:end]
        if end < 0 or origin in self._origins:
            return
        place = self._places.get((target.scheme, target.raw_authority, own is not None))
        if place is not None and origin == f"{target.scheme}://{target.raw_authority}" and url == str(target):
            self._origins[origin] = place

    def origin_of(self, url: str) -> tuple[str, str] | None:
        """Return scheme and authority of a URL whose origin `begin` knows."""
        end = url.find("/", _AFTER_SCHEME)
        place = self._origins.get(url[:end]) if end > 0 else None
        return None if place is None else place.origin

    def begin(self, parts: RequestParts, trace: str | None = None) -> Begun | None:
        """Send a request without waiting for anything, if that is possible; else return None.

        It is if `is_plain` is true, its URL is encoded, its origin and its header lines are known, and a connection
        waits. `trace` is a `traceparent` that is added to its headers.
        """
        url = parts.url
        end = url.find("/", _AFTER_SCHEME)
        place = self._origins.get(url[:end]) if end > 0 else None
        # the lines are those of a plain method
        if place is None or not place.parked or not _PATH(url, end) or url[-1] == "?":
            return None
        if parts.body is not None and len(parts.body) > _PLAIN_BODY:
            return None
        request = self._heads.written_at_once(
            parts.method, place.authority, url[end:], parts.headers, parts.body, trace
        )
        if request is None or (used := self._parked(place, parts.method)) is None:
            return None
        return used, _begin(used.protocol, parts.method, request)

    def take_over(self, target: URL, transport: asyncio.Transport, arrival: Arrival) -> Begun:
        """Let aiohttp read the reply on a connection to which the request was written already, and which has no TLS."""
        place = self._places.get((target.scheme, target.raw_authority, False)) or self._place(target, None)
        protocol = TellingProtocol(self._loop)
        protocol.connection_made(transport)
        protocol.force_close()
        protocol.set_response_params(**_OF_BODY)

        def hand_over() -> None:
            transport.set_protocol(protocol)
            protocol.data_received(bytes(arrival.data))
            if arrival.is_lost:
                protocol.connection_lost(arrival.error)
            elif arrival.at_end:
                transport.close()
            else:
                transport.resume_reading()

        self._loop.call_soon(hand_over)  # when `read` waits: only what waits receives the cause of an error
        return _Used(cast("Connection", _TakenOver(protocol)), protocol, place), None

    def park(self, used: _Used, *, is_known: bool = False) -> None:
        """Let a connection wait for the next request. If the server did not take the whole last one, end it.

        After a reply with a known head, which does not close it, it is looked at only when it is used again.
        """
        transport = used.protocol.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()
        if self._room <= 0 or self._is_closed or (not is_known and used.protocol.should_close):
            used.connection.release()
            return
        self._room -= 1
        used.since = monotonic()
        used.place.parked.append(used)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._connector.idle.period, self._close_idle)

    def close(self) -> None:
        """Close the connections that wait, before the connector is closed."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for place in self._places.values():
            self._drop(place, len(place.parked))

    def _place(self, target: URL, own: dict[str, Any] | None) -> _PoolPlace:
        if len(self._places) >= _MAX_PLACES:
            for place in self._places.values():
                self._drop(place, len(place.parked))
            self._places.clear()
            self._origins.clear()
        tls = {} if own is None else {name: own[name] for name in ("ssl", "server_hostname")}
        made = self._places[target.scheme, target.raw_authority, own is not None] = _PoolPlace(
            target.origin(), self._connector, **tls
        )
        return made

    def _parked(self, place: _PoolPlace, method: str) -> _Used | None:
        """Return a connection that waits, if it can still be used for a request of this method."""
        while place.parked:
            used = place.parked.pop()
            self._room += 1
            transport = used.protocol.transport
            is_open = transport is not None and not transport.is_closing()
            seconds = monotonic() - used.since
            # `should_close`: a server sends something without being asked
            if is_open and seconds < place.idle.at_once and not used.protocol.should_close:
                return used
            taken = place.idle.take(transport, seconds, is_repeatable=method in REPEATABLE)
            if taken is None:
                self._room -= 1
                place.parked.append(used)
                if (oldest := place.parked[0]) is not used:
                    place.idle.look(oldest.protocol.transport, monotonic() - oldest.since)
                return None
            if taken and not used.protocol.should_close:
                return used
            used.connection.close()
        return None

    def _lost(self, protocol: PlainProtocol) -> None:
        """Note how long a connection was idle, if it has ended while it waited."""
        used = protocol.used
        if used is None or used not in used.place.parked:
            self._connector.note_lost(protocol)
            return
        used.place.parked.remove(used)
        self._room += 1
        self._note_closed(used)

    def _note_announced(self, used: _Used, head: Head) -> None:
        """Note what the first reply over a connection says about idle ones."""
        if not used.since:
            self._connector.idle.announced(used.place.idle, head.headers)

    def _note_closed(self, used: _Used) -> None:
        """Close a connection that the server has closed, and note how long it was idle, if it was."""
        used.connection.close()
        if used.since:
            used.place.idle.closed(monotonic() - used.since)

    async def _connected(self, place: _PoolPlace) -> _Used:
        """Return another connection, a new one as a rule."""
        if self._is_closed:
            raise aiohttp.ClientConnectionError("The connections are closed.")
        for _ in range(2):
            try:
                connection = await self._connector.connect(place, [], self._timeout)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError from error
            if (protocol := connection.protocol) is not None and protocol.transport is not None:
                return _Used(connection, protocol, place)
            connection.close()
        raise aiohttp.ServerDisconnectedError

    def _close_idle(self) -> None:
        """Close the connections that have waited for too long, and look again when the next one has."""
        self._sweep = None
        now, following = monotonic(), math.inf
        for place in self._places.values():
            most = place.idle.most
            old = [used for used in place.parked if now - used.since >= most]
            for used in old:
                place.idle.look(used.protocol.transport, now - used.since)
            self._drop(place, len(old))
            if place.parked:
                following = min(following, place.parked[0].since + most)
        if following < math.inf:
            self._sweep = self._loop.call_later(min(following - now, self._connector.idle.period), self._close_idle)

    def _drop(self, place: _PoolPlace, number: int) -> None:
        dropped, place.parked = place.parked[:number], place.parked[number:]
        self._room += number
        for used in dropped:
            used.connection.close()


def _begin(protocol: ResponseHandler, method: str, request: bytes) -> _Waiter:
    """Write a request, and return what `PlainProtocol.expect` returns for its reply.

    It is written first: no reply is read before the next turn of the event loop, and the server begins meanwhile.
    """
    if (transport := protocol.transport) is None:
        raise aiohttp.ServerDisconnectedError
    transport.write(request)
    options = _OF_HEAD if method == hdrs.METH_HEAD else _OF_BODY
    if isinstance(protocol, PlainProtocol):
        return protocol.expect(options)
    protocol.set_response_params(**options)
    return None
