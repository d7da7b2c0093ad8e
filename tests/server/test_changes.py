"""Announcing changed tools."""

import gc
from types import SimpleNamespace

import anyio
import pytest

from utcp_bridge.server.changes import Changes

pytestmark = pytest.mark.anyio


class Session:
    def __init__(self, fails=False):
        self.told = 0
        self.fails = fails
        self.event = anyio.Event()

    async def send_tool_list_changed(self):
        if self.fails:
            raise OSError("gone")
        self.told += 1
        self.event.set()


async def remember(changes, session):
    await changes.remember(SimpleNamespace(session=SimpleNamespace(_connection=session)), None)


async def test_a_burst_of_changes_is_told_once_and_a_broken_session_harms_nobody():
    changes = Changes()
    broken, session = Session(fails=True), Session()
    await remember(changes, broken)
    await remember(changes, session)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(changes.announce)
            for _ in range(20):
                changes.mark()
            await session.event.wait()
            assert session.told == 1
            session.event = anyio.Event()
            changes.mark()
            await session.event.wait()
            group.cancel_scope.cancel()
    assert session.told == 2


async def test_a_session_that_is_gone_is_forgotten():
    changes = Changes()
    session = Session()
    await remember(changes, session)
    del session
    gc.collect()
    assert len(changes._sessions) == 0
