"""`utcp-bridge init` writes a configuration that `check` loads."""

import json

import yaml
from tests.support.source import TESTS

PETSTORE = TESTS / "data" / "openapi" / "oai-v3.0-pass-petstore-expanded.yaml"


def test_init_writes_a_configuration_that_check_loads(command, tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    manual = tmp_path / "weather.json"
    template = {"call_template_type": "text", "content": "Sunny."}
    tools = {"utcp_version": "1.0", "tools": [{"name": "t", "tool_call_template": template}]}
    manual.write_text(json.dumps(tools), encoding="utf-8")
    done = command("init", "--openapi", str(PETSTORE), "--api-key", "X-Api-Key", "--manual", str(manual))
    assert done.code == 0, done.err
    assert "API_KEY" in done.err
    assert "utcp-bridge install" in done.err
    text = (tmp_path / "utcp.yaml").read_text()
    assert "# An OpenAPI description" in text
    checked = command("check", "-c", "utcp.yaml", "--json")
    states = {manual["name"]: manual["status"] for manual in json.loads(checked.out)["manuals"]}
    assert states == {"oai_v3_0_pass_petstore_expanded": "ready", "weather": "ready"}


def test_manuals_are_named_after_their_places_and_commands_stay_whole(command, tmp_path):
    places = ["--manual", "https://api.example.com/utcp", "--manual", "https://www.example.com/utcp"]
    servers = ["--mcp", "npx -y @modelcontextprotocol/server-memory", "--mcp", "https://mcp.example.com/mcp"]
    assert command("init", "other.yaml", *places, *servers).code == 0
    entries = yaml.safe_load((tmp_path / "other.yaml").read_text())["manual_call_templates"]
    assert [entry["name"] for entry in entries] == ["example", "example_2", "server_memory", "mcp"]
    assert entries[2]["command"] == "npx -y @modelcontextprotocol/server-memory"
    assert entries[3]["url"] == "https://mcp.example.com/mcp"


def test_an_existing_file_is_overwritten_only_with_force(command, tmp_path):
    (tmp_path / "utcp.yaml").write_text("mine", encoding="utf-8")
    refused = command("init", "--manual", "a.json")
    assert refused.code == 1
    assert "--force" in refused.err
    assert (tmp_path / "utcp.yaml").read_text() == "mine"
    assert command("init", "--manual", "a.json", "--force").code == 0


def test_init_without_options_and_without_a_terminal_names_the_options(command):
    done = command("init")
    assert done.code == 1
    assert "--openapi" in done.err


def test_a_prepared_link_is_not_written_through(command, tmp_path):
    folder, victim = tmp_path / "cloned", tmp_path / "victim"
    folder.mkdir()
    (folder / "utcp.yaml").symlink_to(victim)
    refused = command("init", str(folder / "utcp.yaml"), "--manual", "a.json")
    assert "already exists" in refused.err
    forced = command("init", str(folder / "utcp.yaml"), "--manual", "a.json", "--force")
    assert "leads out of the folder" in forced.err
    assert (refused.code, forced.code) == (1, 2)
    assert not victim.exists()


def test_force_keeps_the_old_file_as_a_backup(command, tmp_path):
    (tmp_path / "utcp.yaml").write_text("mine", encoding="utf-8")
    assert command("init", "--manual", "a.json", "--force").code == 0
    assert (tmp_path / "utcp.yaml.bak").read_text() == "mine"
