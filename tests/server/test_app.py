"""Handlers of the MCP server, called directly, and the notification of changes."""

import anyio
import pytest
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.connection import Connection
from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.runner import serve_one
from mcp.shared.exceptions import MCPError
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS
from tests.support.mcp_context import MODERN_META, Exchange
from tests.support.server_client import Manual, StandIn

from utcp_bridge.model import Binary, ContentBlocks
from utcp_bridge.server import app as app_module
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.settings import BridgeSettings, MetaToolNames

pytestmark = pytest.mark.anyio
MODERN = "2026-07-28"


async def ask(server, method, params=None, *, version=MODERN, exchange=None):
    """Send one request through the SDK's kernel, as the entry of its protocol era does."""
    connection = Connection.from_envelope(version, {"name": "t", "version": "1"}, {})
    with anyio.fail_after(60):
        return await serve_one(
            server,
            exchange or Exchange(),
            method,
            {**(params or {}), "_meta": MODERN_META},
            connection=connection,
            lifespan_state=None,
        )


def server_of(client=None, **settings):
    return BridgeServer(client or StandIn(BridgeSettings(**settings)))


@pytest.mark.parametrize("version", KNOWN_PROTOCOL_VERSIONS)
async def test_every_page_entry_is_valid_in_every_protocol_version(version):
    client = StandIn(BridgeSettings(meta_tools=MetaToolNames()))
    shapes = [
        {},
        None,
        [],
        {"type": "object", "properties": {"a": "text", "$b": True}},
        {"anyOf": [{"$ref": "#"}]},
        {"type": ["object", "null"]},
    ]
    for number, shape in enumerate(shapes):
        client.add("m", f"t{number}", inputs=shape, outputs=shape, tags=("x",), annotations={"readOnlyHint": True})
    server = BridgeServer(client)
    listed = (await ask(server, "tools/list", version=version))["tools"]
    server.middleware.clear()
    through_the_sdk = (await ask(server, "tools/list", version=version))["tools"]
    assert [tool["name"] for tool in through_the_sdk] == [tool["name"] for tool in listed]
    if version == MODERN:
        assert through_the_sdk == listed


async def test_the_shortcut_gives_the_same_response_as_the_sdk():
    server = server_of()
    server.client.add("m", "t")
    shortcut = await ask(server, "tools/list")
    server.middleware.clear()
    assert await ask(server, "tools/list") == shortcut


@pytest.mark.parametrize(
    ("settings", "ttl", "scope"),
    [({}, 60_000, "public"), ({"refresh_interval": 5}, 5_000, "public"), ({"bearer_token": "x"}, 60_000, "private")],
)
async def test_a_list_has_its_cache_time_and_scope(settings, ttl, scope):
    listed = await ask(server_of(**settings), "tools/list")
    assert (listed["ttlMs"], listed["cacheScope"]) == (ttl, scope)


@pytest.mark.parametrize("version", ["2025-11-25", MODERN])
async def test_a_cursor_gives_the_next_page(version):
    server = server_of(page_size=2)
    server.client.add_many("m", ["a", "b", "c"])
    first = await ask(server, "tools/list", version=version)
    second = await ask(server, "tools/list", {"cursor": first["nextCursor"]}, version=version)
    assert [tool["name"] for tool in second["tools"]] == ["m_c"]
    assert "nextCursor" not in second


@pytest.mark.parametrize("version", ["2025-11-25", MODERN])
async def test_an_empty_cursor_gives_the_first_page(version):
    server = server_of(page_size=2)
    server.client.add_many("m", ["a", "b", "c"])
    first = await ask(server, "tools/list", {"cursor": ""}, version=version)
    assert first == await ask(server, "tools/list", version=version)


@pytest.mark.parametrize("version", ["2025-11-25", MODERN])
@pytest.mark.parametrize("given", [5, 0, 1.5, True, False, [1], ["{}"], [[]], "[]", "5", "no JSON"])
async def test_arguments_of_another_kind_are_named(version, given):
    server = server_of()
    server.client.add_many("m", ["t"])
    with pytest.raises(MCPError, match="`arguments` must be a JSON object") as caught:
        await ask(server, "tools/call", {"name": "m_t", "arguments": given}, version=version)
    assert caught.value.code == -32602


async def test_a_bad_cursor_is_invalid_params():
    with pytest.raises(MCPError) as caught:
        await ask(server_of(), "tools/list", {"cursor": "stale"})
    assert caught.value.code == -32602
    assert "without a cursor" in caught.value.message


