"""`utcp-bridge migrate`: two real MCP servers move behind the bridge, and their tools still work."""

import json
import re
import shlex
import sys

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from tests.support.source import DOCS, TESTS

pytestmark = pytest.mark.usefixtures("own_home")
SERVER = TESTS / "upstreams" / "mcp_server.py"


def server(name):
    env = {"PYTHONPATH": str(SERVER.parents[2]), "TOKEN": f"s3cret of {name}"}
    return {"command": sys.executable, "args": [str(SERVER), name], "env": env}


@pytest.fixture
def host_file(tmp_path):
    path = tmp_path / "mcp.json"
    content = {"theme": "dark", "mcpServers": {"alpha": server("alpha"), "beta": server("beta")}}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


async def who(entry):
    command = StdioServerParameters(command=entry["command"], args=entry["args"])
    with anyio.fail_after(200):
        async with Client(command) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"alpha_who", "beta_who"} <= names
            results = [await client.call_tool(f"{name}_who", {}) for name in ("alpha", "beta")]
    return [result.content[0].text for result in results]


def test_after_the_move_the_one_entry_reaches_the_tools_of_both_servers(command, host_file):
    done = command("migrate", str(host_file))
    assert done.code == 0, done.err
    assert "beta offers 9 tools, 3 resources, 2 resource templates" in done.err
    moved = json.loads(host_file.read_text())
    assert moved["theme"] == "dark"
    assert list(moved["mcpServers"]) == ["utcp"]
    assert "TOKEN=" in host_file.with_name("utcp.env").read_text()
    assert anyio.run(who, moved["mcpServers"]["utcp"]) == ["alpha", "beta"]
    dotenv = host_file.with_name("utcp.env")
    assert dotenv.stat().st_mode & 0o777 == 0o600
    assert "s3cret of alpha" in dotenv.read_text()
    assert "s3cret" not in host_file.with_name("utcp.json").read_text()
    assert "s3cret" in host_file.with_name("mcp.json.bak").read_text()
    again = command("migrate", str(host_file))
    assert "nothing to move" in again.err
    assert json.loads(host_file.read_text()) == moved


def test_a_moved_server_that_does_not_work_is_reported_and_moved_all_the_same(command, tmp_path):
    host = tmp_path / "mcp.json"
    host.write_text(json.dumps({"mcpServers": {"gone": {"command": "no-such-command-anywhere"}}}))
    done = command("migrate", str(host))
    assert done.code == 0
    assert "gone does not work yet: " in done.err
    assert "no-such-command-anywhere" in done.err
    assert list(json.loads(host.read_text())["mcpServers"]) == ["utcp"]


def test_servers_move_one_by_one_and_some_stay(command, host_file):
    assert command("migrate", str(host_file), "--only", "alpha", "--no-check").code == 0
    servers = json.loads(host_file.read_text())["mcpServers"]
    assert list(servers) == ["beta", "utcp"]
    assert command("migrate", str(host_file), "--keep", "beta").err.count("nothing to move") == 1
    assert command("migrate", str(host_file)).code == 0
    content = json.loads(host_file.with_name("utcp.json").read_text())
    assert [manual["name"] for manual in content["manual_call_templates"]] == ["alpha", "beta"]
    assert list(json.loads(host_file.read_text())["mcpServers"]) == ["utcp"]


def test_a_dry_run_masks_secrets_and_writes_nothing(command, host_file):
    before = host_file.read_text()
    done = command("migrate", str(host_file), "--dry-run")
    assert done.code == 0
    assert "ALPHA_TOKEN=***" in done.out
    assert '+      "name": "alpha"' in done.out
    assert "s3cret" not in done.out + done.err
    assert host_file.read_text() == before
    assert [path.name for path in host_file.parent.iterdir()] == ["mcp.json"]


def test_a_failed_migration_changes_nothing(command, host_file):
    unknown = command("migrate", str(host_file), "--only", "gamma")
    assert "alpha, beta" in unknown.err
    host_file.with_name("utcp.json").write_text("- a list", encoding="utf-8")
    before = host_file.read_text()
    refused = command("migrate", str(host_file))
    assert refused.code == 2
    assert "--output" in refused.err
    assert host_file.read_text() == before
    host_file.write_text("{", encoding="utf-8")
    assert "Correct the file first" in command("migrate", str(host_file)).err


