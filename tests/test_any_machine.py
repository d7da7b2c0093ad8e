"""Tests hold on every machine: none depends on its speed, and none reaches another."""

import ast
import asyncio
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from tests.support.garbage import Leftovers
from tests.support.posix import names_at_import, needs_of, posix_names
from tests.support.work import calls_made_by

from utcp_bridge.processes.children import _Link

TESTS = Path(__file__).parent
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "process_time_ns"}
"""What `time` has for measuring."""
MAY_WAIT = {"interop/serving.py", "interaction/test_real_services.py"}
"""Helpers that ask again and again whether an independent program is up, for at least 30 seconds."""
LONG_ENOUGH = 30
"""Seconds. A shorter limit ends also a test that hangs, but on a busy machine it ends one that does not."""
WAITS = {"communicate", "create_connection", "fail_after", "join", "run", "urlopen", "wait"}
"""Functions with a limit of time after which they raise."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(TESTS.rglob("*.py")):
        yield path.relative_to(TESTS).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


SEAMS = {
    "cli/audit_files.py": {"socket.AF_UNIX"},
    "cli/commands/serve.py": {"socket.AF_UNIX"},
    "cli/line_writer.py": {"select.poll"},
    "cli/live/doors.py": {"socket.AF_UNIX"},
    "cli/replicas.py": {"signal.SIGHUP", "socket.AF_UNIX", "socket.recv_fds", "socket.send_fds"},
    "net/files/writing.py": {"fcntl", "os.O_NOFOLLOW", "os.fchmod", "os.geteuid"},
    "net/heads/idle_times.py": {"select.poll"},
    "net/listening.py": {"resource", "socket.SO_REUSEPORT"},
    "processes/child.py": {"select.poll"},
    "processes/children.py": {"add_reader", "add_writer", "os.killpg", "signal.SIGKILL", "socket.send_fds"},
    "processes/direct.py": {"os.killpg"},
    "processes/ending.py": {"add_signal_handler", "signal.pthread_sigmask"},
    "processes/guardian.py": {
        "os.WNOHANG", "os.killpg", "os.pidfd_open", "os.waitstatus_to_exitcode", "select.poll", "signal.SIGCHLD",
        "signal.SIGHUP", "signal.SIGKILL", "signal.SIGQUIT", "socket.recv_fds",
    },
    "processes/output.py": {"os.killpg", "signal.SIGKILL"},
    "net/files/kept.py": {"os.geteuid"},
    "server/replicas/replica.py": {"add_reader", "socket.recv_fds", "socket.send_fds"},
    "server/wire/lines.py": {"connect_read_pipe", "connect_write_pipe", "fcntl"},
    "telemetry/idents.py": {"os.register_at_fork"},
    "workers/program.py": {"os.nice", "resource"},
}  # fmt: skip
"""Where a call of POSIX has its twin: a choice by the system, an error that is caught, or a module for POSIX alone."""


def test_calls_of_posix_are_in_the_seams_alone() -> None:
    source = TESTS.parent / "src" / "utcp_bridge"
    found = {
        path.relative_to(source).as_posix(): names
        for path in sorted(source.rglob("*.py"))
        if (names := posix_names(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found == SEAMS, "use a seam, or give the call a twin for Windows and name it here"


def test_a_call_of_posix_is_found() -> None:
    text = "import fcntl\nfrom signal import SIGKILL\nos.fork()\nloop.add_reader(1, f)\ngetattr(os, 'fork', None)"
    assert posix_names(ast.parse(text)) == {"fcntl", "signal.SIGKILL", "os.fork", "add_reader"}


def test_what_a_test_needs_of_posix_is_found() -> None:
    text = """
        async def test_x(tmp_path):
            # a comment about /proc/self, which counts for nothing
            (tmp_path / "a").symlink_to(tmp_path)
            os.kill(1, signal.SIGKILL)
            assert run(["/bin/echo"], "sh", stat.S_IMODE(x.st_mode))
    """
    assert needs_of(text) == {".symlink_to", "signal.SIGKILL", "/bin/", "sh", ".st_mode"}
    assert needs_of("def test_x():\n    assert dish.show() == 'shop'") == set()


def test_what_a_file_of_tests_needs_of_posix_when_it_is_imported_is_found(tmp_path: Path) -> None:
    file = tmp_path / "test_x.py"
    file.write_text("import os\n@mark(signal.SIGHUP)\ndef test_x():\n    os.fork()\nclass X:\n    import pty")
    assert names_at_import(file) == {"signal.SIGHUP", "pty"}
    file = tmp_path / "test_y.py"
    file.write_text("from tests.support.bounded import x\ndef y():\n    import pty")
    assert names_at_import(file) == {"resource"}


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def limit_of(node: ast.Call) -> float | None:
    """Return the limit that a call has as a literal number: the argument `timeout`, or the only one of `fail_after`."""
    given = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
    if called(node) == "fail_after":
        given += node.args
    for value in given:
        if isinstance(value, ast.Constant) and isinstance(value.value, int | float):
            return value.value
    return None


def test_no_test_measures_time() -> None:
    found = {
        f"{name}:{node.lineno}"
        for name, module in sources()
        if name not in MAY_WAIT
        for node in ast.walk(module)
        if getattr(node, "attr", getattr(node, "id", "")) in CLOCKS
    }
    assert found == set(), "count the work with tests.support.work, or measure in benchmarks/"


def test_no_test_fails_because_the_machine_is_slow() -> None:
    found = {
        f"{name}:{node.lineno}"
        for name, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and called(node) in WAITS
        and (limit := limit_of(node)) is not None
        and limit < LONG_ENOUGH
    }
    assert found == set(), f"a limit of time that must not be reached is at least {LONG_ENOUGH} seconds"


def test_work_is_counted_and_an_earlier_profile_is_restored() -> None:
    def call(times: int) -> int:
        return calls_made_by(lambda: [limit_of.__name__.upper() for _ in range(times)])

    assert call(300) - call(100) == 200
    assert sys.getprofile() is None


@pytest.fixture
def leftovers() -> Iterator[Leftovers]:
    watching, logger = Leftovers(), logging.getLogger("asyncio")
    # In front of the one that watches all tests, and would fail this one.
    logger.filters.insert(0, watching)
    yield watching
    logger.removeFilter(watching)


def test_a_task_that_is_left_behind_is_found_and_does_not_reach_the_log(
    leftovers: Leftovers, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave() -> None:
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    task = loop.create_task(leave())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    del task
    [found] = leftovers.collect()
    assert "Task was destroyed but it is pending" in found
    logging.getLogger("asyncio").error("another fault")
    assert leftovers.collect() == []
    assert caplog.messages == ["another fault"]


def test_a_guardian_whose_event_loop_has_ended_is_found_and_ended(leftovers: Leftovers) -> None:
    kept = []

    async def leave() -> None:
        kept.append(await _Link.open(lambda _: None))

    anyio.run(leave)
    assert leftovers.collect() == ["a guardian of children, after the end of its event loop"]
    assert leftovers.collect() == []
    assert kept[0]._process.returncode is not None
