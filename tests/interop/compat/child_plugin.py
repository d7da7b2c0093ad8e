"""A plugin for the child process that runs suites of the reference library: which tests, and no way to the network.

`UTCP_SUITE_LEFT_OUT` names a JSON file with a list of the beginnings of test ids that are left out.
"""

import ipaddress
import json
import os
import socket
from pathlib import Path

import pytest

_connect = socket.socket.connect
_connect_ex = socket.socket.connect_ex


def _check(address) -> None:
    """Refuse an address beyond loopback before anything is sent."""
    if isinstance(address, tuple) and not ipaddress.ip_address(address[0]).is_loopback:
        raise ConnectionRefusedError(f"No connection beyond loopback: {address[0]}")


def connect(self, address) -> None:
    _check(address)
    return _connect(self, address)


def connect_ex(self, address) -> int:
    _check(address)
    return _connect_ex(self, address)


socket.socket.connect = connect
socket.socket.connect_ex = connect_ex


def _left_out() -> list[str]:
    place = os.environ.get("UTCP_SUITE_LEFT_OUT")
    return json.loads(Path(place).read_text(encoding="utf-8")) if place else []


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path.name in _left_out() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    names = tuple(_left_out())
    left = [item for item in items if f"{item.path.name}::{item.name}".startswith(names)] if names else []
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
