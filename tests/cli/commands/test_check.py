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
