"""A manual without what released UTCP clients of other makers refuse: any key that the official models do not have."""

from __future__ import annotations

from utcp_bridge.convert.outcome import Converted

__all__ = ["portable"]

_MANUAL_KEYS = ("utcp_version", "manual_version", "tools")
_TOOL_KEYS = ("name", "description", "inputs", "outputs", "tags", "average_response_size", "tool_call_template")


def portable(converted: Converted) -> Converted:
    """The same manual with official keys only; a configuration stays as it is."""
    if not converted.is_manual:
        return converted
    tools = [{key: tool[key] for key in _TOOL_KEYS if key in tool} for tool in converted.tools]
    manual = {key: converted.document[key] for key in _MANUAL_KEYS if key in converted.document}
    return Converted({**manual, "tools": tools}, converted.name, notes=converted.notes)
