"""The program of the guardian: a small process that starts the children of the bridge, and ends them with it.

`children.py` runs this file alone, with the standard library only, so it starts fast and stays small. Both sides send
frames over a socket: four bytes of length, and a tuple. When the socket ends, whatever ended the bridge, every child
ends with its process group: SIGTERM, and half a second later SIGKILL. On Linux the guardian also adopts the orphans
of its children. So it reaps them, and ends those that left their group.

    to the guardian     start, number, arguments, environment, folder, names of variables for more descriptors
                        end, number, seconds before SIGTERM, seconds before SIGKILL
                        hasten, seconds before SIGTERM, seconds before SIGKILL: for every child, from now on
    from the guardian   ready
                        started, number, process id
                        failed, number, errno
                        exited, number, exit code
                        gone, number: its process group is empty
"""

from __future__ import annotations

import errno
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any

__all__ = ["GRACE", "frame", "run", "unframed"]

GRACE = 1.0
"""Seconds from SIGTERM to SIGKILL for what a child leaves in its group."""
_LAST_GRACE = 0.5
"""The same for every child when the bridge has ended."""
_GIVE_UP_SECONDS = 10.0
"""After SIGKILL. A process that the kernel does not let go, as on a dead network drive, ends later."""
_LOOK_SECONDS = 0.01
"""How often to look at a group that should end: the kernel does not report when a group is empty."""
_CHUNK = 65_536
_MAX_DESCRIPTORS = 64
_LENGTH_BYTES = 4
_SET_CHILD_SUBREAPER = 36
"""The operation of prctl(2) that makes a process the parent of its orphaned descendants."""
_NEVER = float("inf")


def frame(message: tuple[Any, ...]) -> bytes:
    """Return the bytes of a message. Both sides run the same Python, so `marshal` serves."""
    data = marshal.dumps(message)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def unframed(received: bytearray) -> list[tuple[Any, ...]]:
    """Remove the whole messages from what was received, and return them."""
    messages: list[tuple[Any, ...]] = []
    while len(received) >= _LENGTH_BYTES:
        end = _LENGTH_BYTES + int.from_bytes(received[:_LENGTH_BYTES], "big")
        if len(received) < end:
            break
        messages.append(marshal.loads(received[_LENGTH_BYTES:end]))  # noqa: S302 - from the bridge and its guardian only
        del received[:end]
    return messages


