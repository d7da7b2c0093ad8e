"""One row for each MCP host: its files, the form of its entries, its variables, filters, links and limits.

The rows state what the documentation of each host says; docs/hosts.md names the pages. `reading.py` reads by them, and
every command that writes into a host's file makes its entries with them.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import orjson

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject
from utcp_bridge.processes.systems import settings_folder

__all__ = ["HOSTS", "Entries", "Host"]

_SYSTEMS: Final = ("linux", "darwin", "win32")
_SETTINGS: Final = "@settings/"


@dataclass(frozen=True, slots=True)
class Entries:
    """How the entries of a host look: the names of their keys, and what they contain besides."""

    stdio_type: str | None = None
    """`type` of a server that the host starts; None if entries have none."""
    http_type: str | None = None
    command: str = "command"
    args: str | None = "args"
    """None if `command` is a list of all words."""
    env: str = "env"
    url: str | None = "url"
    """None if the file has only servers that the host starts."""
    headers: str = "headers"
    named: bool = False
    """Whether an entry repeats its name."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Host:
    """One host.

    `user` and `projects` are its files: in the home folder by system (`sys.platform`), and in a project's folder. The
    first one is written, all of them are read.
    """

    name: str
    title: str
    key: tuple[str, ...]
    """The path to its servers in the file."""
    user: Mapping[str, tuple[str, ...]]
    projects: tuple[str, ...] = ()
    form: Literal["json", "jsonc", "toml", "yaml"] = "json"
    is_list: bool = False
    """Whether the servers are a list of entries with a `name`."""
    entries: Entries = Entries()
    variables: frozenset[str] = frozenset()
    """The forms that the host documents, such as `${V}`, `${V:-d}`, `${env:V}`, `{env:V}`, `$V`, `${input:V}`."""
    timeout_unit: Literal["s", "ms"] | None = None
    """The unit of `timeout` in an entry; None if the host documents none."""
    timeout_starts: bool = False
    """Whether `timeout` is for reading the list of tools, instead of for calls."""
    starts_with_path: bool = True
    """Whether the host gives its servers the PATH of a shell. Programs of a desktop often have only four folders."""
    tool_limit: int | None = None
    """The most tools that the host sends to its model, as far as it is documented."""
    after: str = ""
    """What the user does after the entry is written."""

    @property
    def is_toml(self) -> bool:
        """Whether the file is TOML."""
        return self.form == "toml"

    @property
    def has_http(self) -> bool:
        """Whether the file can have servers that are reached by a URL."""
        return self.entries.url is not None

    def file(self, *, home: Path, project: Path | None = None, system: str | None = None) -> Path | None:
        """Return the file that is written, for the user or for a project; None if the host has none."""
        return next(self.files(home=home, project=project, system=system), None)

    def files(self, *, home: Path, project: Path | None = None, system: str | None = None) -> Iterator[Path]:
        """Yield every place of the host's file, for the user or for a project, whether there is such a file or not."""
        system = system or sys.platform
        if project is not None:
            yield from (project / place for place in self.projects)
            return
        for place in self.user.get(system if system in _SYSTEMS else "linux", ()):
            base = settings_folder(home, system) if place.startswith(_SETTINGS) else home
            yield base / place.removeprefix(_SETTINGS)

    def entry(
        self, command: str, args: Sequence[str], env: Mapping[str, str], *, name: str | None = None
    ) -> JsonObject:
        """Return the entry of a server that the host starts. `name` is for hosts whose entries repeat it."""
        form = self.entries
        made = self._begun(form.stdio_type, name)
        made |= {form.command: [command, *args]} if form.args is None else {form.command: command, form.args: [*args]}
        return {**made, **({form.env: dict(env)} if env else {}), **form.extra}

    def http_entry(self, url: str, headers: Mapping[str, str] | None = None, *, name: str | None = None) -> JsonObject:
        """Return the entry of a server that is reached by a URL.

        :raises ConfigError: the file of this host has only servers that it starts.
        """
        form = self.entries
        if form.url is None:
            raise ConfigError(
                f"{self.title} reads no URLs from its file.", remedy="Let it start the bridge with a command."
            )
        made = {**self._begun(form.http_type, name), form.url: url}
        return {**made, **({form.headers: dict(headers)} if headers else {}), **form.extra}

    def _begun(self, kind: str | None, name: str | None) -> JsonObject:
        made: JsonObject = {"name": name} if self.entries.named and name else {}
        return made if kind is None else {**made, "type": kind}

    def link(self, name: str, entry: Mapping[str, Any]) -> str | None:
        """Return a deep link that installs an entry; None if the host has no deep links."""
        plain = {key: value for key, value in entry.items() if key != "type"}
        encoded = quote(base64.b64encode(orjson.dumps(plain)).decode(), safe="")
        if self.name == "cursor":
            return f"cursor://anysphere.cursor-deeplink/mcp/install?name={quote(name)}&config={encoded}"
        if self.name == "lm-studio":
            return f"lmstudio://add_mcp?name={quote(name)}&config={encoded}"
        if self.name == "vscode":
            return f"vscode:mcp/install?{quote(orjson.dumps({'name': name, **plain}).decode(), safe='')}"
        return None


