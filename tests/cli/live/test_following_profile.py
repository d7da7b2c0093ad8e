"""The one profile of a bridge changes, comes and goes while it serves, over HTTP and stdio, in both eras."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cli.live.bridges import CHANGED as LIST_CHANGED
from tests.cli.live.bridges import HANDSHAKE, META, MODERN, Host, LiveBridge, entry, environment, write
from tests.cli.live.test_following_access import ERAS, Slow, Waiting, hosts_of, reloaded, served, slow, utcp

from utcp_bridge.access.tokens import TokenFile

__all__ = ["slow"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="`reload` needs a socket with a path")
PROFILES = {"one": {"manuals": "a"}, "two": {"manuals": ["b", "slow"]}}
BOUND: dict[str, list[str] | None] = {"one": ["one"], "two": ["two"], "free": None}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", environment(tmp_path)["XDG_CONFIG_HOME"])
    return tmp_path


def through(host: Host, tool: str) -> str:
    """Return the text of a call through `call_tool`."""
    answer = host.ask("tools/call", {"name": "call_tool", "arguments": {"name": tool, "arguments": {}}}, "call_tool")
    return str(answer["result"]["content"][0]["text"])


def found_by(host: Host) -> str:
    """Return what a search finds, as text."""
    answer = host.ask("tools/call", {"name": "search_tools", "arguments": {"query": "tool t"}}, "search_tools")
    return json.dumps(answer)


def posted(bridge: LiveBridge, tool: str) -> int:
    """Return the status of a call over UTCP."""
    with closing(http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=200)) as connection:
        connection.request("POST", f"/utcp/tools/{tool}", "{}", {"Content-Type": "application/json"})
        return connection.getresponse().status


def alone(profile: str, **more: Any) -> dict[str, Any]:
    return {"profile": profile, "profiles": PROFILES, **more}


def test_another_profile_alone_has_its_tools_from_the_next_request_on(home: Path, slow: Slow) -> None:
    def change(profile: str) -> dict[str, Any]:
        write(path, *entries, bridge=alone(profile))
        return reloaded(bridge)

    entries = entry("a"), entry("b"), slow.entry()
    path = write(home / "utcp.json", *entries, bridge=alone("two"))
    with served(home, path) as bridge, hosts_of(bridge, None, None) as hosts:
        asking, listening = hosts[:2], hosts[2:]
        for host in listening:
            host.listen()
            assert host.own_tools() == ["b_t", "slow_t"]
        calls = [Waiting(host) for host in asking]
        for _ in calls:
            assert slow.asked.acquire(timeout=60)
        done = change("one")
        assert (done["error"], done["settings"], done["needs_restart"]) == (None, ["access.profile"], [])
        for host in listening:
            host.hears("notifications/tools/list_changed")
            assert host.own_tools() == ["a_t"]
            assert host.call("a_t") == "x"
            assert "b_t" in host.call("b_t"), "the error names the tool"
        slow.answers.set()
        assert [call.reply() for call in calls] == [(200, "ok")] * 2
        with hosts_of(bridge, None, path="/mcp/p/one") as found:
            assert [host.call("a_t") for host in found] == ["x"] * 2
        with closing(Host(bridge.port, MODERN, "/mcp/p/two")) as host:
            assert host.status("b_t") == 404
        assert "does not have a profile 'three'" in change("three")["error"]
        assert [host.own_tools() for host in listening] == [["a_t"]] * 2


def test_a_token_that_is_bound_to_the_profile_of_before_reaches_nothing(home: Path) -> None:
    file = TokenFile(home / "tokens.json")
    secrets = {name: file.add(name, profiles=[name]).value for name in PROFILES}
    tokens = str(file.path)
    path = write(home / "utcp.json", entry("a"), entry("b"), bridge=alone("one", tokens_file=tokens))
    with served(home, path) as bridge, hosts_of(bridge, secrets["one"]) as hosts:
        for host in hosts:
            host.listen()
            assert host.call("a_t") == "x"
        write(path, entry("a"), entry("b"), bridge=alone("two", tokens_file=tokens))
        assert reloaded(bridge)["error"] is None
        for host in hosts:
            host.ends()
            assert host.status("b_t") == 404
        with hosts_of(bridge, secrets["two"]) as others:
            assert [host.call("b_t") for host in others] == ["x"] * 2


def test_a_profile_comes_and_goes_for_a_bridge_that_had_none(home: Path, slow: Slow) -> None:
    """Calls in flight and sessions stay. What a profile hides cannot be reached when the reload is reported."""

    def change(**settings: Any) -> None:
        write(path, *entries, bridge=settings)
        done = reloaded(bridge)
        assert (done["error"], done["needs_restart"]) == (None, [])

    entries = entry("a"), entry("b"), slow.entry()
    path = write(home / "utcp.json", *entries)
    with served(home, path) as bridge, hosts_of(bridge, None, None) as hosts:
        asking, listening = hosts[:2], hosts[2:]
        for host in listening:
            host.listen()
            assert host.own_tools() == ["a_t", "b_t", "slow_t"]
            assert host.call("b_t") == "x", "its head and its tool are known now"
        calls = [Waiting(host) for host in asking]
        for _ in calls:
            assert slow.asked.acquire(timeout=60)
        change(**alone("one"))
        for host in listening:
            assert "b_t" in host.call("b_t"), "the error names the tool"
            assert "no tool" in through(host, "b_t")
            assert "b_t" not in found_by(host)
            host.hears(LIST_CHANGED)
            assert host.own_tools() == ["a_t"]
            assert host.call("a_t") == "x"
        assert [utcp(bridge, "/utcp"), utcp(bridge, "/utcp/p/one"), utcp(bridge, "/utcp/p/two")] == [["a_t"]] * 2 + [
            404
        ]
        assert posted(bridge, "b_t") == 404
        slow.answers.set()
        assert [call.reply() for call in calls] == [(200, "ok")] * 2
        write(path, *entries, bridge=alone("three"))
        assert "does not have a profile 'three'" in reloaded(bridge)["error"]
        assert [host.own_tools() for host in hosts] == [["a_t"]] * 4
        change(profiles=PROFILES)
        for host in listening:
            host.hears(LIST_CHANGED)
            assert host.own_tools() == ["a_t", "b_t", "slow_t"]
            assert [host.call("b_t"), through(host, "b_t")] == ["x", "x"]
        assert [utcp(bridge, "/utcp/p/one"), utcp(bridge, "/utcp/p/two")] == [["a_t"], ["b_t", "slow_t"]]
        change(**alone("two"))
        assert [host.own_tools() for host in hosts] == [["b_t", "slow_t"]] * 4


def test_a_profile_with_every_tool_notifies_nobody(home: Path) -> None:
    path = write(home / "utcp.json", entry("a"), bridge={"profiles": {"all": {}}})
    with (
        served(home, path) as bridge,
        hosts_of(bridge, None) as hosts,
        hosts_of(bridge, None, path="/mcp/p/all") as own,
    ):
        for host in (*hosts, *own):
            host.listen()
            assert host.own_tools() == ["a_t"]
        for settings in ({"profile": "all", "profiles": {"all": {}}}, {"profiles": {"all": {}}}):
            write(path, entry("a"), bridge=settings)
            assert reloaded(bridge)["error"] is None
            for host in own:
                assert host.call("a_t") == "x", "a session at the address of the profile is taken up"
        write(path, entry("a"), entry("b"), bridge=settings)
        assert reloaded(bridge)["error"] is None
        for host in hosts:
            host.hears(LIST_CHANGED)
            assert host.heard.empty(), "the only one so far"
            assert host.own_tools() == ["a_t", "b_t"]


def test_tokens_that_are_bound_keep_to_their_profiles_when_one_comes_and_goes(home: Path, slow: Slow) -> None:
    def change(**settings: Any) -> None:
        write(path, *entries, bridge={"tokens_file": str(file.path), **settings})
        assert reloaded(bridge)["error"] is None

    entries = entry("a"), entry("b"), slow.entry()
    file = TokenFile(home / "tokens.json")
    one, two, free = (file.add(name, profiles=bound).value for name, bound in BOUND.items())
    path = write(home / "utcp.json", *entries, bridge={"tokens_file": str(file.path), "profiles": PROFILES})
    with (
        served(home, path) as bridge,
        hosts_of(bridge, one) as ones,
        hosts_of(bridge, two, two) as others,
    ):
        asking, twos = others[:2], others[2:]
        for host in (*ones, *twos):
            host.listen()
            assert len(host.own_tools()) == (1 if host in ones else 2)
        calls = [Waiting(host) for host in asking]
        for _ in calls:
            assert slow.asked.acquire(timeout=60)
        change(**alone("one"))
        for host in (*ones, *twos):
            host.ends()
        assert [host.own_tools() for host in ones] == [["a_t"]] * 2
        assert [host.status("b_t") for host in twos] == [404] * 2
        slow.answers.set()
        assert [call.reply() for call in calls] == [(200, "ok")] * 2, "they began under their own profile"
        with hosts_of(bridge, free) as frees:
            assert [host.own_tools() for host in frees] == [["a_t"]] * 2
            change(profiles=PROFILES)
            assert [host.own_tools() for host in frees] == [["a_t", "b_t", "slow_t"]] * 2
        assert [host.own_tools() for host in ones] == [["a_t"]] * 2
        assert ["b_t" in host.call("b_t") for host in ones] == [True] * 2
        assert [host.own_tools() for host in twos] == [["b_t", "slow_t"]] * 2


def test_calls_of_bound_tokens_end_where_everything_is_served_from_now_on(home: Path, slow: Slow) -> None:
    """The server that serves them would have every tool when they go on."""
    entries = entry("a"), slow.entry()
    file = TokenFile(home / "tokens.json")
    _, two, free = (file.add(name, profiles=bound).value for name, bound in BOUND.items())
    settings: dict[str, Any] = {"tokens_file": str(file.path)}
    path = write(home / "utcp.json", *entries, bridge={**settings, **alone("two")})
    with served(home, path) as bridge, hosts_of(bridge, two, free) as asking:
        bound, unbound = ([Waiting(host) for host in hosts] for hosts in (asking[:2], asking[2:]))
        for _ in (*bound, *unbound):
            assert slow.asked.acquire(timeout=60)
        write(path, *entries, bridge={**settings, "profiles": PROFILES})
        assert reloaded(bridge)["error"] is None
        for status, text in (call.reply() for call in bound):
            said = json.loads(text)
            assert (status, said["error"]) == (503, "profile removed"), "the bridge goes on"
            assert "A new configuration removed the profile" in said["message"]
            assert "Send it again" in said["message"]
        slow.answers.set()
        assert [call.reply() for call in unbound] == [(200, "ok")] * 2
        with hosts_of(bridge, two) as hosts:
            assert [host.own_tools() for host in hosts] == [["slow_t"]] * 2


def test_a_call_of_a_session_that_outlasts_its_profile_says_why_it_ended(home: Path, slow: Slow) -> None:
    entries = entry("a"), slow.entry()
    path = write(home / "utcp.json", *entries, bridge={"profiles": {"p": {}}, "stream_timeout": 1})
    with served(home, path) as bridge, closing(Host(bridge.port, HANDSHAKE, "/mcp/p/p")) as host:
        call = Waiting(host)
        assert slow.asked.acquire(timeout=60)
        write(path, *entries, bridge={"stream_timeout": 1})
        assert reloaded(bridge)["error"] is None
        error = json.loads(call.reply()[1])["error"]
        assert "A new configuration removed the profile" in error["message"]


@contextmanager
def over_stdio(home: Path, path: Path, era: str) -> Generator[Callable[..., dict[str, Any]]]:
    """Yield what asks a bridge on stdio, and returns its reply."""
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(path)]
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    meta = {**META, "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"}}
    with subprocess.Popen(command, cwd=home, env=environment(home), **streams) as process:
        sent, received = process.stdin, process.stdout
        assert sent is not None
        assert received is not None

        def send(**message: Any) -> None:
            sent.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            sent.flush()

        def ask(method: str, **params: Any) -> dict[str, Any]:
            send(id=1, method=method, params={**params, **({} if era == HANDSHAKE else {"_meta": meta})})
            for line in received:
                message: dict[str, Any] = json.loads(line)
                if message.get("id") == 1:
                    return message
            raise AssertionError("the bridge ended")

        if era == HANDSHAKE:
            client = {"name": "c", "version": "1"}
            ask("initialize", protocolVersion=era, capabilities={}, clientInfo=client)
            send(method="notifications/initialized")
        yield ask
        sent.close()
        process.wait(timeout=60)


def own_names(listed: dict[str, Any]) -> list[str]:
    return [tool["name"] for tool in listed["tools"] if tool["name"].endswith("_t")]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("key", ["profile", "default_profile"])
def test_the_profile_of_a_host_over_stdio_changes_comes_and_goes(home: Path, era: str, key: str) -> None:
    def change(name: str | None) -> list[str]:
        """Write another profile, and return the names of the first list that is another one."""
        before = own_names(ask("tools/list")["result"])
        settings = {"profiles": PROFILES, "follow_configuration": 0.2, **({} if name is None else {key: name})}
        write(path, entry("a"), entry("b"), bridge=settings)
        while (found := own_names(ask("tools/list")["result"])) == before:
            pass
        return found

    def answer(tool: str) -> str:
        called = ask("tools/call", name=tool, arguments={})
        return str(called["result"]["content"][0]["text"] if "result" in called else called["error"]["message"])

    settings = {"profiles": PROFILES, "follow_configuration": 0.2}
    path = write(home / "utcp.json", entry("a"), entry("b"), bridge=settings)
    with over_stdio(home, path, era) as ask:
        assert own_names(ask("tools/list")["result"]) == ["a_t", "b_t"]
        assert answer("b_t") == "x"
        assert change("one") == ["a_t"]
        assert answer("a_t") == "x"
        assert "no tool 'b_t'" in answer("b_t")
        assert change("two") == ["b_t"]
        assert answer("b_t") == "x"
        assert "no tool 'a_t'" in answer("a_t")
        assert change(None) == ["a_t", "b_t"]
        assert [answer("a_t"), answer("b_t")] == ["x", "x"]
