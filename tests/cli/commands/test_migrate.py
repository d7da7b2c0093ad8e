"""`migrate`: two real MCP servers move behind the bridge, and their tools answer as before."""

import json
import sys

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from tests.support.source import TESTS

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


def test_servers_move_one_by_one_and_some_may_stay(command, host_file):
    assert command("migrate", str(host_file), "--only", "alpha").code == 0
    servers = json.loads(host_file.read_text())["mcpServers"]
    assert list(servers) == ["beta", "utcp"]
    assert command("migrate", str(host_file), "--keep", "beta").err.count("nothing to move") == 1
    assert command("migrate", str(host_file)).code == 0
    content = json.loads(host_file.with_name("utcp.json").read_text())
    assert [manual["name"] for manual in content["manual_call_templates"]] == ["alpha", "beta"]
    assert list(json.loads(host_file.read_text())["mcpServers"]) == ["utcp"]


def test_a_dry_run_shows_everything_but_the_secrets_and_writes_nothing(command, host_file):
    before = host_file.read_text()
    done = command("migrate", str(host_file), "--dry-run")
    assert done.code == 0
    assert "ALPHA_TOKEN=***" in done.out
    assert '+      "name": "alpha"' in done.out
    assert "s3cret" not in done.out + done.err
    assert host_file.read_text() == before
    assert [path.name for path in host_file.parent.iterdir()] == ["mcp.json"]


def test_what_cannot_be_moved_is_left_untouched(command, host_file):
    unknown = command("migrate", str(host_file), "--only", "gamma")
    assert "alpha, beta" in unknown.err
    host_file.with_name("utcp.json").write_text("- a list", encoding="utf-8")
    before = host_file.read_text()
    refused = command("migrate", str(host_file))
    assert refused.code == 2
    assert "--output" in refused.err
    assert host_file.read_text() == before
    host_file.write_text("{", encoding="utf-8")
    assert "Mend it first" in command("migrate", str(host_file)).err
