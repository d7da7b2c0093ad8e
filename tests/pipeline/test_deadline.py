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
from utcp_bridge.pipeline.deadline import Deadline, TimeLimits
from utcp_bridge.tasks import TimeLimit, loop_time
from utcp_bridge.upstream import CALL_CLOCK

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
def limited(limits: TimeLimits) -> Generator[TimeLimit]:
    """Enclose a block in a limit, as the layer does."""
    limit = limits.begin()
    try:
        yield limit
    except BaseException as error:
        if not limit.__exit__(type(error), error, None):
            raise
    else:
        limit.__exit__(None, None, None)


async def test_limits_of_one_length_end_in_their_order_and_those_that_have_ended_do_not_matter() -> None:
    limits, ended = TimeLimits(3600), []

    async def run(name: str, event: anyio.Event | None) -> None:
        with limited(limits) as limit:
            if name == "moved":
                limit.deadline = inf
            await (anyio.sleep_forever() if event is None else event.wait())
            ended.append(f"{name} in time")
            return
        ended.append(f"{name} late" if loop_time() >= limit.deadline else f"{name} early")

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
