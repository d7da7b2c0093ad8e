"""Three bridges behind haproxy and nginx, round robin: every call passes, whatever is lost meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.replicas import announced, calls, rate
from tests.support.balanced import BALANCERS, NEEDED, balanced

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


async def test_all_bridges_announce_a_change_that_one_of_them_found(tmp_path: Path) -> None:
    with balanced("haproxy", tmp_path) as world:
        await announced(world, world.urls)


async def test_a_rate_is_that_of_all_bridges(tmp_path: Path) -> None:
    with balanced("nginx", tmp_path, store_timeout=5.0) as world:
        assert 0 < await rate(world, 2.0) <= 1.05
