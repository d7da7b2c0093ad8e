"""A configuration that changes while it is served, followed in this process."""

import json
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from utcp_bridge.cli.live.following import Follower, following
from utcp_bridge.cli.opening import opened_parts
from utcp_bridge.cli.options import Options
from utcp_bridge.configuration.changes import changes_between
from utcp_bridge.processes.ending import Ending
from utcp_bridge.settings import GROUPS, LIVE_SETTINGS, BridgeSettings, GeneratedToken, UtcpClientConfig
from utcp_bridge.settings.restarts import RESTART_REASONS


def _entry(name, **more):
    tools = [{"name": "t", "description": "d", "tool_call_template": {"call_template_type": "text", "content": "x"}}]
    content = {"utcp_version": "1.0.1", "manual_version": "1", "tools": tools}
    return {"name": name, "call_template_type": "text", "content": content, **more}


def _write(path, *entries, **more):
    path.write_text(json.dumps({"manual_call_templates": list(entries), **more}))
    return path


def _states(client):
    return {state.name: state.status for state in client.report()}


async def _until(client, states):
    with anyio.fail_after(200):
        while _states(client) != states:
            await client.next_loaded()


@pytest.mark.anyio
async def test_manuals_are_added_replaced_and_removed_when_the_configuration_changes(tmp_path):
    path = _write(tmp_path / "utcp.json", _entry("kept"), _entry("gone"), _entry("other"))
    options = Options(sources=(str(path),))
    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options, stack)
        await client.wait_loaded(60)
        before = {tool.qualified_name: tool for tool in client.tools()}
        await stack.enter_async_context(following(options, loaded, client, Ending(), survives=False))
        _write(path, _entry("kept"), _entry("new"), _entry("other", base_url="http://127.0.0.1:9"))
        await _until(client, {"kept": "ready", "new": "ready", "other": "ready"})
        with anyio.fail_after(200):
            while before["other.t"] in client.tools():  # it serves until the new one is read
                await client.next_loaded()
        after = {tool.qualified_name: tool for tool in client.tools()}
    assert after.keys() == {"kept.t", "new.t", "other.t"}
    assert after["kept.t"] is before["kept.t"], "a manual that has not changed is left alone"
    assert after["other.t"] is not before["other.t"]


@pytest.mark.anyio
async def test_a_line_added_to_the_env_file_repairs_a_manual_without_a_restart(tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps(_entry("x")["content"]))
    entry = {"name": "keyed", "call_template_type": "file", "file_path": "${PLACE}"}
    path = _write(tmp_path / "utcp.json", entry)
    options = Options(sources=(str(path),))
    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options, stack)
        await client.wait_loaded(60)
        assert _states(client) == {"keyed": "failed"}
        await stack.enter_async_context(following(options, loaded, client, Ending(), survives=False))
        (tmp_path / ".env").write_text(f"PLACE={tmp_path}/tools.json\n")
        await _until(client, {"keyed": "ready"})


@pytest.mark.anyio
async def test_a_hangup_reads_the_configuration_again(tmp_path):
    path = _write(tmp_path / "utcp.json", _entry("old"))
    options = Options(sources=(str(path),), settings={"follow_configuration": False})
    ending = Ending()
    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options, stack)
        await client.wait_loaded(60)
        await stack.enter_async_context(following(options, loaded, client, ending, survives=True))
        _write(path, _entry("new"))
        ending.receive(signal.SIGHUP)
        await _until(client, {"new": "ready"})
    assert ending.asked_by is None


