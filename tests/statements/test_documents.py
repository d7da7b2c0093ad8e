"""Statements of UTCP's documents that no other room shows: defaults, units, and examples through the whole client."""

import asyncio
import base64
import hashlib
import json
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.dialects.test_seed_examples import PROVIDERS
from tests.dialects.test_seed_manuals import CALL_TEMPLATES, COMPLETE
from tests.support.loop_clock import time_passes
from tests.support.source import ROOT
from tests.upstreams import mcp_server
from tests.upstreams.http_service import HttpService
from tests.upstreams.socket_service import TcpService, UdpService
from tests.upstreams.stream_service import StreamService

from utcp_bridge import UtcpClient, UtcpClientConfig
from utcp_bridge.errors import ConfigError, DeadlineExceeded, UtcpError
from utcp_bridge.model import Result
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.validate import check_document

pytestmark = pytest.mark.anyio

MINUTE = 60.0


@asynccontextmanager
async def serving(**handlers: Any) -> AsyncIterator[str]:
    """Serve each handler at the path of its name, and yield the base of the URLs."""
    app = web.Application()
    for name, handler in handlers.items():
        app.router.add_route("*", f"/{name}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def text_manual(*providers: dict[str, Any], **entry: Any) -> list[dict[str, Any]]:
    """Return a v0 configuration of one manual, whose tools t0, t1, … have these providers."""
    tools = [
        {
            "name": f"t{number}",
            "inputs": {"type": "object", "properties": {"q": {}, "slow": {}}},
            "tool_provider": provider,
        }
        for number, provider in enumerate(providers)
    ]
    manual = {"version": "0.2.0", "tools": tools}
    return [{"name": "m", "provider_type": "text", "content": manual, **entry}]


def limited(provider: dict[str, Any], **settings: float) -> dict[str, Any]:
    """Return a configuration with one tool and settings of the operator."""
    return {"manual_call_templates": text_manual(provider), "bridge": settings}


# --- streams ---------------------------------------------------------------------------------------


async def test_a_stream_is_opened_again_after_the_pause_of_its_template() -> None:
    seen: list[str | None] = []

    async def events(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Last-Event-ID"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"id: {len(seen)}\ndata: {len(seen)}\n\n".encode())
        if len(seen) == 1:
            assert request.transport is not None
            request.transport.abort()
        return response

    async with serving(events=events) as base:
        provider = {"provider_type": "sse", "url": f"{base}/events"}
        async with await UtcpClient.create(text_manual({**provider, "retry_timeout": 1})) as client:
            assert await client.call_tool("m.t0", {}) == [1, 2]
        assert seen == [None, "1"]
        seen.clear()
        async with await UtcpClient.create(limited(provider, stream_timeout=20)) as client:
            assert await client.call_tool("m.t0", {}) == [1], "30 s, the default, do not fit into the call"


async def silent(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    await response.prepare(request)
    await response.write(b"x")
    await asyncio.Event().wait()
    return response


async def call_until(seconds: float, client: UtcpClient) -> Result:
    """Return the result of a call whose stream stops after its first piece, as it is `seconds` later."""
    seen = asyncio.Event()

    async def emit(_partial: Any) -> None:
        seen.set()

    async with time_passes(seconds, after=seen):
        return await client.call("m.t0", {}, emit=emit)


async def test_the_timeout_of_a_stream_is_in_milliseconds() -> None:
    async with serving(silent=silent) as base:
        provider = {"provider_type": "http_stream", "url": f"{base}/silent", "timeout": 25_000}
        async with await UtcpClient.create(text_manual(provider)) as client:
            result = await call_until(25, client)
    assert result.value.data == b"x", "what came is kept"
    assert "time limit of the call" in str(result.truncated)


async def test_a_stream_without_a_timeout_has_that_of_the_operator() -> None:
    async with serving(silent=silent) as base:
        provider = {"provider_type": "http_stream", "url": f"{base}/silent"}
        async with await UtcpClient.create(limited(provider, stream_timeout=25)) as client:
            result = await call_until(25, client)
    assert "time limit of the call" in str(result.truncated)
    assert BridgeSettings().stream_timeout == 300


# --- sockets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "service"), [("tcp", TcpService), ("udp", UdpService)], ids=["tcp", "udp"])
async def test_the_timeout_of_a_socket_is_in_milliseconds(kind: str, service: Any) -> None:
    async with service() as peer:
        provider = {"provider_type": kind, "host": "127.0.0.1", "port": peer.port, "timeout": 300}
        async with await UtcpClient.create(text_manual(provider)) as client:
            with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
                await client.call_tool("m.t0", {"q": 1, "slow": True})


async def test_a_call_without_a_timeout_has_that_of_the_operator() -> None:
    async with TcpService() as peer:
        provider = {"provider_type": "tcp", "host": "127.0.0.1", "port": peer.port}
        async with await UtcpClient.create(limited(provider, call_timeout=0.4)) as client:
            with pytest.raises(DeadlineExceeded, match=r"0\.4 s"):
                await client.call_tool("m.t0", {"slow": True})
    assert BridgeSettings().call_timeout == 55


async def test_one_datagram_is_awaited_by_default() -> None:
    async with UdpService() as peer:
        provider = {"provider_type": "udp", "host": "127.0.0.1", "port": peer.port}
        async with await UtcpClient.create(text_manual(provider)) as client:
            assert await client.call_tool("m.t0", {"q": "x"}) == {"q": "x"}


# --- commands and MCP servers ----------------------------------------------------------------------

PRINT = "import json, os, sys; print(json.dumps([os.environ.get('KEY'), sys.argv[1:]]))"


def command(**fields: Any) -> dict[str, Any]:
    return {"provider_type": "cli", "command_name": f'"{sys.executable}" -c "{PRINT}"', **fields}


async def test_the_environment_of_a_command_takes_variables() -> None:
    providers = text_manual(command(env_vars={"KEY": "${API_KEY}"}), allowed_communication_protocols=["cli"])
    config = {"variables": {"m_API_KEY": "k-1"}, "manual_call_templates": providers}
    async with await UtcpClient.create(config) as client:
        assert await client.call_tool("m.t0", {"q": "a b"}) == ["k-1", ["--q", "a b"]]


@pytest.mark.parametrize("kind", ["cli", "text"])
async def test_auth_may_be_null(kind: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello", encoding="utf-8")
    file = {"provider_type": "text", "file_path": "note.txt", "auth": None}
    provider = command(auth=None) if kind == "cli" else file
    protocols = ["cli", "file", "text"]
    entry = text_manual(provider, allowed_communication_protocols=protocols, auth=None)
    async with await UtcpClient.create(entry, root_dir=tmp_path) as client:
        assert await client.call_tool("m.t0", {}) == ([None, []] if kind == "cli" else "hello")


async def test_an_mcp_server_with_a_command_needs_no_transport() -> None:
    server = {"command": sys.executable, "args": [mcp_server.__file__, "s"]}
    entry = {"name": "old", "provider_type": "mcp", "config": {"mcpServers": {"server_one": server}}}
    async with await UtcpClient.create([entry], wait=MINUTE) as client:
        assert await client.call_tool("old.server_one.echo", {"text": "x"}) == {"text": "x"}


SHOW = """
import hashlib, json, os, sys
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    tool = {"name": "key", "description": "Says it.", "inputSchema": {"type": "object"}}
    key = hashlib.sha256((os.environ["API_KEY"] + os.environ["DEBUG"]).encode()).hexdigest()
    result = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "s", "version": "1"}},
        "tools/list": {"tools": [tool]},
        "tools/call": {"content": [{"type": "text", "text": key}]},
    }.get(request["method"])
    answer = {"result": result} if result else {"error": {"code": -32601, "message": "unknown"}}
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}), flush=True)
"""


async def test_the_environment_of_an_mcp_server_takes_variables(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SHOW, encoding="utf-8")
    environment = {"API_KEY": "${MCP_API_KEY}", "DEBUG": "1"}
    server = {
        "transport": "stdio",
        "command": sys.executable,
        "args": [str(tmp_path / "server.py")],
        "env": environment,
    }
    entry = {"name": "m", "provider_type": "mcp", "config": {"mcpServers": {"s": server}}}
    config = {"variables": {"m_MCP_API_KEY": "k-7/"}, "manual_call_templates": [entry]}
    async with await UtcpClient.create(config, wait=MINUTE) as client:
        shown = await client.call_tool("m.s.key", {})
    assert shown == hashlib.sha256(b"k-7/1").hexdigest()


async def test_a_hosts_file_with_a_server_of_type_sse_is_a_configuration(tmp_path: Path) -> None:
    asked: list[str] = []

    async def events(request: web.Request) -> web.StreamResponse:
        asked.append(request.method)
        return web.Response(status=503)

    async with serving(sse=events) as base:
        path = tmp_path / "mcp.json"
        path.write_text(json.dumps({"mcpServers": {"old": {"type": "sse", "url": f"{base}/sse"}}}), encoding="utf-8")
        async with await UtcpClient.create(path, wait=MINUTE):
            pass
    assert asked[0] == "GET", "the older transport opens its stream with GET and never posts to it"
    assert "POST" not in asked


# --- manuals ---------------------------------------------------------------------------------------


async def test_a_text_provider_collects_tools_of_various_providers(tmp_path: Path) -> None:
    async with HttpService() as http, TcpService() as tcp, StreamService() as streams:
        framing = {"framing_strategy": "delimiter", "message_delimiter": "\\n"}
        (tmp_path / "note.txt").write_text("hello", encoding="utf-8")
        (tmp_path / "tools.json").write_text(
            json.dumps(
                text_manual(
                    {"provider_type": "http", "url": f"{http.base}/echo", "http_method": "GET"},
                    {"provider_type": "tcp", "host": "127.0.0.1", "port": tcp.port, **framing},
                    {"provider_type": "sse", "url": f"{streams.base}/sse/count?count=2"},
                    {"provider_type": "text", "file_path": "note.txt"},
                )[0]["content"]
            ),
            encoding="utf-8",
        )
        entry = {"name": "my_local_tools", "provider_type": "text", "file_path": "tools.json"}
        async with await UtcpClient.create([entry], root_dir=tmp_path) as client:
            results = [await client.call_tool(f"my_local_tools.t{number}", {"q": "x"}) for number in range(4)]
    assert results[0]["method"] == "GET"
    assert results[1:] == [{"q": "x"}, [{"n": 0}, {"n": 1}], "hello"]


async def test_a_downloaded_manual_is_listed_without_a_request(tmp_path: Path) -> None:
    async with HttpService() as service:
        provider = {"provider_type": "http", "url": f"{service.base}/echo"}
        (tmp_path / "manual.json").write_text(json.dumps(text_manual(provider)[0]["content"]), encoding="utf-8")
        entry = {"name": "m", "provider_type": "text", "file_path": "manual.json"}
        async with await UtcpClient.create([entry], root_dir=tmp_path) as client:
            [tool] = client.tools()
            assert tool.tool_provider["url"] == f"{service.base}/echo"
            assert service.requests == []
            await client.call_tool("m.t0", {})
            assert [request.target for request in service.requests] == ["/echo"]


def description_of(server: str) -> dict[str, Any]:
    return {
        "openapi": "3.0.3",
        "info": {"title": "Shop", "version": "1"},
        "servers": [{"url": server}],
        "paths": {"/echo": {"get": {"operationId": "echo", "responses": {"200": {"description": "ok"}}}}},
    }


async def test_the_url_of_a_description_is_a_complete_provider() -> None:
    async def described(_request: web.Request) -> web.Response:
        return web.json_response(description_of(base))

    async def echo(_request: web.Request) -> web.Response:
        return web.json_response({"found": 1})

    async with serving(**{"openapi.json": described}, echo=echo) as base:
        entry = {"name": "open_library_api", "provider_type": "http", "url": f"{base}/openapi.json"}
        async with await UtcpClient.create([entry], wait=20) as client:
            [tool] = await client.search_tools(query="echo")
            assert await client.call_tool(tool.qualified_name, {}) == {"found": 1}


async def test_base_url_replaces_the_server_of_a_description() -> None:
    description = description_of("https://api.example.com")
    async with HttpService() as service:
        entry = {
            "name": "m",
            "call_template_type": "text",
            "content": json.dumps(description),
            "base_url": service.base,
        }
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            await client.call_tool("m.echo", {})
        assert [request.target for request in service.requests] == ["/echo"]


async def test_an_empty_list_of_protocols_means_the_manuals_own_kind() -> None:
    async with StreamService() as service:

        async def manual(_request: web.Request) -> web.Response:
            kinds = [("http", f"{service.base}/echo"), ("sse", f"{service.base}/sse/count")]
            tools = [
                {"name": kind, "tool_call_template": {"call_template_type": kind, "url": url}} for kind, url in kinds
            ]
            return web.json_response({"utcp_version": "1.1.0", "manual_version": "1.0.0", "tools": tools})

        async with serving(utcp=manual) as base:
            origins = {"allowed_origins": [service.base], "allow_networks": ["127.0.0.0/8"]}
            entry = {"name": "m", "call_template_type": "http", "url": f"{base}/utcp", **origins}
            for allowed, names in (([], ["m.http"]), (["http", "sse"], ["m.http", "m.sse"])):
                config = {"manual_call_templates": [{**entry, "allowed_communication_protocols": allowed}]}
                async with await UtcpClient.create(config, wait=20) as client:
                    assert [tool.qualified_name for tool in client.tools()] == names


async def test_a_manual_of_any_version_is_read() -> None:
    template = {"call_template_type": "text", "content": "hello"}
    for version in ("0.9.0", "1.0.1", "1.2.0", "7.0", "draft"):
        manual = {
            "utcp_version": version,
            "manual_version": "2.1.0",
            "tools": [{"name": "t", "tool_call_template": template}],
        }
        entry = {"name": "m", "call_template_type": "text", "content": json.dumps(manual)}
        async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
            assert await client.call_tool("m.t", {}) == "hello"


async def test_a_websockets_manual_may_be_at_an_address_of_its_own() -> None:
    async def manual(_request: web.Request) -> web.Response:
        return web.json_response({"version": "0.1.0", "tools": [{"name": "t"}]})

    async def socket(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        asked = await opened.receive_json()
        await opened.send_json({"type": "result", "id": asked["id"], "result": asked["params"]})
        await opened.close()
        return opened

    async with serving(utcp=manual, socket=socket) as base:
        entry = {
            "name": "m",
            "provider_type": "websocket",
            "url": f"{base.replace('http', 'ws')}/socket",
            "discovery_url": f"{base}/utcp",
        }
        async with await UtcpClient.create([entry], wait=20) as client:
            assert await client.call_tool("m.t", {}) == {}


async def test_the_documents_own_examples_are_valid() -> None:
    providers = [provider for _, provider, _, _ in PROVIDERS]
    templates = [{"name": "a", **template} for _, template, _ in CALL_TEMPLATES]
    found = {}
    for entry in [*providers, *templates]:
        report = await check_document([entry], place="x", name="n", environ={})
        found[entry.get("url", json.dumps(entry))] = [error.what for error in report.errors]
    assert len(found) > 20
    templates_of_urls = {url for url in found if url.startswith("http") and "{" in url}
    assert {url for url, errors in found.items() if errors} == templates_of_urls
    assert all("must not contain a placeholder" in found[url][0] for url in templates_of_urls)
    report = await check_document(COMPLETE, place="x", name="n", environ={})
    assert (report.errors, report.tools) == ([], 2)


# --- the operator ----------------------------------------------------------------------------------


async def test_a_tool_of_the_operator_may_use_plain_http() -> None:
    provider = {"provider_type": "http", "url": "http://utcp.example/items", "http_method": "GET"}
    async with await UtcpClient.create(text_manual(provider)) as client:
        request = await client.explain("m.t0", {"q": "x"}, show_values=True)
    assert request.as_json()["request"] == "GET http://utcp.example/items?q=x", "explain sends nothing"


async def test_a_wrong_password_at_discovery_is_named_as_refused() -> None:
    async def guarded(request: web.Request) -> web.Response:
        good = "Basic " + base64.b64encode(b"ann:right").decode()
        return web.Response(status=200 if request.headers.get("Authorization") == good else 401)

    async with serving(utcp=guarded) as base:
        auth = {"auth_type": "basic", "username": "ann", "password": "wrong"}
        entry = {"name": "m", "provider_type": "http", "url": f"{base}/utcp"}
        async with await UtcpClient.create() as client:
            with pytest.raises(UtcpError, match="401") as refused:
                await client.register_manual_provider({**entry, "auth": auth})
            with pytest.raises(UtcpError, match="401") as missing:
                await client.register_manual_provider(entry)
    assert 'Add "auth"' in str(missing.value)
    assert 'Add "auth"' not in str(refused.value)
    assert "wrong" not in str(refused.value)


def test_a_misspelt_key_of_the_configurations_model_is_an_error() -> None:
    with pytest.raises((ConfigError, ValueError), match="providers_file_pth"):
        UtcpClientConfig(providers_file_pth="p.json")  # type: ignore[call-arg]


def test_the_packages_of_http_are_httpx2_and_aiohttp() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    names = {one.split(">")[0].split("[")[0] for group in groups for one in group if isinstance(one, str)}
    assert {"httpx2", "aiohttp", "anyio"} <= names
    assert not {"httpx", "pytest-anyio", "pytest-asyncio"} & names
