"""The reader of hosts' files: one sample for each host, and what holds for every entry."""

import os
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.configuration.hosts.reading import (
    _READ,
    HostServer,
    as_configuration,
    describes,
    read_servers,
    unread_in_entry,
)
from utcp_bridge.configuration.hosts.table import HOSTS
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.fields import word
from utcp_bridge.model import is_object

NONE = {"exclude": {"names": ["*"]}}


def read(path: str, text: str) -> tuple[str | None, list[HostServer]]:
    """Return the host of a file, and its servers."""
    suffix = Path(path).suffix
    content = parse_document(textwrap.dedent(text), hint=suffix, jsonc=suffix in {".json", ".jsonc"})
    found = as_configuration(content, path=Path(path))
    assert found is not None
    host = found.section.host
    return None if host is None else host.name, list(found.servers)


def fields(server: HostServer) -> Any:
    """Return what a server's template has besides its name and type."""
    if server.template is None:
        return None
    made = {key: value for key, value in server.template.items() if key not in {"name", "call_template_type"}}
    return with_slashes(made)


def with_slashes(value: Any) -> Any:
    """Return a value whose paths have the separator of POSIX."""
    if isinstance(value, dict):
        return {key: with_slashes(one) for key, one in value.items()}
    if isinstance(value, list):
        return [with_slashes(one) for one in value]
    return value.replace(os.sep, "/") if isinstance(value, str) else value


