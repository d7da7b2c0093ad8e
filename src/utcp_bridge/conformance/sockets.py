"""The recording servers of TCP and UDP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

from utcp_bridge.conformance.payloads import as_bytes, described
from utcp_bridge.conformance.vectors import Vector
from utcp_bridge.model import JsonObject

__all__ = ["recorded_tcp", "recorded_udp"]

_HOST: Final = "127.0.0.1"
_QUIET_SECONDS: Final = 0.5
"""After this silence a message that is shorter than the expected one is taken as complete."""


class _Record(Protocol):
    discovery: list[JsonObject]

    def filled(self, value: Any) -> Any: ...

    def note(self, request: JsonObject) -> None: ...


def _reply(vector: Vector, record: _Record, data: bytes) -> list[bytes]:
    """Record a message and return what to send: the manual to a question for it, else the vector's reply."""
    found = described(data)
    framed = vector.data.get("discovery") == "own" and b'"utcp"' in data
    if framed:
        record.discovery.append(found)
        payload = vector.data.get("manual_reply") or {"json": vector.manual}
        return [as_bytes(record.filled(payload))]
    record.note(found)
    reply = record.filled(vector.data.get("reply", {}))
    return [as_bytes(one) for one in reply.get("datagrams", [reply])]


def _expected_sizes(vector: Vector, record: _Record) -> set[int]:
    wanted = [*vector.data.get("requests", []), vector.data.get("request", {})]
    asked = vector.data.get("asked", {})
    return {len(as_bytes(record.filled(one))) for one in [*wanted, asked]} - {0}


@asynccontextmanager
async def recorded_tcp(vector: Vector, record: _Record) -> AsyncGenerator[int]:
    """Yield the port of a server that reads one message of each connection, replies and closes."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        data, sizes = b"", _expected_sizes(vector, record)
        with suppress(TimeoutError, ConnectionError):
            while len(data) not in sizes:
                chunk = await asyncio.wait_for(reader.read(65_536), _QUIET_SECONDS if data else None)
                if not chunk:
                    break
                data += chunk
        with suppress(ConnectionError):
            if data:
                for piece in _reply(vector, record, data):
                    writer.write(piece)
                await writer.drain()
            if not vector.data.get("keeps_open"):
                writer.close()

    server = await asyncio.start_server(serve, _HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, vector: Vector, record: _Record) -> None:
        self._vector, self._record = vector, record
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for piece in _reply(self._vector, self._record, data):
            if piece and self._transport is not None:
                self._transport.sendto(piece, addr)


@asynccontextmanager
async def recorded_udp(vector: Vector, record: _Record) -> AsyncGenerator[int]:
    """Yield the port of a server that replies to each datagram with the vector's datagrams."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(vector, record), local_addr=(_HOST, 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
