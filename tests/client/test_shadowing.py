"""Shadowing, with a real MCP server over stdio and a real REST service."""

import asyncio
import json
import logging
import stat
import sys
from contextlib import asynccontextmanager, suppress

import pytest
from tests.upstreams import twins

from utcp_bridge import UtcpClient
from utcp_bridge.client.shadowing import OUTCOMES, ShadowRecord, read_record, record_file
from utcp_bridge.errors import UtcpError

pytestmark = pytest.mark.anyio
ARGUMENTS = {"city": "Oslo"}


@pytest.fixture
def opened(twin, tmp_path):
    """Open a client of a configuration file in which `old` is shadowed by `rest`."""

    @asynccontextmanager
    async def opening(shadow=None, **old):
        server = {"command": sys.executable, "args": [twins.__file__], "env": {"TWIN_LOG": str(tmp_path / "calls")}}
        shadow = {"new": "rest", "ignore": ["/made_at"], **(shadow or {})}
        mcp = {"name": "old", "call_template_type": "mcp", "config": {"mcpServers": {"srv": server}}, "shadow": shadow}
        rest = {"name": "rest", "call_template_type": "http", "url": f"{twin.base}/openapi.json"}
        rest["headers"] = {"X": "${KEY}"}
        path = tmp_path / "providers.json"
        entries = [{**mcp, **old}, rest]
        path.write_text(json.dumps({"manual_call_templates": entries, "variables": {"rest_KEY": "a-very-secret-key"}}))
        async with await UtcpClient.create(path) as client:
            yield client

    return opening


async def counted(tmp_path, tool="old.srv.forecast", *, calls=1):
    """Wait until the file has this number of calls of a tool, and return its entry."""
    path = record_file(tmp_path / "utcp.lock")
    async with asyncio.timeout(60):
        while True:
            entry = read_record(path).get(tool)
            if entry and sum(entry[name] for name in OUTCOMES) >= calls:
                return entry
            await asyncio.sleep(0.02)


async def test_equal_replies_are_counted_and_the_host_gets_the_old_one(opened, twin, tmp_path):
    async with opened() as client:
        value = await client.call_tool("old.srv.forecast", ARGUMENTS)
        entry = await counted(tmp_path)
    assert "Oslo" in str(value)
    assert twin.calls == ["forecast"]
    assert entry == {"new": "rest.forecast", **dict.fromkeys(OUTCOMES, 0), "equal": 1, "last": []}
    assert stat.S_IMODE(record_file(tmp_path / "utcp.lock").stat().st_mode) == 0o600


async def test_a_difference_is_kept_logged_once_and_masked(opened, twin, tmp_path, caplog):
    twin.change = lambda _tool, value: {**value, "sky": "a-very-secret-key"}
    with caplog.at_level(logging.WARNING):
        async with opened() as client:
            await client.call_tool("old.srv.forecast", ARGUMENTS)
            await counted(tmp_path)
            await client.call_tool("old.srv.forecast", ARGUMENTS)
            entry = await counted(tmp_path, calls=2)
    assert entry["different"] == 2
    assert "/sky" in entry["last"][0]
    lines = [one.getMessage() for one in caplog.records if one.getMessage().startswith("Shadow")]
    assert len(lines) == 1
    assert "a-very-secret-key" not in f"{entry} {lines}"


async def test_a_new_side_that_fails_changes_nothing_for_the_host(opened, twin, tmp_path):
    twin.fails = True
    async with opened() as client:
        assert "Oslo" in str(await client.call_tool("old.srv.forecast", ARGUMENTS))
        entry = await counted(tmp_path)
    assert entry["new_failed"] == 1
    assert entry["last"][0].startswith("The call failed")


async def test_a_slow_new_side_delays_no_call_and_has_four_calls_at_most(opened, twin, tmp_path):
    twin.gate = asyncio.Event()
    async with opened() as client:
        for _ in range(6):
            assert "Oslo" in str(await client.call_tool("old.srv.forecast", ARGUMENTS))
        twin.gate.set()
        entry = await counted(tmp_path, calls=6)
    assert (entry["equal"], entry["skipped"]) == (4, 2)
    assert len(twin.calls) == 4


