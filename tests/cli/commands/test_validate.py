"""`utcp-bridge validate`, `convert` from an OpenAPI description to a valid manual, and `conformance`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.openapi_oracle.samples import OWN, SHARED, sample_files

PROGRAM = Path(sys.executable).with_name("utcp")
TEN = [
    "adyen-json-CheckoutService-v72.json",
    "argoproj-assets-swagger.json",
    "discord-specs-openapi.json",
    "figma-openapi-openapi.yaml",
    "intercom-descriptions-2.16-api.intercom.io.yaml",
    "moby-api-swagger.yaml",
    "netlify-swagger.yml",
    "slackapi-web-api-slack-web-openapi-v2.json",
    "twilio-twilio-api-v2010.json",
    "xeroapi-xero-accounting.yaml",
]
TOOL = {
    "name": "t",
    "description": "d",
    "tool_call_template": {"call_template_type": "http", "url": "https://x.example"},
}


def write(path, document):
    path.write_text(json.dumps(document, indent=1))
    return str(path)


def test_a_valid_manual_is_exit_code_0_and_a_faulty_one_1(command, tmp_path):
    good = write(tmp_path / "good.json", {"utcp_version": "1.0.1", "tools": [TOOL]})
    bad = write(tmp_path / "bad.json", {"utcp_version": "1.0.1", "tools": [{**TOOL, "name": ""}, {**TOOL, "x": 1}]})
    assert (command("validate", good).code, command("validate", bad).code) == (0, 1)
    outcome = command("validate", good, bad)
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert lines[0] == f"{good}: valid (v1.x, manual, 1 tool)"
    assert lines[1] == f"{bad}: not valid (v1.x, manual, 1 tool, 1 error, 1 warning)"
    assert lines[2] == "  error: line 5 /tools/0/name: the tool has no name."
    assert lines[3].startswith("  warning: line 19 /tools/1/x (t): nothing reads the key 'x'.")


def test_strict_treats_warnings_as_errors(command, tmp_path):
    path = write(tmp_path / "m.json", {"tools": [{**TOOL, "x": 1}]})
    assert command("validate", path).code == 0
    assert command("validate", path, "--strict").code == 1


def test_variables_are_listed_with_the_keys_to_set(command, tmp_path, monkeypatch):
    tools = [
        {**TOOL, "name": f"t{at}", "tool_call_template": {**TOOL["tool_call_template"], "headers": {"X": "${KEY}"}}}
        for at in range(5)
    ]
    path = write(tmp_path / "m.json", {"tools": tools})
    assert "  to set: my__api_KEY (for t0, t1, t2 and 2 more)\n" in command("validate", path, "--name", "my_api").out
    monkeypatch.setenv("m_KEY", "x")
    assert "  set: m_KEY (for t0" in command("validate", path).out


def test_json_contains_the_report(command, tmp_path):
    path = write(tmp_path / "m.json", {"tools": [{**TOOL, "name": 3}]})
    outcome = command("validate", path, "--json")
    told = json.loads(outcome.out)
    assert (outcome.code, told["valid"]) == (1, False)
    [manual] = told["manuals"]
    assert {key: manual[key] for key in ("file", "valid", "structure_valid", "tool_count", "registered")} == {
        "file": path,
        "valid": False,
        "structure_valid": True,
        "tool_count": 0,
        "registered": None,
    }
    assert manual["errors"] == [
        {"pointer": "/tools/0/name", "line": 4, "tool": None, "message": "the tool has no name.", "remedy": None}
    ]


def test_a_file_that_cannot_be_read_is_exit_code_2(command):
    outcome = command("validate", "gone.json")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "utcp-bridge: gone.json: There is no such file. Check the path.\n"
    assert command("validate").code == 2


def piped(sample, folder):
    """`utcp convert sample > m.json && utcp validate m.json`, word for word; returns what validate said."""
    line = f'"{PROGRAM}" convert "{sample}" {BASE} > m.json && "{PROGRAM}" validate m.json'
    done = subprocess.run(["/bin/sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[0]


BASE = "--base-url https://api.example.com"
"""For samples without a server."""


@pytest.mark.parametrize("name", TEN)
@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of OpenAPI samples is not beside this repository")
def test_a_public_description_becomes_a_valid_manual(name, tmp_path):
    assert piped(SHARED / name, tmp_path).startswith("m.json: valid (")


@pytest.mark.parametrize("path", sample_files(OWN), ids=lambda path: path.name)
def test_a_sample_description_becomes_a_valid_manual(path, tmp_path):
    assert piped(path, tmp_path).startswith("m.json: valid (")


# --- conformance ---------------------------------------------------------------------------------

ADAPTER = """
import json, sys
for line in sys.stdin:
    op = json.loads(line)["op"]
    reply = {"ok": ["m.tool"] if op == "list" else None}
    if op == "hello":
        reply = {"name": "mine", "version": "7", "supports": {"v1": ["http"]}}
    print(json.dumps(reply), flush=True)
"""


def test_this_library_conforms(command, tmp_path):
    file = tmp_path / "results.json"
    outcome = command("conformance", "utcp-bridge", "--only", "http/path*", "--json", str(file))
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[0].startswith("utcp-bridge ")
    assert outcome.out.splitlines()[1].split() == [
        "TOPIC",
        "VECTORS",
        "PASSES",
        "DIFFERS",
        "DECLARED",
        "NOT",
        "SUPPORTED",
    ]
    results = json.loads(file.read_text())
    assert (results["name"], results["conforms"], results["counts"]["differs"]) == ("utcp-bridge", True, 0)


def test_an_adapter_of_ones_own_is_a_command_after_two_dashes(command, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(ADAPTER)
    outcome = command("conformance", "--only", "http/path@v1", "--", sys.executable, str(path))
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert lines[0].startswith("http/path@v1: differs. {name} in the path takes")
    assert lines[1] == '  expected "/users/42/posts"; arrived nothing'
    assert "mine 7" in lines
    assert "A vector differs, and the difference is not declared." in outcome.err


def test_a_declared_difference_is_exit_code_0(command, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(ADAPTER)
    outcome = command("conformance", "--only", "http/path-twice@v1", "--", sys.executable, str(path))
    assert outcome.code == 0
    assert outcome.out.startswith("http/path-twice@v1: differs, as declared. ")


def test_vectors_are_listed_without_running_them(command):
    outcome = command("conformance", "--list", "--only", "udp/none")
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["VECTOR", "udp/none@v1", "udp/none@v0"]


def test_mistakes_on_the_command_line(command):
    assert "Missing TARGET" in command("conformance").err
    outcome = command("conformance", "no-such-client")
    assert (outcome.code, "no-such-client" in outcome.err) == (2, True)
    assert command("conformance", "utcp-bridge", "--only", "nothing").code == 2
