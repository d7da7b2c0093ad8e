"""Logins that a call needs while the bridge serves: its host shows the page."""

from __future__ import annotations

import anyio
import pytest
from tests.support.clicking import Clicking
from tests.upstreams.oauth_mcp_service import oauth_mcp_service

from utcp_bridge import Extensions, UtcpClient
from utcp_bridge.errors import AuthRequired
from utcp_bridge.manuals.registration import Registration
from utcp_bridge.transports.mcp.supervisor import McpSupervisor
from utcp_bridge.transports.mcp.transport import Gathering, McpTransport
from utcp_bridge.upstream import HOST, CallingHost

pytestmark = pytest.mark.anyio


class ShowingHost(CallingHost):
    """A host whose person looks at each page, or declines."""

    def __init__(self, action: str = "accept", modes=("form", "url")) -> None:
        self.capabilities = {"elicitation": {mode: {} for mode in modes}}
        self.person = Clicking()
        self.asked: list[dict] = []
        self._action = action

    async def ask(self, method, params):
        self.asked.append({"method": method, **params})
        if self._action == "accept":
            await self.person.visit(params["url"])
        return {"action": self._action}


async def opened(service, **bridge) -> UtcpClient:
    entry = {"name": "notes", "call_template_type": "mcp", "server_url": service.url}
    config = {"manual_call_templates": [entry], "bridge": {"token_store": "memory", **bridge}}
    return await UtcpClient.create(config, extensions=Extensions())


async def read(client: UtcpClient, host: CallingHost) -> str:
    token = HOST.set(host)
    try:
        return await client.call_tool("notes.read", {"name": "one"})
    finally:
        HOST.reset(token)


async def expired(client: UtcpClient, service) -> None:
    """Log in, and let the login end."""
    await client.login_desk.log_in("notes", Clicking())
    service.renews = False
    service.revoke_all()


async def test_the_host_of_a_call_shows_the_page_and_the_call_goes_on() -> None:
    async with oauth_mcp_service() as service, await opened(service) as client:
        await expired(client, service)
        host = ShowingHost()
        assert await read(client, host) == "the note one"
        [asked] = host.asked
        assert (asked["method"], asked["mode"]) == ("elicitation/create", "url")
        assert asked["url"].startswith(f"{service.issuer}/authorize?")
        assert asked["elicitationId"]


async def test_calls_that_need_the_same_login_ask_once() -> None:
    async with oauth_mcp_service() as service, await opened(service) as client:
        await expired(client, service)
        host = ShowingHost()
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(read, client, host)
        assert len(host.asked) == 1


async def test_an_attempt_that_began_before_a_login_does_not_undo_it(monkeypatch) -> None:
    """A manual that needs a login is tried again now and then. Such an attempt may end after the login."""
    monkeypatch.setattr("utcp_bridge.manuals.registration._FIRST_PAUSE", 0)
    begun, refused, released = [], anyio.Event(), anyio.Event()
    load, discover = Registration.load, McpTransport.discover

    async def counted_load(registration, state, **how):
        begun.append(state.name)
        if len(begun) == 3:  # after the first one and the attempt, that of the login
            released.set()
        return await load(registration, state, **how)

    async def slow_discover(transport, target):
        try:
            return await discover(transport, target)
        except AuthRequired:
            if len(begun) == 2:
                refused.set()
                await released.wait()
            raise

    monkeypatch.setattr(Registration, "load", counted_load)
    monkeypatch.setattr(McpTransport, "discover", slow_discover)
    with anyio.fail_after(60):
        async with oauth_mcp_service() as service, await opened(service) as client:
            await refused.wait()
            await client.login_desk.log_in("notes", Clicking())
            assert [state.status for state in client.report()] == ["ready"]
            assert await client.call_tool("notes.read", {"name": "one"}) == "the note one"


async def test_a_connection_that_was_being_opened_before_a_login_is_opened_again_after_it(monkeypatch) -> None:
    """The server of the manual is tried again by itself, too. Its failure is not that of the load after the login."""
    monkeypatch.setattr("utcp_bridge.transports.mcp.supervisor._FIRST_PAUSE", 0)
    begun, attempts = anyio.Event(), []
    listed = McpSupervisor._listed

    async def slow_listed(supervisor):
        attempts.append(supervisor.name)
        try:
            return await listed(supervisor)
        except AuthRequired:
            if len(attempts) == 2:
                begun.set()
                while supervisor.settled.is_set():  # noqa: ASYNC110 - until the load after the login waits
                    await anyio.sleep(0.01)
            raise

    monkeypatch.setattr(McpSupervisor, "_listed", slow_listed)
    with anyio.fail_after(60):
        async with oauth_mcp_service() as service, await opened(service) as client:
            await begun.wait()
            await client.login_desk.log_in("notes", Clicking())
            assert [(state.status, state.error) for state in client.report()] == [("ready", None)]


async def test_attempts_that_fail_alike_do_not_count_as_a_change_of_the_manual(monkeypatch) -> None:
    """The attempt after a change asks only what has changed, so it would keep the failure from before a login."""
    monkeypatch.setattr("utcp_bridge.transports.mcp.transport._SETTLE_SECONDS", 0)
    told = []
    monkeypatch.setattr(Gathering, "changed", lambda gathering: told.append(gathering._manual))
    async with oauth_mcp_service() as service, await opened(service) as client:
        for _ in range(2):
            await client.refresh("notes")
        await anyio.wait_all_tasks_blocked()
    assert told == []


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_person_who_declines_gets_the_error_with_the_command(action) -> None:
    async with oauth_mcp_service() as service, await opened(service) as client:
        await expired(client, service)
        with pytest.raises(AuthRequired, match="Run `utcp-bridge login notes`"):
            await read(client, ShowingHost(action))


async def test_a_host_that_shows_no_pages_is_not_asked() -> None:
    async with oauth_mcp_service() as service, await opened(service) as client:
        await expired(client, service)
        host, before = ShowingHost(modes=("form",)), service.requests["/register"]
        with pytest.raises(AuthRequired):
            await read(client, host)
        assert host.asked == []
        assert service.requests["/register"] == before


async def test_a_bridge_for_several_callers_asks_none_of_them() -> None:
    """The login would be used for all of them."""
    async with oauth_mcp_service() as service, await opened(service, transport="http") as client:
        await expired(client, service)
        host = ShowingHost()
        with pytest.raises(AuthRequired):
            await read(client, host)
        assert host.asked == []
