"""Find a tool by any of its names, and show it as JSON or in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import report_failures, wait_for_manuals
from utcp_bridge.errors import UnknownTool

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.model import JsonObject, Tool

__all__ = ["find_tool", "in_short", "loaded_tool", "summary"]


def find_tool(client: UtcpClient, name: str) -> Tool:
    """Return the tool of any of its names: UTCP name, MCP name, or own name if only one manual has it.

    :raises UnknownTool: no tool has this name, or several have. The remedy suggests names.
    """
    tool = client.find(name)
    if tool is not None:
        return tool
    from utcp_bridge.catalogue.catalogue import Catalogue

    return Catalogue(client).find_tool(name, remedy="`utcp-bridge tools` lists the tools.").tool


async def loaded_tool(client: UtcpClient, name: str) -> Tool | int:
    """Wait for the tool's manual and return the tool. If no manual loads, report that and return the exit code.

    :raises UnknownTool: no tool has this name.
    """
    await wait_for_manuals(client, lambda: client.find(name) is not None)
    if client.find(name) is None:
        await client.widen()
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
