"""What reading a document yields: plain data and faults, never an exception."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from utcp_bridge.model import Fault, JsonObject

__all__ = ["ConfigReading", "ManualReading", "Notes"]


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """A client configuration in v1 names.

    `entries` are manual call templates: each has a unique `name` and a `call_template_type`; keys that
    only the operator may write (`config.ManualOptions`) stand beside the template's own. `client` holds
    those of `variables`, `load_variables_from`, `tool_repository`, `tool_search_strategy`,
    `post_processing`, `providers_file_path` and `registries` that were given, `bridge` the section of that name.
    """

    dialect: str
    entries: list[JsonObject] = field(default_factory=list[JsonObject], repr=False)
    client: JsonObject = field(default_factory=dict[str, Any], repr=False)
    bridge: JsonObject = field(default_factory=dict[str, Any], repr=False)
    faults: list[Fault] = field(default_factory=list[Fault])


@dataclass(frozen=True, slots=True)
class ManualReading:
    """A manual's tools in v1 names, whatever dialect it was written in.

    `tools` are normalised tool objects; what could not be read is in `faults`, one for each tool.
    `info` has those of `title`, `description` and `version` that were given. `auth` is the manual's
    own, in the official fields: a default for tools without any, where `wants_auth` says so and the
    tool's origin allows it. `protocols` are the call template types the manual allows itself.
    `declared_variables` are names that its authors announce, with their instructions.
    """

    dialect: str
    """`v0.x`, `v1.x`, `extended`, `mcp` or `tools` (a bare list)."""
    tools: list[JsonObject] = field(default_factory=list[JsonObject], repr=False)
    info: JsonObject = field(default_factory=dict[str, Any])
    auth: JsonObject | None = field(default=None, repr=False)
    variables: JsonObject = field(default_factory=dict[str, Any], repr=False)
    protocols: tuple[str, ...] | None = None
    declared_variables: dict[str, str] = field(default_factory=dict[str, str])
    faults: list[Fault] = field(default_factory=list[Fault])


@dataclass(slots=True)
class Notes:
    """Collects, while a document is read, what is worth telling about it."""

    faults: list[Fault] = field(default_factory=list[Fault])
    dialects: set[str] = field(default_factory=set[str])
    declared: dict[str, str] = field(default_factory=dict[str, str])

    def error(self, where: str, what: str, remedy: str = "") -> None:
        """Something was left out."""
        self.faults.append(Fault(where, what, remedy))

    def warn(self, where: str, what: str, remedy: str = "") -> None:
        """Something was used, but deserves a look."""
        self.faults.append(Fault(where, what, remedy, severity="warning"))
