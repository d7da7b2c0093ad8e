"""A thread that notices when the event loop stands still, and logs what each thread does at that time.

While the loop stands still, no request gets an answer, and nothing that runs on it can say why. Twice a second the
thread asks the loop for a sign of life: that is all it costs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from time import monotonic, process_time
from traceback import walk_stack
from types import FrameType
from typing import Final

__all__ = ["watching"]

_logger = logging.getLogger(__name__)
_BETWEEN_SIGNS: Final = 0.5
_BETWEEN_REPORTS: Final = 60.0
_MAX_STACKS: Final = 16
_MAX_FRAMES: Final = 24
"""Frames of one stack: the innermost ones, which say what a thread is doing."""
_IMPORTING: Final = "<frozen importlib"
_MAX_IMPORT_SECONDS: Final = 60.0
"""An import of this length is reported."""
_BUSY_SHARE: Final = 0.1
"""CPU seconds of each second that a process needs to count as running."""


@contextmanager
def watching(seconds: float = 2.0) -> Generator[None]:
    """Watch the running event loop. If it stands still for this many seconds, log the stacks of all threads.

    The log has the stacks once a minute at most. 0 seconds watch nothing.
    """
    if not seconds:
        yield
        return
    watchdog = _Watchdog(asyncio.get_running_loop(), threading.get_ident(), seconds)
    thread = threading.Thread(target=watchdog.watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watchdog.ended.set()


class _Watchdog:
    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int, seconds: float) -> None:
        self.ended: Final = threading.Event()
        self._loop = loop
        self._thread = thread
        self._seconds = seconds
        self._reported_at = -_BETWEEN_REPORTS

    def watch(self) -> None:
        with suppress(RuntimeError):  # the loop has closed
            while not self.ended.wait(_BETWEEN_SIGNS):
                self._ask()

    def _ask(self) -> None:
        """Ask for one sign of life, and wait until it comes.

        :raises RuntimeError: the loop has closed.
        """
        sign = threading.Event()
        asked = monotonic()
        self._loop.call_soon_threadsafe(sign.set)
        if self._is_excused(sign):
            return
        is_reported = monotonic() - self._reported_at >= _BETWEEN_REPORTS
        if is_reported:
            self._reported_at = monotonic()
            stacks = "\n".join(_stacks(self._thread))
            seconds = monotonic() - asked
            _logger.warning("The event loop has stood still for %.1f seconds. The threads:\n%s", seconds, stacks)
        while not sign.wait(_BETWEEN_SIGNS):
            if self.ended.is_set():
                return
        if is_reported:
            _logger.warning("The event loop goes on. It stood still for %.1f seconds.", monotonic() - asked)

    def _is_excused(self, sign: threading.Event) -> bool:
        """Return whether the sign comes in time, or the whole process stood: a laptop slept, or a debugger held it.

        The time in which the loop imports modules does not count: a slow disk delays that, at the start and at the
        first call of a transport.
        """
        for _ in range(max(1, round(_MAX_IMPORT_SECONDS / self._seconds))):
            asked, used = monotonic(), process_time()
            if sign.wait(self._seconds) or self.ended.is_set():
                return True
            waited = monotonic() - asked
            if waited > 2 * self._seconds and process_time() - used < _BUSY_SHARE * waited:
                return True
            if not _is_importing(self._thread):
                break
        return False


def _is_importing(ident: int) -> bool:
    """Return whether a thread imports a module now."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no other way
    return any(one.f_code.co_filename.startswith(_IMPORTING) for one, _ in walk_stack(frame)) if frame else False


def _stacks(first: int) -> Iterator[str]:
    """Yield the stack of each thread, that of the event loop first. Threads that do the same have one."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no other way to them
    frames.pop(threading.get_ident(), None)
    by_stack: dict[str, list[str]] = {}
    for ident in sorted(frames, key=lambda one: one != first):
        by_stack.setdefault(_stack(frames[ident]), []).append(str(names.get(ident, ident)))
    for stack, threads in islice(by_stack.items(), _MAX_STACKS):
        more = f" and {len(threads) - 1} more" if len(threads) > 1 else ""
        yield f"Thread {threads[0]}{more}:\n{stack}"
    if len(by_stack) > _MAX_STACKS:
        yield f"{len(by_stack) - _MAX_STACKS} more threads."


def _stack(frame: FrameType) -> str:
    lines = (
        f"  {one.f_code.co_filename}:{line} in {one.f_code.co_qualname}"
        for one, line in walk_stack(frame)
        if not one.f_code.co_filename.startswith(_IMPORTING)
    )
    return "\n".join(islice(lines, _MAX_FRAMES))
