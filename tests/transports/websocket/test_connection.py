"""Connections and their pool against a real WebSocket server."""

from contextlib import asynccontextmanager

import anyio
import pytest
from tests.upstreams.websocket_service import WebSocketService

from utcp_bridge.errors import ConnectionLost, Rejected, ReplyTooLarge, Unreachable
from utcp_bridge.model import Source
from utcp_bridge.net.http_options import SocketOptions
from utcp_bridge.testing.services import LOOPBACK, open_services
from utcp_bridge.transports.websocket.connection import Connection, SocketPool

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


async def test_arguments_in_the_url_do_not_keep_connections_without_end() -> None:
    async with WebSocketService() as service, open_services() as services:
        session = services.http.session(Source(name="peer", allow_networks=LOOPBACK))
        pool = SocketPool()

        async def open_one() -> Connection:
            opening = session.websocket(service.ws + "/ws", options=SocketOptions())
            return await Connection.open(opening, services.spawn, where="the peer", keys_of=lambda _frame: ())

        with anyio.fail_after(60):
            shared = [await pool.share(("peer", number), open_one) for number in range(34)]
            assert sum(not connection.closed for connection in shared) == 32
            assert await pool.share(("peer", 33), open_one) is shared[33]
            leased = []
            for number in range(34):
                async with pool.lease(("peer", number), open_one, keep=True) as connection:
                    leased.append(connection)
            assert sum(not connection.closed for connection in leased) == 32
            await pool.close()


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
        with anyio.fail_after(60), pytest.raises(Unreachable, match=r"within 0\.05 seconds"):
            await Connection.open(
                session.websocket(f"{service.ws}/slow"),
                services.spawn,
                where="the peer",
                keys_of=lambda _frame: (),
                seconds=0.05,
            )
        with anyio.fail_after(60):
            await service.slow_gone.wait()


@asynccontextmanager
async def pooled():
    async with WebSocketService() as service, open_services() as services:
        session = services.http.session(Source(name="peer", allow_networks=LOOPBACK))

        async def open_one():
            opening = session.websocket(f"{service.ws}/ws")
            return await Connection.open(opening, services.spawn, where="the peer", keys_of=lambda _frame: ())

        pool = SocketPool()
        try:
            with anyio.fail_after(60):
                yield pool, open_one, service
        finally:
            await pool.close()


async def test_a_lease_is_exclusive_and_its_connection_is_reused() -> None:
    async with pooled() as (pool, open_one, service):
        async with pool.lease(("m", 1), open_one, keep=True) as first:
            async with pool.lease(("m", 1), open_one, keep=True) as second:
                assert first is not second
            async with pool.lease(("m", 2), open_one, keep=True) as other:
                assert other not in {first, second}
        async with pool.lease(("m", 1), open_one, keep=True) as again:
            assert again in {first, second}
        assert service.opened == 3


async def test_at_most_four_connections_are_kept_and_none_after_a_failure() -> None:
    async with pooled() as (pool, open_one, _):
        connections = []
        async with anyio.create_task_group() as group:
            release = anyio.Event()

            async def hold() -> None:
                async with pool.lease(("m", 1), open_one, keep=True) as connection:
                    connections.append(connection)
                    if len(connections) == 6:
                        release.set()
                    await release.wait()

            for _ in range(6):
                group.start_soon(hold)
        assert sum(not connection.closed for connection in connections) == 4
        failed = None
        with pytest.raises(ValueError, match="as planned"):
            async with pool.lease(("n", 1), open_one, keep=True) as failed:
                raise ValueError("as planned")
        assert failed is not None
        assert failed.closed


async def test_callers_share_one_connection_until_it_ends() -> None:
    async with pooled() as (pool, open_one, service):
        found = []

        async def ask() -> None:
            found.append(await pool.share(("m", 1), open_one))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
        assert len(set(map(id, found))) == 1
        await found[0].aclose()
        assert await pool.share(("m", 1), open_one) is not found[0]
        assert service.opened == 2


async def test_close_ends_the_connections_of_one_manual_only() -> None:
    async with pooled() as (pool, open_one, _):
        mine, other = await pool.share(("mine", 1), open_one), await pool.share(("other", 1), open_one)
        async with pool.lease(("mine", 2), open_one, keep=True) as leased:
            pass
        await pool.close("mine")
        assert [mine.closed, leased.closed, other.closed] == [True, True, False]
