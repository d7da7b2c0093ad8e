"""How a session with an MCP server is opened when the server refuses the version of the first request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.upstreams.registry_service import served

from utcp_bridge import UtcpClient

pytestmark = pytest.mark.anyio

VERSION = "2026-07-28"
COMPLETE = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
RESULTS = {
    "server/discover": {"supportedVersions": [VERSION], "capabilities": {"tools": {}}, **COMPLETE},
    "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}], **COMPLETE},
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "old", "version": "1"},
    },
}


class Refusing:
    """A server that refuses `server/discover` a number of times and names the versions that it speaks."""

    def __init__(self, times: int, supported: Any) -> None:
        self.seen: list[str] = []
        self._times = times
        self._supported = supported
        self.app = Starlette(routes=[Route("/mcp", self._post, methods=["POST"])])

    async def _post(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        method = asked["method"]
        self.seen.append(method)
        if "id" not in asked:
            return Response(status_code=202)
        envelope = {"jsonrpc": "2.0", "id": asked["id"]}
        if method == "server/discover" and self.seen.count(method) <= self._times:
            error = {"code": -32022, "message": "Unsupported protocol version", "data": self._supported}
            return JSONResponse({**envelope, "error": error}, status_code=400)
        if method not in RESULTS:
            return JSONResponse({**envelope, "error": {"code": -32601, "message": "Unknown"}}, status_code=404)
        return JSONResponse({**envelope, "result": RESULTS[method]})

    @property
    def opening(self) -> list[str]:
        """The requests in order, without the one that listens: it goes its own way, beside the others."""
        return [method for method in self.seen if method != "subscriptions/listen"]


async def tools_of(server: Refusing) -> list[str]:
    with served(server.app) as url:
        manual = {"name": "m", "call_template_type": "mcp", "server_url": f"{url}/mcp"}
        async with await UtcpClient.create({"manual_call_templates": [manual]}) as client:
            return [tool.name for tool in client.tools()]


async def test_a_server_that_names_a_version_is_asked_again_with_it() -> None:
    server = Refusing(1, {"supported": [VERSION], "requested": VERSION})
    assert await tools_of(server) == ["echo"]
    assert server.opening[:3] == ["server/discover", "server/discover", "tools/list"]
    assert "initialize" not in server.seen


async def test_a_server_that_refuses_twice_is_sent_initialize() -> None:
    server = Refusing(9, {"supported": [VERSION, "2025-11-25"]})
    assert await tools_of(server) == ["echo"]
    assert server.opening[:3] == ["server/discover", "server/discover", "initialize"]


@pytest.mark.parametrize(
    "data", [None, "2026-07-28", {}, {"supported": "2026-07-28"}, {"supported": [7, "2025-11-25"]}]
)
async def test_a_server_that_names_no_version_of_ours_is_sent_initialize_at_once(data: Any) -> None:
    server = Refusing(9, data)
    assert await tools_of(server) == ["echo"]
    assert server.opening[:2] == ["server/discover", "initialize"]
