"""Resources of MCP servers as tools (pure): one that reads each, one with parameters for each template."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utcp_bridge.model import Binary, ContentBlocks, JsonObject

__all__ = ["ResourceTemplate", "resource_tools", "resource_value"]

_HINTS = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}


@dataclass(frozen=True, slots=True)
class ResourceTemplate:
    """A template as the server describes it, and its variables: by name, whether one is required."""

    described: JsonObject
    variables: Mapping[str, bool]


def resource_tools(
    server: str, resources: Iterable[JsonObject], templates: Iterable[ResourceTemplate], *, flat: bool
) -> list[JsonObject]:
    """Normalised tool objects named `resource_<name>` (UTCP v1, mcp), after their server unless `flat`.

    A template's variables are the tool's arguments. A name that is taken gets a number.
    """
    tools: list[JsonObject] = []
    taken: set[str] = set()
    nothing: JsonObject = {"type": "object", "properties": {}, "additionalProperties": False}
    for resource in resources:
        uri = str(resource.get("uri", ""))
        overlay = {"server": server, "resource_uri": uri}
        tools.append(_tool(_name(resource, uri, server, taken, flat=flat), resource, f"Read {uri}.", nothing, overlay))
    for template in templates:
        pattern = str(template.described.get("uriTemplate", ""))
        properties: JsonObject = {name: {"type": "string"} for name in template.variables}
        required = [name for name, is_required in template.variables.items() if is_required]
        inputs = {**nothing, "properties": properties, "required": required}
        overlay = {"server": server, "resource_template": pattern}
        name = _name(template.described, pattern, server, taken, flat=flat)
        tools.append(_tool(name, template.described, f"Read {pattern}.", inputs, overlay))
    return tools


def resource_value(contents: Sequence[JsonObject]) -> Any:
    """What reading came to: text, bytes, or every part as an embedded resource where there are several."""
    if len(contents) != 1:
        return ContentBlocks([{"type": "resource", "resource": dict(one)} for one in contents])
    [only] = contents
    if isinstance(only.get("text"), str):
        return only["text"]
    try:
        data = base64.b64decode(str(only.get("blob", "")), validate=True)
    except (binascii.Error, ValueError):
        return ContentBlocks([{"type": "resource", "resource": dict(only)}])
    return Binary(data, str(only.get("mimeType") or "application/octet-stream"))


def _tool(name: str, described: JsonObject, otherwise: str, inputs: JsonObject, overlay: JsonObject) -> JsonObject:
    made: JsonObject = {
        "name": name,
        "description": described.get("description") or otherwise,
        "inputs": inputs,
        "tags": ["resource"],
        "annotations": dict(_HINTS),
        "overlay": overlay,
    }
    return {**made, "title": described["title"]} if described.get("title") else made


def _name(described: JsonObject, uri: str, server: str, taken: set[str], *, flat: bool) -> str:
    words = re.sub(r"\W+", "_", str(described.get("name") or uri), flags=re.ASCII).strip("_") or "unnamed"
    name, number = f"resource_{words}", 1
    while name in taken:
        number += 1
        name = f"resource_{words}_{number}"
    taken.add(name)
    return name if flat else f"{server}.{name}"
