"""Fixtures for every test: the anyio backend."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio only: aiohttp, grpcio and aiortc run on nothing else."""
    return "asyncio"
