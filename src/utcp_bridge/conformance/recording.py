"""The recording server of a vector: it has the manual, records each request, and replies as the vector says."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import anyio
from aiohttp import WSMsgType, web

from utcp_bridge.conformance import mcp_program
from utcp_bridge.conformance.vectors import MANUAL_PATH, Vector, filled, placeholders
from utcp_bridge.errors import MissingExtra
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.transports.grpc.protos import (
    classes_of,
    file_descriptor,
    grpc_module,
    protobuf,
    reflection_messages,
    utcp_messages,
)
from utcp_bridge.transports.webrtc.channel import load_aiortc

__all__ = [
    "Recording",
    "executed",
    "recorded_grpc",
    "recording",
]

_HOST: Final = "127.0.0.1"
_PROGRAMS: Final = Path(__file__).parent
_DISCOVERY: Final = {"type": "utcp"}
_MEETING_PATH: Final = "/connect"
"""Where the signalling of WebRTC takes offers, as in the library for Go."""
_TURNS: Final = 5
_QUIET_SECONDS: Final = 0.5
"""After this silence a message that is shorter than the expected one is taken as complete."""


@dataclass(slots=True)
class Recording:
    """What a client sent during one vector, in order of arrival."""

    vector: Vector
    folder: Path
    known: dict[str, str | int] = field(default_factory=dict[str, str | int])
    """The values of the placeholders."""
    requests: list[JsonObject] = field(default_factory=list[JsonObject])
    discovery: list[JsonObject] = field(default_factory=list[JsonObject])
    """Requests for the manual."""
    has_request: anyio.Event = field(default_factory=anyio.Event)

    def filled(self, value: Any) -> Any:
        """Return a part of the vector with its placeholders filled in."""
        return filled(value, self.known)

    def reply_to(self, path: str) -> JsonObject:
        """Return the reply that the vector has for a path."""
        replies: JsonObject = self.vector.data.get("replies", {})
        reply: JsonObject = self.filled(replies.get(path, self.vector.data.get("reply", {"json": {"ok": True}})))
        return reply

    def arrived(self) -> list[JsonObject]:
        """Return the recorded requests, also those of the programs, which write theirs into the folder."""
        record = self.folder / "record.jsonl"
        lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
        return [*self.requests, *(json.loads(line) for line in lines)]

    def note(self, request: JsonObject) -> None:
        """Record a request."""
        self.requests.append(request)
        self.has_request.set()


@asynccontextmanager
async def recording(vector: Vector, folder: Path) -> AsyncGenerator[Recording]:
    """Start what the vector needs, on free ports of 127.0.0.1, and write its files into `folder`."""
    record = Recording(vector, folder)
    needed = placeholders([vector.configuration, vector.manual, vector.data])
    async with AsyncExitStack() as stack:
        if needed & {"http", "ws", "http-port"}:
            port = await stack.enter_async_context(_web_server(record))
            record.known |= {"http": f"http://{_HOST}:{port}", "ws": f"ws://{_HOST}:{port}", "http-port": port}
        if "tcp-port" in needed:
            record.known["tcp-port"] = await stack.enter_async_context(_tcp_server(vector, record))
        if "udp-port" in needed:
            record.known["udp-port"] = await stack.enter_async_context(_udp_server(vector, record))
        if "grpc-port" in needed:
            record.known["grpc-port"] = await stack.enter_async_context(recorded_grpc(vector, record.note))
        if "webrtc" in vector.data:
            await _check_webrtc()
        if "closed-port" in needed:
            closed = stack.enter_context(socket.socket())
            closed.bind((_HOST, 0))
            record.known["closed-port"] = closed.getsockname()[1]
        _write_files(record)
        yield record


def _write_files(record: Recording) -> None:
    """Write the manual, the vector's files and the programs into the folder."""
    data, folder = record.vector.data, record.folder
    python = sys.executable
    record.known |= {
        "host": _HOST,
        "folder": str(folder),
        "python": python,
        "program": f"{python} {folder / 'argv_program.py'}",
        "stdin-program": f"{python} {folder / 'argv_program.py'} --read-stdin",
        "mcp-program": f"{python} {folder / 'mcp_program.py'}",
    }
    for name in ("argv_program.py", "mcp_program.py"):
        shutil.copyfile(_PROGRAMS / name, folder / name)
    given: JsonObject = {"reply": data.get("reply", {}), "mcp": data.get("mcp", {}), "see": data.get("see", [])}
    files: dict[str, Any] = {"given.json": given, **data.get("files", {})}
    if record.vector.manual is not None:
        files.setdefault("manual.json", record.vector.manual)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(record.filled(text), encoding="utf-8")
    for name in ("manual.json", "given.json"):
        if not isinstance(content := files.get(name, ""), str):
            (folder / name).write_text(json.dumps(record.filled(content)), encoding="utf-8")