def _everywhere(*places: str) -> Mapping[str, tuple[str, ...]]:
    return dict.fromkeys(_SYSTEMS, places)


def _each(linux: tuple[str, ...], darwin: tuple[str, ...], win32: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    return {"linux": linux, "darwin": darwin, "win32": win32}


_MCP_SERVERS: Final = ("mcpServers",)
_CLINE: Final = "saoudrizwan.claude-dev/settings/cline_mcp_settings.json"
_BRACED: Final = frozenset({"${V}"})
_EDITOR: Final = frozenset({"${env:V}", "${workspaceFolder}", "${workspaceFolderBasename}", "${userHome}", "${/}"})

_ROWS: Final = (
    Host(
        "claude-desktop",
        "Claude Desktop",
        _MCP_SERVERS,
        _everywhere("@settings/Claude/claude_desktop_config.json"),
        entries=Entries(url=None),
        starts_with_path=False,
        after="Restart Claude Desktop.",
    ),
    Host(
        "claude-code",
        "Claude Code",
        _MCP_SERVERS,
        _everywhere(".claude.json"),
        (".mcp.json",),
        entries=Entries("stdio", "http"),
        variables=frozenset({"${V}", "${V:-d}"}),
        timeout_unit="ms",
        after="Start a new session; /mcp shows the server.",
    ),
    Host(
        "cursor",
        "Cursor",
        _MCP_SERVERS,
        _everywhere(".cursor/mcp.json"),
        (".cursor/mcp.json",),
        variables=_EDITOR,
        starts_with_path=False,
        after="Cursor's settings list it under MCP.",
    ),
    Host(
        "vscode",
        "VS Code",
        ("servers",),
        _everywhere("@settings/Code/User/mcp.json"),
        (".vscode/mcp.json",),
        form="jsonc",
        entries=Entries("stdio", "http"),
        variables=_EDITOR | {"${input:V}"},
        starts_with_path=False,
        tool_limit=128,
        after="Run the command 'MCP: List Servers' to start it.",
    ),
    Host(
        "copilot-cli",
        "Copilot CLI",
        _MCP_SERVERS,
        _everywhere(".copilot/mcp-config.json"),
        (".mcp.json", ".github/mcp.json"),
        entries=Entries("local", "http", extra={"tools": ["*"]}),
        variables=frozenset({"$V", "${V}", "${V:-d}"}),
        timeout_unit="ms",
        after="Start a new session; /mcp shows the server.",
    ),
    Host(
        "codex",
        "Codex",
        ("mcp_servers",),
        _everywhere(".codex/config.toml"),
        (".codex/config.toml",),
        form="toml",
        entries=Entries(headers="http_headers"),
        after="Start a new session.",
    ),
    Host(
        "windsurf",
        "Windsurf",
        _MCP_SERVERS,
        _everywhere(".codeium/windsurf/mcp_config.json"),
        entries=Entries(url="serverUrl"),
        variables=frozenset({"${env:V}", "${file:V}"}),
        starts_with_path=False,
        tool_limit=100,
        after="Refresh the servers in Cascade.",
    ),
    Host(
        "devin",
        "Devin",
        _MCP_SERVERS,
        _each(
            (".config/devin/config.json", ".config/devin/mcp_config.json"),
            (".config/devin/config.json", ".config/devin/mcp_config.json"),
            ("@settings/devin/config.json", "@settings/devin/mcp_config.json"),
        ),
        (".devin/config.json", ".devin/config.local.json", ".devin/mcp_config.json"),
        form="jsonc",
        starts_with_path=False,
        after="Start a new session.",
    ),
    Host(
        "gemini-cli",
        "Gemini CLI",
        _MCP_SERVERS,
        _everywhere(".gemini/settings.json"),
        (".gemini/settings.json",),
        form="jsonc",
        entries=Entries(url="httpUrl"),
        variables=frozenset({"$V", "${V}", "${V:-d}"}),
        timeout_unit="ms",
        after="Start a new session; /mcp shows the server.",
    ),
    Host(
        "antigravity",
        "Antigravity",
        _MCP_SERVERS,
        _everywhere(".gemini/config/mcp_config.json", ".gemini/antigravity/mcp_config.json"),
        (".agents/mcp_config.json",),
        entries=Entries(url="serverUrl"),
        starts_with_path=False,
        after="Refresh the list under 'Manage MCP Servers'.",
    ),
    Host(
        "opencode",
        "OpenCode",
        ("mcp",),
        _everywhere(
            ".config/opencode/opencode.json", ".config/opencode/opencode.jsonc", ".config/opencode/config.json"
        ),
        ("opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc"),
        form="jsonc",
        entries=Entries("local", "remote", args=None, env="environment"),
        variables=frozenset({"{env:V}", "{file:V}"}),
        timeout_unit="ms",
        timeout_starts=True,
        after="Start a new session.",
    ),
    Host(
        "zed",
        "Zed",
        ("context_servers",),
        _each((".config/zed/settings.json",), (".config/zed/settings.json",), ("@settings/Zed/settings.json",)),
        (".zed/settings.json",),
        form="jsonc",
        starts_with_path=False,
        after="The agent panel's settings list it.",
    ),
    Host(
        "goose",
        "Goose",
        ("extensions",),
        _each(
            (".config/goose/config.yaml",),
            (".config/goose/config.yaml",),
            ("@settings/Block/goose/config/config.yaml",),
        ),
        form="yaml",
        entries=Entries(
            "stdio",
            "streamable_http",
            command="cmd",
            env="envs",
            url="uri",
            named=True,
            extra={"enabled": True, "timeout": 300},
        ),
        timeout_unit="s",
        after="Start a new session.",
    ),
    Host(
        "cline",
        "Cline",
        _MCP_SERVERS,
        _everywhere(f"@settings/Code/User/globalStorage/{_CLINE}", ".cline/data/settings/cline_mcp_settings.json"),
        entries=Entries(None, "streamableHttp"),
        variables=frozenset({"${env:V}"}),
        timeout_unit="s",
        starts_with_path=False,
        after="Cline's panel of MCP servers lists it.",
    ),
    Host(
        "kiro",
        "Kiro",
        _MCP_SERVERS,
        _everywhere(".kiro/settings/mcp.json"),
        (".kiro/settings/mcp.json",),
        variables=_BRACED,
        starts_with_path=False,
        after="Kiro reads the file again by itself.",
    ),
    Host(
        "kilo",
        "Kilo Code",
        ("mcp",),
        _everywhere(".config/kilo/kilo.json", ".config/kilo/kilo.jsonc", ".config/kilo/config.json"),
        ("kilo.json", "kilo.jsonc", ".kilo/kilo.json", ".kilo/kilo.jsonc", ".kilocode/mcp.json"),
        form="jsonc",
        entries=Entries("local", "remote", args=None, env="environment"),
        variables=frozenset({"{env:V}", "{file:V}", "${env:V}"}),
        timeout_unit="ms",
        timeout_starts=True,
        after="Start a new session.",
    ),
    Host(
        "lm-studio",
        "LM Studio",
        _MCP_SERVERS,
        _everywhere(".lmstudio/mcp.json"),
        starts_with_path=False,
        after="LM Studio reads the file again by itself.",
    ),
    Host(
        "continue",
        "Continue",
        _MCP_SERVERS,
        _everywhere(".continue/config.yaml", ".continue/config.json"),
        form="yaml",
        is_list=True,
        entries=Entries(None, "streamable-http", named=True),
        variables=frozenset({"${{ secrets.V }}"}),
        starts_with_path=False,
        after="Continue reads the file again by itself.",
    ),
    Host(
        "jetbrains",
        "JetBrains",
        _MCP_SERVERS,
        _everywhere(".junie/mcp/mcp.json"),
        (".junie/mcp/mcp.json",),
        starts_with_path=False,
        after="The IDE's settings list it under Tools, MCP.",
    ),
)

HOSTS: Final[Mapping[str, Host]] = {host.name: host for host in _ROWS}
"""The hosts by their names on the command line."""