SAMPLES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "claude-desktop": (
        "/h/.config/Claude/claude_desktop_config.json",
        """{"globalShortcut": "", "mcpServers": {
             "notes": {"command": "/Applications/My Notes.app/Contents/server", "args": ["--quiet"],
                       "env": {"KEY": "k"}}}}""",
        {
            "notes": {
                "command": "/Applications/My Notes.app/Contents/server",
                "args": ["--quiet"],
                "env": {"KEY": "k"},
            }
        },
    ),
    "claude-code": (
        "/srv/shop/.mcp.json",
        """{"mcpServers": {
             "db": {"type": "stdio", "command": "${BIN:-npx}", "args": ["-y", "db", "${DB_URL}", "$HOME"],
                    "env": {"CACHE": "${CACHE:-}"}, "timeout": 90000},
             "api": {"type": "http", "url": "${BASE:-https://api.example.com}/mcp",
                     "headers": {"Authorization": "Bearer ${TOKEN}"}},
             "old": {"type": "sse", "url": "https://old.example.com/sse"}}}""",
        {
            "db": {
                "command": "${BIN:-npx}",
                "args": ["-y", "db", "${DB_URL}", "$$HOME"],
                "env": {"CACHE": "${CACHE:-}"},
                "call_timeout": 90.0,
            },
            "api": {
                "url": "${BASE:-https://api.example.com}/mcp",
                "headers": {"Authorization": "Bearer ${TOKEN}"},
            },
            "old": {"url": "https://old.example.com/sse", "transport": "sse"},
        },
    ),
    "vscode": (
        "/srv/shop/.vscode/mcp.json",
        """{
          // asked once
          "inputs": [{"type": "promptString", "id": "api-key", "description": "Key of the shop", "password": true},
                     {"type": "promptString", "id": "city", "description": "City", "default": "Bonn"}],
          "servers": {
            "shop": {"type": "stdio", "command": "node", "args": ["${workspaceFolder}/server.js", "${input:city}"],
                     "env": {"KEY": "${input:api-key}", "PORT": 8080, "DEBUG": true},
                     "envFile": "${workspaceFolder}/.env"},
            "far": {"type": "http", "url": "https://far.example.com/mcp", "headers": {"X-Key": "${env:FAR_KEY}"}},
          }}""",
        {
            "shop": {
                "command": "node",
                "args": ["/srv/shop/server.js", "${city:-Bonn}"],
                "env": {"KEY": "${api_key}", "PORT": "8080", "DEBUG": "true"},
                "env_file": "/srv/shop/.env",
                "cwd": "/srv/shop",
            },
            "far": {"url": "https://far.example.com/mcp", "headers": {"X-Key": "${FAR_KEY}"}},
        },
    ),
    "copilot-cli": (
        "/h/.copilot/mcp-config.json",
        """{"mcpServers": {
             "all": {"type": "local", "command": "npx", "args": ["-y", "all"], "tools": ["*"]},
             "few": {"type": "local", "command": "npx", "args": ["-y", "few"], "tools": ["get", "list"],
                     "timeout": 5000},
             "none": {"type": "http", "url": "https://none.example.com/mcp", "headers": {}, "tools": []}}}""",
        {
            "all": {"command": "npx", "args": ["-y", "all"]},
            "few": {
                "command": "npx",
                "args": ["-y", "few"],
                "include": {"names": ["get", "list"]},
                "call_timeout": 5.0,
            },
            "none": {"url": "https://none.example.com/mcp", **NONE},
        },
    ),
    "cursor": (
        "/srv/shop/.cursor/mcp.json",
        """{"mcpServers": {
             "near": {"command": "python", "args": ["server.py", "${userHome}x${/}y"], "env": {"K": "${env:K}"},
                      "envFile": "../.env"},
             "far": {"url": "https://far.example.com/sse", "headers": {"X": "${env:X}"}, "disabled": true}}}""",
        {
            "near": {
                "command": "python",
                "args": ["server.py", "/hx/y"],
                "env": {"K": "${K}"},
                "env_file": "/srv/shop/../.env",
                "cwd": "/srv/shop",
            },
            "far": {"url": "https://far.example.com/sse", "headers": {"X": "${X}"}, "disabled": True},
        },
    ),
    "codex": (
        "/h/.codex/config.toml",
        """
        model = "large"
        [mcp_servers.far]
        url = "https://far.example.com/mcp"
        bearer_token_env_var = "FAR_TOKEN"
        http_headers = { "X-Region" = "eu" }
        env_http_headers = { "X-User" = "FAR_USER" }
        tool_timeout_sec = 1200
        enabled_tools = ["get", "put"]
        disabled_tools = ["put"]

        [mcp_servers.near]
        command = "npx"
        args = ["-y", "near"]
        env_vars = ["LANG", { name = "TZ", source = "local" }]
        startup_timeout_sec = 20
        enabled = false
        [mcp_servers.near.env]
        LEVEL = "3"
        """,
        {
            "far": {
                "url": "https://far.example.com/mcp",
                "headers": {"X-Region": "eu", "X-User": "${FAR_USER}", "Authorization": "Bearer ${FAR_TOKEN}"},
                "call_timeout": 1200.0,
                "include": {"names": ["get", "put"]},
                "exclude": {"names": ["put"]},
            },
            "near": {
                "command": "npx",
                "args": ["-y", "near"],
                "env": {"LEVEL": "3"},
                "inherit_env_vars": ["LANG", "TZ"],
                "discovery_timeout": 20.0,
                "disabled": True,
            },
        },
    ),
    "windsurf": (
        "/h/.codeium/windsurf/mcp_config.json",
        """{"mcpServers": {
             "far": {"serverUrl": "https://far.example.com/mcp", "headers": {"K": "${env:K}"},
                     "disabledTools": ["drop"]},
             "near": {"command": "npx", "args": ["near"], "disabled": false}}}""",
        {
            "far": {
                "url": "https://far.example.com/mcp",
                "headers": {"K": "${K}"},
                "exclude": {"names": ["drop"]},
            },
            "near": {"command": "npx", "args": ["near"]},
        },
    ),
    "devin": (
        "/h/.config/devin/config.json",
        """{"mcpServers": {"far": {"url": "https://far.example.com/mcp", "transport": "http",
                                   "headers": {"A": "b"}}}}""",
        {"far": {"url": "https://far.example.com/mcp", "headers": {"A": "b"}}},
    ),
    "gemini-cli": (
        "/h/.gemini/settings.json",
        """{"theme": "dark", "tools": {"sandbox": true}, "mcp": {"allowed": ["near", "far"], "excluded": ["far"]},
            "mcpServers": {
              "near": {"command": "python", "args": ["-m", "near"], "cwd": "./near",
                       "env": {"A": "$ALPHA", "B": "${BETA}"}, "timeout": 15000, "includeTools": ["get", "run(ls)"],
                       "excludeTools": ["drop"]},
              "far": {"httpUrl": "https://far.example.com/mcp", "headers": {"K": "$KEY"}},
              "third": {"url": "https://third.example.com/sse"}}}""",
        {
            "near": {
                "command": "python",
                "args": ["-m", "near"],
                "env": {"A": "${ALPHA}", "B": "${BETA}"},
                "cwd": "./near",
                "call_timeout": 15.0,
                "include": {"names": ["get", "run"]},
                "exclude": {"names": ["drop"]},
            },
            "far": {"url": "https://far.example.com/mcp", "headers": {"K": "${KEY}"}, "disabled": True},
            "third": {"url": "https://third.example.com/sse", "disabled": True},
        },
    ),
    "antigravity": (
        "/h/.gemini/config/mcp_config.json",
        """{"mcpServers": {
             "far": {"serverUrl": "https://far.example.com/mcp", "command": "ignored", "disabledTools": ["a"]},
             "near": {"command": "npx", "args": ["near"], "env": {}}}}""",
        {
            "far": {"url": "https://far.example.com/mcp", "exclude": {"names": ["a"]}},
            "near": {"command": "npx", "args": ["near"]},
        },
    ),
    "opencode": (
        "/srv/shop/opencode.jsonc",
        """{"$schema": "https://opencode.ai/config.json",
            "tools": {"near_drop": false, "write": false}, "permission": {"far_*": "deny"},
            "mcp": {
              "near": {"type": "local", "command": ["bun", "x", "near"], "environment": {"K": "{env:NEAR_KEY}"},
                       "enabled": true, "timeout": 5000},
              "far": {"type": "remote", "url": "https://far.example.com/mcp", "headers": {"K": "{env:FAR_KEY}"}},
              "off": {"type": "local", "command": ["off"], "enabled": false}}}""",
        {
            "near": {
                "command": "bun",
                "args": ["x", "near"],
                "env": {"K": "${NEAR_KEY}"},
                "discovery_timeout": 5.0,
                "exclude": {"names": ["drop"]},
            },
            "far": {"url": "https://far.example.com/mcp", "headers": {"K": "${FAR_KEY}"}, **NONE},
            "off": {"command": "off", "disabled": True},
        },
    ),
    "opencode 2": (
        "/h/.config/opencode/opencode.json",
        """{"mcp": {"timeout": {"startup": 5000}, "servers": {
             "near": {"type": "local", "command": ["npx", "near"], "cwd": ".", "disabled": true}}}}""",
        {"near": {"command": "npx", "args": ["near"], "cwd": ".", "disabled": True}},
    ),
    "zed": (
        "/h/.config/zed/settings.json",
        """{"theme": "One", // mine
            "context_servers": {
              "new": {"source": "custom", "command": "npx", "args": ["new"], "env": {"A": "1"}, "enabled": true},
              "old": {"command": {"path": "old", "args": ["--x"], "env": {"A": "1"}}},
              "far": {"url": "https://far.example.com/mcp", "headers": {"A": "b"}, "enabled": false},
              "ext": {"source": "extension", "settings": {"token": "t"}}}}""",
        {
            "new": {"command": "npx", "args": ["new"], "env": {"A": "1"}},
            "old": {"command": "old", "args": ["--x"], "env": {"A": "1"}},
            "far": {"url": "https://far.example.com/mcp", "headers": {"A": "b"}, "disabled": True},
            "ext": None,
        },
    ),
    "goose": (
        "/h/.config/goose/config.yaml",
        """
        GOOSE_PROVIDER: none
        extensions:
          developer: {type: builtin, name: developer, enabled: true, bundled: true, timeout: 300}
          near:
            type: stdio
            name: near
            enabled: true
            cmd: uvx
            args: [near, --fast]
            envs: {LEVEL: 3}
            env_keys: [NEAR_KEY]
            timeout: 300
            available_tools: []
          far:
            type: streamable_http
            name: far
            enabled: true
            uri: https://far.example.com/mcp
            envs: {REGION: eu}
            headers: {X-Region: "${REGION}", X-Key: "${FAR_KEY}"}
            available_tools: [get]
          off: {type: stdio, name: off, enabled: false, cmd: "off", args: []}
        """,
        {
            "developer": None,
            "near": {
                "command": "uvx",
                "args": ["near", "--fast"],
                "env": {"LEVEL": "3", "NEAR_KEY": "${NEAR_KEY}"},
                "call_timeout": 300.0,
            },
            "far": {
                "url": "https://far.example.com/mcp",
                "headers": {"X-Region": "eu", "X-Key": "${FAR_KEY}"},
                "include": {"names": ["get"]},
            },
            "off": {"command": "off", "disabled": True},
        },
    ),
    "cline": (
        "/h/.config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
        """{"mcpServers": {
             "near": {"command": "node", "args": ["near.js"], "autoApprove": [], "disabled": false, "timeout": 3600},
             "far": {"type": "streamableHttp", "url": "https://far.example.com/mcp", "disabled": true}}}""",
        {
            "near": {"command": "node", "args": ["near.js"], "call_timeout": 3600.0},
            "far": {"url": "https://far.example.com/mcp", "disabled": True},
        },
    ),
    "kiro": (
        "/srv/shop/.kiro/settings/mcp.json",
        """{"mcpServers": {
             "near": {"command": "uvx", "args": ["near"], "env": {"K": "${KEY}"}, "disabledTools": ["drop", "wipe"]},
             "far": {"url": "https://far.example.com/mcp", "headers": {"A": "Bearer ${TOKEN}"}, "disabled": false}}}""",
        {
            "near": {
                "command": "uvx",
                "args": ["near"],
                "env": {"K": "${KEY}"},
                "cwd": "/srv/shop",
                "exclude": {"names": ["drop", "wipe"]},
            },
            "far": {"url": "https://far.example.com/mcp", "headers": {"A": "Bearer ${TOKEN}"}},
        },
    ),
    "kilo": (
        "/srv/shop/.kilo/kilo.jsonc",
        """{"mcp": {"near": {"type": "local", "command": ["node", "near.js"], "environment": {"K": "{env:KEY}"},
                             "timeout": 10000}}}""",
        {
            "near": {
                "command": "node",
                "args": ["near.js"],
                "env": {"K": "${KEY}"},
                "cwd": "/srv/shop",
                "discovery_timeout": 10.0,
            }
        },
    ),
    "lm-studio": (
        "/h/.lmstudio/mcp.json",
        """{"mcpServers": {"far": {"url": "https://far.example.com/mcp", "headers": {"A": "b"}},
                           "near": {"command": "npx", "args": ["near"]}}}""",
        {
            "far": {"url": "https://far.example.com/mcp", "headers": {"A": "b"}},
            "near": {"command": "npx", "args": ["near"]},
        },
    ),
    "continue": (
        "/h/.continue/config.yaml",
        """
        name: mine
        mcpServers:
          - name: Near by
            command: npx
            args: [near]
            env: {K: "${{ secrets.KEY }}"}
            connectionTimeout: 4000
          - name: far
            type: streamable-http
            url: https://far.example.com/mcp
            requestOptions: {headers: {A: b}}
        """,
        {
            "Near by": {
                "command": "npx",
                "args": ["near"],
                "env": {"K": "${KEY}"},
                "discovery_timeout": 4.0,
            },
            "far": {"url": "https://far.example.com/mcp", "headers": {"A": "b"}},
        },
    ),
    "jetbrains": (
        "/srv/shop/.junie/mcp/mcp.json",
        """{"mcpServers": {"near": {"command": "npx", "args": ["near"], "env": {"A": "1"}}}}""",
        {"near": {"command": "npx", "args": ["near"], "env": {"A": "1"}, "cwd": "/srv/shop"}},
    ),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_file_of_each_host_is_read(sample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/h"))
    path, text, expected = SAMPLES[sample]
    host, servers = read(path, text)
    assert host == sample.partition(" ")[0]
    assert {server.name: fields(server) for server in servers} == expected
    assert {server.name for server in servers if not server.enabled} == {
        name for name, made in expected.items() if made and made.get("disabled")
    }


def test_every_host_has_a_sample() -> None:
    assert {name.partition(" ")[0] for name in SAMPLES} == set(HOSTS)


def test_samples_have_no_remainder_but_what_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/h"))
    for path, text, _ in SAMPLES.values():
        for server in read(path, text)[1]:
            assert not server.remainder or server.notes, (path, server.name)


def one(entry: Any, *, host: str | None = None, **others: Any) -> HostServer:
    """Return one server of a file with `mcpServers`."""
    [server] = read_servers(
        {"mcpServers": {"s": entry}, **others}, host=HOSTS[host] if host else None, where="mcp.json"
    )
    return server


@pytest.mark.parametrize(
    ("entry", "template"),
    [
        (
            {"transport": {"type": "http", "url": "https://x.example/", "headers": {"A": "b"}}},
            {"url": "https://x.example/", "headers": {"A": "b"}},
        ),
        ({"transport": {"type": "stdio", "command": "c", "args": ["a"]}}, {"command": "c", "args": ["a"]}),
        ({"transport": "streamableHttp", "url": "https://x.example/"}, {"url": "https://x.example/"}),
        ({"type": "streamable-http", "url": "https://x.example/"}, {"url": "https://x.example/"}),
        ({"type": "SSE", "url": "https://x.example/"}, {"url": "https://x.example/", "transport": "sse"}),
        ({"command": ["c", "a"], "args": ["b"]}, {"command": "c", "args": ["a", "b"]}),
        ({"command": "c", "args": [1, True, "x"]}, {"command": "c", "args": ["1", "true", "x"]}),
        ({"command": "c", "args": "one word"}, {"command": "c", "args": ["one word"]}),
        (
            {"command": "c", "env": {"A": 1, "B": False, "C": 1.5}},
            {"command": "c", "env": {"A": "1", "B": "false", "C": "1.5"}},
        ),
        ({"command": "c", "timeout": 30}, {"command": "c", "call_timeout": 30.0}),
        ({"command": "c", "timeout": "60000"}, {"command": "c", "call_timeout": 60.0}),
        (
            {"command": "c", "args": ["-c", "X=5; echo $X ${Y}", "$$"]},
            {"command": "c", "args": ["-c", "X=5; echo $$X ${Y}", "$$$"]},
        ),
        ({"command": "c", "disabledTools": ["a[1]"]}, {"command": "c", "exclude": {"names": ["a[1]", "a[[]1]"]}}),
        ({"command": "c", "includeTools": ["a*", "b"]}, {"command": "c", "include": {"names": ["a[*]", "b"]}}),
        (
            {"command": "c", "includeTools": ["a", "b"], "enabled_tools": ["b"]},
            {"command": "c", "include": {"names": ["b"]}},
        ),
        (
            {"command": "c", "tools": {"a": {"enabled": False}, "b": {"enabled": True}}},
            {"command": "c", "exclude": {"names": ["a"]}},
        ),
        (
            {"url": "https://x.example/", "auth_token": "${T}", "sessions": "shared"},
            {"url": "https://x.example/", "auth_token": "${T}", "sessions": "shared"},
        ),
    ],
)
def test_forms_of_entries(entry: dict[str, Any], template: dict[str, Any]) -> None:
    server = one(entry)
    assert fields(server) == template
    assert server.remainder == {}


@pytest.mark.parametrize(
    "switch",
    [
        {"disabled": True},
        {"disabled": "true"},
        {"disabled": 1},
        {"enabled": False},
        {"enabled": "no"},
        {"enabled": True, "disabled": True},
    ],
)
def test_a_server_that_is_switched_off_stays_off(switch: dict[str, Any]) -> None:
    server = one({"command": "c", **switch})
    assert not server.enabled
    assert fields(server) == {"command": "c", "disabled": True}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("text", "the entry is text"),
        ({}, "neither a command nor a URL"),
        ({"command": ""}, "`command` must be text"),
        ({"command": []}, "`command` is empty"),
        ({"command": "c", "args": {"a": 1}}, "`args` must be a list"),
        ({"command": "c", "args": [None]}, "`args` contains null"),
        ({"url": 5}, "`url` must be text"),
        ({"url": "unix:///run/x.sock"}, "a socket of this machine"),
        ({"type": "websocket", "url": "wss://x"}, "stdio, streamable HTTP and SSE only"),
        ({"type": "ws", "url": "wss://x"}, "its `type` is 'ws'"),
        ({"type": 5, "command": "c"}, "its `type` is a number"),
    ],
)
def test_an_unreadable_entry_is_named_and_the_others_work(entry: Any, words: str) -> None:
    bad, good = read_servers({"mcpServers": {"bad": entry, "good": {"command": "c"}}}, host=None, where="")
    assert bad.template is None
    assert words in bad.notes[0]
    assert bad.notes[0].startswith("server 'bad': ")
    assert fields(good) == {"command": "c"}


