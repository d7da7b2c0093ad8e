from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from tests.upstreams.grpc_service import GrpcService

from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    Rejected,
    ReplyTooLarge,
    Unreachable,
    UtcpError,
)
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.testing.services import LOOPBACK
from utcp_bridge.transports.grpc.channel import ChannelOptions, decode_details, open_channel, retry_after, translate

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
def test_each_status_maps_to_its_error(code: str, text: str, expected: type[UtcpError]) -> None:
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


async def test_a_channel_connects_to_the_address_that_the_guard_checked() -> None:
    async def resolver(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async with GrpcService() as service:
        source = Source(name="peer", allow_networks=LOOPBACK)
        named = options(service.port, host="orders.example.com")
        addresses = await Guard(resolver=resolver).resolve(named.host, named.port, source)
        channel = await open_channel(named, addresses)
        try:
            with anyio.fail_after(60):
                assert await channel.unary_unary("/shop.Orders/Echo")(b"\x0a\x01a") == b"\x0a\x01a"
        finally:
            await channel.close()


async def test_the_error_names_a_certificate_that_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match=r"nothing\.pem"):
        await open_channel(options(1, use_ssl=True, ca_cert="nothing.pem"), [])


def test_ipv6_addresses_are_in_brackets() -> None:
    assert options(7, host="::1").address == "[::1]:7"


def metadata(*details) -> list[tuple[str, bytes]]:
    status = status_pb2.Status(code=3)
    for detail in details:
        packed = detail if isinstance(detail, any_pb2.Any) else any_pb2.Any()
        if packed is not detail:
            packed.Pack(detail)
        status.details.append(packed)
    return [("other", b"x"), ("grpc-status-details-bin", status.SerializeToString())]


def test_standard_details_are_read_whole() -> None:
    bad = error_details_pb2.BadRequest(field_violations=[{"field": "n", "description": "too small"}])
    why = error_details_pb2.ErrorInfo(reason="QUOTA", domain="example.com", metadata={"limit": "5"})
    assert decode_details(metadata(bad, why)) == [
        {"@type": "google.rpc.BadRequest", "fieldViolations": [{"field": "n", "description": "too small"}]},
        {"@type": "google.rpc.ErrorInfo", "reason": "QUOTA", "domain": "example.com", "metadata": {"limit": "5"}},
    ]


def test_unknown_and_broken_details_keep_their_type_and_size() -> None:
    unknown = any_pb2.Any(type_url="type.googleapis.com/shop.Lost", value=b"abc")
    broken = any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    assert decode_details(metadata(unknown, broken)) == [
        {"@type": "shop.Lost", "bytes": 3},
        {"@type": "google.rpc.ErrorInfo", "bytes": 2},
    ]
    assert decode_details([("grpc-status-details-bin", b"\xff\xff\xff")]) == []


def test_the_time_to_wait_is_found() -> None:
    wait = error_details_pb2.RetryInfo()
    wait.retry_delay.FromSeconds(7)
    assert retry_after(decode_details(metadata(wait))) == 7
    assert retry_after([{"@type": "google.rpc.ErrorInfo"}]) is None
    assert retry_after([{"@type": "google.rpc.RetryInfo", "retryDelay": "soon"}]) is None
