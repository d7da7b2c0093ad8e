"""Background tasks with one owner, and coroutines for callers without an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

__all__ = ["Background", "Opening", "at_once", "in_slices", "run_blocking"]

_logger = logging.getLogger(__name__)

T = TypeVar("T")
_SLICE_SECONDS: Final = 0.001
"""A call takes about twenty turns of the event loop, and each of them may wait for a slice."""


class Background:
    """A task group that lives in a task of its own, from `start()` to `stop()`.

    `UtcpClient.create` must work without `async with`. A task group that is entered there would tie its cancellation
    to the task that calls `create`. If one task fails, the failure is logged and the other tasks go on.
    """

    def __init__(self) -> None:
        self._owner: asyncio.Task[None] | None = None
        self._group: TaskGroup | None = None
        self._stopping = anyio.Event()
        self._moved = anyio.Event()

    async def start(self) -> None:
        """Start the task that owns the others."""
        started = anyio.Event()
        self._owner = asyncio.create_task(self._own(started))  # noqa: TID251 - this task owns the others
        await started.wait()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        """Run `work` until it ends or `stop()` is called. Return a function that cancels it. Later nothing starts."""
        scope = anyio.CancelScope()
        if self._group is not None and not self._stopping.is_set():
            self._group.start_soon(_run, work, scope)
        return scope.cancel

    def tell(self) -> None:
        """Wake the tasks that wait in `moved()`."""
        self._moved.set()
        self._moved = anyio.Event()

    async def moved(self) -> None:
        """Wait for the next `tell()`."""
        await self._moved.wait()

    async def stop(self) -> None:
        """Cancel every task and wait for it to clean up."""
        self._stopping.set()
        if self._owner is not None:
            await asyncio.shield(self._owner)

    async def _own(self, started: anyio.Event) -> None:
        async with anyio.create_task_group() as group:
            self._group = group
            started.set()
            await self._stopping.wait()
            group.cancel_scope.cancel()


class Opening:
    """Whether a background task has opened what it holds, or why it could not; for the callers that wait for it."""

    def __init__(self) -> None:
        self._settled = anyio.Event()
        self._failure: Exception | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it is open or has failed."""
        return self._settled.is_set()

    def settle(self, failure: Exception | None = None) -> None:
        """Report that it is open, or why it is not. Only the first report counts."""
        if not self._settled.is_set():
            self._failure = failure
            self._settled.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until it is settled, and return whether that took at most `seconds`. Raises its failure."""
        with anyio.move_on_after(seconds):
            await self._settled.wait()
        if self._failure is not None:
            raise self._failure
        return self._settled.is_set()


async def _run(work: Callable[[], Coroutine[Any, Any, None]], scope: anyio.CancelScope) -> None:
    with scope:
        try:
            await work()
        except Exception:
            _logger.exception("A background task failed.")


def run_blocking(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function to its end and return its result.

    Within a running event loop, as in a notebook, it runs in a thread of its own, and the loop waits.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(work)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(anyio.run, work).result()


async def in_slices(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its value. Other tasks run after every millisecond of it."""
    began = perf_counter()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if perf_counter() - began >= _SLICE_SECONDS:
            await anyio.lowlevel.checkpoint()
            began = perf_counter()


def at_once(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its value, for callers that may wait."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