@pytest.mark.parametrize(
    ("entry", "kept", "words"),
    [
        ({"command": "c", "zork": 1}, {"zork": 1}, "nothing reads the key 'zork'"),
        ({"command": "c", "disabledTool": []}, {"disabledTool": []}, "nothing reads the key 'disabledTool'"),
        ({"command": "c", "sandboxEnabled": True}, {"sandboxEnabled": True}, "without a sandbox"),
        ({"url": "u://x", "oauth": {"clientId": "c"}}, {"oauth": {"clientId": "c"}}, "`oauth` is not read"),
        ({"url": "u://x", "headersHelper": "h"}, {"headersHelper": "h"}, "`headersHelper` is not read"),
        ({"url": "u://x", "args": ["a"]}, {"args": ["a"]}, "`args` has no meaning"),
        ({"url": "u://x", "env": {"A": "b"}}, {"env": {"A": "b"}}, "`env` has no meaning"),
        ({"command": "c", "headers": {"A": "b"}}, {"headers": {"A": "b"}}, "`headers` has no meaning"),
        ({"command": "c", "url": "u://x"}, {"url": "u://x"}, "the command is used"),
        ({"command": "c", "url": "u://x", "type": "http"}, {"command": "c"}, "the URL is used"),
        ({"httpUrl": "u://x", "url": "u://y"}, {"url": "u://y"}, "several URLs"),
        ({"command": "c", "env": {"A": {"x": 1}}}, {"env.A": {"x": 1}}, "`env.A` is an object"),
        ({"command": "c", "env": "A=b"}, {"env": "A=b"}, "`env` must be an object"),
        ({"command": "c", "timeout": -1}, {"timeout": -1}, "`timeout` must be a positive number"),
        ({"command": "c", "cwd": 5}, {"cwd": 5}, "`cwd` must be a path"),
        ({"command": "c", "envFile": [1]}, {"envFile": [1]}, "`envFile` must be a path"),
        ({"command": "c", "env": {"A=B": "c"}}, {"env.A=B": "c"}, "`env.A=B` is not the name of a variable"),
        ({"command": "c", "env": {"A": "\0"}}, {"env.A": "\0"}, "`env.A` contains a NUL character"),
        ({"url": "u://x", "headers": {"a b": "c"}}, {"headers.a b": "c"}, "`headers.a b` is not the name of a header"),
        ({"url": "u://x", "headers": {"A": "b\nc"}}, {"headers.A": "b\nc"}, "`headers.A` contains a line break"),
        ({"command": "c", "environment_id": "e"}, {"environment_id": "e"}, "starts the server itself"),
        (
            {"url": "u://x", "http_headers_helper": "h"},
            {"http_headers_helper": "h"},
            "`http_headers_helper` is not read",
        ),
        ({"command": "c", "timeout": {"nap": 5}}, {"timeout.nap": 5}, "`timeout.nap` is not known"),
        (
            {"command": "c", "timeout": {"request": "x"}},
            {"timeout.request": "x"},
            "`timeout.request` must be a positive",
        ),
    ],
)
def test_what_is_not_read_is_kept_and_named(entry: dict[str, Any], kept: dict[str, Any], words: str) -> None:
    server = one(entry)
    assert server.template is not None
    assert server.remainder == kept
    assert any(words in note for note in server.notes), server.notes


