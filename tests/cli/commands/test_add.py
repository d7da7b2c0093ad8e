"""`utcp-bridge add` and `remove` with real documents, servers and programs on loopback, and a person at a terminal."""

import json
import os
import pty
import re
import select
import signal
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from tests.support.source import TESTS
from tests.upstreams.oauth_mcp_service import oauth_mcp_service

from utcp_bridge.cli import sources

MCP_SERVER = TESTS / "upstreams" / "mcp_server.py"
KEY = "sk-live-4711"


def operation(name, **more):
    return {"operationId": name, "responses": {"200": {"description": "ok"}}, **more}


def described(server):
    """Return a description with two ways to authenticate, whose calls go to `server`."""
    return {
        "openapi": "3.0.3",
        "info": {"title": "Acme Payments API", "version": "1"},
        "servers": [{"url": server}],
        "security": [{"key": []}, {"login": []}],
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "login": {"type": "http", "scheme": "basic"},
            }
        },
        "paths": {
            "/me": {"get": operation("whoAmI")},
            "/payments": {"get": operation("listPayments"), "post": operation("pay")},
        },
    }


@contextmanager
def listening(answers):
    """Serve JSON on loopback; yield the address and the requests as (path, headers)."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, dict(self.headers)))
            found = answers.get(self.path)
            body = json.dumps(found if found is not None else {"error": "not here"}).encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.send_error(404)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def acme():
    """Two servers, as vendors have them: one for the description, one for the calls."""
    with listening({"/me": {"id": 1}}) as (api, calls), listening({"/specs/acme.json": described(api)}) as (docs, _):
        yield f"{docs}/specs/acme.json", api, calls


def entries(path="utcp.yaml"):
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))["manual_call_templates"]


def test_a_description_is_added_with_its_header_and_the_origin_of_its_calls(command, acme):
    url, api, _ = acme
    done = command("add", url, "--yes")
    assert done.code == 0, done.err
    assert "Acme Payments API (OpenAPI description): 3 tools, as the manual 'acme_payments'." in done.err
    assert f"Calls go to {api}." in done.err
    assert "1. a key in the header X-API-Key: ACME_PAYMENTS_API_KEY" in done.err
    assert "2. a user name and a password: ACME_PAYMENTS_USERNAME, ACME_PAYMENTS_PASSWORD" in done.err
    assert "ACME_PAYMENTS_API_KEY=…" in done.err
    assert entries() == [
        {
            "name": "acme_payments",
            "call_template_type": "http",
            "url": url,
            "allowed_origins": [api],
            "auth_tools": {
                "auth_type": "api_key",
                "api_key": "${ACME_PAYMENTS_API_KEY}",
                "var_name": "X-API-Key",
                "location": "header",
            },
        }
    ]
    assert not Path(".env").exists()


def test_without_consent_calls_to_another_origin_are_not_allowed(command, acme):
    url, api, _ = acme
    done = command("add", url)
    assert done.code == 2
    assert f"Calls would go to {api}" in done.err
    assert "--yes" in done.err
    assert not Path("utcp.yaml").exists()


def test_a_key_from_stdin_goes_into_a_private_file_and_nowhere_else(command, acme, monkeypatch):
    url, _, _ = acme
    Path(".env").write_text("OTHER=1\n")
    reading, writing = os.pipe()
    os.write(writing, f"{KEY}\n".encode())
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        done = command("add", url, "--name", "acme", "--key-stdin", "--yes", "--json", "--no-try")
    assert done.code == 0, done.err
    assert Path(".env").read_text() == f"OTHER=1\nACME_API_KEY={KEY}\n"
    assert Path(".env").stat().st_mode & 0o777 == 0o600
    assert KEY not in done.out + done.err + Path("utcp.yaml").read_text()
    report = json.loads(done.out)
    assert (report["name"], report["tools"], report["status"]) == ("acme", 3, "ready")
    assert report["keys_written"] == ["ACME_API_KEY"]
    assert [one["variables"] for one in report["credentials"]] == [["ACME_API_KEY"], ["ACME_USERNAME", "ACME_PASSWORD"]]


def test_the_harmless_call_is_sent_with_the_key(command, acme, monkeypatch):
    url, _, calls = acme
    monkeypatch.setenv("ACME_API_KEY", KEY)
    done = command("add", url, "--name", "acme", "--yes")
    assert done.code == 0, done.err
    assert "A call of acme.whoAmI worked." in done.err
    assert [(path, headers.get("X-API-Key")) for path, headers in calls] == [("/me", KEY)]


def test_a_key_that_is_refused_is_reported_with_its_exit_code(command, monkeypatch):
    with listening({}) as (api, _), listening({"/acme.json": described(api)}) as (docs, _):
        monkeypatch.setenv("ACME_API_KEY", KEY)
        done = command("add", f"{docs}/acme.json", "--name", "acme", "--yes")
    assert done.code == 5
    assert "The call of acme.whoAmI failed" in done.err
    assert [entry["name"] for entry in entries()] == ["acme"]


@pytest.mark.parametrize("way", ["--key-stdin", "--key-file"])
def test_too_few_lines_for_the_credentials_write_nothing(command, acme, monkeypatch, tmp_path, way):
    url, _, _ = acme
    (tmp_path / "key").write_text("user\n")
    with (tmp_path / "key").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        given = [way, str(tmp_path / "key")] if way == "--key-file" else [way]
        done = command("add", url, "--auth", "2", "--yes", *given)
    assert done.code == 2
    assert "one line for each of ACME_PAYMENTS_USERNAME, ACME_PAYMENTS_PASSWORD" in done.err
    assert not Path("utcp.yaml").exists()


def test_comments_and_order_of_the_configuration_stay_and_remove_restores_them(command, acme):
    url, _, _ = acme
    before = (
        "# mine\nbridge:\n  exposure: all   # always\nmanual_call_templates:\n"
        "  - name: a   # first\n    call_template_type: text\n    content: x\n"
    )
    Path("utcp.yaml").write_text(before)
    assert command("add", url, "--name", "acme", "--yes").code == 0
    text = Path("utcp.yaml").read_text()
    assert text.startswith(before)
    assert "  # Acme Payments API (OpenAPI description)\n  - name: acme\n" in text
    again = command("add", url, "--name", "acme", "--yes")
    assert (again.code, "already a manual named 'acme'" in again.err) == (2, True)
    shown = command("remove", "acme", "--dry-run")
    assert "-  - name: acme" in shown.out
    removed = command("remove", "acme")
    assert removed.code == 0, removed.err
    assert Path("utcp.yaml").read_text() == before


def test_remove_names_what_is_left_in_the_file_of_variables(command, acme):
    url, _, _ = acme
    Path("key").write_text(KEY)
    assert command("add", url, "--name", "acme", "--yes", "--key-file", "key", "--no-try").code == 0
    done = command("remove", "acme")
    assert "still has ACME_API_KEY" in done.err
    assert KEY not in done.err
    unknown = command("remove", "acmee")
    assert unknown.code == 2
    assert "does not have a manual 'acmee'" in unknown.err


def test_the_command_of_an_mcp_server_is_started_and_written(command):
    done = command("add", f"{sys.executable} {MCP_SERVER} shop", "--name", "shop", "--yes")
    assert done.code == 0, done.err
    assert "MCP server" in done.err
    [entry] = entries()
    assert entry["command"] == f"{sys.executable} {MCP_SERVER} shop"
    assert json.loads(command("status", "--json").out)["manuals"][0]["tools"] > 0
    words = command("add", "--name", "other", "--yes", "-c", "utcp.yaml", "--", sys.executable, str(MCP_SERVER), "b")
    assert words.code == 0, words.err
    assert [one["name"] for one in entries()] == ["shop", "other"]


@pytest.mark.anyio
async def test_an_mcp_server_that_wants_a_login_is_recognised(tmp_path):
    async with oauth_mcp_service() as service:
        found = await sources.examine(service.url)
    assert found.kind == "MCP server"
    assert "login" in found.notes[0]
    [way] = found.ways("notes")
    assert way.variables == ("NOTES_TOKEN",)


def test_a_manual_names_its_own_variables(command):
    template = {"call_template_type": "http", "url": "http://127.0.0.1:9/x", "headers": {"X": "${TOKEN}"}}
    tools = [{"name": "t", "tool_call_template": template}]
    Path("m.json").write_text(json.dumps({"utcp_version": "1.0.1", "info": {"title": "My tools"}, "tools": tools}))
    done = command("add", "m.json", "--yes", "--no-try")
    assert done.code == 0, done.err
    assert "m_TOKEN=…" in done.err
    [entry] = entries()
    assert entry["file_path"] == "./m.json"
    assert entry["allowed_communication_protocols"] == ["file", "http"]


@pytest.mark.parametrize("server", [{"command": "touch", "disabled": "${OFF}"}, {"command": "touch"}])
def test_a_manual_gets_no_leave_to_start_programs(command, server):
    templates = [
        {"call_template_type": "http", "url": "http://127.0.0.1:9/x"},
        {"call_template_type": "cli", "command_name": "touch x"},
        {"call_template_type": "mcp", "config": {"mcpServers": {"s": server}}},
    ]
    tools = [{"name": f"t{at}", "tool_call_template": one} for at, one in enumerate(templates)]
    Path("m.json").write_text(json.dumps({"utcp_version": "1.0.1", "tools": tools}))
    done = command("add", "m.json", "--yes", "--no-try")
    assert done.code == 0, done.err
    assert "Tools of the type cli, mcp run programs on this machine, so they are left out." in done.err
    assert entries()[0]["allowed_communication_protocols"] == ["file", "http"]


def test_a_public_api_is_found_by_its_name(command, acme, monkeypatch):
    """A server on loopback has the place of the vendor's."""
    url, api, _ = acme
    recipe = sources.Recipe(
        "acme",
        "Acme",
        url,
        (api,),
        {"header": "Authorization", "prefix": "Token "},
        "https://acme.example/keys",
        "/me",
        "",
    )
    monkeypatch.setattr(sources, "recipes", lambda: {"acme": recipe})
    monkeypatch.setenv("ACME_TOKEN", KEY)
    done = command("add", "acme", "--yes")
    assert done.code == 0, done.err
    assert "1. a token, sent as `Authorization: Token …`: ACME_TOKEN" in done.err
    assert "A key is made at https://acme.example/keys" in done.err
    assert entries()[0]["auth_tools"]["api_key"] == "Token ${ACME_TOKEN}"
    assert entries()[0]["url"] == url


