"""Three bridges behind haproxy and nginx, round robin: every call passes, whatever is lost meanwhile."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from benchmarks.harness.messages import message
from benchmarks.replicas import McpClient, announced, calls, rate
from tests.support.balanced import BALANCERS, NEEDED, Balanced, balanced

pytestmark = [pytest.mark.anyio, pytest.mark.needs(*NEEDED)]
CALLS = 200


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_no_call_fails_while_a_bridge_is_killed_and_the_store_is_restarted(balancer: str, tmp_path: Path) -> None:
    with balanced(balancer, tmp_path) as world:

        def restart() -> None:
            world.redis.stop()
            world.redis.start()

        for era, dead in (("2026-07-28", 2), ("2025-11-25", 1)):
            events = {CALLS // 2: lambda dead=dead: world.kill(dead), CALLS * 3 // 4: restart}
            counts = await calls(world, era, CALLS, events)
            assert (counts["done"], counts["failed"]) == (CALLS, 0)


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_a_bridge_that_ends_loses_no_call_and_clients_repeat_none(balancer: str, tmp_path: Path) -> None:
    with balanced(balancer, tmp_path, settings={"drain_seconds": 6}) as world:
        statuses: Counter[int] = Counter()
        first = asyncio.Event()

        async def lane(http: aiohttp.ClientSession) -> None:
            while world.bridges[0].poll() is None:
                statuses[await once(http, world, "m_slow", "t")] += 1
                first.set()

        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
            for _ in range(9):
                group.create_task(lane(http))
            await first.wait()
            world.bridges[0].terminate()
        assert set(statuses) == {200}
        assert world.bridges[0].returncode == 0


async def once(http: aiohttp.ClientSession, world: Balanced, tool: str, token: str) -> int:
    """Send a call one time, and return the status of its reply."""
    client = McpClient(world.url, "2026-07-28", http)
    body = message(client.era, "1", "tools/call", {"name": tool, "arguments": {"token": token}})
    async with http.post(client.url, data=io.BytesIO(body), headers=client.headers("tools/call", tool)) as reply:
        await reply.read()
        return reply.status


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_all_bridges_announce_a_change_that_one_of_them_found(balancer: str, tmp_path: Path) -> None:
    with balanced(balancer, tmp_path) as world:
        await announced(world, world.urls)
        await announced(world, [world.url] * 6)  # the balancer passes events on at once


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_a_balancer_passes_bodies_up_to_the_limit_and_no_visitors_of_the_console(
    balancer: str, tmp_path: Path
) -> None:
    with balanced(balancer, tmp_path) as world:
        page, behind = (url.removesuffix("mcp") for url in (world.url, world.urls[0]))
        async with aiohttp.ClientSession() as http:
            assert await once(http, world, "m_echo", "x" * 4_000_000) == 200
            assert await once(http, world, "m_echo", "x" * 5_000_000) == 413
            for url, status in ((behind, 200), (page, 403), (f"{page}admin/api/manuals", 403)):
                async with http.get(url, headers={"Accept": "text/html"}) as reply:
                    assert reply.status == status, url


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_who_signs_in_at_one_bridge_is_known_to_all(balancer: str, tmp_path: Path) -> None:
    token = "token-of-the-test-0123456789"
    with balanced(balancer, tmp_path, settings={"console": "on", "bearer_token": token}) as world:
        page = world.url.removesuffix("mcp")
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, headers={"x-utcp-console": "1"}) as http:
            async with http.get(f"{page}admin/api/manuals") as reply:
                assert reply.status == 401
            async with http.post(f"{page}console/session", json={"secret": token}) as reply:
                assert reply.status == 204
            for _ in range(6):
                async with http.get(f"{page}admin/api/manuals") as reply:
                    assert reply.status == 200


async def test_a_rate_is_that_of_all_bridges(tmp_path: Path) -> None:
    with balanced("nginx", tmp_path, store_timeout=5.0) as world:
        assert 0 < await rate(world, 2.0) <= 1.05