def test_approvals_of_the_host_are_named_and_keep_nothing() -> None:
    server = one({"command": "c", "autoApprove": ["a"], "alwaysAllow": [], "trust": True, "description": "d"})
    assert server.remainder == {}
    assert len(server.notes) == 2
    assert all("concerns the host alone" in note for note in server.notes)


def test_what_the_host_asks_for_becomes_a_variable() -> None:
    path, text, _ = SAMPLES["vscode"]
    shop = read(path, text)[1][0]
    assert [(asked.variable, asked.id, asked.is_secret) for asked in shop.asks] == [
        ("city", "city", False),
        ("api_key", "api-key", True),
    ]
    assert any("'api-key' (Key of the shop)" in note and "set api_key" in note for note in shop.notes)


def test_variables_of_a_host_without_variables_are_noted() -> None:
    server = one({"command": "c", "env": {"A": "${KEY}"}}, host="claude-desktop")
    assert server.notes == ("server 's': Claude Desktop does not fill in ${KEY}; the bridge does.",)
    assert one({"command": "c", "env": {"A": "${KEY}"}}, host="claude-code").notes == ()


def test_the_folder_of_an_unknown_project_is_a_variable() -> None:
    server = one({"command": "c", "args": ["${workspaceFolder}"]})
    assert fields(server) == {"command": "c", "args": ["${workspaceFolder}"]}
    assert "set workspaceFolder" in server.notes[0]


