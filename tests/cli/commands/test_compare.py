"""`utcp-bridge compare`, with a real MCP server and a real REST service."""

import json
import sys

import pytest
from tests.support.threaded import threaded
from tests.upstreams import twins

from utcp_bridge.client.shadowing import ShadowRecord


@pytest.fixture
def twin():
    with threaded(twins.rest_twin) as twin:
        yield twin


@pytest.fixture
def config(twin, tmp_path):
    """Return a configuration with the MCP server as `old` and its twin as `rest`."""
    server = {"command": sys.executable, "args": [twins.__file__], "env": {"TWIN_LOG": str(tmp_path / "calls")}}
    entries = [
        {"name": "old", "call_template_type": "mcp", "config": {"mcpServers": {"server": server}}},
        {"name": "rest", "call_template_type": "http", "url": f"{twin.base}/openapi.json", "headers": {"X": "${KEY}"}},
    ]
    path = tmp_path / "providers.json"
    path.write_text(json.dumps({"manual_call_templates": entries, "variables": {"rest_KEY": "a-very-secret-key"}}))
    return str(path)


def unexplained(outcome):
    return [one for one in json.loads(outcome.out)["differences"] if not one["explained"]]


def test_a_twin_without_differences_ends_with_zero(command, config):
    outcome = command("compare", config, "old", "rest", "--ignore", "/made_at")
    assert outcome.code == 0
    assert "3 tools of both, 0 unexplained differences" in outcome.out
    assert "2 of 2 calls gave equal replies" in outcome.out
    assert "Not called: note." in outcome.err


def test_a_manual_has_no_difference_from_itself(command, config):
    outcome = command("compare", config, "rest", "rest", "--ignore", "/made_at", "--json")
    report = json.loads(outcome.out)
    assert (outcome.code, report["differences"], report["same"]) == (0, [], True)
    assert report["tools"] == 3


def test_one_changed_member_of_one_reply_is_found(command, config, twin):
    twin.change = lambda tool, value: {**value, "sky": ["clear", "windy"]} if tool == "forecast" else value
    outcome = command("compare", config, "old", "rest", "--ignore", "/made_at", "--json")
    assert outcome.code == 1
    [found] = unexplained(outcome)
    assert found["where"] == "tool 'forecast', reply"
    assert (found["pointer"], found["old"], found["new"]) == ("/sky/1", "calm", "windy")


def test_a_new_side_that_fails_is_a_difference(command, config, twin):
    twin.fails = True
    outcome = command("compare", config, "old", "rest", "--json")
    assert outcome.code == 1
    assert {one["where"] for one in unexplained(outcome)} == {"tool 'forecast', reply", "tool 'convert', reply"}
    assert all("Only the new side failed" in one["what"] for one in unexplained(outcome))


def test_tools_that_write_are_called_by_order_alone(command, config, twin, tmp_path):
    command("compare", config, "old", "rest")
    assert "note" not in twin.calls
    assert "note" not in (tmp_path / "calls").read_text()
    (tmp_path / "file").write_text('note {"text": "x"}\n\n')
    outcome = command("compare", config, "old", "rest", "--no-calls", "--calls", str(tmp_path / "file"), "--json")
    assert outcome.code == 0
    [call] = json.loads(outcome.out)["calls"]
    assert (call["tool"], call["outcome"]) == ("note", "equal")
    assert twin.calls.count("note") == 1


def test_secrets_are_masked_in_the_report(command, config, twin):
    twin.change = lambda _tool, value: {**value, "key": "a-very-secret-key"}
    for words in ([], ["--json"]):
        outcome = command("compare", config, "old", "rest", *words)
        assert outcome.code == 1
        assert "/key" in outcome.out
        assert "a-very-secret-key" not in outcome.out + outcome.err


def test_numbers_and_characters_beyond_json_are_reported(command, config, twin):
    call = f'note {{"text": "\\ud800 {2**80}", "number": {2**80}}}'
    outcome = command("compare", config, "old", "rest", "--call", call, "--json", "--set", "validation=off")
    assert outcome.code in (0, 1)
    assert json.loads(outcome.out)["calls"][0]["tool"] == "note"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("old",), 1, "Missing argument"),
        (("old", "rest", "third"), 1, "one argument too many"),
        (("old", "rset"), 2, "Did you mean rest?"),
        (("old", "rest", "--ignore", "time"), 2, "not a JSON pointer"),
        (("old", "rest", "--call", "note {"), 1, "must be JSON"),
        (("old", "rest", "--call", "note [1]"), 1, "a JSON object"),
        (("old", "rest", "--call", "nothing {}"), 3, "have no such tool"),
    ],
)
def test_bad_words_get_one_sentence(command, config, words, code, message):
    outcome = command("compare", "-c", config, *words)
    assert outcome.code == code
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_the_record_of_shadowed_calls_is_shown(command, config, tmp_path):
    record = ShadowRecord(tmp_path / "utcp.lock", str)
    record.add("old.server.forecast", "rest.forecast", "different", ["reply, /sky: The replies differ."])
    record.write()
    outcome = command("shadow", config)
    assert outcome.code == 0
    assert outcome.out.splitlines()[1].split() == ["old.server.forecast", "0", "1", "0", "0", "0", "rest.forecast"]
    assert "old.server.forecast: reply, /sky: The replies differ." in outcome.err
    report = json.loads(command("shadow", config, "--json").out)
    assert report["tools"]["old.server.forecast"]["different"] == 1


def test_a_configuration_without_shadowed_calls_says_so(command, config):
    outcome = command("shadow", config)
    assert (outcome.code, outcome.out) == (0, "")
    assert "No call was shadowed yet." in outcome.err
