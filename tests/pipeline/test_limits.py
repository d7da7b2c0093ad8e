"""Limits: slots, queue, rate and partial results, per manual."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.steps import Step, make_call, make_tool, run

from utcp_bridge.client_request import CLIENT_REQUEST, KnownClientRequest
from utcp_bridge.errors import Busy, ReplyTooLarge
from utcp_bridge.model import Call, Emit, Tool, discard
from utcp_bridge.pipeline import Next
from utcp_bridge.pipeline.limits import Allowance, Limits, _Gate
from utcp_bridge.tasks import loop_time, setting
from utcp_bridge.upstream import CALL_CLOCK, CallClock

pytestmark = pytest.mark.anyio


def limits(concurrency: int = 100, queue: int = 100, **numbers: float) -> Limits:
    allowance = Allowance(concurrency, queue, **numbers)
    return Limits(lambda _tool: allowance)


@dataclass
class Held:
    """An upstream that answers when it is reported to, and counts who is inside."""

    release: anyio.Event = field(default_factory=anyio.Event)
    inside: int = 0
    most: int = 0

    async def __call__(self, _call: Call, _emit: Emit) -> str:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.release.wait()
        finally:
            self.inside -= 1
        return "value"


async def fill(group: TaskGroup, step: Next, calls: int) -> None:
    for _ in range(calls):
        group.start_soon(run, step)
    await anyio.wait_all_tasks_blocked()


async def test_the_clock_of_a_call_that_waited_says_when_it_had_its_place() -> None:
    held, now = Held(), loop_time()
    step = limits(concurrency=1)(make_tool(), Step(does=held))
    first, second = (CallClock(anyio.CancelScope(), now - 9) for _ in range(2))

    async def call(clock: CallClock) -> None:
        with setting(CALL_CLOCK, clock):
            await run(step)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for clock in (first, second):
                group.start_soon(call, clock)
                await anyio.wait_all_tasks_blocked()
            held.release.set()
    assert first.began == now - 9
    assert second.began >= now


async def test_calls_beyond_the_slots_wait_and_then_run() -> None:
    held = Held()
    step = limits(concurrency=2, queue=3)(make_tool(), Step(does=held))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await fill(group, step, 5)
            assert held.inside == 2
            held.release.set()
    assert (held.inside, held.most) == (0, 2)


async def test_a_call_beyond_the_queue_is_refused_at_once_with_the_numbers() -> None:
    held = Held()
    inner = Step(does=held)
    step = limits(concurrency=2, queue=1)(make_tool(), inner)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await fill(group, step, 3)
            with pytest.raises(Busy, match="shop has 2 calls in flight and 1 waiting"):
                await run(step)
            assert len(inner.calls) == 2, "nothing was sent"
            held.release.set()


async def test_a_slow_manual_does_not_hold_up_another() -> None:
    held = Held()
    layer = limits(concurrency=1, queue=0)
    slow = layer(make_tool(manual="slow"), Step(does=held))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await fill(group, slow, 1)
            assert await run(layer(make_tool(manual="quick"), Step("value"))) == "value"
            held.release.set()


async def test_the_tools_of_one_manual_share_its_slots() -> None:
    held = Held()
    layer = limits(concurrency=1, queue=0)
    one, other = (layer(make_tool(name=name), Step(does=held)) for name in ("one", "other"))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await fill(group, one, 1)
            with pytest.raises(Busy):
                await run(other)
            held.release.set()


async def test_cancelled_and_failed_calls_give_their_slot_and_place_back() -> None:
    held = Held()
    layer = limits(concurrency=1, queue=1)
    step = layer(make_tool(), Step(does=held))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await fill(group, step, 2)
            group.cancel_scope.cancel()
        assert (held.inside, layer.gates["shop"].waiting) == (0, 0)
        with pytest.raises(KeyError):
            await run(layer(make_tool(), Step(faults=[KeyError("bug")])))
        assert await run(layer(make_tool(), Step("free again"))) == "free again"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time in seconds, which moves only when a test changes it."""
    clock = [1_000.0]
    monkeypatch.setattr(anyio, "current_time", lambda: clock[0])
    return clock