def test_servers_of_projects_in_the_users_file_are_named() -> None:
    content: Any = {"mcpServers": {}, "projects": {"/srv/shop": {"mcpServers": {"a": {}}}, "/srv/b": {}}}
    found = as_configuration(content, path=Path("/h/.claude.json"))
    assert found is not None
    assert [str(fault) for fault in found.faults("f")] == [
        "f: the servers of the project '/srv/shop' are not read. Copy those that you need into a file of their own."
    ]


def test_the_rest_of_a_mixed_configuration_stays() -> None:
    content = {"mcpServers": {"a": {"command": "c"}}, "variables": {"K": "v"}, "manual_call_templates": ["./x.json"]}
    found = as_configuration(content)
    assert found is not None
    assert found.document["variables"] == {"K": "v"}
    assert found.document["manual_call_templates"] == [
        "./x.json",
        {"name": "a", "call_template_type": "mcp", "command": "c"},
    ]


# --- what holds for every entry ------------------------------------------------------------------

_KEYS = st.sampled_from(sorted({*_READ, "config", "transport", "name"}))
_WORDS = ["stdio", "http", "sse", "*", "${V}", "${V:-d}", "${input:x}", "$", "${", "true"]
_TEXT = st.one_of(st.sampled_from(_WORDS), st.text(max_size=8))
_VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=5,
)
_ENTRY = st.one_of(
    _VALUE,
    st.dictionaries(st.one_of(_KEYS, st.text(max_size=6)), st.one_of(_TEXT, st.lists(_TEXT), _VALUE), max_size=8),
)
_READABLE = st.builds(
    lambda entry, more: {**entry, **more},
    st.dictionaries(_KEYS, _VALUE, max_size=6),
    st.sampled_from([{"command": "c"}, {"url": "https://x.example/"}]),
)
_HOST = st.sampled_from([None, *HOSTS.values()])