@pytest.mark.parametrize("name", ["mcp.json", "utcp.json", "utcp.env"])
def test_a_link_in_a_folder_of_others_that_leads_out_of_it_is_refused(command, host_file, tmp_path, name):
    folder, victim = tmp_path / "cloned", tmp_path / "victim"
    folder.mkdir()
    victim.write_bytes(host_file.read_bytes() if name == "mcp.json" else b"")
    (folder / "mcp.json").write_bytes(host_file.read_bytes())
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim)
    (folder / "utcp.env.part").symlink_to(victim)
    before = victim.read_bytes()
    done = command("migrate", str(folder / "mcp.json"))
    assert done.code == 2
    assert "leads out of the folder" in done.err
    assert victim.read_bytes() == before
    assert (folder / "mcp.json").read_bytes() == host_file.read_bytes()


def test_the_values_that_were_in_the_dotenv_file_stay_in_a_private_backup(command, host_file):
    dotenv = host_file.with_name("utcp.env")
    dotenv.write_text("OTHER='kept'\n")
    assert command("migrate", str(host_file)).code == 0
    assert dotenv.read_text().startswith("OTHER='kept'\n")
    assert dotenv.stat().st_mode & 0o777 == 0o600
    backup = host_file.with_name("utcp.env.bak")
    assert (backup.read_text(), backup.stat().st_mode & 0o777) == ("OTHER='kept'\n", 0o600)


# --- which hosts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with files of two hosts, and an empty working folder."""
    folder = tmp_path / "home"
    work = tmp_path / "work"
    work.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.chdir(work)
    cursor = folder / ".cursor" / "mcp.json"
    codex = folder / ".codex" / "config.toml"
    for path in (cursor, codex):
        path.parent.mkdir(parents=True)
    cursor.write_text('{"mcpServers": {"files": {"command": "files"}}}')
    codex.write_text('# mine\n[mcp_servers.far]\nurl = "http://127.0.0.1:9/mcp"\nbearer_token_env_var = "FAR"\n')
    return folder


def test_without_an_argument_the_hosts_that_are_here_are_listed(command, home):
    done = command("migrate")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert ["cursor", "files", str(home / ".cursor" / "mcp.json")] in rows
    assert ["codex", "far", str(home / ".codex" / "config.toml")] in rows
    assert "--all" in done.err


def test_all_hosts_move_and_one_that_fails_costs_no_other(command, home):
    (home / ".gemini").mkdir()
    (home / ".gemini" / "settings.json").write_text("{")
    done = command("migrate", "--all", "--no-check")
    assert done.code == 2
    assert "settings.json" in done.err
    assert list(json.loads((home / ".cursor" / "mcp.json").read_text())["mcpServers"]) == ["utcp"]
    moved = (home / ".codex" / "config.toml").read_text()
    assert moved.startswith("# mine\n\n[mcp_servers.utcp]\n")
    manual = json.loads((home / ".codex" / "utcp.json").read_text())["manual_call_templates"][0]
    assert manual["headers"] == {"Authorization": "Bearer ${FAR}"}


def test_a_host_is_named_and_a_wrong_name_is_refused_with_the_nearest_one(command, home):
    assert command("migrate", "cursor", "--no-check").code == 0
    assert (home / ".cursor" / "utcp.json").is_file()
    refused = command("migrate", "curser")
    assert refused.code == 1
    assert "cursor" in refused.err
    missing = command("migrate", "windsurf")
    assert (missing.code, "has no file here" in missing.err) == (1, True)
    assert command("migrate", "cursor", "codex", "--only", "files").code == 1
    assert command("migrate", "codex", "--name", "").code == 1


# --- what stays ------------------------------------------------------------------------------------------------------

KEPT = """{
  // my servers
  "mcpServers": {
    "off": {"command": "x", "disabled": true}, // not now
    "odd": {"something": "else"},
    "strange": {"command": "x", "strangeKey": 1},
    "near": {"command": "npx", "env": {"API_KEY": "sk-123456789", "DEBUG": "1"}, "description": "d"},
  },
  "theme": "dark" // mine
}
"""