async def test_a_failed_list_shows_only_an_id(monkeypatch):
    server = server_of()
    monkeypatch.setattr(server.client, "tools", lambda: 1 / 0)
    server.part.whole.generation += 1
    with pytest.raises(MCPError) as caught:
        await ask(server, "tools/list")
    assert caught.value.code == -32603
    assert "division" not in caught.value.message


@pytest.mark.parametrize("name", ["m_t", "m.t"])
async def test_a_tool_is_called_by_its_mcp_or_utcp_name_with_its_own_keys(name):
    server = server_of()
    server.client.add("m", "t", inputs={"type": "object", "properties": {"$a": {"type": "string"}}})
    result = await ask(server, "tools/call", {"name": name, "arguments": {"a": "x"}})
    assert server.client.calls == [("m.t", {"$a": "x"})]
    assert result["content"] == [{"type": "text", "text": '{"$a":"x"}'}]


@pytest.mark.parametrize("version", ["2025-11-25", MODERN])
@pytest.mark.parametrize(
    ("given", "received"),
    [('{"a": "x"}', {"a": "x"}), ("", {}), ("  ", {}), (None, {}), ([], {}), ({"a": "{}"}, {"a": "{}"})],
)
async def test_arguments_may_be_the_text_of_an_object_or_nothing(version, given, received):
    server = server_of()
    server.client.add("m", "t", inputs={"type": "object", "properties": {"a": {"type": "string"}}})
    await ask(server, "tools/call", {"name": "m.t", "arguments": given}, version=version)
    assert server.client.calls == [("m.t", received)]


async def test_an_unknown_tool_is_invalid_params():
    with pytest.raises(MCPError) as caught:
        await ask(server_of(), "tools/call", {"name": "none"})
    assert caught.value.code == -32602
    assert "There is no tool 'none'" in caught.value.message


async def test_a_call_waits_for_a_tool_of_a_loading_manual():
    client = StandIn(BridgeSettings(startup_wait=30))
    client.manuals = [Manual("m", "loading")]
    server = BridgeServer(client)

    async def load():
        await anyio.wait_all_tasks_blocked()
        client.add("m", "t")
        client.manuals[0].status = "ready"
        client.loaded.set()

    async with anyio.create_task_group() as group:
        group.start_soon(load)
        result = await ask(server, "tools/call", {"name": "m_t", "arguments": {}})
    assert result["isError"] is False


async def test_a_failure_inside_the_bridge_is_a_result_without_its_text():
    async def fail(_arguments, _emit):
        raise KeyError("password")

    server = server_of()
    server.client.add("m", "t", fail)
    for name, arguments in (("m_t", {}), ("call_tool", {"name": "m_t"})):
        result = await ask(server, "tools/call", {"name": name, "arguments": arguments}, version="2025-11-25")
        assert result["isError"] is True
        assert "password" not in result["content"][0]["text"]


async def test_a_failed_search_is_an_error_result(monkeypatch):
    server = server_of()
    monkeypatch.setattr(server.part.whole, "search", lambda *_args, **_fields: 1 / 0)
    result = await ask(server, "tools/call", {"name": "search_tools", "arguments": {"query": "x"}})
    assert result["isError"] is True


@pytest.mark.parametrize("version", KNOWN_PROTOCOL_VERSIONS)
async def test_results_of_every_kind_are_valid_in_every_protocol_version(version):
    async def media(_arguments, _emit):
        return [Binary(b"x", "image/png"), Binary(b"x", "audio/wav"), Binary(b"x", "application/pdf"), {"a": 1}]

    async def blocks(_arguments, _emit):
        return ContentBlocks(
            [{"type": "weird"}, {"type": "text", "text": "\ud800", "annotations": {"priority": "x"}}], structured=[1]
        )

    async def number(_arguments, _emit):
        return {"n": float("nan"), "big": 2**80}

    server = server_of(structured_content="always")
    for function in (media, blocks, number):
        server.client.add(
            "m", function.__name__, function, outputs={"type": "object", "properties": {"n": {"type": "number"}}}
        )
    kinds = {
        name: [block["type"] for block in (await ask(server, "tools/call", {"name": name}, version=version))["content"]]
        for name in ("m_media", "m_blocks", "m_number")
    }
    assert kinds == {
        "m_media": ["image", "audio", "resource", "text"],
        "m_blocks": ["text", "text"],
        "m_number": ["text"],
    }


def report(progress, total=None, message=None):
    """A partial result as an MCP upstream reports progress."""
    fields = {"progress": progress, "total": total, "message": message}
    return {key: value for key, value in fields.items() if value is not None}


