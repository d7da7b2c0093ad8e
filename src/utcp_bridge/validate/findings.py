"""The result of a check: each fault with its place in the document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from utcp_bridge.dialects.positions import Path, as_pointer
from utcp_bridge.model import Fault, FaultCollector, JsonObject

__all__ = ["Finding", "Findings", "Report"]


@dataclass(slots=True)
class Finding:
    """One fault. `path` leads to its place; `line` counts from 1 and is None if it cannot be known."""

    severity: str
    """`error`: that part is not used; `warning`: it is used but deserves a look."""
    path: Path
    what: str
    remedy: str = ""
    tool: str = ""
    line: int | None = None

    @property
    def pointer(self) -> str:
        """The place as a JSON pointer (RFC 6901)."""
        return as_pointer(self.path)


class Findings(FaultCollector[Path, Finding]):
    """The faults of one document, each with its path and its tool."""

    def __init__(self) -> None:
        super().__init__(lambda path, what, remedy, severity: Finding(severity, path, what, remedy, self.tool))
        self.tool = ""
        """The tool that is being checked."""

    def take(self, path: Path, faults: Iterable[Fault]) -> None:
        """Add the faults of a reader that records no paths, all of them at `path`."""
        for fault in faults:
            self.add(path, fault.what, fault.remedy, severity=fault.severity)


@dataclass(slots=True)
class Report:
    """The result of checking one document."""

    place: str
    name: str
    """The name that it would be loaded under; the keys of its variables start with this name."""
    shape: str = "unknown"
    dialect: str = ""
    tools: int = 0
    entries: int = 0
    """Number of manual call templates in a configuration, or of manuals in a registry."""
    findings: list[Finding] = field(default_factory=list[Finding])
    variables: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Key of a variable → the tools or manuals that need it."""
    found: set[str] = field(default_factory=set[str])
    """The keys of `variables` that are already set."""

    @property
    def errors(self) -> list[Finding]:
        """The faults that make something unusable."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """All other faults."""
        return [finding for finding in self.findings if finding.severity != "error"]

    def as_json(self, *, strict: bool = False) -> JsonObject:
        """Return the report as JSON for scripts; `structure_valid` is whether the document is of a known kind."""
        return {
            "file": self.place,
            "name": self.name,
            "shape": self.shape,
            "dialect": self.dialect,
            "valid": not (self.findings if strict else self.errors),
            "structure_valid": self.shape != "unknown",
            "registered": None,
            "tool_count": self.tools,
            "errors": [_as_json(finding) for finding in self.errors],
            "warnings": [_as_json(finding) for finding in self.warnings],
            "variables": [
                {"key": key, "set": key in self.found, "needed_by": needed} for key, needed in self.variables.items()
            ],
        }


def _as_json(finding: Finding) -> JsonObject:
    return {
        "pointer": finding.pointer,
        "line": finding.line,
        "tool": finding.tool or None,
        "message": finding.what,
        "remedy": finding.remedy or None,
    }