def test_what_would_lose_something_stays_word_for_word_and_is_named(command, tmp_path):
    path = tmp_path / "my files" / "mcp.json"
    path.parent.mkdir()
    path.write_text(KEPT)
    done = command("migrate", str(path), "--no-check")
    assert done.code == 0
    after = path.read_text()
    assert after.startswith(KEPT[: KEPT.index('    "near"')])
    assert after.endswith(KEPT[KEPT.index('  },\n  "theme') :])
    for name, why in (
        ("off", "switched off"),
        ("odd", "cannot read"),
        ("strange", "strangeKey"),
        ("near", "description"),
    ):
        assert any(name in line and why in line for line in done.err.splitlines()), name
    content = json.loads((tmp_path / "my files" / "utcp.json").read_text())
    assert [manual["name"] for manual in content["manual_call_templates"]] == ["near"]
    assert content["manual_call_templates"][0]["env"] == {"API_KEY": "${NEAR_API_KEY}", "DEBUG": "1"}
    assert shlex.quote(str(path)) in done.err
    dropped = command("migrate", str(path), "--drop", "strangeKey", "--no-check")
    assert "strangeKey" in dropped.err
    assert '"strange"' not in path.read_text()


def test_an_entry_of_the_bridges_name_that_is_something_else_is_not_replaced(command, tmp_path):
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"utcp": {"command": "x", "disabled": true}, "a": {"command": "y"}}}')
    before = path.read_bytes()
    refused = command("migrate", str(path))
    assert (refused.code, "--name" in refused.err) == (2, True)
    assert path.read_bytes() == before
    assert not (tmp_path / "utcp.json").exists()
    assert command("migrate", str(path), "--name", "bridge", "--no-check").code == 0
    assert list(json.loads(path.read_text())["mcpServers"]) == ["utcp", "bridge"]


def test_servers_join_the_configuration_that_the_bridges_entry_serves(command, tmp_path):
    path, own = tmp_path / "mcp.json", tmp_path / "own.yaml"
    own.write_text("# mine\nmanual_call_templates: []\n")
    bridge = {"command": "utcp-bridge", "args": ["serve", str(own)], "env": {"X": "1"}}
    path.write_text(json.dumps({"mcpServers": {"utcp": bridge, "a": {"command": "y"}}}))
    assert command("migrate", str(path), "--no-check").code == 0
    assert json.loads(path.read_text()) == {"mcpServers": {"utcp": bridge}}
    assert own.read_text().startswith("# mine\nmanual_call_templates:\n- name: a\n")


def test_a_manual_of_the_same_name_is_never_replaced(command, tmp_path):
    own = tmp_path / "utcp.json"
    own.write_text('{"manual_call_templates": [{"name": "a", "call_template_type": "text", "content": "{}"}]}')
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"a": {"command": "y"}}}')
    done = command("migrate", str(path), "--no-check")
    assert "'a_2'" in done.err
    found = json.loads(own.read_text())["manual_call_templates"]
    assert [(one["name"], one["call_template_type"]) for one in found] == [("a", "text"), ("a_2", "mcp")]


@pytest.mark.parametrize("text", ['{"mcpServers": {}}', '{"manual_call_templates": {}}', "[]", "{"])
def test_a_file_that_is_not_a_configuration_is_not_changed(command, host_file, tmp_path, text):
    output = tmp_path / "other.json"
    output.write_text(text)
    before = host_file.read_bytes()
    refused = command("migrate", str(host_file), "-o", str(output))
    assert (refused.code, "--output" in refused.err) == (2, True)
    assert (output.read_text(), host_file.read_bytes()) == (text, before)
    assert command("migrate", str(host_file), "-o", str(host_file)).code == 2


def test_permissions_that_name_tools_are_named_with_their_new_names(command, tmp_path):
    path = tmp_path / ".mcp.json"
    settings = tmp_path / ".claude" / "settings.json"
    settings.parent.mkdir()
    rules = {"allow": ["mcp__files__read", "Bash"], "deny": ["mcp__files__drop"]}
    settings.write_text(json.dumps({"permissions": rules}))
    path.write_text('{"mcpServers": {"files": {"command": "x", "alwaysAllow": ["read"]}}}')
    done = command("migrate", str(path), "--no-check")
    assert f"{settings} names mcp__files__read. The new name is mcp__utcp__files_read." in done.err
    assert "the new names are files_read" in done.err
    manual = json.loads((tmp_path / "utcp.json").read_text())["manual_call_templates"][0]
    assert manual["exclude"] == {"names": ["drop"]}


# --- the preview -----------------------------------------------------------------------------------------------------