@pytest.mark.parametrize(
    ("partials", "progress"),
    [
        (["a", {"b": 1}], [(1, None, "a"), (2, None, '{"b":1}')]),
        ([report(0, 2), report(1, 2)], [(0, 2, None), (1, 2, None)]),
        ([report(0.0, 2.0), report(0.5, 2.0)], [(0, 2, None), (0.5, 2, None)]),
        ([report(-1), report(-0.5, message="soon")], [(-1, None, None), (-0.5, None, "soon")]),
        ([report(10, 20, "half"), report(20, 20)], [(10, 20, "half"), (20, 20, None)]),
        ([report(1, 2), report(1, 2), report(0, 2), report(2, 2)], [(1, 2, None), (2, 2, None)]),
        (
            [report(1, 2, "a"), report(1, 2, "a"), report(1, 2, "b"), report(0, 2, "c"), report(2, 2, "d")],
            [(1, 2, "a"), (1.000001, 2, "b"), (1.000002, 2, "c"), (2, 2, "d")],
        ),
        ([report(1e12, message="a"), report(1e12, message="b")], [(1e12, None, "a"), (1e12 + 2**-13, None, "b")]),
        (["a", report(1, 9), report(3, 9), "b"], [(1, None, "a"), (3, 9, None), (4, None, "b")]),
        (
            [{"progress": 5, "rows": 3}, {"progress": 6, "total": "x"}, {"progress": True}, report(6.5, message=7)],
            [(5, None, '{"progress":5,"rows":3}'), (6, None, None), (7, None, '{"progress":true}')],
        ),
        (
            [report(float("nan")), report(10**400), report(2**70)],
            [(1, None, '{"progress":null}'), (2, None, f'{{"progress":{10**400}}}'), (2**70, None, None)],
        ),
        (["x" * 20_000], [(1, None, "x" * 7_999 + "…")]),
    ],
)
async def test_partial_results_become_growing_progress(partials, progress):
    async def stream(_arguments, emit):
        for partial in partials:
            await emit(partial)
        return partials

    server = server_of()
    server.client.add("m", "t", stream)
    exchange = Exchange()
    connection = Connection.from_envelope(MODERN, None, {})
    params = {"name": "m_t", "arguments": {}, "_meta": {**MODERN_META, "progressToken": 7}}
    await serve_one(server, exchange, "tools/call", params, connection=connection, lifespan_state=None)
    assert exchange.progressed == progress


async def test_without_a_progress_token_partial_results_are_dropped():
    async def stream(_arguments, emit):
        await emit("a")
        return 1

    server = server_of()
    server.client.add("m", "t", stream)
    exchange = Exchange()
    await ask(server, "tools/call", {"name": "m_t"}, exchange=exchange)
    assert exchange.progressed == []


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (MetaToolNames(), ["2 tools from m (2)", "search_tools", "call_tool"]),
        (MetaToolNames(call=None), ["search_tools"]),
        (MetaToolNames(search=None), ["2 tools of 1 provider"]),
    ],
)
async def test_instructions_name_the_current_providers(names, words):
    server = server_of(meta_tools=names)
    server.client.add("m", "a")
    before = (await ask(server, "server/discover"))["instructions"]
    server.client.add("m", "b")
    after = (await ask(server, "server/discover"))["instructions"]
    assert before != after
    assert all(word in after for word in words)


def test_instructions_stay_short_with_many_providers():
    server = server_of()
    for number in range(500):
        server.client.add_many(f"a_provider_with_a_long_name_{number}", ["x"])
    assert len(server.instructions_text().encode()) < 2_000


def test_the_capability_list_changed_is_always_declared():
    server = server_of()
    assert server.create_initialization_options().capabilities.tools.list_changed is True
    quiet = server.create_initialization_options(NotificationOptions())
    assert quiet.capabilities.tools.list_changed is False


def test_there_is_no_tracing_until_a_tracer_is_installed(monkeypatch):
    assert not any(isinstance(one, OpenTelemetryMiddleware) for one in server_of().middleware)
    monkeypatch.setattr(app_module, "_tracing_is_configured", lambda: True)
    assert isinstance(server_of().middleware[0], OpenTelemetryMiddleware)


async def test_requests_before_the_handshake_go_to_the_sdk():
    server = server_of()
    connection = Connection.for_loop(Exchange())
    with pytest.raises(MCPError, match="Invalid request parameters"):
        await serve_one(server, Exchange(), "tools/list", {}, connection=connection, lifespan_state=None)


async def test_the_lifespan_refuses_another_server():
    server = server_of()
    with pytest.raises(TypeError):
        async with server.lifespan(object()):
            pass


async def test_the_lifespan_unsubscribes_from_the_client_at_its_end():
    server = server_of()
    with anyio.fail_after(60):
        async with server.lifespan(server):
            assert len(server.client._callbacks) == 1
    assert server.client._callbacks == []
