"""Which tests of this folder run, and with what installed.

`scripts/interop` passes `--interop all` or `--interop light`: everything that the chosen tests need is installed first,
and what cannot be had is a failure. Without it these tests are not run at all (marker `interop`), unless asked for by
`-m interop`; then a test whose program is missing is skipped.
"""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.interop.hosting import HostKind
from tests.interop.record import Record
from tests.interop.software import InstallationFailed, Software, use_newest_versions
from tests.interop.storehouse import Storehouse
from tests.upstreams.registry_service import served

from utcp_bridge import UtcpClient

HERE = Path(__file__).parent
Opened = Callable[..., AbstractAsyncContextManager[UtcpClient]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interop", choices=("all", "light"), help="install what interop tests need, and run them")
    parser.addoption("--newest", action="store_true", help="install the newest versions of the hosts")
    parser.addoption("--record", type=Path, help="write a page with this run's results")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*software): independent programs that the test runs against")
    config.addinivalue_line("markers", "column(title, ability): one column of the table of hosts, and who can do it")
    config.addinivalue_line("markers", "long: takes long, so it is not in the light subset")
    if config.getoption("--interop"):  # .ci/run ends this run if another gate fails: then fixtures end their bridges
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if config.getoption("--newest"):
        use_newest_versions()
    if config.getoption("--record"):
        config.pluginmanager.register(Record(config.getoption("--record")), "interop-record")


def _needed(item: pytest.Item) -> list[Software]:
    return [software for mark in item.iter_markers("needs") for software in mark.args]


def _is_able(item: pytest.Item) -> bool:
    """Return whether the host of this test can do what the test asks of it."""
    mark = item.get_closest_marker("column")
    ability = mark and mark.kwargs.get("ability")
    if not ability:
        return True
    kind: HostKind
    kind, transport = item.callspec.params["host"]  # type: ignore[attr-defined]
    return kind.can(ability, transport)


def _is_light(item: pytest.Item) -> bool:
    return item.get_closest_marker("long") is None and all(one.light for one in _needed(item))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    dropped = []
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.interop)
            light = config.getoption("--interop") == "light"
            if not _is_able(item) or (light and not _is_light(item)):
                dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


_failures: dict[Software, str] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.getoption("--interop") is None or session.config.option.collectonly:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    for software in dict.fromkeys(one for item in session.items for one in _needed(item)):
        if not software.present:
            if reporter is not None:
                reporter.write_line(f"Installing {software.package} ({software.origin}) …")
            try:
                software.install()
            except InstallationFailed as error:
                _failures[software] = str(error)


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Callable[[Software], None]:
    """Fails or skips the test if a program is not there."""
    wanted = request.config.getoption("--interop") is not None

    def check(software: Software) -> None:
        if software in _failures:
            (pytest.skip if software.optional else pytest.fail)(f"{software.title}: {_failures[software]}")
        if not software.present:
            assert not wanted, f"{software.package} was installed, but is not there"
            pytest.skip(f"{software.package} ({software.origin}) is not installed; scripts/interop does that")

    return check


@pytest.fixture(autouse=True)
def _software(request: pytest.FixtureRequest, installed: Callable[[Software], None]) -> None:
    for software in _needed(request.node):
        installed(software)


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Opens a client on manual templates: `async with opened({...}, variables={...}) as client`."""

    @asynccontextmanager
    async def open_client(*templates: dict[str, Any], **keys: Any) -> AsyncIterator[UtcpClient]:
        config = {"manual_call_templates": list(templates), **keys}
        async with await UtcpClient.create(config, root=tmp_path, wait=30) as client:
            yield client

    return open_client


@pytest.fixture(scope="module")
def storehouse() -> Iterator[Storehouse]:
    house = Storehouse()
    with served(house.app) as house.url:
        yield house


@pytest.fixture(scope="module")
def storehouse_config(storehouse: Storehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of the bridge that lists all tools of the storehouse."""
    manual = {
        "name": "fx",
        "call_template_type": "http",
        "url": f"{storehouse.url}/utcp",
        "allowed_communication_protocols": ["http", "streamable_http"],
    }
    bridge = {"exposure": "all", "refresh_interval": 1}
    path = tmp_path_factory.mktemp("storehouse") / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [manual], "bridge": bridge}), encoding="utf-8")
    return path
