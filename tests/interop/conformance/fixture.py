"""The tools that the suites call, as a service that speaks HTTP only, and its UTCP manual.

Bodies of several media types become content blocks, lines of a stream become progress, and events named `log` become
log messages.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
_WAV = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")
_NOTHING = {"type": "object", "properties": {}}
_ADDRESS = {
    "$anchor": "addressDef",
    "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}
_PERSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": _ADDRESS},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""The schema whose keywords the suite looks for in the list of tools."""
_RECORD = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
_REGION = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


async def text(_request: Request) -> Response:
    return Response("This is a simple text response for testing.", media_type="text/plain")


async def image(_request: Request) -> Response:
    return Response(PNG, media_type="image/png")


async def audio(_request: Request) -> Response:
    return Response(_WAV, media_type="audio/wav")


async def embedded(_request: Request) -> Response:
    headers = {"content-location": "test://embedded-resource"}
    return Response("This is an embedded resource content.", media_type="text/plain", headers=headers)


async def mixed(_request: Request) -> Response:
    """Return three parts: a text, a picture, and a resource with its address."""
    parts = (
        (b"Content-Type: text/plain", b"Multiple content types test:"),
        (b"Content-Type: image/png", PNG),
        (
            b"Content-Type: application/json\r\nContent-Location: test://mixed-content-resource",
            b'{"test":"data","value":123}',
        ),
    )
    body = b"".join(b"--part\r\n%s\r\n\r\n%s\r\n" % part for part in parts) + b"--part--\r\n"
    return Response(body, media_type="multipart/mixed; boundary=part")


async def record(request: Request) -> Response:
    """Return the data of the resource template."""
    given = request.query_params["id"]
    return JSONResponse({"id": given, "templateTest": True, "data": f"Data for ID: {given}"})


async def failing(_request: Request) -> Response:
    words = "This tool intentionally returns an error for testing"
    return Response(words, status_code=500, media_type="text/plain")


async def progress(_request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        for step in (0, 50, 100):
            yield json.dumps({"progress": step, "total": 100, "message": f"Completed step {step} of 100"}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def logging(_request: Request) -> Response:
    async def events() -> AsyncIterator[str]:
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            yield f"event: log\ndata: {words}\n\n"
        yield "data: done\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


_Reply = Callable[[Request], Awaitable[Response]]
_TOOLS: dict[str, tuple[_Reply, str, dict[str, Any]]] = {
    "test_simple_text": (text, "http", _NOTHING),
    "test_image_content": (image, "http", _NOTHING),
    "test_audio_content": (audio, "http", _NOTHING),
    "test_embedded_resource": (embedded, "http", _NOTHING),
    "test_multiple_content_types": (mixed, "http", _NOTHING),
    "test_error_handling": (failing, "http", _NOTHING),
    "test_tool_with_progress": (progress, "streamable_http", _NOTHING),
    "test_tool_with_logging": (logging, "sse", _NOTHING),
    "test_logging_tool": (logging, "sse", _NOTHING),
    "json_schema_2020_12_tool": (text, "http", _PERSON),
    "test_x_mcp_header": (text, "http", _REGION),
    "test_record": (record, "http", _RECORD),
}
_PICTURE = {"type": "image", "data": base64.b64encode(PNG).decode(), "mimeType": "image/png"}
_ADDRESSED = {"uri": "{resourceUri}", "mimeType": "text/plain", "text": "Embedded resource content for testing."}
_RESOURCES = {
    "test://static-text": {"text": "This is the content of the static text resource.", "mimeType": "text/plain"},
    "test://static-binary": {"blob": _PICTURE["data"], "mimeType": "image/png"},
    "test://watched-resource": {"text": "Watched resource content", "mimeType": "text/plain"},
    "test://template/{id}/data": {"tool": "test_record", "mimeType": "application/json"},
}
_PROMPTS = {
    "test_simple_prompt": {"description": "A simple one.", "text": "This is a simple prompt for testing."},
    "test_prompt_with_arguments": {
        "description": "One with arguments.",
        "arguments": {
            "arg1": {"description": "The first.", "required": True},
            "arg2": {"description": "The second.", "required": True},
        },
        "text": "Prompt with arguments: arg1='{arg1}', arg2='{arg2}'",
    },
    "test_prompt_with_embedded_resource": {
        "description": "One with a resource.",
        "arguments": {"resourceUri": {"description": "Its address.", "required": True}},
        "messages": [
            {"role": "user", "content": {"type": "resource", "resource": _ADDRESSED}},
            {"role": "user", "text": "Please process the embedded resource above."},
        ],
    },
    "test_prompt_with_image": {
        "description": "One with a picture.",
        "messages": [
            {"role": "user", "content": _PICTURE},
            {"role": "user", "text": "Please analyze the image above."},
        ],
    },
}
"""What hosts read and choose besides the tools, as the manual itself maps it."""


def _tool(name: str, base: str) -> dict[str, Any]:
    _, kind, inputs = _TOOLS[name]
    template = {"call_template_type": kind, "url": f"{base}{name}", "http_method": "POST"}
    return {"name": name, "description": f"Tests {name}.", "inputs": inputs, "tool_call_template": template}


async def _manual(request: Request) -> Response:
    tools = [_tool(name, str(request.base_url)) for name in _TOOLS]
    maps = {"resources": _RESOURCES, "prompts": _PROMPTS}
    return JSONResponse({"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": tools, **maps})


app = Starlette(
    routes=[
        Route("/utcp", _manual),
        *(Route(f"/{name}", reply, methods=["POST"]) for name, (reply, _, _) in _TOOLS.items()),
    ]
)
