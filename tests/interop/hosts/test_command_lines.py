"""Hosts' own command lines: what `install` and `migrate` write, the host itself lists, and connects to.

Each host runs with an empty home folder, the PATH of a desktop and a network of its own without any connection, and
needs no login for this. Codex lists servers without starting them: the command that it read is started instead.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from mcp import StdioServerParameters
from mcp.client import Client
from tests.interop.software import Npm, Software

ROOT = Path(__file__).parents[3]
SERVER = ROOT / "tests" / "upstreams" / "mcp_server.py"
DESKTOP = "/usr/local/bin:/usr/bin:/bin"
ALONE = ("unshare", "--map-root-user", "--net")
"""Runs a command without network, so that a host that wants to report something or to update itself cannot."""
MANUAL = {
    "name": "m",
    "call_template_type": "text",
    "content": {
        "utcp_version": "1.0.1",
        "tools": [{"name": "greet", "tool_call_template": {"call_template_type": "text", "content": "hello"}}],
    },
}

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class CommandLine:
    """A host that lists its servers on the command line."""

    host: str
    software: Software
    file: str
    """The host's file, below the home folder."""
    others: str
    """What is in that file already; `install` and `migrate` keep it."""
    servers: Callable[[Mapping[str, object]], str]
    """Writes servers in the form of the file."""
    words: tuple[str, ...] = ("mcp", "list")
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return self.host


def as_json(servers: Mapping[str, object]) -> str:
    return json.dumps({"mcpServers": servers})


def as_toml(servers: Mapping[str, object]) -> str:
    lines = []
    for name, server in servers.items():
        assert isinstance(server, dict)
        lines += [f"[mcp_servers.{name}]", *(f"{key} = {json.dumps(server[key])}" for key in ("command", "args"))]
        lines += [
            f"[mcp_servers.{name}.env]",
            *(f"{key} = {json.dumps(value)}" for key, value in server["env"].items()),
        ]
    return "\n".join(lines) + "\n"


def as_opencode(servers: Mapping[str, object]) -> str:
    made = {}
    for name, server in servers.items():
        assert isinstance(server, dict)
        command = [server["command"], *server["args"]]
        made[name] = {"type": "local", "command": command, "environment": server["env"]}
    return f"{{ // of the user\n{json.dumps({'mcp': made})[1:]}"


CLAUDE = CommandLine(
    "claude-code",
    Npm(
        "@anthropic-ai/claude-code@2.1.197",
        "claude",
        newest="@anthropic-ai/claude-code@latest",
        optional=True,
    ),
    ".claude.json",
    '{"theme": "dark"}',
    as_json,
    environment={
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
    },
)
CODEX = CommandLine(
    "codex",
    Npm("@openai/codex@0.171.0 node@22", "codex", newest="@openai/codex@latest node@22", optional=True),
    ".codex/config.toml",
    "check_for_update_on_startup = false\n[analytics]\nenabled = false\n",
    as_toml,
    words=("mcp", "list", "--json"),
)
_ASKED_AGAIN = 4
GEMINI = CommandLine(
    "gemini-cli",
    Npm("@google/gemini-cli@0.61.0 node@22", "gemini", newest="@google/gemini-cli@latest node@22", optional=True),
    ".gemini/settings.json",
    '{"general": {"enableAutoUpdate": false}, "privacy": {"usageStatisticsEnabled": false}}',
    as_json,
    environment={"GEMINI_CLI_TRUST_WORKSPACE": "true", "GEMINI_TELEMETRY_ENABLED": "false"},
)
OPENCODE = CommandLine(
    "opencode",
    Npm("opencode-ai@1.18.33", "opencode", newest="opencode-ai@latest", optional=True),
    ".config/opencode/opencode.jsonc",
    '{ // of the user\n"autoupdate": false}',
    as_opencode,
)
HOSTS = [
    pytest.param(one, marks=pytest.mark.needs(one.software), id=one.host) for one in (CLAUDE, CODEX, GEMINI, OPENCODE)
]