@pytest.mark.usefixtures("now")
async def test_the_rate_allows_a_second_worth_at_once_and_then_refuses() -> None:
    layer = limits(rate=3.0)
    step = layer(make_tool(), Step("value"))
    for _ in range(3):
        await run(step)
    with pytest.raises(Busy, match="shop allows 3 calls a second") as caught:
        await run(step)
    assert caught.value.remedy == "Try again in 0.3 seconds."


async def test_the_rate_refills_with_time_up_to_one_second_worth(now: list[float]) -> None:
    layer = limits(rate=2.0)
    step = layer(make_tool(), Step("value"))
    await run(step)
    await run(step)
    with pytest.raises(Busy):
        await run(step)
    now[0] += 0.5
    await run(step)
    with pytest.raises(Busy):
        await run(step)
    now[0] += 3600
    await run(step)
    await run(step)
    with pytest.raises(Busy):
        await run(step)


@pytest.mark.usefixtures("now")
async def test_a_rate_below_one_still_allows_a_call() -> None:
    step = limits(rate=0.01)(make_tool(), Step("value"))
    assert await run(step) == "value"
    with pytest.raises(Busy, match=r"allows 0\.01 calls a second"):
        await run(step)


async def test_partial_results_pass_up_to_the_budget_and_then_end_the_call() -> None:
    got: list[object] = []

    async def note(partial: object) -> None:
        got.append(partial)

    async def endless(_call: Call, emit: Emit) -> None:
        number = 0
        while True:
            await emit(number)
            number += 1

    step = limits(partials=3)(make_tool(), Step(does=endless))
    with anyio.fail_after(60), pytest.raises(ReplyTooLarge, match="more than 3 partial results"):
        await run(step, emit=note)
    assert got == [0, 1, 2]


async def test_the_budget_of_partial_results_is_per_call() -> None:
    async def two(_call: Call, emit: Emit) -> None:
        await emit(1)
        await emit(2)

    step = limits(partials=2)(make_tool(), Step(does=two))
    await run(step)
    await run(step)


async def test_a_manual_registered_again_with_other_numbers_gets_them() -> None:
    numbers = {"first": Allowance(1, 0), "second": Allowance(2, 0)}

    def allowance(tool: Tool) -> Allowance:
        return numbers[tool.limits["generation"]]

    layer = Limits(allowance)
    held = Held()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await fill(group, layer(make_tool(limits={"generation": "first"}), Step(does=held)), 1)
            newer = layer(make_tool(limits={"generation": "second"}), Step(does=held))
            await fill(group, newer, 2)
            assert held.inside == 3
            with pytest.raises(Busy, match="2 calls in flight"):
                await run(newer)
            held.release.set()


async def test_a_forgotten_manual_leaves_nothing_behind() -> None:
    layer = limits()
    await run(layer(make_tool(), Step()), make_call())
    assert set(layer.gates) == {"shop"}
    layer.forget("shop")
    layer.forget("never seen")
    assert layer.gates == {}


@dataclass
class Turns:
    """An upstream with one slot. It notes whose calls it gets, and answers when a test says so."""

    order: list[str] = field(default_factory=list[str])
    next: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(0))

    async def __call__(self, call: Call, _emit: Emit) -> str:
        self.order.append(call.arguments["caller"])
        await self.next.acquire()
        return "value"


async def call_as(caller: str, step: Next, refused: list[str]) -> None:
    CLIENT_REQUEST.set(KnownClientRequest(caller))
    try:
        await step(make_call(None, {"caller": caller}), discard)
    except Busy:
        refused.append(caller)


async def send(group: TaskGroup, step: Next, callers: Iterable[str], refused: list[str]) -> None:
    for caller in callers:
        group.start_soon(call_as, caller, step, refused)
        await anyio.wait_all_tasks_blocked()


async def test_callers_that_wait_take_turns() -> None:
    turns, refused = Turns(), list[str]()
    step = limits(concurrency=1, queue=100)(make_tool(), Step(does=turns))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await send(group, step, ["flood"] * 8 + ["b", "c", "b", "c", "b"], refused)
            for _ in range(13):
                turns.next.release()
                await anyio.wait_all_tasks_blocked()
    assert "".join(caller[0] for caller in turns.order) == "ffbcfbcfbffff"
    assert refused == []


