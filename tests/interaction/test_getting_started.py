"""The transcript of docs/getting-started.md, typed in an empty folder, ends with a host entry that works."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
import yaml
from mcp import StdioServerParameters
from mcp.client import Client
from tests.support.source import DOCS, ROOT
from tests.support.threaded import threaded_service

PAGE = (DOCS / "getting-started.md").read_text(encoding="utf-8")
TRANSCRIPT = next(block for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) if " init " in block)
CONFIGURATION = next(re.finditer(r"```yaml\n(.*?)```", PAGE, re.DOTALL))[1]
COMMANDS = re.findall(r"^\$ (.*)$", TRANSCRIPT, re.MULTILINE)
PETSTORE = ROOT / "configs" / "openapi.yaml"

CLOCK = """
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo
from mcp.server import MCPServer

server = MCPServer("clock")

@server.tool()
def convert_time(source_timezone: str, time: str, target_timezone: str) -> str:
    at = datetime.fromisoformat(f"2026-01-01T{time}").replace(tzinfo=ZoneInfo(source_timezone))
    return at.astimezone(ZoneInfo(target_timezone)).strftime("%H:%M")

@server.tool()
def get_current_time(timezone: str) -> str:
    return datetime.now(ZoneInfo(timezone)).isoformat()

server.run()
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the OpenAPI description, and a PATH with the commands of the transcript."""
    programs = tmp_path / "bin"
    programs.mkdir()
    clock = programs / "mcp-server-time"
    clock.write_text(f"#!{sys.executable}\n{CLOCK}", encoding="utf-8")
    clock.chmod(0o755)
    found = shutil.which("utcp-bridge", path=str(Path(sys.executable).parent))
    (programs / "utcp-bridge").symlink_to(found)
    place = tmp_path / "empty"
    place.mkdir()
    return place


def typed(line, folder):
    environ = {**os.environ, "PATH": f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        shlex.split(line), cwd=folder, env=environ, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stderr + done.stdout


async def use(entry, environ, folder):
    # The first list waits for a server that starts slowly on a busy machine.
    environ = {**environ, "UTCP_BRIDGE_STARTUP_WAIT": "30", "UTCP_BRIDGE_STARTUP_SETTLE": "30"}
    command = StdioServerParameters(command=entry["command"], args=entry["args"], env=environ, cwd=folder)
    with anyio.fail_after(200):
        async with Client(command) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            tokyo = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
            clock = await client.call_tool("mcp_server_time_convert_time", tokyo)
            pets = await client.call_tool("petstore_findPets", {"limit": 2, "tags": ["cat"]})
    return names, clock, pets


def test_four_commands_make_a_working_host_entry_from_an_empty_folder(folder):
    with threaded_service() as service:
        described = PETSTORE.read_text(encoding="utf-8").replace("https://pets.example.com/v1", service.base)
        (folder / "petstore.yaml").write_text(described, encoding="utf-8")
        assert len(COMMANDS) == 4
        said = [typed(line, folder) for line in COMMANDS]
        entry = json.loads((folder / ".mcp.json").read_text())["mcpServers"]["utcp"]
        environ = {"PATH": f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        names, clock, pets = anyio.run(use, entry, environ, folder)
        received = service.requests[-1]
    offered = r"^note: mcp_server_time offers .*\n|\d+\.\d+ s"  # other versions of its SDK offer less
    said_by_check, on_the_page = (re.sub(offered, "", text, flags=re.MULTILINE) for text in (said[1], shown("check")))
    assert said_by_check.split() == on_the_page.split()
    assert said[0] == shown("init")
    assert "21:00" in said[2]
    assert said[3] == shown("install")
    assert clock.content[0].text == "21:00"
    assert pets.content
    assert (received.method, received.target) == ("GET", "/pets?tags=cat&limit=2")
    assert {"petstore_findPets", "petstore_addPet", "mcp_server_time_get_current_time", "search_tools"} <= names


def test_the_page_shows_the_configuration_that_init_writes(folder):
    (folder / "petstore.yaml").write_bytes(PETSTORE.read_bytes())
    typed(COMMANDS[0], folder)
    written = (folder / "utcp.yaml").read_text(encoding="utf-8")
    assert CONFIGURATION in written
    assert yaml.safe_load(CONFIGURATION).items() <= yaml.safe_load(written).items()


def shown(verb):
    """Return the output of a verb as the page shows it."""
    return re.search(rf"^\$ utcp-bridge {verb}\b.*\n((?:[^$].*\n)*)", TRANSCRIPT, re.MULTILINE)[1]
