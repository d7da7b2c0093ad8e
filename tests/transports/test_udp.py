"""The shared suite against a real UDP server, and the behaviour of datagrams."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.upstreams.socket_service import UdpService

from utcp_bridge.errors import ConnectionLost, InvalidArguments
from utcp_bridge.model import Binary, JsonObject, Result, discard
from utcp_bridge.net import collecting
from utcp_bridge.net.collecting import Collecting
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.contract import Case, Peer
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transports import udp
from utcp_bridge.transports.udp import UdpTransport

pytestmark = pytest.mark.anyio


class UdpPeer(Peer):
    transport = UdpTransport
    impossible = {  # noqa: RUF012
        "auth": "UTCP gives udp no credentials",
        "reset": "datagrams have no connection",
        "oversized": "a datagram is never larger than the limit",
    }

    def __init__(self) -> None:
        self.service = UdpService()

    async def start(self) -> None:
        await self.service.__aenter__()

    async def stop(self) -> None:
        await self.service.__aexit__()

    def template(self, **fields: Any) -> JsonObject:
        return {"call_template_type": "udp", "host": "127.0.0.1", "port": self.service.port, **fields}

    def manual(self, dialect: str) -> JsonObject:
        template = self.template()
        if dialect == "v0":
            template["provider_type"] = template.pop("call_template_type")
        return template

    def echo(self, text: str) -> Case:
        return Case(self.template(), {"text": text})

    def slow(self) -> Case:
        return Case(self.template(), {"slow": True})

    async def arrived(self) -> None:
        await self.service.slow_arrived.wait()

    async def gone(self) -> None:
        """Do nothing: a UDP peer cannot see that the call has ended."""

    def fault(self, name: str) -> Case:
        if name == "refused":
            return Case(self.template(port=self.service.refusing))
        return Case(self.template(response_format="json"), {"malformed": True})

    def with_secret(self, case: Case, secret: str) -> Case:
        return Case({**case.template, "request_data_template": secret}, case.arguments, case.error)


PEER = UdpPeer


async def _call(
    service: UdpService, arguments: JsonObject, settings: BridgeSettings | None = None, **fields: Any
) -> Result:
    template = {"call_template_type": "udp", "host": "127.0.0.1", "port": service.port, **fields}
    async with open_services(settings=settings) as services:
        transport = UdpTransport(services)
        with anyio.fail_after(60):
            return await transport.call(make_target(transport, template), make_call(arguments), discard)


async def test_several_datagrams_are_joined_in_order() -> None:
    async with UdpService() as service:
        result = await _call(service, {"datagrams": 3}, number_of_response_datagrams=3, response_format="text")
        assert result == Result('{"datagrams":3} again again')


async def test_missing_datagrams_are_reported() -> None:
    async with UdpService() as service:
        result = await _call(service, {"x": 1}, number_of_response_datagrams=3)
        assert result == Result({"x": 1}, truncated="2 of 3 reply datagrams did not arrive")


async def test_what_came_before_the_deadline_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_FURTHER_SECONDS", 600.0)
    monkeypatch.setattr(udp, "_MARGIN", 60.0)
    async with UdpService() as service:
        result = await _call(service, {"x": 1}, number_of_response_datagrams=3)
        assert result == Result({"x": 1}, truncated="2 of 3 reply datagrams did not arrive")


async def test_large_replies_of_one_manual_wait_for_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "LARGE", 10)
    monkeypatch.setattr(udp, "_FURTHER_SECONDS", 60.0)
    results: list[Result] = []
    async with UdpService() as service:

        async def call() -> None:
            options = {"number_of_response_datagrams": 3, "response_format": "text"}
            results.append(await _call(service, {"datagrams": 3}, **options))

        async with anyio.create_task_group() as group:
            with Collecting("peer") as other:
                await other.grow(11)
                group.start_soon(call)
                while not service.received:  # noqa: ASYNC110 - the datagram crosses the loopback
                    await anyio.sleep(0.01)
                await anyio.wait_all_tasks_blocked()
                assert results == []
        assert results == [Result('{"datagrams":3} again again')]


async def test_the_replies_together_have_a_limit() -> None:
    async with UdpService() as service, open_services(settings=BridgeSettings(max_reply_bytes=25)) as services:
        template = {"host": "127.0.0.1", "port": service.port, "number_of_response_datagrams": 9}
        transport = UdpTransport(services)
        target = make_target(transport, {**template, "response_format": "text"})
        with anyio.fail_after(60):
            result = await transport.call(target, make_call({"datagrams": 9}), discard)
    assert result == Result('{"datagrams":9} again again', truncated="the reply was cut at 25 bytes")


async def test_fire_and_forget_returns_at_once() -> None:
    async with UdpService() as service:
        assert await _call(service, {"slow": True}, number_of_response_datagrams=0) == Result("")
        with anyio.fail_after(60):
            await service.slow_arrived.wait()


async def test_datagrams_from_other_senders_are_dropped() -> None:
    async with UdpService() as service:
        assert (await _call(service, {"foreign": True})).value == {"foreign": True}


async def test_the_largest_datagram_passes_and_a_larger_one_is_refused() -> None:
    async with UdpService() as service:
        text = "x" * (65_507 - len('{"t": ""}'))
        words = {"request_data_format": "text", "request_data_template": "UTCP_ARG_t_UTCP_ARG"}
        assert len((await _call(service, {"t": text}, **words)).value) == len(text) + len("echo ")
        with pytest.raises(InvalidArguments, match="65507"):
            await _call(service, {"t": text + "x" * 20}, **words)


async def test_bytes_stay_bytes() -> None:
    async with UdpService() as service:
        result = await _call(service, {"datagrams": 2}, number_of_response_datagrams=2, response_byte_format=None)
        assert result.value == Binary(b'{"datagrams":2} again')


async def test_discovery_at_a_silent_server_ends() -> None:
    async with UdpService() as service, open_services(settings=BridgeSettings(idle_timeout=0.05)) as services:
        transport = UdpTransport(services)
        template = {"host": "127.0.0.1", "port": service.port, "wire": "tool"}
        silent = make_target(transport, {**template, "wire": "plain"})
        service.datagram_received = lambda *_args: None  # type: ignore[method-assign]
        with pytest.raises(ConnectionLost, match="nothing"), anyio.fail_after(60):
            await transport.discover(silent)


def test_the_endpoint_is_host_and_port() -> None:
    assert UdpTransport.endpoint(make_target(UdpTransport, {"host": "h", "port": 7}).template) == "udp://h:7"
