"""Which requests reach the console."""

import pytest
from tests.support.server_client import StandIn

from utcp_bridge.access.gatekeeper import Gatekeeper
from utcp_bridge.errors import ConfigError
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.replicas.place import ProcessPlace
from utcp_bridge.server.web.console_door import console_door
from utcp_bridge.server.web.doors import Doors
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio


def door_of(keeper=None, **settings):
    client = StandIn(BridgeSettings(transport="http", **settings))
    return console_door(BridgeServer(client), Doors(client.settings), keeper)


def scope_of(address="127.0.0.1", path="/admin/api/status", accept=b"text/html", **headers):
    sent = [(b"host", b"127.0.0.1:8000"), (b"accept", accept)]
    sent += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "GET", "path": path, "client": (address, 1), "headers": sent}


async def status_of(door, scope):
    sent = []

    async def send(message):
        sent.append(message)

    return sent[0]["status"] if await door.refuses(scope, send) else None


async def test_auto_lets_in_programs_on_this_machine():
    door = door_of()
    assert await status_of(door, scope_of()) is None
    assert await status_of(door, scope_of("::1")) is None
    assert await status_of(door, scope_of("192.0.2.1")) == 403
    assert await status_of(door, scope_of(via="1.1 proxy")) == 403


async def test_on_lets_others_in_only_where_callers_are_recognised():
    assert await status_of(door_of(console="on"), scope_of("192.0.2.1")) == 403
    assert await status_of(door_of(Gatekeeper(shared="x" * 20), console="on"), scope_of("192.0.2.1")) is None
    assert await status_of(door_of(Gatekeeper(shared="x" * 20)), scope_of("192.0.2.1")) == 403


async def test_the_path_of_the_endpoint_and_programs_at_the_root_are_not_for_the_console():
    door = door_of(path="/console/mcp")
    assert not door.takes(scope_of(path="/console/mcp"))
    assert not door.takes(scope_of(path="/", accept=b"*/*"))
    assert not door.takes(scope_of(path="/mcp"))
    assert door.takes(scope_of(path="/"))


async def test_a_bridge_may_have_no_console():
    door = door_of(console="off")
    assert not door.takes(scope_of(path="/"))
    assert not door.takes(scope_of())


async def test_only_one_of_several_shows_the_others(monkeypatch):
    async def page_of(door):
        return await door.site._admin.replicas()

    assert (await page_of(door_of()))["replicas"] == []
    monkeypatch.setattr("utcp_bridge.server.replicas.place._here", ProcessPlace(1, 2))
    (shown,) = (await page_of(door_of()))["replicas"]
    assert shown["name"].startswith("worker 1 (")


async def test_on_without_jinja_is_refused(monkeypatch):
    monkeypatch.setattr("utcp_bridge.server.web.console_door.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"\[console\]"):
        door_of(console="on")
