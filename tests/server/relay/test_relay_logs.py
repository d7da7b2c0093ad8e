"""Log lines of MCP servers reach the host whose request is in flight, at its level, and no other host."""

from __future__ import annotations

from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client import Client
from tests.support.relayed import ERAS, bridge, bridge_url, host, program, relayed

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the handshake era is tested
]


class Lines:
    """What a client received."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.arrived = anyio.Event()

    async def __call__(self, params: types.LoggingMessageNotificationParams) -> None:
        self.texts.append(f"{params.level} {params.logger}: {params.data}")
        self.arrived.set()
        self.arrived = anyio.Event()

    async def until(self, count: int) -> None:
        while len(self.texts) < count:
            await self.arrived.wait()


async def say(client: Client, name: str, who: str, level: str | None = None) -> None:
    meta: Any = None if level is None else {"io.modelcontextprotocol/logLevel": level}
    await client.call_tool(name, {"uri": who}, meta=meta)


@pytest.mark.parametrize("upstream_era", ERAS)
@pytest.mark.parametrize("host_era", ERAS)
async def test_lines_of_a_call_reach_its_host_at_its_level(host_era: str, upstream_era: str) -> None:
    lines = Lines()
    with anyio.fail_after(60):
        async with (
            relayed(upstream_era, "shop") as (server, _),
            host(server, host_era, logging_callback=lines) as client,
        ):
            level = "debug" if host_era != "legacy" else None
            if host_era == "legacy":
                await client.set_logging_level("debug")
            await say(client, "shop_say", "Ada", level)
            await lines.until(3)
            assert lines.texts == [f"{one} notes: {one} for Ada" for one in ("debug", "info", "error")]
            if host_era == "legacy":
                await client.set_logging_level("error")
                await say(client, "shop_say", "Bob")
                await lines.until(4)
            else:
                await say(client, "shop_say", "Bob", "error")
                await say(client, "shop_say", "Cy")
                await lines.until(4)
            assert lines.texts[3:] == ["error notes: error for Bob"]


@pytest.mark.parametrize("upstream_era", ERAS)
async def test_lines_of_a_reading_reach_its_host(upstream_era: str) -> None:
    lines = Lines()
    with anyio.fail_after(60):
        async with (
            relayed(upstream_era, "shop") as (server, _),
            host(server, "legacy", logging_callback=lines) as client,
        ):
            await client.read_resource("memo://loud")
            await lines.until(1)
            assert lines.texts == ["error notes: reading aloud"]


@pytest.mark.parametrize("upstream_era", ERAS)
async def test_lines_of_a_completion_reach_its_host(upstream_era: str) -> None:
    lines = Lines()
    with anyio.fail_after(60):
        async with (
            relayed(upstream_era, "shop") as (server, _),
            host(server, "legacy", logging_callback=lines) as client,
        ):
            ref = types.PromptReference(type="ref/prompt", name="greet")
            await client.complete(ref, {"name": "who", "value": "A"})
            await lines.until(1)
            assert lines.texts == ["error notes: completing"]


@pytest.mark.parametrize("upstream_era", ERAS)
@pytest.mark.parametrize("host_era", ERAS)
async def test_progress_of_prompts_and_resources_reaches_its_host(host_era: str, upstream_era: str) -> None:
    told: list[tuple[float, float | None, str | None]] = []
    arrived = anyio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))
        if len(told) == 2:
            arrived.set()

    with anyio.fail_after(60):
        async with (
            relayed(upstream_era, "shop") as (server, _),
            bridge_url(server) as url,
            host(url, host_era) as client,
        ):
            read = types.ReadResourceRequest(params=types.ReadResourceRequestParams(uri="memo://guide"))
            await client.session.send_request(read, types.ReadResourceResult, progress_callback=hear)
            given = types.GetPromptRequestParams(name="greet", arguments={"who": "Ada"})
            get = types.GetPromptRequest(params=given)
            await client.session.send_request(get, types.GetPromptResult, progress_callback=hear)
            await arrived.wait()
            assert told == [(1, 2, "reading memo://guide"), (1, 2, "filling in greet")]


@pytest.mark.parametrize("upstream_era", ERAS)
@pytest.mark.parametrize("over", ["http", "stdio"])
async def test_calls_of_two_hosts_at_a_time_never_mix_their_lines(upstream_era: str, over: str) -> None:
    one, two = Lines(), Lines()
    with anyio.fail_after(120):
        async with relayed(upstream_era, "shop") as (served, _), bridge({"shop": program("shop", upstream_era)}) as own:
            server = served if over == "http" else own
            async with (
                bridge_url(server) as url,
                host(url, "legacy", logging_callback=one) as first,
                host(url, "legacy", logging_callback=two) as second,
            ):
                for _ in range(5):
                    async with anyio.create_task_group() as group:
                        group.start_soon(say, first, "shop_say", "Ada")
                        group.start_soon(say, second, "shop_say", "Bob")
                await say(first, "shop_say", "Ada")
                await say(second, "shop_say", "Bob")
                await one.until(2)
                await two.until(2)
                assert {line.rpartition(" ")[2] for line in one.texts} == {"Ada"}
                assert {line.rpartition(" ")[2] for line in two.texts} == {"Bob"}


async def test_upstreams_get_the_lowest_level_that_a_host_wants() -> None:
    with anyio.fail_after(60):
        async with (
            relayed("legacy", "shop") as (server, [shop]),
            host(server, "legacy") as client,
            host(server, "legacy") as other,
        ):
            await client.set_logging_level("warning")
            await other.set_logging_level("error")
            await other.set_logging_level("debug")
            assert shop.levels == ["warning", "debug"]
            await client.set_logging_level("error")
            assert shop.levels == ["warning", "debug"]
            assert server.logs.lowest == "debug"


async def test_a_line_outside_of_calls_reaches_the_only_client_and_nobody_if_there_are_two() -> None:
    one, two = Lines(), Lines()
    with anyio.fail_after(60):
        async with relayed("legacy", "shop") as (server, _):
            [shop] = server.client.upstreams()

            def later(text: str) -> None:
                server.client._heard(shop, "notifications/message", {"level": "error", "data": text})

            async with host(server, "legacy", logging_callback=one) as first:
                await first.call_tool("shop_meta", {})
                later("alone")
                await one.until(1)
                async with host(server, "legacy", logging_callback=two) as second:
                    await second.call_tool("shop_meta", {})
                    later("for nobody")
                    await second.read_resource("memo://loud")
                    await two.until(1)
            assert one.texts == ["error None: alone"]
            assert two.texts == ["error notes: reading aloud"]
