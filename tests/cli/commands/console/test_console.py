"""`utcp-bridge console` in its own process."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from aiohttp import web

from utcp_bridge.cli.locking import ConsoleLock
from utcp_bridge.cli.options import Options
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import UnknownTool

TOOL = {"name": "own", "tool_call_template": {"call_template_type": "text", "content": "done"}}
MANUAL = {"name": "mine", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [TOOL]}}
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url, *, body=None, cookie=""):
    headers = {"accept": "text/html", "cookie": cookie, "content-type": "application/json", "x-utcp-console": "1"}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        return _opener.open(request, timeout=200)
    except urllib.error.HTTPError as error:
        return error


@pytest.mark.posix
def test_the_address_with_a_code_gives_one_browser_a_cookie_and_a_signal_ends_the_console(tmp_path):
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [MANUAL]}))
    command = [sys.executable, "-m", "utcp_bridge", "console", "utcp.json", "--no-browser"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert "on this machine" in process.stderr.readline()
            base, code = re.match(r" +(http://127\.0\.0\.1:\d+/)#code=(\S+)\n$", process.stderr.readline()).groups()
            with ask(base) as page:
                assert (page.status, b"mine" in page.read()) == (401, False)
            with ask(f"{base}console/session", body={"secret": code}) as entered:
                cookie = entered.headers["set-cookie"].partition(";")[0]
            with ask(f"{base}console/session", body={"secret": code}) as again:
                assert again.status == 401
            with ask(base, cookie=cookie) as page:
                assert b"mine" in page.read()
            with ask(f"{base}mcp") as nothing:
                assert nothing.status == 404
        finally:
            os.kill(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=200)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_console_without_jinja_is_refused_in_a_sentence(command, monkeypatch):
    monkeypatch.setattr("utcp_bridge.cli.commands.console.console.find_spec", lambda _name: None)
    done = command("console", "--no-browser")
    assert (done.code, "[console]" in done.err) == (2, True)


@asynccontextmanager
async def far_manual(folder, **bridge):
    """Serve a manual with one tool, which `describe(text)` changes, and write a configuration of it."""
    described = []

    async def manual(_request):
        call = {"call_template_type": "http", "url": f"{url}/x", "http_method": "GET"}
        tool = {**TOOL, "description": described[-1], "tool_call_template": call}
        return web.json_response({"utcp_version": "1.0.1", "tools": [tool]})

    app = web.Application()
    app.router.add_get("/manual.json", manual)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        entry = {"name": "far", "call_template_type": "http", "url": f"{url}/manual.json"}
        config = {"manual_call_templates": [entry], "bridge": bridge}
        (folder / "utcp.json").write_text(json.dumps(config))
        yield url, described.append
    finally:
        await runner.cleanup()


@pytest.mark.anyio
async def test_tools_that_differ_from_the_lock_file_are_listed_and_approved(tmp_path):
    async with far_manual(tmp_path) as (url, describe):
        describe("One.")
        async with await UtcpClient.create(tmp_path / "utcp.json") as client:
            lock = ConsoleLock(Options((str(tmp_path / "utcp.json"),)), client)
            first = await lock.differences()
            assert [(one["name"], one["change"], one["what"]) for one in first["differences"]] == [
                ("far.own", "new", f"calls {url}")
            ]
            assert (await lock.approve(["far.own"]))["approved"] == ["far.own"]
            describe("Two.")
            [changed] = (await lock.differences())["differences"]
            assert changed == {"name": "far.own", "change": "changed", "what": "description", "text": "Two."}
            with pytest.raises(UnknownTool, match="does not differ"):
                await lock.approve(["far.none"])


async def serving(folder, work):
    """Run `work(base)` while `utcp-bridge serve --http` serves the folder's configuration."""
    command = [sys.executable, "-m", "utcp_bridge", "serve", "utcp.json", "--http", "--port", "0"]
    async with await anyio.open_process(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            text = ""
            while (found := re.search(r"Serving MCP on (http://127\.0\.0\.1:\d+)/mcp", text)) is None:
                text += (await process.stderr.receive()).decode()
            await work(found[1])
        finally:
            process.terminate()


@pytest.mark.anyio
@pytest.mark.posix
async def test_a_bridge_over_http_compares_for_everybody_and_approves_for_visitors_with_a_token(tmp_path):
    token = "a-token-of-some-length"

    async def request(base, path, body=None, token=""):
        headers = {"content-type": "application/json", "x-utcp-console": "1", "accept": "text/html"}
        headers |= {"authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(trust_env=False, timeout=200, headers=headers, base_url=base) as browser:
            return await (browser.get(path) if body is None else browser.post(path, content=json.dumps(body)))

    async def unknown(base):
        found = await request(base, "/admin/api/drift")
        assert [one["name"] for one in found.json()["differences"]] == ["far.own"]
        page = (await request(base, "/console/parts/drift?compare=now")).text
        assert ("far.own" in page, "Approve" in page, "bearer_token" in page) == (True, False, True)
        refused = await request(base, "/admin/api/approve", {"names": ["far.own"]})
        assert (refused.status_code, (tmp_path / "utcp.lock").exists()) == (403, False)

    async def known(base):
        assert (await request(base, "/admin/api/approve", {"names": ["far.own"]})).status_code == 401
        assert "Approve" in (await request(base, "/console/parts/drift?compare=now", token=token)).text
        approved = await request(base, "/admin/api/approve", {"names": ["far.own"]}, token)
        assert (approved.status_code, approved.json()["approved"]) == (200, ["far.own"])
        assert "far.own" in (tmp_path / "utcp.lock").read_text()
        describe("Two.")
        [changed] = (await request(base, "/admin/api/drift", token=token)).json()["differences"]
        assert (changed["change"], changed["text"]) == ("changed", "Two.")

    async with far_manual(tmp_path) as (_, describe):
        describe("One.")
        await serving(tmp_path, unknown)
    async with far_manual(tmp_path, bearer_token=token) as (_, describe):
        describe("One.")
        await serving(tmp_path, known)
