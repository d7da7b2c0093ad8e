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

MOST, EXCERPT = 12, 4


async def read(pieces):
    """Return the lines that are read, each as soon as it can be, and the excerpt of one that is too long."""
    reader = asyncio.StreamReader(limit=64)
    found = []
    next_line = lines._LineReader(reader).next_line

    async def collect():
        while True:
            try:
                line = await next_line()
            except LongLineError as error:
                found.append(("too long", error.excerpt))
                continue
            if not line:
                return
            found.append(line)

    task = asyncio.ensure_future(collect())
    for piece in pieces:
        reader.feed_data(piece)
        for _ in range(3):
            await asyncio.sleep(0)
    reader.feed_eof()
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
)
def test_lines_do_not_depend_on_how_their_bytes_come(data, places):
    ends = sorted({place % (len(data) + 1) for place in places})
    pieces = [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "MAX_LINE_BYTES", MOST)
        patch.setattr(lines, "_EXCERPT", EXCERPT)
        patch.setattr(lines, "_CHUNK", 8)
        assert asyncio.run(read(pieces)) == expected(data)


def test_a_read_that_is_cancelled_loses_nothing():
    async def run():
        reader = asyncio.StreamReader()
        next_line = lines._LineReader(reader).next_line
        reader.feed_data(b"first\nsec")
        assert await next_line() == b"first\n"
        waiting = asyncio.ensure_future(next_line())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        reader.feed_data(b"ond\nthird")
        reader.feed_eof()
        return [await next_line() for _ in range(3)]

    assert asyncio.run(run()) == [b"second\n", b"third", b""]


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
        async with lines.open_input(reading) as next_line, lines.open_output(writing) as send_line:
            await send_line(b"{}\n")
            assert await next_line() == b"{}\n"

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
