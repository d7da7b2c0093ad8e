"""Server processes: started on one core, their CPU time and memory read from the kernel."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.harness.messages import Address

ROOT = Path(__file__).parents[2]
SERVER_CORE, CLIENT_CORE = 0, 1
_URL = re.compile(r"http://([\d.]+):(\d+)(/\S*)")
_PATIENCE = 60.0
"""Seconds that a server has for its start."""


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, where the system and the number of cores allow it."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, {core})


def catalogue(tools: int, upstream: int, name: str = "small") -> dict[str, Any]:
    """A UTCP manual with that many HTTP tools of a usual size."""
    return {
        "utcp_version": "1.0.1",
        "manual_version": "1.0.0",
        "tools": [_tool(number, upstream, name) for number in range(tools)],
    }


def _tool(number: int, upstream: int, name: str) -> dict[str, Any]:
    text = "Find the records that match, newest first, and return at most as many of them as asked for."
    properties = {
        "q": {"type": "string", "description": "Words to look for."},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "description": "How many at most."},
        "sort": {"type": "string", "enum": ["newest", "oldest", "best"], "description": "Their order."},
    }
    return {
        "name": f"find_{number}",
        "description": f"{text} Collection {number}.",
        "inputs": {"type": "object", "properties": properties, "required": ["q"]},
        "tags": ["search", f"collection{number % 50}"],
        "tool_call_template": {
            "call_template_type": "http",
            "url": f"http://127.0.0.1:{upstream}/{name}",
            "http_method": "GET",
        },
    }


def write_config(folder: Path, manuals: dict[str, dict[str, Any]]) -> Path:
    """A configuration for the bridge: its entries, everything listed, loopback allowed."""
    entries = [
        {"name": name, "allow_networks": ["127.0.0.0/8"], "allowed_communication_protocols": ["http"], **entry}
        for name, entry in manuals.items()
    ]
    path = folder / "config.json"
    path.write_text(json.dumps({"manual_call_templates": entries, "bridge": {"exposure": "all"}}), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Server:
    """One way to serve the catalogue. `command` ends before the path of what it reads."""

    name: str
    command: tuple[str, ...]
    http_flags: tuple[str, ...] = ("--http",)
    prefix: str = ""
    """What its MCP names put before a tool's own name."""
    is_bridge: bool = False
    """It reads a configuration in place of the manual, and makes the index of its search after the start."""
    through: str | None = None
    """The meta-tool that calls the others, if they are not listed."""
    is_pinned: bool = True
    """Whether it has one core."""

    def call(self, number: int = 0) -> tuple[str, dict[str, Any]]:
        """Return name and arguments of a call of a tool."""
        arguments = {"q": "tea", "limit": 5}
        if self.through is None:
            return self.tool(number), arguments
        return self.through, {"tool_name": f"catalogue.find_{number}", "arguments": arguments}

    def tool(self, number: int = 0) -> str:
        return f"{self.prefix}find_{number}"


FLOOR = Server("floor", (sys.executable, "-m", "benchmarks.harness.floor"))


def bridge(name: str, python: str) -> Server:
    """Return the bridge that is installed for an interpreter."""
    command = (python, "-m", "utcp_bridge", "serve")
    return Server(name, command, ("--http", "--port", "0"), "catalogue_", is_bridge=True)


BRIDGE = bridge("bridge", sys.executable)
PLAIN = replace(BRIDGE, name="plain", command=(sys.executable, "-m", "benchmarks.harness.plain", "serve"))


def fastmcp(python: str) -> Server:
    return Server("fastmcp", (python, "-m", "benchmarks.harness.fastmcp_server"))


@dataclass
class Running:
    """One started process."""

    process: subprocess.Popen[bytes]
    errors: list[str] = field(default_factory=list)
    url: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    """Its stderr has ended."""
    address: Address | None = None

    def listen(self) -> None:
        """Collect stderr; note the URL that an HTTP server announces."""
        for line in cast(IO[bytes], self.process.stderr):
            text = line.decode(errors="replace").rstrip()
            self.errors.append(text)
            match = _URL.search(text)
            if match and "Serving MCP" in text and self.address is None:
                self.address = Address(match[1], int(match[2]), match[3])
                self.url.set()
        self.url.set()
        self.ended.set()

    def wait_for_url(self, seconds: float = _PATIENCE) -> Address:
        self.url.wait(seconds)
        if self.address is None:
            raise RuntimeError("The server did not start:\n" + "\n".join(self.errors[-20:]))
        return self.address

    @property
    def stdin(self) -> IO[bytes]:
        return cast(IO[bytes], self.process.stdin)

    @property
    def stdout(self) -> IO[bytes]:
        return cast(IO[bytes], self.process.stdout)

    def cpu(self) -> float:
        """CPU seconds so far: all threads, also those of its children."""
        total = 0
        for pid in self._family():
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(path.read_text(encoding="ascii").split()[0])
        return total / 1e9

    def _family(self) -> list[int]:
        """The process and those below it. A child of the bridge is small, and a proxy's is the server itself."""
        found = [self.process.pid]
        for pid in found:
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += map(int, path.read_text(encoding="ascii").split())
        return found

    def memory(self) -> float:
        """Resident set, MiB, with its children."""
        total = 0
        for pid in self._family():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
                found = re.search(r"VmRSS:\s+(\d+) kB", text)
                total += int(found[1]) if found else 0
        return total / 1024

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def start(command: list[str], core: int | None = SERVER_CORE, environment: Mapping[str, str] | None = None) -> Running:
    """Start a process with three pipes, on a core or any, and collect what it writes to stderr.

    `environment` has variables besides those of this process.
    """
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(environment or {})}, **pipes)
    if core is not None:
        pin(process.pid, core)
    running = Running(process)
    threading.Thread(target=running.listen, daemon=True).start()
    return running


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """The tools' own server; yields its port."""
    running = start([sys.executable, "-m", "benchmarks.harness.upstream"], CLIENT_CORE)
    try:
        yield int(running.stdout.readline())
    finally:
        running.stop()
