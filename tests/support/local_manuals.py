"""Configurations with their tools inside, for tests of programs that embed the client."""

from __future__ import annotations

from typing import Any

from utcp_bridge.model import JsonObject


def http_tool(name: str, url: str, inputs: JsonObject | None = None, **fields: Any) -> JsonObject:
    """Return a tool that posts its arguments as one JSON object."""
    template = {"call_template_type": "http", "url": url, "http_method": "POST", "body_field": "*"}
    return {"name": name, "inputs": inputs or {"type": "object"}, "tool_call_template": template, **fields}


def cli_tool(name: str, command: str, *arguments: str, **fields: Any) -> JsonObject:
    """Return a tool that runs a command."""
    template = {"call_template_type": "cli", "command": command, "args": list(arguments), **fields}
    return {"name": name, "tool_call_template": template}


def entry(name: str, *tools: JsonObject, **fields: Any) -> JsonObject:
    """Return a manual of these tools, as an entry of a configuration."""
    content = {"utcp_version": "1.0", "tools": list(tools)}
    protocols = ["http", "cli", "text"]
    return {
        "name": name,
        "call_template_type": "text",
        "content": content,
        "allowed_communication_protocols": protocols,
        **fields,
    }
