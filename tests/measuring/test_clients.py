"""The clients of the benchmark count right replies only, each once, however they are cut."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress

import pytest
from benchmarks.harness.clients import Burst, HttpLane, run_burst
from benchmarks.harness.messages import Address, Load

pytestmark = pytest.mark.anyio
LOAD = Load("2026-07-28", "find", {"q": "tea"}, b"pong")
IDENT = re.compile(rb'"id":"([^"]+)"')
Answers = Callable[[int, bytes], list[bytes]]
"""What a server sends for a request, by its number and its id, piece by piece."""


def whole(ident: bytes, text: bytes = b"pong") -> bytes:
    body = b'{"id":"%b","result":"%b"}' % (ident, text)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[tuple[Address, list[bytes]]]:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            await answer(reader, writer)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None
            found = IDENT.search(await reader.readexactly(int(length[1])))
            assert found is not None
            seen.append(found[1])
            for piece in answers(len(seen), found[1]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1], "/mcp"), seen
    finally:
        server.close()


async def burst(answers: Answers, calls: int, lanes: int = 1) -> tuple[Burst, list[bytes]]:
    async with serving(answers) as (address, seen):
        opened = [await HttpLane.open(address, LOAD.era) for _ in range(lanes)]
        try:
            return await run_burst(opened, LOAD, 60, calls), seen
        finally:
            for lane in opened:
                lane.close()


@pytest.mark.parametrize("lanes", [1, 3])
async def test_as_many_calls_are_sent_and_counted_as_were_asked_for(lanes: int) -> None:
    done, seen = await burst(lambda _number, ident: [whole(ident)], 10, lanes)
    assert (len(done.latencies), len(seen), len(set(seen))) == (10, 10, 10)


async def test_replies_of_any_size_are_read_however_they_are_cut() -> None:
    def answers(number: int, ident: bytes) -> list[bytes]:
        reply = whole(ident, b"pong" * (1 + number % 3))
        return [reply] if number % 2 else [reply[:number], reply[number:]]

    done, _ = await burst(answers, 60)
    assert len(done.latencies) == 60


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda ident: whole(ident, b"ping"), "unexpected reply"),
        (lambda _ident: whole(b"00000-0000000"), "another request's id"),
    ],
)
async def test_a_wrong_reply_among_right_ones_of_its_size_ends_the_burst(
    wrong: Callable[[bytes], bytes], message: str
) -> None:
    with pytest.raises(RuntimeError, match=message):
        await burst(lambda number, ident: [wrong(ident) if number == 5 else whole(ident)], 10)
