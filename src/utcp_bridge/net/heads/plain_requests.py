"""Plain requests over aiohttp's connector, protocol and parser, without its session, requests and responses.

A request is written in one piece, over a connection that waits for the next request of its origin. A reply that comes
whole, with a head that is known, is handed over at once (`WholeReply`). Any other one arrives as aiohttp's parser reads
it (`PlainReply`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from inspect import signature
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
from aiohttp import hdrs, http_exceptions
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from yarl import URL

from utcp_bridge.net.heads.known_replies import GivenBody, Head, KnownReplies, PlainProtocol
from utcp_bridge.net.heads.request_heads import RequestHeads
from utcp_bridge.placement.request import RequestParts

if TYPE_CHECKING:
    from utcp_bridge.net.heads.arrivals import Arrival

__all__ = [
    "IDLE_SECONDS", "MAX_HEADER_BYTES", "Begun", "PlainReply", "PlainRequests", "WholeReply", "has_known_parts",
    "is_plain",
]  # fmt: skip

MAX_HEADER_BYTES: Final = 65536
IDLE_SECONDS: Final = 4.0
"""After which a connection is not used again. Uvicorn, Node and Apache close it after 5 s. A POST that is sent at that
moment is lost, and cannot be sent again, because the server may have read it."""
_PLAIN_BODY: Final = 1 << 16
"""Up to this, a body is written in one piece together with its head. A larger one waits for its receiver."""
_PLAIN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Sent once more if the connection ends before a reply (RFC 9110 9.2.2): the server may have closed it meanwhile."""
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
    """A connection and its parts. It waits in `place` between two requests, since `since`, on the clock `monotonic`."""

    __slots__ = ("connection", "place", "protocol", "since")

    def __init__(self, connection: Connection, protocol: ResponseHandler, place: _PoolPlace) -> None:
        self.connection = connection
        self.protocol = protocol
        self.place = place
        self.since = 0.0


class _TakenOver:
    """A connection that is not of the connector. It ends with its reply."""

    def __init__(self, protocol: ResponseHandler) -> None:
        self.protocol = protocol

    def close(self) -> None:
        """Close it."""
        self.protocol.close()

    release = close


class Begun:
    """A request that was written to a connection which waited. `waiter` is what `PlainProtocol.expect` returned."""

    __slots__ = ("_requests", "used", "waiter")

    def __init__(
        self, requests: PlainRequests, used: _Used, waiter: asyncio.Future[tuple[Head, bytes] | None] | None
    ) -> None:
        self._requests = requests
        self.used = used
        self.waiter = waiter

    def park(self) -> None:
        """Let the connection wait for the next request: the reply has come whole, and its head is known."""
        self._requests.park(self.used, is_known=True)

    def close(self) -> None:
        """Close the connection: nobody waits for the reply."""
        self.used.connection.close()


