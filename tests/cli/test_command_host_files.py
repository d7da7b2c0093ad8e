"""Hosts' files of odd forms: what `install` and `migrate` write keeps the form, and `--undo` gives back each byte."""

import json
from pathlib import Path

import pytest

ENTRY = {"command": "true", "args": ["x"]}


def listed(servers, **others):
    return json.dumps({"mcpServers": servers, **others}, indent=2)


CURSOR, VSCODE, CODEX = ".cursor/mcp.json", "shop/.vscode/mcp.json", ".codex/config.toml"
GOOSE, CONTINUE = ".config/goose/config.yaml", ".continue/config.yaml"
OPENCODE, ZED = ".config/opencode/opencode.jsonc", ".config/zed/settings.json"
NAMES = ["a.b", "a/b", "a b", "ü中", "__proto__", "a~b", "${X}", "utcp", "A" * 300, "true", "0"]
FILES = {
    "mark": (CURSOR, b"\xef\xbb\xbf" + listed({"a": ENTRY}).encode()),
    "utf-16": (CURSOR, listed({"a": ENTRY}).encode("utf-16")),
    "crlf": (CURSOR, listed({"a": ENTRY, "b": ENTRY}).replace("\n", "\r\n").encode()),
    "cr": (CURSOR, listed({"a": ENTRY}).replace("\n", "\r").encode()),
    "tabs": (CURSOR, json.dumps({"mcpServers": {"a": ENTRY}}, indent="\t").encode()),
    "one line": (CURSOR, b'{"mcpServers":{"a":{"command":"true"}}}'),
    "no line break at the end": (CODEX, b'[mcp_servers.a]\ncommand = "true"'),
    "names": (CURSOR, listed(dict.fromkeys(NAMES, ENTRY)).encode()),
    "large numbers": (CURSOR, b'{"n": 123456789012345678901234567890, "mcpServers":{"a":{"command":"true"}}}'),
    "300 servers": (CURSOR, listed({f"s{at}": {**ENTRY, "env": {"K": "v" * 99}} for at in range(300)}).encode()),
    "comments": (
        VSCODE,
        (
            b'// top\n{ /* x */ "servers": { // in\n "a": {"command":"true"}, // after\n'
            b' /* before */ "b": {"command":"true"}, }, // end\n "inputs": [] }\n// bottom\n'
        ),
    ),
    "toml with comments": (
        CODEX,
        (
            b'# top\nmodel = "x" # m\n[mcp_servers.a] # a\ncommand = "true" # c\nargs = [ "x", # one\n "y" ]\n\n'
            b'[mcp_servers.a.env]\nK = "v" # k\n\n[mcp_servers."b.c d"]\ncommand = \'true\'\n\n[p]\nm = "y"\n'
        ),
    ),
    "toml inline": (
        CODEX,
        b'mcp_servers = { a = { command = "true", args = ["x"] }, b = { command = "true" } }\nm = 1\n',
    ),
    "toml dotted": (CODEX, b'mcp_servers.a.command = "true"\nmcp_servers.b.command = "true"\nmodel = "x"\n'),
    "toml crlf": (CODEX, b'# top\r\n[mcp_servers.a]\r\ncommand = "true"\r\n'),
    "toml mark": (CODEX, b'\xef\xbb\xbf[mcp_servers.a]\ncommand = "true"\n'),
    "toml lines": (
        CODEX,
        b'[mcp_servers.a]\ncommand = "true"\nargs = ["""a\nb""", \'\'\'c\nd\'\'\']\n[[x]]\ny=1\n[[x]]\ny=2\n',
    ),
    "yaml with comments": (
        GOOSE,
        (
            b'# top\nGOOSE_MODEL: x # m\nextensions:\n  a: # ext\n    type: stdio\n    cmd: "true"\n    enabled: true\n'
            b'  # next\n  b:\n    type: stdio\n    cmd: "true"\n    enabled: false\n'
        ),
    ),
    "yaml start": (GOOSE, b'---\nextensions:\n  a:\n    type: stdio\n    cmd: "true"\n    enabled: true\n'),
    "yaml list": (
        CONTINUE,
        b'name: x\nmcpServers:\n  - name: a # 1\n    command: "true"\n  # 2\n  - name: b\n    command: "true"\n',
    ),
    "opencode 2": (OPENCODE, b'{ // c\n "mcp": {"servers": {"a": {"type":"local","command":["true"]}}}}'),
    "zed": (
        ZED,
        (
            b'// zed\n{\n  "t": 1,\n  "context_servers": {\n    // one\n'
            b'    "a": { "source": "custom", "command": "true", "args": []},\n    "e": {"source":"extension"}\n  }\n}\n'
        ),
    ),
}
BROKEN = {
    "null": (CURSOR, b"null"),
    "text": (CURSOR, b'"text"'),
    "500 levels": (CURSOR, b'{"x":' + b"[" * 500 + b"]" * 500 + b',"mcpServers":{"a":{"command":"true"}}}'),
    "not UTF-8": (CURSOR, b'{"mcpServers":{"a":{"command":"tr\xffue"}}}'),
    "cut": (CURSOR, b'{"mcpServers":{"a":{"command":"true"}'),
    "200000 levels": (CURSOR, b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b',"mcpServers":{"a":{"command":"true"}}}'),
    "yaml with tabs": (GOOSE, b"extensions:\n\ta:\n\t\tcmd: x\n"),
    "toml twice": (CODEX, b'[mcp_servers.a]\ncommand = "true"\n[mcp_servers.a]\ncommand = "false"\n'),
    "binary": (CURSOR, bytes(range(256))),
}
HOSTS = {
    CURSOR: "cursor",
    VSCODE: "vscode",
    CODEX: "codex",
    GOOSE: "goose",
    CONTINUE: "continue",
    OPENCODE: "opencode",
    ZED: "zed",
}
MARKS = (b"//", b"#", b"/*")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "my home"
    folder.mkdir()
    monkeypatch.setattr(Path, "home", lambda: folder)
    return folder


