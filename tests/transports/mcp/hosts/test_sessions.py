"""Which session with a server a host uses, when there is no MCP server in front: the answers of a program."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from tests.support.asking_bridge import ERAS, asking_server, command, configuration
from tests.upstreams.mcp_asking import AskingServer, asking_http

from utcp_bridge import CallingHost, Extensions, ProtocolError, Rejected, UtcpClient
from utcp_bridge.errors import Busy
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.mcp import lenient_http
from utcp_bridge.transports.mcp.hosts import sessions
from utcp_bridge.upstream import HOST, HOST_ENDED, relayed_capabilities

pytestmark = pytest.mark.anyio
FORMS = {"elicitation": {"form": {}}}


class Program(CallingHost):
    """A host that answers with its name, in a session that ends when the test says so."""

    def __init__(self, name: str, capabilities: JsonObject, *, in_session: bool = False) -> None:
        self.name = name
        self.key = name if in_session else None
        self.principal = "everyone"
        self.capabilities = relayed_capabilities(capabilities)
        self.hearers: list[Any] = []

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        if method != "elicitation/create":
            raise ProtocolError(-1, f"{self.name} refuses {method}.")
        return {"action": "accept", "content": {"name": self.name}, "extra": [None, 1]}

    def watch(self, hear: Any) -> Any:
        self.hearers.append(hear)
        return lambda: self.hearers.remove(hear)


async def said(client: UtcpClient, tool: str, host: CallingHost | None = None) -> Any:
    """Return what a tool says to a host."""
    token = HOST.set(host)
    try:
        with anyio.fail_after(60):
            result = await client.call(f"up.s.{tool}", {})
    finally:
        HOST.reset(token)
    text = result.value.content[0]["text"]
    return text if result.value.is_error else json.loads(text)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_a_program_answers_with_its_own_host(era: str, way: str) -> None:
    async with (
        asking_server(era, way) as server,
        await UtcpClient.create(
            configuration(server), extensions=Extensions(host=Program("ada", {"elicitation": {}, "roots": {}}))
        ) as client,
    ):
        answer = await said(client, "confirm")
        assert (answer["action"], answer["content"]) == ("accept", {"name": "ada"})
        with pytest.raises(Rejected, match=r"ada refuses roots/list|returned error") as refused:
            await said(client, "roots")
        assert "ada refuses roots/list." in str(refused.value) + str(refused.value.detail)


@pytest.mark.parametrize("era", ERAS)
async def test_without_a_host_a_server_learns_that_nobody_can_answer(era: str) -> None:
    async with asking_server(era, "http") as server, await UtcpClient.create(configuration(server)) as client:
        assert "elicitation" not in await said(client, "able")
        with pytest.raises(Rejected) as refused:
            await said(client, "confirm")
        assert "no MCP client behind it that could answer" in str(refused.value) + str(refused.value.detail)


async def test_hosts_without_a_session_use_a_process_of_their_principal_one_at_a_time() -> None:
    async with await UtcpClient.create(configuration(command("handshake", sessions="per_host"))) as client:
        first, second = Program("ada", FORMS), Program("bob", FORMS)
        one = (await said(client, "able", first))["pid"]
        assert (await said(client, "able", second))["pid"] == one
        second.principal = "another"
        assert (await said(client, "able", second))["pid"] != one
        shared = (await said(client, "able"))["pid"]
        assert (await said(client, "able", Program("eve", {})))["pid"] == shared
        assert (await said(client, "confirm", first))["content"] == {"name": "ada"}


async def test_the_session_of_a_host_ends_with_it() -> None:
    async with await UtcpClient.create(configuration(command("handshake", sessions="per_host"))) as client:
        host = Program("ada", FORMS, in_session=True)
        first = (await said(client, "able", host))["pid"]
        assert (await said(client, "able", host))["pid"] == first
        for hear in tuple(host.hearers):
            hear(HOST_ENDED)
        assert host.hearers == []
        assert (await said(client, "able", host))["pid"] != first


async def test_the_sessions_of_hosts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not used for longest ends. If all are in use, the call is refused."""
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    asking = AskingServer("handshake")
    async with (
        asking_http(asking) as url,
        await UtcpClient.create(configuration({"url": url, "sessions": "per_host"})) as client,
    ):
        people = [Program(name, FORMS, in_session=True) for name in ("ada", "bob", "eve")]
        for person in people:
            assert (await said(client, "confirm", person))["content"] == {"name": person.name}
        assert [len(person.hearers) for person in people] == [0, 1, 1]
        async with anyio.create_task_group() as group:
            for person in people[1:]:
                group.start_soon(said, client, "hold", person)
            while asking.seen.count("holding") < 2:
                await asking.moved.wait()
            with pytest.raises(Busy, match="2 clients use sessions of their own"):
                await said(client, "confirm", people[0])
            group.cancel_scope.cancel()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_call_waits_until_its_server_can_ask(answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question on a stream that is not open yet would be lost."""
    monkeypatch.setattr(lenient_http, "_LISTENING_SECONDS", 60 if answers else 0.01)
    asking, found = AskingServer("handshake"), []
    asking.listens.clear()

    async def call() -> None:
        found.append(await said(client, "aside" if answers else "quiet"))

    async with (
        asking_http(asking) as url,
        await UtcpClient.create(
            configuration({"url": url}), extensions=Extensions(host=Program("ada", FORMS))
        ) as client,
    ):
        with anyio.fail_after(60):
            await asking.until("GET")
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                for _ in range(5):
                    await client.upstreams()[0].request("prompts/list", {})
                assert "aside" not in asking.seen
                if answers:
                    asking.listens.set()
        asking.listens.set()
    assert found == ([{"action": "accept", "content": {"name": "ada"}}] if answers else found)
    assert len(found) == 1
