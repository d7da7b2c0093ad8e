"""Hosts of others in front of the bridge: which there are, and how a test drives one.

The drivers in `hosts/` run a client each, in its own environment, and do what a test says, line by line.
"""

from __future__ import annotations

import json
import queue
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.interop.software import Npm, PyPI, Software

DRIVERS = Path(__file__).parent / "hosts"
SECONDS = 180.0
"""How long a reply of a driver is awaited."""


def _python(package: str, newest: str = "", *, light: bool = False) -> PyPI:
    newest = newest or re.sub(r"==[^ ]+", "", package)
    return PyPI(package, "python", light=light, newest=newest, optional=not light)


def _node(package: str, newest: str = "", *, light: bool = False) -> Npm:
    newest = newest or re.sub(r"(?<=.)@\d[^ ]*", "@latest", package)
    packages, newest = f"{package} node@22", f"{newest} node@22"
    return Npm(packages, "node", light=light, newest=newest, optional=not light)


SDK_2 = _python("mcp==2.3.0", "mcp>=2,<3", light=True)
SDK_1 = _python("mcp==1.30.0", "mcp<2", light=True)
GOOGLE = _python("google-genai==3.6.1 mcp==2.3.0")
_SMOLAGENTS = _python("smolagents[mcp]==1.26.0 mcp==1.30.0", "smolagents[mcp] mcp<2")
_TS_2 = _node("@modelcontextprotocol/client@2.4.0", light=True)
TS_1 = _node("@modelcontextprotocol/sdk@1.32.2", "@modelcontextprotocol/sdk@1", light=True)
_TS_1_12 = _node("@modelcontextprotocol/sdk@1.12.0", "@modelcontextprotocol/sdk@1.12")
_AI_SDK = _node("@ai-sdk/mcp@2.0.99 ai@7.0.173", light=True)
_LANGCHAIN_JS = _node("@langchain/mcp-adapters@1.1.4 langchain@1.5.14 @langchain/core@1.4.0")


@dataclass(frozen=True)
class HostKind:
    """A client: its driver's name for it, where it comes from, and what it can do beyond lists and calls."""

    name: str
    software: Software
    abilities: str = ""
    """By blanks; an ability with a suffix holds for one transport: `cancel-http`."""
    transports: tuple[str, ...] = ("http", "stdio")

    def can(self, ability: str, transport: str) -> bool:
        return bool({ability, f"{ability}-{transport}"} & set(self.abilities.split()))


# nulls, wrong: it sends arguments that its own check could refuse. pictures: it keeps the type of a picture.
# is_error: results keep the mark of an error. unknown: it asks for tools that it was not given. relist: a later list is
# a fresh one. hears: it reports `list_changed`. converts: it has a converter for the schemas of a model.
_ANY = "nulls wrong pictures"
_FRAMEWORK = f"{_ANY} structured relist"
_SESSION = f"{_FRAMEWORK} is_error unknown"
_SDK = f"{_SESSION} progress cancel hears"
_FIRST_SDK = f"{_SESSION} progress hears"  # it sends no cancellation

