"""Bytes that are not clean, from a real peer of each kind of transport: a call gets a clean value."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import orjson
import pytest
from aiohttp import web
from tests.upstreams.faulty import faulty_server

from utcp_bridge.catalogue.render import compact
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import Rejected
from utcp_bridge.model import ContentBlocks, JsonObject

pytestmark = pytest.mark.anyio

BODIES = {
    "not utf-8": (b'{"t": "caf\xff"}', "caf\ufffd"),
    "half an emoji": (b'{"t": "x \\ud83d y"}', "x \ufffd y"),
    "a mark": ('\ufeff{"t": "é"}'.encode(), "é"),
    "colour": (b'{"t": "\\u001b[31mred\\u001b[0m \\u202e!"}', "red !"),
}
HELLO = b'{"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}'
TOOLS = b'{"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}'
MCP = f"""
import json, sys
body = json.loads(sys.argv[1]).encode("latin-1").replace(b"\\xef\\xbb\\xbf", b"")
results = {{
    "initialize": {HELLO!r},
    "tools/list": {TOOLS!r},
    "tools/call": b'{{"content": [{{"type": "text", "text": "x"}}], "structuredContent": ' + body + b"}}",
}}
out = sys.stdout.buffer
out.write(b"\\xff banner\\n")
out.flush()
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result = results.get(message["method"])
    rest = b'"error": {{"code": -32601, "message": "no"}}}}' if result is None else b'"result": ' + result + b"}}"
    out.write(b'{{"jsonrpc": "2.0", "id": %d, ' % message["id"] + rest + b"\\n")
    out.flush()
