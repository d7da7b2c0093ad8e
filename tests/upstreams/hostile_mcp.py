"""An MCP server over HTTP that attacks its client in one way, and serves the protocol well otherwise, in either era.

    async with HostileMcp("2026-07-28", {"tools/call": endless_events}) as server:
        server.url

An attack is a function that gets the server, the connection and the message. It writes the whole response, bytes and
all, so that it can break every rule of HTTP. A call of the tool `good` is never attacked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Self, TypeAlias

INFO = {"name": "hostile", "version": "1"}
EVENTS = "text/event-stream"
Message: TypeAlias = dict[str, Any]


class Wire:
    """One request of a client: its method, its headers, and the bytes that go back."""

    def __init__(self, writer: asyncio.StreamWriter, method: str, headers: Mapping[str, str]) -> None:
        self.writer = writer
        self.method = method
        self.headers = headers
        self.is_open = False
        """Whether another request may follow on the connection."""

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()
        await asyncio.sleep(0)  # an attack without end shares the event loop with its client

    async def head(self, status: int = 200, *headers: tuple[str, str]) -> None:
        """Send the head of a response that the end of the connection ends."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        await self.send(f"HTTP/1.1 {status} x\r\nConnection: close\r\n{lines}\r\n".encode("latin-1"))

    async def whole(
        self, body: bytes, kind: str = "application/json", status: int = 200, *more: tuple[str, str]
    ) -> None:
        """Send a whole response."""
        await self.head(status, ("Content-Type", kind), ("Content-Length", str(len(body))), *more)
        await self.send(body)

    async def json(self, message: Any, *more: tuple[str, str]) -> None:
        """Send a message as JSON."""
        await self.whole(json.dumps(message).encode(), "application/json", 200, *more)

    async def events(self, *messages: Any) -> None:
        """Begin a stream of events, and send messages on it."""
        await self.head(200, ("Content-Type", EVENTS))
        for message in messages:
            await self.event(message)

    async def event(self, message: Any) -> None:
        """Send one message as an event."""
        text = message if isinstance(message, str) else json.dumps(message)
        await self.send(f"data: {text}\n\n".encode())


Attack: TypeAlias = Callable[["HostileMcp", Wire, Message], Awaitable[None]]


def result_of(message: Message, result: Any) -> Message:
    """Return the response to a request."""
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def notification(method: str, **params: Any) -> Message:
    """Return a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def text_of(text: str) -> Message:
    """Return the result of a call that is a text."""
    return {"content": [{"type": "text", "text": text}], "resultType": "complete"}


class HostileMcp:
    """The server. `attacks` has an attack for each method that is attacked; `GET` is the stream of notifications."""

    def __init__(
        self, version: str, attacks: Mapping[str, Attack] = {}, *, results: Mapping[str, Any] = {}, **capabilities: Any
    ) -> None:
        self.version = version
        self.attacks = attacks
        self.results = {
            "tools/list": {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("good", "bad")]},
            "resources/list": {"resources": [{"uri": "memo://a", "name": "a"}]},
            "resources/templates/list": {"resourceTemplates": []},
            "prompts/list": {"prompts": [{"name": "p"}]},
            "resources/read": {"contents": [{"uri": "memo://a", "text": "a"}]},
            "prompts/get": {"messages": []},
            "ping": {},
            **results,
        }
        self.capabilities = {"tools": {}, **capabilities}
        self.heard: list[Message] = []
        """Every message that arrived, also answers to requests of the server."""
        self.port = 0
        self.connections = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError):  # asyncio reports the error of a broken connection if nothing asks for it
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        wire = Wire(writer, head[0].split(" ")[0], headers)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        message: Message = json.loads(body) if body else {}
        if message:
            self.heard.append(message)
        method = message.get("method", "answer") if wire.method == "POST" else wire.method
        is_good = method == "tools/call" and message["params"]["name"] == "good"
        await (self.attacks.get(method, answer) if not is_good else answer)(self, wire, message)

    def result(self, message: Message) -> Any:
        """Return the result of a request, as a server that attacks nothing has it; None if it is unknown."""
        method = message["method"]
        is_modern = self.version >= "2026"
        if method == "initialize" and not is_modern:
            return {"protocolVersion": self.version, "capabilities": self.capabilities, "serverInfo": INFO}
        if method == "server/discover" and is_modern:
            return {"supportedVersions": [self.version], "capabilities": self.capabilities, "resultType": "complete"}
        if method == "tools/call":
            return text_of(f"called {message['params']['name']}")
        return self.results.get(method)


async def answer(server: HostileMcp, wire: Wire, message: Message) -> None:
    """Answer as the protocol says."""
    if wire.method != "POST":
        await wire.whole(b"", status=405)
    elif message.get("id") is None or "method" not in message:
        await wire.whole(b"", status=202)
    elif (result := server.result(message)) is not None:
        session = [("Mcp-Session-Id", "s1")] if message["method"] == "initialize" else []
        await wire.json(result_of(message, result), *session)
    else:
        error = {"code": -32601, "message": f"Unknown method {message['method']}."}
        await wire.json({"jsonrpc": "2.0", "id": message["id"], "error": error})
