"""Log lines that repeat: the first few are written, and then their number once a minute.

Lines are of one kind if one statement of the code makes them. A kind has ten lines for each first argument, which is
the manual or tool that it is about, and a hundred in all. So one noisy manual does not fill the log, and does not hide
the lines of another one.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

__all__ = ["RepeatedLines"]

_SECONDS: Final = 60.0
_MOST_OF_ONE: Final = 10
_MOST_OF_KIND: Final = 100
_MAX_KINDS: Final = 1_000
_MAX_KEY: Final = 200

_Key = tuple[str, int, str, str | None]


@dataclass(slots=True)
class _Seen:
    """Lines of one kind since `since`: how many were written, and how many only counted."""

    most: int
    since: float
    written: int = 0
    held: int = 0
    last: logging.LogRecord | None = field(default=None, repr=False)


class RepeatedLines(logging.Filter):
    """Holds back lines that repeat. `write` receives the records that count them."""

    def __init__(self, write: Callable[[logging.LogRecord], None], *, now: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._write = write
        self._now = now
        self._turn = threading.RLock()  # reentrant: a collected object may log
        self._seen: dict[_Key, _Seen] = {}
        self._timer: threading.Timer | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record."""
        kind = (record.name, record.levelno, str(record.msg).partition("\n")[0][:_MAX_KEY])
        first = record.args[0] if isinstance(record.args, tuple) and record.args else None
        with self._turn:
            one = self._passes((*kind, str(first)[:_MAX_KEY]), _MOST_OF_ONE, record)
            return one and self._passes((*kind, None), _MOST_OF_KIND, record)

    def count(self, *, at_end: bool = False) -> None:
        """Write the number of each kind that was held back, and forget the kinds that were silent for a minute."""
        with self._turn:
            now = self._now()
            for key, seen in tuple(self._seen.items()):
                if seen.last is not None:
                    self._write(_counted(seen.last, seen.held))
                    seen.since, seen.held, seen.last = now, 0, None
                elif now - seen.since >= _SECONDS:
                    del self._seen[key]
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not at_end and any(seen.written == seen.most for seen in self._seen.values()):
                self._start_timer()

    def _passes(self, key: _Key, most: int, record: logging.LogRecord) -> bool:
        now = self._now()
        seen = self._seen.get(key)
        if seen is None or (seen.written < most and now - seen.since >= _SECONDS):
            if len(self._seen) >= _MAX_KINDS:
                self._seen = {key: seen for key, seen in self._seen.items() if seen.written == seen.most}
            if len(self._seen) >= _MAX_KINDS:
                return True
            seen = self._seen[key] = _Seen(most, now)
        if seen.written < most:
            seen.written += 1
            return True
        seen.held += 1
        seen.last = record
        if self._timer is None:
            self._start_timer()
        return False

    def _start_timer(self) -> None:
        self._timer = threading.Timer(_SECONDS, self.count)
        self._timer.daemon = True
        self._timer.start()


def _counted(record: logging.LogRecord, number: int) -> logging.LogRecord:
    counted = copy.copy(record)
    counted.msg, counted.args = "%d more lines like this one: %s", (number, record.getMessage())
    counted.exc_info = counted.exc_text = None
    return counted
