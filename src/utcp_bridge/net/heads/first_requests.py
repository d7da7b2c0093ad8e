"""Requests of a command that sends one or two, without aiohttp, whose import takes a quarter of such a command.

A plain request over `http` is written to a connection of its own, with the bytes that `plain_requests.py` would write.
A reply that comes whole, with a head of the usual form, is read here. Any other reply is given to aiohttp as it
came, together with its connection: chunks, encodings, redirects, broken heads and broken connections are read there
alone. Every other request goes to the session with aiohttp at once, and so does one whose connection cannot be made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from multidict import CIMultiDict, CIMultiDictProxy

from utcp_bridge.errors import ConnectionLost, Unreachable, UtcpError
from utcp_bridge.foreign import is_heavy
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.heads.request_heads import head_lines, whole_request
from utcp_bridge.net.http_options import PoolOptions
from utcp_bridge.net.reply import Reply
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.telemetry import trace_context

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials
    from utcp_bridge.net.http_session import HttpSession

__all__ = ["Arrival", "FirstRequests"]

_URL: Final = late_pattern(
    r"http://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?)(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>/(?!\.)(?:[!\"$-.0-~]|/(?!\.))*)"
)
"""A URL that every reader takes apart in the same way: no user, no fragment, no segment that begins with a dot."""
_PORT: Final = 80
_MAX_PORT: Final = 65_535
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_MAX_BODY: Final = 1 << 16
_CONNECT_SECONDS: Final = 0.25
"""For the first address. If it does not accept a connection by then, aiohttp tries all of them."""
_MAX_HEAD: Final = 8_192
_MAX_FIELDS: Final = 100
_END: Final = b"\r\n\r\n"
_HEAD: Final = late_pattern(
    rb"HTTP/1\.1 (?P<status>[245][0-9]{2})(?: [ -~]*)?\r\n"
    rb"(?P<fields>(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*(?:[!-~](?:[ -~\t]*[!-~])?)?[ \t]*\r\n)+)\r\n"
)
_FIELD: Final = late_pattern(rb"([^:\r\n]+):[ \t]*([^\r\n]*?)[ \t]*\r\n")
_LENGTH: Final = late_pattern(r"[0-9]{1,6}")
"""A longer body is read by aiohttp as it arrives."""
_OF_AIOHTTP: Final = frozenset({"transfer-encoding", "content-encoding", "upgrade"})
"""Headers of a reply that aiohttp reads."""
_WITHOUT_BODY: Final = frozenset({204, 205})


class Arrival(asyncio.Protocol):
    """What arrives on a connection, until it is a whole reply of the usual form or certainly another one."""

    def __init__(self) -> None:
        self.data: Final = bytearray()
        self.at_end = False
        """Whether the other side has closed its direction."""
        self.is_lost = False
        self.error: Exception | None = None
        self.found: tuple[int, CIMultiDictProxy[str], bytes] | None = None
        """Status, headers and body of the whole reply."""
        self.decided: Final = asyncio.Event()
        self._head: tuple[int, CIMultiDictProxy[str], int, int] | None = None

    def data_received(self, data: bytes) -> None:
        """Look whether the reply is whole."""
        self.data.extend(data)
        if not self.decided.is_set() and self._is_decided():
            self.decided.set()

    def eof_received(self) -> bool:
        """Note that nothing more comes. The connection stays until its reply was read."""
        self.at_end = True
        self.decided.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection."""
        self.is_lost, self.error = True, exc
        self.decided.set()

    def _is_decided(self) -> bool:
        if self._head is None:
            end = self.data.find(_END)
            if end < 0:
                return len(self.data) > _MAX_HEAD
            self._head = _head_of(bytes(self.data[: end + len(_END)]))
            if self._head is None:
                return True
        status, headers, start, length = self._head
        if len(self.data) < start + length:
            return False
        if len(self.data) == start + length:
            self.found = status, headers, bytes(self.data[start:])
        return True


def _head_of(head: bytes) -> tuple[int, CIMultiDictProxy[str], int, int] | None:
    """Return status, headers, where the body begins, and its length; None if the head is not of the usual form."""
    usual = _HEAD.fullmatch(head) if len(head) <= _MAX_HEAD else None
    if usual is None:
        return None
    headers = CIMultiDict((name.decode(), value.decode()) for name, value in _FIELD.findall(usual["fields"]))
    lengths = headers.getall("Content-Length", [])
    status = int(usual["status"])
    if len(headers) > _MAX_FIELDS or len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]) or status in _WITHOUT_BODY:
        return None
    if any(name in headers for name in _OF_AIOHTTP):
        return None
    return status, CIMultiDictProxy(headers), len(head), int(lengths[0])


class FirstRequests:
    """A session of a manual that imports aiohttp when it needs it. It has all that `HttpSession` has."""

    def __init__(self, guard: Guard, source: Source, options: PoolOptions, make: Callable[[], HttpSession]) -> None:
        """`make` returns the session with aiohttp."""
        self._guard = guard
        self._source = source
        self._options = options
        self._make = make
        self._made: HttpSession | None = None
        self._open: set[asyncio.Transport] = set()
        self._is_closed = False

    @staticmethod
    def suits(source: Source, options: PoolOptions) -> bool:
        """Return whether requests of a manual go out as they are given, over connections of their own."""
        is_bare = source.proxy is None and source.deadline_header is None and not source.forward_headers
        return is_bare and not options.trust_env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole(), name)

    def _whole(self) -> HttpSession:
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
            async with asyncio.timeout(min(_CONNECT_SECONDS, self._options.connect_timeout)):
                first = addresses[0]
                return await asyncio.get_running_loop().create_connection(Arrival, first.host, first.port)
        except (UtcpError, OSError):  # also a TimeoutError
            return None
