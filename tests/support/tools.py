"""Short functions to make tools and manuals for tests."""

from __future__ import annotations

from typing import Any

from utcp_bridge.model import JsonObject, Source, Tool

OBJECT: JsonObject = {"type": "object", "properties": {}}


def make_tool(name: str = "echo", *, manual: str = "peer", **fields: Any) -> Tool:
    """Return a tool with a harmless template."""
    fields.setdefault("source", Source(name=manual))
    fields.setdefault("kind", "text")
    fields.setdefault("template", {"call_template_type": "text", "content": "{}"})
    return Tool(name=name, **fields)


def tool_object(name: str, template: JsonObject | None = None, **fields: Any) -> JsonObject:
    """Return a normalised tool object, as the dialects make them."""
    template = template or {"call_template_type": "http", "url": "https://api.example.com/x", "http_method": "GET"}
    return {"name": name, "description": "", "inputs": OBJECT, "tags": [], "tool_call_template": template, **fields}
