"""The step `tools`: schemas that cannot be used, and what hosts will see otherwise than it was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from utcp_bridge.catalogue.catalogue import Catalogue, Entry
from utcp_bridge.doctor.steps import Finding
from utcp_bridge.model import Tool
from utcp_bridge.validate.findings import Findings
from utcp_bridge.validate.schemas import check_schema

__all__ = ["look_at"]

_REMEDY: Final = "Mend the manual; a tool whose schema is not valid is called without a check of its arguments."


def look_at(catalogue: Catalogue, manual: str) -> Finding:
    """Look at every tool of a manual as it would be listed."""
    entries = [entry for entry in catalogue.entries.values() if entry.tool.manual == manual]
    if not entries:
        return Finding("There is no tool.", "skipped")
    bad = [line for entry in entries for line in _schema_faults(entry.tool)]
    cut = [f"warning: {_where(entry)}: {one}" for entry in entries for one in entry.input.cut]
    notes = [f"note: {line}" for line in _changes(entries)]
    counts = [(len(bad), "schema that is not valid", "schemas that are not valid")]
    counts += [(len(cut), "input schema cut", "input schemas cut"), (len(notes), "name changed", "names changed")]
    told = [f"{number} {one if number == 1 else many}" for number, one, many in counts if number]
    message = f"Names and schemas are listed as they are{'' if not told else ', but for ' + ', '.join(told)}."
    details = (*bad, *cut, *notes)
    if bad or cut:
        return Finding(message, "warning", _REMEDY if bad else "Shorten them, or raise `max_schema_bytes`.", details)
    return Finding(message, details=details)


def _schema_faults(tool: Tool) -> Iterator[str]:
    findings = Findings()
    check_schema(tool.inputs, ("inputs",), findings)
    if tool.outputs:
        check_schema(tool.outputs, ("outputs",), findings)
    for finding in findings.faults:
        yield f"error: tool {tool.qualified_name!r}, {finding.pointer}: {finding.what}"


def _changes(entries: Iterable[Entry]) -> Iterator[str]:
    """Names that lost something on the way to MCP; the dot between manual and tool is no loss."""
    for entry in entries:
        tool = entry.tool
        if entry.name not in {f"{tool.manual}_{tool.name}", tool.name}:
            yield f"{_where(entry)} is listed as {entry.name}"
        for listed, own in entry.input.renamed.items():
            yield f"{_where(entry)}: the argument {own!r} is listed as {listed}"


def _where(entry: Entry) -> str:
    return f"tool {entry.tool.qualified_name!r}"
