"""What clients of several bridges share through a real Redis: limits, budgets, breakers, and news of manuals."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.support.redis_server import RedisServer, opened_store, redis_server, until
from tests.support.steps import Step, make_tool, run
from tests.upstreams.registry_service import served

from utcp_bridge import UtcpClient
from utcp_bridge.access.budgets import Budgets, CallerBudget, Meter, spending
from utcp_bridge.access.principals import Principal
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.errors import Busy
from utcp_bridge.model import Call, Emit
from utcp_bridge.pipeline.limits import Allowance, Limits
from utcp_bridge.settings import ReplicaSettings
from utcp_bridge.stores.replicas import SharedStore, shared_store

pytestmark = pytest.mark.anyio
REPLICAS = 3
ALICE = Principal("alice", "token")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@asynccontextmanager
async def replicas(redis: RedisServer) -> AsyncGenerator[list[SharedStore]]:
    with anyio.fail_after(60):
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(opened_store(redis)) for _ in range(REPLICAS)]


def limits(store: SharedStore, **numbers: Any) -> Limits:
    allowance = Allowance(**{"concurrency": 100, "queue": 100, **numbers})
    return Limits(lambda _tool: allowance, store.limits)


async def sent(steps: list[Any], each: int) -> Counter[str]:
    """Send calls to every replica at once, and count how they end."""
    outcomes: Counter[str] = Counter()

    async def send(step: Any) -> None:
        try:
            outcomes[await run(step)] += 1
        except Busy:
            outcomes["busy"] += 1

    async with anyio.create_task_group() as group:
        for _ in range(each):
            for step in steps:
                group.start_soon(send, step)
    return outcomes


async def test_the_rate_of_a_manual_is_that_of_all_replicas(redis: RedisServer) -> None:
    async with replicas(redis) as stores:
        steps = [limits(store, rate=20.0)(make_tool(), Step()) for store in stores]
        before = anyio.current_time()
        outcomes = await sent(steps, 30)
        filled = (anyio.current_time() - before) * 20
        assert 20 <= outcomes["done"] <= 20 + filled + 1
        assert outcomes["done"] + outcomes["busy"] == 90


async def test_slots_of_a_manual_are_those_of_all_replicas_if_the_operator_set_them(redis: RedisServer) -> None:
    inside = most = 0

    async def held(_call: Call, _emit: Emit) -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await anyio.lowlevel.checkpoint()
        inside -= 1
        return "done"

    async with replicas(redis) as stores:
        steps = [limits(store, concurrency=2, is_shared=True)(make_tool(), Step(does=held)) for store in stores]
        outcomes = await sent(steps, 8)
        assert outcomes == {"done": 24}
        assert 1 <= most <= 2


async def test_limits_are_those_of_each_replica_while_the_store_is_away(redis: RedisServer) -> None:
    async with replicas(redis) as stores:
        redis.stop()
        steps = [limits(store, rate=0.001)(make_tool(), Step()) for store in stores]
        assert await sent(steps, 3) == {"done": REPLICAS, "busy": 2 * REPLICAS}


def budgets(**budget: Any) -> list[Meter]:
    found = [Budgets([("*", CallerBudget(**budget))]).of(ALICE) for _ in range(REPLICAS)]
    return [one for one in found if one is not None]


async def spend(stores: list[SharedStore], meters: list[Meter], each: int, size: int = 0) -> Counter[str]:
    async def work() -> str:
        await anyio.lowlevel.checkpoint()
        return "done"

    async def step(place: int) -> str:
        return await spending([meters[place]], work, lambda _result: size, stores[place].limits)

    outcomes: Counter[str] = Counter()

    async def send(place: int) -> None:
        try:
            outcomes[await step(place)] += 1
        except Busy as error:
            outcomes[str(error).partition(" has ")[2].partition(" calls")[0] or "rate"] += 1

    async with anyio.create_task_group() as group:
        for _ in range(each):
            for place in range(REPLICAS):
                group.start_soon(send, place)
    return outcomes


async def test_the_budget_of_a_principal_is_that_of_all_replicas(redis: RedisServer) -> None:
    async with replicas(redis) as stores:
        outcomes = await spend(stores, budgets(rate=0.001, burst=30), 25)
        assert outcomes == {"done": 30, "rate": 45}


async def test_a_call_that_another_replica_used_up_is_not_charged_here(redis: RedisServer) -> None:
    async with replicas(redis) as stores:
        meters = budgets(rate=0.001, burst=10, concurrency=5)
        assert (await spend(stores[:1] * REPLICAS, meters[:1] * REPLICAS, 1))["done"] == 3
        await spend(stores, meters, 12)
        redis.stop()
        left = [meter for meter in meters if meter._calls is not None and meter._calls.level >= 1]
        assert left, "a refused call was charged to the replica's own meter"
        assert all(meter.is_idle for meter in meters)


async def test_bytes_count_in_all_replicas(redis: RedisServer) -> None:
    async with replicas(redis) as stores:
        meters = budgets(bytes_per_day=1_000)
        assert await spend(stores[:1] * REPLICAS, meters[:1] * REPLICAS, 1, size=400) == {"done": 3}

        async def is_used_up() -> bool:
            return not (await spend(stores[1:2] * REPLICAS, meters[1:2] * REPLICAS, 1))["done"]

        await until(is_used_up)


class Service:
    """A service with one tool more after each `grow`, or out of order."""

    def __init__(self) -> None:
        self.names, self.reads = ["first"], 0
        self.app = Starlette(routes=[Route("/utcp", self._manual), Route("/call", self._call)])

    async def _manual(self, request: Request) -> JSONResponse:
        self.reads += 1
        template = {"call_template_type": "http", "url": f"{request.base_url}call", "http_method": "GET"}
        tools = [{"name": name, "inputs": {"type": "object"}, "tool_call_template": template} for name in self.names]
        return JSONResponse({"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": tools})

    async def _call(self, _request: Request) -> JSONResponse:
        return JSONResponse("called")


@asynccontextmanager
async def client(redis: RedisServer, url: str) -> AsyncGenerator[UtcpClient]:
    entry = {"name": "m", "call_template_type": "http", "url": f"{url}/utcp", "http_method": "GET"}
    store = shared_store(ReplicaSettings(store=redis.url, store_timeout=5.0))
    assert store is not None
    extensions = Extensions(shared=store)
    async with await UtcpClient.create({"manual_call_templates": [entry]}, extensions=extensions) as opened:
        await store.hears.wait()
        yield opened


async def test_a_change_that_one_bridge_finds_is_read_by_all(redis: RedisServer) -> None:
    service = Service()
    with anyio.fail_after(60):
        async with AsyncExitStack() as stack:
            url = stack.enter_context(served(service.app))
            one, other = [await stack.enter_async_context(client(redis, url)) for _ in range(2)]
            changed = anyio.Event()
            other.on_change(changed.set)
            assert service.reads == 2
            service.names.append("second")
            await one.refresh("m")
            await changed.wait()
            assert [tool.name for tool in other.tools()] == ["first", "second"]


async def test_an_upstream_that_one_bridge_cannot_reach_is_left_alone_by_all(redis: RedisServer) -> None:
    with anyio.fail_after(60):
        async with AsyncExitStack() as stack:
            url = stack.enter_context(served(Service().app))
            one, other = [await stack.enter_async_context(client(redis, url)) for _ in range(2)]
            tool = one.tools()[0]
            key = (tool.manual, one._invoking.peer(tool) or "")
            for _ in range(5):
                one._breakers._failed(key, one._breaker_rule(tool), probe=False)
            await until(lambda: [outage.peer for outage in other.outages()] == [key[1]])
            one._breakers._answered(key)
            await until(lambda: not other.outages())
