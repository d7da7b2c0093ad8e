"""Hosts' files on disk: found, read, and used as configurations with real servers."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from utcp_bridge import UtcpClient
from utcp_bridge.configuration.hosts.files import (
    find_host_files,
    host_configuration,
    read_host_file,
)
from utcp_bridge.configuration.hosts.filters import switched_off_elsewhere
from utcp_bridge.configuration.hosts.table import HOSTS
from utcp_bridge.errors import ConfigError, UtcpError

SHOW = """
import json, os, sys
open(sys.argv[1], "a").write("x")
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
        result["serverInfo"] = {"name": "s", "version": "1"}
    elif message["method"] == "tools/list":
        result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("show", "hide")]}
    elif message["method"] == "tools/call":
        seen = {"args": sys.argv[2:], "env": dict(os.environ), "cwd": os.getcwd(), "program": sys.argv[0]}
        result = {"content": [{"type": "text", "text": json.dumps(seen)}]}
    else:
        result = {}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder the home folder, on each system."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))


class Shop:
    """A project with servers that say how they were started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "show.py"
        self.program.write_text(SHOW, encoding="utf-8")

    def entry(self, name: str, *args: str, **more: Any) -> dict[str, Any]:
        words = [str(self.program), str(self.folder / f"{name}.started"), *args]
        return {"command": sys.executable, "args": words, **more}

    def write(self, place: str, content: Any) -> Path:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def started(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.started")}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def seen(client: UtcpClient, name: str) -> Any:
    """Return how a server was started."""
    return await client.call_tool(name, {})


async def test_only_what_the_file_allows_is_started_and_offered(shop: Shop) -> None:
    servers = {
        "on": shop.entry("on"),
        "off": shop.entry("off", disabled=True),
        "off2": shop.entry("off2", enabled=False),
        "part": shop.entry("part", disabledTools=["hide"]),
        "few": shop.entry("few", tools=["hide"]),
        "odd": {"something": "else"},
    }
    path = shop.write("mcp.json", {"mcpServers": servers})
    async with await UtcpClient.create(path) as client:
        await client.wait_loaded(60)
        names = {tool.qualified_name for tool in client.tools()}
        assert names == {"on.show", "on.hide", "part.show", "few.hide"}
        assert {one.manual for one in client.servers() if one.status == "disabled"} == {"off", "off2"}
    assert shop.started() == {"on", "part", "few"}


async def test_an_unset_variable_costs_one_server_only(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "k")
    servers = {
        "good": shop.entry("good", "${SHOP_KEY}", "${UNSET_ONE:-fallback}", "$SHOP_KEY"),
        "bad": shop.entry("bad", env={"K": "${UNSET_ONE}"}),
    }
    path = shop.write("mcp.json", {"mcpServers": servers})
    async with await UtcpClient.create(path) as client:
        await client.wait_loaded(60)
        assert (await seen(client, "good.show"))["args"] == ["k", "fallback", "$SHOP_KEY"]
        [failed] = [state for state in client.report() if state.error is not None]
        assert failed.name == "bad"
        assert "bad_UNSET_ONE" in str(failed.error)


async def test_a_project_of_an_editor_has_its_folder_and_its_dotenv_file(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "k")
    shop.write(".env", "FROM_FILE='a b'\nBOTH=file\nEMPTY\nSHOP_TOKEN=s3cret-of-the-shop\n")
    entry = shop.entry("s", "${workspaceFolder}/x", envFile="${workspaceFolder}/.env")
    entry["env"] = {"BOTH": "entry", "PORT": 8080, "DEBUG": True, "K": "${env:SHOP_KEY}"}
    path = shop.write(".vscode/mcp.json", {"servers": {"s": entry}, "inputs": []})
    async with await UtcpClient.create(path) as client:
        await client.wait_loaded(60)
        found = await seen(client, "s.show")
        assert client.redactor("It is s3cret-of-the-shop.") == "It is ***."
    assert found["args"] == [f"{shop.folder}/x"]
    assert found["cwd"] == os.path.realpath(shop.folder)  # noqa: ASYNC240 - a test may wait
    wanted = {"FROM_FILE": "a b", "BOTH": "entry", "PORT": "8080", "DEBUG": "true", "K": "k"}
    assert found["env"].items() >= wanted.items()
    assert "EMPTY" not in found["env"]


async def test_a_dotenv_file_that_is_missing_is_named(shop: Shop) -> None:
    path = shop.write("mcp.json", {"mcpServers": {"s": shop.entry("s", envFile="gone.env")}})
    async with await UtcpClient.create(path) as client:
        await client.wait_loaded(60)
        [state] = client.report()
    assert "gone.env does not exist" in str(state.error)
    assert shop.started() == set()


async def test_the_path_of_a_program_may_contain_blanks_and_the_home_folder(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(shop.folder, monkeypatch)
    script = shop.write(
        "My App.app/server", f'#!/bin/sh\nexec {sys.executable} "{shop.program}" {shop.folder}/a.started "$@"\n'
    )
    script.chmod(0o755)
    servers = {
        "blank": {"command": str(script)},
        "home": {"command": "~/My App.app/server", "args": ["x"]},
        "line": {"command": f"{sys.executable} '{shop.program}' {shop.folder}/b.started y"},
        "gone": {"command": "/Applications/No App.app/server"},
    }
    path = shop.write("mcp.json", {"mcpServers": servers})
    async with await UtcpClient.create(path) as client:
        await client.wait_loaded(60)
        assert (await seen(client, "blank.show"))["args"] == []
        assert (await seen(client, "home.show"))["args"] == ["x"]
        assert (await seen(client, "line.show"))["args"] == ["y"]
        [failed] = [state for state in client.report() if state.error is not None]
        assert "'/Applications/No App.app/server'" in str(failed.error)


async def test_toml_and_yaml_files_of_hosts_are_configurations(shop: Shop) -> None:
    words = ", ".join(json.dumps(word) for word in shop.entry("codex")["args"])
    toml = shop.write(
        ".codex/config.toml",
        f"""
        model = "m"
        [mcp_servers.codex]
        command = {json.dumps(sys.executable)}
        args = [{words}]
        enabled_tools = ["show"]
        """,
    )
    entry = {"type": "stdio", "cmd": sys.executable, "args": shop.entry("goose")["args"], "enabled": True}
    yaml = shop.write(".config/goose/config.yaml", json.dumps({"extensions": {"goose": entry}}))
    for path, names in ((toml, {"codex.show"}), (yaml, {"goose.show", "goose.hide"})):
        async with await UtcpClient.create(path) as client:
            await client.wait_loaded(60)
            assert {tool.qualified_name for tool in client.tools()} == names


def test_the_files_that_exist_are_found(tmp_path: Path) -> None:
    home, project = tmp_path / "home", tmp_path / "shop"
    for place in (home / ".cursor/mcp.json", project / ".mcp.json", home / ".config/goose/config.yaml"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}", encoding="utf-8")
    found = [(host.name, path) for host, path in find_host_files(home, project, "linux")]
    assert found == [
        ("cursor", home / ".cursor/mcp.json"),
        ("goose", home / ".config/goose/config.yaml"),
        ("claude-code", project / ".mcp.json"),
    ]


@pytest.mark.parametrize(
    ("place", "text", "host", "key"),
    [
        (".cursor/mcp.json", "", "cursor", ("mcpServers",)),
        (".vscode/mcp.json", '// mine\n{"servers": {}}', "vscode", ("servers",)),
        (".vscode/mcp.json", "// nothing yet\n", "vscode", ("servers",)),
        ("opencode.json", '{"mcp": {"servers": {}}}', "opencode", ("mcp", "servers")),
        ("opencode.json", "{}", "opencode", ("mcp",)),
        (".codex/config.toml", 'a = "b"', "codex", ("mcp_servers",)),
        ("any.toml", "[mcp_servers.a]\ncommand = 'c'", "codex", ("mcp_servers",)),
        ("any.json", '{"mcpServers": {}}', "claude-code", ("mcpServers",)),
        ("any.json", '{"context_servers": {}}', "zed", ("context_servers",)),
        ("any.json", '{"servers": {"a": {"command": "c"}}}', "vscode", ("servers",)),
        ("any.yaml", "mcpServers: [{name: a, command: c}]", "claude-code", ("mcpServers",)),
        ("claude_desktop_config.json", "{}", "claude-desktop", ("mcpServers",)),
    ],
)
def test_a_file_belongs_to_a_host_by_its_path_and_its_keys(
    tmp_path: Path, place: str, text: str, host: str, key: tuple[str, ...]
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    file = read_host_file(path)
    assert (file.host.name, file.key, file.text, file.data) == (host, key, text, text.encode())


def test_a_file_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    file = read_host_file(tmp_path / "mcp.json", HOSTS["cursor"])
    assert (file.text, file.data, file.content, file.servers) == ("", None, {}, [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_not_text(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"ä": {"command": "c"}}}', encoding=encoding)
    file = read_host_file(path)
    assert file.text.startswith("{")
    assert [server.name for server in file.servers] == ["ä"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("mcp.json", b"{", "cannot be parsed"),
        ("mcp.json", b"[]", "must contain an object"),
        ("mcp.json", b'{"other": {}}', "has no MCP servers"),
        ("config.toml", b"a = ", "is not valid TOML"),
        ("mcp.json", b"\xff\xff", "cannot be parsed"),
    ],
)
def test_an_unreadable_file_is_an_error(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=words):
        read_host_file(path)
    assert path.read_bytes() == data


def test_settings_of_claude_code_switch_servers_off(tmp_path: Path) -> None:
    home, project = tmp_path / "home", tmp_path / "shop"
    for folder, names in ((home, ["a"]), (project, ["b"])):
        (folder / ".claude").mkdir(parents=True)
        settings = json.dumps({"disabledMcpjsonServers": names})
        (folder / ".claude/settings.local.json").write_text(settings, encoding="utf-8")
    (project / ".claude/settings.json").write_text("{", encoding="utf-8")
    path = project / ".mcp.json"
    assert switched_off_elsewhere(path, HOSTS["claude-code"], home=home) == {"a", "b"}
    assert switched_off_elsewhere(path, HOSTS["cursor"], home=home) == frozenset()


@pytest.mark.parametrize(
    ("rule", "off"),
    [
        ({"serverName": "near"}, {"near"}),
        ({"serverCommand": ["npx", "-y", "x"]}, {"near"}),
        ({"serverCommand": ["npx"]}, set()),
        ({"serverUrl": "https://*.example.com/*"}, {"far"}),
        ({"serverUrl": "https://far.example.com/mcp"}, {"far"}),
        ({"serverUrl": "https://far.example.com/m"}, set()),
        ("near", set()),
    ],
)
def test_servers_that_claude_code_denies_are_off(tmp_path: Path, rule: Any, off: set[str]) -> None:
    home, project = tmp_path / "home", tmp_path / "shop"
    (home / ".claude").mkdir(parents=True)
    (home / ".claude/settings.json").write_text(json.dumps({"deniedMcpServers": [rule]}), encoding="utf-8")
    entries = {
        "near": {"command": "npx", "args": ["-y", "x"]},
        "far": {"type": "http", "url": "https://far.example.com/mcp"},
        "odd": 5,
    }
    assert switched_off_elsewhere(project / ".mcp.json", HOSTS["claude-code"], entries, home=home) == off


def test_servers_that_claude_code_has_off_in_a_project_are_off_there(tmp_path: Path) -> None:
    home, project = tmp_path / "home", tmp_path / "shop"
    home.mkdir()
    projects = {
        project.as_posix(): {"disabledMcpServers": ["a"], "disabledMcpjsonServers": ["b"]},
        "/other": {"disabledMcpServers": ["c"]},
        "/odd": 5,
    }
    (home / ".claude.json").write_text(json.dumps({"projects": projects}), encoding="utf-8")
    assert switched_off_elsewhere(project / ".mcp.json", HOSTS["claude-code"], home=home) == {"a", "b"}
    assert switched_off_elsewhere(home / ".claude.json", HOSTS["claude-code"], home=home) == frozenset()


async def test_a_server_that_other_settings_switch_off_is_not_started(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(shop.folder / "home", monkeypatch)
    shop.write(".claude/settings.json", {"disabledMcpjsonServers": ["off"]})
    path = shop.write(".mcp.json", {"mcpServers": {"on": shop.entry("on"), "off": shop.entry("off")}})
    async with await UtcpClient.create(path) as client:
        await client.wait_loaded(60)
    assert shop.started() == {"on"}
    file = read_host_file(path)
    assert {server.name: server.enabled for server in file.servers} == {"on": True, "off": False}


@pytest.mark.parametrize(
    "document",
    [
        {"tools": [], "mcpServers": {}},
        {"openapi": "3.1.0", "servers": {"a": {"url": "x"}}},
        {"asyncapi": "3.0.0", "servers": {"a": {"host": "x", "type": "http"}}},
        {"call_template_type": "mcp", "mcpServers": {"a": {"command": "c"}}},
        {"manual_call_templates": []},
        {"extensions": {"a": 1}},
        {"mcp": {"allowed": []}},
        {"mcpServers": "none"},
        [],
        None,
    ],
)
def test_other_documents_are_not_hosts_files(document: Any) -> None:
    assert host_configuration(document, Path("/srv/any.json")) is None


async def test_a_dictionary_is_read_like_a_file(shop: Shop) -> None:
    async with await UtcpClient.create({"mcpServers": {"a": shop.entry("a", includeTools=["show"])}}) as client:
        await client.wait_loaded(60)
        assert [tool.qualified_name for tool in client.tools()] == ["a.show"]
        with pytest.raises(UtcpError):
            await client.call_tool("a.hide", {})
