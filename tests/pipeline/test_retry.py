"""Retry: what may be sent again, how often, after which pause, and never beyond the deadline."""

import anyio
import pytest
from tests.support.steps import Step, make_tool, run

from utcp_bridge.errors import Busy, ConnectionLost, Rejected, Unreachable, UtcpError
from utcp_bridge.model import Call, Emit
from utcp_bridge.pipeline import Next
from utcp_bridge.pipeline.retry import Retry, RetryBudget

pytestmark = pytest.mark.anyio


def retrying(inner: Next, *, times: int = 2, idempotent: bool = True, first_pause: float = 0.0001) -> Next:
    return Retry(lambda _tool: times, lambda _tool: idempotent, first_pause)(make_tool(), inner)


def unavailable(retry_after: float | None = None) -> Rejected:
    return Rejected("503", status=503, retry_after=retry_after, retryable=True)


@pytest.mark.parametrize(("times", "idempotent"), [(0, True), (2, False)])
def test_the_layer_is_left_out_where_nothing_may_be_sent_again(times: int, idempotent: bool) -> None:
    innermost = Step()
    assert retrying(innermost, times=times, idempotent=idempotent) is innermost


@pytest.mark.parametrize("fault", [Unreachable("away"), Busy("full"), unavailable()])
async def test_a_passing_fault_is_cured_by_a_second_try(fault: UtcpError) -> None:
    step = Step("value", faults=[fault])
    with anyio.fail_after(60):
        assert await run(retrying(step)) == "value"
    assert len(step.calls) == 2


async def test_the_last_fault_is_raised_when_the_tries_are_used_up() -> None:
    step = Step(faults=[Unreachable("1"), Unreachable("2"), Unreachable("3"), Unreachable("4")])
    with anyio.fail_after(60), pytest.raises(Unreachable, match="3"):
        await run(retrying(step, times=2))
    assert len(step.calls) == 3


@pytest.mark.parametrize("fault", [ConnectionLost("half"), Rejected("404", status=404), KeyError("bug")])
async def test_a_fault_that_a_second_try_may_not_cure_is_raised_at_once(fault: Exception) -> None:
    step = Step(faults=[fault])
    with pytest.raises(type(fault)):
        await run(retrying(step))
    assert len(step.calls) == 1


async def test_a_call_that_emitted_a_partial_result_is_never_sent_again() -> None:
    got: list[object] = []

    async def note(partial: object) -> None:
        got.append(partial)

    async def emit_and_fail(_call: Call, emit: Emit) -> None:
        await emit("first")
        raise Unreachable("away")

    step = Step(does=emit_and_fail)
    with pytest.raises(Unreachable):
        await run(retrying(step), emit=note)
    assert (got, len(step.calls)) == (["first"], 1)


async def test_the_upstreams_retry_after_is_waited_for() -> None:
    step = Step("value", faults=[unavailable(retry_after=0.05)])
    with anyio.fail_after(60):
        assert await run(retrying(step)) == "value"
    assert len(step.calls) == 2
    step = Step("value", faults=[unavailable(retry_after=3600)])
    async with anyio.create_task_group() as group:
        group.start_soon(run, retrying(step))
        await anyio.wait_all_tasks_blocked()
        assert len(step.calls) == 1
        group.cancel_scope.cancel()


async def test_a_retry_after_beyond_the_deadline_raises_the_rejection_at_once() -> None:
    step = Step(faults=[unavailable(retry_after=60)])
    with anyio.fail_after(60):
        with pytest.raises(Rejected):
            await run(retrying(step))
        assert len(step.calls) == 1


async def test_a_retry_after_in_the_past_means_now() -> None:
    step = Step("value", faults=[unavailable(retry_after=-30)])
    with anyio.fail_after(60):
        assert await run(retrying(step)) == "value"


async def test_cancellation_ends_the_pause() -> None:
    step = Step(faults=[Unreachable("away")])
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(run, retrying(step, first_pause=3600))
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert len(step.calls) == 1


@pytest.mark.parametrize(("attempt", "longest"), [(0, 0.1), (1, 0.2), (4, 1.6), (9, 5.0), (60, 5.0)])
def test_pauses_double_up_to_a_cap_with_jitter_within_half(attempt: int, longest: float) -> None:
    retry = Retry(lambda _tool: 1, lambda _tool: True)
    pauses = [retry._pause(Unreachable("away"), attempt) for _ in range(300)]
    assert all(longest / 2 <= pause <= longest for pause in pauses)
    assert len(set(pauses)) > 200, "clients that failed together must not come back together"
    assert max(pauses) - min(pauses) > longest / 4


# --- the share of a manual ---


async def failed_calls(layer: Retry, calls: int, *, times: int = 2, manual: str = "shop") -> int:
    """Make calls that all fail, and return how often they were sent."""
    sent = 0

    async def fail(_call: Call, _emit: Emit) -> None:
        nonlocal sent
        sent += 1
        raise unavailable()

    step = layer(make_tool(manual=manual), Step(does=fail))
    with anyio.fail_after(60):
        for _ in range(calls):
            with pytest.raises(Rejected):
                await run(step)
    return sent


async def test_an_upstream_that_fails_gets_a_fifth_more_and_three_calls_keep_all_retries() -> None:
    layer = Retry(lambda _tool: 2, lambda _tool: True, 0.0, share=lambda: 0.2)
    assert await failed_calls(layer, 3) == 9
    assert 197 <= await failed_calls(layer, 197) <= 197 * 1.2 + 10
    assert await failed_calls(layer, 3, manual="another") == 9
    layer.forget("shop")
    assert await failed_calls(layer, 3) == 9


async def test_without_a_share_every_call_has_its_retries() -> None:
    assert await failed_calls(Retry(lambda _tool: 2, lambda _tool: True, 0.0), 50) == 150


async def test_a_share_of_nothing_still_lets_three_calls_try_again() -> None:
    assert await failed_calls(Retry(lambda _tool: 4, lambda _tool: True, 0.0, share=lambda: 0.0), 3) == 15


def test_a_budget_comes_back_with_time_and_with_calls_and_is_bounded() -> None:
    budget = RetryBudget(free=6.0)
    assert [budget.take(100.0) for _ in range(7)] == [True] * 6 + [False]
    budget.add(0.5)
    budget.add(0.5)
    assert [budget.take(100.0), budget.take(100.0)] == [True, False]
    assert [budget.take(105.0) for _ in range(4)] == [True, True, True, False]
    assert [budget.take(9_000.0) for _ in range(7)] == [True] * 6 + [False]
    for _ in range(10_000):
        budget.add(0.2)
    assert budget.left <= 50
