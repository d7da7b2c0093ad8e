"""Servers of every kind of transport with a network, all of them at one address of this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web
from tests.upstreams.grpc_service import GrpcService

from utcp_bridge.model import JsonObject

NAME = "names.example"
"""The host of all templates. The test decides its addresses."""
ARGUMENTS = {"text": "hello"}


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(b"hello", addr)


async def _web(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return web.json_response("hello")
    answer = web.WebSocketResponse()
    await answer.prepare(request)
    async for message in answer:
        if message.type is WSMsgType.TEXT:
            await answer.send_str("hello")
    return answer


async def _line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"hello\n")
    writer.close()


def _port_of_none(host: str, held: ExitStack) -> int:
    """Return a free port of `host`. If that is ::1, nothing answers at this port of 127.0.0.1 until `held` ends.

    Another program of this machine could otherwise have it, and a test tries that address first.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with ExitStack() as taken, socket.socket(family) as free:
            free.bind((host, 0))
            port = free.getsockname()[1]
            try:
                if family == socket.AF_INET6:
                    taken.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            held.push(taken.pop_all())
            return int(port)


@asynccontextmanager
async def servers(host: str) -> AsyncGenerator[dict[str, JsonObject]]:
    """Yield a call template for each kind, by the kind. Each call returns "hello", or the arguments."""
    held = ExitStack()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _web)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, host, _port_of_none(host, held)).start()
    at = f"{NAME}:{runner.addresses[0][1]}"
    lines = await asyncio.start_server(_line, host, _port_of_none(host, held))
    loop = asyncio.get_running_loop()
    datagrams, _ = await loop.create_datagram_endpoint(_Datagrams, local_addr=(host, 0))
    sockets = {"host": NAME, "response_format": "text"}
    try:
        async with GrpcService(host=f"[{host}]" if ":" in host else host) as service:
            yield {
                "http": {"url": f"http://{at}/x", "http_method": "POST"},
                "websocket": {"url": f"ws://{at}/x"},
                "tcp": {
                    **sockets,
                    "port": lines.sockets[0].getsockname()[1],
                    "framing_strategy": "delimiter",
                    "message_delimiter": "\n",
                },
                "udp": {**sockets, "port": datagrams.get_extra_info("sockname")[1]},
                "grpc": {"host": NAME, "port": service.port, "service_name": "shop.Orders", "method_name": "Echo"},
            }
    finally:
        datagrams.close()
        lines.close()
        await runner.cleanup()
        held.close()


def has_ipv6() -> bool:
    """Return whether this machine has the address ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
