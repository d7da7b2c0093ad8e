"""Connections against a real WebSocket server."""

import sys
from contextlib import asynccontextmanager

import anyio
import pytest
from tests.support.loop_clock import time_passes
from tests.upstreams.websocket_service import WebSocketService

from utcp_bridge.errors import ConnectionLost, Rejected, ReplyTooLarge, Unreachable
from utcp_bridge.model import Source
from utcp_bridge.net.http_options import SocketOptions
from utcp_bridge.testing.services import LOOPBACK, open_services
from utcp_bridge.transports.websocket.connection import Connection

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(path="/ws", keys_of=lambda _frame: (), **options):
    async with WebSocketService() as service, open_services() as services:
        session = services.http.session(Source(name="peer", allow_networks=LOOPBACK))
        opening = session.websocket(service.ws + path, options=SocketOptions(**options))
        with anyio.fail_after(60):
            connection = await Connection.open(opening, services.spawn, where="the peer", keys_of=keys_of)
            try:
                yield connection, service
            finally:
                await connection.aclose()


async def test_frames_go_to_the_inbox_of_their_key_in_order() -> None:
    async with opened(keys_of=lambda frame: (frame[0],)) as (connection, _):
        first, second = connection.inbox("a"), connection.inbox("b")
        for text in ("a1", "b1", "a2"):
            await connection.send(text)
        assert [await first.next(5), await first.next(5), await second.next(5)] == ["a1", "a2", "b1"]
        assert connection.busy
        first.close()
        second.close()
        assert not connection.busy
        assert connection.unclaimed == 0


async def test_a_frame_without_an_inbox_is_counted() -> None:
    async with opened(keys_of=lambda frame: (frame,)) as (connection, _):
        inbox = connection.inbox("last")
        for text in ("first", "last"):
            await connection.send(text)
        assert await inbox.next(5) == "last"
        assert connection.unclaimed == 1
        inbox.close()


async def test_a_connection_is_not_read_while_much_is_unread() -> None:
    async with opened(max_message_bytes=4 << 20) as (connection, _):
        inbox = connection.inbox()
        large = "x" * (3 << 20)
        for _ in range(4):
            await connection.send(large)
        assert [len(frame or "") for frame in [await inbox.next(60) for _ in range(4)]] == [len(large)] * 4
        inbox.close()
        assert connection.unclaimed == 0


async def test_frames_that_nobody_read_are_counted_when_their_inbox_closes() -> None:
    async with opened() as (connection, _):
        inbox = connection.inbox()
        await connection.send('{"count": 3}')
        assert await inbox.next(60) == '{"n": 0}'
        while inbox.waiting < 3:  # noqa: ASYNC110 - what was sent must cross the loopback
            await anyio.sleep(0.01)
        inbox.close()
        assert connection.unclaimed == 3


async def test_a_frame_for_a_full_inbox_that_closes_does_not_take_the_next_inbox_with_it() -> None:
    async with opened() as (connection, _):
        full = connection.inbox()
        await connection.send('{"count": 66}')
        while not full._frames.statistics().tasks_waiting_send:  # noqa: ASYNC110 - the reader waits for room
            await anyio.sleep(0.01)
        full.close()
        following = connection.inbox()
        assert [await following.next(60) for _ in range(2)] == ['{"n": 65}', '{"type": "stream_end"}']
        assert connection.unclaimed == 65
        following.close()


async def test_a_close_before_a_reply_is_an_error_with_its_code() -> None:
    async with opened() as (connection, _):
        inbox = connection.inbox()
        await connection.send('{"close": 4321}')
        with pytest.raises(ConnectionLost, match="4321 as asked"):
            await inbox.next(5)
        inbox.close()
        assert connection.closed
        late = connection.inbox()
        with pytest.raises(ConnectionLost, match="4321"):
            await late.next(5)
        late.close()
    async with opened() as (connection, _):
        inbox = connection.inbox()
        await connection.send("hello")
        await connection.send('{"close": 1000}')
        assert [await inbox.next(5), await inbox.next(5)] == ["hello", None]
        inbox.close()
        with pytest.raises(ConnectionLost, match="before the request"):
            await connection.send("more")


async def test_a_broken_connection_is_an_error_even_after_a_reply() -> None:
    async with opened() as (connection, _):
        inbox = connection.inbox()
        await connection.send("hello")
        assert await inbox.next(5) == "hello"
        await connection.send('{"reset": true}')
        with pytest.raises(ConnectionLost):
            await inbox.next(5)
        inbox.close()


