"""Logins that a visitor begins on the page: who may, what the page learns, and what ends a login."""

import json
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from tests.interop.serving import free_port
from tests.upstreams.login_service import CLIENT, SECRET, login_service
from tests.upstreams.oauth_mcp_service import oauth_mcp_service

from utcp_bridge.console.logins import check_place
from utcp_bridge.errors import PolicyError

pytestmark = pytest.mark.anyio
TOKEN = "a-token-of-some-length"
KNOWN = {"authorization": f"Bearer {TOKEN}"}
SAFE = {"bearer_token": TOKEN, "token_store": "memory"}


def notes(service):
    return {"name": "notes", "call_template_type": "mcp", "server_url": service.url}


def shop(service, **auth):
    login = {"auth_type": "oauth2_login", "client_id": CLIENT, "client_secret": SECRET, **auth}
    entry = {"name": "shop", "call_template_type": "http", "url": service.document_url, "http_method": "GET"}
    return {**entry, "auth_tools": login}


@asynccontextmanager
async def login(served, manual="notes", **headers):
    """Begin a login, and yield its lines as they come."""
    sent = {"x-utcp-console": "1", "content-type": "application/json", **KNOWN, **headers}
    content = json.dumps({"manual": manual})
    async with served._http.stream("POST", "/console/login", content=content, headers=sent) as reply:
        assert reply.status_code == 200
        yield (json.loads(line) async for line in reply.aiter_lines() if line)


async def visit(url):
    """Open a page as the browser does, to the end of its redirects."""
    async with httpx2.AsyncClient(trust_env=False) as browser:
        return await browser.get(url, follow_redirects=True)


async def redirect_of(url):
    """Return the address to which the page of the login leads, without going there."""
    async with httpx2.AsyncClient(trust_env=False) as browser:
        return (await browser.get(url)).headers["location"]


async def is_open(url):
    try:
        await visit(url)
    except httpx2.TransportError:
        return False
    return True


async def test_a_visitor_logs_in_and_the_manual_is_ready(serving):
    async def work(served):
        page = (await served.ask("/console/parts/manuals", **KNOWN)).text
        assert ('id="login-notes"' in page, "Select “Log in”" in page) == (True, True)
        async with login(served) as lines:
            url = (await anext(lines))["url"]
            assert url.startswith(f"{service.issuer}/authorize?")
            back = await redirect_of(url)
            other = back.replace("state=", "state=x")
            assert (await visit(other)).status_code == 400  # and the login goes on
            last = await visit(back)
            assert (last.status_code, "Go back to where you began" in last.text) == (200, True)
            done = await anext(lines)
            assert (done["state"], len(done["services"])) == ("ready", 1)
            assert [one async for one in lines] == []
        assert not await is_open(back)  # the port is closed, so an address works once
        assert (await served.ask("/admin/api/tools", **KNOWN)).json()["total"] > 0
        [kept] = await served.client.login_desk.states()
        secrets = [kept.record.access_token, kept.record.refresh_token]
        told = f"{url} {done} {(await served.ask('/', **KNOWN)).text}"
        assert [one for one in secrets if one in told] == []
        called = await served.act("/admin/api/call", {"tool": "notes.read", "arguments": {"name": "one"}}, **KNOWN)
        assert called.json()["result"]["content"][0]["text"] == "the note one"

    async with oauth_mcp_service() as service:
        await serving(work, notes(service), **SAFE)


async def test_a_visitor_whom_the_bridge_does_not_know_sees_the_command(serving):
    async def work(served):
        page = (await served.ask("/console/parts/manuals")).text
        assert ('id="login-notes"' in page, "<code>utcp-bridge login notes</code>" in page) == (False, True)
        refused = await served.act("/console/login", {"manual": "notes"})
        assert (refused.status_code, "bearer_token" in refused.json()["remedy"]) == (403, True)
        assert service.requests["/authorize"] == 0

    async with oauth_mcp_service() as service:
        await serving(work, notes(service), token_store="memory")


async def test_pages_of_others_and_wrong_requests_begin_no_login(serving):
    body = {"manual": "notes"}

    async def work(served):
        registered = service.requests["/register"]
        for reply, status in (
            (await served.act("/console/login", body), 401),
            (await served.ask("/console/login", body, **KNOWN), 403),
            (await served.act("/console/login", body, **KNOWN, origin="https://evil.example"), 403),
            (await served.act("/console/login", body, **KNOWN, sec_fetch_site="cross-site"), 403),
            (await served.act("/console/login", body, **KNOWN, x_forwarded_for="192.0.2.7"), 403),
            (await served.act("/console/login", body, **KNOWN, content_type="text/plain"), 415),
            (await served.act("/console/login", {"manual": "none"}, **KNOWN), 400),
            (await served.act("/console/login", {}, **KNOWN), 400),
            (await served.ask("/console/login?manual=notes", **KNOWN), 404),
        ):
            assert reply.status_code == status, reply.text
        assert service.requests["/register"] == registered

    async with oauth_mcp_service() as service:
        await serving(work, notes(service), **SAFE)


def test_a_visitor_elsewhere_sees_the_command():
    with pytest.raises(PolicyError) as refused:
        check_place(is_here=False, manual="notes")
    assert "utcp-bridge login notes" in refused.value.remedy


async def test_a_login_ends_with_the_page_and_a_new_one_ends_the_one_before(serving):
    async def work(served):
        async with login(served, "shop") as lines:
            gone = await redirect_of((await anext(lines))["url"])
        async with login(served, "shop") as former:  # it waits until the port of the redirect is free again
            url = (await anext(former))["url"]
            async with login(served, "shop") as lines:
                assert "Another login" in (await anext(former))["message"]
                again = (await anext(lines))["url"]
                for old in (gone, await redirect_of(url)):
                    assert (await visit(old)).status_code == 400  # of another login
                await visit(again)
                assert (await anext(lines))["state"] == "ready"

    async with login_service() as service:
        auth = {"issuer": service.issuer, "redirect_port": free_port()}
        await serving(work, shop(service, **auth), **SAFE)


async def test_signing_out_ends_a_login(serving):
    async def work(served):
        await served.act("/console/session", {"secret": TOKEN})
        async with login(served, authorization="") as lines:  # by the cookie
            url = (await anext(lines))["url"]
            back = parse_qs(urlsplit(url).query)["redirect_uri"][0]
            await served._http.request("DELETE", "/console/session", headers={"x-utcp-console": "1"})
            assert "does not know you" in (await anext(lines))["message"]
        assert not await is_open(back)

    async with oauth_mcp_service() as service:
        await serving(work, notes(service), **SAFE)


async def test_a_refusal_is_shown_in_a_sentence(serving):
    async def work(served):
        async with login(served) as lines:
            await visit((await anext(lines))["url"])
            last = await anext(lines)
            assert (last["error"], "refused" in last["message"]) == ("login_failed", True)
        async with login(served, "plain") as lines:
            assert "nothing to log in to" in (await anext(lines))["message"]

    plain = {"name": "plain", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": []}}
    async with oauth_mcp_service(consent="access_denied") as service:
        await serving(work, notes(service), plain, **SAFE)


async def test_a_device_code_is_shown_with_its_page(serving):
    async def work(served):
        page = (await served.ask("/console/parts/manuals", **KNOWN)).text
        assert 'id="login-shop"' in page  # its tools need a login, though it is ready
        async with login(served, "shop") as lines:
            assert await anext(lines) == {"url": f"{service.url}/enter", "code": "ABCD-EFGH"}

    async with login_service() as service:
        await serving(work, shop(service, issuer=service.issuer, flow="device"), **SAFE)