def test_a_preview_masks_secrets_by_their_place_and_stays_readable(command, tmp_path):
    path = tmp_path / "mcp.json"
    servers = {
        "a": {
            "command": "npx",
            "args": ["-y", "e1", "--api-key", "k3y-in-args", "--token=t0ken"],
            "env": {"DEBUG": "1", "MODE": "e"},
        },
        "b": {
            "url": "http://127.0.0.1:9/e?api_key=in-the-url",
            "headers": {"Authorization": "Bearer b3arer", "X-Some": "h3ader"},
        },
        "kept": {"command": "x", "env": {"ANY": "k3pt-value"}},
    }
    content = {"primaryApiKey": "0utside", "mcpServers": servers, "password": "als0-outside"}
    path.write_text(json.dumps(content, indent=1))
    done = command("migrate", str(path), "--dry-run", "--keep", "kept")
    assert done.code == 0
    for secret in ("k3y", "t0ken", "in-the-url", "b3arer", "h3ader", "k3pt", "0utside"):
        assert secret not in done.out + done.err
    for shown in ('"e1"', '"DEBUG": "1"', '"MODE": "e"', '"utcp"', "A_API_KEY=***"):
        assert shown in done.out
    assert command("migrate", str(path), "--keep", "kept", "--no-check").code == 0
    written = path.with_name("utcp.json").read_text()
    assert not any(secret in written for secret in ("k3y", "t0ken", "in-the-url", "b3arer", "h3ader"))


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_example_of_the_page_is_what_happens(command, tmp_path):
    blocks = re.findall(r"```json\n(.*?)```", (DOCS / "migration.md").read_text(), re.DOTALL)
    before, after, configuration = blocks
    path = tmp_path / ".mcp.json"
    path.write_text(before)
    assert command("migrate", ".mcp.json", "--no-check").code == 0
    started = json.loads(re.sub("//.*", "", path.read_text()))["mcpServers"]["utcp"]["command"]
    here = after.replace("/home/me/.local/bin/utcp-bridge", started).replace("/home/me/shop", str(tmp_path))
    assert path.read_text() == here
    assert (tmp_path / "utcp.json").read_text() == configuration
    assert (tmp_path / "utcp.env").read_text() == "FILES_API_KEY='sk-12345678'\n"
    assert command("migrate", ".mcp.json", "--undo").code == 0
    assert path.read_text() == before


# --- undo ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
def test_undo_gives_every_byte_back_and_removes_what_was_new(command, tmp_path, codec):
    path = tmp_path / "mcp.json"
    path.write_bytes(KEPT.replace("\n", "\r\n").encode(codec))
    before = path.read_bytes()
    assert command("migrate", str(path), "--no-check").code == 0
    assert path.read_bytes()[:3] == before[:3]
    assert "// not now" in path.read_bytes().decode(codec)
    undone = command("migrate", str(path), "--undo")
    assert undone.code == 0, undone.err
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mcp.json", "mcp.json.bak"]
    again = command("migrate", str(path), "--undo")
    assert (again.code, "Nothing was moved" in again.err) == (2, True)


def test_a_configuration_elsewhere_gets_the_projects_folder_and_is_undone_too(command, tmp_path):
    path, own = tmp_path / "shop" / ".mcp.json", tmp_path / "new" / "utcp.json"
    path.parent.mkdir()
    path.write_text('{"mcpServers": {"a": {"command": "./server", "env": {"API_KEY": "s3cret-value"}}}}')
    before = path.read_bytes()
    assert command("migrate", str(path), "-o", str(own), "--no-check").code == 0
    manual = json.loads(own.read_text())["manual_call_templates"][0]
    assert (manual["command"], manual["cwd"]) == ("./server", str(path.parent))
    undone = command("migrate", str(path), "--undo")
    assert undone.code == 0, undone.err
    assert path.read_bytes() == before
    assert [*own.parent.iterdir()] == []


def test_moves_are_undone_one_by_one(command, host_file):
    texts = [host_file.read_text()]
    for name in ("alpha", "beta"):
        assert command("migrate", str(host_file), "--only", name, "--no-check").code == 0
        texts.append(host_file.read_text())
    for text in reversed(texts[:-1]):
        assert command("migrate", "--undo", str(host_file)).code == 0
        assert host_file.read_text() == text
    assert not host_file.with_name("utcp.json").exists()
    assert not host_file.with_name("utcp.env").exists()


