"""Rules of hosts that name tools: what they forbid moves, and the new names of the others are said."""

import json

import pytest

from utcp_bridge.configuration.hosts.files import read_host_file
from utcp_bridge.configuration.hosts.permissions import read_rules


def file_of(tmp_path, place, content, settings=None):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    for name, text in (settings or {}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(text))
    return read_host_file(path)


SERVERS = {"mcpServers": {"my files": {"command": "x"}, "far": {"command": "y"}}}


def test_rules_of_claude_code_are_found_by_the_names_that_it_gives_to_servers(tmp_path):
    rules = {
        "allow": ["mcp__my_files__read", "mcp__other__x"],
        "deny": ["mcp__my_files__drop", "mcp__far"],
        "ask": "odd",
    }
    file = file_of(tmp_path, ".mcp.json", SERVERS, {".claude/settings.local.json": {"permissions": rules}})
    found = read_rules(file, home=tmp_path / "home")
    assert found.deny == {"my files": ["drop"]}
    assert "forbids mcp__far" in found.stay["far"]
    said = "\n".join(found.sentences({"my files": {"name": "my_files"}}, "utcp"))
    assert "names mcp__my_files__read. The new name is mcp__utcp__my_files_read." in said
    assert "forbids mcp__my_files__drop" in said
    assert "far" not in said


def test_rules_of_cursor_are_found(tmp_path):
    rules = {"allow": ["Mcp(my files:read)"], "deny": ["Mcp(far:*)", "Shell(rm)"]}
    file = file_of(tmp_path, ".cursor/mcp.json", SERVERS, {".cursor/cli.json": {"permissions": rules}})
    found = read_rules(file, home=tmp_path / "home")
    assert list(found.stay) == ["far"]
    assert "The new name is utcp:my_files_read." in "".join(found.sentences({"my files": {"name": "my_files"}}, "utcp"))


@pytest.mark.parametrize(
    ("rules", "stays"),
    [
        ({"permission": {"files_*": "ask"}}, True),
        ({"agent": {"build": {"tools": {"files_read": False}}}}, True),
        ({"permission": {"fil*": "ask"}}, True),
        ({"permission": {"files_read": "deny"}, "tools": {"files_write": False}}, False),
        ({"permission": {"files_read": "allow", "*": "ask", "other_x": "ask"}}, False),
    ],
)
def test_a_server_of_opencode_stays_if_a_rule_that_cannot_move_names_its_tools(tmp_path, rules, stays):
    content = {"mcp": {"files": {"type": "local", "command": ["x"]}}, **rules}
    found = read_rules(file_of(tmp_path, "opencode.json", content), home=tmp_path / "home")
    assert ("files" in found.stay) is stays


def test_what_a_host_called_without_a_question_is_named_with_the_new_names(tmp_path):
    entry = {"httpUrl": "http://127.0.0.1:9/mcp", "trust": True, "autoApprove": ["a", 5]}
    file = file_of(tmp_path, ".gemini/settings.json", {"mcpServers": {"far": entry}})
    said = [*read_rules(file, home=tmp_path / "home").sentences({"far": {"name": "far"}}, "utcp")]
    assert ["autoApprove for a of far" in said[0], "new names are far_a" in said[0], "had trust" in said[1]] == [
        True
    ] * 3


def test_servers_of_a_list_that_their_names_do_not_identify_stay(tmp_path):
    path = tmp_path / ".continue" / "config.yaml"
    path.parent.mkdir()
    path.write_text(
        "mcpServers:\n- command: x\n- name: a\n  command: y\n- name: a\n  command: z\n- name: b\n  command: z\n"
    )
    assert sorted(read_rules(read_host_file(path), home=tmp_path / "home").stay) == ["a", "server_1", "server_3"]


@pytest.mark.parametrize("text", ["{", "[]", '{"permissions": {"deny": 5}}', '{"permissions": []}', "\udcff"])
def test_settings_that_cannot_be_read_have_no_rules(tmp_path, text):
    file = file_of(tmp_path, ".mcp.json", SERVERS, {".claude/settings.json": {}})
    (tmp_path / ".claude" / "settings.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_rules(file, home=tmp_path / "home").stay == {}
