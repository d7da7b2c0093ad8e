"""Children without a guardian behave as those with one, as long as the program that started them lives."""

from __future__ import annotations

import signal
import struct
import sys
from pathlib import Path

import anyio
import pytest
from tests.support.descendants import is_running, needs_proc, open_descriptors, until_gone

from utcp_bridge.processes import children, systems
from utcp_bridge.processes.child import Launch
from utcp_bridge.processes.direct import DirectChildren

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="the scripts are for POSIX")]
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def shell(script: str, *, stdin: bool = False) -> Launch:
    return Launch(["sh", "-c", script], ENVIRONMENT, Path("/"), stdin)


async def test_a_child_has_its_pipes_and_its_exit_code() -> None:
    with anyio.fail_after(60):
        child = await DirectChildren().start(shell("cat; echo e >&2; exit 7", stdin=True))
        assert child.stdin is not None
        assert child.stderr is not None
        await child.stdin.send(b"in")
        await child.stdin.aclose()
        assert [await child.stdout.receive(), await child.stderr.receive()] == [b"in", b"e\n"]
        with pytest.raises(anyio.EndOfStream):
            await child.stdout.receive()
        assert await child.wait() == 7
        assert await child.gone()
        await child.aclose()


async def test_outputs_end_when_they_are_complete() -> None:
    children = DirectChildren()
    with anyio.fail_after(60):
        child = await children.start(shell("trap '' TERM; sleep 1000 & printf done"))
        assert await child.stdout.receive() == b"done"
        async with anyio.create_task_group() as group:
            group.start_soon(_read_to_end, child.stdout)
            await child.wait()
            child.complete()
        await children.end()
        await child.aclose()


@needs_proc
async def test_an_output_that_is_not_read_to_its_end_is_closed() -> None:
    children = DirectChildren()
    with anyio.fail_after(60):
        before = open_descriptors()
        child = await children.start(shell("yes"))
        assert await child.stdout.receive()
        for _ in range(20):  # the pipe fills what is kept of it, so nothing reads it any more
            await anyio.lowlevel.checkpoint()
        child.end()
        await child.wait()
        await child.aclose()
        await children.end()
        while open_descriptors() - before:  # the event loop closes it in one of its next turns
            await anyio.lowlevel.checkpoint()


async def _read_to_end(stream: anyio.abc.ByteReceiveStream) -> None:
    assert b"".join([chunk async for chunk in stream]) == b""


@needs_proc
@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
async def test_the_end_of_all_children_is_the_end_of_their_groups(trap: str) -> None:
    children = DirectChildren()
    with anyio.fail_after(60):
        child = await children.start(shell(f"{trap} sleep 1000 & echo $!; wait; sleep 1000"))
        left = int(await child.stdout.receive())
        children.hasten(0.1, 0.1)
        assert await child.wait() == -(signal.SIGKILL if trap else signal.SIGTERM)
        await children.end()
        await child.aclose()
        await until_gone(left)
    assert not is_running(child.pid)


async def test_children_start_without_a_guardian_where_python_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with anyio.fail_after(60):
        child = await children._Children().start(shell("echo well"))
        assert await child.stdout.receive() == b"well\n"
        assert await child.wait() == 0
        await child.aclose()


def test_the_limits_of_a_windows_job_have_the_size_that_windows_expects() -> None:
    assert struct.calcsize(systems._LIMITS_FORM) == (144 if struct.calcsize("P") == 8 else 112)
