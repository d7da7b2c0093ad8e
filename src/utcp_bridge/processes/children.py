"""Children of the bridge: commands, MCP servers and workers. They end with the bridge, whatever ends it.

A guardian starts them (`guardian.py`), one for each event loop, with the first child. Each child has a session and a
process group of its own, and ends with its whole group. The guardian counts the seconds between the signals, so the
end of a child goes on when nobody waits for it. On Windows, and where a guardian cannot run, `direct.py` starts them.

A guardian that has only had workers of the bridge ends with the last of them: it has a quarter of the memory of a
small bridge, and most bridges need a child only for the documents that they read at their first start.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio
from anyio.lowlevel import RunVar

from utcp_bridge.processes import guardian
from utcp_bridge.processes.child import Child, Launch, PipeReader, PipeWriter
from utcp_bridge.processes.direct import DirectChildren

__all__ = ["ChildrenHold", "hasten_children", "start_child"]

_logger = logging.getLogger(__name__)
_CHUNK: Final = 65_536
_LAST_PATIENCE: Final = 0.4
_LAST_GRACE: Final = 0.4
"""Seconds that each child has at the end of the bridge: to end by itself, and after SIGTERM."""
_CLOSING_SECONDS: Final = 1.0
_START_SECONDS: Final = 20.0
_REAP_SECONDS: Final = 0.05


async def start_child(launch: Launch) -> Child:
    """Start a program.

    :raises OSError: it cannot be started.
    :raises ValueError: an argument or a variable contains NUL, or (`UnicodeEncodeError`) half of a surrogate pair.
    """
    return await _children().start(launch)


def hasten_children(patience: float, grace: float) -> None:
    """Bound the end of every child of this event loop from now on: seconds before SIGTERM, and then before SIGKILL."""
    _children().hasten(patience, grace)


class ChildrenHold:
    """Keeps the guardian while it may be needed. With the last hold of an event loop, its children end."""

    def __init__(self) -> None:
        self._children = _children()
        self._children.holds += 1
        self._is_held = True

    def hasten(self) -> None:
        """Bound the end of every child from now on, because the bridge ends."""
        if self._is_held and self._children.holds == 1:
            self._children.hasten(_LAST_PATIENCE, _LAST_GRACE)

    @asynccontextmanager
    async def ending(self) -> AsyncGenerator[None]:
        """Close within this context what uses the children. Then the hold ends, also if the closing is cancelled."""
        self.hasten()
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self.release()

    async def release(self) -> None:
        """End the hold, and every child if this was the last one. May be called again."""
        if not self._is_held:
            return
        self._is_held = False
        self._children.holds -= 1
        if not self._children.holds:
            await self._children.end()


class _Children:
    """The children of one event loop."""

    def __init__(self) -> None:
        self.holds = 0
        self._lock = anyio.Lock()
        self._link: _Link | None = None
        self._parting: set[_Link] = set()
        """Guardians that are not needed any more, and have not ended yet."""
        self._direct = DirectChildren()
        self._has_guardian = sys.platform != "win32" and bool(sys.executable) and not getattr(sys, "frozen", False)

    async def start(self, launch: Launch) -> Child:
        if any("\0" in part for part in (*launch.argv, *launch.environment, *launch.environment.values())):
            raise ValueError("embedded null byte")
        link = await self._guardian()
        return await (self._direct.start(launch) if link is None else link.start(launch))

    def hasten(self, patience: float, grace: float) -> None:
        if self._link is not None:
            self._link.tell("hasten", patience, grace)
        self._direct.hasten(patience, grace)

    async def end(self) -> None:
        links = [*self._parting, *([] if self._link is None else [self._link])]
        self._link = None
        await self._direct.end()
        for link in links:
            await link.close()

    def _part(self, link: _Link) -> None:
        """Let a guardian end that has no child and starts none."""
        if link is self._link:
            self._link = None
        self._parting.add(link)
        link.part(self._parting.discard)

    async def _guardian(self) -> _Link | None:
        if self._link is not None and not self._link.is_lost:
            return self._link
        async with self._lock:
            if self._has_guardian and (self._link is None or self._link.is_lost):
                try:
                    self._link = await _Link.open(self._part)
                except OSError as error:
                    if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}:
                        raise
                    self._has_guardian = False
                    _logger.info("Children are started without a guardian, because it cannot run here: %s", error)
            return self._link if self._has_guardian else None


_of_this_loop: RunVar[_Children] = RunVar("children")


def _children() -> _Children:
    found = _of_this_loop.get(None)
    if found is None:
        found = _Children()
        _of_this_loop.set(found)
    return found


class _GuardedChild(Child):
    """A child of the guardian."""

    def __init__(self, link: _Link, number: int) -> None:
        super().__init__()
        self._link = link
        self._number = number
        self.errno: int | None = None
        self.started = anyio.Event()

    def end(self, patience: float = 0.0, grace: float = guardian.GRACE) -> None:
        if not self._gone.is_set():
            self._link.tell("end", self._number, patience, grace)

    def complete(self) -> None:
        for output in (self.stdout, self.stderr):
            if isinstance(output, PipeReader):
                output.complete()

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if isinstance(stream, PipeReader | PipeWriter):
                stream.close()

    def heard(self, what: str, value: int) -> None:
        """Note what the guardian reports."""
        if what == "started":
            self.pid = value
        elif what == "failed":
            self.errno = value
        elif what == "exited":
            self.returncode = value
            self._exited.set()
        else:
            self._gone.set()
        self.started.set()

    def lost(self) -> None:
        """End the child from here: the guardian is gone."""
        if not self.started.is_set():
            self.errno = errno.ECHILD
        elif not self._gone.is_set():
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
        if self.returncode is None:
            self.returncode = -signal.SIGKILL
        for event in (self.started, self._exited, self._gone):
            event.set()


class _Link:
    """The socket to the guardian, and the children that it has."""

    def __init__(
        self, own: socket.socket, process: subprocess.Popen[bytes], on_unneeded: Callable[[_Link], None]
    ) -> None:
        self._socket = own
        self._on_unneeded = on_unneeded
        self._on_reaped: Callable[[_Link], None] | None = None
        self._may_leave_more = False
        """Whether a child may have left a process, which ends with the guardian."""
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[memoryview, list[int]]] = deque()
        self._received = bytearray()
        self._children: dict[int, _GuardedChild] = {}
        self._last_number = 0
        self._ready = anyio.Event()
        self._ended = anyio.Event()
        own.setblocking(False)
        self._loop.add_reader(own, self._receive)

    @classmethod
    async def open(cls, on_unneeded: Callable[[_Link], None]) -> _Link:
        """Start a guardian. `on_unneeded` is called when it has lost its last child, and nothing else can be left.

        :raises OSError: it cannot be started, or does not work.
        """
        link = cls(*_start_guardian(), on_unneeded)
        try:
            with anyio.fail_after(_START_SECONDS):
                await link._ready.wait()
        except BaseException:
            link._process.kill()
            link._lose()
            raise
        if link.is_lost:
            raise OSError(errno.ECHILD, "it ended at once")
        return link

    @property
    def is_lost(self) -> bool:
        return self._ended.is_set()

    async def start(self, launch: Launch) -> Child:
        arguments = [os.fsencode(one) for one in launch.argv]
        environment = {os.fsencode(name): os.fsencode(value) for name, value in launch.environment.items()}
        names = [os.fsencode(name) for name in launch.descriptors]
        self._last_number += 1
        child = _GuardedChild(self, self._last_number)
        passed = _connect(child, launch)
        self._children[self._last_number] = child
        self._may_leave_more |= not launch.leaves_nothing
        self.tell(
            "start", self._last_number, arguments, environment, os.fsencode(launch.folder), names, descriptors=passed
        )
        try:
            await child.started.wait()
        except BaseException:
            child.end()
            child.close()
            raise
        if child.errno is not None:
            child.close()
            raise OSError(child.errno, os.strerror(child.errno))
        return child

    def tell(self, *message: Any, descriptors: Sequence[int] = ()) -> None:
        """Send a message. The descriptors are closed here when they are sent."""
        self._unsent.append((memoryview(guardian.frame(message)), list(descriptors)))
        if len(self._unsent) == 1:
            self._send()

    async def close(self) -> None:
        """End the guardian and every child of it, and wait for that."""
        self._on_reaped = None
        if not self.is_lost:
            self._socket.shutdown(socket.SHUT_WR)
            with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                await self._ended.wait()
        self._lose()
        self._wait()

    def part(self, then: Callable[[_Link], None]) -> None:
        """End the guardian, which has no child, and call `then` when it has ended. Nothing waits for it."""
        self._on_reaped = then
        self._socket.shutdown(socket.SHUT_WR)

    def _reap(self) -> None:
        if self._on_reaped is None:
            return
        if self._process.poll() is None:
            self._loop.call_later(_REAP_SECONDS, self._reap)
        else:
            self._on_reaped(self)

    def _send(self) -> None:
        self._loop.remove_writer(self._socket)
        while self._unsent and not self.is_lost:
            data, descriptors = self._unsent[0]
            try:
                sent = socket.send_fds(self._socket, [data], descriptors) if descriptors else self._socket.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._send)
                return
            except OSError:
                self._lose()
                return
            _close(descriptors)
            if sent == len(data):
                self._unsent.popleft()
            else:
                self._unsent[0] = data[sent:], []

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
        self._received += data
        for what, *rest in guardian.unframed(self._received):
            if what == "ready":
                self._ready.set()
                continue
            number, value = rest[0], rest[-1]
            self._children[number].heard(what, value)
            if what in {"failed", "gone"}:
                del self._children[number]
        if self._last_number and not (self._children or self._may_leave_more or self._on_reaped or self.is_lost):
            self._on_unneeded(self)

    def _lose(self) -> None:
        """The guardian has ended: close what belongs to it."""
        if self.is_lost:
            return
        self._ended.set()
        self._ready.set()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for _, descriptors in self._unsent:
            _close(descriptors)
        self._unsent.clear()
        for child in self._children.values():
            child.lost()
        self._children.clear()
        if self._on_reaped is None:
            self._wait()
        else:
            self._reap()

    def _wait(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSING_SECONDS)


def _start_guardian() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    own, other = socket.socketpair()
    with other:
        try:
            process = subprocess.Popen(  # noqa: S603 - a file of this package
                [sys.executable, "-I", "-S", "-B", guardian.__file__],
                stdin=other.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict[str, str](),
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            own.close()
            raise
    return own, process


def _connect(child: _GuardedChild, launch: Launch) -> list[int]:
    """Give a child its pipes, and return the child's ends of them with the other descriptors that it gets."""
    passed: list[int] = []
    kept: list[int] = []
    try:
        for is_piped, flag in ((launch.has_stdin, os.O_RDONLY), (True, os.O_WRONLY), (launch.has_stderr, os.O_WRONLY)):
            if not is_piped:
                passed.append(os.open(os.devnull, flag))
                kept.append(-1)
                continue
            reading, writing = os.pipe()
            passed.append(reading if flag == os.O_RDONLY else writing)
            kept.append(writing if flag == os.O_RDONLY else reading)
        passed += [os.dup(descriptor) for descriptor in launch.descriptors.values()]
    except BaseException:
        _close([*passed, *(descriptor for descriptor in kept if descriptor >= 0)])
        raise
    stdin, stdout, stderr = kept
    child.stdin = PipeWriter(stdin) if launch.has_stdin else None
    child.stdout = PipeReader(stdout)
    child.stderr = PipeReader(stderr) if launch.has_stderr else None
    return passed


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
    descriptors.clear()
