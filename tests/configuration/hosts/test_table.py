"""The table of hosts: their files, entries and links."""

import base64
import json
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from utcp_bridge.configuration.hosts.recognition import find_section
from utcp_bridge.configuration.hosts.table import HOSTS
from utcp_bridge.errors import ConfigError

HOME, PROJECT = Path("/home/user/"), Path("/srv/shop")
MAC, WINDOWS = "Library/Application Support", "AppData/Roaming"


@pytest.mark.parametrize(
    ("host", "linux", "darwin", "win32", "project"),
    [
        (
            "claude-desktop",
            ".config/Claude/claude_desktop_config.json",
            f"{MAC}/Claude/claude_desktop_config.json",
            f"{WINDOWS}/Claude/claude_desktop_config.json",
            None,
        ),
        ("claude-code", ".claude.json", ".claude.json", ".claude.json", ".mcp.json"),
        ("cursor", ".cursor/mcp.json", ".cursor/mcp.json", ".cursor/mcp.json", ".cursor/mcp.json"),
        (
            "vscode",
            ".config/Code/User/mcp.json",
            f"{MAC}/Code/User/mcp.json",
            f"{WINDOWS}/Code/User/mcp.json",
            ".vscode/mcp.json",
        ),
        (
            "copilot-cli",
            ".copilot/mcp-config.json",
            ".copilot/mcp-config.json",
            ".copilot/mcp-config.json",
            ".mcp.json",
        ),
        ("codex", ".codex/config.toml", ".codex/config.toml", ".codex/config.toml", ".codex/config.toml"),
        ("windsurf", *([".codeium/windsurf/mcp_config.json"] * 3), None),
        (
            "devin",
            ".config/devin/config.json",
            ".config/devin/config.json",
            f"{WINDOWS}/devin/config.json",
            ".devin/config.json",
        ),
        (
            "gemini-cli",
            ".gemini/settings.json",
            ".gemini/settings.json",
            ".gemini/settings.json",
            ".gemini/settings.json",
        ),
        (
            "antigravity",
            ".gemini/config/mcp_config.json",
            ".gemini/config/mcp_config.json",
            ".gemini/config/mcp_config.json",
            ".agents/mcp_config.json",
        ),
        (
            "opencode",
            ".config/opencode/opencode.json",
            ".config/opencode/opencode.json",
            ".config/opencode/opencode.json",
            "opencode.json",
        ),
        (
            "zed",
            ".config/zed/settings.json",
            ".config/zed/settings.json",
            f"{WINDOWS}/Zed/settings.json",
            ".zed/settings.json",
        ),
        (
            "goose",
            ".config/goose/config.yaml",
            ".config/goose/config.yaml",
            f"{WINDOWS}/Block/goose/config/config.yaml",
            None,
        ),
        ("kiro", *([".kiro/settings/mcp.json"] * 4)),
        ("kilo", *([".config/kilo/kilo.json"] * 3), "kilo.json"),
        ("lm-studio", *([".lmstudio/mcp.json"] * 3), None),
        ("continue", *([".continue/config.yaml"] * 3), None),
        ("jetbrains", *([".junie/mcp/mcp.json"] * 4)),
    ],
)
def test_each_host_has_its_file_on_each_system(
    host: str, linux: str, darwin: str, win32: str, project: str | None
) -> None:
    places = {"linux": linux, "darwin": darwin, "win32": win32}
    for system, place in places.items():
        assert HOSTS[host].file(home=HOME, system=system) == HOME / place
    assert HOSTS[host].file(home=HOME, project=PROJECT) == (project and PROJECT / project)


def test_an_unknown_system_has_the_files_of_linux() -> None:
    assert HOSTS["vscode"].file(home=HOME, system="freebsd14") == HOME / ".config/Code/User/mcp.json"


