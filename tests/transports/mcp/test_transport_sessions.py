"""Connections that end, and how the next request finds another one: sessions over HTTP and child processes."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import anyio
import pytest
from aiohttp import web
from tests.support.source import TESTS
from tests.upstreams.mcp_session_service import REFUSALS, McpSessionService, abort

from utcp_bridge.errors import ConnectionLost, Rejected, Unreachable, UtcpError
from utcp_bridge.model import ContentBlocks, JsonObject, discard
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transports.mcp import supervisor as mcp_supervisor
from utcp_bridge.transports.mcp.transport import McpTransport

pytestmark = pytest.mark.anyio
SERVER = TESTS / "upstreams" / "mcp_server.py"


@dataclass
class Far:
    """A transport with one server."""

    transport: McpTransport
    target: Any
    changes: list[str] = field(default_factory=list[str])
    changed: anyio.Event = field(default_factory=anyio.Event)

    async def call(self, text: str = "x", tool: str = "echo") -> str:
        template = self.target.template.model_copy(update={"tool_name": tool})
        target = type(self.target)(template, self.target.source, self.target.credentials)
        value: ContentBlocks = await self.transport.call(target, make_call({"text": text}), discard)
        return str(value.content[0]["text"])

    async def tools(self) -> list[str]:
        document = await self.transport.discover(self.target)
        return [tool["name"] for tool in document.content["tools"]]

    def note(self, manual: str) -> None:
        self.changes.append(manual)
        self.changed.set()


@asynccontextmanager
async def reaching(server: JsonObject, **settings: Any) -> AsyncIterator[Far]:
    found: list[Far] = []

    def note(manual: str) -> None:
        found[0].note(manual)

    patient = BridgeSettings(**{"discovery_timeout": 200, **settings})
    async with open_services(changed=note, settings=patient) as services:
        transport = McpTransport(services)
        template = {"call_template_type": "mcp", "config": {"mcpServers": {"far": server}}}
        found.append(Far(transport, make_target(transport, template)))
        try:
            with anyio.fail_after(240):
                yield found[0]
        finally:
            await transport.aclose()


def refusing(status: int, **options: Any) -> Callable[[web.Request, Any], Awaitable[web.StreamResponse]]:
    async def refuse(_request: web.Request, _ident: Any) -> web.StreamResponse:
        return web.Response(status=status, **options)

    return refuse


# --- sessions over HTTP ---


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_session_that_the_server_forgot_is_opened_again_and_the_call_runs_once(refusal: str) -> None:
    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        assert await far.tools() == ["far.echo", "far.who"]
        assert await far.call("a") == "a"
        server.refusal = REFUSALS[refusal]
        for text in "bcd":
            server.forget()
            assert await far.call(text) == text
        assert server.executed == ["a", "b", "c", "d"]
        assert server.opened == 4


async def test_calls_that_meet_a_forgotten_session_together_all_run_once_in_one_new_session() -> None:
    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        await far.call("first")
        server.forget()
        found: list[str] = []

        async def call(text: str) -> None:
            found.append(await far.call(text))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(call, str(number))
        assert sorted(found) == sorted(server.executed[1:]) == sorted(map(str, range(20)))
        assert server.opened == 2


async def test_discovery_opens_a_forgotten_session_again() -> None:
    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        await far.tools()
        server.forget()
        server.tools = ["other"]
        assert await far.tools() == ["far.other"]
        assert far.changes == [], "discovery itself has read the tools"


async def test_a_call_that_opened_another_session_has_the_manual_read_again() -> None:
    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        await far.tools()
        server.forget()
        await far.call()
        assert far.changes == ["peer"]
        await far.call()
        assert far.changes == ["peer"], "once for each session"


async def test_a_server_that_refuses_each_new_session_is_asked_twice_and_no_more() -> None:
    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        await far.call()
        server.fault = refusing(404)
        with pytest.raises(Rejected, match="refuses each session") as caught:
            await far.call()
        assert (caught.value.status, server.opened) == (404, 2)
        with pytest.raises(UtcpError):
            await far.call()
        assert server.opened == 2, "it is left alone for a moment"


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [(400, -32602, "Invalid params: session_id is required"), (404, -32601, "No such method"), (400, -32050, "Full")],
)
async def test_an_error_of_the_tool_is_not_taken_for_a_lost_session(status: int, code: int, message: str) -> None:
    async def fault(_request: web.Request, ident: Any) -> web.Response:
        said = {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": ident}
        return web.json_response(said, status=status)

    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        server.fault = fault
        with pytest.raises(Rejected) as caught:
            await far.call()
        assert (caught.value.status, caught.value.detail) == (code, message)
        assert server.opened == 1


async def test_the_error_has_the_status_and_its_retry_after() -> None:
    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        server.fault = refusing(503, headers={"Retry-After": "17"}, text="busy")
        with pytest.raises(Rejected, match=r"/mcp returned 503 Service Unavailable\. Try again in 17 s\.") as caught:
            await far.call()
        assert (caught.value.status, caught.value.detail, caught.value.retryable) == (503, "busy", True)
        server.fault = None
        assert await far.call() == "x"
        assert server.opened == 1


async def test_the_error_has_the_status_of_the_handshake() -> None:
    async with McpSessionService() as server, reaching({"url": f"{server.url}/elsewhere"}) as far:
        with pytest.raises(Rejected, match=r"returned 404 Not Found"):
            await far.call()


async def test_while_the_server_is_away_calls_say_so_and_the_first_one_afterwards_works() -> None:
    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        await far.call("a")
        await server.stop()
        for _ in range(4):
            with pytest.raises(Unreachable, match="Connection refused"):
                await far.call("b")
        await server.start()
        assert await far.call("c") == "c"
        assert server.executed == ["a", "c"]


async def test_a_reply_that_breaks_off_fails_its_own_call_only() -> None:
    async def half(request: web.Request, _ident: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "900"})
        await response.prepare(request)
        await response.write(b'{"jsonrpc": "2.0"')
        abort(request)
        return response

    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        await far.call("a")
        server.hold = anyio.Event()  # type: ignore[assignment]
        found: list[str] = []

        async def slow() -> None:
            found.append(await far.call("slow"))

        async with anyio.create_task_group() as group:
            group.start_soon(slow)
            await server.holding.wait()
            held, server.hold, server.fault = server.hold, None, half
            with pytest.raises(ConnectionLost):
                await far.call("b")
            server.fault = None
            held.set()
        assert found == ["slow"]
        assert server.opened == 1


# --- the stream of notifications ---


async def test_the_stream_of_notifications_is_opened_again_after_each_break() -> None:
    async with McpSessionService() as server, reaching({"url": server.url}) as far:
        await far.call()
        for number in range(4):
            await server.listening.wait()
            await server.notify("notifications/tools/list_changed")
            await far.changed.wait()
            assert len(far.changes) == number + 1
            far.changed = anyio.Event()
            server.cut_streams()
        await server.listening.wait()
        assert server.opened == 1


async def test_a_server_without_a_stream_keeps_its_session() -> None:
    async with McpSessionService() as server:
        server.serves_stream = False
        async with reaching({"url": server.url}) as far:
            for _ in range(3):
                assert await far.call() == "x"
            assert server.opened == 1


class ServedBridge:
    """A bridge, which speaks the protocol of 2026-07-28, in a process of its own that can be replaced."""

    def __init__(self) -> None:
        self.url = ""
        self.process: Any = None

    async def __aenter__(self) -> Self:
        await self.start(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int) -> None:
        command = [sys.executable, "-m", "tests.support.mcp_served", "http", json.dumps({"port": port})]
        self.process = await anyio.open_process(command, cwd=TESTS.parent, stderr=None)
        self.url = (await self.process.stdout.receive()).decode().strip()

    async def stop(self) -> None:
        self.process.kill()
        await self.process.wait()
        await self.process.aclose()

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0


async def test_a_subscription_is_made_again_at_a_server_that_was_restarted() -> None:
    async with ServedBridge() as served, reaching({"url": served.url}) as far:
        await far.tools()
        [session] = far.transport._sessions.values()
        [connection] = session._connections
        assert connection.client.protocol_version == "2026-07-28"
        port = served.port
        await served.stop()
        await served.start(port)
        await far.changed.wait()  # nobody has called a tool
        far.changed = anyio.Event()
        await far.call(tool="demo_grow")
        await far.changed.wait()
        assert session._connections == {connection}, "a session is what could be lost, and it has none"


# --- child processes ---


def child(name: str = "child", manner: str = "") -> JsonObject:
    return {
        "command": sys.executable,
        "args": [str(SERVER), name, *([manner] if manner else [])],
        "env": {"PYTHONPATH": str(SERVER.parents[2])},
    }


def processes(far: Far) -> list[Any]:
    """Return the processes of the server."""
    [session] = far.transport._sessions.values()
    return [one.child._process for one in session._connections if one.child and one.child._process]


def kill_and_wait(pid: int) -> None:
    """Kill a process of another parent, and wait until its last thread has ended, without the event loop."""
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([ended], [], [])
    os.close(ended)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux can wait for the child of another process")
async def test_a_child_that_was_killed_between_two_calls_is_started_again_by_the_next_one() -> None:
    async with reaching(child()) as far:
        for _ in range(3):
            assert await far.call() == "x"
            [process] = processes(far)
            kill_and_wait(process.pid)
        assert await far.call() == "x"
        assert far.changes == ["peer"] * 3, "its tools may be others now"


async def test_a_handshake_that_hangs_has_one_process_whatever_number_of_callers_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with reaching(child("silent", "hang")) as far:
        seen: set[Any] = set()
        while not seen:
            with anyio.move_on_after(0.05):
                await far.call()
            seen |= set(processes(far))
        for _ in range(8):
            with anyio.move_on_after(0.01):
                await far.call()
            seen |= set(processes(far))
        [process] = seen
        assert process.returncode is None
        await far.transport.aclose()
        assert process.returncode is not None, "the end of the transport ends the handshake"
    monkeypatch.setattr(mcp_supervisor, "_START_SECONDS", 0.5)
    async with reaching(child("silent", "hang"), discovery_timeout=0.5) as far:
        failed: list[str] = []

        async def call() -> None:
            with pytest.raises(Unreachable, match="handshake"):
                await far.call()
            failed.append("handshake")

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(call)
        assert len(failed) == 5, "all of them waited for the same handshake"
        [session] = far.transport._sessions.values()
        assert session._backoff.failures == 1