def test_each_recipe_is_complete():
    known = sources.recipes()
    assert len(known) >= 20
    for one in known.values():
        assert re.fullmatch(r"[a-z0-9-]+", one.name)
        assert one.url.startswith("https://")
        assert all(origin == sources._origin(origin) for origin in one.origins), one
        assert not one.key or one.page.startswith("https://")
        assert set(one.key) <= {"header", "prefix", "basic"}


def test_the_public_apis_are_listed(command):
    assert "github" in command("add", "--list").out
    assert "github" in [one["name"] for one in json.loads(command("add", "--list", "--json").out)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 1, "Missing argument 'PLACE'"),
        (["githup"], 2, "Did you mean github"),
        (["nope"], 2, "`utcp-bridge add --list` lists the APIs"),
        (["no-such-program --flag"], 2, "no-such-program is not on PATH"),
        (["http://127.0.0.1:9/x.json"], 5, "127.0.0.1:9"),
        (["hosts.json"], 2, "utcp-bridge migrate hosts.json"),
        (["utcp.yaml", "-c", "utcp.yaml"], 2, "configuration instead of a manual"),
        (["odd.json"], 5, "neither an API description"),
        (["spec.json"], 2, "--base-url"),
        (["spec.json", "--base-url", "http://127.0.0.1:9", "--yes", "-c", "spec.json"], 2, "one manual instead of"),
        (["spec.json", "--base-url", "http://127.0.0.1:9", "--yes", "--name", "a b"], 1, "--name"),
        (["spec.json", "--base-url", "http://127.0.0.1:9", "--yes", "--auth", "9"], 1, "Missing"),
        (["spec.json", "-c", "a.yaml", "-c", "b.yaml"], 2, "one configuration file"),
    ],
)
def test_a_place_that_cannot_be_added_is_one_clear_line(command, arguments, code, words):
    Path("hosts.json").write_text('{"mcpServers": {"a": {"command": "x"}}}')
    Path("utcp.yaml").write_text("manual_call_templates: []\n")
    Path("odd.json").write_text('{"a": 1}')
    description = described("http://127.0.0.1:9")
    del description["servers"]
    Path("spec.json").write_text(json.dumps(description))
    before = {path.name: path.read_text() for path in Path().iterdir() if path.is_file()}
    done = command("add", *arguments)
    if words == "Missing":
        words = "--auth must be at most 2"
    assert done.code == code, done.err
    assert words in done.err
    assert "Traceback" not in done.err
    assert {path.name: path.read_text() for path in Path().iterdir() if path.is_file()} == before