# --- the web ---------------------------------------------------------------------------------------


@asynccontextmanager
async def _web_server(record: Recording) -> AsyncGenerator[int]:
    app = web.Application(client_max_size=2**24)
    peers = _Peers(record)
    app.router.add_route("*", "/{path:.*}", _Web(record, peers).reply)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, _HOST, 0).start()
        yield runner.addresses[0][1]
    finally:
        await peers.close()
        await runner.cleanup()


class _Web:
    def __init__(self, record: Recording, peers: _Peers) -> None:
        self._record = record
        self._peers = peers

    async def reply(self, request: web.Request) -> web.StreamResponse:
        """Record a request and reply to it."""
        path = request.raw_path.partition("?")[0]
        noted = await _noted(request, path)
        data = self._record.vector.data
        if path == MANUAL_PATH and "websocket" not in request.headers.get("Upgrade", ""):
            self._record.discovery.append(noted)
            return await self._manual(request)
        if "websocket" in request.headers.get("Upgrade", ""):
            return await self._websocket(request, noted)
        if "mcp" in data:
            return self._mcp(noted) if path.startswith("/mcp") else web.Response(status=404)
        if "graphql" in data and path.startswith("/graphql"):
            reply, calls = executed(data["graphql"], noted.get("json", {}))
            for call in calls:
                self._record.note({**call, "path": path, "headers": noted["headers"]})
            return web.json_response(reply)
        if "webrtc" in data and path == _MEETING_PATH:
            self._record.discovery.append(noted)
            return web.json_response(await self._peers.answer(noted["json"]))
        if path not in data.get("aside", []):
            self._record.note(noted)
        return await _sent(request, self._record.reply_to(path))

    async def _manual(self, request: web.Request) -> web.StreamResponse:
        data = self._record.vector.data
        if MANUAL_PATH in data.get("replies", {}):
            return await _sent(request, self._record.reply_to(MANUAL_PATH))
        return web.json_response(self._record.filled(self._record.vector.manual))

    def _mcp(self, noted: JsonObject) -> web.StreamResponse:
        message = noted.get("json")
        if noted["method"] != "POST" or not is_object(message):
            return web.Response(status=405)
        if message.get("method") == "tools/call":
            self._record.note({**mcp_program.recorded(message), "headers": noted["headers"]})
        answer = mcp_program.answer(message, self._record.filled(self._record.vector.data["mcp"]))
        return web.Response(status=202) if answer is None else web.json_response(answer)

    async def _websocket(self, request: web.Request, noted: JsonObject) -> web.WebSocketResponse:
        opened = web.WebSocketResponse(protocols=self._record.vector.data.get("subprotocols", ()))
        await opened.prepare(request)
        reply = self._record.reply_to(noted["path"])
        frames: list[JsonObject] = []
        async for message in opened:
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                continue
            raw = message.data if isinstance(message.data, bytes) else message.data.encode()
            frame = {**described(raw), "binary": message.type is WSMsgType.BINARY}
            if frame.get("json") == _DISCOVERY and self._record.vector.data.get("discovery") == "own":
                self._record.discovery.append({**noted, "frames": [frame]})
                await opened.send_str(json.dumps(self._record.filled(self._record.vector.manual)))
                continue
            if not frames:
                self._record.note({**noted, "frames": frames})
            frames.append(frame)
            for one in reply.get("frames", [reply]):
                await (opened.send_bytes(as_bytes(one)) if "base64" in one else opened.send_str(as_bytes(one).decode()))
            if reply.get("close"):
                await opened.close()
        return opened


