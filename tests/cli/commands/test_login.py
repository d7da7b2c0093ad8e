"""`utcp-bridge login`, as a process with a browser, and `utcp-bridge logout`."""

import json
import re
import subprocess
import sys

import anyio
import httpx2
import pytest
from anyio.streams.text import TextReceiveStream
from tests.support.login_program import configured, environment, ran
from tests.upstreams.oauth_mcp_service import oauth_mcp_service

pytestmark = pytest.mark.anyio


def entry(service):
    return {"name": "notes", "call_template_type": "mcp", "server_url": service.url}


async def test_check_and_doctor_name_the_command_and_the_command_makes_the_tools_work(tmp_path):
    async with oauth_mcp_service() as service:
        configured(tmp_path, entry(service))
        checked = await ran(tmp_path, "check")
        assert checked.returncode == 5
        assert f"error: notes: {service.url} needs a login. Run `utcp-bridge login notes`." in checked.stdout
        examined = await ran(tmp_path, "doctor", "--json")
        steps = {step["step"]: step for step in json.loads(examined.stdout)["manuals"][0]["steps"]}
        assert steps["auth"]["status"] == "failed"
        assert "needs a login" in steps["auth"]["message"]
        assert "utcp-bridge login notes" in steps["auth"]["remedy"]

        made = await ran(tmp_path, "login", "notes")
        assert made.returncode == 0, made.stderr
        assert made.stdout == f"Logged in to {service.url} with {service.issuer}.\n"
        called = await ran(tmp_path, "call", "notes.read", "name=one")
        assert called.stdout.strip() == "the note one", called.stderr
        for output in (made, called, examined):
            assert not [token for token in service.issued if token in output.stdout + output.stderr]


async def test_without_a_browser_the_address_is_printed_and_the_redirect_is_pasted(tmp_path):
    async with oauth_mcp_service() as service:
        configured(tmp_path, entry(service))
        command = [sys.executable, "-m", "utcp_bridge", "login", "notes", "--no-browser", "--json"]
        pipe = subprocess.PIPE
        async with await anyio.open_process(
            command, cwd=tmp_path, env=environment(tmp_path), stdin=pipe, stdout=pipe, stderr=pipe
        ) as process:
            shown = ""
            with anyio.fail_after(200):
                stderr = TextReceiveStream(process.stderr)
                while not (found := re.search(r"(http://\S+/authorize\S+)\n", shown)):
                    shown += await stderr.receive()
            async with httpx2.AsyncClient(trust_env=False) as browser:
                address = (await browser.get(found[1])).headers["Location"]
            await process.stdin.send(f"{address}\n".encode())
            output = "".join([text async for text in TextReceiveStream(process.stdout)])
        [login] = json.loads(output)["logins"]
        assert (login["service"], login["renewable"], login["manual"]) == (service.url, True, "notes")
        assert not [token for token in service.issued if token in output + shown]


async def test_an_error_that_only_the_browser_shows_ends_the_login_with_what_to_do(tmp_path):
    async with oauth_mcp_service(consent="page") as service:
        configured(tmp_path, entry(service))
        ended = await ran(tmp_path, "login", "notes", "--timeout", "1")
        assert (ended.returncode, ended.stdout) == (5, "")
        assert f"The browser has not come back yet. If the page of {service.issuer} shows an error" in ended.stderr
        [error] = [line for line in ended.stderr.splitlines() if "within 1 seconds" in line]
        assert f"The browser did not come back from {service.issuer}" in error
        assert "registered there" in error


async def test_a_refusal_is_one_line_and_an_exit_code(tmp_path):
    async with oauth_mcp_service(consent="access_denied") as service:
        configured(tmp_path, entry(service))
        refused = await ran(tmp_path, "login", "notes")
        assert refused.returncode == 5
        assert "The access was refused" in refused.stderr
        assert "Traceback" not in refused.stderr


