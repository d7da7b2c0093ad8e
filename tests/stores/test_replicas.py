"""What bridges share in a real Redis, also while it is away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.loop_clock import later
from tests.support.redis_server import BOTH, RedisServer, opened_store, redis_server, until

from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import BridgeSettings, ReplicaSettings
from utcp_bridge.stores.limiter import Bucket, Lease, Slots, Uncovered
from utcp_bridge.stores.port import StoreAway
from utcp_bridge.stores.redis import RedisStore
from utcp_bridge.stores.replicas import SharedStore, shared_store, stores_of

pytestmark = pytest.mark.anyio
PATIENCE = 60


@pytest.fixture(params=BOTH)
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path, software=BOTH[request.param]) as server:
        yield server


async def until_back(store: SharedStore) -> None:
    await until(lambda: not store.is_away)
    with anyio.fail_after(PATIENCE):
        await store.hears.wait()


async def test_without_a_url_there_is_no_store() -> None:
    assert shared_store(BridgeSettings()) is None


async def test_values_are_shared_by_those_with_the_same_prefix(redis: RedisServer) -> None:
    async with opened_store(redis) as one, opened_store(redis) as same, opened_store(redis, store_prefix="x") as other:
        await one.put("key", b"value", 60)
        assert await same.get("key") == b"value"
        assert await other.get("key") is None
        assert await same.get("unknown") is None


async def test_news_reach_all_others_in_order(redis: RedisServer) -> None:
    async with opened_store(redis) as one, opened_store(redis) as other:
        heard: list[int] = []
        all_heard = anyio.Event()

        def hear(news: dict[str, int]) -> None:
            heard.append(news["number"])
            if len(heard) == 100:
                all_heard.set()

        one.on_news("numbers", lambda _news: pytest.fail("it hears its own news"))
        other.on_news("numbers", hear)
        for number in range(100):
            one.tell("numbers", {"number": number})
        with anyio.fail_after(PATIENCE):
            await all_heard.wait()
        assert heard == list(range(100))


async def test_news_that_cannot_be_read_end_nothing(redis: RedisServer) -> None:
    async with opened_store(redis) as one, opened_store(redis) as other:
        heard = anyio.Event()
        other.on_news("bad", lambda news: news["missing"])
        other.on_news("good", lambda _news: heard.set())
        await one.run(lambda client: client.publish("utcp-replicas:news", b"\xff{"))
        one.tell("bad", {})
        one.tell("unknown", {})
        one.tell("good", {})
        with anyio.fail_after(PATIENCE):
            await heard.wait()


async def test_a_store_that_stops_is_away_and_back_by_itself(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "utcp_bridge")
    async with opened_store(redis) as store, opened_store(redis) as other:
        redis.stop()
        for _ in range(3):
            with pytest.raises(StoreAway, match=rf"The store redis://127\.0\.0\.1:{redis.port}/0 does not answer"):
                await store.get("key")
        assert (store.is_away, store.state) == (True, "away")
        redis.start()
        await until_back(store)
        await until_back(other)
        await store.put("key", b"again", 60)
        assert await other.get("key") == b"again"
        heard = anyio.Event()
        other.on_news("back", lambda _news: heard.set())

        def is_heard() -> bool:
            store.tell("back", {})
            return heard.is_set()

        await until(is_heard)
    lines = [record.message for record in caplog.records if str(redis.port) in record.message]
    lost = sum("does not answer (" in line for line in lines)
    assert 1 <= lost <= 2  # the other store may have been silent meanwhile
    assert sum("answers again after" in line for line in lines) == lost


async def test_a_store_that_does_not_reply_holds_nothing_up(redis: RedisServer) -> None:
    async with opened_store(redis, store_timeout=30) as store:
        with redis.halted():
            failures = 0

            async def ask() -> None:
                nonlocal failures
                with pytest.raises(StoreAway):
                    await store.get("key")
                failures += 1

            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as group:
                    for _ in range(100):
                        group.start_soon(ask)
                    await later(30)
            assert failures == 100
        await until_back(store)
        assert await store.get("key") is None


async def test_a_wrong_password_is_reported_without_it(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    settings = ReplicaSettings(store=f"redis://user:canary@127.0.0.1:{redis.port}/0")
    store = shared_store(settings)
    assert store is not None
    with pytest.raises(StoreAway) as caught:
        await store.check()
    await store.aclose()
    for text in (str(caught.value), caplog.text, repr(store), repr(settings), store.place):
        assert "canary" not in text


async def test_a_password_has_a_setting_of_its_own(redis: RedisServer) -> None:
    async with opened_store(redis) as store:
        await store.run(lambda client: client.config_set("requirepass", "s3cret"))
    store = shared_store(ReplicaSettings(store=redis.url, store_password="s3cret"))
    assert store is not None
    await store.put("key", b"value", 60)
    assert await store.get("key") == b"value"
    await store.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:port/0",
        "redis://127.0.0.1:6379/0?socket_timeout=x",
        "redis://127.0.0.1:6379/0?unknown=x",
        "redis://127.0.0.1:6379/0?protocol=9",
    ],
)
async def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="`store` is not a Redis URL"):
        shared_store(ReplicaSettings(store=url))
    with pytest.raises(ConfigError, match="`token_store` is not a Redis URL"):
        RedisStore(url)


def test_the_watch_behind_the_gate_lets_connections_to_the_stores_through() -> None:
    number = stores_of(BridgeSettings(store="rediss://:canary@192.0.2.1:7000/0"))
    assert number("192.0.2.1", 7000)
    assert not number("192.0.2.2", 7000)
    assert not number("192.0.2.1", 443)
    name = stores_of(BridgeSettings(token_store="redis://store.example/0"))
    assert name("store.example", 0)
    assert name("192.0.2.1", 6379)
    assert not name("other.example", 0)
    assert not stores_of(BridgeSettings())("192.0.2.1", 6379)
    assert not stores_of(BridgeSettings(store="redis://store.example:port/0"))("store.example", 0)


# --- limits ---


async def test_a_bucket_covers_its_size_among_all(redis: RedisServer) -> None:
    bucket = Bucket("calls", 50, 0.001, 1 - 1e-6, 1)
    async with opened_store(redis) as one, opened_store(redis) as two, opened_store(redis) as three:
        found: list[Lease | Uncovered | None] = []

        async def call(store: SharedStore) -> None:
            found.append(await store.limits.enter([bucket]))

        async with anyio.create_task_group() as group:
            for _ in range(40):
                for store in (one, two, three):
                    group.start_soon(call, store)
        assert sum(isinstance(one, Lease) for one in found) == 50
        refused = [one for one in found if isinstance(one, Uncovered)]
        assert len(refused) == 70
        assert all(0 < one.seconds <= 1000 for one in refused)


async def test_all_limits_are_charged_or_none(redis: RedisServer) -> None:
    calls, slots = Bucket("calls", 3, 0.001, 1 - 1e-6, 1), Slots("slots", 1)
    async with opened_store(redis) as one, opened_store(redis) as two:
        lease = await one.limits.enter([calls, slots])
        assert isinstance(lease, Lease)
        for _ in range(5):
            assert await two.limits.enter([calls, slots]) == Uncovered(1, 1.0)
        lease.leave()

        async def is_free() -> bool:
            found = await two.limits.enter([slots])
            if isinstance(found, Lease):
                found.leave()
            return isinstance(found, Lease)

        await until(is_free)
        assert isinstance(await one.limits.enter([calls]), Lease)
        assert isinstance(await two.limits.enter([calls]), Lease)
        refused = await one.limits.enter([calls])
        assert isinstance(refused, Uncovered)
        assert refused.place == 0


async def test_bytes_are_charged_afterwards_and_may_be_owed(redis: RedisServer) -> None:
    bucket = Bucket("bytes", 1000, 1, 1e-6)
    async with opened_store(redis) as one, opened_store(redis) as two:
        assert isinstance(await one.limits.enter([bucket]), Lease)
        one.limits.charge([bucket], 1500)

        async def is_used_up() -> bool:
            found = await two.limits.enter([bucket])
            return isinstance(found, Uncovered) and 400 < found.seconds <= 501

        await until(is_used_up)


async def test_slots_in_use_outlive_a_restart_of_the_store(redis: RedisServer) -> None:
    slots = Slots("slots", 1)
    async with opened_store(redis) as one, opened_store(redis) as two:
        lease = await one.limits.enter([slots])
        assert isinstance(lease, Lease)
        redis.stop()
        with pytest.raises(StoreAway):
            await two.check()
        assert await two.limits.enter([slots]) is None
        redis.start()
        await until_back(one)
        await until_back(two)
        await one.limits._prolong([lease])
        assert isinstance(await two.limits.enter([slots]), Uncovered)


@pytest.mark.parametrize(("setting", "value"), [("min-replicas-to-write", "1"), ("maxmemory", "1")])
async def test_a_store_that_takes_no_writes_is_away_until_it_does(
    redis: RedisServer, setting: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "utcp_bridge.stores.replicas")
    async with opened_store(redis) as store:
        control = store._listening
        await control.config_set(setting, value)
        await until(lambda: store.is_away)
        for _ in range(3):
            with pytest.raises(StoreAway):
                await store.check()
        assert store.state == "away"
        assert len(caplog.records) == 1, "not once for each ping that is answered"
        await control.config_set(setting, "0")
        await until(lambda: not store.is_away)
        await store.put("key", b"value", 60)


async def test_a_key_of_another_type_is_refused_alone(redis: RedisServer) -> None:
    async with opened_store(redis) as store:
        await store.put("key", b"value", 60)
        for name in ("list", "limit:slots"):
            await store.run(partial(_push, f"{store.prefix}{name}"))
        for _ in range(4):
            with pytest.raises(StoreAway):
                await store.get("list")
            assert await store.limits.enter([Slots("slots", 1)]) is None
        assert await store.get("key") == b"value"
        assert not store.is_away


async def _push(key: str, client: Any) -> None:
    await client.rpush(key, "x")
