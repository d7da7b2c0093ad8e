"""OAuth, tasks, changed configurations and event streams behind haproxy and nginx, with three bridges and a Redis."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from benchmarks.harness.messages import ERAS, Era, message, payload
from benchmarks.replicas import McpClient
from tests.access.test_oauth import logged_in_call
from tests.support.balanced import BALANCERS, NEEDED, balanced
from tests.upstreams import task_server
from tests.upstreams.token_issuer import token_issuer

pytestmark = [pytest.mark.anyio, pytest.mark.needs(*NEEDED)]
ROUNDS = 6
"""Requests in a row that reach each bridge."""
TASKS = "io.modelcontextprotocol/tasks"
CHANGED = b"notifications/tools/list_changed"


# --- OAuth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_all_bridges_are_one_resource_at_the_address_of_the_balancer(balancer: str, tmp_path: Path) -> None:
    async with token_issuer() as issuer, aiohttp.ClientSession() as http:
        settings = {"oauth_issuer": issuer.url, "oauth_resource": "BALANCER", "required_scopes": ["read"]}
        with balanced(balancer, tmp_path, settings=settings) as world:
            result, query = await logged_in_call(world.url, "m_echo", {"token": "t"})
            assert not result.is_error
            assert query["resource"] == [world.url]

            async def status(url: str, token: str) -> tuple[int, str | None]:
                client = McpClient(url, "2026-07-28", http)
                body = message(client.era, "1", "tools/call", {"name": "m_echo", "arguments": {"token": "t"}})
                headers = {**client.headers("tools/call", "m_echo"), "Authorization": f"Bearer {token}"}
                async with http.post(url, data=body, headers=headers) as reply:
                    await reply.read()
                    return reply.status, reply.headers.get("WWW-Authenticate")

            metadata = f"{world.url.removesuffix('/mcp')}/.well-known/oauth-protected-resource/mcp"
            token = issuer.signed(aud=world.url)
            for url in (*[world.url] * ROUNDS, *world.urls):
                assert await status(url, token) == (200, None)
                for wrong in ("x" * 30, issuer.signed(aud=world.urls[0])):
                    refused, challenge = await status(url, wrong)
                    assert refused == 401
                    assert f'resource_metadata="{metadata}"' in str(challenge)
            for _ in range(ROUNDS):
                async with http.get(metadata) as reply:
                    told = await reply.json()
                assert (told["resource"], told["authorization_servers"]) == (world.url, [issuer.url])


# --- tasks ---------------------------------------------------------------------------------------


def able(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of a client that has tasks."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
    }
    return {**params, "_meta": meta}


async def asked(http: aiohttp.ClientSession, url: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a request of 2026-07-28 by a client that has tasks."""
    name = params.get("name") or params["taskId"]
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": able(params)})
    headers = McpClient(url, "2026-07-28", http).headers(method, name)
    async with http.post(url, data=body, headers=headers) as reply:
        return payload(await reply.read())


def task_entry(era: str) -> dict[str, Any]:
    program = {"command": sys.executable, "args": [str(Path(str(task_server.__file__))), era]}
    return {"name": "t", "call_template_type": "mcp", "config": {"mcpServers": {"s": program}}}


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_task_is_polled_and_cancelled_wherever_the_balancer_leads(
    balancer: str, era: str, tmp_path: Path
) -> None:
    with balanced(balancer, tmp_path, entries=[task_entry(era)], store_timeout=5.0) as world:
        async with aiohttp.ClientSession() as http:

            async def begun(tool: str) -> dict[str, str]:
                found = await asked(http, world.url, "tools/call", {"name": f"t_s_{tool}", "arguments": {}})
                return {"taskId": str(found["taskId"])}

            slow = await begun("slow")
            while (state := await asked(http, world.url, "tasks/get", slow))["status"] == "working":
                pass
            assert (state["status"], state["result"]["content"][0]["text"]) == ("completed", "slow done")
            for url in (*[world.url] * ROUNDS, *world.urls):
                assert await asked(http, url, "tasks/get", slow) == state
            for url in (world.url, *world.urls):  # one of the bridges has the task, and the others do not
                endless = await begun("endless")
                await asked(http, url, "tasks/cancel", endless)
                for other in (*[world.url] * ROUNDS, *world.urls):
                    assert (await asked(http, other, "tasks/get", endless))["status"] == "cancelled"


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_a_session_has_its_tasks_wherever_the_balancer_leads(balancer: str, tmp_path: Path) -> None:
    with balanced(balancer, tmp_path, entries=[task_entry("legacy")], store_timeout=5.0) as world:
        async with aiohttp.ClientSession() as http:
            client = McpClient(world.url, "2025-11-25", http)
            await client.open()

            async def begun(tool: str) -> str:
                params = {"name": f"t_s_{tool}", "arguments": {}, "task": {"ttl": 60_000}}
                return str((await client.request("tools/call", params))["task"]["taskId"])

            tasks = [await begun("slow") for _ in range(ROUNDS)]
            endless = await begun("endless")
            while (listed := await client.request("tasks/list", {}))["tasks"] and len(listed["tasks"]) <= ROUNDS:
                pass  # those of a bridge that is slow to answer are missing
            assert [one["taskId"] for one in listed["tasks"]] == [*tasks, endless]
            for task in tasks:
                result = await client.request("tasks/result", {"taskId": task})
                assert result["content"][0]["text"] == "slow done"
            assert (await client.request("tasks/cancel", {"taskId": endless}))["status"] == "cancelled"
            for url in (*[world.url] * ROUNDS, *world.urls):
                client.url = url
                assert (await client.request("tasks/get", {"taskId": endless}))["status"] == "cancelled"


