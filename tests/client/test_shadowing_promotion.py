"""Promotion, with a real MCP server over stdio and a real REST service."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest
from tests.upstreams import twins

from utcp_bridge import UtcpClient
from utcp_bridge.client.shadowing import answering, read_record, record_file
from utcp_bridge.configuration.loading import load_config
from utcp_bridge.errors import ConfigError, UtcpError

pytestmark = pytest.mark.anyio
ARGUMENTS = {"city": "Oslo"}


@pytest.fixture
def written(twin, tmp_path):
    """Write a configuration file in which `rest` is to replace `old`, and return its path."""

    def write(promoted, *, rest_shadow=None, new="rest", servers=("srv",), **settings):
        server = {"command": sys.executable, "args": [twins.__file__], "env": {"TWIN_LOG": str(tmp_path / "calls")}}
        shadow = {"new": new, "ignore": ["/made_at"], "promoted": promoted}
        config = {"mcpServers": dict.fromkeys(servers, server)}
        mcp = {"name": "old", "call_template_type": "mcp", "config": config, "shadow": shadow}
        rest = {"name": "rest", "call_template_type": "http", "url": f"{twin.base}/openapi.json"}
        entries = [mcp, {**rest, **({"shadow": rest_shadow} if rest_shadow else {})}]
        path = tmp_path / "providers.json"
        path.write_text(json.dumps({"manual_call_templates": entries, "bridge": settings}))
        return path

    return write


@pytest.fixture
def opened(written):
    @asynccontextmanager
    async def opening(*promoted, **keys):
        async with await UtcpClient.create(written(promoted, **keys)) as client:
            yield client

    return opening


def called(tmp_path):
    path = tmp_path / "calls"
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize("name", ["forecast", "srv.forecast"])
async def test_a_promoted_tool_is_answered_by_the_new_side_alone(opened, twin, tmp_path, name):
    async with opened(name) as client:
        assert (await client.call_tool("old.srv.forecast", ARGUMENTS))["city"] == "Oslo"
        assert "68" in str(await client.call_tool("old.srv.convert", {"celsius": 20}))
    assert called(tmp_path) == ["convert"]
    assert twin.calls[:1] == ["forecast"]
    assert "old.srv.forecast" not in read_record(record_file(tmp_path / "utcp.lock"))


async def test_a_promoted_tool_that_writes_is_called_once(opened, twin, tmp_path):
    async with opened("note") as client:
        assert await client.call_tool("old.srv.note", {"text": "x"}) == {"kept": "x"}
    assert (twin.calls, called(tmp_path)) == (["note"], [])


@pytest.mark.parametrize("shadow", [None, {"new": "old", "promoted": ["forecast"]}])
async def test_a_tool_is_silent_if_its_kind_reports_no_progress_and_no_other_tool_answers_it(opened, shadow):
    async with opened(rest_shadow=shadow) as client:
        assert client.is_silent(client.find_tool("rest.forecast")) is (shadow is None)
        assert not client.is_silent(client.find_tool("old.srv.forecast"))


async def test_hosts_see_the_same_tools(opened):
    async with opened() as client:
        before = [(tool.qualified_name, tool.description, tool.inputs) for tool in client.tools()]
    async with opened("forecast", "note") as client:
        assert [(tool.qualified_name, tool.description, tool.inputs) for tool in client.tools()] == before


async def test_a_failure_of_the_new_side_is_the_failure_of_the_call(opened, twin, tmp_path):
    twin.fails = True
    async with opened("forecast") as client:
        with pytest.raises(UtcpError, match="500"):
            await client.call_tool("old.srv.forecast", ARGUMENTS)
    assert called(tmp_path) == []


async def test_a_bridge_that_runs_takes_a_promotion_over_and_back(written, twin, tmp_path):
    path = written([])
    async with await UtcpClient.create(path) as client:
        for promoted, calls in (([], 1), (["convert"], 1), ([], 2)):
            await client.reconfigure((await load_config([written(promoted)])).config)
            await client.wait_loaded()
            assert "68" in str(await client.call_tool("old.srv.convert", {"celsius": 20}))
            assert len(called(tmp_path)) == calls


async def test_a_new_tool_is_found_after_its_manual_was_read_again(opened, twin, tmp_path):
    async with opened("forecast") as client:
        await client.call_tool("old.srv.forecast", ARGUMENTS)
        await client.refresh("rest")
        await client.deregister_manual("rest")
        with pytest.raises(ConfigError, match="'rest' has no tool 'forecast', or it is not loaded"):
            await client.call_tool("old.srv.forecast", ARGUMENTS)
    assert (twin.calls, called(tmp_path)) == (["forecast"], [])


async def test_a_call_waits_until_the_new_side_is_loaded(written, twin):
    twin.held = asyncio.Event()
    async with await UtcpClient.create(written(["forecast"]), wait=0) as client:
        while client.find("old.srv.forecast") is None:
            await client.next_loaded()
        async with asyncio.TaskGroup() as group:
            call = group.create_task(client.call_tool("old.srv.forecast", ARGUMENTS))
            other = await client.call_tool("old.srv.convert", {"celsius": 20})
            assert (call.done(), "68" in str(other)) == (False, True)
            twin.held.set()
    assert call.result()["city"] == "Oslo"


async def test_two_manuals_that_replace_each_other_are_refused(opened):
    async with opened("forecast", rest_shadow={"new": "old", "promoted": ["forecast"]}) as client:
        with pytest.raises(ConfigError, match="which is promoted itself"):
            await client.call_tool("old.srv.forecast", ARGUMENTS)


async def test_explain_shows_the_request_of_the_side_that_answers(opened, twin):
    async with opened("forecast") as client:
        request = await client.explain("old.srv.forecast", ARGUMENTS)
        assert twin.base in request.line
        assert (await answering(client, client.find_tool("old.srv.convert"))).manual == "old"


# --- what is wrong in a configuration ------------------------------------------------------------


async def test_a_configuration_without_mistakes_has_no_fault(opened):
    async with opened("forecast", "srv.note") as client:
        assert client.faults() == []


async def test_unknown_names_are_named(opened):
    async with opened("forcast") as client:
        [fault] = client.faults()
    assert str(fault) == (
        "manual 'old', `shadow`: `promoted` names 'forcast', and the manual has no such tool. Did you mean 'forecast'?"
    )


@pytest.mark.parametrize(("new", "hint"), [("rset", "Did you mean 'rest'?"), ("old", "Name the manual")])
async def test_a_manual_that_cannot_replace_is_named(opened, new, hint):
    async with opened("forecast", new=new) as client:
        [fault] = client.faults()
    assert f"`new` names {new!r}" in fault.what
    assert hint in fault.remedy


async def test_a_promoted_tool_that_the_new_side_does_not_have_is_named(opened):
    async with opened("one.forecast", servers=("one", "two")) as client:
        [fault] = client.faults()
    assert (fault.severity, "'one.forecast' is promoted, and 'rest' has no such tool" in fault.what) == ("error", True)


@pytest.mark.parametrize("promoted", ["forecast", [1], {"a": 1}])
async def test_a_list_that_cannot_be_read_is_named(written, promoted):
    async with await UtcpClient.create(written(promoted)) as client:
        state = next(one for one in client.report() if one.name == "old")
    assert "promoted" in str(state.error)