class _PoolPlace(aiohttp.ClientRequest):
    """What names a place of the pool: a request to the origin, which is never sent. Its key is made once.

    `parked` are connections that wait for the next request, the last one that was used at the end.
    """

    def __init__(self, origin: URL, **options: Any) -> None:
        super().__init__(hdrs.METH_GET, origin, loop=asyncio.get_running_loop(), **options)
        self._key = super().connection_key
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
    as a request. It is closed after `IDLE_SECONDS` all the same.
    """

    def __init__(self, connector: aiohttp.BaseConnector, timeout: aiohttp.ClientTimeout) -> None:
        self._loop = asyncio.get_running_loop()
        # not in aiohttp's documentation; a connector without it keeps its own protocol
        vars(connector)["_factory"] = partial(PlainProtocol, loop=self._loop, known=KnownReplies())
        self._heads = RequestHeads()
        self._connector = connector
        self._timeout = timeout
        self._places: dict[tuple[str, str, bool], _PoolPlace] = {}
        self._origins: dict[str, _PoolPlace] = {}
        """The places of `_places` again, by the beginning of URLs that were sent."""
        self._room = connector.limit // _PARKED_SHARE if connector.limit else _MAX_PLACES
        """How many more connections may wait."""
        self._sweep: asyncio.TimerHandle | None = None

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
        is_last = method not in _REPEATABLE
        while True:
            if begun is not None:
                used = begun.used
            else:
                used = (self._parked(place) if place.parked else None) or await self._connected(place)
            try:
                waiter = _begin(used.protocol, method, request) if begun is None else begun.waiter
                begun = None
                if waiter is not None and (known := await waiter) is not None:
                    head, data = known
                    self.park(used, is_known=True)
                    return WholeReply(head.code, head.headers, data, target)
                message, content = await used.protocol.read()
                while message.code < _FINAL and message.code != _SWITCHING:
                    message, content = await used.protocol.read()
            except http_exceptions.HttpProcessingError as error:
                used.connection.close()
                raise aiohttp.ClientResponseError(place.request_info, (), status=error.code) from error
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                used.connection.close()
                if is_last:
                    raise
                is_last = True
            except BaseException:
                used.connection.close()
                raise
            else:
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

    def begin(self, parts: RequestParts) -> Begun | None:
        """Send a request for which `is_plain` is true without waiting for anything, if that is possible.

        It is if its origin and its header lines are known and a connection waits. Its URL must be encoded.
        """
        url = parts.url
        end = url.find("/", _AFTER_SCHEME)
        place = self._origins.get(url[:end]) if end > 0 else None
        if place is None or not place.parked or "#" in url or url[-1] == "?":
            return None
        request = self._heads.written_at_once(parts.method, place.authority, url[end:], parts.headers, parts.body)
        if request is None or (used := self._parked(place)) is None:
            return None
        return Begun(self, used, _begin(used.protocol, parts.method, request))

    def take_over(self, target: URL, transport: asyncio.Transport, arrival: Arrival) -> Begun:
        """Let aiohttp read the reply on a connection to which the request was written already, and which has no TLS."""
        place = self._places.get((target.scheme, target.raw_authority, False)) or self._place(target, None)
        protocol = ResponseHandler(self._loop)
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
        return Begun(self, _Used(cast("Connection", _TakenOver(protocol)), protocol, place), None)

    def park(self, used: _Used, *, is_known: bool = False) -> None:
        """Let a connection wait for the next request. If the server did not take the whole last one, end it.

        After a reply with a known head, which does not close it, it is looked at only when it is used again.
        """
        transport = used.protocol.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()
        if self._room <= 0 or self._connector.closed or (not is_known and used.protocol.should_close):
            used.connection.release()
            return
        self._room -= 1
        used.since = monotonic()
        used.place.parked.append(used)
        if self._sweep is None:
            self._sweep = self._loop.call_later(IDLE_SECONDS, self._close_idle)

    def close(self) -> None:
        """Close the connections that wait."""
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
        made = self._places[target.scheme, target.raw_authority, own is not None] = _PoolPlace(target.origin(), **tls)
        return made

    def _parked(self, place: _PoolPlace) -> _Used | None:
        """Return a connection that waits, if it can still be used."""
        while place.parked:
            used = place.parked.pop()
            self._room += 1
            transport = used.protocol.transport
            is_open = transport is not None and not transport.is_closing()
            # `should_close`: a server sends something without being asked
            if is_open and monotonic() - used.since < IDLE_SECONDS and not used.protocol.should_close:
                return used
            used.connection.close()
        return None

    async def _connected(self, place: _PoolPlace) -> _Used:
        """Return another connection, a new one as a rule."""
        if self._connector.closed:
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
        now, oldest = monotonic(), None
        for place in self._places.values():
            old = sum(now - used.since >= IDLE_SECONDS for used in place.parked)
            self._drop(place, old)
            if place.parked and (oldest is None or place.parked[0].since < oldest):
                oldest = place.parked[0].since
        if oldest is not None:
            self._sweep = self._loop.call_later(oldest + IDLE_SECONDS - now, self._close_idle)

    def _drop(self, place: _PoolPlace, number: int) -> None:
        dropped, place.parked = place.parked[:number], place.parked[number:]
        self._room += number
        for used in dropped:
            used.connection.close()


def _begin(protocol: ResponseHandler, method: str, request: bytes) -> asyncio.Future[tuple[Head, bytes] | None] | None:
    """Write a request, and return what `PlainProtocol.expect` returns for its reply."""
    options = _OF_HEAD if method == hdrs.METH_HEAD else _OF_BODY
    waiter = None
    if isinstance(protocol, PlainProtocol):
        waiter = protocol.expect(options)
    else:
        protocol.set_response_params(**options)
    if (transport := protocol.transport) is None:
        raise aiohttp.ServerDisconnectedError
    transport.write(request)
    return waiter