async def test_a_client_that_closes_does_not_wait_for_the_new_side(opened, twin):
    twin.gate = asyncio.Event()
    async with opened() as client:
        await client.call_tool("old.srv.forecast", ARGUMENTS)


@pytest.mark.parametrize("tools", [[], ["note"], ["*"]])
async def test_a_tool_that_writes_is_never_called_twice(opened, twin, tmp_path, tools):
    async with opened({"tools": tools}) as client:
        await client.call_tool("old.srv.note", {"text": "x"})
        assert read_record(record_file(tmp_path / "utcp.lock")) == {}
    assert "note" not in twin.calls
    assert (tmp_path / "calls").read_text().split() == ["note"]


async def test_a_new_tool_that_writes_is_not_called(opened, twin, tmp_path):
    reads = {"overrides": {"srv.note": {"annotations": {"readOnlyHint": True}}}}
    async with opened(**reads) as client:
        await client.call_tool("old.srv.note", {"text": "x"})
        entry = await counted(tmp_path, "old.srv.note")
    assert entry["new_failed"] == 1
    assert "may write" in entry["last"][0]
    assert twin.calls == []


async def test_only_listed_tools_are_shadowed(opened, twin, tmp_path):
    async with opened({"tools": ["fore*"]}) as client:
        await client.call_tool("old.srv.convert", {"celsius": 1})
        await client.call_tool("old.srv.forecast", ARGUMENTS)
        await counted(tmp_path)
    assert twin.calls == ["forecast"]


async def test_a_failure_of_the_old_side_is_counted_and_raised(opened, twin, tmp_path):
    async with opened(validation="off") as client:
        result = None
        with suppress(UtcpError):
            result = await client.call("old.srv.forecast", {})
        assert result is None or result.value.is_error
        entry = await counted(tmp_path)
    assert entry["old_failed"] == 1
    assert twin.calls == []


async def test_a_manual_that_does_not_exist_is_a_failure_of_the_new_side(opened, tmp_path):
    async with opened({"new": "gone"}) as client:
        assert "Oslo" in str(await client.call_tool("old.srv.forecast", ARGUMENTS))
        entry = await counted(tmp_path)
    assert (entry["new_failed"], "'gone' has no tool 'forecast'" in entry["last"][0]) == (1, True)


@pytest.mark.parametrize("shadow", [{"ignore": ["made_at"]}, {"tool": ["x"]}, {"new": 3}])
async def test_a_shadow_that_cannot_be_read_names_the_key(opened, shadow):
    async with opened(shadow) as client:
        [state] = [one for one in client.report() if one.name == "old"]
        assert "shadow" in str(state.error)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tools": 3}', '{"tools": {"a": 3}}'])
def test_a_file_that_cannot_be_read_counts_as_empty(tmp_path, text):
    (tmp_path / "file").write_text(text)
    assert read_record(tmp_path / "file") == {}


def test_the_file_stays_small_and_adds_up(tmp_path):
    lock = tmp_path / "utcp.lock"
    for _ in range(2):
        record = ShadowRecord(lock, lambda text: text)
        for number in range(50):
            record.add("a.b", "c.b", "different", [f"{number} {'x' * 10_000}"])
        record.write()
    entry = read_record(record_file(lock))["a.b"]
    assert (entry["different"], len(entry["last"])) == (100, 5)
    assert all(len(text) <= 500 for text in entry["last"])


def test_counts_of_another_replacement_are_dropped(tmp_path):
    lock = tmp_path / "utcp.lock"
    for new in ("c.b", "d.b"):
        record = ShadowRecord(lock, str)
        record.add("a.b", new, "equal")
        record.write()
    entry = read_record(record_file(lock))["a.b"]
    assert (entry["new"], entry["equal"]) == ("d.b", 1)


async def test_a_large_reply_is_skipped(opened, twin, tmp_path, monkeypatch):
    monkeypatch.setattr("utcp_bridge.client.shadowing._MAX_COMPARED_BYTES", 20)
    async with opened() as client:
        await client.call_tool("old.srv.forecast", ARGUMENTS)
        entry = await counted(tmp_path)
    assert entry["skipped"] == 1
    assert twin.calls == []
