"""Deadline: wall-clock time, whatever the upstream does."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from math import inf

import anyio
import anyio.lowlevel
import pytest
from tests.support.loop_clock import later
from tests.support.steps import Step, make_tool, run

from utcp_bridge.errors import Busy, DeadlineExceeded
from utcp_bridge.model import Call, Emit, JsonObject
from utcp_bridge.pipeline.deadline import Deadline, LimitClock, TimeLimits
from utcp_bridge.tasks import Background, Flights, effective_deadline, loop_time, seconds_left
from utcp_bridge.upstream import CALL_CLOCK, CallClock, current_clock

pytestmark = pytest.mark.anyio


async def test_a_call_in_time_gives_its_result() -> None:
    assert await run(Deadline(lambda _tool: 60)(make_tool(), Step("value"))) == "value"


async def test_a_call_that_trickles_is_cancelled_and_says_what_did_not_finish() -> None:
    cleaned = anyio.Event()

    async def trickle(_call: Call, emit: Emit) -> None:
        try:
            while True:
                await emit("a byte")
                await anyio.sleep(0.001)
        finally:
            cleaned.set()

    with anyio.fail_after(60), pytest.raises(DeadlineExceeded) as caught:
        await run(Deadline(lambda _tool: 0.05)(make_tool(), Step(does=trickle)))
    assert cleaned.is_set(), "what was in flight was cancelled"
    assert caught.value.message == "shop.search did not finish within 0.05 seconds."
    assert caught.value.remedy is not None
    assert "call_timeout" in caught.value.remedy


async def test_an_error_within_the_time_passes_unchanged() -> None:
    with pytest.raises(Busy, match="full"):
        await run(Deadline(lambda _tool: 60)(make_tool(), Step(faults=[Busy("full")])))


async def test_the_callers_own_cancellation_is_not_reported_as_a_deadline() -> None:
    async def hang(_call: Call, _emit: Emit) -> None:
        await anyio.sleep_forever()

    with anyio.fail_after(60), anyio.move_on_after(0.02) as callers:
        await run(Deadline(lambda _tool: 3600)(make_tool(), Step(does=hang)))
    assert callers.cancelled_caught


async def test_the_limit_is_the_tools_own() -> None:
    limits = {"slow": 3600.0, "fast": 0.001}
    done = anyio.Event()

    async def wait(_call: Call, _emit: Emit) -> str:
        await done.wait()
        return "value"

    layer = Deadline(lambda tool: limits[tool.name])
    results: list[object] = []

    async def call_slow() -> None:
        results.append(await run(layer(make_tool(name="slow"), Step(does=wait))))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(call_slow)
            with pytest.raises(DeadlineExceeded):
                await run(layer(make_tool(name="fast"), Step(does=wait)))
            done.set()
    assert results == ["value"]


async def test_the_time_does_not_run_while_the_caller_is_asked() -> None:
    deadlines: list[float] = []

    async def ask(_call: Call, _emit: Emit) -> None:
        clock = CALL_CLOCK.get()
        assert clock is not None
        deadlines.append(anyio.current_effective_deadline())
        with clock.stopped():
            deadlines.append(anyio.current_effective_deadline())
        deadlines.append(anyio.current_effective_deadline())

    await run(Deadline(lambda _tool: 60)(make_tool(), Step(does=ask)))
    before, meanwhile, after = deadlines
    assert meanwhile == inf
    assert before <= after < inf
    assert CALL_CLOCK.get() is None


@pytest.mark.parametrize(
    ("template", "overlay", "setting"),
    [({}, None, "`call_timeout`"), ({"timeout": 2}, None, "`timeout`"), ({}, {"timeout": 2}, "`timeout`")],
)
async def test_the_remedy_names_the_setting_that_limits_the_call(
    template: JsonObject, overlay: JsonObject | None, setting: str
) -> None:
    async def hang(_call: Call, _emit: Emit) -> None:
        await anyio.sleep_forever()

    tool = make_tool()
    tool = replace(tool, template={**tool.template, **template}, overlay=overlay)
    with anyio.fail_after(60), pytest.raises(DeadlineExceeded) as caught:
        await run(Deadline(lambda _tool: 0.01)(tool, Step(does=hang)))
    assert f"raise {setting}" in str(caught.value.remedy)


@contextmanager
def limited(limits: TimeLimits) -> Generator[LimitClock]:
    """Enclose a block in a limit, as the layer does."""
    limit = limits.begin()
    try:
        yield limit
    except BaseException as error:
        if not limit.end(error):
            raise
    else:
        limit.end()


async def test_work_within_its_time_limit_is_not_cancelled() -> None:
    with limited(TimeLimits(1000)) as limit:
        await anyio.lowlevel.checkpoint()
        assert effective_deadline() == limit.ends
        with anyio.move_on_after(10):
            await anyio.lowlevel.checkpoint()
            assert effective_deadline() < limit.ends
        assert seconds_left() is not None
    with anyio.CancelScope(shield=True):
        await anyio.lowlevel.checkpoint()
        assert effective_deadline() == inf


@pytest.mark.parametrize("first", ["past", "moved"])
async def test_work_is_cancelled_at_its_time_limit_and_the_task_goes_on(first: str) -> None:
    ended = []
    with limited(TimeLimits(-1 if first == "past" else inf)) as limit:
        if first == "moved":
            limit.move(loop_time() + 1000)
            limit.move(loop_time())
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(1)
    assert ended == [1]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await anyio.lowlevel.checkpoint()


async def test_a_time_limit_passes_errors_and_the_cancellation_of_others_on() -> None:
    with pytest.raises(KeyError), limited(TimeLimits(1000)):
        raise KeyError
    with anyio.CancelScope() as outer, limited(TimeLimits(1000)):
        outer.cancel()
        await anyio.sleep_forever()
    assert outer.cancelled_caught
    with anyio.CancelScope() as outer, limited(TimeLimits(-1)):
        outer.cancel()
        await anyio.sleep_forever()
    await anyio.lowlevel.checkpoint()


async def test_the_nearer_of_two_time_limits_ends_its_own_block_alone() -> None:
    reached = []
    with limited(TimeLimits(1000)):
        with limited(TimeLimits(0)):
            await anyio.sleep_forever()
        reached.append("outer")
        await anyio.lowlevel.checkpoint()
    assert reached == ["outer"]


async def test_a_limit_goes_on_within_a_call_that_a_scope_limits() -> None:
    async def look(_call: Call, _emit: Emit) -> None:
        seen.append(effective_deadline())

    seen: list[float] = []
    with limited(TimeLimits(1000)) as limit:
        await run(Deadline(lambda _tool: 2000)(make_tool(), Step(does=look)))
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
            assert effective_deadline() == limit.ends
    assert seen == [limit.ends]
    assert effective_deadline() == inf


@pytest.mark.parametrize("way", ["spawned", "joined"])
async def test_what_outlives_a_call_is_not_limited_by_it_but_has_its_clock(way: str) -> None:
    async def look() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
            seen.append((effective_deadline(), current_clock()))

    seen: list[tuple[float, CallClock | None]] = []
    background = Background()
    await background.start()
    with limited(TimeLimits(1000)) as limit:
        if way == "joined":
            await Flights[None]().join("key", look)
        else:
            background.spawn(look)
    await anyio.wait_all_tasks_blocked()
    await background.stop()
    assert seen == [(inf, limit)]


async def test_limits_of_one_length_end_in_their_order_and_those_that_have_ended_do_not_matter() -> None:
    limits, ended = TimeLimits(3600), []

    async def run(name: str, event: anyio.Event | None) -> None:
        with limited(limits) as limit:
            if name == "moved":
                limit.move(inf)
            await (anyio.sleep_forever() if event is None else event.wait())
            ended.append(f"{name} in time")
            return
        ended.append(f"{name} late" if loop_time() >= limit.ends else f"{name} early")

    done, moved = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as group:
        for name, event in (("short", done), ("first", None), ("moved", moved), ("second", None)):
            group.start_soon(run, name, event)
            await anyio.lowlevel.checkpoint()
        assert len(limits.running) == 3
        done.set()
        await later(3601)
        assert ended == ["short in time", "first late", "second late"]
        moved.set()
    assert ended[-1] == "moved in time"
    assert not limits.running
    async with anyio.create_task_group() as group:
        group.start_soon(run, "last", None)
        await later(3601)
    assert ended[-1] == "last late"


def test_limits_can_be_used_in_one_event_loop_after_another() -> None:
    limits = TimeLimits(0.0)

    async def run() -> bool:
        with limited(limits):
            await anyio.sleep_forever()
            return False
        return True

    assert [asyncio.run(run()) for _ in range(2)] == [True, True]
