"""What the bridge says of itself when a host connects: the capabilities and instructions of its upstreams with its own.

A capability is advertised if an upstream has it. While an MCP server is not read yet, it may have any of them, and
hosts ask about capabilities only once.
"""

from __future__ import annotations

from typing import Final

import mcp_types as types

from utcp_bridge.catalogue.text import shorten
from utcp_bridge.server.relay.desk import Desk
from utcp_bridge.server.relay.directory import can_subscribe

__all__ = ["HANDSHAKE_SECONDS", "advertised", "merged_instructions"]

HANDSHAKE_SECONDS: Final = {"initialize": 2.0, "server/discover": 0.3}
"""Seconds that the answer waits until MCP servers are read, at most. Some clients give up a probe after 1 second."""
_MAX_ALL: Final = 6_000
_MAX_EACH: Final = 2_000
"""Characters. Some hosts cut the instructions of a server there."""


def advertised(base: types.ServerCapabilities, desk: Desk, *, keeps_results: bool) -> types.ServerCapabilities:
    """Return the capabilities of the server, with those of the relay as far as an upstream has them."""
    directory, is_open = desk.directory, desk.is_waiting
    resources = directory.offering("resources")
    reports = is_open or any(map(can_subscribe, resources))
    shown = types.ResourcesCapability(list_changed=bool(resources) or is_open or None, subscribe=reports or None)
    return base.model_copy(
        update={
            "resources": shown if resources or is_open or keeps_results else None,
            "prompts": types.PromptsCapability(list_changed=True) if is_open or directory.offering("prompts") else None,
            "completions": types.CompletionsCapability() if is_open or directory.offering("completions") else None,
        }
    )


def merged_instructions(own: str, desk: Desk) -> str:
    """Return the instructions of the bridge and then those of its upstreams, each with a fair part of the room."""
    texts = desk.directory.instructions()
    if not texts:
        return own
    room = _MAX_ALL
    parts: dict[int, str] = {}
    for left, place in enumerate(sorted(range(len(texts)), key=lambda place: len(texts[place][1]))):
        share = min(_MAX_EACH, room // (len(texts) - left))
        parts[place] = shorten(texts[place][1], max(share, 1))
        room -= len(parts[place])
    told = [f"{texts[place][0]}: {parts[place]}" for place in range(len(texts))]
    return "\n\n".join([own, "What its MCP servers say of themselves:", *told])
