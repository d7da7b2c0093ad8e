"""Upstreams that do not answer, through a client with real services: who is left alone, and who is not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio.lowlevel
import pytest
from aiohttp import web
from tests.interop.serving import free_port

from utcp_bridge import UtcpClient
from utcp_bridge.errors import CircuitOpen, Rejected, UtcpError
from utcp_bridge.model import JsonObject

pytestmark = pytest.mark.anyio
FAST = {"breaker_failures": 5, "breaker_pause": 600, "breaker_max_pause": 600}
"""A pause that no test waits for."""


class Service:
    """An HTTP service that can be away, hang, or refuse."""

    def __init__(self) -> None:
        self.port = 0
        self.requests = 0
        self.respond: Callable[[], web.Response] = lambda: web.json_response({"ok": True})
        self.hangs = False
        self._end = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, _request: web.Request) -> web.Response:
        self.requests += 1
        if self.hangs:
            await self._end.wait()
        return self.respond()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    running = Service()
    await running.start()
    yield running
    await running.stop()


def tool(name: str, template: JsonObject, **properties: JsonObject) -> JsonObject:
    inputs = {"type": "object", "properties": properties}
    return {"name": name, "inputs": inputs, "tool_call_template": template}


def http(url: str, method: str = "POST") -> JsonObject:
    return {"call_template_type": "http", "url": url, "http_method": method}


@asynccontextmanager
async def opened(
    *tools: JsonObject, settings: JsonObject = FAST, second: list[JsonObject] | None = None, **options: Any
) -> AsyncIterator[UtcpClient]:
    """Yield a client with one manual `m` of these tools, and a manual `n` of the `second` ones."""

    def manual(name: str, tools: list[JsonObject]) -> JsonObject:
        content = {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": tools}
        kinds = ["http", "tcp", "cli"]
        entry = {"name": name, "call_template_type": "text", "content": content}
        return {**entry, "allowed_communication_protocols": kinds, **options}

    manuals = [manual("m", list(tools)), *([manual("n", second)] if second else [])]
    async with await UtcpClient.create({"manual_call_templates": manuals, "bridge": settings}) as client:
        yield client


async def errors(client: UtcpClient, name: str, times: int, **arguments: Any) -> list[str]:
    """Make calls one after another, and return their outcomes."""
    found: list[str] = []
    for _ in range(times):
        try:
            await client.call_tool(name, arguments)
            found.append("ok")
        except UtcpError as error:
            found.append(error.code)
    return found


async def test_a_service_that_is_away_is_left_alone_after_five_calls_and_other_origins_are_not(
    service: Service,
) -> None:
    dead, alive = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{service.port}"
    own = [tool("dead", http(f"{dead}/a")), tool("other", http(f"{dead}/b")), tool("alive", http(f"{alive}/a"))]
    async with opened(*own, second=[tool("dead", http(f"{dead}/a"))]) as client:
        assert await errors(client, "m.dead", 7) == ["unreachable"] * 5 + ["circuit_open"] * 2
        with pytest.raises(CircuitOpen, match=rf"the last 5 calls to {dead} failed.* Try again in \d+ s\."):
            await client.call_tool("m.other")
        assert await errors(client, "m.alive", 1) == ["ok"]
        assert await errors(client, "n.dead", 1) == ["unreachable"], "another manual finds out by itself"
        [outage] = client.outages()
        assert (outage.manual, outage.peer, outage.failures) == ("m", dead, 5)
        await client.deregister_manual("m")
        assert client.outages() == []


async def test_a_service_that_hangs_costs_five_deadlines(service: Service) -> None:
    service.hangs = True
    async with opened(tool("t", http(f"http://127.0.0.1:{service.port}/t")), call_timeout=0.3) as client:
        assert await errors(client, "m.t", 8) == ["deadline_exceeded"] * 5 + ["circuit_open"] * 3
    assert service.requests <= 5


async def test_the_next_call_after_the_pause_works_again_when_the_service_is_back() -> None:
    service = Service()
    service.port = free_port()
    settings = {"breaker_failures": 2, "breaker_pause": 0.01, "breaker_max_pause": 0.02}
    async with opened(tool("t", http(f"http://127.0.0.1:{service.port}/t")), settings=settings) as client:
        await errors(client, "m.t", 6)
        assert client.outages()
        await service.start()
        while (await errors(client, "m.t", 1)) != ["ok"]:
            await anyio.lowlevel.checkpoint()
        assert client.outages() == []
        await service.stop()


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_a_service_that_refuses_is_not_left_alone(service: Service, status: int) -> None:
    service.respond = lambda: web.Response(status=status)
    async with opened(tool("t", http(f"http://127.0.0.1:{service.port}/t"))) as client:
        assert await errors(client, "m.t", 12) == ["rejected"] * 12
    assert service.requests == 12


async def test_an_address_that_arguments_choose_has_no_breaker() -> None:
    port = free_port()
    chosen = tool("t", http("http://127.0.0.1:{port}/t"), port={"type": "integer"})
    async with opened(chosen) as client:
        outcomes = await errors(client, "m.t", 9, port=port)
    assert "circuit_open" not in outcomes


async def test_connections_and_commands_have_breakers_too() -> None:
    port = free_port()
    socket_tool = tool("t", {"call_template_type": "tcp", "host": "127.0.0.1", "port": port})
    command = {"call_template_type": "cli", "commands": [{"command": f"{sys.executable} -c 'while True: pass'"}]}
    quick = {"call_template_type": "cli", "commands": [{"command": "echo fine"}]}
    async with opened(
        socket_tool, tool("slow", command), tool("quick", quick), call_timeout=30, settings=FAST
    ) as client:
        assert await errors(client, "m.t", 6) == ["unreachable"] * 5 + ["circuit_open"]
        assert await errors(client, "m.quick", 1) == ["ok"], "each command fails by itself"
    async with opened(tool("slow", command), tool("quick", quick), call_timeout=0.2) as client:
        assert (await errors(client, "m.slow", 6))[-1] == "circuit_open"
        with pytest.raises(CircuitOpen, match=r"the last 5 calls to slow failed"):
            await client.call_tool("m.slow")
        outages = [outage.peer for outage in client.outages()]
        assert outages == ["slow"]


@pytest.mark.parametrize(("settings", "options"), [({"breaker_failures": 0}, {}), (FAST, {"breaker_failures": 0})])
async def test_a_breaker_can_be_turned_off(settings: JsonObject, options: JsonObject) -> None:
    away = tool("t", http(f"http://127.0.0.1:{free_port()}/t"))
    async with opened(away, settings=settings, **options) as client:
        assert await errors(client, "m.t", 9) == ["unreachable"] * 9


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_service_that_is_overloaded_gets_a_fifth_more_requests_than_calls(
    service: Service, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utcp_bridge.pipeline.retry._MAX_PAUSE", 0.001)
    service.respond = lambda: web.Response(status=503)
    async with opened(tool("t", http(f"http://127.0.0.1:{service.port}/t", "GET"))) as client:

        async def call() -> None:
            with pytest.raises(Rejected):
                await client.call_tool("m.t")

        if at_once:
            await asyncio.gather(*(call() for _ in range(200)))
        else:
            for _ in range(200):
                await call()
    assert 200 < service.requests < 300, "a fifth and the reserve of 6, which comes back within ten seconds"
