import asyncio
import os
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteReceiveStream
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.descendants import descendants, needs_proc, open_descriptors

from utcp_bridge.errors import InvalidArguments, ReplyTooLarge, Unreachable
from utcp_bridge.transports.cli.process import Command, Excerpt, Finished, _Outputs, run_command

pytestmark = pytest.mark.anyio
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def shell(script: str, *, limit: int = 10_000, stdin: bytes | None = None) -> Command:
    return Command(["sh", "-c", script], ENVIRONMENT, Path("/"), limit, stdin)


async def test_both_outputs_and_the_exit_code_are_returned() -> None:
    with anyio.fail_after(60):
        assert await run_command(shell("echo out; echo err >&2; exit 7")) == Finished(7, b"out\n", b"err\n")
        assert (await run_command(shell("kill -15 $$"))).code == -15
        assert (await run_command(shell("cat", stdin=b"in"))).stdout == b"in"


async def test_lines_are_reported_as_they_arrive_also_an_unfinished_last_one() -> None:
    lines: list[bytes] = []

    async def on_line(line: bytes) -> None:
        lines.append(line)

    with anyio.fail_after(60):
        await run_command(shell("printf 'one\\ntwo\\n\\nthree'"), on_line)
    assert lines == [b"one", b"two", b"", b"three"]


async def test_a_line_that_arrives_in_pieces_is_searched_once() -> None:
    class Pieces(ByteReceiveStream):
        left = 200

        async def receive(self, max_bytes: int = 65_536) -> bytes:
            del max_bytes
            self.left -= 1
            if self.left < 0:
                raise anyio.EndOfStream
            return b"x\n" if self.left == 0 else b"x"

        async def aclose(self) -> None:
            pass

    class Searched(bytearray):
        looked_at = 0

        def find(self, sub, start=0, end=None):  # type: ignore[no-untyped-def, override]
            Searched.looked_at += len(self) - start
            return super().find(sub, start)

    lines: list[bytes] = []

    async def on_line(line: bytes) -> None:
        lines.append(line)

    outputs = _Outputs(10_000)
    outputs.stdout = Searched()
    await outputs.read_stdout(Pieces(), on_line)
    assert lines == [b"x" * 200]
    assert Searched.looked_at < 500


async def test_a_child_that_does_not_read_its_input_is_not_an_error() -> None:
    with anyio.fail_after(60):
        assert (await run_command(shell("exit 0", stdin=b"x" * 10**6))).code == 0


@pytest.mark.parametrize("redirect", ["", ">&2"])
async def test_endless_output_ends_at_the_limit(redirect: str) -> None:
    with anyio.fail_after(60), pytest.raises(ReplyTooLarge, match="1000 bytes"):
        await run_command(shell(f"yes {redirect}", limit=1000))


async def test_a_command_that_cannot_be_started_is_reported() -> None:
    with anyio.fail_after(60):
        with pytest.raises(Unreachable, match="no-such-program"):
            await run_command(Command(["no-such-program"], ENVIRONMENT, Path("/"), 10))
        with pytest.raises(InvalidArguments, match="too long"):
            await run_command(Command(["true", "x" * 10**6], ENVIRONMENT, Path("/"), 10))
        with pytest.raises(InvalidArguments, match="NUL"):
            await run_command(Command(["true", "a\0b"], ENVIRONMENT, Path("/"), 10))


@pytest.mark.parametrize(
    "left",
    [
        "sleep 1000 &",
        "setsid sleep 1000 &",
        "setsid sleep 1000 >/dev/null &",
        "setsid sleep 1000 >/dev/null 2>&1 </dev/null &",
        "trap '' TERM; (trap '' TERM; exec sleep 1000) &",
    ],
)
async def test_what_a_command_leaves_behind_does_not_hold_its_output(left: str) -> None:
    with anyio.fail_after(60):
        finished = await run_command(shell(f"{left} seq 20000", limit=200_000))
    assert finished.stdout.endswith(b"\n20000\n")
    assert len(finished.stdout) == 108_894


async def test_lines_that_are_taken_slowly_arrive_whole_although_the_command_has_ended() -> None:
    lines: list[bytes] = []

    async def on_line(line: bytes) -> None:
        await anyio.sleep(0.002)
        lines.append(line)

    with anyio.fail_after(60):
        await run_command(shell("setsid sleep 1000 & seq 300"), on_line)
    assert lines == [b"%d" % number for number in range(1, 301)]


@needs_proc
@given(steps=st.integers(0, 60), script=st.sampled_from(["cat", "yes", "trap '' TERM; sleep 1000 & wait", "no-such"]))
@settings(max_examples=40)
async def test_nothing_is_left_of_a_command_that_is_cancelled_at_any_step(steps: int, script: str) -> None:
    await run_command(shell("true"))
    descriptors, tasks, running = len(open_descriptors()), len(asyncio.all_tasks()), descendants(os.getpid())
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(_run_and_ignore, shell(script, stdin=b"x" * 100_000))
            for _ in range(steps):
                await asyncio.sleep(0)
            group.cancel_scope.cancel()
        assert (len(open_descriptors()), len(asyncio.all_tasks())) == (descriptors, tasks)
        while descendants(os.getpid()) - running:  # noqa: ASYNC110 - the guardian ends what ignores SIGTERM
            await anyio.sleep(0.01)


async def _run_and_ignore(command: Command) -> None:
    with suppress(ReplyTooLarge):
        await run_command(command)


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_an_excerpt_keeps_both_ends(chunks: list[bytes]) -> None:
    excerpt, whole = Excerpt(20), b"".join(chunks)
    for chunk in chunks:
        excerpt.add(chunk)
    assert excerpt.size == len(whole)
    assert excerpt.data().startswith(whole[:10])
    assert excerpt.data().endswith(whole[-10:])
    assert (excerpt.data() == whole) is (len(whole) <= 20)
