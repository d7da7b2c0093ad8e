"""Calls that end while their hosts are away."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.model import Emit, JsonObject, discard
from utcp_bridge.server.hosts.suspended import Suspended, SuspendedCall, SuspendedCalls

pytestmark = pytest.mark.anyio


async def ended_while_away(calls: SuspendedCalls, group: TaskGroup, seconds: float) -> SuspendedCall:
    """Return a call whose server asked, gave up after `seconds` or at once, and returned a result."""
    call, goes_on = calls.begin("ada", Redactor()), anyio.Event()

    async def work(_emit: Emit) -> JsonObject:
        async with anyio.create_task_group() as asking:
            asking.start_soon(ask)
            await goes_on.wait()
            if seconds:
                asking.cancel_scope.cancel()
        return {"done": True}

    async def ask() -> None:
        with anyio.move_on_after(seconds or 0.01):
            await call.ask("elicitation/create", {})

    group.start_soon(call.run, work)
    with pytest.raises(Suspended):
        await call.follow(discard, None)
    goes_on.set()
    while len(calls):
        await anyio.lowlevel.checkpoint()
    return call


async def test_the_outcome_waits_for_its_own_host_once() -> None:
    calls = SuspendedCalls()
    async with anyio.create_task_group() as group:
        call = await ended_while_away(calls, group, 60)
        assert calls.find(call.ident, "bob") is None
        found = calls.find(call.ident, "ada")
        assert found is not None
        assert await found.follow(discard, None) == {"done": True}
        assert calls.find(call.ident, "ada") is None


async def test_the_outcomes_that_wait_are_limited_and_none_waits_for_a_host_that_is_late() -> None:
    calls = SuspendedCalls()
    async with anyio.create_task_group() as group:
        ended = [await ended_while_away(calls, group, 60) for _ in range(20)]
        late = await ended_while_away(calls, group, 0)
    kept = [calls.find(one.ident, "ada") is not None for one in ended]
    assert kept == [False] * 4 + [True] * 16
    assert calls.find(late.ident, "ada") is None
