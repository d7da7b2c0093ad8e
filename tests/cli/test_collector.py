"""The garbage collector: off while manuals load, frozen afterwards, as it was at the end."""

import gc
from pathlib import Path

import anyio
import pytest

from utcp_bridge.cli.collector import frozen_when_loaded, paused
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.settings import BridgeSettings, UtcpClientConfig

pytestmark = pytest.mark.anyio

MANUAL = {"utcp_version": "1.0.1", "tools": []}


async def client_of(*entries: dict[str, object], startup_wait: float = 5.0) -> UtcpClient:
    config = UtcpClientConfig(manual_call_templates=entries, bridge=BridgeSettings(startup_wait=startup_wait))
    return await UtcpClient.create(config, root=Path(), wait=0)


async def test_nothing_is_collected_until_the_manuals_are_there_and_then_none_of_them() -> None:
    async with await client_of({"name": "a", "call_template_type": "text", "content": MANUAL}) as client:
        with anyio.fail_after(10), paused():
            assert not gc.isenabled()
            async with frozen_when_loaded(client):
                await client.wait_loaded()
                await anyio.wait_all_tasks_blocked()
                assert gc.isenabled()
                frozen = gc.get_freeze_count()
                assert frozen > 0
                built = [[] for _ in range(5_000)]
                gc.collect(1)
                assert gc.get_freeze_count() == frozen, "what is young may still go"
                gc.collect()
                assert gc.get_freeze_count() >= frozen + len(built)
    callbacks = [getattr(callback, "__module__", "") for callback in gc.callbacks]
    assert frozen_when_loaded.__module__ not in callbacks
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


async def test_a_manual_that_does_not_come_ends_the_pause_after_the_start_up_wait() -> None:
    async def silent(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, silent)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        entry = {"name": "b", "call_template_type": "http", "url": f"http://127.0.0.1:{port}/"}
        async with await client_of(entry, startup_wait=0.05) as client:
            with anyio.fail_after(10), paused():
                async with frozen_when_loaded(client):
                    assert not await client.wait_loaded(0.2)
                    assert gc.isenabled()
        group.cancel_scope.cancel()


def test_an_error_while_serving_leaves_the_collector_as_it_was() -> None:
    with pytest.raises(RuntimeError, match="port taken"), paused():
        raise RuntimeError("port taken")
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