HOSTS = (
    HostKind("sdk-2", SDK_2, f"{_SDK} large"),
    HostKind("sdk-2-handshake", SDK_2, f"{_SDK} large"),
    HostKind("sdk-1", SDK_1, f"{_FIRST_SDK} large"),
    HostKind("fastmcp", _python("fastmcp==4.2.3"), f"{_SESSION} progress cancel"),
    HostKind("openai-agents", _python("openai-agents==0.24.0"), f"{_SESSION} cancel converts"),
    HostKind("pydantic-ai", _python("pydantic-ai-slim[mcp]==2.68.0"), f"{_ANY} structured unknown cancel"),
    HostKind("langchain", _python("langchain-mcp-adapters==0.3.2"), f"{_FRAMEWORK} is_error cancel"),
    HostKind("mcp-use", _python("mcp-use==1.7.1"), _SESSION),
    HostKind("smolagents", _SMOLAGENTS, f"{_ANY} structured"),
    HostKind("crewai", _python("crewai-tools[mcp]==1.15.30 crewai==1.15.30"), "nulls wrong"),
    HostKind("google-genai", GOOGLE, f"{_SESSION} cancel converts"),
    HostKind("ts-sdk-2", _TS_2, f"{_SDK} large"),
    HostKind("ts-sdk-2-handshake", _TS_2, f"{_SDK} large"),
    HostKind("ts-sdk-1", TS_1, f"{_SDK} large"),
    HostKind("ts-sdk-1.12", _TS_1_12, _SDK),
    HostKind("ai-sdk", _AI_SDK, f"{_FRAMEWORK} is_error cancel-http"),
    HostKind("langchain-js", _LANGCHAIN_JS, "structured pictures cancel"),
    HostKind("mcp-use-1-js", _node("mcp-use@1.34.6", "mcp-use@1"), _SESSION),
    HostKind("mcp-use-client-js", _node("@mcp-use/client@2.3.2"), _SESSION),
    HostKind("mcp-remote", _node("mcp-remote@0.15.1 @modelcontextprotocol/sdk@1.32.2"), _SDK, ("http",)),
    HostKind("supergateway", _node("supergateway@4.0.0 @modelcontextprotocol/sdk@1.32.2"), _SDK, ("stdio",)),
)
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "DO_NOT_TRACK": "1",
    "FASTMCP_CHECK_FOR_UPDATES": "off",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "MCP_USE_ANONYMIZED_TELEMETRY": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
}
"""Clients report nothing to their makers: a test connects to loopback only."""


class HostFailed(AssertionError):
    """The client raised an error; the message is its own."""


class Host:
    """A running driver: `ask` for one reply, `start` and `reply` for what takes long."""

    def __init__(self, process: subprocess.Popen[str], printed: Any) -> None:
        self._process = process
        self._printed = printed
        self._lines: queue.Queue[str] = queue.Queue()
        self._replies: dict[int, dict[str, Any]] = {}
        self._last = 0
        threading.Thread(target=self._read, daemon=True).start()
        first = self._next()
        if "ready" not in first:
            raise HostFailed(f"it did not connect: {first.get('failed', first)}")
        self.version: str | None = first["ready"]

    def ask(self, do: str, **keys: Any) -> Any:
        return self.reply(self.start(do, **keys))

    def call(self, tool: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        return dict(self.ask("call", tool=tool, arguments=arguments or {}))

    def start(self, do: str, **keys: Any) -> int:
        assert self._process.stdin is not None
        self._last += 1
        self._process.stdin.write(json.dumps({"id": self._last, "do": do, **keys}) + "\n")
        self._process.stdin.flush()
        return self._last

    def reply(self, number: int) -> Any:
        while number not in self._replies:
            reply = self._next()
            self._replies[reply["id"]] = reply
        reply = self._replies.pop(number)
        if "error" in reply:
            raise HostFailed(reply["error"])
        return reply.get("result")

    def _next(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=SECONDS)
        except queue.Empty:
            line = ""
        if not line:
            self._printed.seek(0)
            raise HostFailed(f"the client ended or hangs: {self._printed.read()[-3000:]}")
        return dict(json.loads(line))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")


@contextmanager
def hosted(kind: HostKind, target: dict[str, Any]) -> Iterator[Host]:
    """Run a client that is connected to the bridge until the block ends."""
    if isinstance(kind.software, PyPI):
        command = [kind.software.command, str(DRIVERS / "driver.py")]
    else:  # Node finds packages next to the program
        driver = shutil.copy(DRIVERS / "driver.mjs", kind.software.folder / "driver.mjs")
        command = [kind.software.command, str(driver)]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            [*command, kind.name, json.dumps(target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            env={**kind.software.environment, **QUIET},
            text=True,
            encoding="utf-8",
        )
        try:
            yield Host(process, printed)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def cases(*transports: str) -> list[Any]:
    """Return every host over each of its transports, as parameters of a test."""
    return [
        pytest.param((kind, transport), id=f"{kind.name}-{transport}", marks=pytest.mark.needs(kind.software))
        for kind in HOSTS
        for transport in kind.transports
        if transport in (transports or ("http", "stdio"))
    ]
