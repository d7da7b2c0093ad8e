"""FastMCP's own way to the same tools: `FastMCP.from_openapi`, tuned (stateless, JSON, no access log).

python -m benchmarks.harness.fastmcp_server CATALOGUE [--http]      needs fastmcp
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx2
from benchmarks.harness.listening import listen
from fastmcp import FastMCP


def openapi(catalogue: dict[str, Any]) -> dict[str, Any]:
    """The same tools as an OpenAPI description; FastMCP asks for one path per tool."""
    paths: dict[str, Any] = {}
    for tool in catalogue["tools"]:
        parameters = [
            {"name": name, "in": "query", "schema": schema} for name, schema in tool["inputs"]["properties"].items()
        ]
        operation = {
            "operationId": tool["name"],
            "description": tool["description"],
            "parameters": parameters,
            "responses": {"200": {"description": "ok"}},
        }
        paths[f"/tool/{tool['name']}"] = {"get": operation}
    return {"openapi": "3.1.0", "info": {"title": "catalogue", "version": "1"}, "paths": paths}


class OnePath(httpx2.AsyncHTTPTransport):
    """Leads every path to the one that the upstream answers from ready bytes."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(path=self._path)
        return await super().handle_async_request(request)


def main() -> None:
    catalogue = json.loads(Path(sys.argv[1]).read_bytes())
    url = httpx2.URL(catalogue["tools"][0]["tool_call_template"]["url"])
    client = httpx2.AsyncClient(base_url=url.copy_with(path="/"), transport=OnePath(url.path))
    server = FastMCP.from_openapi(openapi(catalogue), client=client, name="catalogue")
    if "--http" not in sys.argv:
        server.run(transport="stdio", show_banner=False)
        return
    import uvicorn

    listener = listen()
    print(f"Serving MCP on http://127.0.0.1:{listener.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
    app = server.http_app(path="/mcp", json_response=True, stateless_http=True)
    config = uvicorn.Config(app, loop="asyncio", http="httptools", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
