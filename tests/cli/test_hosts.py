"""Reading and changing a host's file."""

import json
import tomllib

import pytest

from utcp_bridge.cli.hosts import read_host_file, show_changes
from utcp_bridge.configuration.hosts.table import HOSTS
from utcp_bridge.errors import ConfigError

ENTRY = {"command": "utcp-bridge", "args": ["serve", "/a.yaml"], "env": {"KEY": 'a "quote"'}}
TOML = """# my settings
model = "big"

[mcp_servers.files]
command = "files"
args = ["."]

[mcp_servers.files.env]
A = "1"

[profiles.fast]
model = "small"
"""


def test_other_entries_and_keys_stay(tmp_path):
    path = tmp_path / "mcp.json"
    path.write_text('{"theme": "dark", "mcpServers": {"files": {"command": "x"}}}', encoding="utf-8")
    file = read_host_file(path)
    text = file.with_servers({**file.servers, "utcp": ENTRY})
    assert json.loads(text) == {"theme": "dark", "mcpServers": {"files": {"command": "x"}, "utcp": ENTRY}}
    assert not file.has_comments
    assert "+" in show_changes(file, text)


def test_comments_in_json_are_read_and_reported(tmp_path):
    path = tmp_path / "mcp.json"
    path.write_text('{\n  // mine\n  "servers": {"a": {"command": "x"}}\n}', encoding="utf-8")
    file = read_host_file(path)
    assert (file.key, file.has_comments) == ("servers", True)
    assert file.servers == {"a": {"command": "x"}}


def test_toml_keeps_every_other_line(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(TOML, encoding="utf-8")
    file = read_host_file(path)
    added = file.with_servers({**file.servers, "utcp": ENTRY})
    assert added.startswith(TOML.rstrip())
    assert tomllib.loads(added)["mcp_servers"] == {**file.servers, "utcp": ENTRY}
    replaced = file.with_servers({"my tools": ENTRY})
    assert "# my settings" in replaced
    assert tomllib.loads(replaced) == {
        "model": "big",
        "profiles": {"fast": {"model": "small"}},
        "mcp_servers": {"my tools": ENTRY},
    }


def test_each_write_keeps_a_backup_and_the_file_permissions(tmp_path):
    path = tmp_path / "deep" / "mcp.json"
    file = read_host_file(path, HOSTS["cursor"])
    assert file.write("{}\n") is None
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    backups = [read_host_file(path, HOSTS["cursor"]).write(text) for text in ('{"a": 1}\n', '{"b": 1}\n')]
    assert [backup.name for backup in backups] == ["mcp.json.bak", "mcp.json.bak2"]
    assert backups[1].read_text() == '{"a": 1}\n'
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in path.parent.iterdir()) == ["mcp.json", "mcp.json.bak", "mcp.json.bak2"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("mcp.json", "{", "cannot be parsed"),
        ("mcp.json", "[]", "must contain a JSON object"),
        ("mcp.json", '{"other": {}}', "has no MCP servers"),
        ("config.toml", "a = ", "cannot be parsed"),
        ("mcp.json", b"\xff\xff", "cannot be read"),
    ],
)
def test_an_unreadable_host_file_is_reported_and_not_changed(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=words):
        read_host_file(path)
    assert path.read_bytes() == before
