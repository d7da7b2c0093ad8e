"""`utcp-bridge top` of a running bridge."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from utcp_bridge.cli.commands.console.top import _drawn

TOOL = {"name": "own", "tool_call_template": {"call_template_type": "text", "content": "done"}}
MANUAL = {"name": "mine", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [TOOL]}}
LATE = {"name": "late", "call_template_type": "text", "file_path": "late.json"}
TOKEN = "a-token-of-some-length"


@pytest.fixture
def bridge(tmp_path):
    """The address of a bridge in its own process."""
    config = {"manual_call_templates": [MANUAL, LATE], "bridge": {"bearer_token": TOKEN}}
    (tmp_path / "utcp.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "utcp_bridge", "serve", "utcp.json", "--http", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = next(line for line in process.stderr if line.startswith("Serving MCP on "))
            yield line.removeprefix("Serving MCP on ").partition("/mcp")[0]
        finally:
            os.kill(process.pid, signal.SIGINT)
            process.communicate(timeout=200)


@pytest.mark.posix
def test_the_state_of_a_bridge_is_printed(command, bridge):
    done = command("top", bridge, "--once", "--token", TOKEN)
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    assert ["Manuals"] in lines
    assert ["ready", "mine", "text", "1"] in lines
    assert next(line for line in lines if line[:2] == ["failed", "late"])
    assert "No call yet." in done.out
    state = json.loads(command("top", bridge, "--json", "--token", TOKEN).out)
    assert (state["status"]["ready"], state["calls"]) == (True, [])
    refused = command("top", bridge, "--once")
    assert (refused.code, "Give its token with --token." in refused.err) == (5, True)
    wrong = command("top", bridge, "--once", "--token", "another-token-of-some-length")
    assert (wrong.code, "--scope console" in wrong.err, "--token." in wrong.err) == (5, True, False)


def test_what_is_not_a_bridge_is_refused_in_a_sentence(command):
    assert "URL must begin with" in command("top", "bridge").err
    away = command("top", "http://127.0.0.1:9", "--once")
    assert (away.code, "utcp-bridge serve CONFIG --http" in away.err) == (5, True)


def test_the_display_shows_foreign_text_as_text():
    manual = {
        "state": "failed",
        "name": "[red]x[/]",
        "kind": "http",
        "tools": 1234,
        "faults": [],
        "error": {"cause": "a\nb", "remedy": "c"},
    }
    call = {"outcome": "ok", "tool": "m.[bold]t", "seconds": 0.0015, "time": 0.0}
    alone = {"seen": None, "ready": 1, "store": None, "replicas": []}
    state = {"status": {"version": "1", "ready": True}, "manuals": [manual], "calls": [call], "number": 1}
    state["replicas"] = alone
    screen = io.StringIO()
    Console(width=120, file=screen).print(_drawn("http://127.0.0.1:1", state, "No connection."))
    text = screen.getvalue()
    for words in ("[red]x[/]", "a b c", "1,234", "m.[bold]t", "1.5", "00:00:00", "No connection."):
        assert words in text
