"""Updates of resources reach the hosts that subscribed, and no other; each upstream is asked once."""

from __future__ import annotations

from typing import Any

import anyio
import mcp_types as types
import pytest
from tests.support.relayed import ERAS, bridge, bridge_url, host, program, relayed

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the handshake era is tested
]
URI = "memo://guide"


class Heard:
    """What a client of the handshake era was notified of."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.arrived = anyio.Event()

    async def __call__(self, message: Any) -> None:
        uri = getattr(getattr(message, "params", None), "uri", "")
        self.names.append(f"{type(message).__name__} {uri}".strip())
        self.arrived.set()
        self.arrived = anyio.Event()

    async def until(self, name: str) -> None:
        while name not in self.names:
            await self.arrived.wait()


UPDATED = f"ResourceUpdatedNotification {URI}"


@pytest.mark.parametrize("upstream_era", ERAS)
async def test_a_session_hears_of_what_it_subscribed_to_and_another_session_does_not(upstream_era: str) -> None:
    mine, other = Heard(), Heard()
    with anyio.fail_after(60):
        async with (
            relayed(upstream_era, "shop") as (server, [shop]),
            bridge_url(server) as url,
            host(url, "legacy", message_handler=mine) as client,
            host(url, "legacy", message_handler=other) as stranger,
        ):
            await stranger.subscribe_resource("shop://own")
            await client.subscribe_resource(URI)
            await client.subscribe_resource(URI)
            assert shop.subscribed.count(URI) == 1
            await shop.touch(URI)
            await mine.until(UPDATED)
            await shop.touch("shop://own")
            await other.until("ResourceUpdatedNotification shop://own")
            assert UPDATED not in other.names
            assert "ResourceUpdatedNotification shop://own" not in mine.names
            await client.unsubscribe_resource(URI)
            mine.names.clear()
            await shop.touch(URI)
            await shop.touch("shop://own")
            await other.until("ResourceUpdatedNotification shop://own")
            assert UPDATED not in mine.names


@pytest.mark.parametrize("upstream_era", ERAS)
async def test_two_hosts_share_one_subscription_and_the_end_of_both_ends_it(upstream_era: str) -> None:
    one, two = Heard(), Heard()
    with anyio.fail_after(60):
        async with relayed(upstream_era, "shop") as (server, [shop]):
            async with host(server, "legacy", message_handler=one) as first:
                await first.subscribe_resource(URI)
                async with host(server, "legacy", message_handler=two) as second:
                    await second.subscribe_resource(URI)
                    await shop.touch(URI)
                    await one.until(UPDATED)
                    await two.until(UPDATED)
                await shop.touch(URI)
                assert shop.unsubscribed.count(URI) == 0
            assert not server.relay.subscriptions._held
            assert shop.subscribed.count(URI) == 1


@pytest.mark.parametrize("upstream_era", ERAS)
async def test_a_listen_stream_hears_of_its_resources(upstream_era: str) -> None:
    with anyio.fail_after(60):
        async with (
            relayed(upstream_era, "shop") as (server, [shop]),
            host(server, "2026-07-28") as client,
            client.listen(resource_subscriptions=[URI]) as events,
            client.listen(resource_subscriptions=["shop://own"]) as others,
        ):
            assert {URI, "shop://own"} <= set(shop.subscribed)
            await shop.touch(URI)
            await shop.touch("shop://own")
            assert (await anext(events)).uri == URI  # type: ignore[union-attr]
            assert (await anext(others)).uri == "shop://own"  # type: ignore[union-attr]


@pytest.mark.parametrize("upstream_era", ERAS)
async def test_an_update_has_the_uri_that_the_host_knows(upstream_era: str) -> None:
    heard = Heard()
    wrapped = f"utcp-bridge://store/{URI}"
    with anyio.fail_after(60):
        async with (
            relayed(upstream_era, "shop", "store") as (server, [shop, store]),
            host(server, "legacy", message_handler=heard) as client,
        ):
            await client.subscribe_resource(wrapped)
            assert (shop.subscribed, store.subscribed) == ([], [URI])
            await store.touch(URI)
            await heard.until(f"ResourceUpdatedNotification {wrapped}")


@pytest.mark.parametrize("host_era", ERAS)
@pytest.mark.parametrize("upstream_era", ERAS)
async def test_changed_lists_are_read_again_and_announced(host_era: str, upstream_era: str) -> None:
    heard = Heard()
    with anyio.fail_after(60):
        async with (
            relayed(upstream_era, "shop") as (server, [shop]),
            host(server, host_era, message_handler=heard) as client,
        ):
            await client.list_resources()
            await client.list_prompts()
            if host_era == "legacy":
                await shop.grow("new")
                await heard.until("ResourceListChangedNotification")
                await heard.until("PromptListChangedNotification")
            else:
                async with client.listen(resources_list_changed=True, prompts_list_changed=True) as events:
                    await shop.grow("new")
                    names = {type(await anext(events)).__name__ for _ in range(2)}
                    assert names == {"ResourcesListChanged", "PromptsListChanged"}
            assert "memo://new" in [one.uri for one in (await client.list_resources()).resources]
            assert "new" in [one.name for one in (await client.list_prompts()).prompts]


async def test_a_child_process_that_starts_again_has_the_subscriptions_of_before() -> None:
    heard = Heard()
    with anyio.fail_after(60):
        async with (
            bridge({"shop": program("shop", "legacy")}) as server,
            host(server, "legacy", message_handler=heard) as client,
        ):
            await client.subscribe_resource(URI)
            await client.call_tool("shop_touch", {"uri": URI})
            await heard.until(UPDATED)
            heard.names.clear()
            assert (await client.call_tool("shop_die", {})).is_error
            await client.read_resource(URI)
            while UPDATED not in heard.names:
                await client.call_tool("shop_touch", {"uri": URI})
                with anyio.move_on_after(0.2):
                    await heard.until(UPDATED)


@pytest.mark.parametrize("host_era", ERAS)
async def test_a_resource_without_an_upstream_can_be_subscribed_to(host_era: str) -> None:
    with anyio.fail_after(60):
        async with bridge({}) as server, host(server, host_era) as client:
            if host_era == "legacy":
                assert isinstance(await client.subscribe_resource("memo://nobody"), types.EmptyResult)
            else:
                async with client.listen(resource_subscriptions=["memo://nobody"]) as events:
                    assert events.honored.resource_subscriptions == ["memo://nobody"]


async def test_a_flood_of_one_upstream_keeps_no_update_of_another_away() -> None:
    heard = Heard()
    with anyio.fail_after(60):
        async with (
            relayed("legacy", "shop", "store") as (server, _),
            host(server, "legacy", message_handler=heard) as client,
        ):
            await client.subscribe_resource("store://own")
            shop, store = sorted(server.client.upstreams(), key=lambda one: one.name)
            for number in range(5_000):
                for method in ("message", "resources/list_changed", "prompts/list_changed"):
                    said = {"level": "info", "data": number} if method == "message" else {}
                    shop._services.heard(shop, f"notifications/{method}", said)  # type: ignore[attr-defined]
            store._services.heard(  # type: ignore[attr-defined]
                store, "notifications/resources/updated", {"uri": "store://own"}
            )
            await heard.until("ResourceUpdatedNotification store://own")
