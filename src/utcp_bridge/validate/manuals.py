"""A manual, a list of tools, one tool, or MCP's `tools/list`: every tool, each for itself."""

from __future__ import annotations

from typing import Any, Final

from utcp_bridge.dialects import v0
from utcp_bridge.dialects.auth_forms import rewrite_auth
from utcp_bridge.dialects.fields import nearest, sort_of, text_of, word
from utcp_bridge.dialects.manuals import read_inputs, read_outputs
from utcp_bridge.dialects.positions import Path
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.shapes import MCP_SCHEMA_KEYS
from utcp_bridge.dialects.templates import read_protocols
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.validate.findings import Findings
from utcp_bridge.validate.schemas import check_schema
from utcp_bridge.validate.templates import check_template

__all__ = ["check_manual"]

_TEMPLATE_KEYS: Final = ("tool_call_template", *v0.TEMPLATE_KEYS)
_INPUT_KEYS: Final = ("inputs", *v0.TOOL_KEYS, *MCP_SCHEMA_KEYS)
_OUTPUT_KEYS: Final = ("outputs", "response_schema", "outputSchema", "output_schema")
_MANUAL_KEYS: Final = frozenset({
    "utcp_version", "manual_version", "version", "tools", "info", "metadata", "provider_info", "auth", "variables",
    "allowed_communication_protocols", "name", "title", "description", "nextCursor", "_meta",
})  # fmt: skip
_TOOL_KEYS: Final = frozenset({
    *_TEMPLATE_KEYS, *_INPUT_KEYS, *_OUTPUT_KEYS, "name", "title", "description", "tags", "average_response_size",
    "auth", "annotations", "deprecated", "body_members", "_meta", "icons", "execution",
})  # fmt: skip


def check_manual(document: Any, path: Path, findings: Findings) -> list[JsonObject]:
    """Find every fault; returns the tools that can be read: {name, inputs, tool_call_template}."""
    if is_list(document):
        return _check_tools(document, path, findings)
    if not is_object(document) or "tools" not in document:
        return _check_one(document, path, findings, set())
    _check_head(document, path, findings)
    tools = document["tools"]
    if not is_list(tools):
        findings.error((*path, "tools"), f"`tools` is {sort_of(tools)}, not a list.")
        return []
    return _check_tools(tools, (*path, "tools"), findings)


def _check_head(manual: JsonObject, path: Path, findings: Findings) -> None:
    for key in manual:
        if key not in _MANUAL_KEYS and not key.startswith(("$", "_", "x-")):
            findings.warn((*path, key), f"nothing reads the key {word(key)!r}.", nearest(key, _MANUAL_KEYS))
    notes = Notes()
    try:
        rewrite_auth(manual.get("auth"), notes)
    except ValueError as error:
        findings.error((*path, "auth"), str(error))
    read_protocols(manual, "", notes)
    findings.take((*path, "allowed_communication_protocols"), notes.faults)
    variables = manual.get("variables")
    if variables is not None and not is_object(variables):
        findings.warn((*path, "variables"), f"`variables` is {sort_of(variables)}, not an object, and is ignored.")


def _check_tools(tools: list[Any], path: Path, findings: Findings) -> list[JsonObject]:
    seen: set[str] = set()
    return [tool for index, raw in enumerate(tools) for tool in _check_one(raw, (*path, index), findings, seen)]


def _check_one(raw: Any, path: Path, findings: Findings, seen: set[str]) -> list[JsonObject]:
    if not is_object(raw):
        findings.error(path, f"the tool is {sort_of(raw)}, not an object.")
        return []
    findings.tool = word(raw["name"]) if isinstance(raw.get("name"), str) else ""
    try:
        return _check_tool(raw, path, findings, seen)
    finally:
        findings.tool = ""


def _check_tool(raw: JsonObject, path: Path, findings: Findings, seen: set[str]) -> list[JsonObject]:
    name = raw.get("name")
    if not isinstance(name, str) or not name.strip():
        findings.error((*path, "name") if "name" in raw else path, "the tool has no name.")
        return []
    if name in seen:
        findings.error((*path, "name"), "another tool of the manual has the same name.")
    seen.add(name)
    for key in raw:
        if key not in _TOOL_KEYS and not key.startswith(("$", "_", "x-")):
            findings.warn((*path, key), f"nothing reads the key {word(key)!r}.", nearest(key, _TOOL_KEYS))
    if not text_of(raw.get("description")).strip():
        findings.warn(path, "the tool has no description, by which models choose.", 'Add a "description".')
    inputs = _check_inputs(raw, path, findings)
    _check_outputs(raw, path, findings)
    template = _check_template(raw, path, findings)
    return [{"name": name, "inputs": inputs, **({"tool_call_template": template} if template else {})}]


def _check_inputs(raw: JsonObject, path: Path, findings: Findings) -> JsonObject:
    key = next((key for key in _INPUT_KEYS if raw.get(key) is not None), None)
    if key is None:
        return {}
    notes = Notes()
    try:
        schema = read_inputs(raw[key], "", notes)
    except ValueError as error:
        findings.error((*path, key), str(error))
        return {}
    findings.take((*path, key), notes.faults)
    check_schema(schema, (*path, key), findings)
    return schema


def _check_outputs(raw: JsonObject, path: Path, findings: Findings) -> None:
    notes = Notes()
    schema = read_outputs(raw, "", notes)
    key = next((key for key in _OUTPUT_KEYS if raw.get(key) is not None), "outputs")
    findings.take((*path, key), notes.faults)
    if schema is not None:
        check_schema(schema, (*path, key), findings)


def _check_template(raw: JsonObject, path: Path, findings: Findings) -> JsonObject | None:
    key = next((key for key in _TEMPLATE_KEYS if raw.get(key) is not None), None)
    if key is not None:
        return check_template(raw[key], (*path, key), findings, beside=raw)
    if not any(key in raw for key in MCP_SCHEMA_KEYS):
        findings.warn(
            path, "the tool names no call template.", "It is called through the template of the manual's own entry."
        )
    return None
