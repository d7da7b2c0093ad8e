"""Work and who runs it: background tasks with one owner, and coroutines for callers without an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

__all__ = ["Background", "run_blocking"]

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Background:
    """A task group that lives in a task of its own, from `start()` to `stop()`.

    `UtcpClient.create` must work without `async with`; a task group entered there would tie its
    cancellation to whichever task happens to call. One task's failure is logged and ends that task alone.
    """

    def __init__(self) -> None:
        self._owner: asyncio.Task[None] | None = None
        self._group: TaskGroup | None = None
        self._stopping = anyio.Event()
        self._moved = anyio.Event()

    async def start(self) -> None:
        """Begin to own tasks."""
        started = anyio.Event()
        self._owner = asyncio.create_task(self._own(started))  # noqa: TID251 - this is the owner of the others
        await started.wait()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        """Run `work` until it ends or `stop()`; returns the way to cancel it. After `stop()` nothing starts."""
        scope = anyio.CancelScope()
        if self._group is not None and not self._stopping.is_set():
            self._group.start_soon(_run, work, scope)
        return scope.cancel

    def tell(self) -> None:
        """Wake whoever waits in `moved()`."""
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


async def _run(work: Callable[[], Coroutine[Any, Any, None]], scope: anyio.CancelScope) -> None:
    with scope:
        try:
            await work()
        except Exception:  # noqa: BLE001 - a task's failure must not cancel its siblings
            _log.exception("A background task failed.")


def run_blocking(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function to its end and return what it returns.

    Within a running event loop, as in a notebook, it runs in a thread of its own, and that loop waits.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(work)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(anyio.run, work).result()
