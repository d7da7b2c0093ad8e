"""Replies of HTTP/1.1 byte by byte, a server that sends them in any pieces, and what a session makes of them."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from utcp_bridge.errors import UtcpError
from utcp_bridge.net.http_session import HttpSession
from utcp_bridge.placement.request import RequestParts

__all__ = ["REPLIES", "RawServer", "outcome", "raw_server"]


def _reply(*lines: str, body: bytes = b"", status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([status, *lines, "", ""]).encode("latin-1") + body


_PACKED = gzip.compress(b'{"packed":1}', mtime=0)
_CHUNKED = "Transfer-Encoding: chunked"

REPLIES: dict[str, bytes] = {
    "length": _reply("Content-Length: 5", body=b"hello"),
    "no body": _reply("Content-Length: 0"),
    "to the end": _reply("Content-Type: text/plain", body=b"until it ends"),
    "old version": _reply("Content-Length: 5", body=b"hello", status="HTTP/1.0 200 OK"),
    "no reason": _reply("Content-Length: 2", body=b"ok", status="HTTP/1.1 200"),
    "close": _reply("Connection: close", "Content-Length: 5", body=b"hello"),
    "chunks": _reply(_CHUNKED, body=b"5\r\nhello\r\n1;name=value\r\n!\r\n0\r\n\r\n"),
    "trailers": _reply(_CHUNKED, "Trailer: X-Sum", body=b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
    "spaces after a chunk size": _reply(_CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"),
    "bad chunk size": _reply(_CHUNKED, body=b"zz\r\nhello\r\n0\r\n\r\n"),
    "signed chunk size": _reply(_CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "huge chunk size": _reply(_CHUNKED, body=b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "chunk without an end": _reply(_CHUNKED, body=b"5\r\nhelloX\r\n0\r\n\r\n"),
    "length and chunks": _reply("Content-Length: 5", _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
    "chunks and length": _reply(_CHUNKED, "Content-Length: 5", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "another coding": _reply("Transfer-Encoding: gzip, chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "identity": _reply("Transfer-Encoding: identity", body=b"hello"),
    "two lengths": _reply("Content-Length: 5", "Content-Length: 5", body=b"hello"),
    "different lengths": _reply("Content-Length: 5", "Content-Length: 6", body=b"hello!"),
    "negative length": _reply("Content-Length: -5", body=b"hello"),
    "length with a sign": _reply("Content-Length: +5", body=b"hello"),
    "length with letters": _reply("Content-Length: 5a", body=b"hello"),
    "repeated headers": _reply(
        "X-A: 1", "x-a: 2", "Set-Cookie: a=1", "Set-Cookie: b=2", "Content-Length: 1", body=b"1"
    ),
    "header in UTF-8": "HTTP/1.1 200 Größe\r\nX-A: größer\r\nContent-Length: 1\r\n\r\n1".encode(),
    "header in Latin-1": _reply("X-A: größer", "Content-Length: 1", body=b"1"),
    "folded header": _reply("X-A: 1", " 2", "Content-Length: 1", body=b"1"),
    "NUL in a header": _reply("X-A: 1\x002", "Content-Length: 1", body=b"1"),
    "space before the colon": _reply("X-A : 1", "Content-Length: 1", body=b"1"),
    "header without a name": _reply(": 1", "Content-Length: 1", body=b"1"),
    "header without a colon": _reply("X-A", "Content-Length: 1", body=b"1"),
    "line feeds alone": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "carriage return alone": b"HTTP/1.1 200 OK\rContent-Length: 5\r\rhello",
    "many headers": _reply(*[f"X-{number}: 1" for number in range(200)], "Content-Length: 1", body=b"1"),
    "early hints": _reply("Link: </a>", status="HTTP/1.1 103 Early Hints") + _reply("Content-Length: 2", body=b"ok"),
    "continue": _reply(status="HTTP/1.1 100 Continue") * 3 + _reply("Content-Length: 2", body=b"ok"),
    "switching": _reply("Upgrade: other", "Connection: Upgrade", status="HTTP/1.1 101 Switching Protocols"),
    "no content": _reply(status="HTTP/1.1 204 No Content"),
    "no content with a length": _reply("Content-Length: 5", status="HTTP/1.1 204 No Content"),
    "not modified": _reply("Content-Length: 5", status="HTTP/1.1 304 Not Modified"),
    "an error": _reply("Content-Length: 2", body=b"{}", status="HTTP/1.1 500 Oh"),
    "odd status": _reply("Content-Length: 2", body=b"ok", status="HTTP/1.1 999 Odd"),
    "long status": _reply("Content-Length: 2", body=b"ok", status="HTTP/1.1 2000 Odd"),
    "other version": _reply("Content-Length: 2", body=b"ok", status="HTTP/3.7 200 OK"),
    "small letters": _reply("content-length: 2", body=b"ok", status="http/1.1 200 OK"),
    "another protocol": b"220 smtp.example ready\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + _reply("Content-Length: 2", body=b"ok"),
    "more than the length": _reply("Content-Length: 2", body=b"ok, and more"),
    "two replies": _reply("Content-Length: 2", body=b"ok") + _reply("Content-Length: 3", body=b"two"),
    "gzip": _reply("Content-Encoding: gzip", f"Content-Length: {len(_PACKED)}", body=_PACKED),
    "gzip in chunks": _reply(
        "Content-Encoding: GZip",
        _CHUNKED,
        body=b"".join(b"1\r\n%c\r\n" % byte for byte in _PACKED) + b"0\r\n\r\n",
    ),
    "gzip to the end": _reply("Content-Encoding: gzip", body=_PACKED),
    "two members": _reply("Content-Encoding: gzip", f"Content-Length: {len(_PACKED) * 2}", body=_PACKED * 2),
    "half of gzip": _reply("Content-Encoding: gzip", "Content-Length: 12", body=_PACKED[:12]),
    "no gzip": _reply("Content-Encoding: gzip", "Content-Length: 5", body=b"hello"),
    "deflate": _reply("Content-Encoding: deflate", body=zlib.compress(b"flat")),
    "raw deflate": _reply("Content-Encoding: deflate", body=zlib.compress(b"flat")[2:-4]),
    "two encodings": _reply("Content-Encoding: gzip", "Content-Encoding: br", "Content-Length: 2", body=b"ok"),
    "unknown encoding": _reply("Content-Encoding: rot13", "Content-Length: 2", body=b"ok"),
}
"""Good, odd and forbidden replies by what is special about them."""


@dataclass
class RawServer:
    """Sends `pieces` after each request, and ends the connection. `requests` has what arrived, by connection.

    After a piece it gives the client `turns` turns of the event loop. From three on, the client receives each piece by
    itself. Before the last piece it waits for `goes_on`. Without `ends`, the client has to end the connection.
    """

    url: str = ""
    pieces: Sequence[bytes] = ()
    turns: int = 1
    ends: bool = True
    goes_on: asyncio.Event | None = None
    requests: list[bytes] = field(default_factory=list)
    open: set[asyncio.Task[Any]] = field(default_factory=set)

    async def all_closed(self) -> None:
        """Wait until the client has closed its side of each connection, so that it uses none of them again."""
        await asyncio.gather(*self.open, return_exceptions=True)


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    """Listen on loopback during the block."""
    state = RawServer()

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        state.open.add(task)
        task.add_done_callback(state.open.discard)
        with suppress(OSError, asyncio.IncompleteReadError):  # the client may be gone when the end is written
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
            state.requests.append(head + (await reader.readexactly(length) if length else b""))
            for left, piece in enumerate(state.pieces, 1 - len(state.pieces)):
                if left == 0 and state.goes_on is not None:
                    await state.goes_on.wait()
                writer.write(piece)
                await writer.drain()
                for _ in range(state.turns):
                    await asyncio.sleep(0)
            if state.ends:
                writer.write_eof()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(exchange, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    state.url = f"http://{host}:{port}"
    async with server:
        yield state
        await state.all_closed()


async def outcome(session: HttpSession, parts: RequestParts) -> tuple[object, ...]:
    """Return the reply in full, or the kind and the words of the error."""
    try:
        reply = await session.request(parts)
    except UtcpError as error:
        return type(error), str(error), getattr(error, "remedy", None)
    return reply.status, list(reply.headers.items()), reply.body, reply.url
