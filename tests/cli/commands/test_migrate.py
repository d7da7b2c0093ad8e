"""`utcp-bridge migrate`: two real MCP servers move behind the bridge, and their tools still work."""

import io
import json
import sys

import anyio
import dotenv
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from tests.support.source import TESTS

from utcp_bridge.cli.commands.migrate import Migrated, dotenv_text, is_bridge, merge, migrate_servers

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
    with anyio.fail_after(40):
        async with Client(command) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"alpha_who", "beta_who"} <= names
            results = [await client.call_tool(f"{name}_who", {}) for name in ("alpha", "beta")]
    return [result.content[0].text for result in results]


@pytest.mark.timeout(60)
def test_after_the_move_the_one_entry_reaches_the_tools_of_both_servers(command, host_file):
    done = command("migrate", str(host_file))
    assert done.code == 0, done.err
    assert "beta offers 9 tools, 3 resources, 2 resource templates" in done.err
    moved = json.loads(host_file.read_text())
    assert moved["theme"] == "dark"
    assert list(moved["mcpServers"]) == ["utcp"]
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


def test_each_server_becomes_a_manual_whose_secrets_are_variables():
    made = migrate_servers(
        {
            "my-files": {"command": "npx", "args": ["-y", "files"], "env": {"TOKEN": "s3cret", "HOME_DIR": "${HOME}"}},
            "far": {"type": "sse", "url": "https://a.example/sse", "headers": {"Authorization": "Bearer abc"}},
        }
    )
    files, far = made.manuals
    assert files == {
        "name": "my_files",
        "call_template_type": "mcp",
        "command": "npx",
        "args": ["-y", "files"],
        "env": {"TOKEN": "${MY_FILES_TOKEN}", "HOME_DIR": "${HOME}"},
    }
    assert far["transport"] == "sse"
    assert far["headers"] == {"Authorization": "Bearer ${FAR_AUTHORIZATION}"}
    assert made.secrets == {"MY_FILES_TOKEN": "s3cret", "FAR_AUTHORIZATION": "abc"}
    assert "s3cret" not in repr(made)


def test_inputs_become_variables_and_an_invalid_server_is_reported():
    servers = {"a": {"command": "x", "args": ["--key", "${input:key}"], "env": {"K": "${input:key}"}}, "b": {}, "c": 5}
    made = migrate_servers(servers)
    assert made.manuals[0]["args"] == ["--key", "${key}"]
    assert made.manuals[0]["env"] == {"K": "${key}"}
    assert [remark.split()[0] for remark in made.remarks] == ["Set", "b", "c"]


def test_every_form_of_the_bridges_own_entry_is_recognised():
    assert is_bridge({"command": "/opt/bin/utcp-bridge", "args": ["serve", "x.yaml"]})
    assert is_bridge({"command": "python", "args": ["-m", "utcp_bridge", "serve", "x.yaml"]})
    assert not is_bridge({"command": "serve", "args": []})
    assert not is_bridge({"url": "https://a.example/mcp"})
    assert not is_bridge(None)


def test_manuals_are_added_and_a_moved_server_is_replaced():
    before = {"manual_call_templates": [{"name": "a", "old": 1}, {"name": "b"}], "variables": {"X": "1"}}
    merged = merge(before, Migrated([{"name": "a", "new": 1}], {"S": "1"}), "utcp.env")
    assert merged["manual_call_templates"] == [{"name": "b"}, {"name": "a", "new": 1}]
    assert merged["variables"] == {"X": "1"}
    assert merged["load_variables_from"] == [{"variable_loader_type": "dotenv", "env_file_path": "utcp.env"}]
    assert merge(merged, Migrated([], {"S": "1"}), "utcp.env")["load_variables_from"] == merged["load_variables_from"]
    assert "load_variables_from" not in merge({}, Migrated(), "utcp.env")


def test_values_survive_the_dotenv_file():
    hostile = {"A": "it's a \\ $HOME 'x'", "B": "a b#c", "C": ""}
    text = dotenv_text("A=old\n# kept\n", hostile)
    assert "# kept" in text
    assert "old" not in text
    assert dict(dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)) == hostile


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