class _Group:
    """A child and its process group, whose number is the process id of the child."""

    __slots__ = ("has_exited", "is_terminated", "kill_at", "number", "pid", "terminate_at")

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.has_exited = False
        self.is_terminated = False
        self.terminate_at = self.kill_at = _NEVER

    def end_at(self, terminate_at: float, kill_at: float) -> None:
        """Plan the end. Of several plans, the earliest times count."""
        self.terminate_at = min(self.terminate_at, terminate_at)
        self.kill_at = min(self.kill_at, kill_at)

    def signal(self, number: int) -> bool:
        """Send a signal to the group; return False if it is empty."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # macOS, for a group of zombies; a program with the rights of another user
            pass
        return True


class _Guardian:
    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self._unsent = bytearray()
        self._groups: dict[int, _Group] = {}
        self._by_pid: dict[int, _Group] = {}
        self._hastened = (_NEVER, _NEVER)

    def serve(self, wakeups: int) -> None:
        """Serve until the bridge ends, and then end every child."""
        poll = select.poll()
        poll.register(wakeups, select.POLLIN)
        with suppress(AttributeError, OSError):  # the socket lives longer if a fork of the bridge has a copy of it
            poll.register(os.pidfd_open(os.getppid()), select.POLLIN)
        self._link.setblocking(False)
        self._tell("ready")
        ends = False
        while not ends:
            poll.register(self._link, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            for descriptor, event in poll.poll(self._pause()):
                if descriptor == wakeups:
                    os.read(wakeups, _CHUNK)
                    self._reap()
                elif descriptor != self._link.fileno():
                    ends = True
                else:
                    ends |= not (self._flush() if event == select.POLLOUT else self._receive())
            self._look()
        self._link.close()
        self._end_all()

    def _pause(self) -> int | None:
        """Return how many milliseconds to wait for an event."""
        now = time.monotonic()
        times = [now + _LOOK_SECONDS if group.has_exited else _next_step(group) for group in self._groups.values()]
        first = min(times, default=_NEVER)
        return None if first == _NEVER else max(1, round((first - now) * 1000))

    # Messages

    def _receive(self) -> bool:
        """Do what the bridge asks; return False if it has ended."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._link, _CHUNK, _MAX_DESCRIPTORS)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data or flags & socket.MSG_CTRUNC:
            return False
        self._descriptors.extend(descriptors)
        self._received += data
        for what, *rest in unframed(self._received):
            if what == "start":
                self._start(*rest)
            elif what == "end":
                number, patience, grace = rest
                if number in self._groups:
                    self._groups[number].end_at(*_times(patience, grace))
            else:
                self._hastened = _times(*rest)
                for group in self._groups.values():
                    group.end_at(*self._hastened)
        return True

    def _tell(self, *message: Any) -> None:
        self._unsent += frame(message)
        self._flush()

    def _flush(self) -> bool:
        """Send what is unsent, as far as the socket takes it; return False if the bridge has ended."""
        try:
            while self._unsent:
                del self._unsent[: self._link.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    # Children

    def _start(
        self, number: int, arguments: list[bytes], environment: dict[bytes, bytes], folder: bytes, names: list[bytes]
    ) -> None:
        descriptors = [self._descriptors.popleft() for _ in range(3 + len(names))]
        stdin, stdout, stderr, *more = descriptors
        environment.update((name, b"%d" % descriptor) for name, descriptor in zip(names, more, strict=True))
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's command
                arguments,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=environment,
                cwd=folder,
                pass_fds=more,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._tell("failed", number, getattr(error, "errno", errno.EINVAL))
        else:
            process.returncode = 0  # `_reap` waits for it
            group = self._groups[number] = self._by_pid[process.pid] = _Group(number, process.pid)
            group.end_at(*self._hastened)
            self._tell("started", number, process.pid)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _reap(self) -> bool:
        """Reap what has ended; return whether a child is left. What an ended child leaves in its group ends."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            group = self._by_pid.pop(pid, None)
            if group is not None:
                group.has_exited = True
                group.end_at(*_times(0, GRACE))
                self._tell("exited", group.number, os.waitstatus_to_exitcode(status))

    def _look(self) -> None:
        """Send the signals whose time has come, and forget the groups that are empty."""
        now = time.monotonic()
        for group in list(self._groups.values()):
            number = 0
            if now >= group.kill_at:
                number = signal.SIGKILL
            elif now >= group.terminate_at and not group.is_terminated:
                number, group.is_terminated = signal.SIGTERM, True
            if (number or group.has_exited) and not group.signal(number) and group.has_exited:
                del self._groups[group.number]
                self._tell("gone", group.number)

    def _end_all(self) -> None:
        self._hastened = terminate_at, kill_at = _times(0, _LAST_GRACE)
        for group in self._groups.values():
            group.end_at(terminate_at, kill_at)
        for pid in self._strays():
            _signal(pid, signal.SIGTERM)
        while self._reap() | bool(self._groups) and time.monotonic() < kill_at + _GIVE_UP_SECONDS:
            self._look()
            if time.monotonic() >= kill_at:
                for pid in self._strays():
                    _signal(pid, signal.SIGKILL)
            time.sleep(_LOOK_SECONDS)

    def _strays(self) -> list[int]:
        """Return the descendants that are in no group of a child (Linux)."""
        groups = {group.pid for group in self._groups.values()}
        processes = dict(_processes())
        found: list[int] = []
        parents = {os.getpid()}
        while parents:
            children = [(pid, group) for pid, (parent, group) in processes.items() if parent in parents]
            found += [pid for pid, group in children if group not in groups]
            parents = {pid for pid, _ in children}
        return found


def _next_step(group: _Group) -> float:
    return group.kill_at if group.is_terminated else min(group.terminate_at, group.kill_at)


def _times(patience: float, grace: float) -> tuple[float, float]:
    terminate_at = time.monotonic() + patience
    return terminate_at, terminate_at + grace


def _signal(pid: int, number: int) -> None:
    with suppress(OSError):
        os.kill(pid, number)


def _processes() -> list[tuple[int, tuple[int, int]]]:
    """Return the id of each process with the ids of its parent and its group; nothing where /proc is missing."""
    found: list[tuple[int, tuple[int, int]]] = []
    with suppress(OSError):
        for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - pathlib takes time to import
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                _state, parent, group = file.read().rpartition(b")")[2].split()[:3]
                found.append((int(name), (int(parent), int(group))))
    return found


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run() -> None:
    """Be the guardian. Its stdin is the socket to the bridge."""
    wakeups, wake = os.pipe()
    for end in (wakeups, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        # Handlers, because children would inherit that a signal is ignored. The guardian ends with the bridge only.
        signal.signal(number, lambda _number, _frame: None)
    _adopt_orphans()
    _Guardian(socket.socket(fileno=0)).serve(wakeups)


if __name__ == "__main__":
    run()
