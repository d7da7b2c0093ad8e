"""gRPC channels behind the guard, and the errors of their calls.

The guard resolves the host name and checks its addresses. The channel connects to the checked address that accepts
first, and keeps the name for the authority and for TLS. Proxies from the environment are off. The details of an error
(`google.rpc.Status`) are decoded where their types are known: those of google/rpc/error_details.proto and those of the
manual's descriptors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    Rejected,
    ReplyTooLarge,
    Unreachable,
    UtcpError,
)
from utcp_bridge.model import JsonObject
from utcp_bridge.net.gate.shortage import check_descriptors, descriptor_shortage
from utcp_bridge.net.guard import Address
from utcp_bridge.transports.grpc.protos import grpc_module, message_class, protobuf, status_message

__all__ = ["ChannelOptions", "decode_details", "open_channel", "open_during", "retry_after", "translate"]

_NOT_CONNECTED = ("failed to connect", "connection refused", "dns resolution", "handshake", "no route", "ssl", "tls")
_GONE = ("socket closed", "connection reset", "goaway", "broken pipe", "stream removed", "eof")
_RETRYABLE = frozenset({"RESOURCE_EXHAUSTED", "ABORTED"})
_DETAILS_KEY = "grpc-status-details-bin"
_PREFIX = "type.googleapis.com/"
_MAX_DETAILS = 20
_AHEAD = 262_144
"""Bytes of a stream that gRPC reads before it is asked for a message. Then it reads the message as a whole."""
_DESCRIPTORS = 16
"""What gRPC opens with its first channel. If it cannot, it ends the process."""


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """Where a channel goes. Paths of PEM files start at `root`; `max_bytes` limits one message."""

    host: str
    port: int
    use_ssl: bool
    root: Path
    max_bytes: int
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    users: Hashable = field(default=None, repr=False)
    """What else distinguishes the calls that share a channel, such as their credentials."""

    @property
    def address(self) -> str:
        """`host:port`, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def open_channel(options: ChannelOptions, addresses: Sequence[Address]) -> Any:
    """Return a `grpc.aio` channel to addresses that the guard has checked. It connects with the first call.

    :raises ConfigError: a certificate file cannot be read.
    :raises MissingExtra: grpcio is not installed.
    :raises Busy: the process has too few descriptors left.
    """
    check_descriptors(_DESCRIPTORS)
    aio = grpc_module("grpc.aio")
    arguments = [
        ("grpc.max_receive_message_length", options.max_bytes),
        # gRPC would read up to 16 MiB of each reply ahead, before anything asks for it.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _AHEAD),
        ("grpc.enable_http_proxy", 0),
        # A second proxy of the environment, GRPC_ADDRESS_HTTP_PROXY, does not ask `enable_http_proxy`.
        ("grpc.address_http_proxy_enabled_addresses", ""),
        ("grpc.enable_retries", 0),
        # Channels of the process would share connections, and with them the pauses after failures.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.default_authority", options.server_name or options.address),
    ]
    if not options.use_ssl:
        return aio.insecure_channel(_target(addresses), options=arguments)
    arguments.append(("grpc.ssl_target_name_override", options.server_name or options.host))
    credentials = grpc_module().ssl_channel_credentials(
        root_certificates=await _read(options, options.ca_cert),
        private_key=await _read(options, options.client_key),
        certificate_chain=await _read(options, options.client_cert),
    )
    return aio.secure_channel(_target(addresses), credentials, options=arguments)


@asynccontextmanager
async def open_during(where: str) -> AsyncGenerator[None]:
    """Report that the bridge closed the channel during a call, as it does when a manual is removed.

    grpcio then cancels the call or refuses to begin it. It also replaces our own cancellation with its own, which our
    cancel scopes would not recognise.

    :raises ConnectionLost: the channel was closed.
    """
    closed = ConnectionLost(f"The bridge closed the connection to {where} during the call.")
    try:
        yield
    except grpc_module("grpc.aio").UsageError:
        raise closed from None
    except asyncio.CancelledError:
        await anyio.lowlevel.checkpoint_if_cancelled()
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise closed from None


