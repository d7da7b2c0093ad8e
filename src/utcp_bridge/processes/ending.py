"""The end of this process: the signals that ask for it, the ones that hurry it, and the time that it may take.

The first signal asks the server to end. From `begin` on, the end has a limit of time, and a further signal hurries it:
hosts close stdin, send SIGTERM one or two seconds later, and then SIGKILL. What would keep a program longer, such as a
name server that does not reply, is left as it is. The guardian ends the children in any case.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, NoReturn

import anyio

from utcp_bridge.processes.children import hasten_children

__all__ = ["Ending", "be_program", "leave", "leave_now", "watched_signals"]

_MAX_SECONDS: Final = 1.3
_HURRIED_SECONDS: Final = 0.3
_CHILD_PATIENCE: Final = 0.7
_CHILD_GRACE: Final = 0.25
"""Seconds that a child has for its end: before SIGTERM, and then before SIGKILL. Most end when their stdin closes."""
_NAMES: Final = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
"""SIGBREAK is that of Ctrl-Break, which Windows has instead of SIGTERM and SIGHUP."""
_current: ContextVar[Ending | None] = ContextVar("ending", default=None)
_is_program = False
_has_begun = False


def be_program() -> None:
    """Allow an end by force. Programs that embed a server do not call this: they have an end of their own."""
    global _is_program  # noqa: PLW0603 - a fact about the whole process
    _is_program = True


def leave(code: int) -> None:
    """End the process now if its end has begun: all is closed, and taking a large interpreter apart takes a second."""
    if _is_program and _has_begun:
        leave_now(code)


def leave_now(code: int) -> NoReturn:
    """End the process after its exit functions: for a program that has closed what it opened.

    Python itself would take apart hundreds of modules and all tools first, and wait for name servers.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    finish: Callable[[], object] = vars(atexit)["_run_exitfuncs"]  # only this private name does it
    finish()
    os._exit(code)


class Ending:
    """What a server knows of the end of its process. `watched_signals` yields it."""

    def __init__(self) -> None:
        self._stops: list[Callable[[], object]] = []
        self._hangup_hooks: list[Callable[[], object]] = []
        self._had_terminal = _has_terminal()
        self._limit: threading.Timer | None = None
        self.asked_by: int | None = None
        """The last signal that asked for the end."""
        self.survives_hangup = False
        """Whether SIGHUP does nothing if it has no hooks. Otherwise it asks for the end."""

    @property
    def has_begun(self) -> bool:
        """Whether the end has begun."""
        return self._limit is not None

    @contextmanager
    def stops(self, stop: Callable[[], object]) -> Generator[None]:
        """Call `stop` for each signal that asks for the end before it has begun. The innermost `stop` counts."""
        self._stops.append(stop)
        try:
            yield
        finally:
            self._stops.remove(stop)

    @contextmanager
    def at_hangup(self, hook: Callable[[], object]) -> Generator[None]:
        """Call `hook` for each SIGHUP. It then does not ask for the end, unless the terminal has closed."""
        self._hangup_hooks.append(hook)
        try:
            yield
        finally:
            self._hangup_hooks.remove(hook)

    def begin(self) -> None:
        """Begin the end, which from now on has a limit of time."""
        global _has_begun  # noqa: PLW0603 - a fact about the whole process
        if not self.has_begun:
            _has_begun = True
            _hasten_children(_CHILD_PATIENCE, _CHILD_GRACE)
            self._limit_to(_MAX_SECONDS)

    def receive(self, number: int) -> None:
        """Do what a signal asks for."""
        if number == getattr(signal, "SIGHUP", None) and not (self._had_terminal and not _has_terminal()):
            for hook in self._hangup_hooks:
                hook()
            if self._hangup_hooks or self.survives_hangup:
                return
        self.asked_by = number
        if not self.has_begun:
            self._stops[-1]()
        else:
            _hasten_children(0, 0)
            self._limit_to(_HURRIED_SECONDS)

    def close(self) -> None:
        """Lift the limit of time, except for a program: its interpreter has yet to end."""
        if self._limit is not None and not _is_program:
            self._limit.cancel()

    def _limit_to(self, seconds: float) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = threading.Timer(seconds, _exit)
        self._limit.daemon = True
        self._limit.start()


@asynccontextmanager
async def watched_signals() -> AsyncGenerator[Ending]:
    """Yield the `Ending` of this process. While it is open, SIGTERM, SIGINT, SIGHUP and SIGBREAK go there.

    Without a `stop`, the first signal cancels what is inside. An inner use yields the `Ending` of the outer one.
    """
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    ending = Ending()
    with anyio.CancelScope() as scope:

        def cancel() -> None:
            ending.begin()
            scope.cancel()

        token = _current.set(ending)
        watched = _watch(ending)
        try:
            with ending.stops(cancel):
                yield ending
        finally:
            _current.reset(token)
            _unwatch(watched, ignore=_is_program and ending.has_begun)
            ending.close()


def _watch(ending: Ending) -> dict[int, Any]:
    """Watch the signals that this system has and this thread may watch, except for a SIGHUP that `nohup` ignores.

    Return the earlier handler of each that the event loop cannot watch, as on Windows, and None for others.
    """
    loop = asyncio.get_running_loop()
    watched: dict[int, Any] = {}
    with suppress(RuntimeError, ValueError):  # another thread than the main one
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            try:
                loop.add_signal_handler(number, ending.receive, number)
                watched[number] = None
            except NotImplementedError:
                watched[number] = signal.signal(number, partial(_pass_on, loop, ending.receive))
    return watched


def _pass_on(loop: asyncio.AbstractEventLoop, receive: Callable[[int], None], number: int, _frame: object) -> None:
    """Call `receive` in the event loop, which Python has woken up for the signal."""
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(receive, number)


def _unwatch(watched: dict[int, Any], *, ignore: bool) -> None:
    """Give the signals back. A program ignores them between here and its end: its exit code is that of its end."""
    with _held_back(watched):
        for number, earlier in watched.items():
            if earlier is None:
                asyncio.get_running_loop().remove_signal_handler(number)
            if ignore:
                signal.signal(number, signal.SIG_IGN)
            elif earlier is not None:
                signal.signal(number, earlier)


@contextmanager
def _held_back(numbers: Collection[int]) -> Generator[None]:
    """Let signals wait, where the system can."""
    if not numbers or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _hasten_children(patience: float, grace: float) -> None:
    if _is_program:
        hasten_children(patience, grace)


def _exit() -> None:
    if _is_program:
        os._exit(0)


def _has_terminal() -> bool:
    """Return whether this process has an open terminal that controls it."""
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | getattr(os, "O_NOCTTY", 0)))
        return True
    return False
