"""For every test: the anyio backend, an end without leftovers, properties without a limit of time, and no connection
to another machine.
"""

import asyncio
import gc
import inspect
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import anyio.pytest_plugin
import pytest
from anyio._backends._asyncio import TestRunner
from hypothesis import HealthCheck, settings
from tests.support.garbage import Leftovers
from tests.support.left_processes import can_look, left_processes, mark_this_run
from tests.support.own_machine import is_own_address
from tests.support.posix import names_at_import, needs_of

from utcp_bridge.client_request import CLIENT_REQUEST
from utcp_bridge.model import REQUESTER, log_receiver
from utcp_bridge.net.gate.connection_watch import watched
from utcp_bridge.processes.children import ChildrenHold
from utcp_bridge.upstream import HOST

settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", settings.get_profile("any_machine"), derandomize=True)
settings.load_profile(os.environ.get("TEST_EXAMPLES", "any_machine"))

pytest_plugins = ["utcp_bridge.testing.plugin"]


gc.disable()  # modules and tests that are collected stay, so looking for garbage among them again and again finds none

_leftovers = Leftovers()


def pytest_configure(config: pytest.Config) -> None:
    """Mark what this run starts; the processes of xdist are part of it."""
    if can_look() and not hasattr(config, "workerinput"):
        mark_this_run()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # a shell without job control starts background jobs so, and the programs that tests interrupt would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # the processes of xdist have been asked to end by then
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that leaves processes behind: they would take time and ports from all that comes later."""
    if not can_look() or hasattr(session.config, "workerinput"):
        return
    if found := left_processes():
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        sys.stderr.write("\n".join(["\n\nThe tests have left processes behind:", *found, ""]))


if sys.platform == "win32":

    def pytest_ignore_collect(collection_path: Path) -> bool | None:
        """Leave out files that cannot be imported without POSIX."""
        is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
        return (is_test and bool(names_at_import(collection_path))) or None

    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        """Skip tests that need POSIX. The marker `posix` is for those whose need is in a helper."""
        for item in items:
            needs = needs_of(inspect.getsource(item.function)) if isinstance(item, pytest.Function) else set()
            if needs or item.get_closest_marker("posix"):
                what = ", ".join(sorted(needs)) or "what a helper calls"
                item.add_marker(pytest.mark.skip(reason=f"Windows lacks {what}"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to watch when all test modules are imported."""
    for item in session.items:  # its name would differ in each process, and xdist refuses that
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid} has the address of an object in its name. Give `ids`.")
    gc.enable()
    _leftovers.install()


_loops: list[asyncio.AbstractEventLoop] = []
"""The one event loop, while it is open."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _let_the_next_test_run()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail a test that leaves tasks or connections behind: they would be reported in the output of a later test."""
    _let_the_next_test_run()
    yield
    for loop in _loops:
        for _ in range(3):  # so that connections which the test closed are closed on both sides
            loop.run_until_complete(asyncio.sleep(0))
    if found := _leftovers.collect():
        pytest.fail(f"{item.name} left behind:\n" + "\n".join(found), pytrace=False)


def _let_the_next_test_run() -> None:
    """Replace the task in which anyio runs all tests if a test ended it, as by an error in a fixture's task."""
    runner = anyio.pytest_plugin._current_runner
    if isinstance(runner, TestRunner) and (task := runner._runner_task) and task.done():
        runner._runner_task = None


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio only: aiohttp, grpcio and aiortc run on nothing else."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
async def one_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """One event loop for all tests: grpcio's poller goes on telling a loop of the past about its channels."""
    _loops.append(asyncio.get_running_loop())
    children = ChildrenHold()
    yield
    await children.release()
    _loops.clear()


_OF_A_REQUEST = (CLIENT_REQUEST, HOST, REQUESTER, log_receiver)
"""What the bridge sets for the task of a request, and never sets back."""


@pytest.fixture
async def restored_request() -> AsyncIterator[None]:
    """All tests run in one task, so a test that serves a request in it would say for later ones who calls."""
    before = [variable.get() for variable in _OF_A_REQUEST]
    yield
    for variable, value in zip(_OF_A_REQUEST, before, strict=True):
        variable.set(value)  # type: ignore[arg-type]  # the value is its own


@pytest.fixture(autouse=True)
def nothing_of_earlier_requests(request: pytest.FixtureRequest) -> None:
    """Restore what a test sets in the task of all tests."""
    if request.node.get_closest_marker("anyio"):
        request.getfixturevalue("restored_request")


@pytest.fixture(scope="session", autouse=True)
def no_event_loop_in_other_tests(one_event_loop: None) -> None:
    """Where sniffio is installed, anyio marks the thread as one that runs asyncio for as long as that loop is open."""
    with suppress(ImportError):
        from sniffio import current_async_library_cvar

        current_async_library_cvar.set(None)


@pytest.fixture(scope="session", autouse=True)
def no_tracing_elsewhere() -> Iterator[None]:
    """LangChain sends what it does to LangSmith if a developer's environment says so; tests connect to nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for product in ("LANGSMITH", "LANGCHAIN"):
            for switch in ("TRACING", "TRACING_V2"):
                patch.delenv(f"{product}_{switch}", raising=False)
        yield


_OF_INSTALLERS = {
    "npm_config_userconfig": ".npmrc",
    "npm_config_cache": ".npm",
    "PIP_CONFIG_FILE": ".config/pip/pip.conf",
    "PYENV_ROOT": ".pyenv",
    "XDG_CACHE_HOME": ".cache",
}
"""What programs that install something read of a home folder, by the variables that name it."""


@pytest.fixture(scope="session", autouse=True)
def no_folder_of_a_developer() -> Iterator[None]:
    """Tests and the programs that they start have a home folder of their own: bridges keep indexes and logins there.

    A test that sets another one has the settings in it, not in the folder that a developer's variables name.
    """
    former = Path.home()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="home") as home:
        for name, path in _OF_INSTALLERS.items():
            if name not in os.environ and (former / path).exists():
                patch.setenv(name, str(former / path))
        for name in ("APPDATA", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        for name in ("HOME", "USERPROFILE"):
            patch.setenv(name, home)
        yield


@pytest.fixture
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder for one test, in which the bridge keeps its own files too."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_connection_past_the_gate() -> Iterator[None]:
    """Bridges that tests start connect only where the gate has been asked; this process, also to its own machine."""
    with pytest.MonkeyPatch.context() as patch, watched(also=is_own_address):
        patch.setenv("UTCP_BRIDGE_CHECK_CONNECTIONS", "true")
        yield


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Restore the handlers and levels of logging after a test that runs a verb in this process."""
    root, ours = logging.getLogger(), logging.getLogger("utcp_bridge")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)
