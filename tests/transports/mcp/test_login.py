"""Logins at MCP servers, with the authorization server of the Python SDK."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from tests.interop.serving import free_port
from tests.support.clicking import Clicking, Pasting
from tests.support.relayed import host
from tests.upstreams.oauth_mcp_service import oauth_mcp_service

from utcp_bridge import UtcpClient
from utcp_bridge.errors import AuthRequired, LoginFailed, Rejected, TokenError, UtcpError
from utcp_bridge.server.app import BridgeServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "logins"


def _files(folder: Path) -> list[Path]:
    return list(folder.glob("*.json"))


@asynccontextmanager
async def opened(url: str, store: Path | None = None, auth=None, **settings):
    entry = {"name": "notes", "call_template_type": "mcp", "server_url": url}
    if auth is not None:
        entry["auth"] = auth
    bridge = {"token_store": "memory" if store is None else f"file:{store}", "discovery_timeout": 200, **settings}
    async with await UtcpClient.create({"manual_call_templates": [entry], "bridge": bridge}) as client:
        yield client


async def read(client: UtcpClient) -> object:
    return await client.call_tool("notes.read", {"name": "one"})


async def logged_in(client: UtcpClient) -> Clicking:
    person = Clicking()
    await client.login_desk.log_in("notes", person)
    [state] = client.report()
    assert state.status == "ready", state.error
    return person


@pytest.mark.parametrize("name", ["notes_read", "notes.read"])
async def test_a_call_before_the_first_login_says_how_to_log_in(name: str) -> None:
    async with (
        oauth_mcp_service() as service,
        opened(service.url, exposure="all") as client,
        host(BridgeServer(client), "legacy") as caller,
    ):
        result = await caller.call_tool(name, {"name": "one"})
        assert result.is_error
        assert f"{service.url} needs a login. Run `utcp-bridge login notes`." in result.content[0].text
        assert "auth_required" in result.model_dump_json()
        await logged_in(client)
        await client.refresh("notes")
        assert (await caller.call_tool(name, {"name": "one"})).content[0].text == "the note one"


async def test_a_server_that_wants_a_login_says_so_and_works_after_it() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        [state] = client.report()
        assert isinstance(state.error, AuthRequired)
        assert str(state.error) == f"{service.url} needs a login. Run `utcp-bridge login notes`."
        person = await logged_in(client)
        assert "The login is complete" in person.pages[0].text
        assert await read(client) == "the note one"
        [asked] = service.authorized
        assert asked.resource == service.url
        assert asked.scopes == ["notes"]


async def test_a_login_is_used_at_once_also_if_the_next_discovery_may_use_what_is_known() -> None:
    """As after a change of another server of the manual: then servers that failed are not asked again."""
    async with oauth_mcp_service() as service, opened(service.url) as client:
        client.login_desk._registration.transport("mcp")._gathering("notes")._knows_what_changed = True
        await logged_in(client)
        assert await read(client) == "the note one"


async def test_while_serving_nothing_is_registered_and_no_page_is_opened() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await client.refresh("notes")
        assert service.requests["/register"] == service.requests["/authorize"] == 0


async def test_a_login_outlasts_the_process_and_is_private(store: Path) -> None:
    async with oauth_mcp_service() as service:
        async with opened(service.url, store) as client:
            await logged_in(client)
        async with opened(service.url, store) as client:
            assert await read(client) == "the note one"
        [kept] = _files(store)
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert service.requests["/authorize"] == 1


async def test_a_running_bridge_uses_a_login_of_another_process(store: Path) -> None:
    async with oauth_mcp_service() as service, opened(service.url, store) as running:
        async with opened(service.url, store) as other:
            await logged_in(other)
        await running.refresh("notes")
        assert await read(running) == "the note one"


async def test_a_token_that_was_revoked_is_renewed_by_one_request() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await logged_in(client)
        service.revoke_all()
        before = service.requests["/token"]
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(read, client)
        assert service.requests["/token"] == before + 1


async def test_a_token_that_expires_soon_is_renewed_before_it_is_used() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await logged_in(client)
        [(key, record)] = await client.login_desk._logins.kept()
        await client.login_desk._logins.store.put(key, {**record.kept(), "stale_at": 1.0})
        client.login_desk._logins._entries.clear()
        first = record.access_token
        assert await read(client) == "the note one"
        [(_, record)] = await client.login_desk._logins.kept()
        assert record.access_token != first
        assert record.stale_at > 1.0


async def test_a_refused_renewal_asks_for_another_login_once() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await logged_in(client)
        service.renews = False
        service.revoke_all()
        with pytest.raises(AuthRequired, match=r"has expired, and .* refused to renew it"):
            await read(client)
        before = service.requests["/token"]
        with pytest.raises(AuthRequired):
            await read(client)
        assert service.requests["/token"] == before
        service.renews = True
        await logged_in(client)
        assert await read(client) == "the note one"


async def test_a_token_endpoint_that_is_away_does_not_end_the_login() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await logged_in(client)
        service.revoke_all()
        service.hidden = {"/token"}
        with pytest.raises(TokenError, match="returned no access token: it returned 404"):
            await read(client)
        service.hidden = set()
        assert await read(client) == "the note one"


async def test_too_little_scope_is_named_and_the_next_login_asks_for_it() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await logged_in(client)
        service.step_up = "admin"
        with pytest.raises(AuthRequired, match=r"does not allow this request: it needs the scope 'admin'") as caught:
            await read(client)
        assert caught.value.scope == "admin"
        await logged_in(client)
        assert set(service.authorized[-1].scopes or ()) == {"notes", "admin"}
        assert await read(client) == "the note one"


async def test_the_scope_that_another_process_lacked_is_asked_for(store: Path) -> None:
    async with oauth_mcp_service() as service, opened(service.url, store) as serving:
        await logged_in(serving)
        service.step_up = "admin"
        with pytest.raises(AuthRequired):
            await read(serving)
        service.step_up = None  # so that the other process sees nothing of it by itself
        async with opened(service.url, store) as other:
            await logged_in(other)
        assert set(service.authorized[-1].scopes or ()) == {"notes", "admin"}


async def test_four_servers_that_refuse_in_their_own_ways_give_four_sentences() -> None:
    said: dict[str, str] = {}

    async def log_in(name: str, client: UtcpClient) -> None:
        try:
            await logged_in(client)
        except UtcpError as error:
            said[name] = str(error)

    async with oauth_mcp_service(hidden={"/.well-known", "/register"}) as service, opened(service.url) as client:
        await log_in("no metadata", client)
    async with oauth_mcp_service(registers=False) as service, opened(service.url) as client:
        await log_in("no registration", client)
    async with oauth_mcp_service(claimed_issuer="http://127.0.0.1:9") as service, opened(service.url) as client:
        await log_in("issuer", client)
    async with oauth_mcp_service(consent="access_denied") as service, opened(service.url) as client:
        await log_in("consent", client)
    assert "publishes no OAuth metadata" in said["no metadata"]
    assert "does not register clients, and the manual 'notes' has no client id" in said["no registration"]
    assert "which says that it is http://127.0.0.1:9" in said["issuer"]
    assert "The access was refused" in said["consent"]
    assert "access_denied" in said["consent"]
    assert all("utcp-bridge" in text or "Report it" in text for text in said.values())


@pytest.mark.parametrize(
    ("knobs", "kind", "words"),
    [
        ({"hidden": {"/.well-known", "/register"}}, Rejected, "publishes no OAuth metadata"),
        ({"registers": False}, LoginFailed, "does not register clients"),
        ({"claimed_issuer": "http://127.0.0.1:9"}, LoginFailed, "which says that it is"),
        ({}, AuthRequired, "needs a login"),
    ],
)
async def test_the_report_of_a_manual_says_what_stands_against_a_login(knobs, kind, words) -> None:
    async with oauth_mcp_service(**knobs) as service, opened(service.url) as client:
        [state] = client.report()
        assert isinstance(state.error, kind)
        assert words in str(state.error)


async def test_a_server_that_forgot_its_clients_gets_another_registration(store: Path) -> None:
    async with oauth_mcp_service() as service, opened(service.url, store) as client:
        await logged_in(client)
        service.revoke_all()
        service.clients.clear()
        with pytest.raises(AuthRequired, match="refused to renew it"):
            await read(client)
        await logged_in(client)
        assert service.requests["/register"] == 2
        assert await read(client) == "the note one"


async def test_a_login_that_failed_is_followed_by_another_registration() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await logged_in(client)
        service.consent = "access_denied"
        with pytest.raises(LoginFailed):
            await logged_in(client)
        service.consent = "allow"
        assert await read(client) == "the note one"
        await logged_in(client)
        assert service.requests["/register"] == 2


async def test_nothing_of_a_login_goes_to_another_issuer(store: Path) -> None:
    """The service names another authorization server now: the bridge registers there, and old secrets stay away."""
    async with oauth_mcp_service() as other, oauth_mcp_service() as service, opened(service.url, store) as client:
        await logged_in(client)
        [known] = service.clients.values()
        secrets = [*service.issued, str(known.client_id), str(known.client_secret)]
        service.trusted, service.renews = other, False
        with pytest.raises(AuthRequired):
            await read(client)
        person = await logged_in(client)
        assert person.visited[0].startswith(other.issuer)
        assert await read(client) == "the note one"
        assert other.requests["/register"] == other.requests["/token"] == 1
        assert not [secret for secret in secrets if any(secret.encode() in heard for heard in other.heard)]


@pytest.mark.parametrize("secret", ["s3cret+/%", None])
async def test_a_client_that_the_operator_registered_is_used(secret) -> None:
    port = free_port()
    async with oauth_mcp_service(registers=False) as service:
        method = "client_secret_basic" if secret else "none"
        service.add_client("our-client", secret, method, f"http://127.0.0.1:{port}/callback")
        auth = {"auth_type": "oauth2_login", "client_id": "our-client", "client_secret": secret, "redirect_port": port}
        async with opened(service.url, auth=auth) as client:
            await logged_in(client)
            assert await read(client) == "the note one"


async def test_an_issuer_that_the_operator_did_not_name_gets_no_login() -> None:
    async with oauth_mcp_service() as service:
        auth = {"auth_type": "oauth2_login", "issuer": "https://login.example"}
        async with opened(service.url, auth=auth) as client:
            with pytest.raises(LoginFailed, match=r"says that it is https://login\.example"):
                await logged_in(client)


async def test_a_server_that_has_pkce_and_does_not_say_so_needs_the_word_of_the_operator() -> None:
    """The server checks the verifier: a login without PKCE would end at its token endpoint."""
    async with oauth_mcp_service(announces_pkce=False) as service:
        async with opened(service.url) as client:
            with pytest.raises(LoginFailed, match=r"does not say that it supports PKCE.*\"assume_s256\": true"):
                await logged_in(client)
            assert not service.authorized
        async with opened(service.url, auth={"auth_type": "oauth2_login", "assume_s256": True}) as client:
            await logged_in(client)
            assert await read(client) == "the note one"
        assert service.authorized[0].code_challenge


async def test_the_address_of_the_last_page_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await client.login_desk.log_in("notes", Pasting())
        assert await read(client) == "the note one"


async def test_a_pasted_address_with_another_state_is_refused() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        with pytest.raises(LoginFailed, match="not the URL to which this login was redirected"):
            await client.login_desk.log_in("notes", Pasting(lambda url: url.replace("state=", "state=x")))


async def test_a_logout_revokes_the_tokens_and_forgets_them() -> None:
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await logged_in(client)
        assert await read(client) == "the note one"
        [ended] = await client.login_desk.log_out("notes")
        assert ended.resource == service.url
        assert not service.access
        assert not service.refresh
        with pytest.raises(AuthRequired, match="needs a login"):
            await read(client)


async def test_no_token_is_in_logs_errors_or_reprs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="utcp_bridge")
    async with oauth_mcp_service() as service, opened(service.url) as client:
        await logged_in(client)
        service.renews = False
        service.revoke_all()
        with pytest.raises(AuthRequired) as caught:
            await read(client)
        states = await client.login_desk.states()
        shown = f"{caplog.text} {caught.value} {caught.value!r} {states!r} {client.login_desk._logins._entries!r}"
        assert len(service.issued) == 2
        assert not [token for token in service.issued if token in shown]
        assert all(client.redactor(f"<{token}>") == "<***>" for token in service.issued)


async def test_a_server_with_a_header_of_its_own_is_left_alone() -> None:
    async with oauth_mcp_service() as service:
        entry = {
            "name": "notes",
            "call_template_type": "mcp",
            "config": {"mcpServers": {"notes": {"url": service.url, "headers": {"Authorization": "Bearer old"}}}},
        }
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            [state] = client.report()
            assert isinstance(state.error, Rejected)
            assert state.error.status == 401
            assert client.login_desk.possible("notes") == []


PROGRAM = """
import anyio, sys
from utcp_bridge import UtcpClient

async def main(url, store):
    entry = {"name": "notes", "call_template_type": "mcp", "server_url": url}
    config = {"manual_call_templates": [entry], "bridge": {"token_store": f"file:{store}", "discovery_timeout": 200}}
    async with await UtcpClient.create(config) as client:
        assert [state.error for state in client.report()] == [None]
        print(await client.call_tool("notes.read", {"name": "one"}))

anyio.run(main, *sys.argv[1:])
"""


async def test_two_processes_at_once_use_one_refresh_token_once(store: Path) -> None:
    """The server accepts each refresh token once, so a second use would end the login."""
    async with oauth_mcp_service() as service:
        async with opened(service.url, store) as client:
            await logged_in(client)
        service.revoke_all()
        before = service.requests["/token"]
        outputs: list[subprocess.CompletedProcess[bytes]] = []

        async def run() -> None:
            command = [sys.executable, "-c", PROGRAM, service.url, str(store)]
            outputs.append(await anyio.run_process(command, check=False))

        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(run)
        assert [done.stdout.strip() for done in outputs] == [b"the note one"] * 2, outputs
        assert service.requests["/token"] == before + 1
