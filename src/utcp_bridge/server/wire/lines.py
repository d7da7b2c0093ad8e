"""Lines of standard input and output: read, written and counted, whatever protocol they carry.

While they are open, file descriptor 1 is stderr and descriptor 0 is empty, so a stray print or a child process cannot
write to the host. The event loop reads and writes pipes and sockets itself: this costs a third less than a worker
thread for each line, and can be cancelled at any time. Files and terminals, which the loop cannot watch everywhere, get
one thread.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import field
from typing import IO, Final, Literal

import anyio
import anyio.to_thread

from utcp_bridge.late.records import dataclass
from utcp_bridge.processes.ending import watched_signals

__all__ = [
    "MAX_LINE_BYTES",
    "InFlight",
    "Lines",
    "LongLineError",
    "SendLine",
    "Wire",
    "open_input",
    "open_output",
    "open_wire",
]

MAX_LINE_BYTES: Final = 32 * 1024 * 1024
_EXCERPT: Final = 65_536
"""Bytes of the head, and of the tail, of a line that is too long. One of them has the id of the request."""
_CHUNK: Final = 256 * 1024
_FLUSH_SECONDS: Final = 0.5
_PIPE_BYTES: Final = 1 << 20
"""The most that Linux allows each user for one pipe. The system takes memory for what waits in it alone."""

Lines = Callable[[], Awaitable[bytes]]
"""Returns the next line, empty at the end.

:raises LongLineError: the line is too long. The line after it comes next.
"""
SendLine = Callable[[bytes], Awaitable[None]]
"""Writes one line.

:raises anyio.BrokenResourceError: the other side has closed.
"""


class LongLineError(ValueError):
    """A line that is too long. `excerpt` is its head and its tail."""

    def __init__(self, excerpt: bytes) -> None:
        super().__init__("The line is too long.")
        self.excerpt = excerpt


class InFlight:
    """Counts requests without a reply yet."""

    def __init__(self) -> None:
        self._count = 0
        self._idle: anyio.Event | None = None
        """Made only to wait for it: making an event takes as long as thirty calls of a function."""

    def started(self) -> None:
        """Count a request that was read."""
        self._count += 1

    def answered(self) -> None:
        """Count a reply that was written."""
        self._count -= 1
        if self._idle is not None and self._count <= 0:
            self._idle.set()

    async def settle(self, seconds: float) -> None:
        """Wait until every request has its reply, at most this many seconds."""
        if self._count > 0:
            self._idle = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._idle.wait()


@dataclass
class Wire:
    """The lines of the one client of this process. `cancel` is called when the end comes from outside."""

    lines: Lines
    send_line: SendLine
    at_end: Callable[[], object]
    """Is called at the end of the input."""
    in_flight: InFlight = field(default_factory=InFlight)
    cancel: Callable[[], object] = lambda: None


@asynccontextmanager
async def open_wire() -> AsyncGenerator[Wire]:
    """Yield the client on stdin and stdout. If it closes stdout, or a signal arrives, what is inside is cancelled."""
    with _claimed_standard_streams() as (wire_in, wire_out):
        async with watched_signals() as ending, open_input(wire_in) as lines:
            with anyio.CancelScope() as scope:
                wire: Wire | None = None

                def stop() -> None:
                    ending.begin()
                    if wire is not None:
                        wire.cancel()
                    scope.cancel()

                with ending.stops(stop):
                    async with open_output(wire_out, at_loss=stop) as send_line:
                        wire = Wire(lines, send_line, ending.begin)
                        yield wire


@contextmanager
def _claimed_standard_streams() -> Generator[tuple[int, int]]:
    """Yield private duplicates of stdin and stdout. Meanwhile descriptors 0 and 1 lead elsewhere."""
    sys.stdout.flush()
    wire_in, wire_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        yield wire_in, wire_out
    finally:
        sys.stdout.flush()
        os.dup2(wire_in, 0)
        os.dup2(wire_out, 1)
        for descriptor in (nothing, wire_in, wire_out):
            os.close(descriptor)


@asynccontextmanager
async def open_input(descriptor: int) -> AsyncGenerator[Lines]:
    """Yield a function that reads lines from a descriptor. The descriptor stays open."""
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    if not _is_watchable(descriptor):
        _read_in_thread(descriptor, reader)
        yield _LineReader(reader).next_line
        return
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), _duplicate(descriptor, "rb")
    )
    try:
        yield _LineReader(reader).next_line
    finally:
        transport.close()
        await asyncio.sleep(0)


class _LineReader:
    """Reads lines. One that is too long is skipped to its end, so that its rest is not taken for a line.

    What has come is divided at once: a client with several requests in flight sends several lines together. A cancelled
    read loses nothing: the next one goes on from there.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._lines: deque[bytes | LongLineError] = deque()
        self._parts: list[bytes] = []
        """The parts of the line that has not ended, which have `_size` bytes."""
        self._size = 0
        self._head = self._tail = b""
        """The excerpts of a line that is too long and has not ended."""

    async def next_line(self) -> bytes:
        while not self._lines:
            chunk = await self._reader.read(_CHUNK)
            if not chunk:
                self._lines.append(self._ended(b""))
                break
            *ended, rest = chunk.split(b"\n")
            if ended:
                self._lines.append(self._ended(ended[0] + b"\n"))
                self._lines.extend([line + b"\n" for line in ended[1:]])
            self._grow(rest)
        line = self._lines.popleft()
        if isinstance(line, bytes):
            return line
        raise line

    def _grow(self, part: bytes) -> None:
        """Add a part to the line that has not ended."""
        if self._head:
            self._tail = (self._tail + part)[-_EXCERPT:]
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > MAX_LINE_BYTES:
            line = b"".join(self._parts)
            self._head, self._tail = line[:_EXCERPT], line[-_EXCERPT:]
            self._parts, self._size = [], 0

    def _ended(self, part: bytes) -> bytes | LongLineError:
        """Return the line that ends with this part, or that it is too long."""
        if self._size or self._head:
            self._grow(part.removesuffix(b"\n"))
            if self._head:
                excerpt, self._head, self._tail = self._head + self._tail, b"", b""
                return LongLineError(excerpt)
            part = b"".join(self._parts) + part[-1:] if part else b"".join(self._parts)
        self._parts, self._size = [], 0
        return part


