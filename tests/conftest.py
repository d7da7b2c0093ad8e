"""Fixtures for every test: the anyio backend."""

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio only: aiohttp, grpcio and aiortc run on nothing else."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
async def one_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """One event loop for all tests: grpcio's poller goes on telling a loop of the past about its channels."""
    yield  # noqa: PT022 - an open generator holds the loop open, a finished coroutine would not


@pytest.fixture(scope="session", autouse=True)
def no_event_loop_in_other_tests(one_event_loop: None) -> None:
    """Where sniffio is installed, anyio marks the thread as one that runs asyncio for as long as that loop is open."""
    with suppress(ImportError):
        from sniffio import current_async_library_cvar

        current_async_library_cvar.set(None)
