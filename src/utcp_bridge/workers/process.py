"""A worker process, as its parent sees it (`program.py` is its other side)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel
import orjson

import utcp_bridge
from utcp_bridge.model import JsonObject
from utcp_bridge.processes.child import Child, Launch
from utcp_bridge.processes.children import start_child

__all__ = ["EndedWorker", "WorkerProcess", "can_start"]

_START_SECONDS: Final = 20.0
_CHUNK: Final = 262_144
_SLICE_BYTES: Final = 65_536
_MAX_REPLY: Final = 192 * 1024 * 1024
"""Bytes of one reply. The tools of a document repeat what they share, so they are more than those of the document."""
_PROGRAM: Final = (
    "import sys; own, memory, *others = sys.argv[1:]; sys.path.insert(0, own); import utcp_bridge; del sys.path[0]; "
    "sys.path += others; from utcp_bridge.workers.program import run; run(int(memory))"
)
"""It finds this package where this process found it, and no file of the current folder comes before Python's own."""
_OF_WINDOWS: Final = ("SYSTEMROOT", "SYSTEMDRIVE", "TEMP", "TMP")


def can_start() -> bool:
    """Return whether this process could start a worker, as far as it can be known without trying."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


class EndedWorker(Exception):
    """A worker ended by itself: it reached a limit, or something else ended it."""


class WorkerProcess:
    """One worker. It gets no variable of our environment, and its stderr goes nowhere."""

    def __init__(self, process: Child, memory: int) -> None:
        self.memory = memory
        self._process = process
        self._reader = _PipeReader(process.stdout)
        self._is_asked = False

    @classmethod
    async def start(cls, memory: int) -> WorkerProcess:
        """Start a worker that may have `memory` bytes, and wait until it is ready.

        :raises OSError: it cannot be started.
        :raises EndedWorker: it ends at once, or is not ready after 20 seconds.
        """
        environment = {name: os.environ[name] for name in _OF_WINDOWS if name in os.environ}  # noqa: TID251 - no secrets
        environment["PYDANTIC_DISABLE_PLUGINS"] = "1"  # they make the start slower
        own = str(Path(utcp_bridge.__file__).parent.parent)
        others = [path for path in sys.path if Path(path).is_absolute()]
        argv = [sys.executable, "-P", "-B", "-E", "-S", "-c", _PROGRAM, own, str(memory), *others]
        launch = Launch(argv, environment, Path(own), has_stdin=True, has_stderr=False, leaves_nothing=True)
        process = await start_child(launch)
        worker = cls(process, memory)
        try:
            with anyio.fail_after(_START_SECONDS):
                await worker._reply(_nothing)
        except TimeoutError:
            await worker.end()
            raise EndedWorker("it is not ready") from None
        except BaseException:
            with anyio.CancelScope(shield=True):
                await worker.end()
            raise
        return worker

    async def ask(
        self,
        head: JsonObject,
        data: bytes = b"",
        take: Callable[[bytes], None] | None = None,
        sent: Callable[[], None] | None = None,
    ) -> tuple[JsonObject, list[bytes]]:
        """Send a request. `take` gets each line of the reply but the one that ends it.

        Return what that line says, and the pieces of bytes after it. The data is let go as soon as it is sent; then
        `sent` is called.

        :raises EndedWorker: the worker ended before its reply was complete.
        """
        self._is_asked = True
        try:
            await self._send(_request_line(head, len(data)))
            for start in range(0, len(data), _CHUNK):
                await self._send(data[start : start + _CHUNK])
            del data
            if sent is not None:
                sent()
            reply = await self._reply(take or _nothing)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            raise EndedWorker("it closed its pipes") from None
        self._is_asked = False
        return reply

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether the process runs and has replied to all that it was asked."""
        return self._process.returncode is None and not self._is_asked

    async def end(self) -> None:
        """End the process, whatever it does."""
        self._process.end(grace=0)
        await self._process.gone()
        await self._process.aclose()

    async def _send(self, data: bytes) -> None:
        if self._process.stdin is not None:
            await self._process.stdin.send(data)

    async def _reply(self, take: Callable[[bytes], None]) -> tuple[JsonObject, list[bytes]]:
        """Read a reply to its end. Other tasks run after each few lines."""
        size = unyielded = 0
        while True:
            line = await self._reader.line(_MAX_REPLY - size)
            size += len(line)
            if line.startswith(b"E"):
                reply: JsonObject = orjson.loads(line[1:])
                sizes: list[int] = reply.get("sizes", [])
                if size + sum(sizes) > _MAX_REPLY:
                    raise EndedWorker("its reply is too long")
                return reply, [await self._reader.exactly(one) for one in sizes]
            take(line)
            unyielded += len(line)
            if unyielded >= _SLICE_BYTES:
                unyielded = 0
                await anyio.lowlevel.checkpoint()


class _PipeReader:
    """Reads lines and pieces of bytes from the stdout of a worker."""

    def __init__(self, pipe: anyio.abc.ByteReceiveStream | None) -> None:
        self._pipe = pipe
        self._held = b""
        self._place = 0

    async def line(self, most: int) -> bytes:
        """Return the next line without its end.

        :raises EndedWorker: the pipe ends, or the line has more than `most` bytes.
        """
        pieces: list[bytes] = []
        size = 0
        while (end := self._held.find(b"\n", self._place)) < 0:
            pieces.append(self._held[self._place :])
            size += len(pieces[-1])
            if size > most:
                raise EndedWorker("its reply is too long")
            await self._read()
        pieces.append(self._held[self._place : end])
        self._place = end + 1
        return b"".join(pieces)

    async def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes.

        :raises EndedWorker: the pipe ends.
        """
        pieces: list[bytes] = []
        while size > 0:
            if self._place == len(self._held):
                await self._read()
            pieces.append(self._held[self._place : self._place + size])
            self._place += len(pieces[-1])
            size -= len(pieces[-1])
        return b"".join(pieces)

    async def _read(self) -> None:
        if self._pipe is None:
            raise EndedWorker("it has no pipe")
        try:
            self._held = await self._pipe.receive(_CHUNK)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise EndedWorker("it closed its pipes") from None
        self._place = 0


def _nothing(_line: bytes) -> None:
    pass


def _request_line(head: JsonObject, size: int) -> bytes:
    """Return the line of a request. JSON of Python may have halves of surrogate pairs, as headers of others have."""
    return json.dumps({**head, "size": size}, default=str, separators=(",", ":")).encode() + b"\n"
