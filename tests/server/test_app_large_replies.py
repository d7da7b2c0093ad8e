"""Replies of ten megabytes over every transport arrive at clients of both eras, cut to the budget."""

import asyncio
import json
import re
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from aiohttp import web
from mcp import Client
from tests.server.test_http import serve
from tests.transports.mcp.test_transport import child
from tests.upstreams.grpc_service import GrpcService
from tests.upstreams.mcp_server import http_server, sse_server
from tests.upstreams.socket_service import TcpService, UdpService
from tests.upstreams.stream_service import StreamService
from tests.upstreams.websocket_service import WebSocketService

from utcp_bridge import UtcpClient
from utcp_bridge.catalogue.fitting import json_size
from utcp_bridge.net.collecting import LARGE, Collecting, _places
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.workers.process import WorkerProcess

pytestmark = pytest.mark.anyio

SIZE = 9_900_000
DATAGRAM = 60_000
LINES = {"framing_strategy": "delimiter", "message_delimiter": "\\n"}


class LargeService(StreamService):
    """Adds large replies of each kind."""

    def _routes(self):
        return {
            **super()._routes(),
            "/rows": _rows,
            "/large/sse": _events,
            "/large/lines": _lines,
            "/large/event": _event,
            "/large/line": _line,
            "/large/graphql": _data,
        }


def rows():
    return [{"id": number, "name": f"item {number}", "text": "x" * 900} for number in range(SIZE // 1_000)]


async def _rows(_request):
    return web.json_response({"items": rows()})


async def _data(_request):
    return web.json_response({"data": {"items": rows()}})


async def _events(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(99):
        await response.write(b"data: " + json.dumps("x" * 99_000).encode() + b"\n\n")
    return response


async def _lines(request):
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for _ in range(99):
        await response.write(json.dumps({"text": "x" * 99_000}).encode() + b"\n")
    return response


async def _event(_request):
    return web.Response(text=f"data: {json.dumps(rows())}\n\n", content_type="text/event-stream")


async def _line(_request):
    return web.Response(text=f'{{"first": true}}\n{json.dumps(rows())}\n', content_type="application/x-ndjson")


async def web_template(stack, kind):
    base = (await stack.enter_async_context(LargeService())).base
    return {
        "http": {"call_template_type": "http", "url": f"{base}/rows", "http_method": "GET"},
        "sse": {"call_template_type": "sse", "url": f"{base}/large/sse"},
        "streamable_http": {"call_template_type": "streamable_http", "url": f"{base}/large/lines"},
        "sse event": {"call_template_type": "sse", "url": f"{base}/large/event"},
        "json line": {"call_template_type": "streamable_http", "url": f"{base}/large/line"},
        "graphql": {"call_template_type": "graphql", "url": f"{base}/large/graphql", "query": "query { items }"},
    }[kind]


async def socket_template(stack, kind):
    if kind == "udp":
        port = (await stack.enter_async_context(UdpService())).port
        return {"call_template_type": "udp", "host": "127.0.0.1", "port": port, "request_data_template": "x" * DATAGRAM}
    if kind == "tcp":
        port = (await stack.enter_async_context(TcpService(always={"flood": SIZE}))).port
        return {"call_template_type": "tcp", "host": "127.0.0.1", "port": port, **LINES}
    if kind == "grpc":
        port = (await stack.enter_async_context(GrpcService())).port
        address = {"call_template_type": "grpc", "host": "127.0.0.1", "port": port}
        return {**address, "service_name": "shop.Orders", "method_name": "Flood", "wire": "native"}
    url = (await stack.enter_async_context(WebSocketService())).ws
    return {"call_template_type": "websocket", "url": f"{url}/ws", "message": {"flood": SIZE}}


async def local_template(kind, folder):
    if kind == "cli":
        code = f"import sys; sys.stdout.write('x' * {SIZE})"
        return {"call_template_type": "cli", "command": sys.executable, "args": ["-c", code]}
    if kind == "file":
        (folder / "large.json").write_text(json.dumps(rows()))
        return {"call_template_type": "file", "file_path": str(folder / "large.json")}
    return {"call_template_type": "text", "content": "x" * SIZE}


async def mcp_template(stack, kind):
    server = child()
    if kind == "mcp sse":
        server = {"url": await stack.enter_async_context(sse_server("old")), "transport": "sse"}
    elif kind == "mcp http":
        server = {"url": await stack.enter_async_context(http_server("far"))}
    return {"call_template_type": "mcp", "config": {"mcpServers": {"one": server}}, "tool_name": "flood"}


WEB = ("http", "sse", "sse event", "streamable_http", "json line", "graphql")
SOCKETS = ("tcp", "udp", "websocket", "grpc")
LOCAL = ("cli", "file", "text")
SERVERS = ("mcp stdio", "mcp http", "mcp sse")


async def template_of(stack, kind, folder):
    if kind in WEB:
        return await web_template(stack, kind)
    if kind in SOCKETS:
        return await socket_template(stack, kind)
    return await (local_template(kind, folder) if kind in LOCAL else mcp_template(stack, kind))


NAMES = re.compile(r"[0-9a-f]{32}|result-[0-9a-f]{8}")
DEFERRED = {"http", "sse event", "json line", "graphql", "tcp", "websocket", "grpc", "cli", "file", "text", *SERVERS}


@pytest.mark.parametrize("kind", [*WEB, *SOCKETS, *LOCAL, *SERVERS])
async def test_a_large_reply_reaches_clients_of_both_eras(kind, tmp_path, monkeypatch):
    """It is the same whether a worker has read it or this process."""
    starts = []
    start = WorkerProcess.start

    async def recorded(memory):
        starts.append(memory)
        return await start(memory)

    monkeypatch.setattr(WorkerProcess, "start", recorded)
    by_workers = await results_of(kind, tmp_path)
    assert len(starts) == (kind in DEFERRED)
    monkeypatch.setattr("utcp_bridge.server.reply_workers.can_start", lambda: False)
    here = await results_of(kind, tmp_path) if kind in DEFERRED else by_workers
    assert [NAMES.sub("H", one) for one in by_workers] == [NAMES.sub("H", one) for one in here]


async def results_of(kind, tmp_path):
    """Return what clients of both eras receive, as JSON."""
    seen = []
    async with AsyncExitStack() as stack:
        template = await template_of(stack, kind, tmp_path)
        arguments = {"mcp": {"text": str(SIZE)}, "grpc": {"n": SIZE}}.get(template["call_template_type"], {})
        outputs = {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "object"}}}}
        tool = {"name": "large", "inputs": {"type": "object"}, "outputs": outputs, "tool_call_template": template}
        manual = {"utcp_version": "1.0", "tools": [tool]}
        entry = {"name": "m", "call_template_type": "text", "content": manual}
        entry["allowed_communication_protocols"] = ["text", template["call_template_type"]]
        config = {"manual_call_templates": [entry], "bridge": {"port": 0, "max_result_bytes": 100_000}}
        client = await stack.enter_async_context(await UtcpClient.create(config, root=tmp_path))

        async def work(url):
            for mode in ("auto", "legacy"):
                async with Client(url, mode=mode) as host:
                    await host.list_tools()
                    seen.append(await host.call_tool("m_large", arguments))

        await serve(BridgeServer(client), work, seconds=80)
    for result in seen:
        assert not result.is_error, result.content
        assert json_size(result.model_dump(mode="json", by_alias=True, exclude_none=True)) <= 101_000
        assert kind == "udp" or any("was cut" in getattr(block, "text", "") for block in result.content)
    assert len(seen) == 2
    return [result.model_dump_json() for result in seen]


