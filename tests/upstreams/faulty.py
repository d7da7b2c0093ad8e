"""An HTTP server on raw sockets with faults that no framework allows: cut, wrong, slow and huge replies, redirects.

    async with faulty_server() as server:
        server.answers["/x"] = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi"
        ... f"{server.url}/x" ...
        server.requests    # every request that arrived, byte by byte

Paths with their own behaviour: /ok /echo /rst /half /drip /close /garbage /bomb /endless-headers /endless-body
/long-header /moved?status=308&to=... /status?code=503&retry_after=3 /slow /stall. Anything else is 404.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

BOMB_SIZE = 200_000_000


@dataclass(frozen=True)
class Seen:
    """One request as it arrived: `target` is not decoded, header names are in lower case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}


@dataclass
class FaultyServer:
    """`gone` is set when a client leaves a reply that never ends; `connections` counts accepted connections."""

    url: str = ""
    requests: list[Seen] = field(default_factory=list)
    answers: dict[str, bytes] = field(default_factory=dict)
    connections: int = 0
    greeting: bytes = b""
    """What is said to a new connection before it has asked for anything."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a part of the body of `/stall` is sent."""

    @property
    def endpoint(self) -> str:
        """`host:port`, as in `Source.exempt`."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class Exchange:
    """One request and its connection."""

    server: FaultyServer
    request: Seen
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@asynccontextmanager
async def faulty_server(*, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[FaultyServer]:
    """Listen on loopback during the block. With `tls` the URL is https://localhost."""
    state = FaultyServer()
    tasks: set[asyncio.Task[None]] = set()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writer.write(state.greeting)
        try:
            await _serve(state, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the server is closing
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(on_connect, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    state.url = f"https://localhost:{port}" if tls else f"http://{host}:{port}"
    try:
        yield state
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _serve(state: FaultyServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await _head(reader):
        lines = head.decode("utf-8").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        pairs = [line.partition(":") for line in lines[1:] if line]
        headers = [(name.lower(), value.strip()) for name, _, value in pairs]
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        request = Seen(method, target, headers, await reader.readexactly(length) if length else b"")
        state.requests.append(request)
        path = urlsplit(target).path
        if path in state.answers:
            writer.write(state.answers[path])
        else:
            await BEHAVIOURS.get(path, _not_found)(Exchange(state, request, reader, writer))
        await writer.drain()
        if writer.is_closing() or path in _LAST:
            return


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def answer(body: bytes, content_type: str = "application/json", status: str = "200 OK", extra: str = "") -> bytes:
    """Return a well-formed reply for `FaultyServer.answers`."""
    type_line = f"Content-Type: {content_type}\r\n" if content_type else ""
    return f"HTTP/1.1 {status}\r\n{type_line}{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _ok(exchange: Exchange) -> None:
    exchange.writer.write(answer(b'{"ok":true}'))


async def _echo(exchange: Exchange) -> None:
    if exchange.request.method == "HEAD":
        exchange.writer.write(answer(b""))
        return
    body = {
        "method": exchange.request.method,
        "target": exchange.request.target,
        "headers": exchange.request.headers,
        "body": exchange.request.body.decode("latin-1"),
    }
    exchange.writer.write(answer(json.dumps(body).encode()))


async def _not_found(exchange: Exchange) -> None:
    exchange.writer.write(answer(b'{"title":"no such path"}', "application/problem+json", "404 Not Found"))


async def _rst(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nonly this")
    exchange.server.stalled.set()
    await exchange.writer.drain()
    sock: socket.socket = exchange.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.writer.transport.abort()


async def _half(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nonly this")
    exchange.server.stalled.set()
    await exchange.writer.drain()
    exchange.writer.close()


async def _drip(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        while True:
            exchange.writer.write(b"9\r\ndata: x\n\n\r\n")
            await exchange.writer.drain()
            await asyncio.sleep(0.01)
    except ConnectionError:
        exchange.server.gone.set()
        raise


async def _slow(exchange: Exchange) -> None:
    await exchange.reader.read()
    exchange.server.gone.set()


async def _stall(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nonly this")
    exchange.server.stalled.set()
    with suppress(ConnectionError):  # a client that leaves before it has read all this resets the connection
        await exchange.reader.read()
    exchange.server.gone.set()


async def _close(exchange: Exchange) -> None:
    exchange.writer.close()


async def _garbage(exchange: Exchange) -> None:
    exchange.writer.write(b"220 smtp.example ready\r\n\r\n")


async def _bomb(exchange: Exchange) -> None:
    packer = zlib.compressobj(9, wbits=31 if exchange.request.query.get("as", "gzip") == "gzip" else 15)
    block = bytes(1_000_000)
    body = b"".join(packer.compress(block) for _ in range(BOMB_SIZE // len(block))) + packer.flush()
    encoding = exchange.request.query.get("as", "gzip")
    exchange.writer.write(answer(body, "text/plain", extra=f"Content-Encoding: {encoding}\r\n"))


async def _gzip(exchange: Exchange) -> None:
    exchange.writer.write(answer(gzip.compress(b'{"packed":1}'), extra="Content-Encoding: gzip\r\n"))


async def _endless_headers(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while True:
        exchange.writer.write(b"X-%d: %s\r\n" % (number, b"y" * 1000))
        number += 1
        await exchange.writer.drain()


async def _long_header(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n")


async def _endless_body(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        while True:
            exchange.writer.write(b"1000\r\n" + b"z" * 0x1000 + b"\r\n")
            await exchange.writer.drain()
    except ConnectionError:
        exchange.server.gone.set()
        raise


async def _moved(exchange: Exchange) -> None:
    status, to = exchange.request.query.get("status", "307"), exchange.request.query["to"]
    exchange.writer.write(f"HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())


async def _status(exchange: Exchange) -> None:
    retry = (
        f"Retry-After: {exchange.request.query['retry_after']}\r\n" if "retry_after" in exchange.request.query else ""
    )
    exchange.writer.write(
        answer(b'{"error":"so it is"}', status=f"{exchange.request.query['code']} Status", extra=retry)
    )


BEHAVIOURS: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "/ok": _ok,
    "/echo": _echo,
    "/rst": _rst,
    "/half": _half,
    "/drip": _drip,
    "/slow": _slow,
    "/slow.json": _slow,
    "/stall": _stall,
    "/close": _close,
    "/garbage": _garbage,
    "/bomb": _bomb,
    "/gzip": _gzip,
    "/endless-headers": _endless_headers,
    "/endless-body": _endless_body,
    "/long-header": _long_header,
    "/moved": _moved,
    "/status": _status,
}
_LAST = frozenset({"/rst", "/half", "/close", "/garbage"})
