"""Inspector: the strict check of the protocol's own inspector finds no error in what the bridge lists."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.serving import free_port, serving
from tests.interop.software import Npm

INSPECTOR = Npm(
    "@modelcontextprotocol/inspector@2.12.0 node@22",
    "mcp-inspector",
    newest="@modelcontextprotocol/inspector@latest node@22",
)
ERROR = 6
"""The exit code of `--strict` for a schema that hosts refuse."""

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs(INSPECTOR)]


@pytest.fixture(scope="module")
def url(storehouse_config: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "utcp_bridge", "serve", storehouse_config, "--http", "--port", str(port)]
    with serving(command, port=port):
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_strict_check_finds_no_error_in_the_list_of_tools(url: str, era: str) -> None:
    asked = ["--transport", "http", "--protocol-era", era, "--method", "tools/list", "--strict", "--format", "json"]
    done = subprocess.run(
        [INSPECTOR.command, "--cli", url, *asked],
        env=INSPECTOR.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode != ERROR, done.stderr[-3000:]
    assert done.returncode == 0, done.stderr[-3000:]
    assert any(tool["name"] == "fx_nested" for tool in json.loads(done.stdout)["result"]["tools"])
