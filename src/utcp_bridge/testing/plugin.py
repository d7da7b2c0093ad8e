"""The pytest plugin of the contract suite: `pytest_plugins = ["utcp_bridge.testing.plugin"]` in `conftest.py`."""

from __future__ import annotations

import pytest

__all__ = ["pytest_configure"]

pytest.register_assert_rewrite("utcp_bridge.testing.contract")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of the suite: they belong to anyio and pytest-timeout, which may be missing."""
    config.addinivalue_line("markers", "anyio: run the coroutine function on an event loop")
    config.addinivalue_line("markers", "timeout(seconds): fail the test after this time, with pytest-timeout")
