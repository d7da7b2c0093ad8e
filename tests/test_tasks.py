import ast
import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from utcp_bridge.tasks import (
    Background,
    Flights,
    HeavyWork,
    Opening,
    Owned,
    OwnTasks,
    Stoppable,
    _current_pace,
    end_heavy_turn,
    heavy_turn,
    in_slices,
    let_others_run,
    loop_time,
    pause_if_heavy,
    run_blocking,
    seconds_left,
    setting,
)

pytestmark = pytest.mark.anyio


async def test_stop_cancels_tasks_and_waits_for_their_clean_up() -> None:
    tasks, started, cleaned = Background(), anyio.Event(), anyio.Event()

    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                cleaned.set()

    with anyio.fail_after(60):
        await tasks.start()
        tasks.spawn(work)
        await started.wait()
        await tasks.stop()
    assert cleaned.is_set()


async def test_the_returned_function_cancels_only_its_task() -> None:
    tasks, ended, other = Background(), anyio.Event(), anyio.Event()

    async def doomed() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async def survivor() -> None:
        await ended.wait()
        other.set()

    with anyio.fail_after(60):
        await tasks.start()
        cancel = tasks.spawn(doomed)
        tasks.spawn(survivor)
        await anyio.lowlevel.checkpoint()
        cancel()
        await other.wait()
        await tasks.stop()


async def test_a_task_that_fails_is_logged_and_leaves_the_others_running(caplog: pytest.LogCaptureFixture) -> None:
    tasks, go_on, done = Background(), anyio.Event(), anyio.Event()

    async def fails() -> None:
        raise RuntimeError("boom")

    async def works() -> None:
        await go_on.wait()
        done.set()

    with anyio.fail_after(60), caplog.at_level(logging.ERROR):
        await tasks.start()
        tasks.spawn(works)
        tasks.spawn(fails)
        while "A background task failed." not in caplog.text:
            await anyio.lowlevel.checkpoint()
        go_on.set()
        await done.wait()
        await tasks.stop()


async def test_nothing_starts_after_stop() -> None:
    tasks, ran = Background(), False

    async def work() -> None:
        nonlocal ran
        ran = True

    with anyio.fail_after(60):
        await tasks.start()
        await tasks.stop()
        tasks.spawn(work)
        await anyio.lowlevel.checkpoint()
    assert not ran


async def test_stop_without_start_returns() -> None:
    with anyio.fail_after(60):
        await Background().stop()