@pytest.mark.parametrize("has_workers", [True, False])
async def test_no_credential_is_in_a_large_reply_or_in_what_is_kept_of_it(has_workers, monkeypatch):
    if not has_workers:
        monkeypatch.setattr("utcp_bridge.server.reply_workers.can_start", lambda: False)
    secret, seen = "k-123456789", []

    async def echo(request):
        key = request.headers["X-Key"]
        link = {"Link": f"<https://api.example.com/?page=2&key={key}>; rel=next"}
        return web.json_response([{"id": number, key: f"{key} {'x' * 900}"} for number in range(2_000)], headers=link)

    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(Echo(echo))
        auth = {"auth_type": "api_key", "api_key": "${KEY}", "var_name": "X-Key"}
        template = {"call_template_type": "http", "http_method": "GET", "url": f"{service.base}/echo", "auth": auth}
        entry = {"name": "m", "call_template_type": "text", "content": manual_with(template)}
        entry["allowed_communication_protocols"] = ["text", "http"]
        config = {"manual_call_templates": [entry], "variables": {"m_KEY": secret}}
        config["bridge"] = {"port": 0, "max_result_bytes": 10_000}
        client = await stack.enter_async_context(await UtcpClient.create(config))

        async def work(url):
            async with Client(url) as host:
                cut = await host.call_tool("m_large", {})
                seen.append(cut.model_dump_json(by_alias=True))
                handle = re.search(r"[0-9a-f]{32}", seen[0])[0]
                page = await host.call_tool("read_result", {"handle": handle, "offset": 1_900})
                seen.append(page.model_dump_json(by_alias=True))

        await serve(BridgeServer(client), work)
    assert [one.count(secret) for one in seen] == [0, 0]
    assert all("*** x" in one for one in seen)
    assert "key=***>" in seen[0]


def manual_with(template):
    tool = {"name": "large", "inputs": {"type": "object"}, "tool_call_template": template}
    return {"utcp_version": "1.0", "tools": [tool]}