# --- event streams -------------------------------------------------------------------------------


class Listener:
    """The event stream of one client."""

    def __init__(self, client: McpClient) -> None:
        self.client = client
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.is_open = asyncio.Event()

    async def run(self) -> None:
        """Put the lines of the stream into `lines`, and an empty one at its end."""
        client = self.client
        await client.open()
        await client.request("tools/list", {})
        if client.era == "2025-11-25":
            headers = {**client.headers("-"), "Accept": "text/event-stream"}
            opened = client.http.get(client.url, headers=headers)
        else:
            method = "subscriptions/listen"
            body = message(client.era, "1", method, {"notifications": {"toolsListChanged": True}})
            opened = client.http.post(client.url, data=body, headers=client.headers(method))
        async with opened as reply:
            assert reply.status == 200
            if client.era == "2025-11-25":
                self.is_open.set()
            async for line in reply.content:
                self.is_open.set()  # the stream of the other era begins with an event
                self.lines.put_nowait(line)
        self.lines.put_nowait(b"")

    async def hears(self, part: bytes) -> None:
        """Wait for a line with this part."""
        while part not in (line := await self.lines.get()):
            assert line, "the stream has ended"


async def listening(
    stack: AsyncExitStack, http: aiohttp.ClientSession, urls: list[str], eras: tuple[Era, ...]
) -> list[Listener]:
    """Open an event stream of each era at each URL, until the end of the stack."""
    group = await stack.enter_async_context(asyncio.TaskGroup())
    found = [Listener(McpClient(url, era, http)) for url in urls for era in eras]
    tasks = [group.create_task(one.run()) for one in found]

    async def end() -> None:
        for task in tasks:
            task.cancel()

    stack.push_async_callback(end)
    for one in found:
        await one.is_open.wait()
    return found


def text(name: str) -> dict[str, Any]:
    tool = {"name": "t", "tool_call_template": {"call_template_type": "text", "content": "x"}}
    manual = {"utcp_version": "1.0.1", "manual_version": "1", "tools": [tool]}
    return {"name": name, "call_template_type": "text", "content": manual}


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_a_changed_configuration_of_all_bridges_costs_no_call_and_reaches_all_clients(
    balancer: str, tmp_path: Path
) -> None:
    with balanced(balancer, tmp_path) as world:
        statuses: Counter[int | str] = Counter()
        is_over = asyncio.Event()

        async def lane(http: aiohttp.ClientSession, era: Era) -> None:
            client = McpClient(world.url, era, http)
            await client.open()
            while not is_over.is_set():
                await client.echo("tok-load")
                statuses["done"] += 1
            statuses.update(client.repeated)

        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession())
            heard = await listening(stack, http, [*world.urls, world.url, world.url], ERAS)
            async with asyncio.TaskGroup() as group:
                for era in ERAS * 2:
                    group.create_task(lane(http, era))
                for number in range(5):
                    before = statuses["done"]
                    world.configure([text(f"n{number}")], {"retries": number % 2, "max_kept_bytes": 1_000_000 + number})
                    for one in heard:
                        await one.hears(CHANGED)
                    for url in (*world.urls, world.url):
                        client = McpClient(url, "2026-07-28", http)
                        while (names := await tools_of(client)) and f"n{number}_t" not in names:
                            pass  # a session may hear of one change more than once
                        assert not {f"n{other}_t" for other in range(5) if other != number} & names
                    assert statuses["done"] > before
                is_over.set()
        assert set(statuses) == {"done"}, "no call was refused, lost or repeated"


async def tools_of(client: McpClient) -> set[str]:
    return {tool["name"] for tool in (await client.request("tools/list", {}))["tools"]}


SHORT = {
    "nginx": {"proxy_read_timeout 3600s": "proxy_read_timeout 20s"},
    "haproxy": {"timeout server 3600s": "timeout server 20s"},
}
"""More than the 15 seconds after which a bridge sends a comment on a quiet stream, and less than two times that."""


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_a_quiet_event_stream_outlives_the_read_timeout_of_the_balancer(balancer: str, tmp_path: Path) -> None:
    with balanced(balancer, tmp_path, lines=SHORT[balancer]) as world:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession())
            heard = await listening(stack, http, [world.url], ERAS)
            for one in heard:
                for _ in range(2):  # the second comes later than the timeout
                    await one.hears(b": ping")
            world.upstream.names.append("late")
            for one in heard:
                await one.hears(CHANGED)
