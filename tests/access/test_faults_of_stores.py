"""What `check` and `doctor` say about the store that replicas share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.redis_server import redis_server

from utcp_bridge.access.faults import access_faults
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio
KEY = "the same key for all of these replicas"


async def test_a_store_that_answers_has_no_fault(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        settings = BridgeSettings(store=redis.url, state_key=KEY, transport="http")
        assert await access_faults(settings, tmp_path) == []


async def test_a_store_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    settings = BridgeSettings(store="redis://user:canary@127.0.0.1:1/0", state_key=KEY, transport="http")
    (fault,) = await access_faults(settings, tmp_path)
    assert (fault.where, fault.severity) == ("replicas.store", "warning")
    assert fault.what == "The store redis://127.0.0.1:1/0 does not answer."
    assert "canary" not in str(fault)


async def test_replicas_without_one_state_key_are_a_warning(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        (fault,) = await access_faults(BridgeSettings(store=redis.url, transport="http"), tmp_path)
    assert (fault.where, fault.severity) == ("server.state_key", "warning")


async def test_a_store_with_a_wrong_url_is_an_error(tmp_path: Path) -> None:
    settings = BridgeSettings(store="redis://127.0.0.1:port/0", state_key=KEY, transport="http")
    (fault,) = await access_faults(settings, tmp_path)
    assert (fault.where, fault.severity) == ("replicas.store", "error")
