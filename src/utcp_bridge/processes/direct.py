"""Children without a guardian: on Windows, and where Python cannot be started as a program.

On Windows they belong to a job that ends with the bridge. Elsewhere they end with their call and with an orderly end
of the bridge; if the bridge is killed, they go on until they notice that their pipes are closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from utcp_bridge.processes.child import Child, Launch
from utcp_bridge.processes.guardian import GRACE

__all__ = ["DirectChildren"]

_CHUNK: Final = 65_536
_KILL_ON_JOB_CLOSE: Final = 0x2000
_EXTENDED_LIMIT_INFORMATION: Final = 9
_LIMITS: Final = "@qqI0qNNI0NNIIQQQQQQNNNN"
"""The form of JOBOBJECT_EXTENDED_LIMIT_INFORMATION, whose third value are the flags."""
_SET_QUOTA_AND_TERMINATE: Final = 0x0101
_CLOSING_SECONDS: Final = 1.0
_LAST_SECONDS: Final = 0.05


class DirectChildren:
    """The children that this process has started itself."""

    def __init__(self) -> None:
        self._running: set[_DirectChild] = set()
        self._job: Any = None

    async def start(self, launch: Launch) -> Child:
        """Start a program.

        :raises OSError: it cannot be started.
        """
        started: list[_DirectChild] = []
        with anyio.CancelScope(shield=True):  # a cancellation in between would leave the child
            started.append(_DirectChild(await _open(launch)))
        [child] = started
        if sys.platform == "win32":
            self._job = self._job or _Job()
            self._job.add(child.pid)
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
    return await anyio.open_process(
        list(launch.argv),
        stdin=subprocess.PIPE if launch.has_stdin else subprocess.DEVNULL,
        stderr=subprocess.PIPE if launch.has_stderr else subprocess.DEVNULL,
        env={**launch.environment, **numbers},
        cwd=launch.folder,
        start_new_session=sys.platform != "win32",
        pass_fds=tuple(launch.descriptors.values()),
    )


class _DirectChild(Child):
    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
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
        _signal(self._process, "SIGTERM")
        return self.returncode

    async def gone(self, seconds: float = GRACE) -> bool:
        with anyio.move_on_after(seconds):
            self.returncode = await self._process.wait()
            while sys.platform != "win32" and _signal(self._process, None):  # noqa: ASYNC110 - the kernel does not report it
                await anyio.sleep(0.01)
            for timer in self._timers:
                timer.cancel()
            return True
        return False

    def end(self, patience: float = 0.0, grace: float = GRACE) -> None:
        self._timers += [
            self._loop.call_later(patience, _signal, self._process, "SIGTERM"),
            self._loop.call_later(patience + grace, _signal, self._process, "SIGKILL"),
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


def _signal(process: Process, name: str | None) -> bool:
    """Send a signal to the group, on Windows to the process alone. Return False if the group is empty."""
    try:
        if sys.platform != "win32":
            os.killpg(process.pid, 0 if name is None else getattr(signal, name))
        elif process.returncode is None:
            process.kill()
    except (ProcessLookupError, PermissionError):
        return False
    return True


class _Job:
    """A job object of Windows. Its only handle closes with this process, and then all processes in it end."""

    def __init__(self) -> None:
        import ctypes

        library: Any = ctypes
        self._windows = library.WinDLL("kernel32")
        self._windows.CreateJobObjectW.restype = self._windows.OpenProcess.restype = ctypes.c_void_p
        self._handle = ctypes.c_void_p(self._windows.CreateJobObjectW(None, None))
        limits = struct.pack(_LIMITS, 0, 0, _KILL_ON_JOB_CLOSE, *[0] * 16)
        self._windows.SetInformationJobObject(self._handle, _EXTENDED_LIMIT_INFORMATION, limits, len(limits))

    def add(self, pid: int) -> None:
        """Add a process with all that it starts from now on. A process that has ended already is not an error."""
        from ctypes import c_void_p

        process = c_void_p(self._windows.OpenProcess(_SET_QUOTA_AND_TERMINATE, False, pid))
        if process.value:
            self._windows.AssignProcessToJobObject(self._handle, process)
            self._windows.CloseHandle(process)
