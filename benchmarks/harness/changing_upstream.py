"""Providers of one large manual each, which a bridge reads again and again.

    python -m benchmarks.harness.changing_upstream 10000        prints its port, serves until stdin closes

`/unchanged/utcp` is the same document each time, `/tagged/utcp` has an ETag, too, and `/changed/utcp` has another
description of every tool each time. `/reads` returns how often each was read.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from benchmarks.harness.processes import catalogue

CASES = ("unchanged", "tagged", "changed")
_ETAG = b'"the-only-version"'
_VERSION = b"@version@"


class Provider(asyncio.Protocol):
    """One connection. Requests have no body, so a blank line ends each."""

    document = b""
    reads: Counter[str] = Counter()  # noqa: RUF012 - one count for all connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        *requests, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for request in requests:
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        case = request.split(b" ", 2)[1].decode().split("/")[1]
        if case == "reads":
            self._write(json.dumps(self.reads).encode())
            return
        self.reads[case] += 1
        if case == "tagged" and _ETAG in request:
            self._transport.write(b"HTTP/1.1 304 x\r\nETag: " + _ETAG + b"\r\nContent-Length: 0\r\n\r\n")
            return
        version = self.reads[case] if case == "changed" else 0
        self._write(self.document.replace(_VERSION, b"%d" % version), case == "tagged")

    def _write(self, body: bytes, is_tagged: bool = False) -> None:
        tag = b"ETag: " + _ETAG + b"\r\n" if is_tagged else b""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n" % (tag, len(body))
        self._transport.write(head + body)


async def serve(tools: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = catalogue(tools, port)
    for tool in made["tools"]:
        tool["description"] += f" Version {_VERSION.decode()}."
    Provider.document = json.dumps(made).encode()
    print(port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
