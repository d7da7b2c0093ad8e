"""The pytest plugin of the contract suite: `pytest_plugins = ["utcp_bridge.testing.plugin"]` in `conftest.py`.

A test module that assigns a `Peer` class to `PEER` gets the tests and fixtures of `utcp_bridge.testing.contract`, as if
it had defined them. A name that the module defines itself stays its own.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import pytest

__all__ = ["pytest_collectstart", "pytest_configure"]

_CONTRACT = "utcp_bridge.testing.contract"
_FIXTURES = ("anyio_backend", "bench", "peer")

pytest.register_assert_rewrite(_CONTRACT)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of the suite: they belong to anyio and pytest-timeout, which may be missing."""
    config.addinivalue_line("markers", "anyio: run the coroutine function on an event loop")
    config.addinivalue_line("markers", "timeout(seconds): fail the test after this time, with pytest-timeout")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Add the suite to a test module with a `PEER`."""
    if not isinstance(collector, pytest.Module):
        return
    try:
        module = cast("Any", collector).obj
    except (Exception, pytest.skip.Exception):  # noqa: BLE001 - collecting imports the module again, and reports why
        _forget(str(collector.path))
        return
    if not hasattr(module, "PEER"):
        return
    from utcp_bridge.testing import contract

    if not (isinstance(module.PEER, type) and issubclass(module.PEER, contract.Peer)):
        return
    for name, value in vars(contract).items():
        if (name in _FIXTURES or name.startswith("test_")) and not hasattr(module, name):
            setattr(module, name, value)


def _forget(path: str) -> None:
    """Remove a module whose import failed. Otherwise pytest finds half of it, without tests, and reports nothing."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == path:
            del sys.modules[name]
