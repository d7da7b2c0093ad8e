"""A service with all that a host may ask for: 506 tools, nested arguments, a picture, errors, slow calls, 10 MB."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

FILLERS = 500
BIG = 10_000_000
"""Bytes of the large reply."""

_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
_LINE = {
    "type": "object",
    "properties": {"sku": {"type": "string"}, "qty": {"type": "integer", "minimum": 1}},
    "required": ["sku", "qty"],
}
_ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "lines": {"type": "array", "items": _LINE},
        "kind": {"type": "string", "enum": ["rush", "normal"]},
    },
    "required": ["id", "lines"],
}
_BODY = {
    "type": "object",
    "properties": {
        "order": _ORDER,
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string"},
        "urgent": {"type": "boolean"},
    },
    "required": ["order"],
}
_NESTED = {
    "type": "object",
    "properties": {"body": _BODY, "trace": {"type": "string"}, "page": {"type": "integer"}},
    "required": ["body"],
}
_COUNTED = {
    "type": "object",
    "properties": {"got": {"type": "object"}, "count": {"type": "integer"}},
    "required": ["got", "count"],
}
_NOTHING = {"type": "object", "properties": {}}

ORDER = {"id": 7, "lines": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 1}], "kind": "rush"}


class Storehouse:
    """The service, and what it saw: `async with served(storehouse.app)` runs it."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: Counter[str] = Counter()
        """Calls by path; `slow cancelled` counts those whose caller went away."""
        self.steps = threading.Semaphore(0)
        """Each release lets the tool `progress` go one step on: three reports, then the end."""
        self._grown = 0
        posts = {
            "nested": nested,
            "image": image,
            "fail": fail,
            "big": big,
            "progress": self._progress,
            "slow": self._slow,
        }
        routes = [Route(f"/{name}", reply, methods=["POST"]) for name, reply in posts.items()]
        self.app = Starlette(routes=[Route("/utcp", self._manual), *routes])

    def grow(self) -> str:
        """Add a tool, and return its name."""
        self._grown += 1
        return f"grown_{self._grown}"

    @property
    def original(self) -> list[str]:
        """The tools that it begins with."""
        return [*_TOOLS, *(f"filler_{number:03}" for number in range(FILLERS))]

    @property
    def names(self) -> list[str]:
        return [*self.original, *(f"grown_{number + 1}" for number in range(self._grown))]

    async def _manual(self, request: Request) -> Response:
        base = str(request.base_url)
        tools = [_tool(name, base) for name in self.names]
        return JSONResponse({"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": tools})

    async def _progress(self, request: Request) -> Response:
        async def lines() -> AsyncIterator[str]:
            for step in (1, 2, 3):
                await asyncio.to_thread(self.steps.acquire, timeout=60)
                yield json.dumps({"progress": step, "total": 3, "message": f"step {step}"}) + "\n"
            await asyncio.to_thread(self.steps.acquire, timeout=60)

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def _slow(self, request: Request) -> Response:
        """Wait until the caller goes away."""
        await request.body()
        self.seen["slow started"] += 1
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.seen["slow cancelled"] += 1
        return Response(status_code=499)


_TOOLS: dict[str, dict[str, Any]] = {
    "nested": {"inputs": _NESTED, "outputs": _COUNTED},
    "image": {"inputs": _NOTHING},
    "fail": {"inputs": _NOTHING},
    "progress": {"inputs": _NOTHING, "kind": "streamable_http"},
    "slow": {"inputs": _NOTHING},
    "big": {"inputs": _NOTHING},
}


def _tool(name: str, base: str) -> dict[str, Any]:
    filler = (
        {"inputs": _NESTED, "path": "nested"} if name.startswith("filler") else {"inputs": _NOTHING, "path": "image"}
    )
    parts = _TOOLS.get(name, filler)
    template = {
        "call_template_type": parts.get("kind", "http"),
        "url": f"{base}{parts.get('path', name)}",
        "http_method": "POST",
    }
    if "body" in parts["inputs"]["properties"]:
        template["body_field"] = "body"
    tool = {"name": name, "description": f"Storehouse: {name}.", "inputs": parts["inputs"]}
    outputs = {"outputs": parts["outputs"]} if "outputs" in parts else {}
    return {**tool, **outputs, "tool_call_template": template}


async def nested(request: Request) -> Response:
    got = await request.json()
    return JSONResponse({"got": got, "count": len(got["order"]["lines"])})


async def image(request: Request) -> Response:
    return Response(_PNG, media_type="image/png")


async def fail(request: Request) -> Response:
    return JSONResponse({"title": "stock is empty"}, status_code=409)


async def big(request: Request) -> Response:
    """Return 10 MB of rows."""
    row = {"sku": "tea", "qty": 1, "note": "x" * 200}
    rows = BIG // len(json.dumps(row))
    return JSONResponse({"rows": [row] * (rows + 1)})
