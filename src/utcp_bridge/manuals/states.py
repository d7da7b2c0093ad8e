"""How manuals are, in words for people: where each comes from, and its state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from utcp_bridge.model import JsonObject, is_list, is_object

if TYPE_CHECKING:
    from utcp_bridge.manuals.registration import ManualState
    from utcp_bridge.upstream import ServerState

__all__ = ["shown_place", "source_of", "word_of"]


def word_of(state: ManualState, servers: Iterable[ServerState]) -> str:
    """Return `ready`, `failed`, `loading`, `degraded` for one that lost tools, or `disabled` if all servers are off."""
    if {one.status for one in servers if one.manual == state.name} == {"disabled"}:
        return "disabled"
    lost = any(fault.severity == "error" for fault in state.faults)
    return "degraded" if state.status == "ready" and lost else state.status


def source_of(entry: JsonObject) -> str:
    """Return where a manual comes from: a URL without its query, a file, the program of a command, or its servers."""
    for key in ("url", "server_url", "file_path", "host", "signaling_server"):
        if isinstance(entry.get(key), str):
            return shown_place(entry[key])
    for key in ("command", "command_name"):
        if entry.get(key):
            return _program(entry[key])
    config = entry.get("config")
    servers = config.get("mcpServers") if is_object(config) else None
    if is_object(servers):
        return ", ".join(map(str, servers))
    return "the configuration"


def shown_place(place: Any) -> str:
    """Return a place as people may see it: a URL without its query and its credentials."""
    from utcp_bridge.configuration.places import is_url
    from utcp_bridge.urls import bare_url

    text = str(place)
    return bare_url(text) if is_url(text) or text.startswith(("ws://", "wss://")) else text


def _program(command: Any) -> str:
    """Return the first word of a command, because its arguments may contain secrets."""
    words = command if is_list(command) else str(command).split()
    return str(words[0]) if words else ""
