from collections.abc import Callable
from contextlib import suppress

import anyio
import pytest

from utcp_bridge.net.collecting import LARGE, Collecting, arrived
from utcp_bridge.tasks import HeavyWork

pytestmark = pytest.mark.anyio


class Body:
    """A body that a task collects until `end` is set."""

    def __init__(self, manual: str, size: int = LARGE + 1) -> None:
        self.manual = manual
        self.size = size
        self.has_grown = False
        self.end = anyio.Event()
        self.scope = anyio.CancelScope()

    async def collect(self) -> None:
        with self.scope, Collecting(self.manual) as place:
            await place.grow(self.size)
            self.has_grown = True
            await self.end.wait()


async def started(*bodies: Body, group: anyio.abc.TaskGroup) -> list[bool]:
    """Start to collect the bodies in this order, and return which of them could grow."""
    for body in bodies:
        group.start_soon(body.collect)
        await anyio.wait_all_tasks_blocked()
    return [body.has_grown for body in bodies]


async def with_bodies(*bodies: Body, check: Callable[[list[bool]], None]) -> None:
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            check(await started(*bodies, group=group))
            for body in bodies:
                body.end.set()
    assert all(body.has_grown for body in bodies)


async def test_large_bodies_of_one_manual_are_collected_one_after_another() -> None:
    def check(grown: list[bool]) -> None:
        assert grown == [True, False, False]

    await with_bodies(Body("a"), Body("a"), Body("a"), check=check)


async def test_large_bodies_of_other_manuals_and_small_ones_do_not_wait() -> None:
    def check(grown: list[bool]) -> None:
        assert grown == [True, True, True]

    await with_bodies(Body("a"), Body("b"), Body("a", LARGE), check=check)


async def test_all_bodies_together_have_a_limit_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utcp_bridge.net.collecting._PATIENCE_SECONDS", 3_600)

    def check(grown: list[bool]) -> None:
        assert grown == [True, True, False, True]

    await with_bodies(Body("a", 20 << 20), Body("b", 10 << 20), Body("c", 3 << 20), Body("d", 2 << 20), check=check)


async def test_one_body_alone_may_be_larger_than_the_limit_of_all() -> None:
    def check(grown: list[bool]) -> None:
        assert grown == [True]

    await with_bodies(Body("a", 100 << 20), check=check)


async def test_bodies_that_no_longer_grow_do_not_stop_others_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utcp_bridge.net.collecting._PATIENCE_SECONDS", 0)

    def check(grown: list[bool]) -> None:
        assert grown == [True, True]

    await with_bodies(Body("a", 31 << 20), Body("b", 9 << 20), check=check)


async def test_a_body_that_waits_can_be_cancelled() -> None:
    first, second, third = Body("a"), Body("a"), Body("a")
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            assert await started(first, second, third, group=group) == [True, False, False]
            second.scope.cancel()
            first.end.set()
            third.end.set()
    assert (second.has_grown, third.has_grown) == (False, True)


class Worker:
    """The work of a call, which goes on after its body has been collected."""

    def __init__(self) -> None:
        self.finish = anyio.Event()

    async def work(self, error: type[Exception] | None) -> None:
        with HeavyWork():
            with suppress(ValueError), Collecting("a") as place:
                await place.grow(LARGE + 1)
                if error is not None:
                    raise error
            if error is None:
                with Collecting("a") as again:  # the same work may have a second body
                    await again.grow(LARGE + 1)
            await self.finish.wait()


@pytest.mark.parametrize(("error", "is_free"), [(None, False), (ValueError, True)])
async def test_the_work_of_a_call_keeps_the_place_to_its_end_unless_collecting_failed(
    error: type[Exception] | None, is_free: bool
) -> None:
    worker, other = Worker(), Body("a")
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(worker.work, error)
            await anyio.wait_all_tasks_blocked()
            assert await started(other, group=group) == [is_free]
            worker.finish.set()
            await anyio.wait_all_tasks_blocked()
            assert other.has_grown
            other.end.set()


async def test_a_message_that_has_arrived_is_served_before_bodies_that_are_still_to_be_read() -> None:
    first, second = Body("a"), Body("a")
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            await started(first, second, group=group)
            group.start_soon(arrived, "a", LARGE + 1)
            await anyio.wait_all_tasks_blocked()
            first.end.set()
            await anyio.wait_all_tasks_blocked()
            assert second.has_grown
            second.end.set()
    with anyio.fail_after(60):
        await arrived("a", LARGE + 1)  # the place is free again


async def test_a_released_body_counts_from_zero() -> None:
    with anyio.fail_after(60), Collecting("a") as line, Collecting("a") as other:
        await line.grow(LARGE + 1)
        line.release()
        await line.grow(LARGE)
        await other.grow(LARGE + 1)