def test_undo_keeps_later_changes_of_other_entries(command, tmp_path):
    path = tmp_path / "mcp.json"
    path.write_text(KEPT)
    assert command("migrate", str(path), "--no-check").code == 0
    text = path.read_text().replace('"theme": "dark"', '"theme": "light"')
    path.write_text(text.replace('    "odd":', '    "later": {"command": "z"},\n    "odd":'))
    own = tmp_path / "utcp.json"
    content = json.loads(own.read_text())
    content["manual_call_templates"].append({"name": "mine", "call_template_type": "text", "content": "{}"})
    own.write_text(json.dumps(content))
    values = tmp_path / "utcp.env"
    values.write_text(f"MINE=1\n{values.read_text()}")
    undone = command("migrate", str(path), "--undo")
    assert undone.code == 0, undone.err
    later = KEPT.replace('"dark"', '"light"').replace('    "odd":', '    "later": {"command": "z"},\n    "odd":')
    assert path.read_text() == later
    assert [one["name"] for one in json.loads(own.read_text())["manual_call_templates"]] == ["mine"]
    assert values.read_text() == "MINE=1\n"


@pytest.mark.parametrize("what", ["host", "configuration", "backup"])
def test_undo_refuses_with_one_sentence_if_what_was_moved_has_been_changed(command, host_file, what):
    assert command("migrate", str(host_file), "--no-check").code == 0
    own = host_file.with_name("utcp.json")
    if what == "host":
        host_file.write_text(host_file.read_text().replace('"serve"', '"serve", "--debug"'))
    elif what == "configuration":
        own.write_text(own.read_text().replace("alpha", "alpha2", 3))
        own.write_text(own.read_text().replace('"name": "beta"', '"name": "beta", "timeout": 5'))
    else:
        host_file.with_name("mcp.json.bak").unlink()
    before = [path.read_bytes() for path in sorted(host_file.parent.iterdir())]
    refused = command("migrate", str(host_file), "--undo")
    assert refused.code == 2
    assert [path.read_bytes() for path in sorted(host_file.parent.iterdir())] == before


def test_entries_that_share_a_name_stay_because_a_move_would_keep_one_of_them(command, tmp_path):
    host = tmp_path / "mcp.json"
    text = '{"mcpServers": {"a": {"command": "one"}, "b": {"command": "x"}, /* again */ "a": {"command": "two"}}}'
    host.write_text(text)
    done = command("migrate", str(host), "--no-check")
    assert done.code == 0
    assert "a stays in the host's file: several entries of the file have its name" in done.err
    moved = host.read_text()
    assert '"a": {"command": "one"}' in moved
    assert '"a": {"command": "two"}' in moved
    assert '"b"' not in moved
    assert command("migrate", str(host), "--undo").code == 0
    assert host.read_text() == text


def test_servers_do_not_move_behind_an_entry_that_is_switched_off(command, tmp_path):
    host = tmp_path / "mcp.json"
    own = {"command": "utcp-bridge", "args": ["serve", "utcp.json"], "disabled": True}
    (tmp_path / "utcp.json").write_text('{"manual_call_templates": []}')
    text = json.dumps({"mcpServers": {"utcp": own, "a": {"command": "x"}}})
    host.write_text(text)
    done = command("migrate", str(host), "--no-check")
    assert done.code == 2
    assert "is switched off, so the moved servers would not run" in done.err
    assert host.read_text() == text


def test_servers_join_the_bridges_entry_of_another_name(command, tmp_path):
    host = tmp_path / "mcp.json"
    own = {"command": "utcp-bridge", "args": ["serve", "utcp.json"]}
    host.write_text(json.dumps({"mcpServers": {"bridge": own, "a": {"command": "x"}}}))
    done = command("migrate", str(host), "--no-check")
    assert done.code == 0
    assert "The entry 'bridge'" in done.err
    assert json.loads(host.read_text()) == {"mcpServers": {"bridge": own}}


def test_a_deleted_host_file_is_named_when_its_move_is_undone(command, host_file):
    assert command("migrate", str(host_file), "--no-check").code == 0
    host_file.unlink()
    done = command("migrate", str(host_file), "--undo")
    assert done.code == 2
    assert "was changed after the move" in done.err
    assert ".bak" in done.err


@pytest.mark.parametrize(
    "record",
    [
        "[{}]",
        '[{"files": {}, "changes": {}, "manuals": [], "variables": []}]',
        '[{"files": {"host": {"path": 5}}}]',
        '[{"files": [], "changes": {}}]',
        '[{"files": {"host": {"path": "/x", "backup": null, "within": null, "digest": 5}}, "changes": 5}]',
    ],
)
def test_a_damaged_record_of_moves_is_named(command, host_file, own_home, record):
    assert command("migrate", str(host_file), "--no-check").code == 0
    next(own_home.rglob("moves/*.json")).write_text(record)
    done = command("migrate", str(host_file), "--undo")
    assert done.code == 2
    assert "is not a record of a move" in done.err
