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
