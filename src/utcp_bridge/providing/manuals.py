"""The UTCP v1 manual of tools that one HTTP server offers: each is called by `POST BASE/utcp/tools/NAME`.

Only keys that every released UTCP client accepts are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from utcp_bridge.converting.outcome import UTCP_VERSION
from utcp_bridge.model import JsonObject
from utcp_bridge.providing.answers import NDJSON

__all__ = ["ProvidedTool", "manual_of", "provided_tool", "wants_streaming"]


@dataclass(frozen=True, slots=True)
class ProvidedTool:
    """What a manual says of a tool; `outputs` is None where nothing is promised."""

    name: str
    description: str
    inputs: JsonObject
    outputs: JsonObject | None = None
    tags: tuple[str, ...] = ()
    streams: bool = False
    average_response_size: int | None = None


def manual_of(tools: Iterable[JsonObject], *, version: str) -> JsonObject:
    """A manual of these tool objects; `version` is the manual's own."""
    return {"utcp_version": UTCP_VERSION, "manual_version": version, "tools": list(tools)}


def provided_tool(
    tool: ProvidedTool, base: str, *, auth: JsonObject | None = None, streaming: bool = False
) -> JsonObject:
    """A tool object whose calls go to `base`, the URL of the manual itself.

    With `streaming`, tools that stream are written as such. By UTCP's rules a client leaves them out then, unless
    it allows that protocol beside the manual's own; without it they answer a list at their end.
    """
    streams = streaming and tool.streams
    template: dict[str, Any] = {
        "call_template_type": "streamable_http" if streams else "http",
        "http_method": "POST",
        "url": f"{base.rstrip('/')}/tools/{quote(tool.name, safe='')}",
        "content_type": "application/json",
        "body_field": "*",
    }
    if streams:
        template["headers"] = {"Accept": NDJSON}
    if auth:
        template["auth"] = auth
    described: JsonObject = {"name": tool.name, "description": tool.description, "inputs": tool.inputs}
    if tool.outputs:
        described["outputs"] = tool.outputs
    described["tags"] = list(tool.tags)
    if tool.average_response_size is not None:
        described["average_response_size"] = tool.average_response_size
    return {**described, "tool_call_template": template}


def wants_streaming(request: Request) -> bool:
    """Whether a manual is asked for with `?streaming=true`."""
    return request.query_params.get("streaming", "").lower() in {"1", "true", "yes"}
