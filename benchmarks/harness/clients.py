"""Light load clients: raw sockets for HTTP, raw pipes for stdio. No SDK, no HTTP library, one callback a reply.

A lane sends its next request as soon as a reply has come, and looks at that reply while the server works: a client's
own work would be a part of each call, the larger the faster the server is.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import IO, Any

from benchmarks.harness.messages import Address, Era, Load, initialize, message, payload

_END = b"\r\n\r\n"
_ID = re.compile(rb'"id": ?"([^"\\]{1,40})"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SESSION = re.compile(rb"\r\nmcp-session-id: *([^\r]+)", re.IGNORECASE)
SPAN = b"@" * 16
"""What each call replaces with an id of its own, in a further line of its head: that of a span, for `traceparent`."""
_PATIENCE = 120.0
"""Seconds for one reply. A server that lists 10,000 tools may take long for its first one."""


@dataclass
class Burst:
    """Calls of one load until `ends` (perf_counter) or until there are `calls`.

    `finished` fires when the last lane has stopped.
    """

    load: Load
    ends: float
    finished: asyncio.Future[None]
    lanes: int
    calls: float = inf
    latencies: list[float] = field(default_factory=list)
    begun: int = 0
    """Calls that were sent."""
    fault: str | None = None

    def goes_on(self, now: float) -> bool:
        """Return whether a lane whose reply has come sends its next request."""
        return self.fault is None and now < self.ends and self.begun < self.calls

    def note(self, seconds: float, reply: bytes, *, is_last: bool) -> None:
        """Count one reply. `is_last` says that its lane has stopped."""
        if not self.load.is_right(reply):
            self.fail(f"unexpected reply: {reply[:300]!r}")
            return
        self.latencies.append(seconds)
        self.lanes -= is_last
        if self.lanes == 0 and not self.finished.done():
            self.finished.set_result(None)

    def fail(self, fault: str) -> None:
        self.fault = self.fault or fault
        if not self.finished.done():
            self.finished.set_result(None)


def _unchunked(data: bytes) -> bytes:
    pieces: list[bytes] = []
    while data:
        size, _, rest = data.partition(b"\r\n")
        count = int(size, 16)
        pieces.append(rest[:count])
        data = rest[count + 2 :] if count else b""
    return b"".join(pieces)


class HttpLane(asyncio.Protocol):
    """One keep-alive connection with one request in flight."""

    _numbers = itertools.count(1)

    def __init__(self, address: Address, era: Era) -> None:
        self._address, self._era = address, era
        self._buffer = bytearray()
        self._on_reply: Callable[[bytes, bytes], None] | None = None
        self._name = f"{next(self._numbers):05d}"
        self._session = ""
        self._same = (0, 0, b"", 0)
        """Of the last whole reply: its size, where its head ends, its line with the length, and where that is."""
        self.fault: Callable[[str], None] | None = None

    @classmethod
    async def open(cls, address: Address, era: Era) -> HttpLane:
        loop = asyncio.get_running_loop()
        _, lane = await loop.create_connection(lambda: cls(address, era), address.host, address.port)
        try:
            if era == "2025-11-25":
                await lane.exchange("initialize", initialize(era))
                await lane.exchange("notifications/initialized", {}, notify=True)
        except BaseException:
            lane.close()
            raise
        return lane

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self._on_reply is not None and self.fault is not None:
            self.fault("the server closed the connection")

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        size, end, line, place = self._same
        if len(data) == size and not self._buffer and data.startswith(line, place) and data.startswith(_END, end):
            self._hand_over(data[: end + 2], data[end + 4 :])
            return
        self._buffer += data
        end = self._buffer.find(_END)
        if end < 0:
            return
        head = bytes(self._buffer[: end + 2])
        length = _LENGTH.search(head)
        if length is not None:
            if len(self._buffer) < end + 4 + int(length[1]):
                return
            self._same = end + 4 + int(length[1]), end, length[0] + b"\r\n", length.start()
        elif b"chunked" in head.lower() and not self._buffer.endswith(b"0\r\n\r\n"):
            return
        body = bytes(self._buffer[end + 4 :])
        if length is None and b"chunked" in head.lower():
            body = _unchunked(body)
        self._buffer.clear()
        self._hand_over(head, body)

    def _hand_over(self, head: bytes, body: bytes) -> None:
        on_reply, self._on_reply = self._on_reply, None
        if on_reply is not None:
            on_reply(head, body)

    async def exchange(self, method: str, params: dict[str, Any], *, notify: bool = False) -> dict[str, Any]:
        body = message(self._era, None if notify else f"{self._name}-x", method, params)
        reply: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()
        self._on_reply = lambda head, content: reply.set_result((head, content))
        name = str(params.get("name", ""))
        head = self._address.head(self._era, method, len(body), name=name, session=self._session)
        self._transport.write(head + body)
        answered, content = await asyncio.wait_for(reply, _PATIENCE)
        if session := _SESSION.search(answered):
            self._session = session[1].decode()
        return {} if notify else payload(content)

    def start(self, burst: Burst) -> None:
        before, after = burst.load.body()
        length = len(before) + len(self._name) + 8 + len(after)
        head = self._address.head(self._era, "tools/call", length, name=burst.load.tool, session=self._session)
        prefix, numbers = head + before + self._name.encode() + b"-", itertools.count(1)
        first, span, rest = prefix.partition(SPAN)
        self.fault = burst.fail

        def send() -> None:
            number = next(numbers)
            ident = b"%07d" % number
            written = first + b"%016x" % number + rest if span else first
            burst.begun += 1
            started = perf_counter()

            def on_reply(_head: bytes, body: bytes) -> None:
                now = perf_counter()
                if goes_on := burst.goes_on(now):
                    send()
                if ident in body:
                    burst.note(now - started, body, is_last=not goes_on)
                else:
                    burst.fail("a reply has another request's id")

            self._on_reply = on_reply
            self._transport.write(written + ident + after)

        send()


class PipeClient(asyncio.Protocol):
    """One stdio server with any number of requests in flight."""

    def __init__(self, era: Era) -> None:
        self._era = era
        self._rest = bytearray()
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, Callable[[bytes], None]] = {}
        self._exchange: asyncio.Future[bytes] | None = None
        self._fault: Callable[[str], None] | None = None

    @classmethod
    async def open(cls, stdin: IO[bytes], stdout: IO[bytes], era: Era) -> PipeClient:
        loop = asyncio.get_running_loop()
        _, client = await loop.connect_read_pipe(lambda: cls(era), stdout)
        client.writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, stdin)
        try:
            if era == "2025-11-25":
                await client.exchange("initialize", initialize(era))
                client.writer.write(message(era, None, "notifications/initialized", {}) + b"\n")
        except BaseException:  # the loop must let go of the pipes before their numbers are used again
            client.close()
            raise
        return client

    writer: asyncio.WriteTransport

    def connection_made(self, transport: Any) -> None:
        self._reader: asyncio.ReadTransport = transport

    def close(self) -> None:
        self._waiting.clear()
        self.writer.close()
        self._reader.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._exchange is not None and not self._exchange.done():
            self._exchange.set_exception(ConnectionError("the server closed its output"))
        if self._fault is not None and self._waiting:
            self._fault("the server closed its output")

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if b"\n" not in data:
            return
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            found = _ID.search(line[:200]) or _ID.search(line)
            on_reply = self._waiting.pop(found[1], None) if found else None
            if on_reply is not None:
                on_reply(line)

    async def exchange(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        ident = f"x{next(self._numbers)}"
        self._exchange = reply = asyncio.get_running_loop().create_future()
        self._waiting[ident.encode()] = lambda line: None if reply.done() else reply.set_result(line)
        self.writer.write(message(self._era, ident, method, params) + b"\n")
        return payload(await asyncio.wait_for(reply, _PATIENCE))

    def start(self, burst: Burst) -> None:
        """Open one lane of the burst."""
        before, after = burst.load.body()
        self._fault = burst.fail

        def send() -> None:
            ident = b"c%08d" % next(self._numbers)
            burst.begun += 1
            started = perf_counter()

            def on_reply(line: bytes) -> None:
                now = perf_counter()
                if goes_on := burst.goes_on(now):
                    send()
                burst.note(now - started, line, is_last=not goes_on)

            self._waiting[ident] = on_reply
            self.writer.write(before + ident + after + b"\n")

        send()


async def run_burst(lanes: list[HttpLane] | list[PipeClient], load: Load, seconds: float, calls: float = inf) -> Burst:
    """Keep one call in flight in every lane for `seconds`, or until there were `calls`.

    :raises RuntimeError: a reply was wrong, or a connection broke.
    """
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    burst = Burst(load, perf_counter() + seconds, finished, len(lanes), calls)
    for lane in lanes:
        lane.start(burst)
    await asyncio.wait_for(finished, seconds + _PATIENCE)
    if burst.fault is not None:
        raise RuntimeError(burst.fault)
    return burst


async def list_tools(client: HttpLane | PipeClient) -> list[dict[str, Any]]:
    """Every page of tools/list."""
    tools: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    while True:
        page = await client.exchange("tools/list", params)
        tools += page["tools"]
        if not page.get("nextCursor"):
            return tools
        params = {"cursor": page["nextCursor"]}
