"""`utcp-bridge list` and `status` of real configurations."""

import json
from pathlib import Path

import pytest

from utcp_bridge.cli import starting


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setattr(Path, "home", lambda: folder)
    return folder


def test_list_shows_what_is_written_without_secrets_and_loads_nothing(command, tmp_path):
    entries = [
        {"name": "far", "call_template_type": "http", "url": "http://127.0.0.1:9/x?key=sk-4711"},
        {"name": "near", "call_template_type": "mcp", "command": "my-server --token sk-4711"},
        {
            "name": "both",
            "call_template_type": "mcp",
            "config": {"mcpServers": {"a": {"command": "x"}, "b": {"url": "u"}}},
        },
    ]
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": entries, "registries": ["http://127.0.0.1:9/?k=sk-4711"]}))
    done = command("list", str(path))
    assert done.code == 0, done.err
    assert "sk-4711" not in done.out + done.err
    rows = json.loads(command("list", str(path), "--json").out)["manuals"]
    assert [(row["name"], row["kind"], row["source"]) for row in rows[:3]] == [
        ("far", "http", "http://127.0.0.1:9/x"),
        ("near", "mcp", "my-server"),
        ("both", "mcp", "a, b"),
    ]
    assert rows[3]["kind"] == "registry"


def test_list_reports_entries_that_cannot_be_used(command, manual):
    done = command("list", manual)
    assert done.code == 2
    assert "no_such_type" in done.err
    assert "notices" in done.out


def test_status_has_a_line_for_each_manual_and_the_code_of_the_first_that_failed(command, manual):
    done = command("status", manual)
    assert done.code == 5
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert lines["notices"].split()[1:3] == ["degraded", "2"]
    assert lines["gone"].split()[1] == "failed"
    states = {one["name"]: one for one in json.loads(command("status", manual, "--json").out)["manuals"]}
    assert states["gone"]["error"]["code"]
    assert (states["notices"]["state"], states["notices"]["error"]) == ("degraded", None)


def test_status_names_the_hosts_that_start_the_configuration(command, tmp_path, home, monkeypatch):
    monkeypatch.setattr(starting, "check_entry", lambda *_arguments, **_options: 0)
    path = tmp_path / "utcp.yaml"
    path.write_text("manual_call_templates: []\n")
    assert "No host on this machine starts" in command("status").err
    assert command("install", "cursor", "utcp.yaml", "--name", "mine").code == 0
    done = command("status", "utcp.yaml")
    assert "Started by Cursor (mine)." in done.out
    [host] = json.loads(command("status", str(path), "--json").out)["hosts"]
    assert (host["host"], host["entry"]) == ("cursor", "mine")


def test_a_server_that_is_switched_off_is_disabled_and_not_ready(command, tmp_path):
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"a": {"command": "x", "disabled": true}}}')
    shown = command("status", "mcp.json", "--json")
    assert shown.code == 0
    assert json.loads(shown.out)["manuals"][0]["state"] == "disabled"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ('{"name": "pets", "call_template_type": "htpp", "url": "http://127.0.0.1:9/"}', 2),
        ('{"name": "pets"}, {"name": "pets"}', 2),
        ('{"name": "pets", "call_template_type": "text", "content": "{\\"tools\\": []}", "exlude": ["x"]}', 2),
        ('{"name": "pets", "call_template_type": "text", "content": "{\\"tools\\": []}"}', 0),
    ],
    ids=["type", "name", "key", "well"],
)
def test_an_entry_that_cannot_be_used_has_the_same_exit_code_for_list_status_and_check(command, tmp_path, entry, code):
    (tmp_path / "utcp.json").write_text(f'{{"manual_call_templates": [{entry}]}}')
    codes = {verb: command(verb, "utcp.json").code for verb in ("list", "status", "check")}
    assert codes == {"list": code, "status": code, "check": code}
