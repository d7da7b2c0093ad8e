"""A service on an event loop in a thread of its own, for tests without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.upstreams.http_service import HttpService


@contextmanager
def threaded_service() -> Iterator[HttpService]:
    """Return the HTTP service when it is ready."""
    loop, started, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    service = HttpService()

    async def serve() -> None:
        async with service:
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()
