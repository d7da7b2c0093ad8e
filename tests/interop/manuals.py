"""Manuals of an operator, for programs that have none: tools with templates, as text."""

from __future__ import annotations

import json
from typing import Any


def manual(name: str, kind: str, **templates: dict[str, Any]) -> dict[str, Any]:
    """A `text` manual with one tool of `kind` per template; every argument is accepted. May reach loopback."""
    tools = [
        {
            "name": tool,
            "inputs": template.pop("inputs", {"type": "object"}),
            "tool_call_template": {"call_template_type": kind, **template},
        }
        for tool, template in templates.items()
    ]
    return {
        "name": name,
        "call_template_type": "text",
        "content": json.dumps({"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": tools}),
        "allowed_communication_protocols": [kind],
        "allow_networks": ["127.0.0.0/8"],
    }
