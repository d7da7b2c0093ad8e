"""Fixtures of several tests of the client."""

import pytest
from tests.upstreams import twins


@pytest.fixture
async def twin():
    """Run the service that is to replace the MCP server of the tests, and yield it."""
    async with twins.rest_twin() as twin:
        yield twin
