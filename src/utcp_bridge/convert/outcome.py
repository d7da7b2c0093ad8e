"""The options and the result of a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from utcp_bridge.model import Fault, JsonObject

__all__ = ["LEFT_OUT", "PROVEN", "UTCP_VERSION", "Converted", "ToolProof", "Wishes", "new_manual"]

PROVEN: Final = "proven"
LEFT_OUT: Final = "left out"
UTCP_VERSION = "1.0.1"
"""The version of UTCP that converted manuals are written in."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to convert.

    `name` is the title of the result. `base_url` replaces the servers of an OpenAPI description; `server_variables`
    fills in their variables. `include` and `exclude` select tools as in a manual's entry. `keep_values` keeps secrets
    of templates, and the values of an MCP server's `env` and `headers`, instead of writing variables. `portable` writes
    the manual so that every UTCP client calls it as this one does; what cannot be said so is left out and noted. False
    writes the extended form, for utcp-bridge alone. `target` is the version of UTCP to write.
    """

    name: str | None = None
    base_url: str | None = field(default=None, repr=False)
    server_variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    include: JsonObject | None = None
    exclude: JsonObject | None = None
    keep_values: bool = False
    portable: bool = True
    target: Literal["v1", "v0"] = "v1"


@dataclass(frozen=True, slots=True)
class ToolProof:
    """What became of one tool. `why` says why it was left out, or what it cannot say that the original can.

    `requests` is the number of compared requests; 0 for a tool whose fields alone were checked.
    """

    tool: str
    state: str
    why: tuple[str, ...] = ()
    requests: int = 0

    def as_json(self) -> JsonObject:
        """Return the row as JSON data."""
        return {"tool": self.tool, "state": self.state, "why": list(self.why), "requests": self.requests}


@dataclass(slots=True)
class Converted:
    """A converted manual or client configuration, with remarks.

    `notes` are faults; an `error` means that something was left out. `proof` has a row for each tool of a manual that
    was written for other clients, also for those that were left out.
    """

    document: JsonObject = field(repr=False)
    name: str
    is_manual: bool = True
    notes: list[Fault] = field(default_factory=list[Fault])
    proof: list[ToolProof] | None = None

    @property
    def tools(self) -> list[JsonObject]:
        """The manual's tools; empty for a configuration."""
        return [tool for tool in self.document.get("tools", ()) if isinstance(tool, dict)]


def new_manual(tools: list[JsonObject], info: Mapping[str, Any]) -> JsonObject:
    """Return a v1 manual of these tools; `info` may contain title, version and description."""
    about = {key: info[key] for key in ("title", "version", "description") if info.get(key)}
    manual: JsonObject = {"utcp_version": UTCP_VERSION, "manual_version": str(info.get("version") or "1.0.0")}
    return {**manual, **({"info": about} if about else {}), "tools": tools}
