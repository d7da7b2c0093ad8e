"""`utcp-bridge console` in its own process."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from aiohttp import web

from utcp_bridge.cli.commands.console.console import _ConsoleLock
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
        return _opener.open(request, timeout=60)
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
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_console_without_jinja_is_refused_in_a_sentence(command, monkeypatch):
    monkeypatch.setattr("utcp_bridge.cli.commands.console.console.find_spec", lambda _name: None)
    done = command("console", "--no-browser")
    assert (done.code, "utcp-bridge[console]" in done.err) == (2, True)


@pytest.mark.anyio
async def test_tools_that_differ_from_the_lock_file_are_listed_and_approved(tmp_path):
    def describe(description):
        path = tmp_path / "manual.json"
        call = {"call_template_type": "http", "url": f"{url}/x", "http_method": "GET"}
        path.write_text(
            json.dumps(
                {"utcp_version": "1.0.1", "tools": [{**TOOL, "description": description, "tool_call_template": call}]}
            )
        )

    async def manual(_request):
        return web.Response(body=(tmp_path / "manual.json").read_bytes(), content_type="application/json")

    app = web.Application()
    app.router.add_get("/manual.json", manual)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    entry = {"name": "far", "call_template_type": "http", "url": f"{url}/manual.json"}
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [entry]}))
    describe("One.")
    try:
        async with await UtcpClient.create(tmp_path / "utcp.json") as client:
            lock = _ConsoleLock(Options((str(tmp_path / "utcp.json"),)), client)
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
    finally:
        await runner.cleanup()
