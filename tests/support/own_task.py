"""A context that is entered and left in a task of its own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def in_its_own_task(context: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """Hold `context` in a task of its own, for fixtures that have a task group.

    The group of a fixture cancels the task that entered it when one of its tasks fails. That is the task in which anyio
    runs all tests, so other tests would fail. Here the end of the fixture reports what failed.
    """
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    leaving = asyncio.Event()

    async def hold() -> None:
        async with context as value:
            entered.set_result(value)
            await leaving.wait()

    task = asyncio.create_task(hold())
    try:
        await asyncio.wait({task, entered}, return_when=asyncio.FIRST_COMPLETED)
        if entered.done():
            yield entered.result()
    finally:
        leaving.set()
        await task
