"""Budgets: calls per second, calls at the same time, and bytes of results."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.access.budgets import Budgets, CallerBudget, Meter, read_budgets, spending
from utcp_bridge.access.principals import ANYONE, Principal
from utcp_bridge.errors import Busy, ConfigError


def admitted(meter, now):
    try:
        meter.check(now)
    except Busy:
        return False
    meter.enter()
    meter.leave()
    return True


@given(st.floats(0.1, 50), st.integers(1, 20), st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=60))
def test_no_span_has_more_calls_than_its_rate_and_one_burst(rate, burst, pauses):
    meter, now, times = Meter("x", CallerBudget(rate=rate, burst=burst)), 100.0, []
    for pause in pauses:
        now += pause
        if admitted(meter, now):
            times.append(now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + (times[last] - times[first]) * rate + 1e-6


@given(st.floats(0.1, 50), st.integers(1, 20))
def test_a_call_succeeds_after_the_pause_that_the_refusal_names(rate, burst):
    meter = Meter("x", CallerBudget(rate=rate, burst=burst))
    assert [admitted(meter, 5.0) for _ in range(burst + 1)] == [True] * burst + [False]
    with pytest.raises(Busy) as caught:
        meter.check(5.0)
    assert admitted(meter, 5.0 + caught.value.retry_after)


def test_the_burst_of_a_rate_is_one_second_of_it():
    assert sum(admitted(Meter("x", CallerBudget(rate=0.2)), 0.0) for _ in range(1)) == 1
    meter = Meter("x", CallerBudget(rate=2.5))
    assert sum(admitted(meter, 0.0) for _ in range(9)) == 3


def test_calls_at_the_same_time_are_counted():
    meter = Meter("'ci'", CallerBudget(concurrency=2))
    meter.enter()
    meter.enter()
    with pytest.raises(Busy, match=r"'ci' has 2 calls in flight, the most at a time. Try again in 1 s."):
        meter.check(0.0)
    meter.leave()
    meter.check(0.0)


def test_bytes_are_refused_once_they_are_used_up_and_come_back_steadily():
    meter = Meter("'ci'", CallerBudget(bytes_per_minute=600, bytes_per_day=100_000))
    meter.check(0.0)
    meter.count(1_200)  # a result is known only when it is there
    with pytest.raises(Busy, match="'ci' has used up its 600 bytes of results a minute") as caught:
        meter.check(0.0)
    assert caught.value.retry_after == pytest.approx(60.1)
    meter.check(60.1)
    meter.count(150_000)
    with pytest.raises(Busy, match="a minute"):
        meter.check(60.1)
    with pytest.raises(Busy, match="100,000 bytes of results a day"):
        meter.check(60.1 + 15_100)


def test_the_first_pattern_that_matches_gives_the_budget():
    budgets = read_budgets({"ci-*": {"concurrency": 1}, "*": {"concurrency": 2}})
    assert budgets.of(Principal("ci-1")) is budgets.of(Principal("ci-1"))
    assert budgets.of(Principal("ci-1")) is not budgets.of(Principal("ci-2"))
    one = budgets.of(Principal("other"))
    one.enter()
    one.check(0.0)
    assert read_budgets({}) is None
    budgets = read_budgets({"ci-*": {"concurrency": 1}})
    assert budgets.of(ANYONE) is None
    one, other = Principal("token:ci-1"), Principal("certificate:ci-1", "certificate")
    assert budgets.of(one) is not None
    assert budgets.of(one) is not budgets.of(other), "each principal has its own"


@pytest.mark.parametrize("written", [{"x": 5}, {"x": {"speed": 1}}, {"x": {"rate": "fast"}}, {"x": {"rate": True}}])
def test_a_budget_that_cannot_be_read_is_named(written):
    with pytest.raises(ConfigError, match="Budget 'x'"):
        read_budgets(written)


@pytest.mark.anyio
async def test_the_number_of_known_principals_is_bounded():
    budgets = Budgets([("*", CallerBudget(rate=1, burst=2))], max_meters=10)
    busy = budgets.of(Principal("busy"))
    busy.enter()
    for number in range(50):
        budgets.of(Principal(f"p{number}")).enter()
        budgets.of(Principal(f"p{number}")).leave()
    assert len(budgets) <= 10
    assert budgets.of(Principal("busy")) is busy  # a call is in flight


@pytest.mark.anyio
async def test_a_call_that_one_budget_does_not_cover_is_charged_to_none():
    one, other = (
        Meter("one", CallerBudget(concurrency=1, bytes_per_minute=10)),
        Meter("other", CallerBudget(concurrency=1)),
    )
    release = anyio.Event()

    async def slow():
        await release.wait()
        return "123"

    async def work():
        raise AssertionError("not called")

    async with anyio.create_task_group() as group:
        group.start_soon(spending, [other], slow, len)
        await anyio.lowlevel.checkpoint()
        with pytest.raises(Busy):
            await spending([one, other], work, len)
        release.set()
    for _ in range(3):
        assert await spending([one, other], slow, len) == "123"
    await spending([one, other], slow, len)
    with pytest.raises(Busy, match="one has used up"):
        await spending([one, other], slow, len)
    other.check(0.0)


@pytest.mark.anyio
async def test_a_call_that_fails_or_is_cancelled_gives_its_place_back():
    meter = Meter("x", CallerBudget(concurrency=1))

    async def failing():
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await spending([meter], failing, len)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await spending([meter], anyio.sleep_forever, len)
    meter.check(0.0)