@asynccontextmanager
async def open_output(descriptor: int, at_loss: Callable[[], object] = lambda: None) -> AsyncGenerator[SendLine]:
    """Yield a function that writes lines to a descriptor. The descriptor stays open, and the end flushes all lines.

    `at_loss` is called when nobody reads any more.
    """
    if not _is_watchable(descriptor):
        yield _ThreadWriter(descriptor, at_loss).send
        return
    _make_room(descriptor)
    writer = _PipeWriter(at_loss)
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: writer, _duplicate(descriptor, "wb"))
    writer.transport = transport
    try:
        yield writer.send
    finally:
        writer.is_closing = True
        transport.close()
        with anyio.move_on_after(_FLUSH_SECONDS, shield=True):
            await writer.closed.wait()
        if not writer.closed.is_set():
            transport.abort()
        with suppress(OSError):
            os.set_blocking(descriptor, True)


def _make_room(descriptor: int) -> None:
    """Let a pipe take several results of some size at once, where Linux allows it: by default, one of 50 KB fills it.

    Otherwise, further results wait in this process with all that they were made of.
    """
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # a socket, or a user whose pipes are large already
            if fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) < _PIPE_BYTES:
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _duplicate(descriptor: int, mode: Literal["rb", "wb"]) -> IO[bytes]:
    """Return a file for a pipe of the event loop, which closes it.

    uvloop closes the descriptor, and then the file. In between, another thread may have opened a file that got the same
    number, such as that of the audit log. So there, the file does not close the descriptor.
    """
    is_uvloop = type(asyncio.get_running_loop()).__module__ == "uvloop"
    return os.fdopen(os.dup(descriptor), mode, buffering=0, closefd=not is_uvloop)


def _is_watchable(descriptor: int) -> bool:
    if sys.platform == "win32":  # pragma: no cover
        return False
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class _PipeWriter(asyncio.BaseProtocol):
    """Writes to a pipe, and waits while it is full."""

    transport: asyncio.WriteTransport

    def __init__(self, at_loss: Callable[[], object]) -> None:
        self._at_loss = at_loss
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = False
        self.is_closing = False
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
        if not self.is_closing:
            self._at_loss()


class _ThreadWriter:
    def __init__(self, descriptor: int, at_loss: Callable[[], object]) -> None:
        self._descriptor = descriptor
        self._at_loss = at_loss
        self._turn = anyio.Lock()

    async def send(self, line: bytes) -> None:
        async with self._turn:
            try:
                await anyio.to_thread.run_sync(self._write, line)
            except OSError as error:
                self._at_loss()
                raise anyio.BrokenResourceError from error

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def _read_in_thread(descriptor: int, reader: asyncio.StreamReader) -> None:
    """Feed `reader` from a daemon thread: a blocked read cannot be cancelled, so nothing waits for it."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(OSError, RuntimeError):  # RuntimeError: the loop has closed
            while chunk := os.read(descriptor, _CHUNK):
                loop.call_soon_threadsafe(reader.feed_data, chunk)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(reader.feed_eof)

    threading.Thread(target=read, name="stdin", daemon=True).start()