async def test_silence_and_too_large_messages_end_the_wait() -> None:
    async with opened(max_message_bytes=100) as (connection, _):
        inbox = connection.inbox()
        with pytest.raises(ConnectionLost, match=r"nothing for 0\.01 seconds"):
            await inbox.next(0.01)
        await connection.send('{"flood": 1000}')
        with pytest.raises(ReplyTooLarge):
            await inbox.next(5)
        inbox.close()


async def test_a_greeting_waits_for_the_first_reader() -> None:
    async with opened("/login") as (connection, _):
        assert await connection.next_frame(60) == "welcome"
        await connection.send('{"token": "t"}')
        assert await connection.next_frame(60) == "ok"


async def test_a_refused_handshake_is_raised_by_open() -> None:
    with pytest.raises(Rejected):
        async with opened("/echo"):
            pass


async def test_a_handshake_that_takes_too_long_is_unreachable() -> None:
    async with WebSocketService() as service, open_services() as services:
        session = services.http.session(Source(name="peer", allow_networks=LOOPBACK))
        async with time_passes(30, after=service.slow_arrived):
            with anyio.fail_after(60), pytest.raises(Unreachable, match="within 30 seconds"):
                await Connection.open(
                    session.websocket(f"{service.ws}/slow"),
                    services.spawn,
                    where="the peer",
                    keys_of=lambda _frame: (),
                    seconds=30,
                )
        with anyio.fail_after(60):
            await service.slow_gone.wait()


LARGE_TEXT = 9_000_000


def received(connection: Connection) -> int:
    """Return how many bytes of the message under way have arrived."""
    sizes = connection._socket._sizes
    return sizes.message - sizes._left


async def test_a_large_message_is_read_when_its_call_is_ready() -> None:
    async with opened(max_message_bytes=1 << 24) as (first, service), open_services() as services:
        session = services.http.session(Source(name="peer", allow_networks=LOOPBACK))
        opening = session.websocket(service.ws + "/ws", options=SocketOptions(max_message_bytes=1 << 24))
        held = await Connection.open(opening, services.spawn, where="the peer", keys_of=lambda _: (), seconds=60)
        announced, ready = anyio.Event(), anyio.Event()
        sizes: list[int] = []

        async def wait(size: int) -> None:
            sizes.append(size)
            announced.set()
            await ready.wait()

        async def later() -> None:
            frames.append(await inbox.next(60, wait))

        frames: list[object] = []
        inbox = held.inbox()
        await held.send(f'{{"flood": {LARGE_TEXT}}}')
        async with anyio.create_task_group() as group:
            group.start_soon(later)
            await announced.wait()
            # Meanwhile as many bytes cross the loopback on another connection.
            at_once = first.inbox()
            await first.send(f'{{"flood": {LARGE_TEXT}}}')
            assert len(await at_once.next(60) or "") == LARGE_TEXT
            at_once.close()
            assert received(held) < LARGE_TEXT / 4
            assert frames == []
            ready.set()
        assert [len(str(frame)) for frame in frames] == [LARGE_TEXT]
        assert sizes == [LARGE_TEXT]
        inbox.close()
        await held.aclose()


async def test_large_messages_in_a_row_are_each_announced() -> None:
    async with opened(max_message_bytes=1 << 24) as (connection, _):
        inbox = connection.inbox()
        sizes: list[int] = []

        async def note(size: int) -> None:
            sizes.append(size)

        for size in (2_000_000, 10, 3_000_000, 3_000_001):
            await connection.send(f'{{"flood": {size}}}')
        assert [len(await inbox.next(60, note) or "") for _ in range(4)] == [2_000_000, 10, 3_000_000, 3_000_001]
        assert sizes == [2_000_000, 3_000_000, 3_000_001]
        inbox.close()
        assert connection.unclaimed == 0


async def test_a_call_that_leaves_before_its_large_message_leaves_a_connection_that_closes() -> None:
    async with opened(max_message_bytes=1 << 24) as (connection, _):
        inbox = connection.inbox()
        announced = anyio.Event()

        async def wait(_size: int) -> None:
            announced.set()
            await anyio.sleep_forever()

        await connection.send(f'{{"flood": {LARGE_TEXT}}}')
        async with anyio.create_task_group() as group:
            group.start_soon(inbox.next, 60, wait)
            await announced.wait()
            group.cancel_scope.cancel()
        inbox.close()
        await connection.aclose()
        assert connection.closed


async def test_an_idle_connection_does_not_keep_its_last_message() -> None:
    async with opened(max_message_bytes=1 << 24) as (connection, _):
        inbox = connection.inbox()
        await connection.send('{"flood": 2000000}')
        frame = await inbox.next(60)
        await anyio.wait_all_tasks_blocked()
        assert sys.getrefcount(frame) == 2  # `frame`, and the argument of this function
        inbox.close()
