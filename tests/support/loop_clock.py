"""The clock of the event loop, which a test sets ahead: time passes at once, and only when everything waits for it.

A limit that a test shows is so long that no machine reaches it, however busy it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
from anyio import wait_all_tasks_blocked


class Happens(Protocol):
    """An event of asyncio or anyio."""

    async def wait(self) -> object: ...


async def later(seconds: float) -> None:
    """Let it be `seconds` later for all timers, once all other tasks wait and nothing has arrived on a connection.

    It returns when all tasks wait again. The clock stays ahead, because timers of other tests must not wait longer than
    they should.
    """
    loop: Any = asyncio.get_running_loop()
    await wait_all_tasks_blocked()
    while loop._selector.select(0):
        await asyncio.sleep(0)
        await wait_all_tasks_blocked()
    former: Callable[[], float] = loop.time
    loop.time = lambda: former() + seconds
    for _ in range(2):  # the timers that are due come after this task
        await asyncio.sleep(0)
    await wait_all_tasks_blocked()


@asynccontextmanager
async def time_passes(seconds: float, *, after: Happens) -> AsyncGenerator[None]:
    """Let the clock go `seconds` ahead during the block, after an event."""

    async def wait() -> None:
        await after.wait()
        await later(seconds)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        yield
        group.cancel_scope.cancel()
