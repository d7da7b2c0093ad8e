from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
from tests.upstreams.grpc_service import GrpcService

from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    PolicyError,
    Rejected,
    ReplyTooLarge,
    Unreachable,
    UtcpError,
)
from utcp_bridge.model import Source, Trust
from utcp_bridge.net.guard import Guard
from utcp_bridge.testing.services import LOOPBACK
from utcp_bridge.transports.grpc.channel import ChannelOptions, open_channel, translate

pytestmark = pytest.mark.anyio


def status(code: str, text: str = "", *metadata: tuple[str, bytes]) -> Any:
    none = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode[code], none, grpc.aio.Metadata(*metadata), text)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses", Unreachable),
        ("UNAVAILABLE", "Socket closed", ConnectionLost),
        ("UNAVAILABLE", "Ssl handshake failed: Connection reset", Unreachable),
        ("INTERNAL", "RST_STREAM: connection reset", ConnectionLost),
        ("DEADLINE_EXCEEDED", "", DeadlineExceeded),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 1)", ReplyTooLarge),
        ("RESOURCE_EXHAUSTED", "quota", Rejected),
        ("NOT_FOUND", "no", Rejected),
    ],
)
def test_a_status_becomes_the_error_of_whoever_is_at_fault(code: str, text: str, expected: type[UtcpError]) -> None:
    error = translate(status(code, text), "host:1")
    assert type(error) is expected
    assert "host:1" in str(error)


def test_details_that_cannot_be_read_are_left_out() -> None:
    error = translate(status("NOT_FOUND", "no", ("grpc-status-details-bin", b"\xff\xff")), "host:1")
    assert isinstance(error, Rejected)
    assert error.detail == {"code": "NOT_FOUND", "message": "no"}


def options(port: int, **fields: Any) -> ChannelOptions:
    given: dict[str, Any] = {"host": "127.0.0.1", "use_ssl": False, "root": Path(), "max_bytes": 1000, **fields}
    return ChannelOptions(port=port, **given)


async def test_a_channel_goes_to_the_address_that_the_gate_checked() -> None:
    async def resolver(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async with GrpcService() as service:
        source = Source(name="peer", allow_networks=LOOPBACK)
        named = options(service.port, host="orders.example.com")
        channel = await open_channel(named, Guard(resolver=resolver), source)
        try:
            with anyio.fail_after(5):
                assert await channel.unary_unary("/shop.Orders/Echo")(b"\x0a\x01a") == b"\x0a\x01a"
        finally:
            await channel.close()


async def test_the_gate_refuses_an_address_that_is_not_public() -> None:
    source = Source(name="peer", trust=Trust.REMOTE, origin="grpc://orders.example.com:1")
    with pytest.raises(PolicyError, match="loopback"):
        await open_channel(options(1), Guard(), source)


async def test_a_certificate_that_cannot_be_read_is_named() -> None:
    source = Source(name="peer", allow_networks=LOOPBACK)
    with pytest.raises(ConfigError, match=r"nothing\.pem"):
        await open_channel(options(1, use_ssl=True, ca_cert="nothing.pem"), Guard(), source)


def test_ipv6_addresses_stand_in_brackets() -> None:
    assert options(7, host="::1").address == "[::1]:7"