class Resource:
    """Something that a background task opens and holds."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.tasks = Background()
        self.failure = failure
        self.begun, self.go_on, self.open, self.cleaned = (anyio.Event() for _ in range(4))

    async def hold(self, is_open: Callable[[], None]) -> None:
        try:
            self.begun.set()
            await self.go_on.wait()
            if self.failure is not None:
                raise self.failure
            is_open()
            self.open.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                self.cleaned.set()


async def test_what_is_opened_ends_with_the_last_caller_that_waits_for_it() -> None:
    one = Resource()
    with anyio.fail_after(60):
        await one.tasks.start()
        task = Owned(one.tasks.spawn, one.hold)
        async with anyio.create_task_group() as last:
            async with anyio.create_task_group() as first:
                for group in (first, first, last):
                    group.start_soon(task.opened)
                await one.begun.wait()
                await anyio.wait_all_tasks_blocked()
                first.cancel_scope.cancel()
            assert not one.cleaned.is_set()
            last.cancel_scope.cancel()
        assert one.cleaned.is_set()  # also for a caller that is cancelled itself
        await one.tasks.stop()


async def test_what_is_open_outlives_its_callers_until_its_owner_ends_it() -> None:
    one = Resource()
    with anyio.fail_after(60):
        await one.tasks.start()
        task = Owned(one.tasks.spawn, one.hold)
        one.go_on.set()
        async with anyio.create_task_group() as group:
            group.start_soon(task.opened)
            await one.open.wait()
            group.cancel_scope.cancel()
        assert await task.opened()
        assert not one.cleaned.is_set()
        await task.end()
        assert one.cleaned.is_set()
        assert await task.opened()
        await one.tasks.stop()


@pytest.mark.parametrize("seconds", [0, 60])
async def test_what_does_not_open_has_ended_when_its_caller_returns(seconds: float) -> None:
    one = Resource(ValueError("not today"))
    with anyio.fail_after(60):
        await one.tasks.start()
        task = Owned(one.tasks.spawn, one.hold)
        if seconds:
            one.go_on.set()
            with pytest.raises(ValueError, match="not today"):
                await task.opened(seconds)
        else:
            await one.begun.wait()
            assert not await task.opened(seconds)
        assert one.cleaned.is_set()
        await one.tasks.stop()


async def test_a_task_that_ends_before_it_is_open_is_not_open() -> None:
    async def hold(_is_open: Callable[[], None]) -> None:
        await anyio.lowlevel.checkpoint()

    tasks = Background()
    with anyio.fail_after(60):
        await tasks.start()
        assert not await Owned(tasks.spawn, hold).opened()
        await tasks.stop()


async def test_an_owner_waits_for_all_of_its_tasks_also_for_those_that_start_meanwhile() -> None:
    tasks, done = OwnTasks(), []

    async def work(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        if number:
            tasks.start(work(number - 1))
        done.append(number)

    tasks.start(work(2))
    await tasks.ended()
    assert done == [2, 1, 0]


_UNOWNED = frozenset({
    "create_task", "ensure_future", "run_coroutine_threadsafe", "run_in_executor", "shield",
})  # fmt: skip
SOURCE = Path(__file__).parents[1] / "src"


def unowned_work(tree: ast.AST) -> list[str]:
    """Return the calls that start work without an owner: tasks and threads that nobody waits for or cancels."""
    names = [
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]
    return [name for name in names if name in _UNOWNED]


def test_only_this_module_starts_tasks_without_a_task_group() -> None:
    found = {
        str(file.relative_to(SOURCE)): names
        for file in SOURCE.rglob("*.py")
        if (names := unowned_work(ast.parse(file.read_text(encoding="utf-8"))))
    }
    assert found.keys() == {"utcp_bridge/tasks.py"}


@pytest.mark.parametrize(
    "code",
    [
        "asyncio.create_task(work())",
        "asyncio.get_running_loop().create_task(work())",
        "from asyncio import ensure_future\nensure_future(work())",
        "loop.run_in_executor(None, work)",
    ],
)
def test_work_without_an_owner_is_found_in_each_form(code: str) -> None:
    assert len(unowned_work(ast.parse(code))) == 1


async def test_tell_wakes_all_waiting_tasks() -> None:
    tasks, woken = Background(), 0

    async def wait() -> None:
        nonlocal woken
        await tasks.moved()
        woken += 1

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            tasks.tell()
    assert woken == 2


async def test_waiting_for_an_opening_ends_when_the_task_reports() -> None:
    opening = Opening()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                assert await opening.wait(60)

            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not opening.is_settled
            opening.settle()
    opening.settle(ValueError("too late"))
    assert await opening.wait(0)


async def test_waiting_for_an_opening_raises_its_failure() -> None:
    opening = Opening()
    opening.settle(ValueError("no such command"))
    with pytest.raises(ValueError, match="no such command"):
        await opening.wait(60)


async def test_an_opening_that_takes_too_long_is_not_settled() -> None:
    assert not await Opening().wait(0.01)


async def doubled(number: int) -> tuple[int, int]:
    await anyio.lowlevel.checkpoint()
    return number * 2, threading.get_ident()


def test_without_a_loop_it_runs_in_this_thread() -> None:
    assert run_blocking(partial(doubled, 2)) == (4, threading.get_ident())


async def test_within_a_loop_it_runs_in_a_thread_of_its_own() -> None:
    result, thread = run_blocking(partial(doubled, 3))
    assert result == 6
    assert thread != threading.get_ident()


async def test_errors_are_raised_to_the_caller() -> None:
    async def fail() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        run_blocking(fail)


def counting(seen: list[int]) -> Generator[None, None, str]:
    for number in range(20):
        seen.append(number)
        yield
    return "done"


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 20), (3_600.0, 0)])
async def test_other_tasks_run_between_the_slices_of_long_work(
    monkeypatch: pytest.MonkeyPatch, seconds: float, expected: int
) -> None:
    monkeypatch.setattr("utcp_bridge.tasks._SLICE_SECONDS", seconds)
    seen: list[int] = []
    between: set[int] = set()

    async def watch() -> None:
        while len(seen) < 20:
            between.add(len(seen))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await anyio.lowlevel.checkpoint()
        assert await in_slices(counting(seen)) == "done"
    assert len(between - {0}) >= expected - 2
    assert expected or not between - {0, 20}


async def test_an_error_in_long_work_is_raised() -> None:
    def failing() -> Generator[None, None, None]:
        yield
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        await in_slices(failing())


async def test_large_replies_are_worked_on_one_after_another() -> None:
    at_work = most = done = 0

    async def work() -> None:
        nonlocal at_work, most, done
        with HeavyWork():
            await heavy_turn()
            await heavy_turn()
            at_work += 1
            most = max(most, at_work)
            with HeavyWork():
                await pause_if_heavy()
            at_work -= 1
        done += 1

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(work)
    assert (most, done) == (1, 5)


async def test_a_turn_ends_with_a_failure_or_with_the_work_that_has_it() -> None:
    with anyio.fail_after(60):
        with suppress(ValueError), HeavyWork():
            await heavy_turn()
            raise ValueError
        with HeavyWork():
            await heavy_turn()
            end_heavy_turn()
            async with anyio.create_task_group() as group:
                group.start_soon(heavy_turn)
        await heavy_turn()


async def test_a_task_that_outlives_the_work_that_began_it_keeps_no_turn() -> None:
    go = anyio.Event()

    async def later() -> None:
        await go.wait()
        await heavy_turn()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            with HeavyWork():
                group.start_soon(later)
                await anyio.lowlevel.checkpoint()
            go.set()
        with HeavyWork():
            await heavy_turn()


async def test_a_turn_that_is_not_kept_lets_the_next_one_in() -> None:
    with anyio.fail_after(60), HeavyWork():
        await heavy_turn(keep=False)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(heavy_turn)


async def test_the_nearest_limit_decides_how_much_time_is_left():
    with anyio.CancelScope(shield=True):
        assert seconds_left() is None
        with anyio.move_on_after(1000), anyio.move_on_after(60), anyio.move_on_after(900):
            await anyio.lowlevel.checkpoint()
            left = seconds_left()
    assert left is not None
    assert 0 < left <= 60
    with anyio.CancelScope(deadline=anyio.current_time() - 5):
        assert seconds_left() == 0.001
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("when", ["before", "during", "after"])
async def test_a_task_is_stopped_once_for_the_first_reason(when: str) -> None:
    stoppable, waits, seen = Stoppable(), anyio.Event(), []

    async def work() -> None:
        try:
            stoppable.begin()
            waits.set()
            if when == "during":
                await anyio.sleep_forever()
        except asyncio.CancelledError:
            assert stoppable.has_stopped()
        stoppable.close()
        await anyio.lowlevel.checkpoint()
        seen.append(stoppable.why)

    if when == "before":
        stoppable.cancel("first")
        stoppable.end()
    tasks = OwnTasks()
    tasks.start(work())
    if when == "during":
        await waits.wait()
        stoppable.cancel("first")
        stoppable.end()
    await tasks.ended()
    stoppable.cancel("late")
    assert seen == [None if when == "after" else "first"]


async def test_the_cancellation_of_others_is_not_that_of_a_stoppable_task() -> None:
    stoppable = Stoppable()
    with anyio.CancelScope() as scope:
        stoppable.begin()
        scope.cancel()
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            assert not stoppable.has_stopped()
            raise
    assert scope.cancelled_caught


class Work:
    """Counts how often it began and was cancelled; it ends when the test says so."""

    def __init__(self) -> None:
        self.began = 0
        self.cancelled = 0
        self.go_on = anyio.Event()
        self.failure: Exception | None = None

    async def __call__(self) -> str:
        self.began += 1
        try:
            await self.go_on.wait()
        except BaseException:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return "done"


async def test_callers_of_one_flight_share_its_work_and_its_result() -> None:
    flights, work, got = Flights[str](), Work(), []

    async def join() -> None:
        got.append(await flights.join("key", work))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(join)
            await anyio.wait_all_tasks_blocked()
            work.go_on.set()
        assert got == ["done"] * 5
        assert work.began == 1
        assert await flights.join("key", work) == "done"  # what has ended is not kept
    assert work.began == 2


async def test_a_failure_of_a_flight_is_that_of_each_caller() -> None:
    flights, work, failed = Flights[str](), Work(), []
    work.failure = ValueError("as planned")

    async def join() -> None:
        try:
            await flights.join("key", work)
        except ValueError as error:
            failed.append(error)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(join)
            await anyio.wait_all_tasks_blocked()
            work.go_on.set()
    assert failed == [work.failure] * 3


@pytest.mark.parametrize("leaving", [1, 2, 3])
async def test_a_flight_ends_with_the_last_caller_that_waits(leaving: int) -> None:
    flights, work, got = Flights[str](), Work(), []

    async def join() -> None:
        got.append(await flights.join("key", work))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as staying:
            async with anyio.create_task_group() as group:
                for number in range(3):
                    (group if number < leaving else staying).start_soon(join)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            assert work.cancelled == (leaving == 3)
            work.go_on.set()
    assert got == ["done"] * (3 - leaving)
    assert not flights._flights


async def test_work_that_cancels_itself_is_an_error_and_no_cancellation_of_its_callers() -> None:
    async def work() -> str:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="was cancelled"):
        await Flights[str]().join("key", work)


@pytest.mark.anyio
@pytest.mark.parametrize(("share", "waits"), [(1e12, False), (0.0, True)])
async def test_work_below_its_share_does_not_wait_behind_work_that_pauses(
    monkeypatch: pytest.MonkeyPatch, share: float, waits: bool
) -> None:
    monkeypatch.setattr("utcp_bridge.tasks._SHARE", share)
    monkeypatch.setattr("utcp_bridge.tasks._SLICE_SECONDS", 1e-9)
    seen: list[int] = []
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group, _current_pace().turn:  # another work pauses
            group.start_soon(in_slices, counting(seen))
            await anyio.wait_all_tasks_blocked()
            assert (len(seen) < 20) is waits
    assert len(seen) == 20


@pytest.mark.anyio
async def test_several_turns_pass_when_others_are_let_run() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await let_others_run()
        group.cancel_scope.cancel()
    assert turns >= 7


async def test_the_clock_of_the_event_loop_is_the_one_of_anyio() -> None:
    before = anyio.current_time()
    assert before <= loop_time() <= anyio.current_time()


def test_a_context_variable_has_a_value_within_a_block_only() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=1)
    with suppress(ValueError), setting(variable, 2):
        assert variable.get() == 2
        with setting(variable, 3):
            assert variable.get() == 3
        assert variable.get() == 2
        raise ValueError
    assert variable.get() == 1


async def test_a_task_that_leaves_at_its_end_takes_no_further_turn() -> None:
    async def work() -> None:
        tasks.leave()
        left.append(True)

    tasks, left = OwnTasks(), list[bool]()
    tasks.start_leaving(work())
    await asyncio.sleep(0)  # the turn in which the task runs; a callback at its end would run in the next one
    assert (left, tasks._running) == ([True], set())


async def test_own_tasks_have_ended_though_one_was_cancelled_before_it_could_leave() -> None:
    async def work() -> None:
        began.append(True)
        tasks.leave()

    tasks, began = OwnTasks(), list[bool]()
    tasks.start_leaving(work())
    for task in tasks._running:
        task.cancel()
    with anyio.fail_after(60):
        await tasks.ended()
    assert not began
