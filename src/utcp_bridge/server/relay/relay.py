"""The relay of one server: the directory of what its upstreams offer, and the handlers that read from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import mcp_types as types
from mcp.server.caching import CacheHint

from utcp_bridge.server.hosts.interaction import Interaction
from utcp_bridge.server.relay.completions import Completions
from utcp_bridge.server.relay.desk import Desk
from utcp_bridge.server.relay.introduction import HANDSHAKE_SECONDS, advertised, merged_instructions
from utcp_bridge.server.relay.kept import KeptResources
from utcp_bridge.server.relay.prompts import Prompts
from utcp_bridge.server.relay.resources import Resources

if TYPE_CHECKING:
    from utcp_bridge.server.app import BridgeServer

__all__ = ["Relay"]

_NEVER: Final = CacheHint(ttl_ms=0, scope="private")
"""Kept results belong to one caller and end. An upstream that says nothing promises nothing."""


class Relay:
    """Adds the methods of resources, prompts and completions to a server."""

    def __init__(self, server: BridgeServer, interaction: Interaction, kept: KeptResources) -> None:
        self._keeps_results = kept.is_on
        self.desk = Desk(server.client, server.readiness, interaction)
        Resources(self.desk, kept).register(server)
        Prompts(self.desk).register(server)
        Completions(self.desk).register(server)
        lists = server.cache_hints["tools/list"]
        server.cache_hints |= {
            "resources/list": _NEVER if kept.is_on else lists,
            "resources/templates/list": lists,
            "resources/read": _NEVER,
            "prompts/list": lists,
        }

    def advertised(self, base: types.ServerCapabilities) -> types.ServerCapabilities:
        """Return the capabilities of the server, with those of the relay as far as an upstream has them."""
        return advertised(base, self.desk, keeps_results=self._keeps_results)

    async def introduced(self, method: str) -> None:
        """Wait a moment for MCP servers that are being read, before the answer to this method says what they offer."""
        await self.desk.introduced(HANDSHAKE_SECONDS[method])

    def instructions(self, own: str) -> str:
        """Return the instructions of the bridge with those of its upstreams."""
        return merged_instructions(own, self.desk)
