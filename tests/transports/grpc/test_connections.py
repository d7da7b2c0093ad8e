"""Channels that follow their host's name, and descriptors that follow their server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from grpc import ChannelConnectivity
from tests.upstreams.grpc_changing import BrokenReplies, ChangingService, renamed, renumbered, unchanged
from tests.upstreams.grpc_service import GrpcService

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected, UnknownTool, Unreachable, UtcpError
from utcp_bridge.model import Source, discard
from utcp_bridge.net.guard import Guard
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transports.grpc import connections
from utcp_bridge.transports.grpc.channel import ChannelOptions
from utcp_bridge.transports.grpc.connections import Channels, ReplySizes
from utcp_bridge.transports.grpc.transport import GrpcTransport

pytestmark = pytest.mark.anyio

SOURCE = Source("m", allow_networks=LOOPBACK)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Addresses:
    """The addresses that the name has now."""

    def __init__(self, *hosts: str) -> None:
        self.hosts: list[str] | OSError = list(hosts)
        self.guard = Guard(self)

    async def __call__(self, _host: str, _port: int) -> list[str]:
        if isinstance(self.hosts, OSError):
            raise self.hosts
        return self.hosts


def key(port: int, tmp_path: Any = "") -> connections.Key:
    return "m", ChannelOptions("names.example", port, use_ssl=False, root=tmp_path, max_bytes=1000)


@asynccontextmanager
async def channels(addresses: Addresses, clock: Clock) -> AsyncGenerator[Channels]:
    async with open_services() as services:
        made = Channels(addresses.guard, services.spawn, clock)
        try:
            with anyio.fail_after(60):
                yield made
        finally:
            await made.close()


async def hosts_of(made: Channels, port: int) -> list[str]:
    async with made.lend(key(port), SOURCE) as line:
        return [address.host for address in line.addresses]


async def test_a_name_that_moved_is_followed_after_a_while_even_if_the_old_address_works() -> None:
    addresses, clock = Addresses("127.0.0.1"), Clock()
    async with channels(addresses, clock) as made:
        assert await hosts_of(made, 1) == ["127.0.0.1"]
        addresses.hosts = ["127.0.0.2"]
        clock.now = 29.0
        assert await hosts_of(made, 1) == ["127.0.0.1"]
        clock.now = 30.0
        assert await hosts_of(made, 1) == ["127.0.0.2"]


async def test_a_channel_stays_while_its_addresses_are_among_the_new_ones_or_name_servers_fail() -> None:
    addresses, clock = Addresses("127.0.0.1"), Clock()
    async with channels(addresses, clock) as made:
        async with made.lend(key(1), SOURCE) as first:
            pass
        for hosts in (["127.0.0.2", "127.0.0.1"], OSError("no reply"), ["127.0.0.1"]):
            addresses.hosts = hosts
            clock.now += 30.0
            async with made.lend(key(1), SOURCE) as line:
                assert line is first
        addresses.hosts = OSError("no reply")
        first.broken = True
        with pytest.raises(Unreachable):
            await hosts_of(made, 1)


async def test_a_call_finishes_on_the_channel_that_it_began_with() -> None:
    addresses, clock = Addresses("127.0.0.1"), Clock()
    async with GrpcService() as service, channels(addresses, clock) as made:
        async with made.lend(key(service.port), SOURCE) as old:
            addresses.hosts = ["127.0.0.2"]
            clock.now = 30.0
            assert await hosts_of(made, service.port) == ["127.0.0.2"]
            assert await old.channel.unary_unary("/shop.Orders/Echo")(b"\x0a\x01a") == b"\x0a\x01a"
        assert old.channel.get_state().name == "SHUTDOWN"


async def test_callers_that_come_at_once_share_one_channel() -> None:
    addresses = Addresses("127.0.0.1")
    seen: set[int] = set()
    async with channels(addresses, Clock()) as made, anyio.create_task_group() as group:

        async def use() -> None:
            async with made.lend(key(1), SOURCE) as line:
                seen.add(id(line))

        for _ in range(20):
            group.start_soon(use)
    assert len(seen) == 1


async def test_few_channels_are_kept_those_in_use_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_MAX_CHANNELS", 3)
    async with channels(Addresses("127.0.0.1"), Clock()) as made, made.lend(key(1), SOURCE) as used:
        lines = []
        for port in range(2, 12):
            async with made.lend(key(port), SOURCE) as line:
                lines.append(line)
        assert made.current(key(1)) is used
        assert [made.current(key(port)) is not None for port in range(2, 12)] == [False] * 8 + [True] * 2
        assert lines[0].channel.get_state().name == "SHUTDOWN"


class Changing:
    """A transport and a manual with one tool; `changed` has the manuals that are to be discovered again."""

    def __init__(self, services: Any, port: int) -> None:
        self.transport = GrpcTransport(services)
        self.port = port

    def target(self, method: str = "Echo", **fields: Any) -> Any:
        template = {"host": "127.0.0.1", "port": self.port, "service_name": "shop.Orders", "method_name": method}
        return make_target(self.transport, {"call_template_type": "grpc", **template, **fields}, source=SOURCE)

    async def call(self, method: str = "Echo", arguments: Any = None, **fields: Any) -> Any:
        target = self.target(method, **fields)
        with anyio.fail_after(60):
            return await self.transport.call(target, make_call(arguments or {"text": "a"}), discard)

    async def until_lost(self) -> None:
        """Wait until the channel knows that its server has left: a call before that may fail on the way."""
        line = self.transport._channels.current(self.transport._key(self.target()))
        assert line is not None
        with anyio.fail_after(60):
            await line.channel.wait_for_state_change(ChannelConnectivity.READY)


@asynccontextmanager
async def changing(port: int) -> AsyncGenerator[tuple[Changing, list[str]]]:
    changed: list[str] = []
    async with open_services(changed=changed.append) as services:
        one = Changing(services, port)
        try:
            yield one, changed
        finally:
            await one.transport.aclose()


async def test_a_server_that_comes_back_with_other_fields_is_read_again() -> None:
    async with ChangingService() as first, changing(first.port) as (one, changed):
        assert (await one.call()) == {"text": "a"}
        await first.__aexit__()
        await one.until_lost()
        async with ChangingService(port=first.port, edit=renumbered):
            # The bridge may notice during the call that the connection is another one. The next call is right.
            with suppress(ConnectionLost):
                assert (await one.call()) == {"text": "a"}
            assert (await one.call()) == {"text": "a"}
        assert changed == ["m"]


async def test_a_server_that_comes_back_unchanged_keeps_its_descriptors() -> None:
    async with ChangingService() as first, changing(first.port) as (one, changed):
        await one.call()
        [known] = one.transport._known.values()
        await first.__aexit__()
        await one.until_lost()
        async with ChangingService(port=first.port):
            await one.call()
        assert changed == []
        assert [kept.described for kept in one.transport._known.values()] == [known.described]


async def test_a_method_that_is_gone_is_reported_and_the_manual_is_discovered_again() -> None:
    async with ChangingService() as first, changing(first.port) as (one, changed):
        await one.call()
        await first.__aexit__()
        await one.until_lost()
        async with ChangingService(port=first.port, edit=renamed):
            with pytest.raises(UnknownTool, match=r"has no method shop\.Orders/Echo"):
                await one.call()
            assert await one.call("Repeat") == {"text": "a"}
        assert changed == ["m"]


async def test_a_method_that_is_new_is_found_without_a_new_connection() -> None:
    async with (
        ChangingService(edit=renamed, serves=("Repeat", "Echo")) as service,
        changing(service.port) as (one, changed),
    ):
        await one.call("Repeat")
        service.edit = unchanged
        assert await one.call("Echo") == {"text": "a"}
        assert changed == ["m"]


async def test_a_method_that_is_described_and_not_implemented_is_looked_at_once() -> None:
    async with ChangingService(serves=()) as service, changing(service.port) as (one, changed):
        for _ in range(5):
            with pytest.raises(Rejected, match="UNIMPLEMENTED"):
                await one.call()
        assert service.reflections == 2
        assert changed == []


async def test_a_reflection_that_hangs_holds_up_its_own_manual_only() -> None:
    async with ChangingService(hangs=True) as hanging, ChangingService() as good, open_services() as services:
        transport = GrpcTransport(services)

        async def call(name: str, port: int) -> Any:
            source = Source(name, allow_networks=LOOPBACK)
            template = {"host": "127.0.0.1", "port": port, "service_name": "shop.Orders", "method_name": "Echo"}
            target = make_target(transport, {"call_template_type": "grpc", **template}, source=source)
            return await transport.call(target, make_call({"text": name}), discard)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(call, "hanging", hanging.port)
                await hanging.hung.wait()
                assert await call("good", good.port) == {"text": "good"}
                group.cancel_scope.cancel()
            await hanging.hung_gone.wait()  # the last caller took the reflection along
            assert hanging.reflections == 1
        await transport.aclose()


async def test_a_reflection_goes_on_for_those_that_still_wait() -> None:
    async with ChangingService(hangs=True) as service, changing(service.port) as (one, _):
        values: list[Any] = []

        async def wait() -> None:
            values.append(await one.call())

        async with anyio.create_task_group() as patient:
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(one.call)
                await service.hung.wait()
                patient.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                leaving.cancel_scope.cancel()
            service.go_on.set()
        assert values == [{"text": "a"}]
        assert service.reflections == 1


@pytest.mark.parametrize("form", ["nothing", "cut", "damaged"])
async def test_a_success_without_a_whole_message_is_a_malformed_reply(form: str) -> None:
    async with BrokenReplies(form) as broken, changing(broken.port) as (one, _):
        with pytest.raises(MalformedReply, match="success without a message"):
            await one.call(wire="utcp")


@pytest.mark.parametrize("method", ["Slow", "Count"])
async def test_a_manual_that_is_removed_ends_its_calls_with_an_error(method: str) -> None:
    async with GrpcService() as service, changing(service.port) as (one, _):
        outcomes: list[Any] = []

        async def emit(_value: Any) -> None:
            service.slow_arrived.set()

        async def call() -> None:
            template = {"host": "127.0.0.1", "port": one.port, "service_name": "shop.Orders", "method_name": method}
            target = make_target(one.transport, {"call_template_type": "grpc", **template}, source=SOURCE)
            try:
                result = await one.transport.call(target, make_call({"n": 2, "text": "stall"}), emit)
                outcomes.append(result.failure)
            except UtcpError as error:
                outcomes.append(error)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await service.slow_arrived.wait()
                await one.transport.forget("m")
        assert [type(one) for one in outcomes] == [ConnectionLost]
        assert await one.call() == {"text": "a"}


async def test_a_manual_that_is_removed_ends_its_reflection_with_an_error() -> None:
    async with ChangingService(hangs=True) as service, changing(service.port) as (one, _):
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:

                async def call() -> None:
                    with pytest.raises(ConnectionLost, match="closed the connection"):
                        await one.call()

                for _ in range(2):
                    group.start_soon(call)
                await service.hung.wait()
                await one.transport.forget("m")
        service.go_on.set()
        assert await one.call() == {"text": "a"}


async def test_the_first_reply_of_a_method_shows_its_size_to_calls_at_the_same_time() -> None:
    replies, sizes = ReplySizes(), []

    async def other() -> None:
        async with replies.expected() as size:
            sizes.append(size)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group, replies.expected() as size:
            group.start_soon(other)
            await anyio.wait_all_tasks_blocked()
            assert (size, sizes) == (0, [])
            replies.note(5_000_000)
        assert sizes == [5_000_000]
        replies.note(10)
        async with replies.expected() as size:
            assert size == 2_500_000


async def test_calls_do_not_wait_long_for_the_first_reply_of_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_PATIENCE_SECONDS", 0.0)
    replies = ReplySizes()
    with anyio.fail_after(60):
        async with replies.expected(), replies.expected() as size:
            assert (size, replies.largest) == (0, 0)
    failed = ReplySizes()
    with suppress(Unreachable):
        async with failed.expected():
            raise Unreachable("x")
    async with failed.expected() as size:
        assert (size, failed.largest) == (0, None)
