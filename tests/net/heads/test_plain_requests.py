"""Connections that wait for the next request: which are used again, which are closed, and how many there are."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
import anyio.lowlevel
import pytest

from utcp_bridge.errors import ReplyTooLarge
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.heads import idle_times
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Server:
    """Sends `pieces` after each request, and lets connections open. It counts those that came and those that are."""

    url: str = ""
    pieces: tuple[bytes, ...] = (REPLY,)
    connections: int = 0
    open_connections: int = 0


@asynccontextmanager
async def keeping_server():
    state = Server()

    async def serve(reader, writer):
        state.connections += 1
        state.open_connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                for piece in state.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await anyio.lowlevel.checkpoint()
        state.open_connections -= 1
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        state.url = "http://{}:{}".format(*running.sockets[0].getsockname())
        yield state


@pytest.fixture
async def server():
    async with keeping_server() as running:
        yield running


def pool_for(**options):
    return HttpPool(Guard(), **options)


def session_of(pool, server, name="raw"):
    return pool.session(Source(name, exempt=frozenset({server.url.removeprefix("http://")})))


async def ask(session, server, number=1):
    """Send requests at once, and return how many replies were right."""
    right = []

    async def one():
        reply = await session.request(RequestParts("GET", f"{server.url}/x"))
        right.append(reply.body == b"{}")

    async with anyio.create_task_group() as group:
        for _ in range(number):
            group.start_soon(one)
    return sum(right)


async def test_a_connection_is_used_again_for_known_replies_and_for_others(server):
    pool = pool_for()
    session = session_of(pool, server)
    for pieces in ((REPLY,), (REPLY,), (REPLY[:30], REPLY[30:]), (REPLY,)):
        server.pieces = pieces
        assert await ask(session, server) == 1
    assert server.connections == 1
    await pool.aclose()


def sized(body):
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_a_known_reply_of_any_size_is_read_once(server):
    pool = pool_for()
    session, parts = session_of(pool, server), RequestParts("GET", f"{server.url}/x")
    for body in (b"{}", b"[1]", b"[" + b"1," * 30_000 + b"1]", b"{}"):
        server.pieces = (sized(body),)
        for _ in range(2):
            assert (await session.request(parts)).body == body
            async with session.stream(parts) as stream:
                assert b"".join([piece async for piece in stream]) == body
    with pytest.raises(ReplyTooLarge):
        await session.request(parts, max_bytes=1)
    await pool.aclose()


async def test_few_connections_are_enough_for_many_requests(server):
    pool = pool_for(connections=1)
    session = session_of(pool, server)
    assert await ask(session, server, 8) == 8
    assert server.connections == 1
    await pool.aclose()


async def test_connections_that_wait_leave_room_for_another_origin(server):
    pool = pool_for(connections=2)
    async with keeping_server() as other:
        exempt = frozenset(one.url.removeprefix("http://") for one in (server, other))
        session = pool.session(Source("raw", exempt=exempt))
        for one in (server, other, server, other):
            assert await ask(session, one, 4) == 4
        await pool.aclose()


async def test_connections_that_wait_are_closed_after_a_while(server, monkeypatch):
    monkeypatch.setattr(idle_times, "IDLE_SECONDS", 0.01)
    pool = pool_for()
    session = session_of(pool, server)
    await ask(session, server, 4)
    with anyio.fail_after(60):
        while server.open_connections:  # noqa: ASYNC110 - the server's side of the closing
            await anyio.sleep(0.01)
    assert await ask(session, server) == 1
    await pool.aclose()


async def test_a_closed_pool_leaves_no_connection_open(server):
    pool = pool_for()
    await ask(session_of(pool, server), server, 4)
    await pool.aclose()
    with anyio.fail_after(60):
        while server.open_connections:  # noqa: ASYNC110 - the server's side of the closing
            await anyio.sleep(0.01)
