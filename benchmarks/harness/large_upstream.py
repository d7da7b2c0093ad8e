"""An upstream with one large reply for each transport: `python -m benchmarks.harness.large_upstream MEGABYTES FILE`.

It writes the reply to FILE and prints one line of JSON, the ports by name. It serves until stdin closes. The reply is
an array of rows of about 500 bytes; `/small` is a short one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web

from utcp_bridge.transports.grpc.protos import utcp_messages

_ROW = "".join(f"word{number} " for number in range(60))


def rows(size: int) -> bytes:
    """Return an array of rows as JSON, of about this many bytes."""
    row = json.dumps({"id": 1, "name": "row", "price": 9.5, "text": _ROW})
    return b"[" + b",".join([row.encode()] * (size // (len(row) + 1))) + b"]"


class Large:
    """One reply in the form of each transport."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        messages = utcp_messages()
        self._message: bytes = messages["ToolCallResponse"](result_json=data.decode()).SerializeToString()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/small", self._small)
        app.router.add_get("/http", self._body("application/json", self._data))
        app.router.add_get("/sse", self._body("text/event-stream", b"data: " + self._data + b"\n\n"))
        app.router.add_get("/streamable_http", self._body("application/x-ndjson", self._data + b"\n"))
        app.router.add_post("/graphql", self._body("application/json", b'{"data":{"rows":' + self._data + b"}}"))
        app.router.add_get("/websocket", self._websocket)
        return app

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\0")
        writer.write(self._data + b"\0")
        await writer.drain()
        writer.close()

    def grpc(self) -> Any:
        async def answer(_request: bytes, _context: Any) -> bytes:
            return self._message

        handlers = {"CallTool": grpc.unary_unary_rpc_method_handler(answer)}
        return grpc.method_handlers_generic_handler("grpcpb.UTCPService", handlers)

    @staticmethod
    async def _small(_request: web.Request) -> web.Response:
        return web.json_response({"a": 1})

    @staticmethod
    def _body(media_type: str, body: bytes) -> Any:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(body=body, content_type=media_type)

        return answer

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        text = self._data.decode()
        async for _ in socket:
            await socket.send_str(text)
        return socket


async def serve(data: bytes) -> None:
    large = Large(data)
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(large.app(), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        lines = await asyncio.start_server(large.tcp, "127.0.0.1", 0)
        server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
        server.add_generic_rpc_handlers((large.grpc(),))
        ports = {"grpc": server.add_insecure_port("127.0.0.1:0")}
        await server.start()
        stack.push_async_callback(server.stop, None)
        ports |= {"http": runner.addresses[0][1], "tcp": lines.sockets[0].getsockname()[1]}
        print(json.dumps(ports), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    made = rows(int(float(sys.argv[1]) * 1e6))
    Path(sys.argv[2]).write_bytes(made)
    asyncio.run(serve(made))
