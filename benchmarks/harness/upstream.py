"""The tools' own server: answers GET from ready bytes, so that it is never the bottleneck.

    python -m benchmarks.harness.upstream        prints its port, serves until stdin closes

`/small` about 200 bytes, `/late` the same after 20 ms, `/large` about 50 KB of JSON, `/manual/<n>` a UTCP manual with
one tool, `/slow/<n>` the same after 300 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

SLOW = 0.3
LATE = 0.02
_SMALL = {"answer": "pong", "items": [{"id": number, "name": f"item {number}"} for number in range(6)]}
_LARGE = {"answer": "pong", "items": [{"id": number, "text": "x" * 80} for number in range(480)]}


def _reply(body: Any) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data


class Responder(asyncio.Protocol):
    """One connection; requests are told apart by their blank line, for none has a body."""

    port = 0
    ready: dict[bytes, bytes] = {b"/small": _reply(_SMALL), b"/large": _reply(_LARGE)}  # noqa: RUF012 - one table

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        *requests, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for request in requests:
            path = request.split(b" ", 2)[1].partition(b"?")[0]
            ready = self.ready.get(path)
            if ready is not None:
                self._transport.write(ready)
            elif path == b"/late":
                asyncio.get_running_loop().call_later(LATE, self._transport.write, self.ready[b"/small"])
            else:
                self._manual(path.decode())

    def _manual(self, path: str) -> None:
        _, kind, number = path.split("/")
        tool = {
            "name": "get",
            "description": f"Gets thing number {number}.",
            "inputs": {"type": "object", "properties": {"q": {"type": "string"}}},
            "tool_call_template": {
                "call_template_type": "http",
                "url": f"http://127.0.0.1:{self.port}/small",
                "http_method": "GET",
            },
        }
        reply = _reply({"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": [tool]})
        asyncio.get_running_loop().call_later(SLOW if kind == "slow" else 0, self._transport.write, reply)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Responder, "127.0.0.1", 0, backlog=512)
    Responder.port = server.sockets[0].getsockname()[1]
    print(Responder.port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(serve())
