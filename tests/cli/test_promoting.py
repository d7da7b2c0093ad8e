"""`utcp-bridge promote`, with a real MCP server and a real REST service."""

import json
import sys

import pytest
from tests.support.threaded import threaded
from tests.upstreams import twins

from utcp_bridge.client.shadowing import ShadowRecord

FORMS = {
    "yaml": """# my tools
manual_call_templates:
  - name: rest
    call_template_type: http
    url: URL/openapi.json
    headers: {X: "${KEY}"}
  # the server that goes
  - name: old
    call_template_type: mcp
    shadow:   # to its API
      new: rest
      ignore: [/made_at]
    config:
      mcpServers:
        server: {command: PYTHON, args: [TWINS], env: {TWIN_LOG: "@PLACE@"}}
variables: {rest_KEY: a-very-secret-key}
""",
    "json": """{
  // my tools
  "manual_call_templates": [
    {"name": "rest", "call_template_type": "http", "url": "URL/openapi.json", "headers": {"X": "${KEY}"}},
    {
      "name": "old", // the server that goes
      "call_template_type": "mcp",
      "shadow": {"new": "rest", "ignore": ["/made_at"]},
      "config": {"mcpServers": {"server": {"command": "PYTHON", "args": ["TWINS"], "env": {"TWIN_LOG": "@PLACE@"}}}}
    }
  ],
  "variables": {"rest_KEY": "a-very-secret-key"}
}
""",
}


@pytest.fixture
def twin():
    with threaded(twins.rest_twin) as twin:
        yield twin


@pytest.fixture(params=["yaml"])
def config(request, twin, tmp_path):
    path = tmp_path / f"utcp.{request.param}"
    places = {"URL": twin.base, "PYTHON": sys.executable, "TWINS": twins.__file__, "@PLACE@": str(tmp_path / "calls")}
    text = FORMS[request.param]
    for name, value in places.items():
        text = text.replace(name, value)
    path.write_text(text)
    return path


def changed_lines(before, after):
    old, new = before.splitlines(), after.splitlines()
    return [one for one in new if one not in old], [one for one in old if one not in new]


@pytest.mark.parametrize("config", ["yaml", "json"], indirect=True)
def test_every_tool_that_is_the_same_is_promoted_and_taken_back(command, config, tmp_path):
    before = config.read_text()
    outcome = command("promote", "old", "--all-same", "-c", str(config))
    assert outcome.code == 0
    assert "rest.forecast answers the calls of old.forecast." in outcome.err
    assert "note is not promoted, because no reply was compared." in outcome.err
    after = config.read_text()
    added, removed = changed_lines(before, after)
    assert (len(added), len(removed)) == ((1, 0) if config.suffix == ".yaml" else (1, 1))
    assert "promoted" in added[0]
    assert [path.read_text() for path in tmp_path.glob("utcp.*.bak")] == [before]
    (tmp_path / "calls").unlink()
    assert command("call", str(config), "old.server.convert", "celsius:=20").code == 0
    assert not (tmp_path / "calls").exists()
    outcome = command("promote", "old", "--undo", "-c", str(config), "--json")
    assert json.loads(outcome.out) == {
        "file": str(config),
        "entry": "old",
        "taken_back": ["convert", "forecast"],
        "written": True,
    }
    assert config.read_text() == before
    assert command("call", str(config), "old.server.convert", "celsius:=20").code == 0
    assert (tmp_path / "calls").read_text() == "convert\n"


def test_tools_are_promoted_and_taken_back_one_by_one(command, config):
    for word, listed in (("convert", "[convert]"), ("old.server.forecast", "[convert, forecast]")):
        assert command("promote", str(config), "old", word).code == 0
        assert f"promoted: {listed}" in config.read_text()
    assert "No further tool is promoted." in command("promote", str(config), "old", "convert").err
    outcome = command("promote", str(config), "old", "old.convert", "--undo")
    assert "old answers the calls of convert itself." in outcome.err
    assert "promoted: [forecast]" in config.read_text()
    outcome = command("promote", str(config), "old", "convert", "--undo")
    assert (outcome.code, "is not promoted. Promoted are: forecast." in outcome.err) == (2, True)


def test_a_tool_with_a_difference_is_refused_and_can_be_forced(command, config, twin):
    twin.change = lambda tool, value: {**value, "sky": ["a-very-secret-key"]} if tool == "forecast" else value
    before = config.read_text()
    outcome = command("promote", str(config), "old", "forecast", "convert")
    assert outcome.code == 1
    assert "forecast is not promoted, because the sides differ. tool 'forecast', reply, /sky/0" in outcome.err
    assert "a-very-secret-key" not in outcome.err
    assert config.read_text() == before
    report = json.loads(command("promote", str(config), "old", "forecast", "--json").out)
    assert (report["promoted"], report["written"], len(report["refused"])) == ([], False, 1)
    outcome = command("promote", str(config), "old", "--all-same")
    assert outcome.code == 0
    assert "promoted: [convert]" in config.read_text()
    outcome = command("promote", str(config), "old", "forecast", "--force")
    assert (outcome.code, "was forced, although the sides differ." in outcome.err) == (0, True)
    assert "promoted: [convert, forecast]" in config.read_text()
    assert "a-very-secret-key" not in outcome.err
    outcome = command("promote", str(config), "old", "--all-same")
    assert (outcome.code, "forecast is promoted already, although the sides differ." in outcome.err) == (0, True)


