"""After SIGTERM, a server over HTTP sends clients elsewhere and serves those that still come."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
VERSION = "2026-07-28"
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": VERSION,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "m_wait",
}
META = {"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "m_wait", "arguments": {}, "_meta": META},
}


class Served:
    """A server whose one tool waits for the file `go`, and makes the file `began` before that."""

    def __init__(self, folder: Path, process: subprocess.Popen[str], port: int) -> None:
        self.folder, self.process, self.port = folder, process, port

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str | None, dict[str, Any]]:
        """Return status, the header Connection, and the document."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, None if body is None else json.dumps(body), HEADERS)
        reply = connection.getresponse()
        found = reply.status, reply.getheader("connection"), json.loads(reply.read())
        connection.close()
        return found

    def call(self) -> tuple[int, str | None, dict[str, Any]]:
        return self.ask("POST", "/mcp", CALL)

    def drain(self) -> None:
        """Send SIGTERM. Return when `/readyz` has noticed it."""
        self.process.terminate()
        while self.ask("GET", "/readyz")[2]["ready"]:
            pass

    def begin(self, pool: ThreadPoolExecutor) -> Future[tuple[int, str | None, dict[str, Any]]]:
        """Begin a call, and return when its command runs."""
        call = pool.submit(self.call)
        while not (self.folder / "began").exists():
            assert not call.done(), call.result()
        return call


@contextmanager
def served(folder: Path, drain_seconds: float) -> Generator[Served]:
    script = folder / "wait.sh"
    script.write_text("touch began; while [ ! -e go ]; do sleep 0.01; done; echo done")
    template = {"call_template_type": "cli", "command": "sh", "args": [script.name]}
    manual = {"utcp_version": "1.0.1", "tools": [{"name": "wait", "tool_call_template": template}]}
    entry = {"name": "m", "call_template_type": "text", "content": json.dumps(manual)}
    entry["allowed_communication_protocols"] = ["text", "cli"]
    config = folder / "config.json"
    config.write_text(json.dumps({"manual_call_templates": [entry], "bridge": {"drain_seconds": drain_seconds}}))
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(config), "--http", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if line.startswith("Serving MCP on"))
            yield Served(folder, process, int(line.partition("127.0.0.1:")[2].partition("/")[0]))
        finally:
            process.kill()


def test_calls_that_run_and_calls_that_come_are_served_until_none_is_left(tmp_path: Path) -> None:
    with served(tmp_path, 3_600) as server, ThreadPoolExecutor() as pool:
        assert server.ask("GET", "/readyz")[:2] == (200, None)
        first = server.begin(pool)
        server.drain()
        status, connection, summary = server.ask("GET", "/readyz")
        assert (status, connection, summary["draining"]) == (503, "close", True)
        assert server.ask("GET", "/healthz")[:2] == (200, "close")
        (tmp_path / "began").unlink()
        second = server.begin(pool)
        (tmp_path / "go").touch()
        for call in (first, second):
            status, connection, reply = call.result()
            assert (status, connection) == (200, "close")
            assert reply["result"]["content"][0]["text"] == "done"
        assert server.process.wait(timeout=60) == 0


def test_a_call_that_does_not_end_is_cancelled_after_the_drain(tmp_path: Path) -> None:
    with served(tmp_path, 1) as server, ThreadPoolExecutor() as pool:
        call = server.begin(pool)
        server.process.terminate()  # a busy machine may see the end of so short a drain before `/readyz` tells of it
        assert call.result()[:2] == (503, "close")
        assert server.process.wait(timeout=60) == 0


def test_in_the_second_half_of_the_drain_connections_are_refused_and_calls_in_flight_go_on(tmp_path: Path) -> None:
    with served(tmp_path, 6) as server, ThreadPoolExecutor() as pool:
        call = server.begin(pool)
        server.drain()
        # Each connection is refused, or gets its response: none is closed when the listening socket is.
        asked = iter(lambda: server.ask("GET", "/healthz")[0], 0)
        with pytest.raises(ConnectionRefusedError):
            all(status == 200 for status in asked)
        assert not call.done()
        (tmp_path / "go").touch()
        status, connection, reply = call.result()
        assert (status, connection, reply["result"]["content"][0]["text"]) == (200, "close", "done")
        assert server.process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
def test_an_interrupt_and_a_second_signal_cut_the_drain(tmp_path: Path, numbers: tuple[signal.Signals, ...]) -> None:
    with served(tmp_path, 3_600) as server, ThreadPoolExecutor() as pool:
        call = server.begin(pool)
        *first, last = numbers
        if first:
            server.drain()
        server.process.send_signal(last)
        assert call.result()[0] == 503
        assert server.process.wait(timeout=60) == 0


def test_a_hangup_does_not_end_the_server(tmp_path: Path) -> None:
    with served(tmp_path, 0) as server:
        server.process.send_signal(signal.SIGHUP)
        for _ in range(20):
            assert server.ask("GET", "/healthz")[0] == 200
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0
