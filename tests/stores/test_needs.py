"""Stores that answer and still lack something: their user, a proxy, or the mode of their server is the cause."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.interop.serving import free_port
from tests.support.redis_server import BOTH, RedisServer, opened_store, redis_server, until

from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import BridgeSettings, ReplicaSettings
from utcp_bridge.stores.limiter import Bucket, Lease
from utcp_bridge.stores.opening import open_replica_store
from utcp_bridge.stores.port import StoreAway, StoreRefuses
from utcp_bridge.stores.replicas import SharedStore, shared_store, store_faults

pytestmark = pytest.mark.anyio
PAGE = Path(__file__).parents[2] / "docs" / "replicas.md"
(LINE,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("ACL SETUSER")]
RULES = LINE.replace("PASSWORD", "canary").split()[3:]
CLUSTER = "is a node of a Redis Cluster, where one script"
SLOTS = 16_384
COMMANDS = [rule[1:] for rule in RULES if rule[0] == "+" and rule not in {"+@connection", "+unsubscribe"}]


@pytest.fixture(params=BOTH)
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path, software=BOTH[request.param]) as server:
        yield server


async def set_user(redis: RedisServer, *rules: str) -> str:
    """Let the user `bridge` have these rules alone, and return the URL for it."""
    store = store_of(redis.url)
    await store._redis.execute_command("ACL", "SETUSER", "bridge", "reset", *rules)
    await store.aclose()
    return redis.url.replace("//", "//bridge:canary@")


def store_of(url: str) -> SharedStore:
    store = shared_store(ReplicaSettings(store=url, store_timeout=5.0))
    assert store is not None
    return store


async def test_the_permissions_on_the_page_are_enough(redis: RedisServer) -> None:
    url = await set_user(redis, *RULES)
    async with opened_store(redis, store=url) as one, opened_store(redis, store=url) as two:
        await one.insist()
        assert isinstance(await one.limits.enter([Bucket("calls", 9, 1, 0.5, 1)]), Lease)
        heard = anyio.Event()
        two.on_news("topic", lambda _news: heard.set())
        one.tell("topic", {})
        with anyio.fail_after(60):
            await heard.wait()
        await until(lambda: (one.state, two.state) == ("ready", "ready"))
    part = open_replica_store(ReplicaSettings(store=url), "approvals")
    assert part is not None
    async with part.lock("a"):
        await part.put("a", {"state": "pending"})
    assert (await part.keys(), await part.delete("a")) == (["a"], True)
    await part.aclose()


@pytest.mark.parametrize("command", COMMANDS)
async def test_each_missing_permission_is_named(redis: RedisServer, command: str) -> None:
    url = await set_user(redis, *(rule for rule in RULES if rule != f"+{command}"))
    store = store_of(url)
    name = command.upper().replace("|", " ")
    expected = f"The store {redis.url} refuses the command {name}: its user may not use it."
    with pytest.raises(ConfigError) as caught:
        await store.insist()
    assert caught.value.message == expected
    assert caught.value.remedy == "Give the user the permissions in `utcp-bridge help replicas`."
    with pytest.raises(StoreRefuses):
        await store.get("key")
    assert store.state == "refused"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("~utcp-replicas:*", "the keys utcp-replicas:\\*"), ("&utcp-replicas:*", "the channel utcp-replicas:news")],
)
async def test_keys_and_channels_that_are_closed_are_named(redis: RedisServer, rule: str, expected: str) -> None:
    store = store_of(await set_user(redis, *(one for one in RULES if one != rule)))
    with pytest.raises(ConfigError, match=f"its user may not use {expected}"):
        await store.insist()


async def test_a_store_without_scripts_is_refused(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--rename-command", "EVALSHA", "") as redis:
        (fault,) = await store_faults(BridgeSettings(store=redis.url))
        assert (fault.where, fault.severity) == ("replicas.store", "error")
        assert fault.what == f"The store {redis.url} does not have the command EVALSHA."
        assert "proxy" in fault.remedy


async def test_a_permission_that_is_taken_and_given_back_is_noticed(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "utcp_bridge.stores.replicas")
    url = await set_user(redis, *RULES)
    bucket = Bucket("calls", 9, 1, 0.5, 1)
    async with opened_store(redis, store=url) as store:
        await until(lambda: store.state == "ready")
        await set_user(redis, *(rule for rule in RULES if rule != "+evalsha"))

        async def is_refused() -> bool:
            assert await store.limits.enter([bucket]) is None
            return store.state == "refused"

        await until(is_refused)
        with pytest.raises(StoreAway, match="refuses the command EVALSHA"):
            await store.get("key")
        await set_user(redis, *RULES)
        await until(lambda: store.state == "ready")
        assert isinstance(await store.limits.enter([bucket]), Lease)
    refusals = [one.message for one in caplog.records if "EVALSHA" in one.message]
    assert len(refusals) == 1
    assert "each bridge applies its limits alone" in refusals[0]
    assert "canary" not in caplog.text


async def test_a_wrong_password_is_refused(redis: RedisServer) -> None:
    store = store_of((await set_user(redis, *RULES)).replace("canary", "canary2"))
    with pytest.raises(ConfigError, match="refuses the user or the password") as caught:
        await store.insist()
    assert "canary" not in str(caught.value)


async def test_a_store_that_is_away_does_not_stop_the_start(redis: RedisServer) -> None:
    redis.stop()
    store = store_of(redis.url)
    await store.insist()
    assert store.state == "away"
    await store.aclose()


async def test_a_store_is_connecting_until_the_first_try_has_ended(redis: RedisServer) -> None:
    store = store_of(redis.url)
    assert store.state == "connecting"
    with redis.halted():
        async with anyio.create_task_group() as group:
            group.start_soon(store.insist)
            await anyio.wait_all_tasks_blocked()
            assert store.state == "connecting"
    await store.insist()
    assert store.state == "ready"
    await store.aclose()


def cluster(port: int) -> tuple[str, ...]:
    """Return the options of a node, which has a port for the other nodes."""
    return "--cluster-enabled", "yes", "--cluster-port", str(port)


@pytest.mark.parametrize("name", BOTH)
async def test_each_node_of_a_cluster_is_refused(name: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        ports = [free_port() for _ in range(3)]  # between the nodes
        options = [(*cluster(port), "--cluster-config-file", f"{port}.conf") for port in ports]
        nodes = [stack.enter_context(redis_server(tmp_path, *one, software=BOTH[name])) for one in options]
        stores = [store_of(node.url) for node in nodes]
        with pytest.raises(StoreRefuses, match=CLUSTER):  # no node has a slot yet
            await stores[0].check()
        for number, store in enumerate(stores):
            slots = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            await store._redis.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
            await store._redis.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, ports[0])

        async def is_up() -> bool:
            told = [await store._redis.execute_command("CLUSTER INFO") for store in stores]
            return all(one["cluster_state"] == "ok" and one["cluster_known_nodes"] == "3" for one in told)

        await until(is_up)
        for store in stores:
            with pytest.raises(ConfigError, match=CLUSTER) as caught:
                await store.insist()
            assert "cluster-enabled no" in (caught.value.remedy or "")


@pytest.mark.parametrize("name", BOTH)
async def test_a_cluster_of_one_node_is_refused(name: str, tmp_path: Path) -> None:
    with redis_server(tmp_path, *cluster(free_port()), software=BOTH[name]) as node:
        store = store_of(node.url)
        await store._redis.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)

        async def is_up() -> bool:
            return (await store._redis.execute_command("CLUSTER INFO"))["cluster_state"] == "ok"

        await until(is_up)
        with pytest.raises(ConfigError, match=CLUSTER):
            await store.insist()


async def test_a_bridge_does_not_start_with_a_store_that_refuses(redis: RedisServer, tmp_path: Path) -> None:
    url = await set_user(redis, *(rule for rule in RULES if rule != "+evalsha"))
    bridge: dict[str, Any] = {"store": url, "state_key": "the same key for all of these replicas"}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"manual_call_templates": [], "bridge": bridge}), encoding="utf-8")
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(config), "--http", "--port", "0"]
    with anyio.fail_after(120):
        done = await anyio.run_process(command, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert f"The store {redis.url} refuses the command EVALSHA: its user may not use it. Give" in line
    assert "canary" not in line
