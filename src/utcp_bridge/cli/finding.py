"""Find a tool by any of its names, and show it as JSON or in a line."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import report_failures, wait_for_manuals
from utcp_bridge.errors import UnknownTool

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.model import JsonObject, Tool

__all__ = ["find_tool", "in_short", "loaded_tool", "summary"]


def find_tool(client: UtcpClient, name: str) -> Tool:
    """Return the tool of a UTCP name, of an MCP name, or of a name without manual that only one tool has.

    :raises UnknownTool: no tool has this name; the remedy suggests similar names.
    """
    from utcp_bridge.catalogue.catalogue import Catalogue

    tool = client.find(name)
    if tool is not None:
        return tool
    entry = Catalogue(client).resolve(name)
    if entry is not None:
        return entry.tool
    same = [tool for tool in client.tools() if tool.name == name]
    if len(same) == 1:
        return same[0]
    near = [tool.qualified_name for tool in same] or _near(client, name)
    remedy = f"Did you mean {' or '.join(near)}?" if near else "`utcp-bridge tools` lists all tools."
    raise UnknownTool(f"There is no tool {name!r}.", remedy=remedy)


async def loaded_tool(client: UtcpClient, name: str) -> Tool | int:
    """Wait for the tool's manual and return the tool. If no manual loads, report that and return the exit code.

    :raises UnknownTool: no tool has this name.
    """
    await wait_for_manuals(client, lambda: client.find(name) is not None)
    try:
        return find_tool(client, name)
    except UnknownTool:
        failed = report_failures(client)
        if failed and failed[0].error and not client.tools():
            return exits.exit_code(failed[0].error)
        raise


def summary(tool: Tool) -> JsonObject:
    """Return a tool as JSON, without its template, which may contain secrets."""
    return {
        "name": tool.qualified_name,
        "kind": tool.kind,
        "title": tool.title,
        "description": tool.description,
        "tags": list(tool.tags),
        "inputs": tool.inputs,
        "outputs": tool.outputs,
        "annotations": dict(tool.annotations),
        "deprecated": tool.deprecated,
    }


def in_short(tool: Tool) -> str:
    """Return the first sentence or the first line of the description."""
    first = tool.description.strip().split("\n", 1)[0].split(". ", 1)[0]
    return f"(deprecated) {first}" if tool.deprecated else first


def _near(client: UtcpClient, name: str) -> list[str]:
    names = [tool.qualified_name for tool in client.tools()]
    return get_close_matches(name, names, n=2) or [hit.tool.qualified_name for hit in client.search(name, limit=2)]