class Echo(StreamService):
    """Adds one route."""

    def __init__(self, handler):
        super().__init__()
        self._handler = handler

    def _routes(self):
        return {"/echo": self._handler}


class Relay:
    """Passes connections on to a port, and counts the bytes of replies that have passed since `begin`."""

    def __init__(self, to):
        self._to = to
        self._passed = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        from_service, to_service = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            await asyncio.gather(self._pass(reader, to_service), self._pass(from_service, writer, counts=True))
        except OSError:
            pass  # one side has gone
        finally:
            for one in (to_service, writer):
                one.transport.abort()

    async def _pass(self, reader, writer, *, counts=False):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
            self._passed += len(data) * counts
        writer.close()

    def begin(self):
        self._passed = 0

    def read(self):
        """Return the bytes that the clients have read. The few that are on their way to them count too."""
        unread = sum(unread_from(self.port, table) for table in TABLES if table.exists())
        return self._passed - unread


TABLES = [Path("/proc/net", name) for name in ("tcp", "tcp6")]
"""Linux lists its connections here. Linux may receive more than a whole reply for a program that reads none of it."""


def unread_from(port, table):
    """Return the bytes that have arrived from this port and that no program has read."""
    fields = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
    return sum(int(one[4].partition(":")[2], 16) for one in fields if one[2].endswith(f":{port:04X}"))


@pytest.mark.parametrize("kind", [*WEB, "tcp", "websocket", "grpc"])
async def test_large_replies_are_not_received_before_there_is_a_place_for_them(kind, tmp_path, monkeypatch):
    """While the place of the manual is taken, only the first bytes of each reply are read, whatever the transport."""
    monkeypatch.setattr("utcp_bridge.transports.websocket.transport._MAX_HELD_SECONDS", 3_600)
    number, done = 6, []
    async with AsyncExitStack() as stack:
        template = await template_of(stack, kind, tmp_path)
        if kind == "websocket":
            template["ping_interval"] = 86_400
        to = template.get("port") or urlsplit(template["url"]).port
        relay, other = [await stack.enter_async_context(Relay(to)) for _ in range(2)]  # so that they are equally fast
        entries = []
        for name, port in (("waits", relay.port), ("goes_on", other.port)):
            manual = manual_with(json.loads(json.dumps(template).replace(str(to), str(port))))
            entries.append({"name": name, "call_template_type": "text", "content": manual})
            entries[-1]["allowed_communication_protocols"] = ["text", template["call_template_type"]]
        config = {"manual_call_templates": entries, "bridge": {"call_timeout": 600}}
        client = await stack.enter_async_context(await UtcpClient.create(config))

        async def call(manual):
            await client.call(f"{manual}.large", {"n": SIZE} if kind == "grpc" else {})
            done.append(manual)

        await call("waits")  # gRPC does not say how large a message is, so the size of the one before counts
        relay.begin()
        with anyio.fail_after(200):
            async with anyio.create_task_group() as group:
                with Collecting("waits") as place:
                    await place.grow(LARGE + 1)
                    for _ in range(number):
                        group.start_soon(call, "waits")
                    while len(_places.get().of["waits"].waiting) < number:
                        await anyio.sleep(0.01)
                        assert relay.read() < number * SIZE / 2
                    await call("goes_on")
                    assert relay.read() < number * SIZE / 2
                    assert done == ["waits", "goes_on"]
    assert len(done) == number + 2


@pytest.mark.parametrize("kind", [*WEB, "tcp", "websocket", "grpc", "cli", *SERVERS])
async def test_a_large_reply_waits_for_the_place_of_its_own_manual_only(kind, tmp_path):
    done = []
    async with AsyncExitStack() as stack:
        template = await template_of(stack, kind, tmp_path)
        arguments = {"mcp": {"text": str(SIZE)}, "grpc": {"n": SIZE}}.get(template["call_template_type"], {})
        tool = {"name": "large", "inputs": {"type": "object"}, "tool_call_template": template}
        entry = {"call_template_type": "text", "content": {"utcp_version": "1.0", "tools": [tool]}}
        entry["allowed_communication_protocols"] = ["text", template["call_template_type"]]
        config = {"manual_call_templates": [{"name": name, **entry} for name in ("waits", "goes_on")]}
        client = await stack.enter_async_context(await UtcpClient.create(config, root=tmp_path))

        async def call(manual):
            await client.call(f"{manual}.large", arguments)
            done.append(manual)

        with anyio.fail_after(200):
            async with anyio.create_task_group() as group:
                with Collecting("waits one" if kind.startswith("mcp") else "waits") as place:
                    await place.grow(LARGE + 1)
                    group.start_soon(call, "waits")
                    await call("goes_on")
                    assert done == ["goes_on"]
    assert done == ["goes_on", "waits"]
