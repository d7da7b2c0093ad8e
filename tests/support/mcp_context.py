"""The context that the MCP SDK needs to serve one request without a transport."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
from mcp.shared.transport_context import TransportContext

MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


@dataclass
class Exchange:
    """A dispatch context that records progress."""

    transport: TransportContext = field(default_factory=lambda: TransportContext(kind="test", can_send_request=False))
    request_id: int = 1
    message_metadata: None = None
    can_send_request: bool = False
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)
    progressed: list = field(default_factory=list)

    async def send_raw_request(self, method, params, opts=None):
        raise AssertionError(f"the server asked the client for {method}")

    async def notify(self, method, params, opts=None):
        raise AssertionError(f"the server sent {method}")

    async def progress(self, progress, total=None, message=None):
        self.progressed.append((progress, total, message))