async def _noted(request: web.Request, path: str) -> JsonObject:
    query: dict[str, Any] = {}
    for name, value in parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True):
        before = query.get(name)
        query[name] = value if before is None else [*before, value] if isinstance(before, list) else [before, value]
    headers = {name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers}
    body = await request.read()
    noted = {"method": request.method, "path": path, "query": query, "headers": headers, **described(body)}
    noted["cookies"] = dict(request.cookies)
    if "x-www-form-urlencoded" in headers.get("content-type", ""):
        noted["form"] = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    return noted


async def _sent(request: web.Request, reply: Mapping[str, Any]) -> web.StreamResponse:
    """Send the reply of a vector: `events` and `chunks` one by one, else one body."""
    headers = dict(reply.get("headers", {}))
    status = reply.get("status", 200)
    if "pieces" in reply:
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        with suppress(ConnectionError):
            for piece in reply["pieces"]:
                await response.write(as_bytes(piece if is_object(piece) else {"text": piece}))
                await asyncio.sleep(0)
            if reply.get("cut") and request.transport is not None:
                request.transport.close()
        return response
    if "json" in reply:
        headers.setdefault("Content-Type", "application/json")
    elif "text" in reply:
        headers.setdefault("Content-Type", "text/plain; charset=utf-8")
    return web.Response(status=status, headers=headers, body=as_bytes(reply))


# --- sockets ---------------------------------------------------------------------------------------


def _socket_reply(vector: Vector, record: Recording, data: bytes) -> list[bytes]:
    """Record a message and return what to send: the manual to a question for it, else the vector's reply."""
    found = described(data)
    framed = vector.data.get("discovery") == "own" and b'"utcp"' in data
    if framed:
        record.discovery.append(found)
        payload = vector.data.get("manual_reply") or {"json": vector.manual}
        return [as_bytes(record.filled(payload))]
    record.note(found)
    reply = record.filled(vector.data.get("reply", {}))
    return [as_bytes(one) for one in reply.get("datagrams", [reply])]


def _expected_sizes(vector: Vector, record: Recording) -> set[int]:
    wanted = [*vector.data.get("requests", []), vector.data.get("request", {})]
    asked = vector.data.get("asked", {})
    return {len(as_bytes(record.filled(one))) for one in [*wanted, asked]} - {0}


@asynccontextmanager
async def _tcp_server(vector: Vector, record: Recording) -> AsyncGenerator[int]:
    """Yield the port of a server that reads one message of each connection, replies and closes."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        data, sizes = b"", _expected_sizes(vector, record)
        with suppress(TimeoutError, ConnectionError):
            while len(data) not in sizes:
                chunk = await asyncio.wait_for(reader.read(65_536), _QUIET_SECONDS if data else None)
                if not chunk:
                    break
                data += chunk
        with suppress(ConnectionError):
            if data:
                for piece in _socket_reply(vector, record, data):
                    writer.write(piece)
                await writer.drain()
            if not vector.data.get("keeps_open"):
                writer.close()

    server = await asyncio.start_server(serve, _HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for _ in range(_TURNS):  # a connection that was accepted a moment ago has its writer by then
            await asyncio.sleep(0)
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, vector: Vector, record: Recording) -> None:
        self._vector, self._record = vector, record
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for piece in _socket_reply(self._vector, self._record, data):
            if piece and self._transport is not None:
                self._transport.sendto(piece, addr)


@asynccontextmanager
async def _udp_server(vector: Vector, record: Recording) -> AsyncGenerator[int]:
    """Yield the port of a server that replies to each datagram with the vector's datagrams."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(vector, record), local_addr=(_HOST, 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


# --- bytes as vectors write them -------------------------------------------------------------------


def as_bytes(payload: Mapping[str, Any]) -> bytes:
    """Return the bytes that a vector means."""
    if "base64" in payload:
        return base64.b64decode(payload["base64"])
    if "text" in payload:
        return str(payload["text"]).encode()
    return json.dumps(payload["json"], ensure_ascii=False).encode() if "json" in payload else b""


def described(data: bytes) -> JsonObject:
    """Return what arrived in every form that it has, so that a vector may compare one of them."""
    found: JsonObject = {"base64": base64.b64encode(data).decode()}
    with suppress(UnicodeDecodeError):
        found["text"] = data.decode()
        with suppress(ValueError):
            found["json"] = json.loads(found["text"])
    return found


