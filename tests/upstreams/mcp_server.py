"""A real MCP server on the SDK's low-level class: over stdio as a program, or over HTTP in process.

Run as a program: `python mcp_server.py NAME [hang|junk|die]`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server

PNG = base64.b64encode(b"\x89PNG not really").decode()


def make_server(name: str, seen: dict[str, asyncio.Event] | None = None) -> Server[Any]:
    """A server whose tools do one thing each; `seen` hears of slow calls that arrive and go."""
    text = {"type": "object", "properties": {"text": {"type": "string"}}, "x-kept": True}
    tools = [
        types.Tool(name=tool, input_schema=text, description=f"Does {tool}.", annotations={"readOnlyHint": True})
        for tool in ("echo", "who", "fail", "picture", "count", "slow", "die", "flood", "error")
    ]

    async def list_tools(_ctx: Any, _params: Any) -> Any:
        return types.ListToolsResult(tools=tools)

    async def call_tool(ctx: Any, params: Any) -> Any:
        arguments = params.arguments or {}
        return await getattr(_Tools(name, seen, ctx), params.name)(arguments)

    return Server(name, on_list_tools=list_tools, on_call_tool=call_tool)


class _Tools:
    def __init__(self, name: str, seen: dict[str, asyncio.Event] | None, ctx: Any) -> None:
        self.name, self.seen, self.ctx = name, seen or {}, ctx

    async def echo(self, arguments: dict[str, Any]) -> Any:
        content = [types.TextContent(type="text", text=str(arguments.get("text")))]
        return types.CallToolResult(content=content, structured_content={"text": arguments.get("text")})

    async def who(self, _arguments: dict[str, Any]) -> Any:
        return _said(self.name)

    async def fail(self, _arguments: dict[str, Any]) -> Any:
        return types.CallToolResult(content=[types.TextContent(type="text", text="kaput")], is_error=True)

    async def error(self, _arguments: dict[str, Any]) -> Any:
        raise MCPError(-32050, "no such thing")

    async def picture(self, _arguments: dict[str, Any]) -> Any:
        return types.CallToolResult(content=[types.ImageContent(type="image", data=PNG, mime_type="image/png")])

    async def count(self, arguments: dict[str, Any]) -> Any:
        for number in range(int(arguments["text"])):
            await self.ctx.session.report_progress(number, None, f"at {number}")
        return _said("done")

    async def slow(self, _arguments: dict[str, Any]) -> Any:
        if "arrived" in self.seen:
            self.seen["arrived"].set()
        try:
            await asyncio.Event().wait()
        finally:
            if "gone" in self.seen:
                self.seen["gone"].set()

    async def flood(self, _arguments: dict[str, Any]) -> Any:
        return _said("x" * 200_000)

    async def die(self, _arguments: dict[str, Any]) -> Any:
        os._exit(3)


def _said(text: str) -> Any:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


@asynccontextmanager
async def http_server(
    name: str, seen: dict[str, asyncio.Event] | None = None, headers: dict[bytes, bytes] | None = None
) -> AsyncIterator[str]:
    """The server on streamable HTTP; its URL. `headers` receives those of the last request."""
    served = make_server(name, seen).streamable_http_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if headers is not None:
            headers.update(scope.get("headers", ()))
        await served(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells by a flag
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        await serving


async def _main(name: str, manner: str) -> None:
    if manner == "hang":
        await asyncio.Event().wait()
    if manner == "junk":
        print("this is no JSON-RPC", flush=True)  # noqa: T201 - the very thing
    if manner == "die":
        os._exit(1)
    server = make_server(name)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options(NotificationOptions(tools_changed=True)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
