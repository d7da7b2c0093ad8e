"""The UTCP v1 manual of tools that one HTTP server offers: each is called by `POST BASE/utcp/tools/NAME`.

Only keys that every released UTCP client accepts are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from utcp_bridge.convert.outcome import UTCP_VERSION
from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import JsonObject
from utcp_bridge.providing.answers import NDJSON

__all__ = ["ManualForm", "ProvidedTool", "manual_of", "provided_tool", "read_form"]


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


@dataclass(frozen=True, slots=True)
class ManualForm:
    """What of a manual its client may choose. `url` is the manual's own.

    With `streaming`, tools that stream are written as such: by UTCP's rules a client leaves them out then, unless it
    allows that protocol beside the manual's own. Without it they answer a list at their end.

    With `in_body`, each tool has one argument, `body`, which is the request's body: released clients of the reference
    library write all others into the query, where there are neither truth values nor objects.
    """

    url: str
    streaming: bool = False
    in_body: bool = False


def manual_of(tools: Iterable[JsonObject], *, version: str) -> JsonObject:
    """A manual of these tool objects; `version` is the manual's own."""
    return {"utcp_version": UTCP_VERSION, "manual_version": version, "tools": list(tools)}


def read_form(request: Request, url: str | None = None) -> ManualForm:
    """The form that a request asks for, at `url` or else its own URL. Raises InvalidArguments."""
    arguments = request.query_params.get("arguments", "flat")
    if arguments not in {"flat", "body"}:
        raise InvalidArguments("`arguments` is flat or body.")
    streaming = request.query_params.get("streaming", "").lower() in {"1", "true", "yes"}
    return ManualForm(url or str(request.url.replace(query="")), streaming, in_body=arguments == "body")


def provided_tool(tool: ProvidedTool, form: ManualForm, *, auth: JsonObject | None = None) -> JsonObject:
    """A tool object whose calls go below the manual's own address."""
    streams = form.streaming and tool.streams
    template: dict[str, Any] = {
        "call_template_type": "streamable_http" if streams else "http",
        "http_method": "POST",
        "url": f"{form.url.rstrip('/')}/tools/{quote(tool.name, safe='')}",
        "content_type": "application/json",
        "body_field": "body" if form.in_body else "*",
    }
    if streams:
        template["headers"] = {"Accept": NDJSON}
    if auth:
        template["auth"] = auth
    inputs = _in_body(tool.inputs) if form.in_body else tool.inputs
    described: JsonObject = {"name": tool.name, "description": tool.description, "inputs": inputs}
    if tool.outputs:
        described["outputs"] = tool.outputs
    described["tags"] = list(tool.tags)
    if tool.average_response_size is not None:
        described["average_response_size"] = tool.average_response_size
    return {**described, "tool_call_template": template}


def _in_body(inputs: JsonObject) -> JsonObject:
    """A schema whose one argument is the object of all; definitions stay at the root, where references look."""
    shared: JsonObject = {word: inputs[word] for word in ("$schema", "$defs", "definitions") if word in inputs}
    body = {word: value for word, value in inputs.items() if word not in shared}
    required = {"required": ["body"]} if inputs.get("required") else {}
    return {**shared, "type": "object", "properties": {"body": body}, **required}
