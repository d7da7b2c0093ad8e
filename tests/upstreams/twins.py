"""An MCP server and its replacement: a REST service with an OpenAPI description and the same tools.

Run as a program, it is the MCP server over stdio: `python twins.py`. Its calls are appended to the file in `TWIN_LOG`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mcp_types as types
from aiohttp import web
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

Schema = dict[str, Any]
CITY: Schema = {"type": "string", "description": "Where.", "enum": ["Oslo", "Lima"]}
DESCRIPTIONS = {
    "forecast": "Return the weather of tomorrow.",
    "convert": "Convert degrees.",
    "note": "Write a note.",
}
PARAMETERS: dict[str, Schema] = {
    "forecast": {"city": CITY},
    "convert": {"celsius": {"type": "number", "default": 20}},
    "note": {"text": {"type": "string", "default": "hello"}},
}


def reply(tool: str, arguments: dict[str, Any]) -> Any:
    if tool == "forecast":
        return {"city": arguments["city"], "sky": ["clear", "calm"], "made_at": os.urandom(4).hex()}
    if tool == "convert":
        return {"fahrenheit": float(arguments["celsius"]) * 9 / 5 + 32}
    return {"kept": arguments["text"]}


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def make_server() -> Server[Any]:
    tools = [
        types.Tool(
            name=name,
            description=DESCRIPTIONS[name],
            input_schema={
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": properties,
                "required": list(properties),
            },
            annotations={"readOnlyHint": name != "note"},
        )
        for name, properties in PARAMETERS.items()
    ]

    async def list_tools(_ctx: Any, _params: Any) -> Any:
        return types.ListToolsResult(tools=tools)

    async def call_tool(_ctx: Any, params: Any) -> Any:
        if (log := os.environ.get("TWIN_LOG")) is not None:
            _append(Path(log), f"{params.name}\n")
        text = json.dumps(reply(params.name, params.arguments or {}), indent=2)
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)])

    return Server("old", on_list_tools=list_tools, on_call_tool=call_tool)


@dataclass
class RestTwin:
    """The REST service. `change` changes each of its replies; `gate`, if set, holds them back, and `held` its
    description. `outputs` are schemas of replies.
    """

    base: str = ""
    descriptions: dict[str, str] = field(default_factory=lambda: DESCRIPTIONS)
    parameters: dict[str, Schema] = field(default_factory=lambda: PARAMETERS)
    outputs: dict[str, Schema] = field(default_factory=dict)
    reply: Callable[[str, dict[str, Any]], Any] = reply
    change: Callable[[str, Any], Any] = lambda _tool, value: value
    calls: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    held: asyncio.Event | None = None
    fails: bool = False

    async def handle(self, request: web.Request) -> web.Response:
        tool = request.match_info["tool"]
        self.calls.append(tool)
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            return web.Response(status=500, text="broken")
        arguments = await request.json() if tool == "note" else dict(request.query)
        value = self.change(tool, self.reply(tool, arguments))
        return web.Response(text=value) if isinstance(value, str) else web.json_response(value)

    async def describe(self, _request: web.Request) -> web.Response:
        if self.held is not None:
            await self.held.wait()
        paths: Schema = {}
        for name, properties in self.parameters.items():
            reply = {"content": {"application/json": {"schema": self.outputs[name]}}} if name in self.outputs else {}
            responses = {"200": {"description": "The reply.", **reply}}
            operation: Schema = {"operationId": name, "description": self.descriptions[name], "responses": responses}
            if name == "note":
                schema = {"type": "object", "properties": properties, "required": list(properties)}
                operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
            else:
                operation["parameters"] = [
                    {"name": key, "in": "query", "required": True, "schema": schema}
                    for key, schema in properties.items()
                ]
            paths[f"/{name}"] = {"post" if name == "note" else "get": operation}
        info = {"title": "Twin", "version": "1"}
        return web.json_response({"openapi": "3.1.0", "info": info, "servers": [{"url": self.base}], "paths": paths})


@asynccontextmanager
async def rest_twin(twin: RestTwin | None = None) -> AsyncIterator[RestTwin]:
    twin = twin or RestTwin()
    app = web.Application()
    app.router.add_get("/openapi.json", twin.describe)
    app.router.add_route("*", "/{tool}", twin.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    twin.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield twin
    finally:
        await runner.cleanup()


async def _main() -> None:
    server = make_server()
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(_main())
