"""Approvals of replicas that share a store: any of them finds the request, and one call uses the approval up."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest
from tests.support.redis_server import redis_server

from utcp_bridge.access.approvals import ApprovalOptions, ApprovalRecords, Pending
from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.stores.file import FileStore

pytestmark = pytest.mark.anyio


async def test_an_approval_is_used_once_among_all_replicas(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        settings = BridgeSettings(store=redis.url)
        stores = [ApprovalOptions().open_store(tmp_path, settings) for _ in range(3)]
        records = [ApprovalRecords(store) for store in stores]
        now = time.time()
        pending = Pending("id-1", "alice", "shop.pay", "{}", "rule", "", "digest", now, now + 600)
        await records[0].add("binding", pending)
        assert [one["id"] for one in await records[1].waiting()] == ["id-1"]
        await records[1].decide("id-1", "approved", "bob", 600)
        taken = []

        async def take(one: ApprovalRecords) -> None:
            taken.append(await one.take("binding"))

        async with anyio.create_task_group() as group:
            for one in records:
                group.start_soon(take, one)
        assert [one["by"] for one in taken if one is not None] == ["bob"]
        redis.stop()
        with pytest.raises(ConfigError, match="cannot be used"):
            await records[0].take("binding")
        for store in stores:
            await store.aclose()


def test_a_store_of_their_own_goes_before_that_of_the_replicas(tmp_path: Path) -> None:
    settings = BridgeSettings(store="redis://127.0.0.1:1/0")
    assert isinstance(ApprovalOptions(store="file").open_store(tmp_path, settings), FileStore)
    assert isinstance(ApprovalOptions().open_store(tmp_path, BridgeSettings()), FileStore)