def executed(given: JsonObject, request: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
    """Return the reply to a request, and the fields of the roots that it calls. `given` has `sdl` and `values`.

    `values` has the value of each field of a root.
    """
    import graphql

    library: Any = graphql
    schema = library.build_schema(given["sdl"])
    calls: list[JsonObject] = []

    def resolver(operation: str, name: str) -> Any:
        def resolve(_root: Any, _info: Any, **arguments: Any) -> Any:
            calls.append({"operation": operation, "field": name, "arguments": arguments})
            return given["values"].get(name)

        return resolve

    roots: dict[str, Any] = {"query": schema.query_type, "mutation": schema.mutation_type}
    for operation, root in roots.items():
        fields: dict[str, Any] = root.fields if root is not None else {}
        for name, one in fields.items():
            one.resolve = resolver(operation, name)
    result = library.graphql_sync(
        schema,
        request.get("query", ""),
        variable_values=request.get("variables"),
        operation_name=request.get("operationName"),
    )
    reply: JsonObject = {"data": result.data}
    if result.errors:
        reply["errors"] = [error.formatted for error in result.errors]
    return reply, calls


async def _check_webrtc() -> None:
    """Check that WebRTC peers can meet on this machine.

    :raises MissingExtra: the extra `webrtc` is not installed, or the machine has only loopback addresses.
    """
    await load_aiortc()
    if not import_module("aioice.ice").get_host_addresses(use_ipv4=True, use_ipv6=True):
        error = MissingExtra("webrtc", "webrtc")
        error.message = "WebRTC needs an address besides loopback."
        raise error


class _Peers:
    """WebRTC peers with the vector's tools, each of which reads the message forms of every UTCP library."""

    def __init__(self, record: Recording) -> None:
        self._record = record
        self._data: JsonObject = record.vector.data.get("webrtc", {})
        self._peers: list[Any] = []

    async def answer(self, offer: JsonObject) -> JsonObject:
        """Return the reply of the signalling to an offer."""
        aiortc = await load_aiortc()
        peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self._peers.append(peer)
        peer.on("datachannel", self._opened)
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(sdp=offer["sdp"], type="offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        tools = {"tools": self._tools()} if self._data.get("tools_in_answer") else {}
        return {"sdp": peer.localDescription.sdp, **tools}

    async def close(self) -> None:
        """Close every peer."""
        for peer in self._peers:
            await peer.close()

    def _tools(self) -> list[JsonObject]:
        return [{"description": "Does it.", "inputs": {"type": "object"}, **tool} for tool in self._data["tools"]]

    def _opened(self, channel: Any) -> None:
        def heard(data: str | bytes) -> None:
            message = json.loads(data)
            channel.send(json.dumps({"id": message.get("id"), **self._reply(channel.label, message)}))

        channel.on("message", heard)

    def _reply(self, label: str, message: JsonObject) -> JsonObject:
        params = message.get("params")
        if message.get("method") == "list_tools" or message.get("type") == "utcp":
            return {"tools": self._tools()}
        within = params if is_object(params) else {}
        forms = (message.get("args"), within.get("args"), message.get("inputs"))
        arguments = next((one for one in forms if one is not None), None)
        self._record.note({"tool": message.get("tool", within.get("tool")), "arguments": arguments, "channel": label})
        reply = self._record.filled(self._record.vector.data.get("reply", {}))
        return {"error": reply["text"]} if "text" in reply else {"result": reply.get("json")}


def _described_service(given: JsonObject) -> tuple[Any, Mapping[str, Any]]:
    """Return the description of a vector's service, and the classes of its messages."""
    package, _, name = given["service"].rpartition(".")
    messages = {
        message: [(number, field, kind) for number, (field, kind) in enumerate(fields.items(), 1)]
        for message, fields in given["messages"].items()
    }
    file = file_descriptor(package, messages)
    service = file.service.add(name=name)
    for method, one in given["methods"].items():
        types = {"input_type": f".{package}.{one['input']}", "output_type": f".{package}.{one['output']}"}
        service.method.add(name=method, server_streaming=one.get("streams", False), **types)
    return file, classes_of(file)


def _service_handlers(vector: Vector, note: Callable[[JsonObject], None], classes: Mapping[str, Any]) -> Any:
    """Return the handlers of a vector's own service: each call is recorded, and gets the vector's reply."""
    grpc, json_format = grpc_module(), protobuf("json_format")
    given, reply = vector.data["grpc"], vector.data.get("reply", {})

    def handler(name: str, method: JsonObject) -> Any:
        output = classes[method["output"]]

        async def noted(request: Any, context: Any) -> None:
            metadata = {str(key): value for key, value in context.invocation_metadata()}
            note({"tool": name, "arguments": json_format.MessageToDict(request), "metadata": metadata})
            if "status" in reply:
                await context.abort(grpc.StatusCode[reply["status"]], "refused")

        async def one(request: Any, context: Any) -> Any:
            await noted(request, context)
            return json_format.ParseDict(reply.get("json", {}), output())

        async def several(request: Any, context: Any) -> AsyncGenerator[Any]:
            await noted(request, context)
            for item in reply["json"]:
                yield json_format.ParseDict(item, output())

        streams = method.get("streams", False)
        made = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        return made(several if streams else one, classes[method["input"]].FromString, output.SerializeToString)

    methods = {name: handler(name, method) for name, method in given["methods"].items()}
    return grpc.method_handlers_generic_handler(given["service"], methods)


def _reflection_handler(service: str, file: Any, version: str) -> Any:
    """Return the handler of server reflection, in `v1` or `v1alpha`, for one service."""
    grpc, messages = grpc_module(), reflection_messages(version)

    async def info(requests: Any, _context: Any) -> AsyncGenerator[Any]:
        async for request in requests:
            answer = messages["ServerReflectionResponse"](original_request=request)
            if request.list_services:
                answer.list_services_response.service.add(name=service)
            elif request.file_containing_symbol == service or request.file_by_filename == file.name:
                answer.file_descriptor_response.file_descriptor_proto.append(file.SerializeToString())
            else:
                answer.error_response.error_code = 5
            yield answer

    handler = grpc.stream_stream_rpc_method_handler(
        info,
        messages["ServerReflectionRequest"].FromString,
        messages["ServerReflectionResponse"].SerializeToString,
    )
    name = f"grpc.reflection.{version}.ServerReflection"
    return grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})


