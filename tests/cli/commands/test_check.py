"""`utcp-bridge check`."""

import json

import pytest


def test_every_manual_has_a_row_and_every_fault_a_line(command, manual):
    outcome = command("check", "-c", manual)
    assert outcome.code == 5
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[0][:4] == ["MANUAL", "KIND", "STATUS", "TOOLS"]
    assert rows[1][:4] == ["notices", "text", "degraded", "2"]
    assert rows[2][:4] == ["gone", "file", "failed", "0"]
    assert "gone.json' cannot be read" in outcome.out
    assert "'broken'" in outcome.out
    assert "note: gone: a running bridge loads it again by itself, at least every 60 s." in outcome.out


def test_json_contains_the_same(command, manual):
    outcome = command("check", "-c", manual, "--json")
    ready, failed = json.loads(outcome.out)["manuals"]
    assert (ready["status"], ready["tools"], ready["error"]) == ("degraded", 2, None)
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
    assert "The configuration has no manuals." in outcome.err


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
    assert outcome.code == 2, "a prompt is lost"
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
    assert "server 'odd': it has neither a command nor a URL" in json.dumps(json.loads(outcome.out)["faults"])
    assert "The configuration switches it off." in command("doctor", "off", "-c", "mcp.json").out


# --- a guard for CI: nothing is lost in silence --------------------------------------------------

LOCAL = {"call_template_type": "text", "content": "Sunny."}
UNASKED = {"call_template_type": "cli", "command_name": "true"}


def tools(*names, template=LOCAL):
    listed = [{"name": name, "description": "d", "tool_call_template": template} for name in names]
    return {"utcp_version": "1.0.1", "manual_version": "1", "tools": listed}


WELL = {"name": "well", "call_template_type": "text", "content": tools("door")}


def configuration(tmp_path, *entries, **keys):
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [WELL, *entries], **keys}))
    return str(path)


LOSSES = {
    "unknown type": ([{"name": "w", "call_template_type": "htpp", "url": "http://127.0.0.1:9/"}], 2, "'htpp'"),
    "double name": ([{**WELL, "content": "x"}], 2, "another entry is also named 'well'"),
    "misspelt key": ([{**WELL, "name": "w", "exlude": {"tags": ["admin"]}}], 2, "'exlude'"),
    "misspelt rule": ([{**WELL, "name": "w", "content": tools("a"), "exclude": {"tgas": ["x"]}}], 2, "'tgas'"),
    "refused tools": (
        [{**WELL, "name": "w", "content": tools("a", "b", template=UNASKED)}],
        6,
        "runs a program",
    ),
    "unreadable tool": ([{**WELL, "name": "w", "content": tools("a", "")}], 5, "no name"),
    "lost server": (
        [{"name": "w", "call_template_type": "mcp", "config": {"mcpServers": {"gone": {"command": "no-such-server"}}}}],
        5,
        "no-such-server",
    ),
}


@pytest.mark.parametrize("case", list(LOSSES))
def test_each_loss_has_an_exit_code_and_is_in_the_json(command, tmp_path, case):
    entries, code, words = LOSSES[case]
    path = configuration(tmp_path, *entries)
    shown = command("check", path)
    assert shown.code == code
    assert words in shown.out
    outcome = command("check", path, "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["status"]) == (code, "degraded")
    assert words in json.dumps(found)
    assert outcome.err == ""


def test_a_manual_that_lost_tools_is_degraded_and_equal_remarks_are_one(command, tmp_path):
    names = [f"t{number}" for number in range(27)]
    refused = tools(*names, template=UNASKED)
    content = {**refused, "tools": [*refused["tools"], *tools("kept")["tools"]]}
    path = configuration(tmp_path, {**WELL, "name": "w", "content": content})
    shown = command("check", path)
    assert ["w", "text", "degraded", "1"] in [line.split()[:4] for line in shown.out.splitlines()]
    [line] = [line for line in shown.out.splitlines() if line.startswith("error: ")]
    assert "27 tools ('t0', 't1', 't2' and 24 more)" in line
    _, manual = json.loads(command("check", path, "--json").out)["manuals"]
    [fault] = manual["faults"]
    assert (manual["status"], fault["count"], len(fault["places"]), fault["code"]) == ("degraded", 27, 27, "policy")


def test_an_absent_dotenv_file_and_shortened_schemas_are_warnings_that_count_with_strict(command, tmp_path):
    properties = {f"p{number}": {"type": "string", "description": "x" * 200} for number in range(200)}
    big = {"name": "big", "inputs": {"type": "object", "properties": properties}, "tool_call_template": LOCAL}
    content = {"utcp_version": "1.0.1", "tools": [big, *tools("small")["tools"]]}
    loader = {"variable_loader_type": "dotenv", "env_file_path": "keys.env"}
    path = configuration(tmp_path, {**WELL, "name": "w", "content": content}, load_variables_from=[loader])
    outcome = command("check", path, "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["status"]) == (0, "ok")
    assert "keys.env does not exist" in found["faults"][0]["what"]
    assert found["manuals"][1]["faults"][0]["what"].startswith("1 of 2 input schemas")
    for how in (["--strict"], ["--set", "strict=true"]):
        assert command("check", path, *how).code == 2
    assert command("doctor", path, "--strict").code == 2
    assert command("serve", path, "--strict").code == 2
    assert command("doctor", path).code == 0


def test_strict_finds_nothing_in_a_configuration_without_faults(command, tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps(tools("a")))
    path = configuration(tmp_path, {"name": "f", "call_template_type": "file", "file_path": "tools.json"})
    for verb in ("check", "doctor", "validate"):
        assert command(verb, path, "--strict").code == 0, verb


def test_the_env_file_is_named_once_and_its_values_never(command, tmp_path):
    path = configuration(tmp_path, {**LOCAL, "name": "w", "content": tools("a"), "headers": {"X": "${KEY}"}})
    env_file = tmp_path / ".env"
    env_file.write_text("KEY=canary-7c\n")
    env_file.chmod(0o644)
    shown = command("check", path)
    assert shown.err.count(f"The bridge reads {env_file}") == 1
    assert f"warning: .env: Other users of this machine can read {env_file}." in shown.out
    found = command("check", path, "--json")
    assert json.loads(found.out)["env_files"] == [str(env_file)]
    listed = command("tools", path)
    assert str(env_file) in listed.err
    for outcome in (shown, found, listed, command("doctor", path)):
        assert "canary-7c" not in outcome.out + outcome.err


@pytest.mark.parametrize("verb", ["check", "tools", "status"])
def test_verbs_that_call_nothing_do_not_write_to_the_audit_log(command, manual, tmp_path, verb):
    log = tmp_path / "calls.jsonl"
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [], "bridge": {"audit_log": str(log)}}))
    assert command(verb, "-c", str(tmp_path / "utcp.json")).code == 0
    assert not log.exists()


def test_a_profile_without_tools_is_a_warning(command, tmp_path):
    settings = {"access": {"profiles": {"none": {"manuals": "none"}}}}
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [], "bridge": settings}))
    outcome = command("check", "-c", str(tmp_path / "utcp.json"))
    assert "warning: access.profiles, 'none': No tool matches this profile." in outcome.out
