"""`utcp-bridge approvals`, for calls that `utcp-bridge call` sends."""

import json

import pytest

TOOL = {
    "name": "own",
    "inputs": {"type": "object", "properties": {"a": {"type": "string"}}},
    "tool_call_template": {"call_template_type": "text", "content": "done"},
}
MANUAL = {"name": "mine", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [TOOL]}}


@pytest.fixture
def asking(tmp_path):
    access = {"rules": [{"do": "ask", "why": "Careful."}], "approvals": {"store": "file:approvals"}}
    bridge = {"access": access, "audit_log": "calls.jsonl"}
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [MANUAL], "bridge": bridge}))
    return lambda command: command("call", "utcp.json", "mine.own", "a=\x1b[31mhello")


def test_a_call_waits_is_approved_and_passes_once(command, asking, tmp_path):
    refused = asking(command)
    assert (refused.code, "needs an approval" in refused.err) == (6, True)
    [waiting] = json.loads(command("approvals", "list", "--json").out)["approvals"]
    assert waiting["id"] in refused.err
    listed = command("approvals", "list").out
    assert f"{waiting['id']}  pending, ends in " in listed
    assert "anyone: mine.own (rule 'rule 1 (ask)')\n    Careful.\n" in listed
    assert "\x1b" not in listed
    approved = command("approvals", "approve", waiting["id"][:5])
    assert (approved.code, approved.err) == (0, "Approved: anyone may call mine.own.\n")
    assert asking(command).out == "done\n"
    assert asking(command).code == 6
    decisions = [json.loads(line).get("decisions") for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert ["ask", "approved"] in [[one["decision"] for one in found] for found in decisions if found]


def test_a_denied_call_does_not_pass(command, asking):
    asking(command)
    [waiting] = json.loads(command("approvals", "list", "--json").out)["approvals"]
    assert "may not call" in command("approvals", "deny", waiting["id"]).err
    assert "did not approve" in asking(command).err


def test_each_verb_takes_the_configuration_first(command, asking):
    asking(command)
    [waiting] = json.loads(command("approvals", "list", "utcp.json", "--json").out)["approvals"]
    denied = command("approvals", "deny", "utcp.json", waiting["id"])
    assert (denied.code, denied.err) == (0, "Denied: anyone may not call mine.own.\n")
    approved = command("approvals", "approve", "utcp.json", waiting["id"])
    assert (approved.code, "No single call waits" in approved.err) == (1, True)
    two = command("approvals", "approve", "utcp.json", "a", "b")
    assert (two.code, "Name one ID." in two.err) == (1, True)


def test_what_does_not_wait_cannot_be_decided(command, asking):
    assert command("approvals", "list").err == "No call waits for an approval.\n"
    for verb in ("approve", "deny"):
        done = command("approvals", verb, "abc")
        assert (done.code, "No single call waits under the id 'abc'." in done.err) == (1, True)


def test_wrong_options_are_an_error(command, tmp_path):
    (tmp_path / "utcp.json").write_text(json.dumps({"bridge": {"access": {"approvals": {"way": "host"}}}}))
    done = command("approvals", "list")
    assert (done.code, "`access.approvals`: way: Extra inputs are not permitted." in done.err) == (2, True)


def test_explain_and_check_know_the_rules(command, asking, tmp_path):
    explained = command("explain", "utcp.json", "mine.own", "a=x")
    assert "Rule 'rule 1 (ask)': ask: Careful.\n" in explained.err
    shown = json.loads(command("explain", "utcp.json", "mine.own", "a=x", "--json").out)
    assert shown["rules"] == [{"rule": "rule 1 (ask)", "do": "ask", "decides": "ask: Careful."}]
    assert json.loads(command("approvals", "list", "--json").out)["approvals"] == []
    rules = [{"do": "deny", "tools": "gone.*"}, {"do": "deny", "tols": "x"}]
    for number, message in (
        (1, "no tool matches this rule"),
        (2, "'tols' is not a key of a rule. Did you mean `tools`?"),
    ):
        written = {"manual_call_templates": [MANUAL], "bridge": {"access": {"rules": rules[:number]}}}
        (tmp_path / "utcp.json").write_text(json.dumps(written))
        done = command("check", "utcp.json")
        assert message in done.out + done.err
