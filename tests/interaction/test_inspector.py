"""The official MCP Inspector, an independent client, lists and calls the quickstart's tools.

It needs Node 22 and comes from npm; where npm cannot be reached, these tests are skipped.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.npm import node_program

Program = tuple[Path, dict[str, str]]
BRIDGE = (sys.executable, "-m", "utcp_bridge", "serve", "--quickstart")


@pytest.fixture(scope="session")
def inspector() -> Program:
    """Install the Inspector once. Return its command and its environment."""
    return node_program("inspector", "mcp-inspector", "@modelcontextprotocol/inspector@2.12.0")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve the quickstart on streamable HTTP."""
    process = subprocess.Popen([*BRIDGE, "--http", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("{"):
                yield json.loads(line)["mcpServers"]["utcp"]["url"]
                break
    finally:
        process.terminate()
        process.communicate(timeout=200)


def inspect(inspector: Program, *arguments: str) -> Any:
    """Run the Inspector once, and return its JSON output."""
    command, environment = inspector
    command_line = [str(command), "--cli", *arguments]
    done = subprocess.run(command_line, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    printed = json.loads(done.stdout)
    return printed.get("result", printed)


CALL = (
    "--method",
    "tools/call",
    "--tool-name",
    "desk_text_statistics",
    "--tool-args-json",
    '{"text": "one two three"}',
)
LIST = ("--method", "tools/list")


def test_the_inspector_lists_and_calls_over_stdio(inspector: Program) -> None:
    names = [tool["name"] for tool in inspect(inspector, *BRIDGE, *LIST, "--format", "json")["tools"]]
    assert {"search_tools", "call_tool", "desk_text_statistics", "studio_bar_chart"} <= set(names)
    result = inspect(inspector, *BRIDGE, *CALL, "--format", "json")
    assert result["structuredContent"]["words"] == 3
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


def test_the_inspector_accepts_every_schema(inspector: Program) -> None:
    assert inspect(inspector, *BRIDGE, *LIST, "--strict")["tools"]


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_the_inspector_lists_and_calls_over_http_in_both_protocol_eras(inspector: Program, url: str, era: str) -> None:
    target = (url, "--transport", "http", "--protocol-era", era)
    assert len(inspect(inspector, *target, *LIST, "--format", "json")["tools"]) == 22
    assert inspect(inspector, *target, *CALL, "--format", "json")["structuredContent"]["words"] == 3
