"""Every kind of transport tries every address of a name, and looks the name up again when the service has moved."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from tests.support.one_address import ARGUMENTS, NAME, has_ipv6, servers

from utcp_bridge.errors import PolicyError, Unreachable
from utcp_bridge.model import Result, Source, discard
from utcp_bridge.net.gate.names import Found, Names
from utcp_bridge.net.guard import Address, Guard
from utcp_bridge.testing.services import LOOPBACK, make_call, make_target, open_services
from utcp_bridge.transport import Services
from utcp_bridge.transports.registry import TransportRegistry

pytestmark = pytest.mark.anyio

KINDS = ("http", "websocket", "tcp", "udp", "grpc")
NOBODY = "127.0.0.9"
"""An address of this machine where no server listens."""


class Script:
    """Name servers with one answer after the other, the last one for ever, and a clock that the test moves."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.now = 0.0
        self.guard = Guard()
        self.guard._names = Names(self, lambda: self.now)

    async def __call__(self, _host: str, _port: int, _owner: str) -> Found:
        self.asked += 1
        return Found(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], 30.0)


async def say_hello(services: Services, kind: str, template: dict[str, Any], transport: Any = None) -> Any:
    one = transport or TransportRegistry().find(kind)(services)
    source = Source("m", allow_networks=LOOPBACK)
    try:
        with anyio.fail_after(60):
            value = await one.call(
                make_target(one, {"call_template_type": kind, **template}, source=source),
                make_call(ARGUMENTS, source=source),
                discard,
            )
    finally:
        if transport is None:
            await one.aclose()
    found = value.value if isinstance(value, Result) else value
    return found.get("text") if isinstance(found, dict) else found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("listens", "addresses"),
    [
        ("127.0.0.1", ["::1", "127.0.0.1"]),
        ("::1", ["127.0.0.1", "::1"]),
        ("127.0.0.1", [NOBODY, "127.0.0.1"]),
        ("127.0.0.1", ["::1", NOBODY, "127.0.0.8", "127.0.0.1"]),
        ("127.0.0.1", ["127.0.0.1", NOBODY]),
    ],
)
async def test_each_address_is_tried(kind: str, listens: str, addresses: list[str]) -> None:
    if "::1" in addresses and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with servers(listens) as templates, open_services(guard=Script(addresses).guard) as services:
        assert await say_hello(services, kind, templates[kind]) == "hello"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_service_that_moved_is_followed_by_the_same_call(kind: str) -> None:
    script = Script([NOBODY], ["127.0.0.1"])
    async with servers("127.0.0.1") as templates, open_services(guard=script.guard) as services:
        await script.guard.resolve(NAME, 1, Source("m", allow_networks=LOOPBACK))
        script.now = 2.0
        assert await say_hello(services, kind, templates[kind]) == "hello"
        assert script.asked == 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_move_to_a_forbidden_address_is_not_followed(kind: str) -> None:
    script = Script([NOBODY], ["10.0.0.1"])
    async with servers("127.0.0.1") as templates, open_services(guard=script.guard) as services:
        await script.guard.resolve(NAME, 1, Source("m", allow_networks=LOOPBACK))
        script.now = 2.0
        with pytest.raises(PolicyError, match="private address"):
            await say_hello(services, kind, templates[kind])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_service_that_nobody_reaches_costs_few_look_ups(kind: str) -> None:
    script = Script([NOBODY])
    async with servers("127.0.0.1") as templates, open_services(guard=script.guard) as services:
        transport = TransportRegistry().find(kind)(services)
        try:
            for _ in range(5):
                with pytest.raises(Unreachable):
                    await say_hello(services, kind, templates[kind], transport)
        finally:
            await transport.aclose()
    assert script.asked == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse what a full backlog cannot take")
@pytest.mark.parametrize("kind", ["http", "websocket", "tcp", "grpc"])
async def test_an_address_that_swallows_connections_gives_way_to_the_next_one(kind: str) -> None:
    async with servers("127.0.0.1") as templates, open_services(guard=Script([NOBODY, "127.0.0.1"]).guard) as services:
        template = templates[kind]
        port = template.get("port") or urlsplit(template["url"]).port
        with ExitStack() as sockets:
            full = sockets.enter_context(socket.socket())
            full.bind((NOBODY, port))
            full.listen(0)
            for _ in range(3):  # after these, the system drops what comes
                one = sockets.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex((NOBODY, port))
            assert await say_hello(services, kind, template) == "hello"


async def test_after_a_silent_address_the_next_datagram_goes_to_another_one() -> None:
    script = Script([NOBODY, "127.0.0.1"])
    async with servers("127.0.0.1") as templates, open_services(guard=script.guard) as services:
        template, arrived = templates["udp"], anyio.Event()
        transport = TransportRegistry().find("udp")(services)

        class Silent(asyncio.DatagramProtocol):
            def datagram_received(self, _data: bytes, _addr: object) -> None:
                arrived.set()

        loop = asyncio.get_running_loop()
        silent, _ = await loop.create_datagram_endpoint(Silent, local_addr=(NOBODY, template["port"]))
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(say_hello, services, "udp", template, transport)
                await arrived.wait()
                script.now = 2.0
                group.cancel_scope.cancel()
            assert await say_hello(services, "udp", template, transport) == "hello"
            assert script.asked == 2  # the name was looked up again
        finally:
            silent.close()


async def test_an_address_that_is_silent_gives_way_to_the_next_one() -> None:
    silent, later = anyio.Event(), anyio.Event()

    async def connect(address: Address) -> Any:
        if address.host == "192.0.2.1":
            silent.set()
            await later.wait()
        return address.host

    async def names(_host: str, _port: int) -> list[str]:
        return ["192.0.2.1", "192.0.2.2"]

    source = Source("m", allow_networks=("192.0.2.0/24",))
    with anyio.fail_after(60):
        assert str(await Guard(names, connect).connect_tcp("a.example", 80, source)) == "192.0.2.2"
    assert silent.is_set()
