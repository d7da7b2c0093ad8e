"""Sample services that speak plain TCP and UDP: one line each way, one datagram each way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, cast

__all__ = ["serving_sockets"]

_LONGEST_LINE: Final = 10_000


@asynccontextmanager
async def serving_sockets(tcp_port: int = 0, udp_port: int = 0) -> AsyncGenerator[tuple[int, int]]:
    """Run both on loopback; gives their ports (TCP, UDP). Port 0 is any free one."""
    server = await asyncio.start_server(_answer_line, "127.0.0.1", tcp_port, limit=_LONGEST_LINE)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_Reversing, ("127.0.0.1", udp_port))
    try:
        async with server:
            yield server.sockets[0].getsockname()[1], transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def _answer_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write each line back in capitals."""
    try:
        while line := await reader.readline():
            writer.write(line.decode("utf-8", "replace").upper().encode())
            await writer.drain()
    except (ConnectionError, ValueError):
        pass  # the caller left, or its line was too long
    finally:
        writer.close()


class _Reversing(asyncio.DatagramProtocol):
    """Sends each datagram's text back, last letter first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data.decode("utf-8", "replace")[::-1].encode(), addr)
