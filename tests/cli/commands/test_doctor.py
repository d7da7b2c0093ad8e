"""`utcp-bridge doctor` in this process and in its own process."""

import json
import socket
import subprocess
import sys

import pytest
from tests.support.threaded import threaded_service

SECRET = "a-secret-of-the-operator"


def configured(tmp_path, *entries, **config):
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": entries, **config}))
    return str(path)


def text(name, *tools):
    made = [{"name": tool, "tool_call_template": {"call_template_type": "text", "content": tool}} for tool in tools]
    return {"name": name, "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": made}}


def http(name, url, **fields):
    return {"name": name, "call_template_type": "http", "url": url, **fields}


def rows(outcome):
    """(manual, step, status) of each row that has a status."""
    found = [line.split()[:3] for line in outcome.out.splitlines()[1:]]
    return {(row[0], row[1]): row[2] for row in found if row[2:] and row[2] in {"ok", "warning", "failed", "skipped"}}


def test_each_step_that_failed_or_warns_has_a_row_and_a_good_manual_has_one(command, manual, tmp_path):
    outcome = command("doctor", "-c", manual)
    assert outcome.code == 5
    assert outcome.out.splitlines()[0].split() == ["MANUAL", "STEP", "STATUS", "TIME", "WHAT"]
    found = rows(outcome)
    assert found["notices", "discovery"] == "warning"
    assert found["gone", "name"] == "failed"
    assert [step for name, step in found if name == "gone"] == ["name"]
    assert "'broken'" in outcome.out
    assert rows(command("doctor", configured(tmp_path, text("weather", "a")))) == {("weather", "all"): "ok"}
    steps = json.loads(command("doctor", "-c", manual, "--json").out)["manuals"][1]["steps"]
    assert ("discovery", "skipped") in [(step["step"], step["status"]) for step in steps]
    assert outcome.out.splitlines()[-1] == "2 manuals: 1 with warnings, 1 failed."
    assert "no_such_type" in outcome.err


def test_a_configuration_without_faults_is_exit_code_0(command):
    outcome = command("doctor", "--quickstart", "--call", 'desk.convert_units {"value": 10, "from": "km", "to": "mi"}')
    assert (outcome.code, outcome.err) == (0, "")
    assert rows(outcome)["desk", "call"] == "ok"


def test_a_wrong_manual_name_is_refused_with_the_nearest(command, tmp_path):
    path = configured(tmp_path, text("weather", "a"), text("bank", "b"))
    assert {name for name, _ in rows(command("doctor", "-c", path, "bank"))} == {"bank"}
    outcome = command("doctor", "-c", path, "wether")
    assert outcome.code == 2
    assert "Did you mean weather?" in outcome.err


@pytest.mark.parametrize(
    ("entry", "step", "code"),
    [
        (http("shop", "http://127.0.0.1:1/${KEY}"), "configuration", 2),
        (http("shop", "http://me:pass@127.0.0.1:1/"), "name", 6),
        (http("shop", "http://nothing.invalid/"), "name", 5),
        ({"name": "shop", "call_template_type": "cli", "command_name": "no-such-command"}, "name", 5),
    ],
)
def test_the_first_failure_gives_the_exit_code(command, tmp_path, entry, step, code):
    outcome = command("doctor", "-c", configured(tmp_path, text("well", "a"), entry))
    assert outcome.code == code
    assert rows(outcome)["shop", step] == "failed"


def test_an_unreadable_entry_is_a_failure(command, tmp_path):
    path = configured(tmp_path, text("well", "a"), {"name": "odd", "call_template_type": "no_such_type"})
    outcome = command("doctor", "-c", path, "--json")
    assert outcome.code == 2
    assert "no_such_type" in json.loads(outcome.out)["faults"][0]["what"]


