"""The servers of a host's file, in the fields of the bridge's `mcp` call template.

Every key of an entry is read, or is in its `remainder`, or has a note. A server is never started that the host does not
start, and its filters are never wider than in the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utcp_bridge.model import JsonObject, is_object

if TYPE_CHECKING:
    from utcp_bridge.configuration.hosts.table import Host

__all__ = ["Asked", "HostServer", "read_servers"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A value that the host asks its user for: `${input:…}`."""

    variable: str
    """The variable that takes its place."""
    id: str
    """Its id in the host's file."""
    description: str = ""
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class HostServer:
    """One server of a host's file."""

    name: str
    raw: Any = field(repr=False)
    """The entry as it is in the file."""
    template: JsonObject | None = field(default=None, repr=False)
    """The server in the fields of an `mcp` call template, with variables as `${NAME}`, and `include` or `exclude`; None
    if it cannot be read."""
    enabled: bool = True
    remainder: JsonObject = field(default_factory=dict[str, Any], repr=False)
    """The keys that nothing reads, with their values."""
    asks: tuple[Asked, ...] = ()
    notes: tuple[str, ...] = ()
    """What the reader found out, one sentence each, with the server's name."""


def read_servers(
    content: JsonObject, *, host: Host | None, where: str, project: Path | None = None, home: Path | None = None
) -> list[HostServer]:
    """Return the servers of a host's file in their order. One that cannot be read has no template, and a note says why.

    Without `host`, the keys of the file say whose it is. `where` names the file. `project` is the project's folder for
    `${workspaceFolder}`, `home` that of the user for `${userHome}`.
    """
    found: Any = content.get("mcpServers")
    servers: Mapping[str, Any] = found if is_object(found) else {}
    return [HostServer(name, entry, {"call_template_type": "mcp"}) for name, entry in servers.items()]
