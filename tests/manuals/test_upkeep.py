"""Loading, retry and refresh of manuals, through a client; test_registries tests those of registries."""

import json

import anyio
import pytest
from tests.upstreams.registry_service import Answers, served

from utcp_bridge.client.client import UtcpClient

pytestmark = pytest.mark.anyio


def manual(*names):
    template = {"call_template_type": "http", "url": "https://api.example.com/x"}
    return {"utcp_version": "1.0.1", "tools": [{"name": name, "tool_call_template": template} for name in names]}


async def until_changed(client):
    changed = anyio.Event()
    client.on_change(changed.set)
    with anyio.fail_after(60):
        await changed.wait()


async def test_a_manual_is_read_again_at_its_interval():
    service = Answers({"/m": manual("a")})
    with served(service.app) as base:
        entry = {"name": "m", "call_template_type": "http", "url": f"{base}/m", "refresh_interval": 0.05}
        async with await UtcpClient.create([entry]) as client:
            service.answers["/m"] = manual("a", "b")
            await until_changed(client)
            assert [tool.name for tool in client.tools()] == ["a", "b"]


async def test_a_registry_is_asked_again_at_its_interval():
    service = Answers({"/m": manual("a"), "/manuals": {"manuals": []}})
    with served(service.app) as base:
        entry = {"registry": base, "name": "acme", "refresh_interval": 0.05}
        async with await UtcpClient.create({"registries": [entry]}) as client:
            service.answers["/manuals"] = {"manuals": [{"name": "m", "url": "/m"}]}
            await until_changed(client)
            assert [tool.manual for tool in client.tools()] == ["acme_m"]


async def test_a_manual_registered_at_run_time_is_refreshed_until_deregistered(monkeypatch):
    monkeypatch.setattr("utcp_bridge.manuals.registration._FIRST_PAUSE", 0.01)
    service = Answers({"/m": 503})
    with served(service.app) as base:
        async with await UtcpClient.create() as client:
            state = await client.register_manual({"name": "m", "call_template_type": "http", "url": f"{base}/m"})
            assert state.status == "failed"
            service.answers["/m"] = manual("a")
            await until_changed(client)
            assert await client.deregister_manual("m")
            assert not await client.deregister_manual("m")
            await client.refresh("m")
            assert not client.tools()


async def test_names_that_look_alike_are_two_manuals():
    entries = [
        {"name": name, "call_template_type": "text", "content": json.dumps(manual("x"))} for name in ("a.b", "a_b")
    ]
    found = []
    for ordered in (entries, entries[::-1]):
        async with await UtcpClient.create({"manual_call_templates": ordered}) as client:
            found.append([tool.qualified_name for tool in client.tools()])
    assert found == [["a_b.x", "a_b_2e7336dc.x"]] * 2


async def test_of_two_entries_with_one_name_the_first_is_kept_and_the_clash_logged(caplog):
    entries = [{"name": "a", "call_template_type": "text", "content": json.dumps(manual(name))} for name in ("x", "y")]
    async with await UtcpClient.create({"manual_call_templates": entries}) as client:
        assert [tool.name for tool in client.tools()] == ["x"]
    assert "also named 'a'" in caplog.text
