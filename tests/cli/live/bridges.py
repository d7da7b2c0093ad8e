"""A bridge as a process of its own, whose configuration a test changes while clients are connected."""

from __future__ import annotations

import http.client
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.one_connection import PatientConnection

MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
CHANGED = "notifications/tools/list_changed"
BASE = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def manual(*tools: str, says: str = "x") -> dict[str, Any]:
    """Return a manual whose tools answer a text."""
    return {
        "utcp_version": "1.0.1",
        "manual_version": "1",
        "tools": [
            {
                "name": name,
                "description": f"The tool {name}.",
                "inputs": {"type": "object", "properties": {}},
                "tool_call_template": {"call_template_type": "text", "content": says},
            }
            for name in tools
        ],
    }


def entry(name: str, *tools: str, says: str = "x", **more: Any) -> dict[str, Any]:
    """Return the entry of a manual with its text in it."""
    return {"name": name, "call_template_type": "text", "content": manual(*tools or ("t",), says=says), **more}


def write(path: Path, *entries: dict[str, Any], **more: Any) -> Path:
    """Write a configuration as careful programs do: into another file that takes its name."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps({"manual_call_templates": list(entries), **more}))
    fresh.replace(path)
    return path


class LiveBridge:
    """`utcp-bridge serve` and what a test asks it. Its home folder is that of the test."""

    def __init__(self, process: subprocess.Popen[str], home: Path, port: int) -> None:
        self.process, self.home, self.port = process, home, port
        self.log: queue.Queue[str] = queue.Queue()
        self.lines: list[str] = []

    def reload(self, *arguments: str) -> tuple[int, str, str]:
        """Run `utcp-bridge reload` and return its exit code, stdout and stderr."""
        done = subprocess.run(
            [sys.executable, "-m", "utcp_bridge", "reload", *arguments],
            env=environment(self.home),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def reloaded(self, *arguments: str) -> dict[str, Any]:
        """Return what `utcp-bridge reload --json` prints."""
        found: dict[str, Any] = json.loads(self.reload("--json", *arguments)[1])
        return found

    def logged(self, part: str) -> str:
        """Return the next line of the log with this part. Lines before it are kept in `lines`."""
        while True:
            line = self.log.get(timeout=200)
            self.lines.append(line)
            if part in line:
                return line

    def readyz(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=200)
        connection.request("GET", "/readyz")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def waits_for(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask `/readyz` until its answer fits."""
        while not fits(found := self.readyz()):
            assert self.process.poll() is None
        return found


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "settings")}


def _read_on(stream: Any, lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)


@contextmanager
def over_http(home: Path, *arguments: str) -> Generator[LiveBridge]:
    """Serve over HTTP, on a free port."""
    command = [sys.executable, "-m", "utcp_bridge", "serve", *arguments, "--http", "--port", "0"]
    with subprocess.Popen(command, cwd=home, env=environment(home), stderr=subprocess.PIPE, text=True) as process:
        bridge = LiveBridge(process, home, 0)
        threading.Thread(target=_read_on, args=(process.stderr, bridge.log), daemon=True).start()
        try:
            line = bridge.logged("Serving MCP on")
            bridge.port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
            yield bridge
        finally:
            process.terminate()
            process.wait(timeout=200)


class Host:
    """A client over HTTP, of one era, with the notifications that it was sent."""

    def __init__(self, port: int, era: str, path: str = "/mcp", token: str | None = None) -> None:
        self.era, self._port, self._path, self.token = era, port, path, token
        self._http = PatientConnection("127.0.0.1", port, timeout=200)
        self._session: dict[str, str] = {}
        self._ends: list[Callable[[], object]] = []
        self.named: dict[str, str] = {}
        """`Host`, if it is another name than the address."""
        self.heard: queue.Queue[str] = queue.Queue()
        if era == HANDSHAKE:
            params = {"protocolVersion": era, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
            reply = self._post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
            reply.read()
            self._session = {"Mcp-Session-Id": str(reply.getheader("mcp-session-id")), "MCP-Protocol-Version": era}
            self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}).read()

    def _post(self, message: Any, **headers: str) -> http.client.HTTPResponse:
        self._http.request("POST", self._path, json.dumps(message), BASE | self._own() | headers)
        return self._http.getresponse()

    def _own(self) -> dict[str, str]:
        return self.named | self._session | ({} if self.token is None else {"Authorization": f"Bearer {self.token}"})

    def _message(self, method: str, params: dict[str, Any], name: str = "") -> tuple[dict[str, Any], dict[str, str]]:
        if self.era == HANDSHAKE:
            return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, {}
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method, **({"Mcp-Name": name} if name else {})}
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **params}}, headers

    def ask(self, method: str, params: dict[str, Any] | None = None, name: str = "") -> dict[str, Any]:
        message, headers = self._message(method, params or {}, name)
        text = self._post(message, **headers).read().decode()
        answer: dict[str, Any] = json.loads(text.partition("data: ")[2] if text.startswith("event") else text)
        return answer

    def tools(self) -> list[str]:
        return [tool["name"] for tool in self.ask("tools/list")["result"]["tools"] if "_" in tool["name"]]

    def own_tools(self) -> list[str]:
        """Return the tools of manuals, without the meta-tools."""
        return [name for name in self.tools() if name not in {"search_tools", "call_tool", "read_result"}]

    def call(self, tool: str) -> str:
        answer = self.ask("tools/call", {"name": tool, "arguments": {}}, tool)
        return str(answer["result"]["content"][0]["text"] if "result" in answer else answer["error"]["message"])

    def status(self, tool: str) -> int:
        """Return the status of a call."""
        return self.reply(tool)[0]

    def reply(self, tool: str) -> tuple[int, str]:
        """Return the status and the text of the reply to a call."""
        message, headers = self._message("tools/call", {"name": tool, "arguments": {}}, tool)
        reply = self._post(message, **headers)
        return reply.status, reply.read().decode()

    def ends(self) -> None:
        """Wait until the bridge has ended the stream of notifications."""
        self._reader.join(timeout=200)
        assert not self._reader.is_alive()

    def listen(self) -> None:
        """Open the stream of notifications, and read it in a thread."""
        opened = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        if self.era == HANDSHAKE:
            opened.request("GET", self._path, headers={"Accept": "text/event-stream", **self._own()})
        else:
            message, headers = self._message("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
            opened.request("POST", self._path, json.dumps(message), BASE | self._own() | headers)
        stream = opened.sock
        reply = opened.getresponse()
        assert reply.status == 200
        self._reader = threading.Thread(target=self._hear, args=(reply,))
        self._reader.start()
        self._ends = [lambda: stream.shutdown(socket.SHUT_RDWR), self._reader.join, reply.close, opened.close]

    def _hear(self, reply: http.client.HTTPResponse) -> None:
        with suppress(OSError, http.client.HTTPException):
            while line := reply.readline().decode():
                if line.startswith("data:") and '"method"' in line:
                    self.heard.put(json.loads(line.partition(":")[2])["method"])

    def hears(self, method: str) -> None:
        """Wait for a notification."""
        while self.heard.get(timeout=200) != method:
            pass

    def comes_to(self, *tools: str) -> None:
        """Wait for notifications until these are the tools of manuals: each of them may arrive by itself."""
        self.hears(CHANGED)
        while self.own_tools() != list(tools):
            self.hears(CHANGED)

    def has_heard(self, method: str) -> bool:
        """Return whether a notification has come that nobody has waited for."""
        return method in self.heard.queue

    def close(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end()
        self._http.close()
