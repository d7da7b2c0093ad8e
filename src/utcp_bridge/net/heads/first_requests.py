"""Requests of a command that sends one or two, without aiohttp, whose import takes a quarter of such a command.

A plain request over `http` is written to a connection of its own, with the bytes that `plain_requests.py` would write.
A reply that comes whole, with a head of the usual form, is read here. Any other reply is given to aiohttp as it
came, together with its connection: chunks, encodings, redirects, broken heads and broken connections are read there
alone. Every other request goes to the session with aiohttp at once, and so does one whose connection cannot be made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from utcp_bridge.errors import ConnectionLost, Unreachable, UtcpError
from utcp_bridge.foreign import is_heavy
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.heads.arrivals import Arrival
from utcp_bridge.net.heads.request_heads import head_lines, whole_request
from utcp_bridge.net.http_options import PoolOptions
from utcp_bridge.net.reply import Reply
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.telemetry import trace_context

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials

__all__ = ["FirstRequests"]

_URL: Final = late_pattern(
    r"http://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?)(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>/(?!\.)(?:[!\"$-.0-~]|/(?!\.))*)"
)
"""A URL that every reader takes apart in the same way: no user, no fragment, no segment that begins with a dot."""
_PORT: Final = 80
_MAX_PORT: Final = 65_535
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_MAX_BODY: Final = 1 << 16
_CONNECT_SECONDS: Final = (2.0, 0.25)
"""For the only address, and for the first of several. If it accepts none by then, aiohttp tries all of them."""


class WholeSession(Protocol):
    """The session with aiohttp (`HttpSession`)."""

    async def request(
        self, parts: RequestParts, *, credentials: Credentials | None = None, max_bytes: int | None = None
    ) -> Reply:
        """Send one request and return its reply."""
        ...

    async def reply_on(self, parts: RequestParts, transport: asyncio.Transport, arrival: Arrival, limit: int) -> Reply:
        """Return the reply to a request that was written to a connection already."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class FirstRequests:
    """A session of a manual that imports aiohttp when it needs it. It has all that `HttpSession` has."""

    def __init__(self, guard: Guard, source: Source, options: PoolOptions, make: Callable[[], WholeSession]) -> None:
        """`make` returns the session with aiohttp."""
        self._guard = guard
        self._source = source
        self._options = options
        self._make = make
        self._made: WholeSession | None = None
        self._open: set[asyncio.Transport] = set()
        self._is_closed = False

    @staticmethod
    def suits(source: Source, options: PoolOptions) -> bool:
        """Return whether requests of a manual go out as they are given, over connections of their own."""
        is_bare = source.proxy is None and source.deadline_header is None and not source.forward_headers
        return is_bare and not options.trust_env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole(), name)

    def _whole(self) -> WholeSession:
        if self._is_closed:
            raise Unreachable(f"The connections of manual {self._source.name!r} are closed.")
        if self._made is None:
            self._made = self._make()
        return self._made

    async def aclose(self) -> None:
        """Close all connections. The session cannot be used again."""
        self._is_closed = True
        for transport in self._open:
            transport.abort()
        if self._made is not None:
            await self._made.aclose()

    async def request(
        self, parts: RequestParts, *, credentials: Credentials | None = None, max_bytes: int | None = None
    ) -> Reply:
        """Send one request and return its reply, as `HttpSession.request` does."""
        target = None
        if self._made is None and credentials is None and not self._is_closed and not trace_context.is_on():
            target = self._target(parts)
        if target is None:
            return await self._whole().request(parts, credentials=credentials, max_bytes=max_bytes)
        host, port, path = target
        written = f"{host}:{port}" if port != _PORT else host
        lines = head_lines(parts.method, written, parts.url, parts.headers, has_body=parts.body is not None)
        limit = self._options.max_response_bytes if max_bytes is None else max_bytes
        connection = await self._connected(host, port)
        if connection is None:
            return await self._whole().request(parts, max_bytes=max_bytes)
        transport, arrival = connection
        self._open.add(transport)
        try:
            transport.write(whole_request(parts.method, path, lines, parts.body))
            await arrival.decided.wait()
            if arrival.found is not None:
                status, headers, data = arrival.found
                if len(data) <= limit and not is_heavy(data):
                    return Reply(status, headers, data, parts.url, limit)
            if self._is_closed:
                raise ConnectionLost(f"The connections of manual {self._source.name!r} were closed.")
            if not transport.is_closing():
                transport.pause_reading()
            return await self._whole().reply_on(parts, transport, arrival, limit)
        finally:
            self._open.discard(transport)
            transport.abort()

    def _target(self, parts: RequestParts) -> tuple[str, int, str] | None:
        """Return host, port and path of a request that may be sent here."""
        if parts.method not in _METHODS or (parts.body is not None and len(parts.body) > _MAX_BODY):
            return None
        found = _URL.fullmatch(parts.url)
        if found is None or parts.url.endswith("?") or int(found["port"] or _PORT) > _MAX_PORT:
            return None
        return found["host"], int(found["port"] or _PORT), found["path"]

    async def _connected(self, host: str, port: int) -> tuple[asyncio.Transport, Arrival] | None:
        """Return a connection to the first address of a host; None if aiohttp has to try, or to say why not."""
        try:
            self._guard.check_target("http", host, port, self._source)
            addresses = await self._guard.resolve(host, port, self._source)
            seconds = _CONNECT_SECONDS[len(addresses) > 1]
            async with asyncio.timeout(min(seconds, self._options.connect_timeout)):
                first = addresses[0]
                return await asyncio.get_running_loop().create_connection(Arrival, first.host, first.port)
        except (UtcpError, OSError):  # also a TimeoutError
            return None
