"""A service on an event loop in a thread of its own, for tests without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

from tests.upstreams.http_service import HttpService

T = TypeVar("T")


@contextmanager
def threaded_service() -> Iterator[HttpService]:
    """Return the HTTP service when it is ready."""
    with threaded(HttpService) as service:
        yield service


@contextmanager
def threaded(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Return the service that `make` opens when it is ready."""
    started: Future[tuple[T, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        ended = asyncio.Event()
        async with make() as service:
            started.set_result((service, asyncio.get_running_loop(), ended))
            await ended.wait()

    # `asyncio.run` waits for the handlers of connections that are still open before it closes the loop.
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    service, loop, ended = started.result(60)
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
