"""Children without a guardian: on Windows, and where Python cannot be started as a program.

On Windows each belongs to a job, which ends with the bridge. Windows has no SIGTERM: where another system sends it, the
job ends at once. Elsewhere the children end with their call and with an orderly end of the bridge; if the bridge is
killed, they go on until they notice that their pipes are closed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from utcp_bridge.processes.child import Child, Launch
from utcp_bridge.processes.guardian import GRACE
from utcp_bridge.processes.systems import SPAWN_FLAGS, WindowsJob, merge_environment, started_words

__all__ = ["DirectChildren"]

_CHUNK: Final = 65_536
_CLOSING_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 0.05
_LOOK_SECONDS: Final = 0.01


class DirectChildren:
    """The children that this process has started itself."""

    def __init__(self) -> None:
        self._running: set[_DirectChild] = set()

    async def start(self, launch: Launch) -> Child:
        """Start a program.

        :raises OSError: it cannot be started.
        """
        started: list[_DirectChild] = []
        with anyio.CancelScope(shield=True):  # a cancellation in between would leave the child
            started.append(_DirectChild(await _open(launch)))
        [child] = started
        self._running = {one for one in self._running if one.returncode is None} | {child}
        return child

    def hasten(self, patience: float, grace: float) -> None:
        """Bound the end of every child from now on."""
        for child in self._running:
            child.end(patience, grace)

    async def end(self) -> None:
        """End every child."""
        self.hasten(0, GRACE / 2)
        with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
            for child in self._running:
                await child.gone(_CLOSING_SECONDS)
        self._running.clear()


async def _open(launch: Launch) -> Process:
    numbers = {name: str(descriptor) for name, descriptor in launch.descriptors.items()}
    environment = merge_environment(launch.environment, numbers)
    words: list[str] | str = list(launch.argv)
    if sys.platform == "win32":
        environment.setdefault("PYTHONIOENCODING", "utf-8")  # Python's pipes have the code page of Windows otherwise
        words = started_words(launch.argv, environment, launch.folder)
    try:
        return await anyio.open_process(
            words,
            stdin=subprocess.PIPE if launch.has_stdin else subprocess.DEVNULL,
            stderr=subprocess.PIPE if launch.has_stderr else subprocess.DEVNULL,
            env=environment,
            cwd=launch.folder,
            creationflags=SPAWN_FLAGS,
            start_new_session=sys.platform != "win32",
            pass_fds=tuple(launch.descriptors.values()),
        )
    except NotImplementedError:
        raise OSError(errno.ENOSYS, "this event loop cannot start programs; use the default loop of asyncio") from None


class _DirectChild(Child):
    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
        self._job = WindowsJob(process.pid) if sys.platform == "win32" else None
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._outputs = [
            None if stream is None else _EndableReader(stream) for stream in (process.stdout, process.stderr)
        ]
        self.pid = process.pid
        self.stdin = process.stdin
        self.stdout, self.stderr = self._outputs  # type: ignore[assignment] # stdout is always a pipe

    async def wait(self) -> int:
        self.returncode = await self._process.wait()
        self._signal("SIGTERM")
        return self.returncode

    async def gone(self, seconds: float = GRACE) -> bool:
        with anyio.move_on_after(seconds):
            self.returncode = await self._process.wait()
            while self._signal(None):  # noqa: ASYNC110 - the kernel does not report it
                await anyio.sleep(_LOOK_SECONDS)
            for timer in self._timers:
                timer.cancel()
            if self._job is not None:
                self._job.close()
            return True
        return False

    def end(self, patience: float = 0.0, grace: float = GRACE) -> None:
        self._timers += [
            self._loop.call_later(patience, self._signal, "SIGTERM"),
            self._loop.call_later(patience + grace, self._signal, "SIGKILL"),
        ]

    def complete(self) -> None:
        for output in self._outputs:
            if output is not None:
                output.complete()

    async def aclose(self) -> None:
        for stream in (self.stdin, *self._outputs):
            if stream is not None:
                with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await stream.aclose()
        self._close_pipes()

    def _close_pipes(self) -> None:
        """Close the pipes of outputs that nobody reads to their end: anyio keeps those open that have more to read."""
        transport: Any = getattr(getattr(self._process, "_process", None), "_transport", None)
        for number in (1, 2) if isinstance(transport, asyncio.SubprocessTransport) else ():
            if (pipe := transport.get_pipe_transport(number)) is not None:
                pipe.close()

    def _signal(self, name: str | None) -> bool:
        """Send a signal to the group; None looks only. Return False if the group is empty."""
        if self._job is not None:
            if name is not None:
                self._job.terminate()
            return not self._job.is_empty()
        try:
            os.killpg(self._process.pid, 0 if name is None else getattr(signal, name))
        except (ProcessLookupError, PermissionError):
            return False
        return True


class _EndableReader(ByteReceiveStream):
    """An output that can end while another process holds its pipe."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream = stream
        self._scope = anyio.CancelScope()
        self._is_complete = False

    def complete(self) -> None:
        self._is_complete = True
        self._scope.cancel()

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        seconds = _LAST_SECONDS if self._is_complete else float("inf")
        with anyio.CancelScope(deadline=anyio.current_time() + seconds) as self._scope:
            return await self._stream.receive(max_bytes)
        if seconds != _LAST_SECONDS:
            return await self.receive(max_bytes)
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        await self._stream.aclose()
