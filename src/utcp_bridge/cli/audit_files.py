"""Where audit lines go: into a chain in a file that several bridges may share, and that goes on in new files.

A lock beside the file (`NAME.lock`) lets one process at a time add lines. Before it does, it looks whether another one
has written or begun a new file, and continues the chain from the last line.
"""

from __future__ import annotations

import os
import queue
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from utcp_bridge import __version__
from utcp_bridge.access.audit_chain import MAX_LINE_BYTES, AuditChain, chain_record
from utcp_bridge.cli.line_writer import LineWriter
from utcp_bridge.cli.log_files import lost_audit_lines
from utcp_bridge.net.files.writing import open_log, try_lock, unlock

__all__ = ["ChainedPut", "ChainedWriter", "Rotation", "SyslogWriter"]

_LOCK_SECONDS: Final = 5.0
_SYSLOG: Final = "/var/run/syslog" if sys.platform == "darwin" else "/dev/log"
_SYSLOG_PORT: Final = 514
_PRIORITY: Final = 4 << 3 | 6
"""The facility `auth` and the level `info` (RFC 5424)."""
_MAX_LINES: Final = 8_192
_SEAL_BYTES: Final = 150
"""What the chain adds to a line, about."""
_BETWEEN_TRIES: Final = 0.002
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file goes on in a new one: after bytes, or seconds since its start; 0: never. `keep` old ones stay."""

    max_bytes: int = 0
    max_age: float = 0.0
    keep: int = 10

    def is_due(self, size: int, more: int, age: float) -> bool:
        """Return whether a file of this size and age goes on in a new one before `more` bytes are added."""
        return bool(size) and (
            bool(self.max_bytes and size + more > self.max_bytes) or bool(self.max_age and age > self.max_age)
        )


class ChainedWriter(LineWriter):
    """Appends lines to a file as members of a chain. The run of the program has a first line and a last one."""

    def __init__(
        self,
        path: Path,
        rotation: Callable[[], Rotation],
        key: bytes | None,
        report: Callable[[int, str], None] | None = None,
    ) -> None:
        """Open the file, and write the first line. `rotation` is asked when lines are written: settings may change.

        :raises OSError: the file or its lock cannot be opened.
        """
        self._file, self._rotation = path, rotation
        self._chain = AuditChain(key)
        self._size = -1
        """Bytes of the file after the last line of this process. -1: unknown."""
        self._began: float | None = None
        self._run_id = secrets.token_hex(4)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        self._lock = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
        try:
            super().__init__(path, str(path), lost_audit_lines, report)
        except OSError:
            os.close(self._lock)
            raise
        self.put(chain_record("start", run=self._run_id, version=__version__))

    def close(self) -> bool:
        """Write what is waiting and the last line, and close. Return False as `LineWriter.close`."""
        self.put(chain_record("end", run=self._run_id))
        is_done = super().close()
        if is_done:
            os.close(self._lock)
        return is_done

    def _write(self, lines: list[bytes]) -> None:
        with self._alone() as is_alone:
            if not is_alone:
                self._fail(len(lines), f"another program holds the lock of {self._name}")
                return
            try:
                self._settle(sum(len(line) + _SEAL_BYTES for line in lines))
            except OSError as error:
                self._fail(len(lines), f"{self._name} cannot be used: {error.strerror or type(error).__name__}")
                return
            super()._write(lines)
            self._size = os.fstat(self._descriptor).st_size

    def _made(self, lines: list[bytes]) -> list[bytes]:
        return self._chain.sealed(lines)

    def _went(self, lines: list[bytes]) -> None:
        self._chain.keep(lines)

    def _open_again(self) -> None:
        super()._open_again()
        self._write([])

    @contextmanager
    def _alone(self) -> Generator[bool]:
        """Hold the lock, if it becomes free soon."""
        ends = time.monotonic() + _LOCK_SECONDS
        while not (is_held := try_lock(self._lock)) and time.monotonic() < ends:
            time.sleep(_BETWEEN_TRIES)
        try:
            yield is_held
        finally:
            if is_held:
                unlock(self._lock)

    def _settle(self, more: int) -> None:
        """Be at the end of the present file and of its chain, also if another process wrote; begin a new file if due.

        :raises OSError: a file cannot be read, renamed or opened.
        """
        status = os.fstat(self._descriptor)
        with suppress(FileNotFoundError):  # renamed by another program, which tells us later
            present = self._file.stat(follow_symlinks=False)
            if (present.st_dev, present.st_ino) != (status.st_dev, status.st_ino):
                self._exchange()
                status = os.fstat(self._descriptor)
        if status.st_size != self._size:
            self._resume(status.st_size)
        if self._rotation().is_due(self._size, more, self._age()):
            self._rotate()

    def _exchange(self) -> None:
        with open_log(self._file) as file:
            before, self._descriptor = self._descriptor, os.dup(file.fileno())
        os.close(before)
        self._size, self._began = -1, None

    def _resume(self, size: int) -> None:
        """Continue the chain of the file; of an empty one, the chain until now or that of the newest old file."""
        self._size = size
        if not size:
            if not self._chain.end.number:
                with suppress(OSError):
                    self._chain.resume(_tail(self._file.with_name(f"{self._file.name}.1")))
            if self._chain.end.number:
                self._add(chain_record("next file", run=self._run_id))
            return
        try:
            cut = self._chain.resume(_tail(self._file))
        except FileNotFoundError:  # renamed just now
            return
        if cut:
            self._written(b"\n")
            self._add(chain_record("cut line", bytes=cut))

    def _add(self, line: bytes) -> None:
        made = self._made([line])
        written, failure = self._written(b"".join(made))
        self._went(made if written else [])
        if failure is not None:
            raise failure
        self._size = os.fstat(self._descriptor).st_size

    def _age(self) -> float:
        """Return the seconds since the first line of the file; 0 if that does not matter."""
        if not self._rotation().max_age or self._size <= 0:
            return 0.0
        if self._began is None:
            self._began = _first_time(self._file)
        return 0.0 if self._began is None else time.time() - self._began

    def _rotate(self) -> None:
        """Rename the file to `NAME.1`, the old ones to the next number, and begin a new one."""
        names = [self._file.with_name(f"{self._file.name}.{number}") for number in range(1, self._rotation().keep + 1)]
        for older, newer in reversed([*zip(names[1:], names, strict=False)]):
            with suppress(FileNotFoundError):
                Path(newer).replace(older)
        Path(self._file).replace(names[0])
        self._exchange()
        self._resume(0)


class ChainedPut:
    """Passes lines on as members of a chain, to a place that takes a line or refuses it."""

    def __init__(self, put: Callable[[bytes], bool], key: bytes | None) -> None:
        self._put = put
        self._chain = AuditChain(key)
        self._refused = 0
        self._one = threading.Lock()
        self._run_id = secrets.token_hex(4)
        self(chain_record("start", run=self._run_id, version=__version__))

    def close(self) -> None:
        """Write the last line."""
        self(chain_record("end", run=self._run_id))

    def __call__(self, line: bytes) -> bool:
        """Write a line, and before it how many lines were refused. Return False if this one is."""
        with self._one:
            if self._refused and self._try(lost_audit_lines(self._refused, "the reader does not read")):
                self._refused = 0
            if not self._refused and self._try(line):
                return True
            self._refused += 1
            return False

    def _try(self, line: bytes) -> bool:
        made = self._chain.sealed([line])
        is_taken = self._put(made[0])
        if is_taken:
            self._chain.keep(made)
        return is_taken


class SyslogWriter:
    """Sends lines to the system's log in a thread, as members of a chain. What cannot be sent is counted."""

    def __init__(self, place: str, key: bytes | None, report: Callable[[int, str], None]) -> None:
        """Begin. `place` is empty, the path of a socket, or `udp://host:port` or `tcp://host:port`.

        :raises ValueError: `place` is something else.
        """
        self._address, self._kind = _syslog_address(place)
        self._report, self.lost = report, 0
        self._socket: socket.socket | None = None
        self._lines: queue.Queue[bytes | None] = queue.Queue(_MAX_LINES)
        self._dropped = 0
        self._key = key
        self._thread = threading.Thread(target=self._run, name="writer of syslog", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> bool:
        """Send a line as soon as possible. Return False if it is dropped."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1
            self._lose(1, "the system's log is too slow")
            return False
        return True

    def close(self) -> None:
        """Send what waits, for a bounded time."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=_LOCK_SECONDS)
        self._thread.join(_LOCK_SECONDS)

    def _run(self) -> None:
        chained = ChainedPut(self._send, self._key)
        while (line := self._lines.get()) is not None:
            if dropped := self._dropped:
                self._dropped -= dropped
                chained(lost_audit_lines(dropped, "the system's log is too slow"))
            chained(line)
        chained.close()
        if self._socket is not None:
            self._socket.close()

    def _send(self, line: bytes) -> bool:
        data = b"<%d>utcp-bridge: %s" % (_PRIORITY, line.rstrip())
        try:
            if self._socket is None:
                self._socket = self._opened()
            self._socket.sendall(data + b"\n" if self._kind is socket.SOCK_STREAM else data)
        except OSError as error:
            self._lose(1, f"the system's log cannot be reached: {error.strerror or type(error).__name__}")
            if self._socket is not None:
                self._socket.close()
            self._socket = None
            return False
        return True

    def _opened(self) -> socket.socket:
        """Return a socket to the log.

        :raises OSError: nobody listens.
        """
        if self._kind is socket.SOCK_STREAM:
            return socket.create_connection(self._address, timeout=_LOCK_SECONDS)
        family = socket.AF_UNIX if isinstance(self._address, str) else socket.getaddrinfo(*self._address)[0][0]
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.settimeout(_LOCK_SECONDS)
        try:
            opened.connect(self._address)
        except OSError:
            opened.close()
            raise
        return opened

    def _lose(self, lines: int, why: str) -> None:
        self.lost += lines
        self._report(self.lost, why)


def _syslog_address(place: str) -> tuple[Any, socket.SocketKind]:
    if "://" not in place:
        if not hasattr(socket, "AF_UNIX"):  # Windows
            raise ValueError(place)
        return place or _SYSLOG, socket.SOCK_DGRAM
    parts = urlsplit(place)
    kinds = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
    if parts.scheme not in kinds or not parts.hostname:
        raise ValueError(place)
    return (parts.hostname, parts.port or _SYSLOG_PORT), kinds[parts.scheme]


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * MAX_LINE_BYTES))
        return file.read()


def _first_time(path: Path) -> float | None:
    """Return the time of the first line of a file, in seconds since 1970."""
    import orjson

    try:
        with path.open("rb") as file:
            return datetime.fromisoformat(orjson.loads(file.readline(MAX_LINE_BYTES))["time"]).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return None
