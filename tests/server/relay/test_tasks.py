"""Tasks of MCP servers passed through to hosts that take them: each era of a host with each era of a server."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp.shared.memory import create_client_server_memory_streams
from mcp_types import ElicitResult, ErrorData, Implementation
from tests.upstreams import task_server

from utcp_bridge import UtcpClient
from utcp_bridge.model import JsonObject
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.relay.tasks import TASKS
from utcp_bridge.transports.mcp.handshake import RawSession

pytestmark = pytest.mark.anyio
ERAS = ["legacy", "modern"]


class HostSession(RawSession):
    """A host's session, in the era that a test chooses."""

    async def begin(self, era: str) -> None:
        if era == "modern":
            await self.open(quietly=False)
        else:
            await self._adopt_legacy(await self._initialized())


class Host:
    """A host that sends raw requests."""

    def __init__(self, session: HostSession) -> None:
        self.session = session

    @property
    def is_modern(self) -> bool:
        return self.session.is_modern

    async def call(self, tool: str) -> JsonObject:
        """Begin a tool call as a task, and return the task."""
        params: JsonObject = {"name": f"t_s_{tool}", "arguments": {}}
        wish: JsonObject = {} if self.is_modern else {"task": {"ttl": 9_000}}
        result = await self.session.request("tools/call", {**params, **wish})
        assert result.get("resultType") == ("task" if self.is_modern else None)
        task: JsonObject = result if self.is_modern else result["task"]
        return task

    async def ask(self, method: str, task: JsonObject, **more: Any) -> JsonObject:
        return await self.session.request(method, {"taskId": task["taskId"], **more})

    async def ended(self, task: JsonObject) -> JsonObject:
        with anyio.fail_after(100):
            while True:
                state = await self.ask("tasks/get", task)
                if state["status"] != "working":
                    return state

    async def result(self, task: JsonObject) -> JsonObject:
        if not self.is_modern:
            return await self.ask("tasks/result", task)
        found: JsonObject = (await self.ended(task))["result"]
        return found


@asynccontextmanager
async def bridged(server: str, **config: Any) -> AsyncGenerator[BridgeServer]:
    command = {"command": sys.executable, "args": [str(Path(str(task_server.__file__))), server]}
    entry = {"name": "t", "call_template_type": "mcp", "config": {"mcpServers": {"s": command}}}
    async with await UtcpClient.create({"manual_call_templates": [entry], **config}) as client:
        yield BridgeServer(client)


async def _answer(context: Any, params: Any) -> ElicitResult | ErrorData:
    del context, params
    return ElicitResult(action="accept", content={"name": "Ada"})


@asynccontextmanager
async def host_of(bridge: BridgeServer, era: str, **extensions: JsonObject) -> AsyncGenerator[Host]:
    async with create_client_server_memory_streams() as (mine, theirs), anyio.create_task_group() as group:
        group.start_soon(bridge.run, *theirs, bridge.create_initialization_options())
        info = Implementation(name="host", version="1")
        stated = extensions or {TASKS: {}}
        async with HostSession(*mine, client_info=info, extensions=stated, elicitation_callback=_answer) as session:
            await session.begin(era)
            yield Host(session)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("era", ERAS)