def at_terminal(words, answers):
    """Run the command on a pseudo-terminal; give each answer when its question is shown. Return what was shown."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "utcp_bridge", *words])
    shown, waiting = "", list(answers)
    while select.select([terminal], [], [], 60)[0]:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # the other side is closed
            part = b""
        if not part:
            break
        shown += part.decode(errors="replace")
        if waiting and waiting[0][0] in shown:
            os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
    else:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert waiting == [], shown
    return os.waitstatus_to_exitcode(status), shown


def test_a_person_is_asked_and_the_key_is_not_shown(acme, tmp_path):
    url, _, _ = acme
    answers = [
        ("Which one?", "1"),
        ("with your credentials?", "y"),
        ("(empty: later): ", KEY),  # the blank at its end comes once the terminal no longer shows what is typed
        ("into which host", "cursor"),
    ]
    code, shown = at_terminal(["add", url, "--no-try"], answers)
    assert code == 0, shown
    assert "acme_payments: ready, 3 tools." in shown
    assert "utcp" in json.loads((tmp_path / "home" / ".cursor" / "mcp.json").read_text())["mcpServers"]
    assert KEY not in shown
    assert (tmp_path / ".env").read_text() == f"ACME_PAYMENTS_API_KEY={KEY}\n"
    assert entries()[0]["name"] == "acme_payments"


def test_a_person_who_says_no_changes_nothing(acme, tmp_path):
    url, _, _ = acme
    code, shown = at_terminal(["add", url], [("Which one?", "2"), ("with your credentials?", "n")])
    assert code == 130, shown
    assert not (tmp_path / "utcp.yaml").exists()


@pytest.mark.parametrize(
    ("place", "title", "name"),
    [
        ("https://api.example.com/openapi.json", "Anything", "example"),
        ("https://raw.githubusercontent.com/a/b/main/adyen.json", "", "adyen"),
        ("https://raw.githubusercontent.com/a/b/main/x.json", "GitHub v3 REST API", "github"),
        ("http://127.0.0.1:4605/adyen.json", "Adyen Checkout API", "adyen_checkout"),
        ("http://127.0.0.1:4605/", "", "api_127_0_0_1"),
        ("2024.yaml", "", "api_2024"),
        ("null.json", "", "api_null"),
        ("/x/my proj/specs/petstore.yaml", "", "petstore"),
        ("npx -y @modelcontextprotocol/server-filesystem /tmp/a /tmp/b", "", "server_filesystem"),
        ("docker run -i --rm -e KEY ghcr.io/github/github-mcp-server:1.2", "", "github_mcp_server"),
        ("uvx --from git+https://example.com/x my-tool --flag", "", "my_tool"),
    ],
)
def test_a_source_is_named_after_what_it_is(place, title, name):
    assert sources.suggested_name(place, title, ()) == name
    assert sources.suggested_name(place, title, [name]) == f"{name}_2"
    assert yaml.safe_load(f"name: {name}") == {"name": name}


def test_a_preview_of_remove_has_no_secrets(command, tmp_path):
    (tmp_path / "utcp.yaml").write_text(
        """manual_call_templates:
  - {name: a, call_template_type: http, url: "https://a.example", headers: {X-Api-Key: s3cret-1}}
  - name: b
    call_template_type: mcp
    command: x
    env: {TOKEN: s3cret-2}
"""
    )
    shown = command("remove", "b", "-c", "utcp.yaml", "--dry-run")
    assert shown.code == 0
    assert "-  - name: b" in shown.out
    assert "s3cret" not in shown.out
