"""Keep the table of transports in docs/transports/index.md equal to the results of the contract suite."""

import pytest
from tests.transports.matrix import Matrix


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-transport-table", action="store_true", help="write the table of docs/transports/index.md")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Matrix(config), "transport-table")
