"""Settings that need a restart change while a bridge runs: it says so in one sentence, and goes on as before."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.live.bridges import HANDSHAKE, MODERN, Host, LiveBridge, entry, environment, over_http, write

from utcp_bridge.cli.live.following import Follower
from utcp_bridge.cli.opening import opened_parts
from utcp_bridge.cli.options import Options
from utcp_bridge.settings import LIVE_SETTINGS, BridgeSettings, grouped_name
from utcp_bridge.settings.restarts import RESTART_REASONS, restart_reason

CHANGED: dict[str, Any] = {
    "transport": "http", "host": "127.0.0.2", "port": 1, "path": "/other", "state_key": "k" * 40, "insecure": True,
    "meta_tools": {"search": None, "call": None, "read": None, "status": None}, "ask_timeout": 0.001,
    "max_reply_bytes": 1, "max_file_bytes": 1, "allow_networks": ["10.0.0.0/8"], "proxy": "http://127.0.0.1:9",
    "check_connections": True, "file_roots": ["/nowhere"], "strict": True, "fail_on_fault": True,
    "reference_protocol_rules": True, "pin": "refuse", "token_store": "memory",
    "search_index": "memory", "search_memory": "off", "search_store": "file:nowhere", "log_format": "json",
    "log_file": "nowhere/bridge.log", "audit_log": "nowhere/calls.jsonl", "access_log": "nowhere/access.log",
    "watchdog_seconds": 0.001, "audit_key": "a" * 40, "metrics": True, "traces_per_second": 1,
    "tls_certificate": "nowhere.pem", "tls_key": "nowhere.key", "workers": 2, "store": "redis://127.0.0.1:9/0",
    "store_password": "another", "store_prefix": "another", "store_timeout": 0.01,
}  # fmt: skip
"""Another value of each setting that needs a restart. Many would end, cut or open what runs if they counted at once."""


def test_each_setting_that_needs_a_restart_has_another_value_here() -> None:
    assert {*CHANGED} == {*BridgeSettings.model_fields} - LIVE_SETTINGS
    in_some_cases = {"bearer_token", "profile", "result_lifetime", "max_kept_bytes"}
    of_the_client = {"post_processing", "tool_repository", "tool_search_strategy"}
    assert {*RESTART_REASONS} == {*CHANGED} | in_some_cases | of_the_client


@pytest.mark.anyio
async def test_a_setting_that_needs_a_restart_is_named_and_changes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in CHANGED:  # a variable of the environment has precedence over the file
        monkeypatch.delenv(f"UTCP_BRIDGE_{key.upper()}", raising=False)
    path = write(tmp_path / "utcp.json", entry("kept"))
    options = Options(sources=(str(path),), settings={"log_level": "warning"})
    wrong: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options, stack)
        await client.wait_loaded(60)
        follower, settings = Follower(options, loaded, client), client.settings.model_dump()
        before = [*client.report()], client.generation
        for key, value in CHANGED.items():
            capfd.readouterr()
            write(path, entry("kept"), bridge={key: value})
            done, logged = await follower.read_again(), capfd.readouterr().err.splitlines()
            again = await follower.read_again()
            why = RESTART_REASONS[key]
            sentence = f"These changes take effect at the next start: {grouped_name(key)} ({why})."
            assert client.configuration is not None
            found = [
                (done.error, done.change.later, done.change.is_empty, again.change.later),
                ([line.endswith(sentence) for line in logged], capfd.readouterr().err),
                (client.configuration["state"], client.configuration.get("needs_restart")),
                client.configuration.get("restart_reasons"),
                (client.settings.model_dump() == settings, ([*client.report()], client.generation) == before),
            ]
            name = grouped_name(key)
            expected = [(None, (name,), True, (name,)), ([True], ""), ("current", [name]), {name: why}, (True, True)]
            if found != expected:
                wrong[key] = found
            write(path, entry("kept"))
            assert (await follower.read_again()).change.later == ()
            assert "needs_restart" not in client.configuration
            assert "restart_reasons" not in client.configuration
    assert wrong == {}


@pytest.mark.anyio
async def test_what_needs_a_restart_is_named_until_it_is_taken_back(tmp_path: Path) -> None:
    added = {"post_processing": [{"tool_post_processor_type": "filter_dict", "only_include_keys": ["a"]}]}
    path = write(tmp_path / "utcp.json", entry("kept"))
    options = Options(sources=(str(path),), settings={"log_level": "error"})
    async with AsyncExitStack() as stack:
        loaded, client = await opened_parts(options, stack)
        follower = Follower(options, loaded, client)

        async def later(*entries: Any, **more: Any) -> Sequence[str]:
            write(path, *entries, **more)
            done = await follower.read_again()
            assert done.error is None
            return done.change.later

        assert await later(entry("kept"), **added) == ("post_processing",)
        assert await later(entry("kept"), entry("other"), **added) == ("post_processing",), "it has not started again"
        assert await later(entry("kept"), entry("other")) == ()


def page_of(bridge: LiveBridge) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=200)) as connection:
        connection.request("GET", "/", headers={"Accept": "text/html"})
        return connection.getresponse().read().decode()


def test_the_console_says_what_needs_a_restart_and_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", environment(tmp_path)["XDG_CONFIG_HOME"])
    path = write(tmp_path / "utcp.json", entry("a"))
    with over_http(tmp_path, str(path)) as bridge:
        hosts = [Host(bridge.port, era) for era in (MODERN, HANDSHAKE)]
        for host in hosts:
            host.listen()
            assert host.own_tools() == ["a_t"]
        assert "next start" not in page_of(bridge)
        write(path, entry("a"), bridge={"page_size": 9, "path": "/other", "metrics": True})
        done = bridge.reloaded()
        assert done["needs_restart"] == ["telemetry.metrics", "server.path"]
        reasons = done["restart_reasons"]
        assert reasons == {name: restart_reason(name) for name in done["needs_restart"]}
        bridge.logged("take effect at the next start: telemetry.metrics (counts begin with the start), server.path (")
        assert f"<code>server.path</code> ({reasons['server.path']})." in page_of(bridge)
        path.write_text(json.dumps({"manual_call_templates": [], "bridge": {"<b>prot</b>": 1}}))
        assert "prot" in bridge.reloaded()["error"]
        page = page_of(bridge)
        assert "The changed configuration is not used." in page
        assert "&lt;b&gt;prot" in page
        assert "<b>prot" not in page
        assert "telemetry.metrics" in page
        write(path, entry("a"))
        assert bridge.reloaded()["needs_restart"] == []
        assert "next start" not in page_of(bridge)
        assert [host.call("a_t") for host in hosts] == ["x"] * 2
        assert not any(host.has_heard("notifications/tools/list_changed") for host in hosts)
        for host in hosts:
            host.close()