def translate(error: Any, where: str, pool: Any = None) -> UtcpError:
    """Map a `grpc.aio.AioRpcError` to a `UtcpError`. `pool` has the manual's own message types, for the details."""
    code, text = error.code().name, str(error.details() or "")
    lowered = text.lower()
    if found := _connection_error(code, lowered, where):
        return found
    detail: dict[str, Any] = {"code": code, "message": text}
    if details := decode_details(error.trailing_metadata() or (), pool):
        detail["details"] = details
    wait = retry_after(details)
    retryable = code in _RETRYABLE or wait is not None
    return Rejected(f"{where} returned {code}.", status=code, detail=detail, retry_after=wait, retryable=retryable)


def _connection_error(code: str, text: str, where: str) -> UtcpError | None:
    """Return the error of a status that grpcio itself sets: for a connection, a time limit or a size limit."""
    lost = code in {"UNAVAILABLE", "UNKNOWN", "INTERNAL"} and any(word in text for word in _GONE)
    if lost and not any(word in text for word in _NOT_CONNECTED):
        return ConnectionLost(f"{where} closed the connection during the call.")
    if code == "UNAVAILABLE":
        if shortage := descriptor_shortage(OSError(), probe="too many open files" in text):
            return shortage
        return Unreachable(f"{where} cannot be reached.", remedy="Check host, port and `use_ssl`.")
    if code == "DEADLINE_EXCEEDED":
        return DeadlineExceeded(f"{where} did not reply in time.")
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in text:
        return ReplyTooLarge(f"{where} sent a message above the size limit.", remedy="Raise `max_reply_bytes`.")
    return None


def _target(addresses: Sequence[Address]) -> str:
    """Return the addresses as gRPC writes them. A list has one family, so IPv4 is written in IPv6 if both occur."""
    if not any(":" in one.host for one in addresses):
        return "ipv4:" + ",".join(f"{one.host}:{one.port}" for one in addresses)
    hosts = [(one.host if ":" in one.host else f"::ffff:{one.host}", one.port) for one in addresses]
    return "ipv6:" + ",".join(f"[{host}]:{port}" for host, port in hosts)


async def _read(options: ChannelOptions, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return await anyio.Path(options.root / path).read_bytes()
    except OSError as error:
        raise ConfigError(f"The file {path!r} cannot be read: {error.strerror}.") from None


def decode_details(metadata: Iterable[tuple[str, Any]], pool: Any = None) -> list[JsonObject]:
    """Return the details in an error's trailing metadata, each as `{"@type": …, fields}`; unknown types give a size."""
    found: list[JsonObject] = []
    for key, value in metadata:
        if key != _DETAILS_KEY or not isinstance(value, bytes):
            continue
        status = status_message()()
        try:
            status.ParseFromString(value)
        except protobuf("message").DecodeError:
            continue
        details = status.details[:_MAX_DETAILS]
        found += [_decoded(one.type_url.removeprefix(_PREFIX), one.value, pool) for one in details]
    return found


def retry_after(details: Iterable[JsonObject]) -> float | None:
    """Return the seconds to wait that a `google.rpc.RetryInfo` among the details names."""
    for detail in details:
        delay = detail.get("retryDelay")
        if detail.get("@type") == "google.rpc.RetryInfo" and isinstance(delay, str):
            try:
                return float(delay.removesuffix("s"))
            except ValueError:
                return None
    return None


def _decoded(name: str, value: bytes, pool: Any) -> JsonObject:
    descriptor = _find(name, pool)
    if descriptor is None:
        return {"@type": name, "bytes": len(value)}
    json_format = protobuf("json_format")
    try:
        message = message_class(descriptor).FromString(value)
        fields = json_format.MessageToDict(message, descriptor_pool=descriptor.file.pool)
    except Exception:  # noqa: BLE001 - the error itself is worth more than an odd detail of it
        return {"@type": name, "bytes": len(value)}
    return {"@type": name, **fields}


def _find(name: str, pool: Any) -> Any:
    """Return the descriptor of a message type: one of the manual, or one of the standard details."""
    import_module("google.rpc.error_details_pb2")
    for known in (pool, protobuf("descriptor_pool").Default()):
        if known is not None:
            try:
                return known.FindMessageTypeByName(name)
            except KeyError:
                continue
    return None