async def test_a_host_gets_the_task_and_its_result_in_the_words_of_its_version(era: str, server: str) -> None:
    async with bridged(server) as bridge, host_of(bridge, era) as host:
        offered = host.session.capabilities
        assert ("tasks" in offered, TASKS in (offered.get("extensions") or {})) == (not host.is_modern, host.is_modern)
        task = await host.call("slow")
        assert task["status"] == "working"
        assert len(task["taskId"]) == 40
        kept, pause = ("ttlMs", "pollIntervalMs") if host.is_modern else ("ttl", "pollInterval")
        assert (task[kept], task[pause]) == (60_000, 50)
        assert {"ttl", "ttlMs", "pollInterval", "pollIntervalMs"} & task.keys() == {kept, pause}
        state = await host.ended(task)
        assert (state["taskId"], state["status"], state["statusMessage"]) == (task["taskId"], "completed", "step 3")
        result = await host.result(task)
        assert result["content"] == [{"type": "text", "text": "slow done"}]
        related = (result.get("_meta") or {}).get("io.modelcontextprotocol/related-task")
        assert related == (None if host.is_modern else {"taskId": task["taskId"]})


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("era", ERAS)
async def test_errors_of_tools_and_of_the_protocol_are_distinguished(era: str, server: str) -> None:
    async with bridged(server) as bridge, host_of(bridge, era) as host:
        assert (await host.result(await host.call("fail")))["isError"] is True
        task = await host.call("broken")
        if host.is_modern:
            state = await host.ended(task)
            assert state["status"] == "failed"
            assert (state["error"]["code"], state["error"]["message"]) == (-32050, "out of paper")
            assert "result" not in state
            return
        with pytest.raises(MCPError, match="out of paper"):
            await host.result(task)


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("era", ERAS)
async def test_a_host_cancels_its_task(era: str, server: str) -> None:
    async with bridged(server) as bridge, host_of(bridge, era) as host:
        task = await host.call("endless")
        answer = await host.ask("tasks/cancel", task)
        if host.is_modern:
            assert answer.keys() & {"taskId", "status", "result", "error"} == set()
            assert answer["resultType"] == "complete"
        else:
            assert (answer["taskId"], answer["status"]) == (task["taskId"], "cancelled")
            [listed] = (await host.session.request("tasks/list", {}))["tasks"]
            assert (listed["taskId"], listed["status"]) == (task["taskId"], "cancelled")
        assert (await host.ended(task))["status"] == "cancelled"


async def test_a_task_that_needs_input_gets_it_from_the_host() -> None:
    async with bridged("modern") as bridge, host_of(bridge, "modern") as host:
        task = await host.call("ask")
        state = await host.ended(task)
        assert state["status"] == "input_required"
        assert state["inputRequests"]["who"]["method"] == "elicitation/create"
        answer = {"who": {"action": "accept", "content": {"name": "Ada"}}}
        assert (await host.ask("tasks/update", task, inputResponses=answer))["resultType"] == "complete"
        assert "Ada" in (await host.result(task))["content"][0]["text"]


@pytest.mark.parametrize("server", ERAS)
async def test_an_older_host_is_asked_while_it_fetches_the_result(server: str) -> None:
    async with bridged(server) as bridge, host_of(bridge, "legacy") as host:
        task = await host.call("ask")
        assert "Ada" in (await host.result(task))["content"][0]["text"]


@pytest.mark.parametrize("server", ERAS)
async def test_a_task_whose_older_host_refuses_to_answer_is_cancelled(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(context: Any, params: Any) -> ElicitResult | ErrorData:
        del context, params
        return ErrorData(code=-1, message="The user refuses.")

    monkeypatch.setitem(globals(), "_answer", refuse)
    async with bridged(server) as bridge, host_of(bridge, "legacy") as host:
        task = await host.call("insist")
        with pytest.raises(MCPError):
            await host.result(task)
        assert (await host.ended(task))["status"] == "cancelled"


async def test_a_task_belongs_to_the_host_that_began_it() -> None:
    async with bridged("modern") as bridge, host_of(bridge, "modern") as host:
        task = await host.call("endless")
        for ident in ("task-0", "0" * 32):
            with pytest.raises(MCPError, match="is unknown or has ended") as refused:
                await host.session.request("tasks/get", {"taskId": ident})
            assert refused.value.error.code == -32602
        [kept] = bridge.relay.tasks.kept()
        kept.owner = "session of another host"
        with pytest.raises(MCPError, match="is unknown or has ended"):
            await host.ask("tasks/get", task)


@pytest.mark.parametrize("server", ERAS)
async def test_a_host_that_does_not_say_that_it_takes_tasks_gets_results(server: str) -> None:
    async with bridged(server) as bridge, host_of(bridge, "modern", **{"org.example/none": {}}) as host:
        result = await host.session.request("tools/call", {"name": "t_s_slow", "arguments": {}})
        assert result["content"] == [{"type": "text", "text": "slow done"}]
        with pytest.raises(MCPError) as refused:
            await host.session.request("tasks/get", {"taskId": "x"})
        assert refused.value.error.code == -32021
        assert refused.value.error.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}


async def test_a_tool_that_makes_no_task_returns_its_result_at_once() -> None:
    async with bridged("legacy") as bridge, host_of(bridge, "legacy") as host:
        params = {"name": "t_s_seen", "arguments": {}, "task": {"ttl": 1000}}
        result = await host.session.request("tools/call", params)
        assert "initialize" in result["content"][0]["text"]
        assert "resultType" not in result
