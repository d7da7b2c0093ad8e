"""Shows plain asserts of the shared suite in full when they fail, and keeps the table of transports."""

import pytest
from tests.transports.matrix import Matrix

pytest.register_assert_rewrite("tests.transports.contract", "tests.transports.peer", "tests.support.residue")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-transport-table", action="store_true", help="write the table of docs/transports/index.md")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Matrix(config), "transport-table")