"""


def http_reply(body: bytes, kind: str = "application/json", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def tcp_peer(body: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def udp_peer(body: bytes) -> AsyncIterator[int]:
    class Peer(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(body, addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Peer, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@asynccontextmanager
async def app_peer(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()


def socket_handler(body: bytes) -> Any:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        await opened.receive()
        await opened._writer.send_frame(body, aiohttp.WSMsgType.TEXT)
        await opened.close()
        return opened

    return handle


def mcp_handler(body: bytes, *, events: bool) -> Any:
    async def handle(request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405)
        message = json.loads(await request.read())
        method = message["method"]
        results = {
            "initialize": HELLO,
            "tools/list": TOOLS,
            "tools/call": b'{"content": [], "structuredContent": ' + body.replace(b"\xef\xbb\xbf", b"") + b"}",
        }
        if "id" not in message:
            return web.Response(status=202)
        if method not in results:
            return web.json_response(
                {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}
            )
        reply = b'{"jsonrpc": "2.0", "id": %s, "result": %s}' % (orjson.dumps(message["id"]), results[method])
        kind = "text/event-stream" if events else "application/json"
        return web.Response(body=b"data: " + reply + b"\n\n" if events else reply, content_type=kind)

    return handle


def tool(template: JsonObject) -> JsonObject:
    manual = {"utcp_version": "1.0.1", "tools": [{"name": "t", "tool_call_template": template}]}
    allowed = ["text", template["call_template_type"]]
    return {"name": "m", "call_template_type": "text", "content": manual, "allowed_communication_protocols": allowed}


class Peers:
    """Starts the peer of a kind, which replies with `body`, and returns the configuration of a tool that calls it."""

    def __init__(self, stack: AsyncExitStack, folder: Path, body: bytes) -> None:
        self.enter, self.folder, self.body = stack.enter_async_context, folder, body

    async def start(self, kind: str) -> JsonObject:
        found: JsonObject = await getattr(self, kind)()
        return found

    async def _web(self, reply: bytes, **template: Any) -> JsonObject:
        server = await self.enter(faulty_server())
        server.answers["/x"] = reply
        return tool({"url": f"{server.url}/x", **template})

    async def http(self) -> JsonObject:
        return await self._web(http_reply(self.body), call_template_type="http")

    async def sse(self) -> JsonObject:
        body = b"data: " + self.body + b"\n\n"
        return await self._web(http_reply(body, "text/event-stream"), call_template_type="sse")

    async def streamable_http(self) -> JsonObject:
        reply = http_reply(self.body + b"\n", "application/x-ndjson")
        return await self._web(reply, call_template_type="streamable_http")

    async def graphql(self) -> JsonObject:
        mark, text = (self.body[:3], self.body[3:]) if self.body.startswith(b"\xef\xbb\xbf") else (b"", self.body)
        reply = http_reply(mark + b'{"data": {"f": ' + text + b"}}")
        query = {"query": "{ f { t } }", "operation_type": "query"}
        return await self._web(reply, call_template_type="graphql", **query)

    async def websocket(self) -> JsonObject:
        place = await self.enter(app_peer(socket_handler(self.body)))
        return tool({"call_template_type": "websocket", "url": f"ws://{place}/"})

    async def tcp(self) -> JsonObject:
        port = await self.enter(tcp_peer(self.body))
        return tool({"call_template_type": "tcp", "host": "127.0.0.1", "port": port})

    async def udp(self) -> JsonObject:
        port = await self.enter(udp_peer(self.body))
        return tool({"call_template_type": "udp", "host": "127.0.0.1", "port": port})

    async def cli(self) -> JsonObject:
        (self.folder / "out").write_bytes(self.body)
        return tool({"call_template_type": "cli", "command": "cat", "args": ["out"]})

    async def file(self) -> JsonObject:
        (self.folder / "out.json").write_bytes(self.body)
        return tool({"call_template_type": "file", "file_path": "out.json"})

    async def mcp_stdio(self) -> JsonObject:
        (self.folder / "server.py").write_text(MCP, encoding="utf-8")
        args = [str(self.folder / "server.py"), json.dumps(self.body.decode("latin-1"))]
        server = {"command": sys.executable, "args": args}
        return {"name": "m", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}}

    async def mcp_http(self) -> JsonObject:
        return await self._mcp(events=False)

    async def mcp_events(self) -> JsonObject:
        return await self._mcp(events=True)

    async def _mcp(self, *, events: bool) -> JsonObject:
        place = await self.enter(app_peer(mcp_handler(self.body, events=events)))
        return {"name": "m", "call_template_type": "mcp", "server_url": f"http://{place}/"}


KINDS = [name for name in vars(Peers) if not name.startswith("_") and name != "start"]


async def called(kind: str, body: bytes, folder: Path) -> str:
    """Return the text of the value that a call of this kind gets."""
    with anyio.fail_after(200):
        async with AsyncExitStack() as stack:
            entry = await Peers(stack, folder, body).start(kind)
            client = await stack.enter_async_context(
                await UtcpClient.create({"manual_call_templates": [entry]}, root=folder, wait=20)
            )
            [one] = client.tools()
            value = (await client.call(one, {})).value
    if isinstance(value, ContentBlocks):
        value = value.structured
    return value if isinstance(value, str) else compact(value)


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_reply_that_is_not_clean_is_a_clean_value(kind: str, case: str, tmp_path: Path) -> None:
    body, expected = BODIES[case]
    text = await called(kind, body, tmp_path)
    text.encode()
    if kind == "file" and case in {"half an emoji", "colour"}:  # the text of a file is not parsed
        assert text == body.decode()
    else:
        assert expected in text


@pytest.mark.parametrize("kind", ["http", "cli", "tcp"])
async def test_json_in_utf_16_is_read_as_json(kind: str, tmp_path: Path) -> None:
    assert '{"t":"é"}' in await called(kind, '{"t": "é"}'.encode("utf-16"), tmp_path)


async def test_an_error_page_is_reduced_to_its_words_without_terminal_sequences(tmp_path: Path) -> None:
    page = "<html><title>Busy</title><style>x{}</style><p>\x1b[31mLater\u202e, please.</p>".encode()
    async with faulty_server() as server:
        server.answers["/x"] = http_reply(page, "text/html", "503 Busy")
        entry = tool({"call_template_type": "http", "url": f"{server.url}/x"})
        async with await UtcpClient.create({"manual_call_templates": [entry]}, root=tmp_path, wait=20) as client:
            with pytest.raises(Rejected) as caught:
                await client.call("m.t", {})
    assert caught.value.detail == "Busy\nLater, please."
