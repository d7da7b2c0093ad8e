"""Breaker: what opens it, who passes while it is open, and what closes it, on a clock that the test sets."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
from tests.support.steps import Step, make_tool, run

from utcp_bridge.errors import (
    Busy,
    CircuitOpen,
    ConnectionLost,
    DeadlineExceeded,
    InvalidArguments,
    MalformedReply,
    PolicyError,
    Rejected,
    ReplyTooLarge,
    Unreachable,
)
from utcp_bridge.model import Call, Emit, Result, Tool, large_reader
from utcp_bridge.pipeline import Next, compose
from utcp_bridge.pipeline.breaker import Breaker, BreakerRule, Breakers
from utcp_bridge.pipeline.deadline import Deadline, LargeReplies
from utcp_bridge.pipeline.limits import Allowance, Limits
from utcp_bridge.tasks import setting
from utcp_bridge.upstream import InputRequired, ProtocolError

pytestmark = pytest.mark.anyio
RULE = BreakerRule(threshold=3, first=1.0, longest=30.0)
PATIENT = BreakerRule(threshold=3, first=3600.0, longest=3600.0)
"""For tests on the clock of the event loop: the pause ends on no machine, however busy it is."""


class World:
    """The layer with a clock, and a peer for each tool."""

    def __init__(self, rule: BreakerRule = RULE) -> None:
        self.now = 100.0
        self.peers: dict[str, str | None] = {}
        self.layer = Breakers(lambda _tool: rule, self.peer, lambda: self.now)

    def peer(self, tool: Tool) -> str | None:
        return self.peers.get(tool.name, "http://far")

    def around(self, inner: Next, **fields: object) -> Next:
        return compose(make_tool(**fields), (self.layer.refusal, self.layer), inner)


async def failing(step: Next, times: int, kind: type[Exception] = Unreachable) -> None:
    for _ in range(times):
        with pytest.raises(kind):
            await run(step)


# --- the rule ---


def test_pauses_grow_by_half_up_to_the_longest_and_one_call_passes_after_each() -> None:
    breaker, now, waits = Breaker(RULE), 0.0, []
    for _ in range(3):
        breaker.failed(now, probe=False)
    for _ in range(12):
        waits.append(breaker.wait(now))
        now = breaker.not_before
        assert breaker.wait(now) == 0
        assert breaker.admit(now)
        assert breaker.wait(now) > 0, "the next call does not pass with this one"
        breaker.failed(now, probe=True)
    assert 0.999 <= waits[0] <= 1.251
    assert all(0.999 <= wait <= 30.001 for wait in waits)
    assert waits[-1] >= 22.5
    assert all(later >= earlier * 0.89 for earlier, later in pairwise(waits[:-4]))


def test_calls_are_refused_for_about_half_as_long_again_as_the_fault_lasts() -> None:
    for lasted in (2.0, 5.0, 12.0, 24.0):
        breaker, now = Breaker(RULE), 0.0
        for _ in range(3):
            breaker.failed(0.0, probe=False)
        while now < lasted:
            now = breaker.not_before
            breaker.admit(now)
            if now < lasted:
                breaker.failed(now, probe=True)
        assert now - lasted <= max(2.0, lasted)


def test_late_failures_of_calls_that_began_earlier_do_not_prolong_the_pause() -> None:
    breaker = Breaker(RULE)
    assert [breaker.failed(0.0, probe=False) for _ in range(3)] == [False, False, True]
    until = breaker.not_before
    assert not breaker.failed(0.9, probe=False)
    assert breaker.not_before == until


# --- the layers ---


@pytest.mark.parametrize("fault", [Unreachable("away"), ConnectionLost("broke"), DeadlineExceeded("late")])
async def test_failures_in_a_row_open_it_and_then_nothing_is_sent(fault: Exception) -> None:
    world, step = World(), Step("value", faults=[fault] * 3)
    calls = world.around(step)
    for _ in range(3):
        await failing(calls, 1, type(fault))
        world.now += 0.1
    with pytest.raises(CircuitOpen, match=r"^shop: the last 3 calls to http://far failed") as caught:
        await run(calls)
    assert len(step.calls) == 3
    assert caught.value.retry_after is not None
    assert 0.9 <= caught.value.retry_after <= 1.15
    assert caught.value.remedy in {"Try again in 1 s.", "Try again in 2 s."}
    [report] = world.layer.report()
    assert (report.manual, report.peer, report.failures) == ("shop", "http://far", 3)
    world.now += 2
    assert await run(calls) == "value", "the next call after the pause tries it"
    assert world.layer.report() == []


@pytest.mark.parametrize(
    "fault",
    [
        Rejected("404", status=404),
        Rejected("503", status=503),
        MalformedReply("what"),
        ReplyTooLarge("much"),
        ProtocolError(-32042, "Open a page."),
        InputRequired({"q": {}}),
    ],
)
async def test_a_reply_of_any_kind_closes_it(fault: Exception) -> None:
    faults = [Unreachable("away"), Unreachable("away"), fault, Unreachable("away"), Unreachable("away")]
    world, step = World(), Step("value", faults=list(faults))
    calls = world.around(step)
    for one in faults:
        await failing(calls, 1, type(one))
    assert await run(calls) == "value"


@pytest.mark.parametrize("fault", [Busy("full"), InvalidArguments("no"), PolicyError("no"), KeyError("bug")])
async def test_what_never_reached_the_upstream_says_nothing_about_it(fault: Exception) -> None:
    world, step = World(), Step("value", faults=[Unreachable("away"), fault, Unreachable("a"), fault, Unreachable("b")])
    calls = world.around(step)
    for kind in (Unreachable, type(fault), Unreachable, type(fault), Unreachable, CircuitOpen):
        await failing(calls, 1, kind)


@pytest.mark.parametrize(("fault", "opens"), [(ConnectionLost, False), (Unreachable, True), (DeadlineExceeded, True)])
async def test_calls_that_one_broken_connection_took_along_count_once(fault: type[Exception], opens: bool) -> None:
    world, broken = World(), anyio.Event()

    async def wait(_call: Call, _emit: Emit) -> None:
        await broken.wait()
        raise fault("together")

    calls = world.around(Step(does=wait))
    async with anyio.create_task_group() as group:
        for _ in range(9):
            group.start_soon(failing, calls, 1, fault)
        await anyio.wait_all_tasks_blocked()
        world.now += 1
        broken.set()
    assert bool(world.layer.report()) == opens


async def test_a_transport_that_refuses_by_itself_is_not_counted() -> None:
    world = World()
    calls = world.around(Step("value", faults=[CircuitOpen("shut", retry_after=1)] * 9))
    await failing(calls, 9, CircuitOpen)
    assert await run(calls) == "value"


async def test_one_call_at_a_time_tries_an_open_one_and_its_failure_keeps_it_open() -> None:
    world, release = World(), anyio.Event()

    async def held(_call: Call, _emit: Emit) -> None:
        await release.wait()
        raise Unreachable("away")

    step = Step(faults=[Unreachable("away")] * 3, does=held)
    calls = world.around(step)
    await failing(calls, 3)
    world.now += 2
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(failing, calls, 1)
            await anyio.wait_all_tasks_blocked()
            await failing(calls, 5, CircuitOpen)
            assert len(step.calls) == 4
            release.set()
    await failing(calls, 1, CircuitOpen)


async def test_a_probe_that_hangs_does_not_shut_it_for_ever() -> None:
    world = World()

    async def hang(_call: Call, _emit: Emit) -> None:
        await anyio.sleep_forever()

    calls = world.around(Step(faults=[Unreachable("away")] * 3, does=hang))
    await failing(calls, 3)
    world.now += 2
    async with anyio.create_task_group() as group:
        group.start_soon(run, calls)
        await anyio.wait_all_tasks_blocked()
        world.now += 3
        assert await run(world.around(Step("value"))) == "value", "another call may try after the next pause"
        group.cancel_scope.cancel()


async def test_a_deadline_counts_and_a_caller_that_leaves_does_not() -> None:
    async def hang(_call: Call, _emit: Emit) -> None:
        await anyio.sleep_forever()

    step = Step(does=hang)
    layer = Breakers(lambda _tool: PATIENT, lambda _tool: "http://far")
    patient = compose(make_tool(), (layer.refusal, layer), step)
    for _ in range(5):
        async with anyio.create_task_group() as group:
            group.start_soon(run, patient)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert layer.report() == []
    bounded = compose(make_tool(), (Deadline(lambda _tool: 0.001), layer.refusal, layer), step)
    await failing(bounded, 3, DeadlineExceeded)
    await failing(bounded, 1, CircuitOpen)


async def test_a_limit_of_the_embedding_program_counts_as_a_deadline() -> None:
    begun: list[Call] = []

    async def hang(call: Call, _emit: Emit) -> None:
        begun.append(call)
        await anyio.sleep_forever()

    layer = Breakers(lambda _tool: PATIENT, lambda _tool: "http://far")
    calls = compose(make_tool(), (Deadline(lambda _tool: 60.0), layer.refusal, layer), Step(does=hang))
    with anyio.fail_after(60):
        while not layer.report():
            with anyio.move_on_after(0.05):  # a call that had no time to begin does not count
                await run(calls)
    assert len(begun) >= 3
    await failing(calls, 1, CircuitOpen)


async def test_a_call_for_a_client_of_the_bridge_counts_at_its_deadline_and_not_when_the_client_leaves() -> None:
    async def hang(_call: Call, _emit: Emit) -> None:
        await anyio.sleep_forever()

    async def unused(_tool: Tool, result: Result) -> Result:
        return result

    def calls(seconds: float) -> Next:
        layers = (LargeReplies(lambda _tool: seconds), Deadline(lambda _tool: seconds), layer.refusal, layer)
        return compose(make_tool(), layers, Step(does=hang))

    layer = Breakers(lambda _tool: PATIENT, lambda _tool: "http://far")
    with setting(large_reader, unused):
        for _ in range(5):
            async with anyio.create_task_group() as group:
                group.start_soon(run, calls(60.0))
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
        assert layer.report() == []
        await failing(calls(0.001), 3, DeadlineExceeded)
        await failing(calls(0.001), 1, CircuitOpen)


async def test_a_call_that_waits_for_a_slot_until_its_deadline_says_nothing_about_the_upstream() -> None:
    async def hang(_call: Call, _emit: Emit) -> None:
        await anyio.sleep_forever()

    layer = Breakers(lambda _tool: PATIENT, lambda _tool: "http://far")
    layers = (Deadline(lambda _tool: 0.001), layer.refusal, Limits(lambda _tool: Allowance(1, 9)), layer)
    async with anyio.create_task_group() as group:
        group.start_soon(run, compose(make_tool(), layers[1:], Step(does=hang)))
        await anyio.wait_all_tasks_blocked()
        await failing(compose(make_tool(), layers, Step()), 5, DeadlineExceeded)
        group.cancel_scope.cancel()
    assert layer.report() == []


async def test_open_means_refused_at_once_although_all_slots_are_taken() -> None:
    release = anyio.Event()

    async def held(_call: Call, _emit: Emit) -> None:
        await release.wait()

    layer = Breakers(lambda _tool: PATIENT, lambda _tool: "http://far")
    slots = Limits(lambda _tool: Allowance(1, 9))
    with anyio.fail_after(60):
        await failing(compose(make_tool(), (layer,), Step(faults=[Unreachable("away")] * 3)), 3)
        async with anyio.create_task_group() as group:
            group.start_soon(run, compose(make_tool(), (slots,), Step(does=held)))
            await anyio.wait_all_tasks_blocked()
            await failing(compose(make_tool(), (layer.refusal, slots, layer), Step()), 1, CircuitOpen)
            release.set()


async def test_a_partial_result_closes_it_before_the_call_ends() -> None:
    world = World()
    await failing(world.around(Step(faults=[Unreachable("away")] * 3)), 3)
    world.now += 2

    async def note(_partial: object) -> None:
        return None

    async def stream(_call: Call, emit: Emit) -> None:
        await emit("first")
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run(world.around(Step(does=stream)), emit=note))
        await anyio.wait_all_tasks_blocked()
        assert world.layer.report() == []
        group.cancel_scope.cancel()


async def test_manuals_and_peers_fail_by_themselves() -> None:
    world = World()
    world.peers = {"other": "http://near", "chosen": None}
    away = [Unreachable("away")] * 9
    await failing(world.around(Step(faults=list(away))), 3)
    assert await run(world.around(Step("near"), name="other")) == "near"
    assert await run(world.around(Step("b"), manual="b")) == "b"
    await failing(world.around(Step(faults=list(away)), name="chosen"), 9)
    await failing(world.around(Step("value")), 1, CircuitOpen)
    world.layer.forget("b")
    await failing(world.around(Step("value")), 1, CircuitOpen)
    world.layer.forget("shop")
    assert await run(world.around(Step("value"))) == "value"


async def test_a_threshold_of_zero_leaves_both_layers_out() -> None:
    world, step = World(BreakerRule(threshold=0)), Step("value")
    assert world.around(step) is step


# --- the log ---


async def interrupted(world: World, seconds: float, refused: int = 2) -> None:
    """Open the breaker, have calls refused, and let a call succeed after a time."""
    away = [Unreachable("away")] * RULE.threshold
    step = world.around(Step("value", faults=list(away)))
    await failing(step, RULE.threshold)
    await failing(step, refused, CircuitOpen)
    world.now += seconds
    await run(step)


async def test_the_log_has_a_line_for_the_beginning_and_the_end_of_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level("INFO", "utcp_bridge"):
        await interrupted(world, 4, refused=7)
    began, ended = caplog.messages
    assert began.startswith("Manual shop: 3 calls to http://far in a row failed. Calls are refused for now; one tries")
    assert ended == "Manual shop: http://far answers again after 4 s. Calls that were refused: 7."


async def test_an_upstream_that_comes_and_goes_has_few_lines_with_counts(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level("INFO", "utcp_bridge"):
        for _ in range(100):
            await interrupted(world, 2)
    began, ended = caplog.messages[::2], caplog.messages[1::2]
    assert [line.partition("This is outage ")[2] for line in began] == [
        "", *(f"{number} in a short time." for number in (2, 4, 8, 16, 32, 64))
    ]  # fmt: skip
    assert all("answers again after 2 s" in line for line in ended)
    assert sum(int(line.rpartition(": ")[2].rstrip(".")) for line in ended) == 2 * 64


async def test_an_outage_that_lasts_has_its_line_whatever_came_before(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    for _ in range(2):
        await interrupted(world, 2)
    caplog.clear()
    with caplog.at_level("INFO", "utcp_bridge"):
        step = world.around(Step("value", faults=[Unreachable("away")] * 20))
        await failing(step, 3)
        assert caplog.messages == []
        for _ in range(4):
            world.now += 31
            await failing(step, 1)
    assert len(caplog.messages) == 1
    assert "This is outage 3 in a short time." in caplog.messages[0]


async def test_after_a_long_time_an_outage_is_the_first_one(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level("INFO", "utcp_bridge"):
        for _ in range(3):
            await interrupted(world, 2)
            world.now += 3600
    assert len(caplog.messages) == 6
    assert not any("outage" in line for line in caplog.messages)


# --- news of other bridges ---


async def test_bridges_tell_one_another_what_opened_and_closed() -> None:
    one, other = World(), World()
    told: list[dict[str, object]] = []
    one.layer.tell, other.layer.tell = (lambda news: (told.append(news), other.layer.hear(news))), other.layer.hear
    step, fault = one.around(Step(faults=[Unreachable("away")] * 3)), other.around(Step())
    await failing(step, 3)
    with pytest.raises(CircuitOpen):
        await run(fault)
    assert [outage.peer for outage in other.layer.report()] == ["http://far"]
    one.now += 60
    await run(step)
    assert [news["open"] for news in told] == [True, False]
    assert await run(fault) == "done"
    assert not other.layer.report()


async def test_the_news_of_another_bridge_end_its_refusals_no_later_than_the_longest_pause() -> None:
    world = World()
    world.layer.hear(
        {"manual": "shop", "peer": "http://far", "open": True, "rule": [3, 1.0, 30.0], "failures": 3, "seconds": 1e9}
    )
    step = world.around(Step())
    with pytest.raises(CircuitOpen):
        await run(step)
    world.now += 30
    assert await run(step) == "done"
