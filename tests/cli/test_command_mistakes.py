"""Mistakes that users make at first contact: what each message says, and the exit code. No mistake has a traceback."""

import json

import pytest

JSON_ENTRY = {"name": "a", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": []}}


def entries(*listed, **more):
    return json.dumps({"manual_call_templates": list(listed), **more})


FILES = {
    "image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff", 2, ["binary file", "Name a JSON or YAML file"]),
    "tab": ("manual_call_templates:\n\t- name: x\n", 2, ["line 2", "Indent with spaces"]),
    "tab in the middle": ("a: 1\n\tb: 2\n", 2, ["line 2", "Indent with spaces"]),
    "wrong column": ("manual_call_templates:\n  - name: x\n   url: y\n", 2, ["line 3", "in the same column"]),
    "open bracket": ("a: [1, 2\nb: 3\n", 2, ["line 2", "the missing comma"]),
    "open quote": ('a: "x\n', 2, ["line 2", "the end of the text in quotes"]),
    "cut JSON": ('{"a": 1\n', 2, ["line 2", "ends too early", "missing brackets"]),
    "web page": ("<!DOCTYPE html><html><body>Sign in</body></html>", 2, ["web page", "Save the JSON document"]),
    "empty file": ("", 2, ["is empty", "name another file"]),
    "backslashes": (r'{"manual_call_templates": [{"file_path": "C:\Users\ada"}]}', 2, ["backslash twice"]),
    "readme": ("# A readme\n\nSome text.\n", 2, ["neither a configuration", "manual_call_templates"]),
    "text that is no YAML": ("# A readme\n\nMade for: you, by: us\n", 2, ["line 3", "in quotes"]),
    "backslashes in YAML": (r'manual_call_templates: ["C:\Users\ada"]', 2, ["backslash twice"]),
    "misspelt variable": (
        entries({"name": "a", "call_template_type": "http", "url": "${BASE_ULR}/x"}, variables={"BASE_URL": "x"}),
        2,
        ["'a_BASE_ULR' is not set", "Did you mean 'BASE_URL', which is set?"],
    ),
    "misspelt entries": ('{"manual_call_template": []}', 2, ["'manual_call_template'", "'manual_call_templates'"]),
    "no entries": ("{}", 2, ["neither a configuration"]),
    "misspelt type": (entries({**JSON_ENTRY, "call_template_type": "txet"}), 2, ["'txet'", "Did you mean 'text'?"]),
    "no type": (entries({"name": "a", "url": "http://127.0.0.1:9/"}), 2, ["call_template_type", "http"]),
    "misspelt key": (entries({**JSON_ENTRY, "exlude": {}}), 2, ["'exlude'", "Did you mean 'exclude'?"]),
    "misspelt setting": (entries(JSON_ENTRY, bridge={"exposur": "all"}), 2, ["'exposur'", "Did you mean"]),
    "store of another kind": (entries(JSON_ENTRY, bridge={"store": "mysql://x"}), 2, ["must begin with redis://"]),
    "two of one name": (entries(JSON_ENTRY, JSON_ENTRY), 2, ["another entry is also named 'a'", "its own name"]),
    "url without scheme": (
        entries({"name": "a", "call_template_type": "http", "url": "api.example.com/utcp"}),
        2,
        ["no scheme", "Write scheme://host"],
    ),
    "unset variable": (
        entries({"name": "a", "call_template_type": "http", "url": "${BASE_URL}/x"}),
        2,
        ["'a_BASE_URL' is not set", "Add the line `BASE_URL=…` to ", ".env"],
    ),
    "missing file": (
        entries({"name": "a", "call_template_type": "file", "file_path": "gone.json"}),
        5,
        ["gone.json", "Check the path"],
    ),
    "server not installed": (
        json.dumps({"mcpServers": {"files": {"command": "no-such-server"}}}),
        5,
        ["'no-such-server' of MCP server 'files'", "Install it"],
    ),
    "server that ends": (
        json.dumps({"mcpServers": {"files": {"command": "sh", "args": ["-c", "echo no database >&2; exit 3"]}}}),
        5,
        ["MCP server 'files'", "exit code 3", "no database", "Run the command by hand"],
    ),
    "nothing listens": (
        entries({"name": "a", "call_template_type": "http", "url": "http://127.0.0.1:9/utcp"}),
        5,
        ["127.0.0.1:9", "refused"],
    ),
}

YAML = {"tab", "readme", "text that is no YAML", "backslashes in YAML"}
YAML |= {"tab in the middle", "wrong column", "open bracket", "open quote"}


@pytest.mark.parametrize("mistake", list(FILES))
def test_a_mistake_in_a_file_is_named_with_what_to_do(command, tmp_path, mistake):
    content, code, words = FILES[mistake]
    path = tmp_path / ("page.yaml" if mistake in YAML else "page.json")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = command("check", str(path))
    said = outcome.out + outcome.err
    assert outcome.code == code, said
    assert [one for one in words if one not in said] == [], said
    assert path.name in said or "a: " in said or "files: " in said
    assert "Traceback" not in said


LINES = {
    "misspelt verb": (["serv"], 1, ["Did you mean", "serve"]),
    "verb of another program": (["run"], 1, ["'run'", "Did you mean 'serve'?"]),
    "misspelt option": (["check", "--strct"], 1, ["No such option", "--strct", "--strict"]),
    "no configuration": (["tools"], 2, ["The current folder has no configuration", "utcp-bridge init"]),
    "no such file": (["check", "nope.json"], 2, ["nope.json", "Check the path"]),
    "convert of no file": (["convert", "nope.json"], 2, ["nope.json", "Check the path"]),
    "validate of no file": (["validate", "nope.json"], 2, ["nope.json", "Check the path"]),
    "migrate of no file": (["migrate", "nope.json"], 1, ["nope.json", "`utcp-bridge migrate` lists the hosts"]),
    "argument as an option": (
        ["call", "--quickstart", "desk.convert_units", "--value", "3"],
        1,
        ["No such option", "--value", "write value=VALUE after the tool's name"],
    ),
    "unknown host": (["install", "nohost"], 1, ["nohost", "claude-code"]),
    "misspelt setting": (["check", "--set", "prot=1"], 2, ["'prot' is not a setting", "server.port"]),
    "setting without value": (["check", "--set", "port"], 1, ["KEY=VALUE"]),
    "misspelt tool": (["call", "--quickstart", "desk.convert_unit"], 3, ["Did you mean desk.convert_units"]),
    "missing argument": (["call", "--quickstart", "desk.convert_units", "value:=1"], 4, ["from", "required"]),
    "wrong argument": (
        ["call", "--quickstart", "desk.convert_units", "value=x", "from=km", "to=mi"],
        4,
        ["value", "number"],
    ),
}


@pytest.mark.parametrize("mistake", list(LINES))
def test_a_mistake_on_the_command_line_is_named_with_what_to_do(command, mistake):
    arguments, code, words = LINES[mistake]
    outcome = command(*arguments)
    said = outcome.out + outcome.err
    assert outcome.code == code, said
    assert [one for one in words if one not in said] == [], said
    assert "Traceback" not in said


@pytest.mark.parametrize("target", ["loop.json", "nowhere.json"])
def test_a_link_that_leads_nowhere_is_named_as_a_link(command, tmp_path, target):
    (tmp_path / "loop.json").symlink_to(target)
    outcome = command("check", "loop.json")
    assert outcome.code == 2
    assert "loop.json: The link leads nowhere, or in a circle. Correct the link." in outcome.err
