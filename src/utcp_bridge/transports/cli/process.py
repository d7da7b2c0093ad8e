"""Commands with limited output, which end with their call.

When a call ends (by its command, the caller, a deadline or a limit), its whole process group ends with it, with all
grandchildren: SIGTERM, and a second later SIGKILL. The call does not wait for that second: the guardian counts it.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream

from utcp_bridge.errors import InvalidArguments, ReplyTooLarge, Unreachable
from utcp_bridge.net.collecting import Collecting
from utcp_bridge.net.gate.shortage import descriptor_shortage
from utcp_bridge.processes.child import Child, Launch
from utcp_bridge.processes.children import start_child

__all__ = ["Command", "Excerpt", "Finished", "run_command"]

_CHUNK: Final = 65_536
_LAST_WORDS_SECONDS: Final = 0.2
"""How long a command that has ended may still be heard through the processes that it left behind."""
_OUR_LIMITS: Final = frozenset({errno.ENOMEM, errno.EAGAIN})
OnLine = Callable[[bytes], Awaitable[bool | None]]
"""Receives a line of stdout. It returns False to end the command."""


class Excerpt:
    """The beginning and the end of a stream of bytes, with a note of what is missing between them."""

    __slots__ = ("_half", "_head", "_tail", "size")

    def __init__(self, limit: int = 16_384) -> None:
        self._half = limit // 2
        self._head = b""
        self._tail = b""
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail = (self._tail + data)[-self._half :]

    def data(self) -> bytes:
        """Return what was kept."""
        missing = self.size - len(self._head) - len(self._tail)
        note = f"\n[… {missing} bytes …]\n".encode() if missing else b""
        return self._head + note + self._tail

    @classmethod
    def of(cls, data: bytes, limit: int) -> bytes:
        """Return an excerpt of all the bytes, of about `limit` bytes."""
        excerpt = cls(limit)
        excerpt.add(data)
        return excerpt.data()


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run. `environment` is the child's whole environment; `limit` is in bytes, for each output."""

    argv: Sequence[str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    limit: int
    stdin: bytes | None = field(default=None, repr=False)
    has_working_file: bool = False
    """Whether the command needs a file for its own use, whose descriptors are in `__utcp_write` and `__utcp_read`."""
    manual: str = ""
    """The manual whose place a large output takes."""

    @property
    def name(self) -> str:
        """The name of the program, for messages."""
        return Path(self.argv[0]).name if self.argv else ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a command: its exit code (negative: the signal that ended it), stdout, and an excerpt of stderr."""

    code: int
    stdout: bytes
    stderr: bytes


async def run_command(command: Command, on_line: OnLine | None = None) -> Finished:
    """Run a command to its end. `on_line` receives each line of stdout as it arrives.

    :raises Unreachable: the program cannot be started.
    :raises InvalidArguments: an argument cannot be passed to the command.
    :raises ReplyTooLarge: an output is above the limit; the command was ended.
    """
    child = await _start(command)
    try:
        return await _collect(child, command, on_line)
    finally:
        child.end()
        with anyio.CancelScope(shield=True):
            await child.gone()
            await child.aclose()


async def _start(command: Command) -> Child:
    if any("\0" in part for part in (*command.argv, *command.environment.values())):
        raise InvalidArguments("An argument contains a NUL character, which cannot be passed to a command.")
    if not command.has_working_file or sys.platform == "win32":
        return await _open(command, {})
    with _working_file() as (write, read):
        return await _open(command, {"__utcp_write": write, "__utcp_read": read})


@contextmanager
def _working_file() -> Generator[tuple[int, int]]:
    """Yield two descriptors of one file without a name: one to write at its end, and one to read it.

    Nothing of it is left when the processes that have it end, however they end.
    """
    opened: list[int] = []
    try:
        try:
            own, path = tempfile.mkstemp(prefix="utcp-bridge-")
            opened.append(own)
            try:
                # One by one, so that a first one is closed if the second one cannot be opened.
                opened.extend(os.open(path, flags) for flags in (os.O_WRONLY | os.O_APPEND, os.O_RDONLY))
            finally:
                Path(path).unlink()
        except OSError as error:
            raise descriptor_shortage(error) or Unreachable(
                f"A temporary file cannot be made: {error.strerror}.", remedy="Check TMPDIR and the space in it."
            ) from None
        yield opened[1], opened[2]
    finally:
        for descriptor in opened:
            os.close(descriptor)


async def _open(command: Command, descriptors: Mapping[str, int]) -> Child:
    launch = Launch(
        command.argv, command.environment, command.folder, command.stdin is not None, descriptors=descriptors
    )
    try:
        return await start_child(launch)
    except UnicodeEncodeError:
        raise InvalidArguments("An argument contains half of a surrogate pair, which cannot be passed.") from None
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise InvalidArguments(f"The arguments together are too long for the command {command.name!r}.") from None
        if shortage := descriptor_shortage(error):
            raise shortage from None
        remedy = "Check `command`, `working_dir` and the PATH of the command."
        if error.errno in _OUR_LIMITS:
            remedy = "The bridge has reached a limit of this machine: raise the limit, or lower `concurrency`."
        if error.errno == errno.EINVAL:
            remedy = "Change `args`, or write the program that the batch file starts as `command`."
        raise Unreachable(f"The command {command.name!r} cannot be started: {error.strerror}.", remedy=remedy) from None


async def _collect(child: Child, command: Command, on_line: OnLine | None) -> Finished:
    outputs = _Outputs(command.limit, command.manual)
    async with anyio.create_task_group() as group:
        outputs.stop = group.cancel_scope.cancel
        group.start_soon(outputs.read_stdout, child.stdout, on_line)
        group.start_soon(outputs.read_stderr, child.stderr)
        group.start_soon(_feed, child, command.stdin)
        await child.wait()
        # A grandchild that keeps the pipes open must not keep the call open: what the command wrote is in them.
        with anyio.move_on_after(_LAST_WORDS_SECONDS):
            await outputs.both_read.wait()
        child.complete()
        await outputs.both_read.wait()
        group.cancel_scope.cancel()
    if outputs.overflow:
        raise ReplyTooLarge(f"{command.name} wrote more than {command.limit} bytes to {outputs.overflow}.")
    return Finished(child.returncode or 0, bytes(outputs.stdout), outputs.stderr.data())


class _Outputs:
    """What a command writes. Above the limit of either output, `stop` is called."""

    stop: Callable[[], None]

    def __init__(self, limit: int, manual: str = "") -> None:
        self.stdout, self.stderr = bytearray(), Excerpt()
        self.both_read = anyio.Event()
        self.overflow = ""
        self._limit = limit
        self._manual = manual
        self._unread = 2

    async def read_stdout(self, stream: ByteReceiveStream | None, on_line: OnLine | None) -> None:
        """Keep all of stdout, and report its lines."""
        reported, data = 0, self.stdout
        with Collecting(self._manual) as place:
            async for chunk in _chunks(stream):
                searched = len(data)
                data += chunk
                if self._is_too_long(len(data), "stdout"):
                    return
                await place.grow(len(chunk))
                while on_line is not None and (end := data.find(b"\n", searched)) >= 0:
                    line, reported = bytes(data[reported:end]), end + 1
                    searched = reported
                    if await on_line(line) is False:
                        self.stop()
                        return
        if on_line is not None and reported < len(data):
            await on_line(bytes(data[reported:]))
        self._ended()

    async def read_stderr(self, stream: ByteReceiveStream | None) -> None:
        """Keep an excerpt of stderr."""
        async for chunk in _chunks(stream):
            self.stderr.add(chunk)
            if self._is_too_long(self.stderr.size, "stderr"):
                return
        self._ended()

    def _is_too_long(self, size: int, name: str) -> bool:
        if size <= self._limit:
            return False
        self.overflow = name
        self.stop()
        return True

    def _ended(self) -> None:
        self._unread -= 1
        if not self._unread:
            self.both_read.set()


async def _chunks(stream: ByteReceiveStream | None) -> AsyncGenerator[bytes]:
    while stream is not None:
        try:
            chunk = await stream.receive(_CHUNK)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return
        yield chunk


async def _feed(child: Child, data: bytes | None) -> None:
    if data is None or child.stdin is None:
        return
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await child.stdin.send(data)
    with suppress(OSError, anyio.BrokenResourceError):
        await child.stdin.aclose()
