"""An MCP server over streamable HTTP with sessions (2025-06-18), which can forget them and refuse in many ways.

async with McpSessionService() as server:
    server.url
    server.forget()        # as after a restart: no session is known any more
    server.executed        # the texts of the calls that were carried out
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

Refusal = Callable[[Any], web.Response]


def _error(status: int, code: int, message: str, ident: Any) -> web.Response:
    said = {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": ident}
    return web.json_response(said, status=status)


REFUSALS: dict[str, Refusal] = {
    "404": lambda _ident: web.Response(status=404, text="Not Found"),
    "404 json": lambda _ident: _error(404, -32001, "Session not found", None),
    "404 json with the id": lambda ident: _error(404, -32600, "Session not found", ident),
    "410": lambda _ident: web.Response(status=410),
    "400": lambda _ident: web.Response(status=400, text="Bad Request"),
    "400 json": lambda _ident: _error(400, -32000, "Bad Request: No valid session ID provided", None),
    "400 json with the id": lambda ident: _error(400, -32000, "Bad Request: Server not initialized", ident),
}
"""How servers refuse a session that they do not know."""


class McpSessionService:
    """The server. `refusal` answers requests of unknown sessions; `fault` is given instead of carrying out a call."""

    def __init__(self) -> None:
        self.refusal: Refusal = REFUSALS["404"]
        self.fault: Callable[[web.Request, Any], Awaitable[web.StreamResponse]] | None = None
        self.tools = ["echo", "who"]
        self.sessions: set[str] = set()
        self.opened = 0
        self.executed: list[str] = []
        self.listening = asyncio.Event()
        self.listeners: dict[web.StreamResponse, asyncio.Event] = {}
        """The streams of notifications, and what ends each."""
        self.hold: asyncio.Event | None = None
        """Calls wait for it before they are carried out."""
        self.holding = asyncio.Event()
        """Set when a call waits."""
        self.serves_stream = True
        self._names = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, at the same port as before."""
        app = web.Application()
        app.router.add_post("/mcp", self._post)
        app.router.add_get("/mcp", self._get)
        app.router.add_delete("/mcp", self._delete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Stop to listen, cut every connection, and forget everything."""
        self.forget()
        self.cut_streams()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def forget(self) -> None:
        """Forget all sessions."""
        self.sessions.clear()

    async def notify(self, method: str) -> None:
        """Send a notification to every listener."""
        event = f"event: message\ndata: {json.dumps({'jsonrpc': '2.0', 'method': method})}\n\n".encode()
        for response in list(self.listeners):
            await response.write(event)

    def cut_streams(self) -> None:
        """Break the streams of notifications in the middle."""
        self.listening.clear()
        for end in self.listeners.values():
            end.set()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        ident, method = message.get("id"), message["method"]
        if method == "server/discover":
            return _error(400, -32600, "Bad Request: Missing session ID", ident)
        if method == "initialize":
            return self._initialize(ident)
        if request.headers.get("Mcp-Session-Id") not in self.sessions:
            return self.refusal(ident)
        if ident is None:
            return web.Response(status=202)
        if method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]
            return web.json_response({"jsonrpc": "2.0", "id": ident, "result": {"tools": tools}})
        return await self._call(request, message)

    def _initialize(self, ident: Any) -> web.Response:
        self.opened += 1
        session = f"s{next(self._names)}"
        self.sessions.add(session)
        result = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "sessions", "version": "1"},
        }
        reply = {"jsonrpc": "2.0", "id": ident, "result": result}
        return web.json_response(reply, headers={"Mcp-Session-Id": session})

    async def _call(self, request: web.Request, message: Any) -> web.StreamResponse:
        ident = message["id"]
        if self.hold is not None:
            self.holding.set()
            await self.hold.wait()
        if self.fault is not None:
            return await self.fault(request, ident)
        text = str(message["params"].get("arguments", {}).get("text"))
        self.executed.append(text)
        content = [{"type": "text", "text": text}]
        return web.json_response({"jsonrpc": "2.0", "id": ident, "result": {"content": content}})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        session = request.headers.get("Mcp-Session-Id", "")
        if not self.serves_stream:
            return web.Response(status=404)
        if session not in self.sessions:
            return self.refusal(None)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        end = self.listeners[response] = asyncio.Event()
        self.listening.set()
        await end.wait()
        del self.listeners[response]
        abort(request)
        return response

    async def _delete(self, request: web.Request) -> web.Response:
        self.sessions.discard(request.headers.get("Mcp-Session-Id", ""))
        return web.Response(status=204)


def abort(request: web.Request) -> None:
    """Break the connection of a request."""
    if request.transport is not None:
        request.transport.abort()
