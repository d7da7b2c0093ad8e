"""`utcp-bridge init` writes a configuration that `check` loads."""

import json
import sys

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
    assert [entry["name"] for entry in entries] == ["example", "example_2", "server_memory", "example_3"]
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


def description(folder, name, header, server="http://127.0.0.1:9"):
    schemes = {"key": {"type": "apiKey", "in": "header", "name": header}, "login": {"type": "http", "scheme": "basic"}}
    document = {
        "openapi": "3.0.3",
        "info": {"title": name, "version": "1"},
        "servers": [{"url": server}],
        "security": [{"key": []}, {"login": []}],
        "components": {"securitySchemes": schemes},
        "paths": {"/me": {"get": {"operationId": "me", "responses": {"200": {"description": "ok"}}}}},
    }
    (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return name


def test_each_description_has_its_own_key_in_its_own_header(command, tmp_path):
    names = [description(tmp_path, "figma.json", "X-Figma-Token"), description(tmp_path, "adyen.json", "X-API-Key")]
    done = command("init", *(word for name in names for word in ("--openapi", name)))
    assert done.code == 0, done.err
    text = (tmp_path / "utcp.yaml").read_text()
    keys = {one["name"]: one["auth_tools"] for one in yaml.safe_load(text)["manual_call_templates"]}
    assert keys["figma"]["var_name"] == "X-Figma-Token"
    assert keys["figma"]["api_key"] == "${FIGMA_API_KEY}"
    assert keys["adyen"]["api_key"] == "${ADYEN_API_KEY}"
    assert "# or a user name and a password: ADYEN_USERNAME, ADYEN_PASSWORD" in text
    assert 'allowed_origins: ["http://127.0.0.1:9"]' in text
    assert "The calls of figma go to http://127.0.0.1:9." in done.err
    assert "Add `FIGMA_API_KEY=…`, `ADYEN_API_KEY=…` to " in done.err
    own = command("init", "own.yaml", "--openapi", "figma.json", "--openapi", "adyen.json", "--api-key", "X-Own")
    assert own.code == 0
    entries = yaml.safe_load((tmp_path / "own.yaml").read_text())["manual_call_templates"]
    assert [(one["auth_tools"]["api_key"], one["auth_tools"]["var_name"]) for one in entries] == [
        ("${FIGMA_API_KEY}", "X-Own"),
        ("${ADYEN_API_KEY}", "X-Own"),
    ]


def test_names_are_text_in_yaml_and_say_what_the_source_is(command, tmp_path):
    for name in ("2024.yaml", "null.json"):
        description(tmp_path, name, "X-Key")
    server = "npx -y @modelcontextprotocol/server-filesystem /tmp/a /tmp/b"
    done = command("init", "--openapi", "2024.yaml", "--openapi", "null.json", "--mcp", server)
    assert done.code == 0, done.err
    entries = yaml.safe_load((tmp_path / "utcp.yaml").read_text())["manual_call_templates"]
    assert [one["name"] for one in entries] == ["api_2024", "api_null", "server_filesystem"]


def test_sources_that_are_missing_are_named_and_written_all_the_same(command, tmp_path):
    done = command("init", "--openapi", "gone.yaml", "--manual", "gone.json", "--mcp", "no-such-program x")
    assert done.code == 0
    assert "gone.yaml" in done.err
    assert "The file gone.json does not exist yet." in done.err
    assert "The program no-such-program is not on PATH" in done.err
    names = [one["name"] for one in yaml.safe_load((tmp_path / "utcp.yaml").read_text())["manual_call_templates"]]
    assert names == ["gone", "gone_2", "no_such_program"]


def test_a_command_in_place_of_a_manual_is_written_as_a_server(command, tmp_path):
    done = command("init", "--manual", f"{sys.executable} -m my_server")
    assert "is a command, so it is written as an MCP server" in done.err
    [entry] = yaml.safe_load((tmp_path / "utcp.yaml").read_text())["manual_call_templates"]
    assert (entry["name"], entry["call_template_type"]) == ("my_server", "mcp")
