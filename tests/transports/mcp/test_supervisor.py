"""The servers of one manual, each by itself: none waits for another, and none is started twice or left behind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.loop_clock import later
from tests.support.source import TESTS

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import Rejected, Unreachable
from utcp_bridge.model import Document, JsonObject, discard
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.services import make_target, open_services
from utcp_bridge.transports.mcp import supervisor as mcp_supervisor
from utcp_bridge.transports.mcp.supervisor import McpSupervisor
from utcp_bridge.transports.mcp.transport import McpTransport

pytestmark = pytest.mark.anyio
SERVER = TESTS / "upstreams" / "odd_mcp_server.py"
TOOLS = [{"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}]


def odd(**config: Any) -> JsonObject:
    """Return the entry of a server with one tool `t`, which misbehaves as `config` says."""
    config = {"replies": {"tools/list": TOOLS, **config.pop("replies", {})}, **config}
    return {"command": sys.executable, "args": ["-S", "-E", str(SERVER), json.dumps(config)]}


@dataclass
class Manual:
    """A transport with one manual of several servers."""

    transport: McpTransport
    target: Any
    changes: int = 0
    changed: anyio.Event = field(default_factory=anyio.Event)

    def note(self) -> None:
        self.changes += 1
        self.changed.set()
        self.changed = anyio.Event()

    def server(self, name: str) -> McpSupervisor:
        return next(one for one in self.transport._sessions.values() if one.name == name)

    async def discover(self) -> Document:
        """Discover once the servers are not all late: a busy machine may need longer than the limit of a test."""
        while True:
            changed = self.changed
            try:
                return await self.transport.discover(self.target)
            except Unreachable:
                await changed.wait()

    async def until_listed(self, wanted: Collection[str]) -> Document:
        """Discover again after each change, until the tools of all wanted servers are listed."""
        while True:
            changed = self.changed
            document = await self.discover()
            if {tool["overlay"]["server"] for tool in document.content["tools"]} >= set(wanted):
                return document
            await changed.wait()

    async def until_reported(self, name: str) -> str:
        """Discover again after each change, until a fault names the server as failed; return what is wrong with it."""
        while True:
            changed = self.changed
            for fault in (await self.discover()).content["faults"]:
                if fault.where == f"MCP server {name!r}" and fault.severity == "error":
                    return f"{fault.what} {fault.remedy}"
            await changed.wait()


@asynccontextmanager
async def manual_of(servers: JsonObject, **settings: Any) -> AsyncIterator[Manual]:
    found: list[Manual] = []
    settings = {"discovery_timeout": 200, **settings}
    async with open_services(changed=lambda _manual: found[0].note(), settings=BridgeSettings(**settings)) as services:
        transport = McpTransport(services)
        template = {"call_template_type": "mcp", "config": {"mcpServers": servers}}
        found.append(Manual(transport, make_target(transport, template)))
        try:
            with anyio.fail_after(600):
                yield found[0]
        finally:
            await transport.aclose()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def started(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


async def test_of_twenty_servers_the_good_ones_are_listed_and_the_others_are_named(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in (*(f"good{n}" for n in range(13)), "mute0", "mute1", "mute2", "slow")}
    gate = tmp_path / "gate"
    servers = {name: odd(starts=str(files[name])) for name in files if name.startswith("good")}
    servers |= {name: odd(starts=str(files[name]), ignores=["*"]) for name in files if name.startswith("mute")}
    servers |= {"loud": odd(floods=True), "slow": odd(starts=str(files["slow"]), gate=str(gate))}
    servers |= {"dead0": odd(exits=2, says="error: no licence"), "dead1": {"command": "no-such-command"}}
    assert len(servers) == 20
    good = {name for name in servers if name.startswith("good")} | {"loud"}
    async with manual_of(servers) as manual:
        document = await manual.until_listed(good)
        assert {tool["overlay"]["server"] for tool in document.content["tools"]} == good
        assert {"mute0", "mute1", "mute2", "slow"} <= set(document.awaited)
        assert "exit code 2; its stderr says: error: no licence" in await manual.until_reported("dead0")
        assert "'no-such-command' of MCP server 'dead1' does not start: it is not on the PATH" in (
            await manual.until_reported("dead1")
        )
        states = {state.name: state.status for state in manual.transport.servers()}
        assert {name for name, status in states.items() if status == "ready"} == good
        assert {states[name] for name in ("mute0", "mute1", "mute2", "slow")} == {"connecting"}
        gate.touch()
        await manual.until_listed({*good, "slow"})
        assert {name: len(started(file)) for name, file in files.items()} == dict.fromkeys(files, 1)
        result = await manual.server("loud").call("t", {}, discard)
        assert result.content[0]["text"] == "called t"
    pids = [pid for file in files.values() for pid in started(file)]
    with anyio.fail_after(60):
        while any(is_alive(pid) for pid in pids):  # noqa: ASYNC110 - the guardian reaps them
            await anyio.sleep(0.01)


async def test_a_server_that_arrives_later_asks_nothing_of_the_others(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with manual_of({"quick": odd(), "slow": odd(gate=str(gate))}) as manual:
        asked: list[str] = []
        await manual.until_listed({"quick"})
        request = manual.server("quick").request

        async def counted(method: str, *arguments: Any, **options: Any) -> JsonObject:
            asked.append(method)
            return await request(method, *arguments, **options)

        manual.server("quick").request = counted  # type: ignore[method-assign]
        changed = manual.changed
        gate.touch()
        await changed.wait()
        await manual.until_listed({"quick", "slow"})
        assert asked == []
        await manual.transport.discover(manual.target)
        assert asked == ["tools/list"], "a refresh reads the manual again"


async def test_a_server_that_is_silent_is_named_in_time_and_kept(tmp_path: Path) -> None:
    gate, starts = tmp_path / "gate", tmp_path / "starts"
    server = {**odd(gate=str(gate), starts=str(starts), says="loading a model of 4 GB"), "timeout": 600}
    async with manual_of({"quick": odd(), "slow": server}, discovery_timeout=40) as manual:
        await manual.until_listed({"quick"})
        while not manual.server("slow").words:  # noqa: ASYNC110 - another process writes them
            await anyio.sleep(0.01)
        await later(36)
        said = await manual.until_reported("slow")
        assert "did not finish its handshake within 36 seconds" in said
        assert "loading a model of 4 GB" in said
        assert "keeps waiting" in said
        gate.touch()
        document = await manual.until_listed({"quick", "slow"})
        assert not document.awaited
        assert len(started(starts)) == 1


async def test_a_server_that_does_not_list_its_tools_is_named(tmp_path: Path) -> None:
    async with manual_of({"quick": odd(), "shy": odd(ignores=["tools/list"])}, discovery_timeout=0.2) as manual:
        assert "The bridge keeps waiting for it." in await manual.until_reported("shy")


async def test_a_server_beyond_its_start_limit_is_ended_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_supervisor, "_START_SECONDS", 1.0)
    monkeypatch.setattr(mcp_supervisor, "_FIRST_PAUSE", 0.01)
    starts = tmp_path / "starts"
    async with manual_of({"mute": odd(starts=str(starts), ignores=["*"])}, discovery_timeout=1) as manual:
        with pytest.raises(Unreachable, match="handshake"):
            await manual.transport.discover(manual.target)
        while len(started(starts)) < 3:  # noqa: ASYNC110 - a process writes the file
            await anyio.sleep(0.01)
        assert sum(is_alive(pid) for pid in started(starts)) <= 2, "an earlier attempt leaves nothing behind"


async def test_a_tool_list_that_cannot_be_read_again_stays(tmp_path: Path) -> None:
    replies = {"tools/list": [TOOLS[0], '"error": {"code": -32603, "message": "no database"}']}
    async with manual_of({"quick": odd(), "moody": odd(replies=replies)}) as manual:
        await manual.until_listed({"quick", "moody"})
        document = await manual.transport.discover(manual.target)
        names = [tool["name"] for tool in document.content["tools"]]
        assert sorted(names) == ["moody.t", "quick.t"]
        [fault] = document.content["faults"]
        assert (fault.where, fault.severity) == ("MCP server 'moody'", "warning")
        assert "its tools stay as they were" in fault.what


async def test_a_discovery_during_an_attempt_that_began_before_it_waits_for_a_later_one(tmp_path: Path) -> None:
    """As after a login: the attempt under way has no part in it, and the failure before it may be over."""
    gate, found = tmp_path / "gate", []
    gate.touch()
    refused = '"error": {"code": -32603, "message": "no database"}'
    async with manual_of({"moody": odd(gate=str(gate), replies={"tools/list": [refused, refused, *TOOLS]})}) as manual:
        with pytest.raises(Rejected, match="no database"):
            await manual.transport.discover(manual.target)
        gate.unlink()
        await later(30)  # after its pause, the server is asked again, and does not reply

        async def discover() -> None:
            found.append(await manual.transport.discover(manual.target))

        async with anyio.create_task_group() as group:
            group.start_soon(discover)
            await anyio.wait_all_tasks_blocked()
            assert found == []
            gate.touch()
        [tool] = found[0].content["tools"]
        assert tool["name"] == "moody.t"


async def test_a_disabled_server_is_not_started(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    servers = {"off": {**odd(starts=str(starts)), "disabled": True}, "quick": odd()}
    servers["also_off"] = {**odd(starts=str(starts)), "enabled": False}
    async with manual_of(servers) as manual:
        await manual.until_listed({"quick"})
        assert started(starts) == []
        states = {state.name: state.status for state in manual.transport.servers()}
        assert states == {"quick": "ready", "off": "disabled", "also_off": "disabled"}


async def test_the_client_loads_a_manual_with_a_slow_server_whole_and_reports_its_states(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    servers = {"quick": odd(), "slow": odd(gate=str(gate)), "dead": odd(exits=1)}
    config = {"manual_call_templates": [{"name": "m", "call_template_type": "mcp", "mcpServers": servers}]}
    with anyio.fail_after(180):
        async with await UtcpClient.create(config, wait=0) as client:
            [state] = client.report()
            while not state.tools:
                await client.next_loaded()
            assert [tool.name for tool in client.tools()] == ["quick.t"]
            assert state.is_loading
            assert "slow" in state.awaited
            gate.touch()
            assert await client.wait_loaded()
            assert sorted(tool.name for tool in client.tools()) == ["quick.t", "slow.t"]
            states = {one.name: one.status for one in client.servers()}
            assert states == {"quick": "ready", "slow": "ready", "dead": states["dead"]}
            assert states["dead"] in {"waiting", "connecting"}
