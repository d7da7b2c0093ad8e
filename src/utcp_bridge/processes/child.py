"""What a child is for the code that starts it: its pipes, its end, and the end of its process group.

The pipes are read and written directly, without a transport of the event loop. Such a transport closes a pipe only
where its data ends, and does not distinguish what a child wrote before its end from what may still come.
"""

from __future__ import annotations

import os
import select
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import ByteReceiveStream, ByteSendStream

from utcp_bridge.late.records import dataclass
from utcp_bridge.processes.guardian import GRACE

__all__ = ["Child", "Launch", "PipeReader", "PipeWriter"]

_CHUNK: Final = 65_536
_MOMENT: Final = 0.25
"""Seconds that a call waits for the end of a child. After it, the guardian alone goes on."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A program to start. `environment` is the child's whole environment."""

    argv: Sequence[str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    has_stdin: bool
    """Whether the child gets a pipe as stdin. Otherwise its stdin is empty."""
    has_stderr: bool = True
    descriptors: Mapping[str, int] = field(default_factory=dict[str, int])
    """More descriptors for the child (not on Windows), by the variables that receive their numbers in the child."""
    leaves_nothing: bool = False
    """Whether the child starts no process. A guardian that had only such children ends with the last of them."""


class Child(ABC):
    """A child that runs. Its owner calls `end` and `aclose` when it is done with it."""

    pid: int
    stdin: ByteSendStream | None
    stdout: ByteReceiveStream
    stderr: ByteReceiveStream | None
    returncode: int | None = None
    """The exit code; negative: the signal that ended it; None: it runs."""

    def __init__(self) -> None:
        self._exited = anyio.Event()
        self._gone = anyio.Event()

    async def wait(self) -> int:
        """Wait until the child has ended, and return its exit code. Its pipes may still have data."""
        await self._exited.wait()
        return self.returncode or 0

    def has_ended(self) -> bool:
        """Return whether the child has ended, or has closed its stdin, also if nobody has reported that yet."""
        return self.returncode is not None or (isinstance(self.stdin, PipeWriter) and self.stdin.is_broken())

    async def gone(self, seconds: float = _MOMENT) -> bool:
        """Wait until its whole process group has ended; return whether that took at most `seconds`."""
        with anyio.move_on_after(seconds):
            await self._gone.wait()
        return self._gone.is_set()

    @abstractmethod
    def end(self, patience: float = 0.0, grace: float = GRACE) -> None:
        """End the process group: SIGTERM after `patience` seconds, SIGKILL `grace` seconds later. Returns at once."""

    @abstractmethod
    def complete(self) -> None:
        """Let both outputs end with what is in the pipes. The child has ended, but another process may hold them."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the pipes."""


# --- pipes ---------------------------------------------------------------------------------------


class _Pipe:
    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        os.set_blocking(descriptor, False)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise anyio.ClosedResourceError
        return self._descriptor

    def close(self) -> None:
        """Close the pipe. A task that waits for it gets `ClosedResourceError`."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(RuntimeError):  # the event loop has ended
                anyio.notify_closing(descriptor)
            os.close(descriptor)

    async def aclose(self) -> None:
        """Close the pipe."""
        self.close()


class PipeReader(_Pipe, ByteReceiveStream):
    """An output of a child."""

    _is_complete = False

    def complete(self) -> None:
        """Do not wait for more than what is in the pipe: the child has ended, and another process may hold the pipe."""
        self._is_complete = True
        if self._descriptor is not None:
            anyio.notify_closing(self._descriptor)

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        """Return the next bytes.

        :raises anyio.EndOfStream: the output has ended.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        while True:
            descriptor = self._open_descriptor()
            try:
                data = os.read(descriptor, max_bytes)
            except BlockingIOError:
                if self._is_complete:
                    raise anyio.EndOfStream from None
                try:
                    await anyio.wait_readable(descriptor)
                except anyio.ClosedResourceError:
                    self._open_descriptor()
                continue
            await anyio.lowlevel.cancel_shielded_checkpoint()
            if not data:
                raise anyio.EndOfStream
            return data


class PipeWriter(_Pipe, ByteSendStream):
    """The input of a child."""

    def is_broken(self) -> bool:
        """Return whether nobody can read what is written."""
        if self._descriptor is None:
            return True
        poll = select.poll()
        poll.register(self._descriptor, 0)
        return bool(poll.poll(0))

    async def send(self, item: bytes) -> None:
        """Write all bytes.

        :raises anyio.BrokenResourceError: the child has closed its input.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        rest = memoryview(item)
        while rest:
            descriptor = self._open_descriptor()
            try:
                rest = rest[os.write(descriptor, rest) :]
                if rest:  # a child that reads as fast as this writes would never let others run
                    await anyio.lowlevel.checkpoint()
            except BlockingIOError:
                await anyio.wait_writable(descriptor)
            except BrokenPipeError:
                raise anyio.BrokenResourceError from None
        await anyio.lowlevel.cancel_shielded_checkpoint()
