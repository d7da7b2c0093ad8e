"""Children start, end and disappear with their owner, on both event loops and at every point of their life."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.descendants import descendants, is_running, needs_proc, open_descriptors, until_gone

from utcp_bridge.processes import children
from utcp_bridge.processes.child import Child, Launch
from utcp_bridge.processes.children import ChildrenHold, hasten_children, start_child

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="a guardian needs POSIX")]
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
STUBBORN = "trap '' TERM; "


@pytest.fixture(autouse=True)
async def hold() -> AsyncIterator[ChildrenHold]:
    """A guardian of its own for each test, which must not leave a child to it."""
    token = children._of_this_loop.set(children._Children())
    hold = ChildrenHold()
    yield hold
    await hold.release()
    children._of_this_loop.reset(token)


def shell(script: str, *, stdin: bool = False, **environment: str) -> Launch:
    return Launch(["sh", "-c", script], {**ENVIRONMENT, **environment}, Path("/"), stdin)


async def read(stream: anyio.abc.ByteReceiveStream | None) -> bytes:
    assert stream is not None
    return b"".join([chunk async for chunk in stream])


async def first_line(child: Child) -> int:
    """Return the number that a child has printed."""
    return int(await child.stdout.receive())


async def finished(child: Child) -> tuple[int, bytes]:
    output = await read(child.stdout)
    code = await child.wait()
    assert await child.gone(60)
    await child.aclose()
    return code, output


async def test_a_child_has_the_pipes_the_folder_and_the_environment_of_its_launch() -> None:
    with anyio.fail_after(60):
        child = await start_child(shell('cat; pwd; echo "$A"; echo e >&2; exit 7', stdin=True, A="\udcff"))
        assert child.stdin is not None
        await child.stdin.send(b"in" * 20_000)
        await child.stdin.aclose()
        output, errors = await read(child.stdout), await read(child.stderr)
        assert await child.wait() == 7
        await child.aclose()
    assert output == b"in" * 20_000 + b"/\n\xff\n"
    assert errors == b"e\n"


async def test_the_signals_of_a_child_have_their_defaults() -> None:
    with anyio.fail_after(60):
        for name in ("INT", "TERM", "HUP", "PIPE", "CHLD"):
            child = await start_child(shell(f"kill -{name} $$; echo alive"))
            code, output = await finished(child)
            assert (code, output) == ((0, b"alive\n") if name == "CHLD" else (-getattr(signal, f"SIG{name}"), b""))


@pytest.mark.parametrize(
    ("launch", "error"),
    [
        (Launch(["no-such-program"], ENVIRONMENT, Path("/"), False), FileNotFoundError),
        (Launch(["true"], ENVIRONMENT, Path("/no/folder"), False), FileNotFoundError),
        (Launch(["/etc/passwd"], ENVIRONMENT, Path("/"), False), PermissionError),
        (Launch(["true", "a\0b"], ENVIRONMENT, Path("/"), False), ValueError),
        (Launch(["true"], {"A=B": "1"}, Path("/"), False), OSError),
        (Launch(["true", "\ud800"], ENVIRONMENT, Path("/"), False), UnicodeEncodeError),
        (Launch(["true", "x" * 10**6], ENVIRONMENT, Path("/"), False), OSError),
    ],
)
@needs_proc
async def test_a_child_that_cannot_start_is_an_error_and_leaves_nothing(launch: Launch, error: type[Exception]) -> None:
    await finished(await start_child(shell("true")))
    before = len(open_descriptors())
    with anyio.fail_after(60), pytest.raises(error):
        await start_child(launch)
    assert len(open_descriptors()) == before
    assert (await finished(await start_child(shell("echo well"))))[1] == b"well\n"


async def test_a_large_launch_and_many_at_once_arrive_whole() -> None:
    value = "x" * 100_000
    environment = {f"A{number}": value for number in range(10)}

    async def one() -> None:
        assert (await finished(await start_child(shell('printf "%s" "$A9"', **environment))))[1] == value.encode()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(one)


@needs_proc
async def test_what_a_child_leaves_in_its_group_ends_with_it() -> None:
    with anyio.fail_after(60):
        child = await start_child(shell(f"({STUBBORN} exec sleep 1000) & echo $!"))
        left = await first_line(child)
        assert await child.wait() == 0
        assert await child.gone(60)
        await child.aclose()
    assert not is_running(left)


async def test_outputs_end_when_they_are_complete_although_a_process_outside_the_group_holds_them() -> None:
    with anyio.fail_after(60):
        child = await start_child(shell("setsid sleep 1000 & printf done"))
        async with anyio.create_task_group() as group:
            group.start_soon(read, child.stderr)
            assert await child.stdout.receive() == b"done"
            await child.wait()
            child.complete()
            assert await read(child.stdout) == b""
        await child.aclose()


@needs_proc
async def test_the_last_hold_ends_every_child_and_the_guardian(hold: ChildrenHold) -> None:
    first = ChildrenHold()
    with anyio.fail_after(60):
        child = await start_child(shell(f"{STUBBORN} setsid sleep 1000 & echo $!; while :; do sleep 1; done"))
        outside = await first_line(child)
        await first.release()
        await first.release()
        assert is_running(child.pid)
        hold.hasten()
        await hold.release()
        await child.wait()
        await child.aclose()
    assert not is_running(child.pid)
    assert not is_running(outside)
    assert not descendants(os.getpid()) & {child.pid, outside}
    more = ChildrenHold()
    with anyio.fail_after(60):
        assert (await finished(await start_child(shell("echo again"))))[1] == b"again\n"
        await more.release()


def plain(script: str) -> Launch:
    """A child that leaves nothing, as workers do."""
    return replace(shell(script), leaves_nothing=True)


@needs_proc
async def test_a_guardian_of_workers_alone_ends_with_the_last_and_the_next_child_has_another() -> None:
    with anyio.fail_after(60):
        waiting = await start_child(plain("echo $PPID; sleep 1000"))
        guardian = await first_line(waiting)
        assert (await finished(await start_child(plain("echo $PPID"))))[1] == b"%d\n" % guardian
        assert is_running(guardian)
        waiting.end()
        await waiting.gone(60)
        await waiting.aclose()
        await until_gone(guardian)
        for script in (plain("echo $PPID"), shell("echo $PPID")):
            code, output = await finished(await start_child(script))
            assert code == 0
            assert int(output) != guardian
        while descendants(os.getpid()) & {guardian}:  # noqa: ASYNC110 - the loop reaps it
            await anyio.sleep(0.01)


@needs_proc
async def test_a_guardian_stays_if_a_child_may_have_left_a_process() -> None:
    with anyio.fail_after(60):
        guardian = int((await finished(await start_child(shell("echo $PPID"))))[1])
        assert int((await finished(await start_child(plain("echo $PPID"))))[1]) == guardian
        assert int((await finished(await start_child(plain("echo $PPID"))))[1]) == guardian


@needs_proc
async def test_the_last_hold_waits_for_a_guardian_that_ends(hold: ChildrenHold) -> None:
    with anyio.fail_after(60):
        guardian = int((await finished(await start_child(plain("echo $PPID"))))[1])
        await hold.release()
    assert guardian not in descendants(os.getpid())


async def test_a_hurried_child_gets_no_grace() -> None:
    with anyio.fail_after(60):
        child = await start_child(shell(f"{STUBBORN} echo 1; while :; do sleep 1; done"))
        await first_line(child)
        hasten_children(0, 0)
        assert await child.wait() == -signal.SIGKILL
        await child.aclose()


@needs_proc
async def test_children_end_with_a_guardian_that_was_killed_and_the_next_one_starts_more() -> None:
    with anyio.fail_after(60):
        child = await start_child(shell("echo $PPID; sleep 1000"))
        os.kill(await first_line(child), signal.SIGKILL)
        assert await child.wait() == -signal.SIGKILL
        await child.aclose()
        await until_gone(child.pid)
        assert (await finished(await start_child(shell("echo again"))))[1] == b"again\n"


@needs_proc
@given(steps=st.integers(0, 40), script=st.sampled_from(["true", "cat", "yes", f"{STUBBORN} sleep 1000", "no-such"]))
@settings(max_examples=40)
async def test_nothing_is_left_of_a_child_whose_owner_is_cancelled_at_any_step(steps: int, script: str) -> None:
    async def own() -> None:
        child = await start_child(shell(script, stdin=True))
        try:
            await child.stdout.receive()
            await child.wait()
        except anyio.EndOfStream:
            pass
        finally:
            child.end(grace=0)
            with anyio.CancelScope(shield=True):
                await child.gone(60)
                await child.aclose()

    await finished(await start_child(shell("true")))
    before, tasks = len(open_descriptors()), len(asyncio.all_tasks())
    running = descendants(os.getpid())
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(own)
            for _ in range(steps):
                await asyncio.sleep(0)
            group.cancel_scope.cancel()
        while descendants(os.getpid()) - running:  # noqa: ASYNC110 - one cancelled before it started ends unobserved
            await anyio.sleep(0.01)
    assert len(open_descriptors()) == before
    assert len(asyncio.all_tasks()) == tasks