def test_an_entry_has_the_form_of_its_host() -> None:
    made = {name: host.entry("x", ["serve"], {"A": "1"}, name="utcp") for name, host in HOSTS.items()}
    plain = {"command": "x", "args": ["serve"], "env": {"A": "1"}}
    assert made["cursor"] == made["codex"] == made["zed"] == plain
    assert made["vscode"] == made["claude-code"] == {"type": "stdio", **plain}
    assert made["copilot-cli"] == {"type": "local", **plain, "tools": ["*"]}
    assert made["opencode"] == {"type": "local", "command": ["x", "serve"], "environment": {"A": "1"}}
    assert made["continue"] == {"name": "utcp", **plain}
    assert made["goose"]["cmd"] == "x"
    assert made["goose"]["envs"] == {"A": "1"}
    assert "env" not in HOSTS["cursor"].entry("x", [], {})


def test_an_entry_with_a_url_has_the_form_of_its_host() -> None:
    url, headers = "https://mcp.example.com/", {"A": "b"}
    made = {name: host.http_entry(url, headers, name="utcp") for name, host in HOSTS.items() if host.has_http}
    assert made["cursor"] == {"url": url, "headers": headers}
    assert made["windsurf"] == {"serverUrl": url, "headers": headers}
    assert made["gemini-cli"] == {"httpUrl": url, "headers": headers}
    assert made["codex"] == {"url": url, "http_headers": headers}
    assert made["cline"]["type"] == "streamableHttp"
    assert made["opencode"]["type"] == "remote"
    assert made["goose"]["uri"] == url
    with pytest.raises(ConfigError, match="Claude Desktop reads no URLs"):
        HOSTS["claude-desktop"].http_entry(url)


def test_what_the_table_writes_is_read_as_it_was_meant() -> None:
    from utcp_bridge.configuration.hosts.reading import read_servers

    for host in HOSTS.values():
        entries = {"near": host.entry("x", ["serve", "/a b.yaml"], {"A": "1"}, name="near")}
        if host.has_http:
            entries["far"] = host.http_entry("https://mcp.example.com/mcp", {"X-A": "b"}, name="far")
        content: object = [*entries.values()] if host.is_list else entries
        for key in reversed(host.key):
            content = {key: content}
        assert isinstance(content, dict)
        section = find_section(content, host=host)
        assert section is not None
        assert section.key == host.key
        near, *far = read_servers(content, host=host, where="")
        assert near.template is not None
        assert near.template["command"] == "x"
        assert near.template["args"] == ["serve", "/a b.yaml"]
        assert near.template["env"] == {"A": "1"}
        assert [one.template and one.template["headers"] for one in far] == [{"X-A": "b"}] * host.has_http
        assert [one.remainder or one.notes for one in (near, *far)] == [()] * (1 + len(far)), host.name


def test_a_deep_link_contains_the_entry() -> None:
    entry = {"command": "utcp-bridge", "args": ["serve", "/a b/ü.yaml"]}
    for host in ("cursor", "lm-studio"):
        query = parse_qs(urlsplit(str(HOSTS[host].link("my tools", entry))).query)
        assert query["name"] == ["my tools"]
        assert json.loads(base64.b64decode(query["config"][0])) == entry
    link = HOSTS["vscode"].link("utcp", {"type": "stdio", **entry})
    assert json.loads(unquote(str(link).removeprefix("vscode:mcp/install?"))) == {"name": "utcp", **entry}
    assert HOSTS["codex"].link("utcp", entry) is None


def test_the_page_of_hosts_lists_every_host_and_its_files() -> None:
    page = (Path(__file__).parents[3] / "docs" / "hosts.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.count("|") == 6}
    for host in HOSTS.values():
        row = rows[host.title]
        assert f"`{'.'.join(host.key)}`" in row
        places = [*host.files(home=Path("~"), system="linux"), *map(Path, host.projects)]
        assert [place for place in places if f"`{place}`" not in row] == []
        assert [form for form in host.variables if f"`{form}`" not in row] == []


def test_the_page_of_hosts_names_the_documentation_of_each_host() -> None:
    page = (Path(__file__).parents[3] / "docs" / "hosts.md").read_text(encoding="utf-8")
    part = page.partition("## Where this comes from")[2]
    rows = {line.split("|")[1].strip(): line for line in part.splitlines() if line.startswith("|")}
    for host in HOSTS.values():
        assert "https://" in rows[host.title]
        if host.timeout_unit is None:
            assert "timeout" in rows[host.title]