async def test_a_manual_that_does_not_exist_is_reported_with_those_that_do(tmp_path):
    configured(tmp_path, {"name": "notes", "call_template_type": "text", "content": '{"tools": []}'})
    for arguments, words in (
        (("login", "calendar"), "The configuration does not have a manual 'calendar'. It has: notes."),
        (("logout", "note"), "The configuration does not have a manual 'note'. Did you mean notes?"),
        (("login", "notes"), "The manual 'notes' has nothing to log in to."),
    ):
        done = await ran(tmp_path, *arguments)
        assert done.returncode == 2
        assert words in done.stderr


async def test_a_manual_is_found_by_its_name_as_it_is_written(tmp_path):
    broken = {"call_template_type": "text", "content": '{"tools": []}'}
    configured(tmp_path, {**broken, "name": "my.notes"}, {**broken, "name": "..."})
    for name in ("my.notes", "my_notes"):
        done = await ran(tmp_path, "login", name)
        assert "has nothing to log in to" in done.stderr, "one entry without a usable name does not hide the others"


async def test_a_logout_revokes_the_tokens_here_and_there(tmp_path):
    async with oauth_mcp_service() as service:
        configured(tmp_path, {"name": "notes", "call_template_type": "mcp", "server_url": service.url})
        await ran(tmp_path, "login", "notes")
        assert service.access
        ended = await ran(tmp_path, "logout", "notes")
        assert (ended.returncode, ended.stdout) == (0, f"Logged out of {service.url}.\n")
        assert not service.access
        again = await ran(tmp_path, "logout", "notes")
        assert (again.returncode, again.stdout) == (0, "")
        assert "notes has no login." in again.stderr


async def test_every_login_has_a_row_without_its_tokens(tmp_path):
    async with oauth_mcp_service() as service:
        configured(tmp_path, {"name": "notes", "call_template_type": "mcp", "server_url": service.url})
        nothing = await ran(tmp_path, "auth", "status")
        assert "has no logins." in nothing.stderr
        await ran(tmp_path, "login", "notes")
        shown = await ran(tmp_path, "auth", "status")
        [head, row] = [line.split() for line in shown.stdout.splitlines()]
        assert head == ["MANUAL", "SERVICE", "ISSUER", "STATUS", "UNTIL"]
        assert row[:4] == ["notes", service.url, service.issuer, "valid"]
        listed = await ran(tmp_path, "auth", "status", "--json")
        [login] = json.loads(listed.stdout)["logins"]
        assert (login["scope"], login["ended"], login["renewable"]) == ("notes", False, True)
        assert not [token for token in service.issued if token in shown.stdout + listed.stdout]


# --- the tokens of clients


def test_a_new_token_is_printed_alone_with_how_a_client_sends_it(command, tmp_path):
    (tmp_path / "utcp.json").write_text(json.dumps({"bridge": {"access": {"tokens_file": "tokens.json"}}}))
    made = command("token", "add", "ci")
    assert made.code == 0
    assert made.out.startswith("utcpb_")
    assert "`Authorization: Bearer TOKEN`" in made.err
    assert made.out.strip() not in made.err + (tmp_path / "tokens.json").read_text()


def test_a_profile_that_the_configuration_does_not_have_makes_no_token(command, tmp_path):
    access = {"tokens_file": "tokens.json", "profiles": {"support": {}, "reports": {}}}
    (tmp_path / "utcp.json").write_text(json.dumps({"bridge": {"access": access}}))
    refused = command("token", "add", "ci", "--profile", "support", "--profile", "report")
    what = "`--profile`: the configuration does not have a profile 'report'. Did you mean 'reports'?"
    assert (refused.code, what in refused.err) == (2, True)
    assert not (tmp_path / "tokens.json").exists()
    made = json.loads(command("token", "add", "ci", "--profile", "support", "--profile", "reports", "--json").out)
    assert made["profiles"] == ["support", "reports"]
