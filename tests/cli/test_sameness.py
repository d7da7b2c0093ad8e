"""`utcp-bridge migrate --compare`: a real MCP server, as its host starts it and as a manual of the bridge."""

import json
import sys

import pytest
from tests.upstreams import twins

pytestmark = [pytest.mark.usefixtures("own_home"), pytest.mark.timeout(90)]


@pytest.fixture
def host_file(tmp_path):
    """Return a host's file with one server that runs and one that is switched off; each writes a line for each call."""

    def entry(name, **more):
        env = {"TWIN_LOG": str(tmp_path / name), "TWIN_KEY": "a-very-secret-key"}
        return {"command": sys.executable, "args": [twins.__file__], "env": env, **more}

    path = tmp_path / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": {"on": entry("on"), "off": entry("off", disabled=True)}}, indent=2))
    return path


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_server_is_the_same_on_both_sides(command, host_file, tmp_path, words):
    before = host_file.read_text()
    done = command("migrate", str(host_file), "--compare", "--ignore", "/made_at", *words)
    assert done.code == 0, done.err
    assert (
        "on in .mcp.json and on in utcp.json: 3 tools of both, 0 unexplained differences, 0 explained;"
        " 2 of 2 calls gave equal replies."
    ) in done.out
    assert "Not called: note. They may write" in done.err
    assert sorted((tmp_path / "on").read_text().split()) == ["convert", "convert", "forecast", "forecast"]
    assert not (tmp_path / "off").exists()
    assert "a-very-secret-key" not in done.out + done.err
    assert (host_file.read_text() == before, (tmp_path / "utcp.json").exists()) == (bool(words), not words)


def test_the_report_for_scripts_names_each_server(command, host_file, tmp_path):
    done = command("migrate", str(host_file), "--dry-run", "--compare", "--ignore", "/made_at", "--json")
    [report] = json.loads(done.out)["servers"]
    assert (done.code, report["server"], report["manual"], report["outcome"]) == (0, "on", "on", "same")
    assert report["comparison"]["tools"] == 3
    assert (report["error"], report["file"]) == (None, str(host_file))
    assert "a-very-secret-key" not in done.out


def test_a_reply_that_differs_is_a_difference(command, host_file):
    done = command("migrate", str(host_file), "--compare", "--dry-run", "--json")
    assert done.code == 1
    [report] = json.loads(done.out)["servers"]
    [found] = report["comparison"]["differences"]
    assert (report["outcome"], found["where"], found["pointer"]) == ("different", "tool 'forecast', reply", "/made_at")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_server_that_does_not_start_has_an_exit_code_of_its_own(command, host_file, as_json):
    content = json.loads(host_file.read_text())
    content["mcpServers"]["gone"] = {"command": "no-such-command-anywhere"}
    host_file.write_text(json.dumps(content))
    done = command("migrate", str(host_file), "--compare", "--dry-run", *(["--json"] if as_json else []))
    assert done.code == 5
    assert "gone in .mcp.json did not start, so nothing of it was compared: " in done.err
    assert "no-such-command-anywhere" in done.err
    if as_json:
        reports = json.loads(done.out)["servers"]
        assert [(one["server"], one["outcome"]) for one in reports] == [("on", "different"), ("gone", "not_started")]
        assert reports[1]["comparison"] is None


def test_a_side_that_lost_its_variable_is_named(command, host_file, tmp_path):
    content = json.loads(host_file.read_text())
    content["mcpServers"]["on"]["args"].append("${TWIN_UNSET}")
    host_file.write_text(json.dumps(content))
    done = command("migrate", str(host_file), "--compare", "--dry-run")
    assert (done.code, "TWIN_UNSET" in done.err) == (5, True)
    assert not (tmp_path / "on").exists()


def test_a_tool_that_the_host_forbids_is_left_out_on_both_sides(command, tmp_path, host_file):
    rules = tmp_path / ".claude"
    rules.mkdir()
    (rules / "settings.json").write_text(json.dumps({"permissions": {"deny": ["mcp__on__convert"]}}))
    done = command("migrate", str(host_file), "--compare", "--dry-run", "--json", "--ignore", "/made_at")
    [report] = json.loads(done.out)["servers"]
    assert (done.code, report["comparison"]["tools"]) == (0, 2), done.err


def test_nothing_to_move_is_nothing_to_compare(command, host_file):
    done = command("migrate", str(host_file), "--compare", "--keep", "on", "--json")
    assert (done.code, json.loads(done.out)) == (0, {"servers": []})
    assert "so nothing was compared." in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--compare", "--undo"), "--undo compares nothing"),
        (("--json",), "--json needs --compare"),
        (("--ignore", "/x"), "--ignore needs --compare"),
    ],
)
def test_options_that_do_not_fit_are_refused(command, host_file, words, message):
    before = host_file.read_text()
    done = command("migrate", str(host_file), *words)
    assert (done.code, message in done.err, host_file.read_text() == before) == (1, True, True)


def test_a_comparison_needs_a_host(command):
    done = command("migrate", "--compare")
    assert (done.code, "--compare needs a host or a file" in done.err) == (1, True)
