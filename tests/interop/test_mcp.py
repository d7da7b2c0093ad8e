"""mcp: servers of both protocol eras, over every transport, as children and over HTTP."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.interop.servers.everything_twin import CALL_WORDS, TOOLS, Host, bridge, tools_that_differ, weather_twin
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian, Npm, PyPI
from tests.support.threaded import threaded
from tests.upstreams.twins import RestTwin, rest_twin

from utcp_bridge.client.shadowing import record_file
from utcp_bridge.errors import Rejected
from utcp_bridge.model import Binary

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

EVERYTHING = Npm("@modelcontextprotocol/server-everything@2026.8.31", program="mcp-server-everything")
FILESYSTEM = Npm("@modelcontextprotocol/server-filesystem@2026.8.31", program="mcp-server-filesystem")
MEMORY = Npm("@modelcontextprotocol/server-memory@2026.8.31", program="mcp-server-memory")
TIME = PyPI("mcp-server-time==2026.10.19", program="mcp-server-time")
GIT_SERVER = PyPI("mcp-server-git==2026.10.19", program="mcp-server-git")
FETCH = PyPI("mcp-server-fetch==2026.10.24", program="mcp-server-fetch")
SQLITE = PyPI("mcp-server-sqlite==2025.4.25 mcp==1.30.0", program="mcp-server-sqlite")
GIT = Debian("git")


def entry(**servers):
    return {"name": "m", "call_template_type": "mcp", "config": {"mcpServers": servers}}


def child(software, *args: str):
    return {"command": software.command, "args": list(args), "env": {"PATH": software.environment["PATH"]}}


def text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.needs(TIME)
async def test_the_time_server_converts_between_time_zones(opened) -> None:
    async with opened(entry(clock=child(TIME))) as client:
        arguments = {"source_timezone": "Europe/Paris", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        assert "Asia/Tokyo" in text(await client.call_tool("m.clock.convert_time", arguments))
        with pytest.raises(Rejected):
            await client.call_tool("m.clock.convert_time", {**arguments, "target_timezone": "Nowhere"})


@pytest.mark.needs(GIT_SERVER, GIT)
async def test_the_git_server_reads_a_repository(opened, tmp_path: Path) -> None:
    import anyio

    await anyio.run_process([GIT.command, "init", "-q", str(tmp_path)], env=GIT.environment)
    async with opened(entry(git=child(GIT_SERVER))) as client:
        status = await client.call_tool("m.git.git_status", {"repo_path": str(tmp_path)})
        assert "No commits yet" in text(status)


@pytest.mark.needs(FETCH)
async def test_the_fetch_server_refuses_a_private_address(opened) -> None:
    async with opened(entry(fetch=child(FETCH))) as client:
        assert [tool.name for tool in client.tools()] == ["fetch.fetch"]
        with pytest.raises(Rejected):
            await client.call_tool("m.fetch.fetch", {"url": f"http://127.0.0.1:{free_port()}/"})


@pytest.mark.needs(SQLITE)
async def test_a_server_of_the_first_sdk_generation_is_understood(opened, tmp_path: Path) -> None:
    path = str(tmp_path / "data.sqlite")
    async with opened({**entry(db=child(SQLITE, "--db-path", path)), "register_resources_as_tools": True}) as client:
        await client.call_tool("m.db.create_table", {"query": "CREATE TABLE t (a INTEGER)"})
        await client.call_tool("m.db.write_query", {"query": "INSERT INTO t VALUES (7)"})
        assert "7" in text(await client.call_tool("m.db.read_query", {"query": "SELECT a FROM t"}))
        assert any("resource_" in tool.name for tool in client.tools())


@pytest.mark.needs(EVERYTHING)
@pytest.mark.parametrize("way", ["stdio", "streamableHttp", "sse"])
async def test_the_everything_server_answers_over_each_transport(opened, way: str) -> None:
    if way == "stdio":
        async with opened({**entry(every=child(EVERYTHING)), "register_resources_as_tools": True}) as client:
            await use_everything(client)
            assert any("resource_" in tool.name for tool in client.tools())
        return
    port = free_port()
    environment = {**EVERYTHING.environment, "PORT": str(port), "HOST": "127.0.0.1"}
    with serving([EVERYTHING.command, way], port=port, environment=environment):
        path, transport = ("mcp", "http") if way == "streamableHttp" else ("sse", "sse")
        server = {"url": f"http://127.0.0.1:{port}/{path}", "transport": transport}
        async with opened({**entry(every=server), "allow_networks": ["127.0.0.0/8"]}) as client:
            await use_everything(client)


async def use_everything(client) -> None:
    assert "Echo: hi" in text(await client.call_tool("m.every.echo", {"message": "hi"}))
    pictures = [tool.name for tool in client.tools() if "image" in tool.name.lower()]
    assert pictures
    found = await client.call_tool(f"m.{pictures[0]}", {})
    values = found if isinstance(found, list) else [found]
    assert any(isinstance(one, Binary) and one.media_type.startswith("image/") for one in values)
    slow = next(tool for tool in client.tools() if "long-running" in tool.name or "longRunning" in tool.name)
    partials = [part async for part in client.call_tool_streaming(slow.qualified_name, {"duration": 1, "steps": 3})]
    assert [part["progress"] for part in partials if isinstance(part, dict)][-1] == 3


@pytest.mark.needs(FILESYSTEM, MEMORY)
async def test_two_servers_of_one_manual_keep_files_and_a_graph(opened, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("tea & cake", encoding="utf-8")
    memory = child(MEMORY)
    memory["env"]["MEMORY_FILE_PATH"] = str(tmp_path / "memory.jsonl")
    async with opened(entry(files=child(FILESYSTEM, str(tmp_path)), memory=memory)) as client:
        read = await client.call_tool("m.files.read_text_file", {"path": str(tmp_path / "notes.txt")})
        assert "tea & cake" in text(read)
        with pytest.raises(Rejected):
            await client.call_tool("m.files.read_text_file", {"path": "/etc/hostname"})
        entity = {"name": "Ada", "entityType": "person", "observations": ["likes tea"]}
        await client.call_tool("m.memory.create_entities", {"entities": [entity]})
        assert "likes tea" in text(await client.call_tool("m.memory.search_nodes", {"query": "tea"}))


# --- the road from a server to its API: a twin with one difference -------------------------------


@pytest.fixture
def twin() -> Iterator[RestTwin]:
    with threaded(partial(rest_twin, weather_twin())) as twin:
        yield twin


@pytest.fixture
def config(twin: RestTwin, tmp_path: Path) -> Path:
    """Write the configuration: the server, of which three tools are used, and its twin with the hints of the server."""
    names = {"echo": "Echo Tool", "get-sum": "Get Sum Tool", "get-structured-content": "Get Structured Content Tool"}
    hints = {"destructiveHint": False, "openWorldHint": False}
    old = {**entry(every=child(EVERYTHING)), "name": "every", "include": {"names": [f"every.{one}" for one in TOOLS]}}
    rest = {
        "name": "rest",
        "call_template_type": "http",
        "url": f"{twin.base}/openapi.json",
        "overrides": {name: {"title": title, "annotations": hints} for name, title in names.items()},
    }
    path = tmp_path / "utcp.json"
    path.write_text(json.dumps({"manual_call_templates": [{**old, "shadow": {"new": "rest"}}, rest]}, indent=2))
    return path


@pytest.mark.needs(EVERYTHING)
@pytest.mark.timeout(240)
def test_the_comparison_finds_the_one_difference(config: Path) -> None:
    code, out, err = bridge("compare", str(config), "every", "rest", *CALL_WORDS, "--json")
    assert code == 1, err
    report = json.loads(out)
    assert tools_that_differ(report) == [("tool 'get-structured-content', reply", "/humidity", 82, 83)]
    assert {one["tool"]: one["outcome"] for one in report["calls"]} == {
        "echo": "equal",
        "get-sum": "equal",
        "get-structured-content": "different",
    }


@pytest.mark.needs(EVERYTHING)
@pytest.mark.timeout(240)
def test_the_shadow_finds_the_one_difference_and_keeps_it_from_being_promoted(config: Path, twin: RestTwin) -> None:
    record = record_file(config.with_name("utcp.lock"))
    host, before = Host(config, twin), config.read_bytes()
    seen, replies, _ = host.use(record)
    assert replies["get-structured-content"]["humidity"] == 82
    counts = json.loads(bridge("shadow", str(config), "--json")[1])["tools"]
    assert {name: (one["equal"], one["different"]) for name, one in counts.items()} == {
        "every.echo": (1, 0),
        "every.get-sum": (1, 0),
        "every.get-structured-content": (0, 1),
    }
    assert "/humidity" in counts["every.get-structured-content"]["last"][0]

    code, _, err = bridge("promote", str(config), "every", "--all-same")
    assert code == 0, err
    assert "get-structured-content is not promoted, because the sides differ." in err
    assert "/humidity" in err
    assert json.loads(config.read_text())["manual_call_templates"][0]["shadow"]["promoted"] == ["echo", "get-sum"]
    code, _, err = bridge("promote", str(config), "every", "get-structured-content", "--no-calls")
    assert (code, "because the shadow counted 1 call with another reply" in err) == (1, True)
    assert host.use()[:2] == (seen, replies)
    assert {"echo", "get-sum"} <= set(twin.calls)

    code, _, err = bridge("promote", str(config), "every", "--undo")
    assert (code, config.read_bytes() == before) == (0, True), err
    assert host.use(record)[:2] == (seen, replies)


@pytest.mark.needs(EVERYTHING)
@pytest.mark.timeout(240)
def test_a_mended_twin_is_promoted_as_a_whole(config: Path, twin: RestTwin) -> None:
    host, record = Host(config, twin), record_file(config.with_name("utcp.lock"))
    seen, replies, _ = host.use(record)
    twin.change = lambda _tool, value: value
    record.unlink()
    code, _, err = bridge("promote", str(config), "every", *TOOLS, *CALL_WORDS)
    assert code == 0, err
    assert host.use() == (seen, replies, TOOLS)
