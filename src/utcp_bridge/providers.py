"""Providers of UTCP 0.x as classes, as its documents use them. Each is a dictionary with its `provider_type`.

from utcp_bridge.providers import HttpProvider

await client.register_tool_provider(HttpProvider(name="weather", url="https://example.com/utcp"))
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "CliProvider",
    "GRPCProvider",
    "GraphQLProvider",
    "HttpProvider",
    "MCPProvider",
    "Provider",
    "SSEProvider",
    "StreamableHttpProvider",
    "TCPProvider",
    "TextProvider",
    "UDPProvider",
    "WebRTCProvider",
    "WebSocketProvider",
]


class Provider(dict[str, Any]):
    """A provider from its fields, as keywords and then also as attributes. The class sets `provider_type`."""

    provider_type: ClassVar[str]

    def __init__(self, **fields: Any) -> None:
        super().__init__({"provider_type": self.provider_type, **fields})

    def __getattr__(self, field: str) -> Any:
        try:
            return self[field]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no field {field!r}.", name=field, obj=self) from None

    def __setattr__(self, field: str, value: Any) -> None:
        self[field] = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.get('name')!r}>"


class HttpProvider(Provider):
    """An HTTP service: one request, one response."""

    provider_type = "http"


class SSEProvider(Provider):
    """A service that streams server-sent events."""

    provider_type = "sse"


class StreamableHttpProvider(Provider):
    """An HTTP service that streams its response in chunks."""

    provider_type = "http_stream"


class CliProvider(Provider):
    """A command on this machine."""

    provider_type = "cli"


class WebSocketProvider(Provider):
    """A WebSocket service."""

    provider_type = "websocket"


class GRPCProvider(Provider):
    """A gRPC service."""

    provider_type = "grpc"


class GraphQLProvider(Provider):
    """A GraphQL service."""

    provider_type = "graphql"


class TCPProvider(Provider):
    """A plain TCP service."""

    provider_type = "tcp"


class UDPProvider(Provider):
    """A UDP service."""

    provider_type = "udp"


class WebRTCProvider(Provider):
    """A WebRTC data channel."""

    provider_type = "webrtc"


class MCPProvider(Provider):
    """MCP servers."""

    provider_type = "mcp"


class TextProvider(Provider):
    """A local file with a manual or text."""

    provider_type = "text"
