"""`utcp-bridge reload`, and a bridge as a process whose configuration changes beside connected clients of both eras."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.cli.live.bridges import (
    CHANGED,
    HANDSHAKE,
    MODERN,
    Host,
    LiveBridge,
    entry,
    environment,
    manual,
    over_http,
    write,
)

from utcp_bridge.cli.live.doors import listening_door
from utcp_bridge.processes.systems import own_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="`reload` needs a socket with a path")
LINKS = 50


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def connected(bridge: LiveBridge, *eras: str, path: str = "/mcp") -> Generator[list[Host]]:
    hosts = [Host(bridge.port, era, path) for era in eras]
    try:
        yield hosts
    finally:
        for host in hosts:
            host.close()


def test_clients_see_manuals_come_change_and_go(home: Path) -> None:
    path = write(home / "utcp.json", entry("a"), entry("b"))
    with over_http(home, str(path)) as bridge, connected(bridge, HANDSHAKE, MODERN) as hosts:
        for host in hosts:
            assert host.own_tools() == ["a_t", "b_t"]
            host.listen()
        write(path, entry("a"), entry("b", says="new"), entry("c"))
        for host in hosts:
            host.comes_to("a_t", "b_t", "c_t")
            while host.call("b_t") != "new":
                assert bridge.process.poll() is None
        write(path, entry("c"))
        for host in hosts:
            host.comes_to("c_t")
            assert "a_t" in host.call("a_t"), "an error that names it"
        assert bridge.reload()[:2] == (0, "Nothing has changed.\n")
        for host in hosts:
            assert not host.has_heard(CHANGED), "nothing was announced that did not change"


def test_a_fault_keeps_the_configuration_and_is_said_everywhere(home: Path) -> None:
    path = write(home / "utcp.yaml", entry("a"))
    with over_http(home, str(path)) as bridge, connected(bridge, HANDSHAKE) as (host,):
        first = bridge.readyz()["configuration"]
        assert first["state"] == "current"
        path.write_text("manual_call_templates: [\n  {name: a")
        line = bridge.logged("The changed configuration is not used")
        found = bridge.waits_for(lambda one: one["configuration"]["state"] == "refused")["configuration"]
        assert found["error"] in line
        assert (found["hash"], found["loaded_at"]) == (first["hash"], first["loaded_at"])
        code, out, err = bridge.reload()
        assert (code, out) == (2, "")
        assert found["error"] in err
        assert len(err.splitlines()) == 1
        assert host.own_tools() == ["a_t"]
        path.unlink()
        assert bridge.reload()[0] == 2
        assert host.call("a_t") == "x"
        write(path, entry("a"))
        assert (
            bridge.waits_for(lambda one: one["configuration"]["state"] == "current")["configuration"]["hash"]
            == (first["hash"])
        )
        said = [line for line in [*bridge.lines, *bridge.log.queue] if "not used" in line]
        assert len(said) == len(set(said)) or len(said) <= 4, "each change is said once, and not at each look"


def test_a_file_that_is_half_written_is_read_when_it_is_whole(home: Path) -> None:
    path = write(home / "utcp.json", entry("a"))
    whole = json.dumps({"manual_call_templates": [entry("a"), entry("b")]})
    with over_http(home, str(path)) as bridge, connected(bridge, HANDSHAKE) as (host,):
        host.own_tools()
        host.listen()
        with path.open("w") as file:
            file.write(whole[:50])
            file.flush()
            bridge.logged("The changed configuration is not used")
            assert host.own_tools() == ["a_t"]
            file.write(whole[50:])
        host.hears(CHANGED)
        assert host.own_tools() == ["a_t", "b_t"]


def mounted(folder: Path, number: int, *entries: dict[str, Any]) -> Path:
    """Write a configuration as Kubernetes mounts a ConfigMap: behind a link to a folder, which is exchanged."""
    data = folder / f"..{number}"
    data.mkdir(parents=True)
    write(data / "utcp.json", *entries)
    fresh = folder / "..data_tmp"
    fresh.symlink_to(data.name)
    fresh.replace(folder / "..data")
    named = folder / "utcp.json"
    if not named.is_symlink():
        named.symlink_to("..data/utcp.json")
    for old in folder.glob("..[0-9]*"):
        if old != data:
            shutil.rmtree(old)
    return named


@pytest.mark.parametrize("named", ["the file", "the folder"])
def test_links_that_are_exchanged_under_load_lose_no_call(home: Path, named: str) -> None:
    folder = home / "mounted"
    path = mounted(folder, 0, entry("a"), entry("b", says="0"))
    place = path if named == "the file" else folder
    with over_http(home, str(place), "--set", "follow_configuration=0.1") as bridge:
        ends, lost, answers = threading.Event(), list[str](), list[str]()

        def call(era: str) -> None:
            host = Host(bridge.port, era)
            while not ends.is_set():
                answers.append(answer := host.call("b_t"))
                if not answer.isdigit():
                    lost.append(answer)
            host.close()

        callers = [threading.Thread(target=call, args=(era,)) for era in (HANDSHAKE, MODERN)]
        for caller in callers:
            caller.start()
        try:
            for number in range(1, LINKS + 1):
                mounted(folder, number, entry("a"), entry("b", says=str(number)))
                if number % 10 == 0:
                    host = Host(bridge.port, HANDSHAKE)
                    bridge.reload()
                    assert host.call("b_t") == str(number)
                    host.close()
        finally:
            ends.set()
            for caller in callers:
                caller.join()
    assert lost == []
    assert answers


def descriptors(pid: int) -> int:
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


@pytest.mark.skipif(sys.platform != "linux", reason="it counts what /proc shows")
def test_readings_leave_no_descriptor_and_no_process_behind(home: Path) -> None:
    server = {"command": sys.executable, "args": ["-m", "tests.upstreams.mcp_asking", "handshake"]}
    server["cwd"] = str(Path(__file__).parents[3])

    def servers(number: int) -> dict[str, Any]:
        one = {**server, "env": {"NUMBER": str(number)}}
        return {"name": "m", "call_template_type": "mcp", "config": {"mcpServers": {"s": one}}}

    path = write(home / "utcp.json", entry("a"), servers(0))
    with over_http(home, str(path), "--set", "follow_configuration=false") as bridge:
        bridge.waits_for(lambda found: found["manuals"]["ready"] == 2)
        bridge.reload()
        before = descriptors(bridge.process.pid)
        for number in range(1, 51):
            write(path, entry("a", says=str(number)), servers(number // 10), entry(f"n{number}"))
            assert bridge.reloaded()["error"] is None
        found = bridge.waits_for(lambda found: found.get("servers") == {"ready": 1})
        assert found["manuals"] == {"total": 3, "ready": 3, "loading": 0, "failed": 0}
        assert descriptors(bridge.process.pid) < before + 25, "fifty readings would leave fifty"


def test_a_secret_that_changes_in_its_file_is_used_at_once(home: Path) -> None:
    (home / "secrets").mkdir()
    secret = home / "secrets" / "WORD"
    secret.write_text("one\n")
    (home / "one.txt").write_text("first")
    (home / "two.txt").write_text("second")
    tool = {"name": "t", "tool_call_template": {"call_template_type": "file", "file_path": f"{home}/${{WORD}}.txt"}}
    content = {"utcp_version": "1.0.1", "manual_version": "1", "tools": [tool]}
    keyed = {"name": "k", "call_template_type": "text", "content": content}
    keyed["allowed_communication_protocols"] = ["text", "file"]
    loader = {"variable_loader_type": "file", "folder": str(home / "secrets")}
    path = write(home / "utcp.json", keyed, load_variables_from=[loader])
    with over_http(home, str(path)) as bridge, connected(bridge, HANDSHAKE) as (host,):
        assert host.call("k_t") == "first"
        secret.write_text("two\n")
        bridge.logged("The configuration was read again")
        assert host.call("k_t") == "second"


def test_settings_are_taken_over_and_those_that_cannot_be_are_named(home: Path) -> None:
    settings: dict[str, Any] = {"profiles": {"p": {"names": ["a_*", "a.*"]}}}
    path = write(home / "utcp.json", entry("a", "t", "u"), entry("b"), bridge=settings)
    with (
        over_http(home, str(path)) as bridge,
        connected(bridge, HANDSHAKE, MODERN) as hosts,
        connected(bridge, HANDSHAKE, path="/mcp/p/p") as (narrow,),
    ):
        for host in hosts:
            assert host.own_tools() == ["a_t", "a_u", "b_t"]
            host.listen()
        assert narrow.own_tools() == ["a_t", "a_u"]
        narrow.listen()
        settings = {"profiles": {"p": {"names": ["a.t"]}}, "max_file_bytes": 50}
        write(path, entry("a", "t", "u"), entry("b"), bridge=settings)
        bridge.logged("These changes take effect at the next start: limits.max_file_bytes ")
        narrow.hears(CHANGED)
        assert narrow.own_tools() == ["a_t"]
        assert "a_u" in narrow.call("a_u")
        for host in hosts:
            assert not host.has_heard(CHANGED), "the list of the whole bridge is the same"
        write(path, entry("a", "t", "u"), entry("b"), bridge={**settings, "exposure": "search"})
        for host in hosts:
            host.hears(CHANGED)
            assert host.own_tools() == []
        rule = {"do": "deny", "manuals": "b", "why": "Not now."}
        write(path, entry("a", "t", "u"), entry("b"), bridge={**settings, "access_rules": [rule]})
        done = bridge.reloaded()
        assert done["error"] is None
        assert "Not now" in hosts[0].call("b_t")
        assert hosts[0].call("a_t") == "x"


def test_each_worker_takes_the_configuration_over(home: Path) -> None:
    path = write(home / "utcp.json", entry("a"))
    with over_http(home, str(path), "--workers", "2") as bridge:
        write(path, entry("a", says="new"), entry("b"))
        done = bridge.reloaded("--pid", str(bridge.process.pid))
        assert (done["processes"], done["error"]) == (2, None)
        hosts = [Host(bridge.port, HANDSHAKE) for _ in range(8)]
        assert {host.call("a_t") for host in hosts} == {"new"}
        path.write_text("{ broken")
        assert bridge.reload(str(path))[0] == 2
        bridge.waits_for(lambda found: found["configuration"]["state"] == "refused")
        for host in hosts:
            host.close()


@pytest.mark.parametrize("era", [HANDSHAKE, MODERN])
def test_over_stdio_the_host_hears_of_changed_tools(home: Path, era: str) -> None:
    path = write(home / "utcp.json", entry("a"))
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(path)]
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=home, env=environment(home), **streams) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def send(**message: Any) -> None:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]

        def until(key: str, value: Any) -> dict[str, Any]:
            for line in process.stdout:  # type: ignore[union-attr]
                message: dict[str, Any] = json.loads(line)
                if message.get(key) == value:
                    return message
            raise AssertionError("the bridge ended")

        meta: dict[str, Any] = {}
        if era == HANDSHAKE:
            params = {"protocolVersion": era, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
            send(id=1, method="initialize", params=params)
            until("id", 1)
            send(method="notifications/initialized")
        else:
            meta = {
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
                }
            }
        send(id=2, method="tools/list", params=meta)
        assert "a_t" in json.dumps(until("id", 2))
        if era == MODERN:
            send(id=3, method="subscriptions/listen", params={"notifications": {"toolsListChanged": True}, **meta})
            until("method", "notifications/subscriptions/acknowledged")
        write(path, entry("a"), entry("b"))
        until("method", CHANGED)
        send(id=4, method="tools/list", params=meta)
        assert "b_t" in json.dumps(until("id", 4))
        process.stdin.close()
        assert process.wait(timeout=200) == 0


def test_a_changed_entry_that_cannot_be_loaded_leaves_the_manual_as_it_was(home: Path) -> None:
    (home / "m.json").write_text(json.dumps(manual("t")))
    named = {"name": "m", "call_template_type": "file", "file_path": "m.json"}
    path = write(home / "utcp.json", named)
    options = ("--set", "follow_configuration=false")  # otherwise the bridge may see the change before `reload`
    with over_http(home, str(path), *options) as bridge, connected(bridge, HANDSHAKE) as (host,):
        write(path, {**named, "file_path": "other.json"})
        code, out, err = bridge.reload()
        assert (code, out) == (5, "Changed: m\n")
        assert "its changed entry is not in use yet" in err
        assert host.call("m_t") == "x"
        (home / "other.json").write_text(json.dumps(manual("t", says="other")))
        bridge.reload()
        assert host.call("m_t") == "other"


def test_what_reload_says_without_a_bridge_and_with_several(home: Path) -> None:
    first, second = write(home / "one.json", entry("a")), write(home / "two.json", entry("b"))
    with over_http(home, str(first), "--set", "follow_configuration=false") as bridge:
        strange = bridge.reload("--pid", "1")[2]
        assert "No bridge of this user runs with this number" in strange
        assert "Name one of them with --pid" in strange
        with over_http(home, str(second)) as other:
            code, _, err = bridge.reload()
            assert code == 2
            assert "Several bridges run" in err
            assert bridge.reload("one.json")[:2] == (0, "Nothing has changed.\n")
            other.process.kill()
            other.process.wait()
        for name, text in {"7": "{", "8": '{"pid": 8, "parent": 1, "sources": 5, "socket": "x"}'}.items():
            (home / f"settings/utcp-bridge/running/{name}.json").write_text(text)
        stale = {"pid": 9, "parent": 1, "sources": ["x"], "socket": "a\0b"}
        (home / "settings/utcp-bridge/running/9.json").write_text(json.dumps(stale))
        assert bridge.reload()[0] == 0, "what a killed one left is not in the way"
        write(first, entry("a"), bridge={"max_file_bytes": 70})
        assert bridge.reload()[:2] == (0, "Nothing changes before the next start.\n")
    ended = bridge.reload()[2]
    assert "No bridge of this user runs. Start one with `utcp-bridge serve`." in ended


@pytest.mark.anyio
@pytest.mark.parametrize("obstacle", ["a folder in the way", "long paths", "no home"])
async def test_a_server_whose_door_cannot_be_opened_serves_on(
    home: Path, obstacle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", str(home))
    if obstacle == "a folder in the way":
        (own_folder() / "running" / f"{os.getpid()}.json").mkdir(parents=True)
    elif obstacle == "no home":
        monkeypatch.setenv("HOME", "~")
    else:
        long = home / ("long" * 50)
        long.mkdir()
        monkeypatch.setenv("HOME", str(long))
        monkeypatch.setattr("tempfile.tempdir", str(long))
    served: list[str] = []
    async with listening_door(cast("Any", None), ["x.yaml"], None):
        served.append(obstacle)
    assert served
    folder = home if obstacle != "long paths" else home / ("long" * 50)
    left = [*folder.glob("utcp-*"), *folder.glob("~"), *folder.glob(".config/utcp-bridge/running/*.sock")]
    assert left == []
