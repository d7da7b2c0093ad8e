"""A real MCP server on the SDK's low-level class: over stdio as a program, or over HTTP in process.

Run as a program: `python mcp_server.py NAME [hang|junk|die]`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

PNG = base64.b64encode(b"\x89PNG not really").decode()


def make_server(name: str, seen: dict[str, asyncio.Event] | None = None) -> Server[Any]:
    """Return a server whose tools do one thing each. `seen` records when slow calls arrive and end."""
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

    return Server(
        name,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=_read_resource,
    )


async def _list_resources(_ctx: Any, params: Any) -> Any:
    """Return resources in two pages; two of them have the same name."""
    if params is not None and params.cursor == "2":
        return types.ListResourcesResult(resources=[types.Resource(name="the guide", uri="memo://pair")])
    guide = types.Resource(name="the guide", uri="memo://guide", description="Read me first.", title="Guide")
    return types.ListResourcesResult(
        resources=[guide, types.Resource(name="logo", uri="memo://logo", mime_type="image/png")], next_cursor="2"
    )


async def _list_templates(_ctx: Any, _params: Any) -> Any:
    good = types.ResourceTemplate(name="note", uri_template="memo://notes/{id}{?lang}")
    return types.ListResourceTemplatesResult(
        resource_templates=[good, types.ResourceTemplate(name="bad", uri_template="memo://{unclosed")]
    )


async def _read_resource(_ctx: Any, params: Any) -> Any:
    uri = str(params.uri)
    text = types.TextResourceContents(uri=uri, text=f"This is {uri}.", mime_type="text/plain")
    if uri == "memo://logo":
        blob = types.BlobResourceContents(uri=uri, blob=PNG, mime_type="image/png")
        return types.ReadResourceResult(contents=[blob])
    return types.ReadResourceResult(contents=[text, text] if uri == "memo://pair" else [text])


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

    async def flood(self, arguments: dict[str, Any]) -> Any:
        return _said("x" * (int(arguments.get("text") or 200_000) + 1))

    async def many(self, arguments: dict[str, Any]) -> Any:
        """Return this number of empty lists. The list of tools does not have it."""
        lists = {"lists": [[]] * int(arguments["text"])}
        return types.CallToolResult(content=[types.TextContent(type="text", text="{[,")], structured_content=lists)

    async def die(self, _arguments: dict[str, Any]) -> Any:
        os._exit(3)


def _said(text: str) -> Any:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


@asynccontextmanager
async def http_server(
    name: str,
    seen: dict[str, asyncio.Event] | None = None,
    headers: dict[bytes, bytes] | None = None,
    admits: Callable[[bytes], bool] = lambda _authorization: True,
    *,
    json_replies: bool = False,
) -> AsyncIterator[str]:
    """Serve on streamable HTTP and yield the URL. `headers` receives the headers of the last request. A request whose
    Authorization header `admits` refuses gets status 401. With `json_replies` replies are JSON instead of events.
    """
    served = make_server(name, seen).streamable_http_app(json_response=json_replies)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if headers is not None:
            headers.update(scope.get("headers", ()))
        if scope["type"] == "http" and not admits(dict(scope["headers"]).get(b"authorization", b"")):
            await Response(status_code=401)(scope, receive, send)
            return
        await served(scope, receive, send)

    async with serving(app) as base:
        yield f"{base}/mcp"


@asynccontextmanager
async def sse_server(name: str) -> AsyncIterator[str]:
    """Serve on the HTTP+SSE transport of 2024-11-05 and yield the URL."""
    transport = SseServerTransport("/messages/")
    server = make_server(name)

    async def handle(request: Request) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (read, write):
            await server.run(read, write, server.create_initialization_options())
        return Response()

    routes = [Route("/sse", handle), Mount("/messages/", app=transport.handle_post_message)]
    async with serving(Starlette(routes=routes)) as base:
        yield f"{base}/sse"


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has only a flag
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def _main(name: str, manner: str) -> None:
    if manner == "hang":
        await asyncio.Event().wait()
    if manner == "junk":
        print("this is no JSON-RPC", flush=True)  # noqa: T201 - the noise is intended
    if manner == "die":
        os._exit(1)
    server = make_server(name)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options(NotificationOptions(tools_changed=True)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
