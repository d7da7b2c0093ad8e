"""Warnings about invalid requests, of which a scanner causes thousands: one of equal lines, and their number."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Repeats"]

_logger = logging.getLogger("utcp_bridge.net.asgi_server")
_REPEAT_SECONDS: Final = 60.0
"""Of equal lines, one in this time is logged, with their number."""
_MAX_LINES: Final = 64
_MAX_SHOWN: Final = 200


class Repeats(logging.Filter):
    """Lets one of equal warnings pass in a minute, and counts the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}
        """When a line was logged, and how many were not since then."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is logged."""
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        line = str(record.msg)[:_MAX_SHOWN]
        if line not in self._seen and len(self._seen) >= _MAX_LINES:
            line = ""
        if line in self._seen:
            since, count = self._seen[line]
            self._seen[line] = since, count + 1
            return False
        self._seen[line] = self._clock(), 0
        return True

    def report(self, *, at_end: bool = False) -> None:
        """Log how often a line came again, a minute after it was logged."""
        for line, (since, count) in tuple(self._seen.items()):
            if not at_end and self._clock() - since < _REPEAT_SECONDS:
                continue
            if count:
                _logger.warning("%s %d more in the last minute.", line or "Other faults of requests.", count)
                self._seen[line] = self._clock(), 0
            else:
                del self._seen[line]
