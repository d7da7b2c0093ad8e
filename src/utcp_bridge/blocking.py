"""Running a coroutine for callers without an event loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio

__all__ = ["run_blocking"]

T = TypeVar("T")


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
