"""HTTP requests before credentials and connection, and options of connections (plain data, no I/O)."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PoolOptions", "RequestParts", "SocketOptions"]


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
    messages are received. `compression` offers permessage-deflate.
    """

    protocols: tuple[str, ...] = ()
    max_message_bytes: int = 1 << 20
    ping_interval: float | None = None
    compression: bool = False


@dataclass(frozen=True, slots=True)
class RequestParts:
    """The HTTP request of a call.

    `url` is absolute and fully percent-encoded, with its query: send it unchanged. `headers` include Content-Type and
    Cookie. Names may repeat. Values have no control characters; non-ASCII text is written as UTF-8 (`raw_headers`).
    `body` None means no body and no Content-Type; `b""` is an empty body.
    """

    method: str
    url: str
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]], repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as bytes: names in ASCII, values in UTF-8."""
        return [(name.encode("ascii"), value.encode("utf-8")) for name, value in self.headers]