@asynccontextmanager
async def recorded_grpc(vector: Vector, note: Callable[[JsonObject], None]) -> AsyncGenerator[int]:
    """Yield the port of a server with the vector's tools, or with its own service and reflection.

    :raises MissingExtra: the extra `grpc` is not installed.
    """
    grpc = grpc_module()
    server = grpc.aio.server()
    if "service" in (given := vector.data["grpc"]):
        file, classes = _described_service(given)
        reflection = _reflection_handler(given["service"], file, given["reflection"])
        server.add_generic_rpc_handlers((_service_handlers(vector, note, classes), reflection))
    else:
        server.add_generic_rpc_handlers((_utcp_handlers(vector, note),))
    port: int = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def _utcp_handlers(vector: Vector, note: Callable[[JsonObject], None]) -> Any:
    """Return the handlers of the fixed service of the libraries for Go and Rust."""
    grpc, messages = grpc_module(), utcp_messages()
    reply = vector.data.get("reply", {})

    async def manual(_request: Any, _context: Any) -> Any:
        tools = [
            messages["Tool"](name=one["name"], description="Does it.", inputs=json.dumps({"type": "object"}))
            for one in vector.data["grpc"]["tools"]
        ]
        return messages["Manual"](version="1", tools=tools)

    async def call(request: Any, context: Any) -> Any:
        metadata = {str(key): value for key, value in context.invocation_metadata()}
        note({"tool": request.tool, "arguments": json.loads(request.args_json or "{}"), "metadata": metadata})
        if "status" in reply:
            await context.abort(grpc.StatusCode[reply["status"]], "refused")
        return messages["ToolCallResponse"](result_json=json.dumps(reply.get("json")))

    handlers = {
        "GetManual": grpc.unary_unary_rpc_method_handler(
            manual, messages["Empty"].FromString, messages["Manual"].SerializeToString
        ),
        "CallTool": grpc.unary_unary_rpc_method_handler(
            call, messages["ToolCallRequest"].FromString, messages["ToolCallResponse"].SerializeToString
        ),
    }
    return grpc.method_handlers_generic_handler("grpcpb.UTCPService", handlers)
