"""Lines are read as they are, however they come, and one that is too long is left out alone."""

import asyncio
import os
import sys
from io import FileIO

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.server.wire import lines
from utcp_bridge.server.wire.lines import LongLineError

MOST, EXCERPT, CHUNK = 12, 4, 8


async def read(pieces, *, takes=False):
    """Return the lines that are read, each as soon as it can be, and the excerpt of one that is too long.

    With `takes`, some are taken as they arrive.
    """
    reader = lines.LineReader()
    found = []

    def take(line):
        """Take each second line or so, as a front that serves some of them."""
        is_taken = takes and len(line) % 2 == 0
        if is_taken:
            found.append(line)
        return is_taken

    async def collect():
        while True:
            try:
                line = await (reader.next_untaken(take) if takes else reader.next_line())
            except LongLineError as error:
                found.append(("too long", error.excerpt))
                continue
            if not line:
                return
            found.append(line)

    task = asyncio.ensure_future(collect())
    for piece in pieces:
        for begin in range(0, len(piece), CHUNK):
            reader.data_received(piece[begin : begin + CHUNK])
        for _ in range(3):
            await asyncio.sleep(0)
    reader.eof_received()
    await task
    return found


def expected(data):
    found = data.split(b"\n")
    whole = [line + b"\n" for line in found[:-1]] + ([found[-1]] if found[-1] else [])
    return [
        ("too long", line.rstrip(b"\n")[:EXCERPT] + line.rstrip(b"\n")[-EXCERPT:])
        if len(line.rstrip(b"\n")) > MOST
        else line
        for line in whole
    ]


@settings(max_examples=400, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"{}", b" ", b"0123456789", b"\xff"]), max_size=20).map(
        b"".join
    ),
    places=st.lists(st.integers(0, 200), max_size=8),
    takes=st.booleans(),
)
def test_lines_do_not_depend_on_how_their_bytes_come_and_who_takes_them(data, places, takes):
    ends = sorted({place % (len(data) + 1) for place in places})
    pieces = [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "MAX_LINE_BYTES", MOST)
        patch.setattr(lines, "_EXCERPT", EXCERPT)
        patch.setattr(lines, "_IN_ONE_TURN", 2)
        assert asyncio.run(read(pieces, takes=takes)) == expected(data)


def test_a_read_that_is_cancelled_loses_nothing():
    async def run():
        reader = lines.LineReader()
        reader.data_received(b"first\nsec")
        assert await reader.next_line() == b"first\n"
        for waiting in (reader.next_line(), reader.next_untaken(taken.append)):
            task = asyncio.ensure_future(waiting)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        reader.data_received(b"ond\nthird")
        reader.eof_received()
        return [await reader.next_line() for _ in range(3)]

    taken = []
    assert asyncio.run(run()) == [b"second\n", b"third", b""]
    assert not taken


def test_lines_are_taken_in_the_turn_in_which_they_arrive_and_a_refused_one_ends_that():
    async def run():
        reader, taken = lines.LineReader(), []

        def take(line):
            taken.append(line)
            return line != b"no\n"

        task = asyncio.ensure_future(reader.next_untaken(take))
        await asyncio.sleep(0)
        reader.data_received(b"one\n")
        assert taken == [b"one\n"]
        reader.data_received(b"two\nno\nthree\n")
        reader.data_received(b"four\n")
        assert taken == [b"one\n", b"two\n", b"no\n"]
        return [await task, await reader.next_line(), await reader.next_line()]

    assert asyncio.run(run()) == [b"no\n", b"three\n", b"four\n"]


def test_many_lines_that_are_taken_leave_others_their_turns(monkeypatch):
    monkeypatch.setattr(lines, "_IN_ONE_TURN", 2)

    async def run():
        reader, taken, seen = lines.LineReader(), [], []
        task = asyncio.ensure_future(reader.next_untaken(lambda line: not taken.append(line)))
        await asyncio.sleep(0)
        reader.data_received(b"x\n" * 5)
        while len(taken) < 5:
            seen.append(len(taken))
            await asyncio.sleep(0)
        reader.eof_received()
        assert await task == b""
        return seen

    assert asyncio.run(run()) == [2, 4]


class Source(asyncio.ReadTransport):
    """What is read from, which notes when it has to pause."""

    is_paused = False

    def pause_reading(self):
        self.is_paused = True

    def resume_reading(self):
        self.is_paused = False


def test_nothing_is_read_while_too_much_waits(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 200)

    async def run():
        reader, source = lines.LineReader(), Source()
        reader.connection_made(source)
        states = []
        for _ in range(4):
            reader.data_received(b"1234\n")
            states.append(source.is_paused)
        for _ in range(4):
            await reader.next_line()
            states.append(source.is_paused)
        return states

    assert asyncio.run(run()) == [False, False, True, True, True, False, False, False]


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_each_descriptor_of_a_wire_is_closed_once(use_uvloop, monkeypatch):
    """A number that is closed again may be that of a file which another thread has opened in between."""
    opened, again = [], []

    class Watched(FileIO):
        def __init__(self, descriptor, mode, buffering, closefd):
            assert buffering == 0
            super().__init__(descriptor, mode, closefd)
            opened.append(descriptor)

        def close(self):
            if not self.closed and self.closefd and not is_open(self.fileno()):
                again.append(self.fileno())
            super().close()

    async def use(reading, writing):
        async with lines.open_input(reading) as reader, lines.open_output(writing) as send_line:
            await send_line(b"{}\n")
            assert await reader.next_line() == b"{}\n"

    monkeypatch.setattr(lines.os, "fdopen", Watched)
    ends = os.pipe()
    anyio.run(use, *ends, backend_options={"use_uvloop": use_uvloop})
    assert [len(opened), again, [*filter(is_open, opened)]] == [2, [], []]
    for end in ends:
        os.close(end)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes the size of a pipe")
@pytest.mark.parametrize("use_uvloop", [False, True])
def test_results_of_some_size_do_not_wait_for_one_another(use_uvloop):
    """A host that has several calls in flight reads one result after the other."""
    line = b"x" * 49_999 + b"\n"

    async def use(writing):
        with anyio.fail_after(60):  # a pipe as it is by default holds up the second or third for ever
            async with lines.open_output(writing) as send_line:
                for _ in range(10):
                    await send_line(line)

    reading, writing = os.pipe()
    anyio.run(use, writing, backend_options={"use_uvloop": use_uvloop})
    os.close(writing)
    with os.fdopen(reading, "rb") as whole:
        assert whole.read() == 10 * line


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
