"""One webrtc transport, one real signalling service with its peers, and calls between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from tests.upstreams.webrtc_peer import WebRtcService

from utcp_bridge import BridgeSettings
from utcp_bridge.model import JsonObject, Result, discard
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transports.webrtc.transport import WebRtcTransport


class Session:
    """One transport, one service, and calls between them."""

    def __init__(self, transport: WebRtcTransport, service: WebRtcService) -> None:
        self.transport = transport
        self.service = service
        self.emitted = anyio.Event()
        """Set when a stream has emitted its first value."""

    def target(self, **fields: Any) -> Any:
        template = {"signaling_server": self.service.url, "peer_id": "tools", **fields}
        return make_target(self.transport, template)

    async def call(self, arguments: JsonObject, **fields: Any) -> Any:
        return await self.transport.call(self.target(**fields), make_call(arguments), discard)

    async def stream(self, count: int, **fields: Any) -> tuple[list[Any], Result]:
        """Return the emitted values and the result."""
        seen: list[Any] = []

        async def emit(partial: Any) -> None:
            seen.append(partial)
            self.emitted.set()

        target = self.target(**{"stream": True, **fields})
        return seen, await self.transport.call(target, make_call({"count": count}), emit)

    async def discover(self, **fields: Any) -> Any:
        return (await self.transport.discover(self.target(**fields))).content


@asynccontextmanager
async def open_session(settings: BridgeSettings | None = None, **options: Any) -> AsyncGenerator[Session]:
    async with WebRtcService(**options) as service, open_services(settings=settings) as services:
        transport = WebRtcTransport(services)
        try:
            with anyio.fail_after(600):
                yield Session(transport, service)
        finally:
            await transport.aclose()
