"""The floor: the least that an MCP server with an HTTP tool must do, written with the SDK as its documentation says.

    python -m benchmarks.harness.floor CATALOGUE [--http]

Low-level server, schema look-up set, stateless JSON over HTTP (uvicorn, httptools), one pooled httpx2 client, text
content only. No validation, no limits, no deadline, no dialects, no policy.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from benchmarks.harness.listening import listen
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server


def build(catalogue: dict[str, Any], http: httpx2.AsyncClient) -> Server[Any]:
    by_name = {tool["name"]: tool for tool in catalogue["tools"]}
    listed = [
        types.Tool(name=tool["name"], description=tool["description"], input_schema=tool["inputs"])
        for tool in catalogue["tools"]
    ]

    async def on_list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed, ttl_ms=60_000, cache_scope="private")

    async def on_call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        url = by_name[params.name]["tool_call_template"]["url"]
        reply = await http.get(url, params=params.arguments)
        reply.raise_for_status()
        return types.CallToolResult(content=[types.TextContent(type="text", text=reply.text)])

    return Server(
        "floor",
        version="1",
        on_list_tools=on_list_tools,
        on_call_tool=on_call_tool,
        get_tool_input_schema=lambda name: by_name[name]["inputs"] if name in by_name else None,
    )


async def main(path: str, *, over_http: bool) -> None:
    catalogue = json.loads(Path(path).read_bytes())  # noqa: ASYNC240 - nothing else runs yet
    async with httpx2.AsyncClient() as http:
        server = build(catalogue, http)
        if not over_http:
            async with stdio_server() as (reader, writer):
                await server.run(reader, writer, server.create_initialization_options())
            return
        listener = listen()
        app = server.streamable_http_app(json_response=True, stateless_http=True)
        config = uvicorn.Config(app, loop="asyncio", http="httptools", log_level="warning", access_log=False)
        print(f"Serving MCP on http://127.0.0.1:{listener.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], over_http="--http" in sys.argv))
