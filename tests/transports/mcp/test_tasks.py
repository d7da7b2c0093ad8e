"""Tools that run as tasks, called as any other tool, on servers of both eras."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.loop_clock import time_passes
from tests.upstreams import task_server

from utcp_bridge import Extensions, UtcpClient
from utcp_bridge.errors import DeadlineExceeded, MalformedReply, Rejected
from utcp_bridge.model import ContentBlocks, JsonObject
from utcp_bridge.upstream import CallingHost, ProtocolError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["legacy", "modern"])
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(era: str) -> AsyncIterator[UtcpClient]:
    server = {"command": sys.executable, "args": [str(Path(task_server.__file__)), era]}
    entry = {"name": "t", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}, "call_timeout": 40}
    async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
        assert client.report()[0].errors == []
        yield client


async def seen(client: UtcpClient) -> list[str]:
    value = (await client.call("t.s.seen", {})).value
    assert isinstance(value, ContentBlocks)
    return str(value.content[0]["text"]).split()


async def test_the_result_of_a_task_is_the_result_of_the_call(client: UtcpClient, era: str) -> None:
    partials: list[Any] = []

    async def emit(partial: Any) -> None:
        partials.append(partial)

    value = (await client.call("t.s.slow", {}, emit)).value
    assert isinstance(value, ContentBlocks)
    assert value.content == [{"type": "text", "text": "slow done"}]
    assert not value.is_error
    told = [one["message"] for one in partials]
    assert [one for one in told if one.startswith("step")] == ["step 0", "step 1", "step 2", "step 3"]
    methods = await seen(client)
    assert methods.count("tasks/get") == task_server.STEPS
    assert methods.count("tasks/result") == (era == "legacy")


async def test_progress_after_the_call_became_a_task_still_arrives(client: UtcpClient, era: str) -> None:
    if era == "modern":
        assert "tasks/cancel" not in await seen(client)  # progress of 2026-07-28 ends with the response
        return
    arrived = anyio.Event()

    async def emit(partial: Any) -> None:
        if partial["message"] == "progress":
            arrived.set()

    async with anyio.create_task_group() as group:
        group.start_soon(client.call, "t.s.endless", {}, emit)
        with anyio.fail_after(60):
            await arrived.wait()
        group.cancel_scope.cancel()


async def test_an_error_of_the_tool_is_a_result(client: UtcpClient) -> None:
    value = (await client.call("t.s.fail", {})).value
    assert isinstance(value, ContentBlocks)
    assert value.is_error


async def test_a_task_that_fails_or_is_cancelled_fails_the_call(client: UtcpClient) -> None:
    with pytest.raises(Rejected) as failed:
        await client.call("t.s.broken", {})
    assert failed.value.status == -32050
    assert failed.value.detail == "out of paper"
    with pytest.raises(Rejected, match="cancelled the task"):
        await client.call("t.s.cancelled", {})
    with pytest.raises(MalformedReply, match="does not match the protocol"):
        await client.call("t.s.odd", {})


async def test_a_caller_that_gives_up_cancels_the_task(client: UtcpClient) -> None:
    started = anyio.Event()

    async def emit(_partial: Any) -> None:
        started.set()

    async with anyio.create_task_group() as group:
        group.start_soon(client.call, "t.s.endless", {}, emit)
        with anyio.fail_after(60):
            await started.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(60):
        while "tasks/cancel" not in await seen(client):
            pass


async def test_a_task_has_the_time_limit_of_its_call(era: str) -> None:
    server = {"command": sys.executable, "args": [str(Path(task_server.__file__)), era]}
    entry = {"name": "t", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}, "call_timeout": 40}
    started = anyio.Event()

    async def emit(_partial: Any) -> None:
        started.set()

    async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
        async with time_passes(40, after=started):
            with pytest.raises(DeadlineExceeded):
                await client.call("t.s.endless", {}, emit)
        with anyio.fail_after(60):
            while "tasks/cancel" not in await seen(client):
                pass


class Person(CallingHost):
    """A program whose user answers."""

    def __init__(self) -> None:
        self.capabilities = {"elicitation": {"form": {}}}

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        assert (method, params["message"]) == ("elicitation/create", "Who?")
        return {"action": "accept", "content": {"name": "Ada"}}


async def test_a_task_that_needs_input_asks_the_caller_and_goes_on(era: str) -> None:
    server = {"command": sys.executable, "args": [str(Path(task_server.__file__)), era]}
    entry = {"name": "t", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}}
    config = {"manual_call_templates": [entry]}
    async with await UtcpClient.create(config, extensions=Extensions(host=Person())) as client:
        value = (await client.call("t.s.ask", {})).value
        assert isinstance(value, ContentBlocks)
        assert "Ada" in value.content[0]["text"]
        assert (await seen(client)).count("tasks/update") == (era == "modern")


class Stranger(Person):
    """A program whose user refuses to answer."""

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        raise ProtocolError(-1, "The user refuses.")


async def test_a_task_whose_host_refuses_to_answer_is_cancelled(era: str) -> None:
    server = {"command": sys.executable, "args": [str(Path(task_server.__file__)), era]}
    entry = {"name": "t", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}}
    config = {"manual_call_templates": [entry]}
    async with await UtcpClient.create(config, extensions=Extensions(host=Stranger())) as client:
        with pytest.raises(Rejected):
            await client.call("t.s.insist", {})
        with anyio.fail_after(60):
            while "tasks/cancel" not in await seen(client):
                pass