@settings(deadline=None)
@given(entry=_ENTRY, host=_HOST, inputs=_VALUE, mcp=_VALUE)
def test_reading_never_raises(entry: Any, host: Any, inputs: Any, mcp: Any) -> None:
    content: Any = {"inputs": inputs, "mcp": mcp, "tools": mcp, "permission": mcp, "projects": mcp}
    for key in ("mcpServers", "servers", "extensions", "context_servers"):
        found = as_configuration({**content, key: {"s": entry}})
        for server in found.servers if found else ():
            assert server.template is not None or server.notes
    for server in read_servers({"inputs": inputs, "mcpServers": [entry, entry]}, host=host, where=""):
        assert server.raw is entry


@settings(deadline=None)
@given(entry=_READABLE, host=_HOST)
def test_nothing_is_started_that_the_host_does_not_start(entry: dict[str, Any], host: Any) -> None:
    [server] = read_servers({"mcpServers": {"s": entry}}, host=host, where="")
    is_on = entry.get("disabled") in {None, False, "false"} and entry.get("enabled") in {None, True, "true"} \
        if not _is_container(entry.get("disabled")) and not _is_container(entry.get("enabled")) else False  # fmt: skip
    assert server.enabled <= is_on
    if server.template is not None:
        assert server.template.get("disabled", False) is not server.enabled


