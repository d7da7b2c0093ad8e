"""A TCP proxy on loopback that breaks what passes through it, in ten ways that real networks and servers have."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass
from typing import Any, Self

CHUNK = 65_536
NEVER = 3600.0


@dataclass(frozen=True)
class Fault:
    """What a proxy does to new chunks, on open connections too. Numbers of bytes count what the server sends, except
    `reset_request_after`.
    """

    latency: float = 0.0
    """Seconds that each chunk of the server is held."""
    slice: int = 0
    """The most bytes of one write, 0 for no limit."""
    close_after: int | None = None
    reset_after: int | None = None
    half_close_after: int | None = None
    stall_after: int | None = None
    """The rest is not passed on, and the connection stays open."""
    reset_request_after: int | None = None
    corrupt: float = 0.0
    """How likely it is that a byte of a chunk is changed, 0 to 1."""
    is_refusing: bool = False
    is_silent: bool = False


NONE = Fault()


def any_fault(rnd: random.Random) -> tuple[str, Fault]:
    """Return the name of a fault and the fault, drawn with `rnd`."""
    faults: dict[str, Fault] = {
        "latency": Fault(latency=rnd.choice((0.2, 1.5, 6.0))),
        "reset": Fault(reset_after=rnd.choice((0, 40, 200))),
        "stall": Fault(stall_after=rnd.choice((0, 60))),
        "cut": Fault(close_after=rnd.choice((0, 50, 150))),
        "corrupt": Fault(corrupt=0.3),
        "refuse": Fault(is_refusing=True),
        "silent": Fault(is_silent=True),
        "slice": Fault(slice=3),
        "reset request": Fault(reset_request_after=rnd.choice((50, 300))),
        "half close": Fault(half_close_after=50),
    }
    name = rnd.choice(list(faults))
    return name, faults[name]


class FaultProxy:
    """Passes connections on to `target`, a port on loopback that may change. Use it as an async context manager."""

    def __init__(self, target: int, seed: int) -> None:
        self.target = target
        self.port = 0
        self.fault = NONE
        self._rnd = random.Random(seed)
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self.drop_all()

    def drop_all(self) -> None:
        """Reset every open connection."""
        for writer in list(self._open):
            _reset(writer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = [writer]
        self._open.add(writer)
        try:
            if self.fault.is_refusing:
                _reset(writer)
                return
            if self.fault.is_silent:
                while await reader.read(CHUNK):
                    pass
                return
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            ours.append(back)
            self._open.add(back)
            await self._pass_on(reader, writer, there, back)
        except (OSError, asyncio.CancelledError):
            pass  # the target refuses, or the run is over
        finally:
            for one in ours:
                self._open.discard(one)
                with contextlib.suppress(Exception):
                    one.close()

    async def _pass_on(self, reader: Any, writer: Any, there: Any, back: Any) -> None:
        """Pass on in both directions until one of them has ended, and half a second of the other one."""
        up = asyncio.ensure_future(self._requests(reader, back, writer))
        down = asyncio.ensure_future(self._replies(there, writer))
        try:
            _, waiting = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if waiting:
                await asyncio.wait(waiting, timeout=NEVER if self.fault.half_close_after is not None else 0.5)
        finally:
            for task in (up, down):
                task.cancel()

    async def _requests(self, source: asyncio.StreamReader, sink: Any, client: Any) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                limit = self.fault.reset_request_after
                if limit is not None and passed + len(data) > limit:
                    _reset(client)
                    return
                sink.write(data)
                await sink.drain()
                passed += len(data)
            sink.write_eof()

    async def _replies(self, source: asyncio.StreamReader, sink: Any) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                if self.fault.latency:
                    await asyncio.sleep(self.fault.latency)
                if await self._ended(data, passed, source, sink):
                    return
                await self._write(self._changed(data), sink)
                passed += len(data)
            sink.write_eof()

    async def _ended(self, data: bytes, passed: int, source: asyncio.StreamReader, sink: Any) -> bool:
        """End the connection if a limit of the fault lies in this chunk, and return whether it does."""
        fault = self.fault
        limits = (fault.close_after, fault.reset_after, fault.half_close_after, fault.stall_after)
        limit = next((one for one in limits if one is not None), None)
        if limit is None or passed + len(data) <= limit:
            return False
        sink.write(data[: max(0, limit - passed)])
        await sink.drain()
        if fault.reset_after is not None:
            _reset(sink)
        elif fault.close_after is None:
            if fault.half_close_after is not None:
                sink.write_eof()
            while await source.read(CHUNK):
                pass
            await asyncio.sleep(NEVER if fault.stall_after is not None else 0)
        return True

    def _changed(self, data: bytes) -> bytes:
        if self._rnd.random() >= self.fault.corrupt:
            return data
        changed = bytearray(data)
        changed[self._rnd.randrange(len(changed))] ^= 0xFF
        return bytes(changed)

    async def _write(self, data: bytes, sink: Any) -> None:
        step = self.fault.slice or len(data)
        for start in range(0, len(data), step):
            sink.write(data[start : start + step])
            await sink.drain()
            if self.fault.slice:
                await asyncio.sleep(0)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(Exception):
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
