"""Two hosts at one bridge, one of which calls a hostile server: nothing of that reaches the other. All are processes,
except the servers over HTTP, which the test serves itself.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
import pytest
from mcp import MCPError
from mcp.client import Client
from tests.support.relayed import ERAS
from tests.support.source import TESTS
from tests.upstreams.hostile_mcp import HostileMcp, Message, Wire, notification, result_of
from tests.upstreams.rude_mcp import CLOSE, SHAPES, TOOLS, around, text_of

pytestmark = pytest.mark.anyio
MINE = "a line of mine"
BRIDGE = {"exposure": "all", "startup_wait": 120, "startup_settle": 120, "discovery_timeout": 120}


def announced(process: subprocess.Popen[str]) -> str:
    """Return the URL that a bridge says it serves."""
    assert process.stderr is not None
    line = next(line for line in process.stderr if "Serving MCP on" in line)
    found = re.search(r"http://\S+/mcp", line)
    assert found is not None, line
    return found[0]


@contextmanager
def bridge_process(config: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a bridge that serves a configuration over HTTP."""
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(config), "--http", "--port", "0"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield process
            assert process.poll() is None
        finally:
            process.kill()


@dataclass
class Seen:
    """A host, and what reached it."""

    said: list[str] = field(default_factory=list[str])
    asked: list[str] = field(default_factory=list[str])

    async def log(self, params: Any) -> None:
        self.said.append(f"log {params.data}")

    async def progress(self, done: float, total: float | None, message: str | None) -> None:
        self.said.append(f"progress {done:g} {total or 0:g} {message}")

    async def hear(self, message: Any) -> None:
        if isinstance(message, Exception):
            self.said.append(f"error {message}")
        elif not isinstance(message, types.LoggingMessageNotification | types.ProgressNotification):
            self.said.append(f"notice {message}")

    async def elicit(self, _context: Any, params: Any) -> Any:
        self.asked.append(str(params))
        return types.ElicitResult(action="decline")

    async def sample(self, _context: Any, params: Any) -> Any:
        self.asked.append(str(params))
        text = types.TextContent(type="text", text="no")
        return types.CreateMessageResult(role="assistant", content=text, model="m")

    async def roots(self, _context: Any) -> Any:
        self.asked.append("roots")
        return types.ListRootsResult(roots=[])

    @asynccontextmanager
    async def connected(self, url: str, era: str) -> AsyncIterator[Client]:
        options: dict[str, Any] = {"elicitation_callback": self.elicit, "sampling_callback": self.sample}
        options |= {"list_roots_callback": self.roots, "logging_callback": self.log, "message_handler": self.hear}
        async with Client(url, mode=era, **options) as client:
            yield client


async def rude(_server: HostileMcp, wire: Wire, message: Message) -> None:
    """Answer a call of `attack` as the program does over stdio."""
    params = message["params"]
    if params["name"] != "attack":
        await wire.json(result_of(message, text_of("called quiet")))
        return
    shape = params["arguments"]["shape"]
    before, after = around(shape, message["id"])
    await wire.events(*before)
    if shape != CLOSE:
        for one in (result_of(message, text_of("called attack")), *after):
            await wire.event(one)


class Held:
    """A call of the other host that is in flight while the attack happens."""

    def __init__(self) -> None:
        self.began = anyio.Event()
        self.goes_on = anyio.Event()

    async def call(self, _server: HostileMcp, wire: Wire, message: Message) -> None:
        token = message["params"].get("_meta", {}).get("progressToken", message["id"])
        await wire.events(
            notification("notifications/progress", progressToken=token, progress=1, total=2, message="mine"),
            notification("notifications/message", level="error", data=MINE),
        )
        self.began.set()
        await self.goes_on.wait()
        await wire.event(result_of(message, text_of("held")))


async def attacked(client: Client, shape: str) -> str:
    """Return what the attacked host gets."""
    try:
        found = await client.call_tool("evil_attack", {"shape": shape})
    except MCPError as error:
        return str(error)
    return str(found.content[0].text)  # type: ignore[union-attr]


LEVEL: Any = {"io.modelcontextprotocol/logLevel": "debug"}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("way", "version"), [("stdio", ""), ("http", "2025-06-18"), ("http", "2026-07-28")])
async def test_nothing_of_an_attack_on_one_host_reaches_the_other(
    era: str, way: str, version: str, tmp_path: Path
) -> None:
    victim, other = Seen(), Seen()
    good = HostileMcp("2025-06-18", results={"tools/list": {"tools": [TOOLS[1] | {"name": "hold"}]}}, logging={})
    evil = HostileMcp(version, {"tools/call": rude}, results={"tools/list": {"tools": TOOLS}}, logging={})
    async with good, evil:
        child = {"command": sys.executable, "args": ["-S", "-E", str(TESTS / "upstreams" / "rude_mcp.py")]}
        servers = {"evil": child if way == "stdio" else {"url": evil.url}, "good": {"url": good.url}}
        manuals = [
            {"name": name, "call_template_type": "mcp", "config": {"mcpServers": {name: server}}}
            for name, server in servers.items()
        ]
        config = tmp_path / "utcp.json"
        config.write_text(json.dumps({"manual_call_templates": manuals, "bridge": BRIDGE}))
        with anyio.fail_after(240), bridge_process(config) as process:
            url = await anyio.to_thread.run_sync(announced, process)  # it may ask the servers of this loop before
            threading.Thread(target=process.communicate, daemon=True).start()  # a full pipe would stop the bridge
            async with victim.connected(url, era) as first, other.connected(url, era) as second:
                quiet = await second.call_tool("evil_quiet", {})  # so that both hosts had a call on its session
                assert quiet.content[0].text == "called quiet"  # type: ignore[union-attr]
                for shape in SHAPES:
                    await one_attack(good, first, second, other, shape)
                assert (await second.call_tool("evil_quiet", {})).content[0].text == "called quiet"  # type: ignore[union-attr]
    assert other.said == [words for _ in SHAPES for words in ("progress 1 2 mine", f"log {MINE}")], other.said[:20]
    assert other.asked == []
    assert all("evil" not in words for words in other.said)


async def one_attack(good: HostileMcp, first: Client, second: Client, other: Seen, shape: str) -> None:
    """Attack the first host while the second one has a call in flight."""
    held = Held()
    good.attacks = {"tools/call": held.call}
    results: list[Any] = []

    async def hold() -> None:
        results.append(await second.call_tool("good_hold", {}, progress_callback=other.progress, meta=LEVEL))

    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        await held.began.wait()
        words = await attacked(first, shape)
        # A server may reply to its own calls as it likes: also before it has read them.
        assert shape == CLOSE or re.search("called attack|evil reply|evil error", words), words
        held.goes_on.set()
    assert [one.content[0].text for one in results] == ["held"]