def put(home, place, data):
    path = home / place
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def comments(data):
    return sum(data.count(mark) for mark in MARKS)


@pytest.mark.parametrize("form", FILES)
def test_a_file_of_any_form_is_written_in_its_form(command, home, form):
    place, data = FILES[form]
    path = put(home, place, data)
    (home / "utcp.json").write_text('{"manual_call_templates": []}', encoding="utf-8")
    project = ["--project", str(home / "shop")] if place == VSCODE else []
    done = command("install", HOSTS[place], str(home / "utcp.json"), "--no-check", "--name", "new", *project)
    assert done.code == 0, done.err
    written = path.read_bytes()
    assert comments(written) == comments(data)
    assert written.startswith(b"\xef\xbb\xbf") == data.startswith(b"\xef\xbb\xbf")
    assert (b"\r\n" in written) == (b"\r\n" in data)
    assert command("validate", str(path)).code == 0


@pytest.mark.parametrize("form", FILES)
def test_undo_gives_back_each_byte(command, home, form):
    path = put(home, *FILES[form])
    before = path.read_bytes()
    preview = command("migrate", str(path), "--dry-run")
    assert preview.code == 0, preview.err
    assert path.read_bytes() == before
    done = command("migrate", str(path), "--no-check")
    assert done.code == 0, done.err
    assert path.read_bytes() != before
    undone = command("migrate", str(path), "--undo")
    assert undone.code == 0, undone.err
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", BROKEN)
def test_a_file_that_cannot_be_read_stays_and_is_named(command, home, form):
    place, data = BROKEN[form]
    path = put(home, place, data)
    (home / "utcp.json").write_text('{"manual_call_templates": []}', encoding="utf-8")
    for words in (
        ("install", HOSTS[place], str(home / "utcp.json"), "--no-check"),
        ("migrate", str(path)),
        ("validate", str(path)),
        ("check", str(path)),
    ):
        done = command(*words)
        assert done.code not in {0, 70}, (words, done)
        assert path.name in done.err + done.out
        assert "Traceback" not in done.err
        assert path.read_bytes() == data


def test_servers_in_one_line_of_yaml_stay_and_the_message_says_so(command, home):
    data = b'extensions: {a: {type: stdio, cmd: "true", enabled: true}} # c\n'
    path = put(home, GOOSE, data)
    done = command("migrate", str(path), "--no-check")
    assert done.code == 2
    assert "Change it by hand. Nothing was changed." in done.err
    assert path.read_bytes() == data
