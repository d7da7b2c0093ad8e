"""`utcp-bridge check`."""

import json


def test_every_manual_has_a_row_and_every_fault_a_line(command, manual):
    outcome = command("check", "-c", manual)
    assert outcome.code == 5
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[0][:4] == ["MANUAL", "KIND", "STATUS", "TOOLS"]
    assert rows[1][:4] == ["notices", "text", "ready", "2"]
    assert rows[2][:4] == ["gone", "file", "failed", "0"]
    assert "gone.json' cannot be read" in outcome.out
    assert "'broken'" in outcome.out
    assert "note: gone: a running bridge loads it again by itself, at least every 60 s." in outcome.out


def test_json_contains_the_same(command, manual):
    outcome = command("check", "-c", manual, "--json")
    ready, failed = json.loads(outcome.out)["manuals"]
    assert (ready["status"], ready["tools"], ready["error"]) == ("ready", 2, None)
    assert ready["dialect"].startswith("v1")
    assert "broken" in ready["faults"][0]["where"]
    assert failed["error"]["code"] == "unreachable"
    assert (ready["retries"], failed["retries"], json.loads(outcome.out)["outages"]) == (False, True, [])


def test_a_configuration_without_faults_is_exit_code_0(command):
    assert command("check", "--quickstart").code == 0


def test_a_configuration_without_manuals_is_reported(command, tmp_path):
    (tmp_path / "utcp.yaml").write_text("manual_call_templates: []")
    outcome = command("check")
    assert (outcome.code, outcome.out) == (0, "")
    assert "There are no manuals." in outcome.err


def test_what_a_manual_offers_besides_tools_is_counted(command, tmp_path):
    entry = {
        "name": "docs",
        "call_template_type": "text",
        "content": {"utcp_version": "1.0.1", "tools": []},
        "resources": {"docs://a": {"text": "A"}},
        "prompts": {"p": {"text": "P"}, "q": {}},
    }
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [entry]}))
    outcome = command("check", "-c", str(tmp_path / "utcp.json"))
    assert outcome.code == 0
    assert "note: docs offers 1 resource, 1 prompt, subscriptions, completions." in outcome.out
    assert "error: manual 'docs', prompt 'q': it has no messages." in outcome.out
    [manual] = json.loads(command("check", "-c", str(tmp_path / "utcp.json"), "--json").out)["manuals"]
    [offers] = manual["offers"]
    assert (offers["resources"], offers["prompts"], offers["not_relayed"]) == (1, 1, [])


def test_a_server_without_a_name_is_named_as_its_entry_and_a_disabled_one_is_left_alone(command, tmp_path):
    absent = {"call_template_type": "mcp", "command": "no-such-mcp-server"}
    entries = [{"name": "files", **absent}, {"name": "off", "disabled": True, **absent}]
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": entries}))
    outcome = command("check")  # utcp.json of the current folder
    assert outcome.code == 5
    assert "The command 'no-such-mcp-server' of MCP server 'files' does not start" in outcome.out
    assert "MCP server 'server'" not in outcome.out
    assert ["off", "off", "disabled", "0"] in [line.split() for line in outcome.out.splitlines()]
    assert command("doctor", str(tmp_path / "utcp.json"), "off").code == 0


def test_a_fault_of_one_of_several_servers_names_the_manual_and_the_server_once(command, tmp_path):
    servers = {name: {"command": f"no-such-{name}"} for name in ("left", "right")}
    entry = {"name": "pair", "call_template_type": "mcp", "config": {"mcpServers": servers}}
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [entry]}))
    lines = command("check", "-c", str(tmp_path / "utcp.json")).out.splitlines()
    faults = [line for line in lines if line.startswith("error: pair: ")]
    assert any("'left'" in line for line in faults), lines


def test_a_server_that_a_hosts_file_switches_off_has_the_state_disabled(command, tmp_path):
    servers = {"off": {"command": "x", "disabled": True}, "odd": {"something": "else"}}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    outcome = command("check", "mcp.json", "--json")
    [state] = json.loads(outcome.out)["manuals"]
    assert (state["name"], state["status"], state["error"]) == ("off", "disabled", None)
    assert state["servers"] == [{"name": "off", "state": "disabled", "tools": 0, "failure": None}]
    assert "server 'odd': it has neither a command nor a URL" in outcome.err
    assert "The configuration switches it off." in command("doctor", "off", "-c", "mcp.json").out