def test_a_tool_that_writes_is_called_by_order_alone(command, config, twin):
    outcome = command("promote", str(config), "old", "note")
    assert (outcome.code, "no reply was compared" in outcome.err, "note" in twin.calls) == (1, True, False)
    outcome = command("promote", str(config), "old", "note", "--call", 'note {"text": "x"}', "--no-calls")
    assert outcome.code == 0
    assert "promoted: [note]" in config.read_text()
    assert twin.calls == ["note"]


def test_the_counts_of_the_shadow_are_proof_for_and_against(command, config, tmp_path):
    record = ShadowRecord(tmp_path / "utcp.lock", str)
    record.add("old.server.note", "rest.note", "equal")
    record.add("old.server.convert", "rest.convert", "different", ["reply: The replies differ."])
    record.add("old.server.forecast", "other.forecast", "different", ["reply: The replies differ."])
    record.write()
    outcome = command("promote", str(config), "old", "--all-same")
    assert outcome.code == 0
    assert "promoted: [forecast, note]" in config.read_text()
    assert "convert is not promoted, because the shadow counted 1 call with another reply." in outcome.err


def test_a_tool_that_the_new_side_lacks_is_refused(command, config):
    config.write_text(
        config.read_text().replace(
            "call_template_type: http", "call_template_type: http\n    exclude: {names: [convert]}"
        )
    )
    outcome = command("promote", str(config), "old", "convert")
    assert (outcome.code, "because rest has no such tool" in outcome.err) == (1, True)
    assert "promoted" not in config.read_text()
    assert command("promote", str(config), "old", "convert", "--force").code == 0
    outcome = command("check", str(config))
    assert (outcome.code, "'convert' is promoted, and 'rest' has no such tool" in outcome.out) == (2, True)


@pytest.mark.parametrize("config", ["yaml", "json"], indirect=True)
def test_a_dry_run_shows_the_difference_and_writes_nothing(command, config):
    before = config.read_text()
    outcome = command("promote", str(config), "old", "--all-same", "--dry-run")
    assert outcome.code == 0
    assert [line for line in outcome.out.splitlines() if line.startswith("+") and "promoted" in line]
    assert "rest.convert would answer" in outcome.err
    assert "a-very-secret-key" not in outcome.out
    assert config.read_text() == before
    assert command("promote", str(config), "old", "--all-same").code == 0
    after = config.read_text()
    outcome = command("promote", str(config), "old", "--undo", "--dry-run")
    assert "promoted" in outcome.out
    assert "old would answer the calls of convert itself." in outcome.err
    assert config.read_text() == after


def test_a_comparison_after_a_promotion_asks_the_old_side(command, config, twin):
    assert command("promote", str(config), "old", "convert", "--force").code == 0
    twin.change = lambda _tool, value: {**value, "more": 1}
    outcome = command("compare", str(config), "old", "rest", "--ignore", "/made_at")
    assert (outcome.code, "2 unexplained differences" in outcome.out) == (1, True)


def test_hosts_see_the_same_tools_and_get_the_reply_of_the_new_side(command, config, twin, tmp_path):
    whole_list = ["--set", "startup_wait=60", "--set", "startup_settle=60"]
    words = ["-m", "utcp_bridge", "serve", str(config), *whole_list]
    host = {"name": "host", "call_template_type": "mcp", "command": sys.executable, "args": words}
    (tmp_path / "host.json").write_text(json.dumps({"manual_call_templates": [host]}))
    twin.change = lambda tool, value: {**value, "side": "new"} if tool == "convert" else value

    def seen():
        tools = command("tools", str(tmp_path / "host.json"), "--json")
        reply = command("call", str(tmp_path / "host.json"), "host.old_server_convert", "celsius:=20")
        assert (tools.code, reply.code) == (0, 0), reply.err
        return json.loads(tools.out), reply.out

    before, old_reply = seen()
    assert "68" in old_reply
    assert "new" not in old_reply
    assert command("promote", str(config), "old", "convert", "--force").code == 0
    after, new_reply = seen()
    assert after == before
    assert '"side": "new"' in new_reply or '"side":"new"' in new_reply.replace('\\"', '"')


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("old",), 1, "Name the tools to promote"),
        (("old", "convert", "--all-same"), 1, "--all-same takes no TOOL"),
        (("old", "--all-same", "--force"), 1, "--all-same takes no --force"),
        (("old", "--undo", "--force"), 1, "--undo compares nothing"),
        (("old", "convrt"), 3, "has no tool 'convrt'. Did you mean 'convert'?"),
        (("old", "convrt", "--force"), 3, "has no tool 'convrt'. Did you mean 'convert'?"),
        (("odl", "convert"), 2, "Did you mean old?"),
        (("rest", "convert"), 2, "has no `shadow`"),
        (("old", "convert", "--undo"), 2, "No tool of it is promoted."),
    ],
)
def test_bad_words_get_one_sentence(command, config, words, code, message):
    before = config.read_text()
    outcome = command("promote", "-c", str(config), *words)
    assert (outcome.code, message in outcome.err, "Traceback" in outcome.err) == (code, True, False), outcome.err
    assert config.read_text() == before


def test_a_side_that_does_not_start_promotes_nothing(command, config, twin):
    before = config.read_text()
    config.write_text(before.replace(twin.base, "http://127.0.0.1:1"))
    outcome = command("promote", "-c", str(config), "old", "--all-same")
    assert (outcome.code, "Manual rest failed" in outcome.err) == (5, True)
    assert "promoted" not in config.read_text()