async def test_a_full_queue_has_room_for_a_caller_with_few_calls() -> None:
    turns, refused = Turns(), list[str]()
    step = limits(concurrency=1, queue=4)(make_tool(), Step(does=turns))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await send(group, step, ["flood"] * 6, refused)
            assert refused == ["flood"]
            await send(group, step, ["b", "c", "flood"], refused)
            assert refused == ["flood"] * 4, "three gave their places to others, and nobody has one for the last"
            for _ in range(5):
                turns.next.release()
                await anyio.wait_all_tasks_blocked()
    assert sorted(turns.order) == ["b", "c", "flood", "flood", "flood"]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(0, 5),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["call", "answer", "cancel"])), max_size=25),
)
def test_no_slot_and_no_place_is_lost(concurrency: int, queue: int, steps: list[tuple[str, str]]) -> None:
    async def play() -> None:
        turns, refused = Turns(), list[str]()
        layer = limits(concurrency=concurrency, queue=queue)
        step = layer(make_tool(), Step(does=turns))
        scopes: dict[str, list[anyio.CancelScope]] = {"a": [], "b": [], "c": []}

        async def call(caller: str) -> None:
            with anyio.CancelScope() as scope:
                scopes[caller].append(scope)
                await call_as(caller, step, refused)

        async with anyio.create_task_group() as group:
            for caller, what in steps:
                if what == "call":
                    group.start_soon(call, caller)
                elif what == "cancel":
                    for scope in scopes[caller]:
                        scope.cancel()
                else:
                    turns.next.release()
                await anyio.wait_all_tasks_blocked()
                gate = layer.gates.get("shop")
                if gate is not None:
                    assert gate.waiting == sum(map(len, gate.lines.values())) <= queue
                    assert not gate.waiting or not gate.free
            group.cancel_scope.cancel()
        if "shop" in layer.gates:
            gate = layer.gates["shop"]
            assert (gate.free, gate.waiting, len(gate.lines)) == (concurrency, 0, 0)

    anyio.run(play)


class Asking:
    """A call that holds a slot of a gate, and asks its host now and then."""

    def __init__(self, gate: _Gate) -> None:
        self.gate, self.is_over = gate, False
        self.clock = CallClock(anyio.CancelScope())
        self.clock.place = gate
        self.questions: list[AbstractContextManager[None]] = []

    @property
    def has_slot(self) -> bool:
        return not self.is_over and not self.questions

    def ask(self) -> None:
        self.questions.append(self.clock.stopped())
        self.questions[-1].__enter__()

    def hear(self) -> None:
        if self.questions:
            self.questions.pop().__exit__(None, None, None)

    def end(self) -> None:
        if not self.is_over and self.clock.leaves_for_good():
            self.gate.leave()
        self.is_over = True


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["ask", "hear", "end"])), max_size=40))
def test_no_order_of_questions_and_ends_loses_or_adds_a_slot(steps: list[tuple[int, str]]) -> None:
    async def play() -> None:
        gate = _Gate("m", Allowance(concurrency=2, queue=0))
        calls = [Asking(gate) for _ in range(5)]
        gate.free -= len(calls)
        for number, what in steps:
            getattr(calls[number], what)()
            assert gate.free == 2 - sum(call.has_slot for call in calls)
        for call in calls:
            call.end()
            while call.questions:
                call.hear()
        assert gate.free == 2

    anyio.run(play)


async def test_calls_that_went_on_beyond_the_limit_keep_new_calls_out() -> None:
    gate = _Gate("m", Allowance(concurrency=1, queue=1))
    await gate.enter("a")
    one = Asking(gate)
    one.ask()
    await gate.enter("b")
    two = Asking(gate)
    one.hear()
    async with anyio.create_task_group() as group:
        group.start_soon(gate.enter, "c")
        await anyio.wait_all_tasks_blocked()
        one.end()
        assert gate.waiting == 1
        two.end()
        assert gate.waiting == 0
    assert gate.free == 0
