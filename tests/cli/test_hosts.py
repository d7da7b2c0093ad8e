"""Hosts: their files, entries and links."""

import base64
import json
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from utcp_bridge.cli import hosts
from utcp_bridge.cli.hosts import HOSTS, config_folder

HOME, PROJECT = Path("/home/user/"), Path("/srv/shop")


@pytest.mark.parametrize(
    ("host", "user", "project"),
    [
        ("claude-desktop", "/home/user/.config/Claude/claude_desktop_config.json", None),
        ("claude-code", "/home/user/.claude.json", "/srv/shop/.mcp.json"),
        ("cursor", "/home/user/.cursor/mcp.json", "/srv/shop/.cursor/mcp.json"),
        ("vscode", "/home/user/.config/Code/User/mcp.json", "/srv/shop/.vscode/mcp.json"),
        ("codex", "/home/user/.codex/config.toml", "/srv/shop/.codex/config.toml"),
        ("windsurf", "/home/user/.codeium/windsurf/mcp_config.json", None),
    ],
)
def test_each_host_keeps_its_servers_in_its_own_place(monkeypatch, host, user, project):
    monkeypatch.setattr(hosts.sys, "platform", "linux")
    found = [HOSTS[host].file(home=HOME, project=where) for where in (None, PROJECT)]
    assert [path and str(path) for path in found] == [user, project]


def test_platforms_have_settings_folders_of_their_own(monkeypatch):
    for platform, folder in (("darwin", "Library/Application Support"), ("win32", "AppData/Roaming")):
        monkeypatch.setattr(hosts.sys, "platform", platform)
        assert config_folder(HOME) == HOME / folder


def test_an_entry_has_the_hosts_form():
    assert HOSTS["cursor"].entry("x", ["serve"], {}) == {"command": "x", "args": ["serve"]}
    assert HOSTS["vscode"].entry("x", [], {"A": "1"}) == {
        "type": "stdio",
        "command": "x",
        "args": [],
        "env": {"A": "1"},
    }


def test_links_carry_the_entry():
    entry = {"command": "utcp-bridge", "args": ["serve", "/a b/ü.yaml"]}
    query = parse_qs(urlsplit(HOSTS["cursor"].link("my tools", entry)).query)
    assert query["name"] == ["my tools"]
    assert json.loads(base64.b64decode(query["config"][0])) == entry
    link = HOSTS["vscode"].link("utcp", {"type": "stdio", **entry})
    assert json.loads(unquote(link.removeprefix("vscode:mcp/install?"))) == {"name": "utcp", **entry}
    assert HOSTS["codex"].link("utcp", entry) is None