def _is_container(value: Any) -> bool:
    return isinstance(value, list | dict)


@settings(deadline=None)
@given(entry=st.dictionaries(st.text(min_size=1, max_size=12).filter(lambda key: key not in _READ), _VALUE, max_size=6))
def test_a_key_that_nothing_reads_is_named_and_kept(entry: dict[str, Any]) -> None:
    [server] = read_servers({"mcpServers": {"s": {**entry, "command": "c"}}}, host=None, where="")
    for key in entry:
        assert (
            describes(key)
            or (key in server.remainder and any(repr(word(key)) in note for note in server.notes))
            or (is_object(server.template) and key in server.template)
        )


@pytest.mark.parametrize("value", ["zz", 7, ["zz"], {"zz": "zz"}], ids=["text", "number", "list", "object"])
@pytest.mark.parametrize("key", sorted(key for key in _READ if not describes(key)))
@pytest.mark.parametrize("way", [{"command": "c"}, {"url": "https://x.example/"}], ids=["command", "url"])
def test_a_known_key_with_a_value_leaves_a_trace(way: dict[str, Any], key: str, value: Any) -> None:
    [with_it] = read_servers({"mcpServers": {"s": {key: value, **way}}}, host=None, where="")
    [without] = read_servers({"mcpServers": {"s": way}}, host=None, where="")
    if key not in way:
        assert replace(with_it, raw=None) != replace(without, raw=None)


def test_keys_of_servers_in_an_entry_are_named() -> None:
    servers = {"a": {"command": "c", "zork": 1, "disabledTools": ["x"], "type": "stdio", "_note": ""}, "b": None}
    found = [*unread_in_entry({"call_template_type": "mcp", "config": {"mcpServers": servers}})]
    assert [(path, what) for path, what, _ in found] == [
        (("a", "zork"), "server 'a': nothing reads the key 'zork'."),
        (("a", "disabledTools"), "server 'a': nothing reads the key 'disabledTools'."),
    ]
    assert "`include`" in found[1][2]
    assert [*unread_in_entry({"call_template_type": "http", "config": {"mcpServers": servers}})] == []