@pytest.mark.anyio
async def test_a_hangup_asks_a_server_on_stdio_without_files_for_the_end(tmp_path):
    options = Options(sources=(str(_write(tmp_path / "utcp.json", _entry("old"))),))
    ending, asked = Ending(), []
    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options, stack)
        await stack.enter_async_context(following(options, loaded, client, ending, survives=False))
        stack.enter_context(ending.stops(lambda: asked.append("end")))
        ending.receive(signal.SIGHUP)
    assert asked == ["end"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "text",
    [
        "{ broken",
        '{"manual_call_templates": [{"name": "kept", "call_template_type": "htpp"}]}',
        '{"manual_call_templates": [], "bridge": {"prot": 1}}',
        '{"manual_call_templates": [], "variables": {"A": [1]}}',
        '{"manual_call_templates": [], "load_variables_from": [{"variable_loader_type": "dotnev"}]}',
    ],
)
async def test_a_broken_edit_is_logged_and_changes_nothing(tmp_path, capfd, text):
    path = _write(tmp_path / "utcp.json", _entry("kept"))
    options = Options(sources=(str(path),), settings={"log_level": "warning"})
    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options, stack)
        await client.wait_loaded(60)
        path.write_text(text)
        assert (await Follower(options, loaded, client).read_again()).error is not None
        assert "The changed configuration is not used: " in capfd.readouterr().err
        assert _states(client) == {"kept": "ready"}


@pytest.mark.anyio
async def test_a_changed_setting_is_named_as_one_that_needs_a_new_start(tmp_path, capfd):
    path = _write(tmp_path / "utcp.json", _entry("kept"))
    options = Options(sources=(str(path),), settings={"log_level": "warning"})
    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options, stack)
        follower = Follower(options, loaded, client)
        _write(path, _entry("kept"), bridge={"retries": 0, "port": 1})
        done = await follower.read_again()
        assert (done.change.settings, done.change.later) == (("retries",), ("server.port",))
        assert client.settings.retries == 0
        assert capfd.readouterr().err.count("take effect at the next start: server.port (") == 1
        await follower.read_again()
        assert capfd.readouterr().err == "", "the log says it once"


def test_the_page_says_of_each_setting_whether_it_needs_a_restart():
    page = (Path(__file__).parents[3] / "docs" / "live.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if re.match(r"\| `(\w+)` \|.*\|.*\|$", line)]
    said = {
        re.findall(r"`(\w+)`", name)[0]: [re.findall(r"`(\w+)`", cell) for cell in cells]
        for name, *cells in rows
        if len(cells) == 2
    }
    assert said == {
        name: [
            [key for key in group.model_fields if key in LIVE_SETTINGS],
            [key for key in group.model_fields if key not in LIVE_SETTINGS],
        ]
        for name, group in GROUPS.items()
    }


def test_the_page_says_why_a_setting_needs_a_restart():
    page = (Path(__file__).parents[3] / "docs" / "live.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[1:-1] for line in page.partition("| Waits | Why |")[2].partition("\n\n")[0].splitlines()[2:]
    ]
    said = {key: why.strip() for keys, why in rows for key in re.findall(r"`(\w+)`", keys)}
    assert said == RESTART_REASONS


@pytest.mark.parametrize(
    ("before", "after", "later"),
    [
        ({"bearer_token": "a" * 20}, {"bearer_token": "generate"}, ["server.bearer_token"]),
        ({"bearer_token": GeneratedToken("a" * 20)}, {"bearer_token": "generate"}, []),
        ({"bearer_token": GeneratedToken("a" * 20)}, {"bearer_token": "b" * 20}, []),
        ({}, {"profiles": {"p": {}}, "default_profile": "p", "profile": "p"}, []),
        ({"profiles": {"p": {}}, "profile": "p"}, {}, []),
        ({"store": "redis://a"}, {"store": "redis://a", "result_lifetime": 5}, ["timeouts.result_lifetime"]),
        ({"max_kept_bytes": 5}, {"max_kept_bytes": 0}, ["limits.max_kept_bytes"]),
        ({}, {"max_kept_bytes": 5, "result_lifetime": 5}, []),
        ({"workers": 2}, {"workers": 2, "profiles": {"p": {}}, "profile": "p"}, ["access.profile"]),
        ({"store": "redis://a"}, {"store": "redis://a", "profiles": {"p": {}}, "profile": "p"}, ["access.profile"]),
        ({}, {"budgets": {"*": {"rate": 1}}, "profiles": {"p": {"budget": {"rate": 1}}}}, []),
    ],
)
def test_what_needs_a_restart_depends_on_the_values(before, after, later):
    old, new = (UtcpClientConfig(bridge=BridgeSettings(**one)) for one in (before, after))
    assert [*changes_between(old, new, old.bridge).later] == later
