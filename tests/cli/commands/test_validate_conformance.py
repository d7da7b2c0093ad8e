"""`utcp-bridge conformance`: what it prints and writes, and its exit codes."""

import json
import sys

ADAPTER = """
import json, sys
for line in sys.stdin:
    op = json.loads(line)["op"]
    reply = {"ok": ["m.tool"] if op == "list" else None}
    if op == "hello":
        reply = {"name": "mine", "version": "7", "supports": {"v1": ["http"]}}
    print(json.dumps(reply), flush=True)
"""


def test_this_library_passes(command, tmp_path):
    file = tmp_path / "results.json"
    outcome = command("conformance", "utcp-bridge", "--only", "http/path*", "--json", str(file))
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[0].startswith("utcp-bridge ")
    assert outcome.out.splitlines()[1].split() == ["TOPIC", "VECTORS", "PASSES", "DIFFERS", "DECLARED", "NOT", "SUPPORTED"]
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