@pytest.mark.parametrize("call", ["house.door", "house.door {}", "house.door={}", "house_door"])
def test_a_call_is_a_name_and_an_object(command, tmp_path, call):
    outcome = command("doctor", "-c", configured(tmp_path, text("house", "door")), "--call", call)
    assert (outcome.code, rows(outcome)["house", "call"]) == (0, "ok")


@pytest.mark.parametrize("call", ["", "{}", "house.door {", 'house.door {"a": 1} x'])
def test_a_call_option_of_another_form_is_refused_with_an_example(command, call):
    outcome = command("doctor", "--call", call)
    assert outcome.code == 1
    assert "--call 'weather.get" in outcome.err


def test_calls_that_fail_have_their_own_exit_codes(command, tmp_path):
    path = configured(tmp_path, text("house", "door"))
    assert command("doctor", "-c", path, "--call", "house.gate").code == 3
    assert command("doctor", "-c", path, "--call", "nobody").code == 3


def test_a_long_list_is_cut_in_the_table_and_complete_in_json(command, tmp_path):
    path = configured(tmp_path, text("house", *(f"a b{number}" for number in range(15))))
    assert "and 5 more; --json shows all" in command("doctor", "-c", path).out
    steps = json.loads(command("doctor", "-c", path, "--json").out)["manuals"][0]["steps"]
    assert [len(step["details"]) for step in steps if step["step"] == "tools"] == [15]


def test_a_configuration_without_manuals_is_reported(command, tmp_path):
    outcome = command("doctor", "-c", configured(tmp_path))
    assert (outcome.code, outcome.out) == (0, "")
    assert "The configuration has no manuals." in outcome.err


def test_a_terminal_shows_what_is_examined(command, manual, terminal):
    with terminal:
        command("doctor", "-c", manual)
    assert "Examining notices" in terminal.shown()


def test_the_process_prints_the_same_and_no_secret(tmp_path):
    with threaded_service() as service:
        auth = {"auth_type": "api_key", "api_key": "${KEY}"}
        entries = [
            http("shop", f"{service.base}/secure/utcp?k=${{KEY}}", auth=auth),
            http("gone", f"{service.refusing}/utcp"),
        ]
        path = configured(tmp_path, *entries, variables={"KEY": SECRET})
        for options in ([], ["--json"], ["--debug"]):
            done = subprocess.run(
                [sys.executable, "-m", "utcp_bridge", "doctor", "-c", path, *options],
                capture_output=True,
                encoding="utf-8",
                timeout=200,
                check=False,
            )
            assert done.returncode == 5
            assert SECRET not in done.stdout + done.stderr
            assert "The API key was refused (401)." in done.stdout
            assert "Connection refused" in done.stdout
        assert any(SECRET in request.target for request in service.requests)


def test_a_base_url_that_is_down_fails_the_step_target(command, tmp_path):
    operation = {"operationId": "get", "responses": {"200": {"description": "ok"}}}
    document = {"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": {"/x": {"get": operation}}}
    (tmp_path / "api.json").write_text(json.dumps(document))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        entry = {"name": "shop", "call_template_type": "file", "file_path": "api.json", "base_url": base}
        path = configured(tmp_path, entry)
        assert command("doctor", path).code == 0
    outcome = command("doctor", path)
    assert outcome.code == 5
    assert rows(outcome)["shop", "target"] == "failed"
    assert f"No connection to {base.removeprefix('http://')}" in outcome.out
    assert "base_url" in outcome.out


def test_one_error_of_many_tools_is_one_line(command, tmp_path):
    template = {"call_template_type": "http", "url": "http://127.0.0.1:9/", "headers": {"X": "${KEY}"}}
    tools = [{"name": f"t{number}", "description": "d", "tool_call_template": template} for number in range(10)]
    entry = {"name": "shop", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": tools}}
    outcome = command("doctor", configured(tmp_path, entry))
    assert outcome.out.count("shop_KEY' is not set (manual") == 1
    assert "10 tools" in outcome.out
