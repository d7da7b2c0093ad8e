"""JSON-RPC lines over a pair of file descriptors, as the streams that the MCP SDK serves.

Pipes and sockets are driven by the event loop itself, which costs a third less than a worker thread for each line and
can be cancelled at any time. Files and terminals, which the loop cannot watch everywhere, get one thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Final, Self

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.shared.message import SessionMessage

__all__ = ["InFlight", "Lines", "MessageReader", "MessageWriter", "SendLine", "open_input", "open_output"]

LONGEST_LINE: Final = 32 * 1024 * 1024
_CHUNK: Final = 256 * 1024
_LAST_ANSWERS_SECONDS: Final = 0.5

Lines = Callable[[], Awaitable[bytes]]
"""The next line; empty at the end. Raises ValueError for one that is too long."""
SendLine = Callable[[bytes], Awaitable[None]]
"""Writes one line; raises anyio.BrokenResourceError when nobody reads any more."""


class _Stream:
    async def aclose(self) -> None:
        """The descriptors belong to whoever opened them."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.aclose()


class InFlight:
    """Requests that have come and are not answered yet."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = anyio.Event()
        self._idle.set()

    def came(self) -> None:
        """A request was read."""
        self._count += 1
        if self._count == 1:
            self._idle = anyio.Event()

    def answered(self) -> None:
        """A reply was written."""
        self._count -= 1
        if self._count <= 0:
            self._idle.set()

    async def settle(self, seconds: float) -> None:
        """Wait until all are answered, at most so long."""
        with anyio.move_on_after(seconds):
            await self._idle.wait()


class MessageReader(_Stream):
    """Messages from lines; one that is no JSON-RPC comes as the exception that says so.

    The end of input gives what is in flight a moment to be answered: a shell writes its requests and closes.
    """

    def __init__(self, lines: Lines, in_flight: InFlight) -> None:
        self._lines = lines
        self._in_flight = in_flight

    async def receive(self) -> SessionMessage | Exception:
        """The next message; raises anyio.EndOfStream at the end of input."""
        while True:
            try:
                line = await self._lines()
            except ValueError as error:
                return error
            if not line:
                await self._in_flight.settle(_LAST_ANSWERS_SECONDS)
                raise anyio.EndOfStream
            if line.isspace():
                continue
            try:
                message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValueError as error:
                return error
            if isinstance(message, types.JSONRPCRequest):
                self._in_flight.came()
            return SessionMessage(message)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class MessageWriter(_Stream):
    """Messages to lines."""

    def __init__(self, send_line: SendLine, in_flight: InFlight) -> None:
        self._send_line = send_line
        self._in_flight = in_flight

    async def send(self, item: SessionMessage, /) -> None:
        """Write one message; it is lost if the client has gone."""
        try:
            data = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        except ValueError:  # a lone surrogate somewhere, which JSON can carry as an escape but UTF-8 cannot
            data = json.dumps(item.message.model_dump(by_alias=True, mode="json", exclude_unset=True)).encode()
        await self._send_line(data + b"\n")
        if isinstance(item.message, types.JSONRPCResponse | types.JSONRPCError):
            self._in_flight.answered()


@asynccontextmanager
async def open_input(descriptor: int) -> AsyncGenerator[Lines]:
    """Lines read from a descriptor, which stays open."""
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    if not _is_watchable(descriptor):
        _read_in_thread(descriptor, reader)
        yield reader.readline
        return
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(descriptor), "rb", buffering=0)
    )
    try:
        yield reader.readline
    finally:
        transport.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def open_output(descriptor: int) -> AsyncGenerator[SendLine]:
    """A way to write lines to a descriptor, which stays open; what was sent is written out at the end."""
    if not _is_watchable(descriptor):
        yield _ThreadWriter(descriptor).send
        return
    writer = _PipeWriter()
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(
        lambda: writer, os.fdopen(os.dup(descriptor), "wb", buffering=0)
    )
    writer.transport = transport
    try:
        yield writer.send
    finally:
        transport.close()
        with anyio.move_on_after(1, shield=True):
            await writer.closed.wait()
        if not writer.closed.is_set():
            transport.abort()
        with suppress(OSError):
            os.set_blocking(descriptor, True)


def _is_watchable(descriptor: int) -> bool:
    if sys.platform == "win32":  # pragma: no cover
        return False
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class _PipeWriter(asyncio.BaseProtocol):
    """Flow control for a write pipe."""

    transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = False
        self.closed = asyncio.Event()

    async def send(self, line: bytes) -> None:
        if not self._writable.is_set():
            await self._writable.wait()
        if self._gone:
            raise anyio.BrokenResourceError
        self.transport.write(line)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._gone = True
        self._writable.set()
        self.closed.set()


class _ThreadWriter:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._turn = anyio.Lock()

    async def send(self, line: bytes) -> None:
        async with self._turn:
            try:
                await anyio.to_thread.run_sync(self._write, line)
            except OSError as error:
                raise anyio.BrokenResourceError from error

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def _read_in_thread(descriptor: int, reader: asyncio.StreamReader) -> None:
    """Feed `reader` from a daemon thread: a blocked read cannot be cancelled, so nobody waits for it."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(OSError, RuntimeError):  # RuntimeError: the loop has closed meanwhile
            while chunk := os.read(descriptor, _CHUNK):
                loop.call_soon_threadsafe(reader.feed_data, chunk)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(reader.feed_eof)

    threading.Thread(target=read, name="stdin", daemon=True).start()
