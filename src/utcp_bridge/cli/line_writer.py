"""Lines that a thread writes, so that no caller waits for a reader or a disk.

A host that does not read stderr fills a pipe of 64 KiB, and then each write to it waits for ever. So lines go into a
bounded queue. A line that does not fit is dropped and counted, and so is one that a full disk refuses. The count is
written before the next line that can be written.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from utcp_bridge.net.files.writing import open_log

__all__ = ["LineWriter", "OnLost"]

_MAX_LINES: Final = 8_192
_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_BATCH: Final = 64 * 1024
_PIECE: Final = 4_096
"""Bytes that a pipe takes at once when it takes any."""
_STUCK_SECONDS: Final = 0.1
"""How long the end waits for a reader that reads nothing."""
_PIPE_SECONDS: Final = 1.0
"""How long the end waits for a reader that reads slowly."""
_FILE_SECONDS: Final = 5.0

OnLost = Callable[[int, str], bytes]
"""Receives how many lines were lost, and why. Returns the line to write about it."""


class LineWriter:
    """Writes lines to a descriptor, or appends them to a file that `reopen` opens again."""

    def __init__(
        self,
        place: int | Path,
        name: str,
        on_lost: OnLost,
        report: Callable[[int, str], None] | None = None,
        pause: float = 0.0,
    ) -> None:
        """Open the file, or take the descriptor over. `name` is for messages.

        With a `pause` in seconds, lines are collected for so long and written together: to wake the thread and to write
        cost more than a line itself.

        `report` is called with the number of all lines lost so far and the reason, whenever lines are lost.

        :raises OSError: the file cannot be opened; see `open_log`.
        """
        self._path = place if isinstance(place, Path) else None
        self._descriptor = place if isinstance(place, int) else _opened(place)
        self._is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._name, self._on_lost, self._report, self._pause = name, on_lost, report, pause
        self._moved = threading.Condition()  # reentrant: a collected object may log while its thread adds a line
        self._waiting: deque[tuple[Sequence[bytes], int] | None] = deque()
        """Lines that came together, with their size. None: the file is opened again."""
        self._lines = self._bytes = self._dropped = self._failed = self._steps = 0
        self._failure = ""
        self._ends = self._busy = False
        self.lost = 0
        """How many lines were dropped or could not be written."""
        self._thread = threading.Thread(target=self._run, name=f"writer of {name}", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> bool:
        """Write a line, which ends with a newline, as soon as possible. Return False if it was dropped."""
        return self.put_lines((line,)) == 0

    def put_lines(self, lines: Sequence[bytes]) -> int:
        """Write lines, as `put` does. Return how many were dropped."""
        dropped, size = 0, sum(map(len, lines))
        with self._moved:
            has_room = self._lines + len(lines) <= _MAX_LINES and self._bytes + size <= _MAX_BYTES
            if has_room and not (self._ends or self._dropped):
                self._append(lines, size)
                self._moved.notify_all()
                return 0
            for line in lines:
                if self._lines >= _MAX_LINES or self._bytes + len(line) > _MAX_BYTES or self._ends:
                    self._dropped += 1
                    dropped += 1
                else:
                    if self._dropped:
                        self._note_dropped()
                    self._append((line,), len(line))
            if dropped < len(lines):
                self._moved.notify_all()
        if dropped:
            self._lose(dropped, self._why_dropped())
        return dropped

    def _append(self, lines: Sequence[bytes], size: int) -> None:
        self._waiting.append((lines, size))
        self._lines += len(lines)
        self._bytes += size

    def drained(self, seconds: float = _FILE_SECONDS) -> bool:
        """Wait until each line until now was written or lost. Return False if that takes longer."""
        with self._moved:
            return self._moved.wait_for(lambda: not self._waiting and not self._busy, seconds)

    def reopen(self) -> None:
        """Open the file again, because another program renamed it. Lines until now go to the old file."""
        with self._moved:
            if self._path is not None:
                self._waiting.append(None)
                self._moved.notify_all()

    def close(self) -> bool:
        """Write what is waiting, and close. Return False if the reader does not read; the rest is lost then."""
        with self._moved:
            self._ends = True
            self._moved.notify_all()
        ends = monotonic() + (_FILE_SECONDS if self._is_file else _PIPE_SECONDS)
        while self._thread.is_alive():
            before = self._steps
            self._thread.join(_STUCK_SECONDS)
            is_stuck = before == self._steps and not _takes_more(self._descriptor)
            if self._thread.is_alive() and (is_stuck or monotonic() > ends):
                return False  # the thread, which waits, ends with the process
        os.close(self._descriptor)
        return True

    def _run(self) -> None:
        while True:
            with self._moved:
                self._moved.wait_for(lambda: self._waiting or self._ends)
                if not self._waiting:
                    return
            if self._pause and not self._ends:
                sleep(self._pause)
            with self._moved:
                lines = self._taken()
                self._busy = True
            if lines:
                self._write(lines)
            else:
                self._open_again()
            with self._moved:
                self._busy = False
                self._moved.notify_all()

    def _taken(self) -> list[bytes]:
        """Return the lines to write next. None of them: the file is to be opened again."""
        lines: list[bytes] = []
        taken = 0
        while self._waiting and taken < _MAX_BATCH:
            if self._waiting[0] is None and lines:
                break
            found = self._waiting.popleft()
            if found is None:
                break
            lines += found[0]
            taken += found[1]
            if not self._waiting:
                self._note_dropped()
        self._lines -= len(lines)
        self._bytes -= taken
        return lines

    def _note_dropped(self) -> None:
        """Write how many lines were dropped, after the lines that are waiting."""
        if self._dropped:
            note = self._on_lost(self._dropped, self._why_dropped())
            self._append((note,), len(note))
            self._dropped = 0

    def _write(self, lines: list[bytes]) -> None:
        notes = [self._on_lost(self._failed, self._failure)] if self._failed else []
        made = self._made([*notes, *lines])
        data = b"".join(made)
        written, failure = self._written(data)
        whole = len(made) if failure is None else data.count(b"\n", 0, written)
        self._went(made[:whole])
        if whole >= len(notes):
            self._failed = 0
        if failure is not None:
            what = f"{self._name} cannot be written: {failure.strerror or type(failure).__name__}"
            self._fail(len(made) - max(whole, len(notes)), what)

    def _made(self, lines: list[bytes]) -> list[bytes]:
        """Return lines in the form in which they are written."""
        return lines

    def _went(self, lines: list[bytes]) -> None:
        """Note the lines, as `_made` returned them, that were written in full."""

    def _fail(self, lines: int, why: str) -> None:
        """Count lines that could not be written. The next line that can be written says so."""
        self._failed += lines
        self._failure = why
        self._lose(lines, why)

    def _written(self, data: bytes) -> tuple[int, OSError | None]:
        """Write all of it, or whole lines until an error. Return how many bytes were written, and the error."""
        rest = memoryview(data)
        try:
            while rest:
                try:
                    size = os.write(self._descriptor, rest if self._is_file else rest[:_PIECE])
                except BlockingIOError:  # the host made its end not wait, which is ours too
                    select.select((), (self._descriptor,), ())
                    continue
                rest = rest[size:]
                self._steps += 1
        except OSError as error:
            written = len(data) - len(rest)
            whole = data.rfind(b"\n", 0, written) + 1
            if self._is_file and whole < written:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - (written - whole))
            return whole, error
        return len(data), None

    def _open_again(self) -> None:
        try:
            opened = _opened(self._path or Path())
        except OSError as error:
            if self._report is not None:
                self._report(self.lost, f"{self._name} cannot be opened again: {error.strerror}")
            return
        before, self._descriptor = self._descriptor, opened
        os.close(before)

    def _lose(self, lines: int, why: str) -> None:
        with self._moved:
            self.lost += lines
        if self._report is not None:
            self._report(self.lost, why)

    def _why_dropped(self) -> str:
        return f"{self._name} is written too slowly" if self._is_file else f"the reader of {self._name} does not read"


def _opened(path: Path) -> int:
    with open_log(path) as file:
        return os.dup(file.fileno())


def _takes_more(descriptor: int) -> bool:
    """Return whether a write would not wait."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))
