"""Servers that misbehave in one way each, over stdio and HTTP: what is good of them is used, and the rest is named."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types
import pytest
from aiohttp import web
from tests.support.source import TESTS
from tests.transports.mcp.test_listing import FIELDS, GOOD, ODD_TOOLS, named
from tests.upstreams.odd_mcp_server import OddServer

from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import Rejected, UtcpError
from utcp_bridge.model import ContentBlocks, JsonObject, discard

pytestmark = pytest.mark.anyio
SERVER = TESTS / "upstreams" / "odd_mcp_server.py"
VERSIONS = ["2025-06-18", "2026-07-28"]
WAYS = ["stdio", "http"]


@asynccontextmanager
async def served(way: str, config: JsonObject) -> AsyncIterator[JsonObject]:
    """Yield the server's entry of a host's file."""
    if way == "stdio":
        yield {"command": sys.executable, "args": ["-S", "-E", str(SERVER), json.dumps(config)]}
        return
    server = OddServer(config)

    async def post(request: web.Request) -> web.Response:
        reply = server.reply(await request.json())
        if reply is None:
            return web.Response(status=202)
        return web.Response(body=reply.encode(), content_type=config.get("media_type", "application/json"))

    app = web.Application()
    app.router.add_post("/mcp", post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield {"url": f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/mcp"}  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(server: JsonObject, **settings: Any) -> AsyncIterator[UtcpClient]:
    """Yield a client with the manual `m` of one server `s`."""
    manual = {"name": "m", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}}
    config = {"manual_call_templates": [manual], "bridge": {"discovery_timeout": 200, **settings}}
    with anyio.fail_after(240):
        async with await UtcpClient.create(config) as client:
            yield client


def listing(tools: Any, **fields: Any) -> JsonObject:
    return {"tools/list": [{"tools": tools, **fields}]}


async def call(client: UtcpClient, tool: str = "good1") -> ContentBlocks:
    found = client.find(f"m.s.{tool}")
    assert found is not None
    result = await client.call(found, {"a": "x"}, discard)
    return result.value


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", WAYS)
async def test_every_odd_tool_costs_itself_at_most(way: str, version: str) -> None:
    config = {"version": version, "replies": listing([named(1), *ODD_TOOLS, named(2)])}
    async with served(way, config) as server, client_of(server) as client:
        [state] = client.report()
        assert state.error is None, state.error
        names = {tool.name for tool in client.tools()}
        assert {"s.good1", "s.good2"} <= names
        for field in set(FIELDS) - {"name", "execution"}:
            assert len({name for name in names if name.startswith(f"s.{field}")}) > 20, field
        assert any("not an object" in fault.what for fault in state.faults)
        assert (await call(client)).content == [{"type": "text", "text": "called good1"}]
        entries = list(Catalogue(client).entries.values())
        assert len(entries) >= len(names)
        for entry in entries:
            mcp_types.ListToolsResult.model_validate(
                {
                    "tools": [json.loads(json.dumps(entry.composed))],
                    "ttlMs": 0,
                    "cacheScope": "private",
                    "resultType": "complete",
                }
            )


RESULTS: list[tuple[Any, list[JsonObject], Any]] = [
    ({"content": [{"type": "text", "text": "x"}]}, [{"type": "text", "text": "x"}], None),
    ({"content": [{"type": "text", "text": "x"}], "resultType": "complete"}, [{"type": "text", "text": "x"}], None),
    ({"structuredContent": {"a": 1}}, [], {"a": 1}),
    ({"content": None, "structuredContent": {"a": 1}, "isError": None}, [], {"a": 1}),
    ('"result": "only text"', ["only text"], None),  # type: ignore[list-item]
    ('"result": [{"type": "text", "text": "x"}]', [{"type": "text", "text": "x"}], None),
    ({"content": [{"type": "new", "v": 1}, {"type": "text", "text": "x"}]},
     [{"type": "new", "v": 1}, {"type": "text", "text": "x"}], None),
]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", WAYS)
async def test_results_arrive_whatever_their_form(way: str, version: str) -> None:
    replies = {**listing([named(1)]), "tools/call": [result for result, _, _ in RESULTS]}
    async with served(way, {"version": version, "replies": replies}) as server, client_of(server) as client:
        for result, content, structured in RESULTS:
            value = await call(client)
            assert (value.content, value.structured) == (content, structured), result


HANDSHAKES: dict[str, JsonObject] = {
    "nothing but a version": {"protocolVersion": "2025-06-18"},
    "no version": {"capabilities": {"tools": {}}},
    "odd members": {"protocolVersion": "2025-06-18", "capabilities": [], "serverInfo": "odd", "instructions": {"a": 1}},
    "truth for capabilities": {"protocolVersion": "2025-06-18", "capabilities": {"tools": True, "resources": None}},
}
DISCOVERIES: dict[str, JsonObject] = {
    "nothing but versions": {"supportedVersions": ["2026-07-28"]},
    "odd members": {"supportedVersions": [None, "2026-07-28"], "capabilities": 5, "ttlMs": -5, "instructions": []},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("handshake", [*HANDSHAKES, *DISCOVERIES])
async def test_an_odd_handshake_opens_a_session(way: str, handshake: str) -> None:
    found = HANDSHAKES.get(handshake)
    method, result = ("server/discover", DISCOVERIES[handshake]) if found is None else ("initialize", found)
    version = VERSIONS[found is None]
    replies = {**listing([named(1)]), method: [result]}
    async with served(way, {"version": version, "replies": replies}) as server, client_of(server) as client:
        assert client.report()[0].error is None
        assert (await call(client)).content[0]["text"] == "called good1"


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_of_an_unknown_version_is_named_with_its_version(way: str) -> None:
    replies = {"initialize": [{"protocolVersion": "2031-01-01"}]}
    async with served(way, {"replies": replies}) as server, client_of(server) as client:
        assert "It speaks 2031-01-01." in str(client.report()[0].error)


@pytest.mark.parametrize("ignores", [["ping"], ["server/discover"], ["ping", "server/discover"]])
async def test_a_server_that_is_silent_about_the_first_question_is_initialized(ignores: list[str]) -> None:
    config = {"ignores": ignores, "replies": listing([named(1)])}
    async with served("stdio", config) as server, client_of(server) as client:
        assert (await call(client)).content[0]["text"] == "called good1"


@pytest.mark.parametrize(
    ("version", "questions"), [(VERSIONS[0], ["ping"]), (VERSIONS[1], ["ping", "server/discover"])]
)
async def test_an_older_server_is_asked_nothing_that_it_does_not_know(
    tmp_path: Path, version: str, questions: list[str]
) -> None:
    asked = tmp_path / "asked"
    config = {"version": version, "asked": str(asked), "replies": listing([named(1)])}
    async with served("stdio", config) as server, client_of(server):
        methods = asked.read_text().split()
        assert methods[: len(questions)] == questions
        assert ("initialize" in methods) == (version < "2026")
        assert set(methods) <= {*questions, "initialize", "tools/list", "subscriptions/listen"}


async def test_a_server_that_ends_at_a_request_before_initialize_is_started_once_more(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    config = {"strict": True, "starts": str(starts), "replies": listing([named(1)])}
    async with served("stdio", config) as server, client_of(server) as client:
        assert (await call(client)).content[0]["text"] == "called good1"
        assert len(starts.read_text().split()) == 2


async def test_noise_before_and_between_messages_does_not_matter() -> None:
    noise = [
        "\xff\xfe\x00",
        "Starting ...",
        "{}",
        '{"jsonrpc": "2.0"}',
        "[1, 2]",
        '{"id": 1',
        "\u00e9",
        "",
        '{"level": "info"}',
    ]
    config = {"noise": noise, "replies": listing([named(1)])}
    async with served("stdio", config) as server, client_of(server) as client:
        assert (await call(client)).content[0]["text"] == "called good1"


async def test_json_under_another_media_type_is_read() -> None:
    config = {"media_type": "text/plain", "replies": listing([named(1)])}
    async with served("http", config) as server, client_of(server) as client:
        assert (await call(client)).content[0]["text"] == "called good1"


async def test_a_result_that_is_not_the_last_word_says_so() -> None:
    replies = {**listing([named(1)]), "tools/call": [{"resultType": "novelty"}]}
    async with served("stdio", {"version": "2026-07-28", "replies": replies}) as server, client_of(server) as client:
        with pytest.raises(Rejected, match="'novelty' instead of a result"):
            await call(client)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"exits": 3, "says": "error: no such database"}, ("exit code 3", "no such database", "by hand")),
        ({"exits": 1, "says": "ModuleNotFoundError: No module named 'mcp_server_time'"},
         ("exit code 1", "Install the Python module 'mcp_server_time'")),
        ({"exits": 1, "says": "/usr/bin/python3: No module named no_module"}, ("Python module 'no_module' for",)),
        ({"exits": 1, "says": "Error: Cannot find module '@acme/server'"}, ("Install the Node module '@acme/server'",)),
        ({"exits": 127, "says": "sh: 1: uvx: not found"}, ("exit code 127", "Install the program that is missing")),
        ({"exits": 0}, ("exit code 0",)),
        ({"replies": {"initialize": ['"error": {"code": -32600, "message": "licence expired"}']}},
         ("licence expired", "-32600")),
        ({"replies": {"tools/list": ['"error": {"code": -32603, "message": "no database"}']}}, ("-32603",)),
    ],
    ids=str,
)  # fmt: skip
async def test_the_cause_of_a_failure_is_in_the_error_of_the_manual(config: JsonObject, words: tuple[str, ...]) -> None:
    async with served("stdio", config) as server, client_of(server) as client:
        error = client.report()[0].error
        assert isinstance(error, UtcpError)
        for word in words:
            assert word in f"{error} {getattr(error, 'detail', '')}", str(error)
        assert "MCPError" not in str(error)
        [state] = client.servers()
        assert (state.manual, state.name, state.status) == ("m", "s", "waiting" if "exits" in config else state.status)
        assert f"MCP server 's' {str(state.failure).removeprefix('it ')}" == str(error)


def test_the_good_tool_is_good() -> None:
    mcp_types.Tool.model_validate(GOOD)
