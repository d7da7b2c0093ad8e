"""The pool over real connections."""

from contextlib import asynccontextmanager

import anyio
import pytest
from tests.upstreams.websocket_service import WebSocketService

from utcp_bridge.model import Source
from utcp_bridge.testing.services import LOOPBACK, open_services
from utcp_bridge.transports.websocket.connection import Connection
from utcp_bridge.transports.websocket.pool import SocketPool

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def pooled():
    async with WebSocketService() as service, open_services() as services:
        session = services.http.session(Source(name="peer", allow_networks=LOOPBACK))

        async def open_one():
            opening = session.websocket(f"{service.ws}/ws")
            return await Connection.open(opening, services.spawn, where="the peer", keys_of=lambda _frame: ())

        pool = SocketPool()
        try:
            with anyio.fail_after(10):
                yield pool, open_one, service
        finally:
            await pool.close()


async def test_a_lease_is_exclusive_and_its_connection_is_used_again() -> None:
    async with pooled() as (pool, open_one, service):
        async with pool.lease(("m", 1), open_one, keep=True) as first:
            async with pool.lease(("m", 1), open_one, keep=True) as second:
                assert first is not second
            async with pool.lease(("m", 2), open_one, keep=True) as other:
                assert other not in {first, second}
        async with pool.lease(("m", 1), open_one, keep=True) as again:
            assert again in {first, second}
        assert service.opened == 3


async def test_few_are_kept_and_none_after_a_failure() -> None:
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


async def test_one_manuals_connections_are_closed_and_no_others() -> None:
    async with pooled() as (pool, open_one, _):
        mine, other = await pool.share(("mine", 1), open_one), await pool.share(("other", 1), open_one)
        async with pool.lease(("mine", 2), open_one, keep=True) as leased:
            pass
        await pool.close("mine")
        assert [mine.closed, leased.closed, other.closed] == [True, True, False]
