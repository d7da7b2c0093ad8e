"""The services of the soak, in a process of their own.

    python -m benchmarks.harness.soak_services counting SEED FAULTS    HTTP, SSE, NDJSON, GraphQL, TCP, UDP
    python -m benchmarks.harness.soak_services mortal                  WebSocket, gRPC, MCP over HTTP: killed at times

Each prints one line of JSON, the ports by name, and serves until stdin closes. `counting` counts each key that it was
asked to count, as soon as it has read the request, and returns the counts at `/counts`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from tests.upstreams import mcp_server
from tests.upstreams.grpc_service import GrpcService
from tests.upstreams.websocket_service import WebSocketService

BUSY = 0.03
LOST, TWICE = 0.05, 0.10


class Counting:
    """Counts keys over HTTP, GraphQL and TCP. With faults it sometimes says 503 after it has counted."""

    def __init__(self, seed: int, *, has_faults: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._rnd = random.Random(seed)
        self._has_faults = has_faults

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/echo", _echo)
        app.router.add_get("/events", _events)
        app.router.add_get("/lines", _lines)
        app.router.add_get("/counts", self._report)
        app.router.add_post("/count", self._count)
        app.router.add_post("/graphql", self._graphql)
        return app

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                key = json.loads(line)["key"]
                self.counts[key] += 1
                writer.write(json.dumps({"counted": key}).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, KeyError, TypeError):
            pass
        finally:
            writer.close()

    async def _report(self, _request: web.Request) -> web.Response:
        return web.json_response(self.counts)

    async def _count(self, request: web.Request) -> web.Response:
        try:
            key = (await request.json())["key"]
            self.counts[key] += 1
        except (ValueError, KeyError, TypeError):
            return web.json_response({"error": "not a key"}, status=400)
        if self._has_faults and self._rnd.random() < BUSY:
            return web.json_response({"busy": key}, status=503, headers={"Retry-After": "0"})
        return web.json_response({"counted": key})

    async def _graphql(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            key = asked["variables"]["key"]
            name = "add" if "mutation" in asked["query"] else "echo"
        except (ValueError, KeyError, TypeError):
            return web.json_response({"errors": [{"message": "not a query"}]}, status=400)
        if name == "add":
            self.counts[key] += 1
        return web.json_response({"data": {name: key}})


class Udp(asyncio.DatagramProtocol):
    """Returns each datagram. With faults it loses some and sends some twice."""

    def __init__(self, seed: int, *, has_faults: bool) -> None:
        self._rnd = random.Random(seed)
        self._has_faults = has_faults

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        drawn = self._rnd.random() if self._has_faults else 1.0
        for _ in range(0 if drawn < LOST else 2 if drawn < TWICE else 1):
            self._transport.sendto(data, addr)


async def _echo(request: web.Request) -> web.Response:
    return web.json_response(dict(request.query))


async def _events(request: web.Request) -> web.StreamResponse:
    return await _stream(request, "text/event-stream", "data: {}\n\n")


async def _lines(request: web.Request) -> web.StreamResponse:
    return await _stream(request, "application/x-ndjson", "{}\n")


async def _stream(request: web.Request, media_type: str, form: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": media_type})
    await response.prepare(request)
    for number in range(3):
        item = json.dumps({"n": number, "v": request.query["v"]})
        await response.write(form.replace("{}", item).encode())
    return response


async def _counting(stack: AsyncExitStack, seed: int, *, has_faults: bool) -> dict[str, int]:
    service = Counting(seed, has_faults=has_faults)
    runner = web.AppRunner(service.app(), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    lines = await asyncio.start_server(service.tcp, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    datagrams, _ = await loop.create_datagram_endpoint(
        lambda: Udp(seed, has_faults=has_faults), local_addr=("127.0.0.1", 0)
    )
    return {
        "http": runner.addresses[0][1],
        "tcp": lines.sockets[0].getsockname()[1],
        "udp": datagrams.get_extra_info("sockname")[1],
    }


async def _mortal(stack: AsyncExitStack) -> dict[str, int]:
    sockets = await stack.enter_async_context(WebSocketService())
    calls = await stack.enter_async_context(GrpcService())
    served = await stack.enter_async_context(mcp_server.http_server("mortal"))
    return {
        "websocket": urlsplit(sockets.base).port or 0,
        "grpc": calls.port,
        "mcp": urlsplit(served).port or 0,
    }


async def serve(make: Callable[[AsyncExitStack], Coroutine[Any, Any, dict[str, int]]]) -> None:
    async with AsyncExitStack() as stack:
        print(json.dumps(await make(stack)), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main(kind: str, seed: str = "1", faults: str = "yes") -> None:
    has_faults = faults == "yes"
    asyncio.run(
        serve(_mortal if kind == "mortal" else lambda stack: _counting(stack, int(seed), has_faults=has_faults))
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