@pytest.fixture(autouse=True)
def without_network() -> None:
    if shutil.which(ALONE[0]) is None or subprocess.run([*ALONE, "true"], check=False).returncode != 0:
        pytest.skip("unshare cannot take the network away here, and hosts run without it only")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "my home"
    folder.mkdir()
    return folder


def run(words: Sequence[str], home: Path, more: Mapping[str, str], *, path: str = DESKTOP) -> str:
    """Run a command as a desktop would, without network; return what it writes."""
    done = subprocess.run(
        [*ALONE, *words],
        stdin=subprocess.DEVNULL,
        env={"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "NO_COLOR": "1", **more},
        cwd=home,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout if "--json" in words else done.stdout + done.stderr


def bridge(home: Path, *words: str) -> str:
    return run([sys.executable, "-m", "utcp_bridge", *words], home, {})


async def offers(server: Mapping[str, object], home: Path) -> list[str]:
    """Return the tools of the server that the host read, started as the host would."""
    transport = server["transport"]
    assert isinstance(transport, dict)
    environment = {"HOME": str(home), "PATH": DESKTOP, **(transport["env"] or {})}
    words = [*ALONE[1:], transport["command"], *transport["args"]]
    async with Client(StdioServerParameters(command=ALONE[0], args=words, env=environment, cwd=home)) as client:
        return [tool.name for tool in (await client.list_tools()).tools]


def connected(host: CommandLine, home: Path) -> dict[str, bool]:
    """Return the servers that the host lists, and whether each is connected.

    A host gives a server a few seconds of its own clock, which a busy machine may not give to the server: such a host
    is asked again. A server that cannot be connected stays so.
    """
    found = _listed(host, home)
    for _ in range(_ASKED_AGAIN):
        if all(found.values()):
            break
        found = _listed(host, home)
    return found


def _listed(host: CommandLine, home: Path) -> dict[str, bool]:
    path = f"{Path(host.software.command).parent}:{DESKTOP}"
    listed = run([host.software.command, *host.words], home, host.environment, path=path)
    if "--json" in host.words:
        return {one["name"]: one["enabled"] and bool(anyio.run(offers, one, home)) for one in json.loads(listed)}
    listed = re.sub(r"\x1b\[[\d;]*m", "", listed)
    if host is OPENCODE:
        return {name: state == "connected" for name, state in re.findall(r"^●\W+(\w+) (\w+)$", listed, re.MULTILINE)}
    lines = re.findall(r"^\W*(\w+): .* - (.*)$", listed, re.MULTILINE)
    return {name: state.endswith("Connected") for name, state in lines}


def server(name: str) -> dict[str, object]:
    env = {"PYTHONPATH": str(ROOT), "TOKEN": f"s3cret of {name}"}
    return {"command": sys.executable, "args": [str(SERVER), name], "env": env}


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_lists_what_install_wrote(host: CommandLine, home: Path) -> None:
    file = home / host.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(host.others, encoding="utf-8")
    assert connected(host, home) == {}
    configuration = home / "utcp.json"
    configuration.write_text(json.dumps({"manual_call_templates": [MANUAL]}), encoding="utf-8")
    assert "the bridge answers" in bridge(home, "install", host.host, str(configuration))
    assert connected(host, home) == {"utcp": True}


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_lists_the_bridge_alone_after_its_servers_moved(host: CommandLine, home: Path) -> None:
    file = home / host.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(host.servers({"alpha": server("alpha"), "beta": server("beta")}), encoding="utf-8")
    assert connected(host, home) == {"alpha": True, "beta": True}
    bridge(home, "migrate", host.host)
    assert connected(host, home) == {"utcp": True}
    bridge(home, "migrate", host.host, "--undo")
    assert connected(host, home) == {"alpha": True, "beta": True}
