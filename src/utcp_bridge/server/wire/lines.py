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
from contextvars import copy_context
from dataclasses import field
from typing import IO, Any, Final, Literal, cast

import anyio
import anyio.to_thread

from utcp_bridge.late.records import dataclass
from utcp_bridge.processes.ending import watched_signals

__all__ = [
    "MAX_LINE_BYTES",
    "InFlight",
    "LineReader",
    "Lines",
    "LongLineError",
    "SendLine",
    "Take",
    "Untaken",
    "Wire",
    "open_input",
    "open_output",
    "open_wire",
]

MAX_LINE_BYTES: Final = 32 * 1024 * 1024
_EXCERPT: Final = 65_536
"""Bytes of the head, and of the tail, of a line that is too long. One of them has the id of the request."""
_CHUNK: Final = 256 * 1024
_LINE_OVERHEAD: Final = 64
"""Bytes of memory for a line that waits, besides its own."""
_IN_ONE_TURN: Final = 32
"""Most lines that are taken in one turn of the event loop."""
_FLUSH_SECONDS: Final = 0.5
_PIPE_BYTES: Final = 1 << 20
"""The most that Linux allows each user for one pipe. The system takes memory for what waits in it alone."""

Lines = Callable[[], Awaitable[bytes]]
"""Returns the next line, empty at the end.

:raises LongLineError: the line is too long. The line after it comes next.
"""
Take = Callable[[bytes], bool]
"""Takes a line, and returns whether it has."""
Untaken = Callable[[Take], Awaitable[bytes]]
"""Returns the next line that a function does not take (`LineReader.next_untaken`)."""
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
    untaken: Untaken | None = None
    """A way of `lines` that costs less for lines that are taken at once."""


@asynccontextmanager
async def open_wire() -> AsyncGenerator[Wire]:
    """Yield the client on stdin and stdout. If it closes stdout, or a signal arrives, what is inside is cancelled."""
    with _claimed_standard_streams() as (wire_in, wire_out):
        async with watched_signals() as ending, open_input(wire_in) as reader:
            with anyio.CancelScope() as scope:
                wire: Wire | None = None

                def stop() -> None:
                    ending.begin()
                    if wire is not None:
                        wire.cancel()
                    scope.cancel()

                with ending.stops(stop):
                    async with open_output(wire_out, at_loss=stop) as send_line:
                        wire = Wire(reader.next_line, send_line, ending.begin, untaken=reader.next_untaken)
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
async def open_input(descriptor: int) -> AsyncGenerator[LineReader]:
    """Yield what reads lines from a descriptor. The descriptor stays open."""
    reader = LineReader()
    if not _is_watchable(descriptor):
        _read_in_thread(descriptor, reader)
        yield reader
        return
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: reader, _duplicate(descriptor, "rb"))
    try:
        yield reader
    finally:
        transport.close()
        await asyncio.sleep(0)


