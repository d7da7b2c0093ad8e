"""Options of HTTP sessions and of WebSockets: plain data that loads no engine."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PoolOptions", "SocketOptions"]


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Options of all sessions of a pool. Sizes in bytes, times in seconds."""

    max_response_bytes: int
    connect_timeout: float
    connections: int
    trust_env: bool


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """How a WebSocket is opened.

    With `ping_interval` (seconds) a connection is closed if the peer does not reply to pings; this works only while
    messages are received. `compression` offers permessage-deflate. Without `decode_text`, text
    frames come as bytes: with it, one that is not UTF-8 closes the connection.
    """

    protocols: tuple[str, ...] = ()
    max_message_bytes: int = 1 << 20
    ping_interval: float | None = None
    compression: bool = False
    decode_text: bool = True
