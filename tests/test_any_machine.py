"""Tests hold on every machine: none depends on its speed, and none reaches another."""

import ast
import asyncio
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.garbage import Leftovers
from tests.support.work import calls_made_by

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
