"""The pool of connections against a real WebSocket server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from tests.upstreams.websocket_service import WebSocketService

from utcp_bridge.model import Source, discard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transports.http import HttpTransport
from utcp_bridge.transports.websocket import pool as pools
from utcp_bridge.transports.websocket.connection import Connection
from utcp_bridge.transports.websocket.pool import Key, SocketPool
from utcp_bridge.transports.websocket.transport import WebSocketTransport

pytestmark = pytest.mark.anyio


class Opened:
    """A pool, and every connection that was opened for it."""

    def __init__(self, pool: SocketPool, open_one: Any, service: WebSocketService) -> None:
        self.pool = pool
        self.service = service
        self.connections: list[Connection] = []
        self._open = open_one

    async def open_one(self) -> Connection:
        self.connections.append(await self._open())
        return self.connections[-1]

    @property
    def alive(self) -> list[int]:
        return [number for number, one in enumerate(self.connections) if not one.closed]

    def lease(self, key: Key, *, keep: bool = True) -> Any:
        return self.pool.lease(key, self.open_one, keep=keep)

    async def share(self, key: Key) -> Connection:
        return await self.pool.share(key, self.open_one)


def key(number: int, manual: str = "m", origin: str = "ws://a.example") -> Key:
    return Key(manual, origin, number)


@asynccontextmanager
async def pooled(**options: Any) -> AsyncGenerator[Opened]:
    async with WebSocketService() as service, open_services() as services:
        session = services.http.session(Source(name="peer", allow_networks=LOOPBACK))

        async def open_one() -> Connection:
            opening = session.websocket(f"{service.ws}/ws")
            return await Connection.open(opening, services.spawn, where="the peer", keys_of=lambda _frame: ())

        pool = SocketPool(services.spawn, **options)
        try:
            with anyio.fail_after(60):
                yield Opened(pool, open_one, service)
        finally:
            await pool.close()


async def test_a_lease_is_exclusive_and_its_connection_is_reused() -> None:
    async with pooled() as one:
        async with one.lease(key(1)) as first:
            async with one.lease(key(1)) as second:
                assert first is not second
            async with one.lease(key(2)) as other:
                assert other not in {first, second}
        async with one.lease(key(1)) as again:
            assert again in {first, second}
        assert one.service.opened == 3


async def test_at_most_four_connections_of_a_key_are_kept_and_none_after_a_failure() -> None:
    async with pooled() as one:
        async with anyio.create_task_group() as group:
            release = anyio.Event()

            async def hold() -> None:
                async with one.lease(key(1)):
                    if len(one.connections) == 6:
                        release.set()
                    await release.wait()

            for _ in range(6):
                group.start_soon(hold)
        assert len(one.alive) == 4
        failed = None
        with pytest.raises(ValueError, match="as planned"):
            async with one.lease(key(1, "n")) as failed:
                raise ValueError("as planned")
        assert failed is not None
        assert failed.closed


@pytest.mark.parametrize("form", ["leased", "shared"])
async def test_of_many_urls_those_used_last_are_kept(form: str) -> None:
    async with pooled() as one:
        for number in range(40):
            if form == "shared":
                await one.share(key(number))
                await one.share(key(0))  # in use again and again, so it stays
            else:
                async with one.lease(key(number)):
                    pass
        if form == "shared":
            assert one.alive == [0, *range(25, 40)]
        else:
            assert one.alive == list(range(24, 40))
            async with one.lease(key(39)):
                assert len(one.connections) == 40


async def test_origins_have_places_of_their_own_and_all_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_MAX_OF_ORIGIN", 4)
    monkeypatch.setattr(pools, "_MAX_OF_ALL", 6)
    async with pooled() as one:
        async with one.lease(key(0, "quiet")):
            pass
        for number in range(10):
            async with one.lease(key(number, "busy")):
                pass
        assert one.alive == [0, 7, 8, 9, 10]
        for number in range(10):
            async with one.lease(key(number, f"m{number}")):
                pass
        assert one.alive == list(range(15, 21))


async def test_a_shared_connection_in_use_is_not_closed_for_others() -> None:
    async with pooled() as one:
        busy = await one.share(key(0))
        inbox = busy.inbox("call")
        for number in range(1, 40):
            await one.share(key(number))
        assert not busy.closed
        assert len(one.alive) == 16
        inbox.close()


async def test_idle_connections_are_closed_and_nothing_is_left() -> None:
    async with pooled(idle_seconds=0.01) as one:
        async with one.lease(key(1)):
            pass
        await one.share(key(2))
        for connection in one.connections:
            await connection._task._ended.wait()
        await anyio.wait_all_tasks_blocked()
        assert not one.pool._idle
        assert not one.pool._shared
        async with one.lease(key(1)):  # and again
            assert len(one.connections) == 3
        await one.connections[2]._task._ended.wait()


async def test_a_shared_connection_that_a_call_uses_is_not_idle() -> None:
    async with pooled(idle_seconds=0.01) as one:
        shared = await one.share(key(1))
        inbox = shared.inbox("call")
        async with one.lease(key(2)):
            pass
        await one.connections[1]._task._ended.wait()  # the sweep has come by
        assert not shared.closed
        inbox.close()
        await shared._task._ended.wait()


async def test_callers_share_one_connection_until_it_ends() -> None:
    async with pooled() as one:
        found = []

        async def ask() -> None:
            found.append(await one.share(key(1)))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
        assert len(set(map(id, found))) == 1
        await found[0].aclose()
        assert await one.share(key(1)) is not found[0]
        assert one.service.opened == 2


async def test_close_ends_the_connections_of_one_manual_only() -> None:
    async with pooled() as one:
        mine, other = await one.share(key(1, "mine")), await one.share(key(1, "other"))
        async with one.lease(key(2, "mine")) as leased:
            pass
        await one.pool.close("mine")
        assert [mine.closed, leased.closed, other.closed] == [True, True, False]


@pytest.mark.parametrize("place", ["url", "header"])
@pytest.mark.parametrize("wire", ["raw", "envelope"])
async def test_two_hundred_values_of_an_argument_work_and_leave_few_connections(place: str, wire: str) -> None:
    async with WebSocketService() as service, open_services() as services:
        path = "envelope" if wire == "envelope" else "ws"
        fields = {"url": f"{service.ws}/{path}?id={{id}}"} if place == "url" else {"url": f"{service.ws}/{path}"}
        transport = WebSocketTransport(services)
        target = make_target(transport, {**fields, "wire": wire, "header_fields": ["id"] if place == "header" else []})
        with anyio.fail_after(60):
            for number in range(200):
                await transport.call(target, make_call({"id": f"v{number}", "n": 1}), discard)
            assert service.opened == 200
            assert len(transport._pool._idle) + len(transport._pool._shared) == 16
            http = HttpTransport(services)
            page = make_target(http, {"url": f"{service.base}/echo", "http_method": "GET"})
            await http.call(page, make_call({}), discard)
        await transport.aclose()


async def test_open_sockets_take_no_place_from_requests() -> None:
    async with WebSocketService() as service, open_services() as services:
        pool = HttpPool(services.guard, connections=2)
        session = pool.session(Source(name="peer", allow_networks=LOOPBACK))
        with anyio.fail_after(60):
            async with session.websocket(f"{service.ws}/ws"), session.websocket(f"{service.ws}/ws"):
                reply = await session.request(RequestParts("GET", f"{service.base}/echo"))
                assert reply.status == 200
        await pool.aclose()
