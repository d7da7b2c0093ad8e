"""The command keeps its promises on each system, and on one that is shorn of what Windows lacks.

`native` is the system that the tests run on. On Windows itself that is the whole contract.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[1] / "support" / "system_program.py"
ROOT = Path(__file__).parents[2]
MODES = ["native"] if sys.platform == "win32" else ["native", "shorn"]
ENDING = "SIGBREAK" if sys.platform == "win32" else "SIGTERM"
SERVER = """
import json, socket, subprocess, sys
tie = "import socket; one = socket.create_connection(('127.0.0.1', %d)); one.recv(1)"
subprocess.Popen([sys.executable, "-c", tie % int(sys.argv[1])])
for line in sys.stdin:
    asked = json.loads(line)
    results = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "s", "version": "1"}},
        "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": json.dumps(asked.get("params", {}).get("arguments"))}]},
    }
    if "id" in asked:
        result = results.get(asked["method"])
        reply = {"error": {"code": -32601, "message": "no"}} if result is None else {"result": result}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **reply}), flush=True)
"""
ECHO = "import sys; sys.stdout.buffer.write(ascii(sys.argv[1:]).encode())"
WORD = 'wé "q" \\ & 日 %PATH%'


def listener() -> socket.socket:
    opened = socket.create_server(("127.0.0.1", 0))
    opened.settimeout(60)
    return opened


def port_of(one: socket.socket) -> int:
    return int(one.getsockname()[1])


def configuration(folder: Path, ties: socket.socket) -> Path:
    """Write a configuration with a command and an MCP server that starts a process, under a name beyond ASCII."""
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    tool = {
        "name": "echo",
        "inputs": {"type": "object", "properties": {"word": {"type": "string"}}},
        "tool_call_template": {
            "call_template_type": "cli",
            "command": sys.executable,
            "args": ["-c", ECHO, "{{word}}"],
        },
    }
    server = {"command": sys.executable, "args": [str(folder / "server.py"), str(port_of(ties))]}
    manuals = [
        {
            "name": "local",
            "call_template_type": "text",
            "content": json.dumps({"utcp_version": "1.0.1", "tools": [tool]}),
            "allowed_communication_protocols": ["text", "cli"],
        },
        {"name": "child", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}},
    ]
    path = folder / "größe-日本.json"
    path.write_text(json.dumps({"manual_call_templates": manuals}), encoding="utf-8")
    return path


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": str(ROOT)}


class Bridge:
    """A running command, with the socket that asks it to raise a signal."""

    def __init__(self, process: subprocess.Popen[bytes], asks: socket.socket) -> None:
        self.process = process
        self._asks = asks
        self._number = 0

    def raise_signal(self) -> None:
        asked, _ = self._asks.accept()
        with asked:
            asked.sendall(b"!")

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        self.send({"id": self._number, "method": method, "params": params})
        assert self.process.stdout is not None
        for line in self.process.stdout:
            reply = json.loads(line)
            if reply.get("id") == self._number and "method" not in reply:
                return reply["result"]
        raise AssertionError("the bridge has ended")

    def open_session(self) -> None:
        client = {"name": "t", "version": "1"}
        self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        self.send({"method": "notifications/initialized"})


@contextmanager
def started(mode: str, *arguments: str, home: Path, ending: str = ENDING) -> Iterator[Bridge]:
    with listener() as asks:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), mode, ending, str(port_of(asks)), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(home),
        )
        with process:
            try:
                yield Bridge(process, asks)
            finally:
                process.kill()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["stdin", ENDING, "SIGINT"])
def test_serve_over_stdio_answers_and_ends_with_all_its_processes(mode: str, end: str, tmp_path: Path) -> None:
    with (
        listener() as ties,
        started(
            mode,
            "serve",
            "-c",
            str(configuration(tmp_path, ties)),
            home=tmp_path,
            ending=ENDING if end == "stdin" else end,
        ) as bridge,
    ):
        bridge.open_session()
        grandchild, _ = ties.accept()
        assert {"local_echo", "child_s_echo"} <= {tool["name"] for tool in bridge.ask("tools/list")["tools"]}
        called = bridge.ask("tools/call", name="local_echo", arguments={"word": WORD})
        assert called["content"][0]["text"] == ascii([WORD])
        called = bridge.ask("tools/call", name="child_s_echo", arguments={"word": WORD})
        assert json.loads(called["content"][0]["text"]) == {"word": WORD}
        if end == "stdin":
            assert bridge.process.stdin is not None
            bridge.process.stdin.close()
        else:
            bridge.raise_signal()
        assert bridge.process.wait(60) == 0
        with grandchild:
            grandchild.settimeout(60)
            assert is_closed(grandchild)


def is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionResetError:  # Windows, for a process that was ended
        return True


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ending", [ENDING, "SIGINT"])
def test_serve_over_http_answers_and_ends_on_a_signal(mode: str, ending: str, tmp_path: Path) -> None:
    with (
        listener() as ties,
        started(
            mode,
            "serve",
            "--http",
            "--port",
            "0",
            "-c",
            str(configuration(tmp_path, ties)),
            home=tmp_path,
            ending=ending,
        ) as bridge,
    ):
        assert bridge.process.stderr is not None
        ready = next(line for line in bridge.process.stderr if b"Serving MCP on http://" in line).decode()
        base = ready.split("/mcp", 1)[0].rsplit(" ", 1)[-1]
        with urllib.request.urlopen(f"{base}/healthz", timeout=200) as reply:
            assert reply.status == 200
        bridge.raise_signal()
        assert bridge.process.wait(60) == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "-c", "{config}"),
        ("tools", "--json", "-c", "{config}"),
        ("doctor", "-c", "{config}"),
        ("install", "claude-desktop", "--print", "-c", "{config}"),
        ("migrate", "{hosts}", "--dry-run"),
        ("auth", "status", "-c", "{config}"),
        ("help", "windows"),
    ],
    ids=lambda words: words[0],
)
def test_a_verb_works_and_writes_utf_8(mode: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    with listener() as ties:
        config = configuration(tmp_path, ties)
        hosts = tmp_path / "größe-mcp.json"
        hosts.write_text(json.dumps({"mcpServers": {"s": {"command": "server"}}}), encoding="utf-8")
        words = [word.format(config=config, hosts=hosts) for word in arguments]
        with started(mode, *words, home=tmp_path) as bridge:
            stdout, stderr = bridge.process.communicate(timeout=200)
    assert bridge.process.returncode == 0, stderr.decode()
    assert b"Traceback" not in stdout + stderr
    stdout.decode()
    stderr.decode()
