"""MCP hosts: where each keeps its servers, in which form, and its deep links."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from utcp_bridge.model import JsonObject

__all__ = ["HOSTS", "Host", "config_folder"]


def config_folder(home: Path) -> Path:
    """Where programs of this platform keep their settings."""
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return home / "AppData" / "Roaming" if sys.platform == "win32" else home / ".config"


@dataclass(frozen=True, slots=True)
class Host:
    """One host. `user` and `project` give its file below the home and the project's folder; None: it has none there."""

    name: str
    title: str
    key: str
    user: Callable[[Path], Path] | None
    project: Callable[[Path], Path] | None
    typed: bool = False
    """Its entries say `"type": "stdio"`."""
    after: str = ""
    """What to do once the entry is there."""

    @property
    def is_toml(self) -> bool:
        """Whether the file is TOML."""
        return self.key == "mcp_servers"

    def file(self, *, home: Path, project: Path | None) -> Path | None:
        """The file for the user or for a project."""
        if project is not None:
            return None if self.project is None else self.project(project)
        return None if self.user is None else self.user(home)

    def entry(self, command: str, args: list[str], env: Mapping[str, str]) -> JsonObject:
        """The entry of a server that the host starts."""
        made: JsonObject = {"type": "stdio"} if self.typed else {}
        made |= {"command": command, "args": args}
        return {**made, "env": dict(env)} if env else made

    def link(self, name: str, entry: Mapping[str, Any]) -> str | None:
        """A deep link that installs an entry; None where the host has none."""
        plain = {key: value for key, value in entry.items() if key != "type"}
        if self.name == "cursor":
            config = base64.b64encode(orjson.dumps(plain)).decode()
            return f"cursor://anysphere.cursor-deeplink/mcp/install?name={quote(name)}&config={quote(config, safe='')}"
        if self.name == "vscode":
            return f"vscode:mcp/install?{quote(orjson.dumps({'name': name, **plain}).decode(), safe='')}"
        return None


HOSTS: Final[Mapping[str, Host]] = {
    host.name: host
    for host in (
        Host(
            "claude-desktop",
            "Claude Desktop",
            "mcpServers",
            user=lambda home: config_folder(home) / "Claude" / "claude_desktop_config.json",
            project=None,
            after="Restart Claude Desktop.",
        ),
        Host(
            "claude-code",
            "Claude Code",
            "mcpServers",
            user=lambda home: home / ".claude.json",
            project=lambda folder: folder / ".mcp.json",
            typed=True,
            after="Start a new session; /mcp shows the server.",
        ),
        Host(
            "cursor",
            "Cursor",
            "mcpServers",
            user=lambda home: home / ".cursor" / "mcp.json",
            project=lambda folder: folder / ".cursor" / "mcp.json",
            after="Cursor's settings list it under MCP.",
        ),
        Host(
            "vscode",
            "VS Code",
            "servers",
            user=lambda home: config_folder(home) / "Code" / "User" / "mcp.json",
            project=lambda folder: folder / ".vscode" / "mcp.json",
            typed=True,
            after="Run the command 'MCP: List Servers' to start it.",
        ),
        Host(
            "codex",
            "Codex",
            "mcp_servers",
            user=lambda home: home / ".codex" / "config.toml",
            project=lambda folder: folder / ".codex" / "config.toml",
            after="Start a new session.",
        ),
        Host(
            "windsurf",
            "Windsurf",
            "mcpServers",
            user=lambda home: home / ".codeium" / "windsurf" / "mcp_config.json",
            project=None,
            after="Refresh the servers in Cascade.",
        ),
    )
}
"""The hosts that `install` knows, by the name on the command line."""