class LineReader(asyncio.Protocol):
    """Reads lines. One that is too long is skipped to its end, so that its rest is not taken for a line.

    What has come is divided at once: a client with several requests in flight sends several lines together. A cancelled
    read loses nothing: the next one goes on from there.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.ReadTransport | None = None
        self._lines: deque[bytes | LongLineError] = deque()
        self._waiting = 0
        """What the lines take that nobody has read yet."""
        self._is_paused = False
        self._take: Take | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._at_end = False
        self._failure: Exception | None = None
        self._parts: list[bytes] = []
        """The parts of the line that has not ended, which have `_size` bytes."""
        self._size = 0
        self._head = self._tail = b""
        """The excerpts of a line that is too long and has not ended."""

    async def next_line(self) -> bytes:
        """Return the next line, empty at the end.

        :raises LongLineError: the line is too long. The line after it comes next.
        """
        while not self._lines:
            if self._failure is not None:
                raise self._failure
            if self._at_end:
                return b""
            await self._moved()
        line = self._popped()
        if isinstance(line, bytes):
            return line
        raise line

    async def next_untaken(self, take: Take) -> bytes:
        """Return the next line that `take` does not take, as `next_line` does.

        `take` gets each line in the turn of the event loop in which it arrives. A task that waited for it would run
        one turn later, and what it starts another turn later, with a system call: a tenth of what a call costs.
        """
        self._take = take
        try:
            self._hand_on()
            while self._take is not None and (self._lines or not self._at_end):
                await self._moved()
        finally:
            self._take = None
        return await self.next_line()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        is_between = not (self._lines or self._size or self._head)
        if is_between and self._take is not None and data.find(b"\n") + 1 == len(data):
            if not self._take(data):  # one whole line: that of a client with one request in flight
                self._refuse(data)
            return
        *ended, rest = data.split(b"\n")
        if ended:
            self._add(self._ended(ended[0] + b"\n"))
            more = [line + b"\n" for line in ended[1:]]
            self._lines.extend(more)
            self._waiting += len(data) - len(ended[0]) - 1 - len(rest) + _LINE_OVERHEAD * len(more)
        if rest:
            self._grow(rest)
        self._hand_on()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._failure = exc
        self._end()

    def _end(self) -> None:
        if not self._at_end:
            self._at_end = True
            if self._size or self._head:
                self._add(self._ended(b""))
        self._hand_on()

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

    def _add(self, line: bytes | LongLineError) -> None:
        self._lines.append(line)
        self._waiting += _size_of(line)

    def _popped(self) -> bytes | LongLineError:
        line = self._lines.popleft()
        self._waiting -= _size_of(line)
        self._look_at_room()
        return line

    def _hand_on(self) -> None:
        """Let what takes lines have those that wait, a number of them in one turn of the event loop."""
        for _ in range(_IN_ONE_TURN):
            if self._take is None or not self._lines:
                break
            line = self._lines[0]
            if not isinstance(line, bytes) or not self._take(line):
                self._take = None
                break
            self._lines.popleft()
            self._waiting -= _LINE_OVERHEAD + len(line)
        else:
            if self._take is not None and self._lines:
                self._loop.call_soon(self._hand_on)
        self._look_at_room()
        self._wake()

    def _look_at_room(self) -> None:
        """Read nothing more while too much waits."""
        is_full = self._waiting > MAX_LINE_BYTES
        if is_full is not self._is_paused and self._transport is not None:
            self._is_paused = is_full
            if is_full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _refuse(self, line: bytes) -> None:
        """Leave a line to the task that reads, and all lines after it."""
        self._take = None
        self._add(line)
        self._wake()

    def _wake(self) -> None:
        """Let the task that reads look at what has changed, unless all lines are taken."""
        if self._waiter is not None and (self._take is None or self._at_end) and not self._waiter.done():
            self._waiter.set_result(None)

    async def _moved(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def _size_of(line: bytes | LongLineError) -> int:
    return _LINE_OVERHEAD + (len(line) if isinstance(line, bytes) else 0)


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


class _Done:
    """What a caller that awaits it does not wait for. Making a coroutine takes ten times as long."""

    def __await__(self) -> Generator[Any, None, None]:
        return _EXHAUSTED


_DONE: Final = _Done()
_EXHAUSTED: Final = cast("Generator[Any, None, None]", iter(()))


class _PipeWriter(asyncio.BaseProtocol):
    """Writes to a pipe, and waits while it is full."""

    transport: asyncio.WriteTransport

    def __init__(self, at_loss: Callable[[], object]) -> None:
        self._at_loss = at_loss
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_full = self._gone = False
        self.is_closing = False
        self.closed = asyncio.Event()

    def send(self, line: bytes) -> Awaitable[None]:
        """Write one line, at once unless the pipe is full. Not a coroutine, because each response passes here."""
        if self._is_full:
            return self._send_later(line)
        self._write(line)
        return _DONE

    async def _send_later(self, line: bytes) -> None:
        await self._writable.wait()
        self._write(line)

    def _write(self, line: bytes) -> None:
        if self._gone:
            raise anyio.BrokenResourceError
        self.transport.write(line)

    def pause_writing(self) -> None:
        self._is_full = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self._is_full = False
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._gone = True
        self.resume_writing()
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


def _read_in_thread(descriptor: int, reader: LineReader) -> None:
    """Feed `reader` from a daemon thread: a blocked read cannot be cancelled, so nothing waits for it."""
    loop, context = asyncio.get_running_loop(), copy_context()  # else, lines are taken in the context of the thread

    def read() -> None:
        with suppress(OSError, RuntimeError):  # RuntimeError: the loop has closed
            while chunk := os.read(descriptor, _CHUNK):
                loop.call_soon_threadsafe(reader.data_received, chunk, context=context)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(reader.eof_received, context=context)

    threading.Thread(target=read, name="stdin", daemon=True).start()
