"""Who may call, and the profiles, change while a bridge serves: real processes, and clients of both eras."""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.cli.live.bridges import HANDSHAKE, MODERN, Host, LiveBridge, entry, environment, over_http, write

from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.cli.live.doors import doors

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="`reload` needs a socket with a path")
OLD, NEW = "old-" + "o" * 20, "new-" + "n" * 20
ERAS = (HANDSHAKE, MODERN)
SWAPS = 50


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", environment(tmp_path)["XDG_CONFIG_HOME"])
    return tmp_path


@contextmanager
def served(home: Path, path: Path) -> Generator[LiveBridge]:
    """Serve a configuration that is read again only when the test says so."""
    with over_http(home, str(path), "--set", "follow_configuration=false") as bridge:
        yield bridge


def reloaded(bridge: LiveBridge) -> dict[str, Any]:
    """Let the bridge read its configuration again, as `utcp-bridge reload` does, and return its report."""
    (report,) = [one.reload() for one in doors() if one.pid == bridge.process.pid]
    assert report is not None
    return report


@contextmanager
def hosts_of(bridge: LiveBridge, *tokens: str | None, path: str = "/mcp") -> Generator[list[Host]]:
    """Yield a client of each era for each token."""
    hosts = [Host(bridge.port, era, path, token) for token in tokens for era in ERAS]
    try:
        yield hosts
    finally:
        for host in hosts:
            host.close()


class Slow:
    """An HTTP service whose one tool answers when it is let."""

    def __init__(self) -> None:
        slow = self
        self.asked, self.answers = threading.Semaphore(0), threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                slow.asked.release()
                slow.answers.wait(60)
                self.send_response(200)
                self.send_header("content-length", "4")
                self.end_headers()
                with suppress(OSError):  # the bridge has cancelled the call
                    self.wfile.write(b'"ok"')

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def entry(self) -> dict[str, Any]:
        template = {
            "call_template_type": "http",
            "url": f"http://127.0.0.1:{self._server.server_port}/",
            "http_method": "GET",
        }
        tool = {"name": "t", "description": "d", "tool_call_template": template}
        content = {"utcp_version": "1.0.1", "manual_version": "1", "tools": [tool]}
        return {
            "name": "slow",
            "call_template_type": "text",
            "content": content,
            "allowed_communication_protocols": ["text", "http"],
        }

    def close(self) -> None:
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def slow() -> Generator[Slow]:
    service = Slow()
    yield service
    service.close()


class Waiting(threading.Thread):
    """A call that is in flight."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host, self._reply = host, (0, "")
        self.start()

    def run(self) -> None:
        self._reply = self._host.reply("slow_t")

    def reply(self) -> tuple[int, str]:
        """Return the status, and the text of the tool or the error."""
        self.join(60)
        found = re.search(r'"text":\s*"(\w+)"', self._reply[1])
        return self._reply[0], found[1] if found else self._reply[1]


def test_a_token_that_replaces_another_one_counts_from_the_next_request_on(home: Path, slow: Slow) -> None:
    """Event streams of the former one end, and so do its sessions. Calls in flight go on."""
    (home / "token").write_text(OLD)
    path = write(home / "utcp.json", entry("a"), slow.entry(), bridge={"bearer_token_file": str(home / "token")})
    with served(home, path) as bridge, hosts_of(bridge, OLD, OLD) as hosts:
        asking, listening = hosts[:2], hosts[2:]
        for host in listening:
            host.listen()
        calls = [Waiting(host) for host in asking]
        for _ in calls:
            assert slow.asked.acquire(timeout=200)
        (home / "token").write_text(NEW)
        done = reloaded(bridge)
        assert (done["error"], done["settings"], done["needs_restart"]) == (None, ["server.bearer_token"], [])
        for host in listening:
            assert host.status("a_t") == 401
            host.ends()
            host.token = NEW
            assert host.call("a_t") == "x", "a session of the handshake era goes on with the new token"
        slow.answers.set()
        assert [call.reply() for call in calls] == [(200, "ok")] * 2
        assert [host.status("a_t") for host in asking] == [401, 401]
        assert OLD not in str(bridge.lines)
        assert NEW not in str(bridge.lines)


def test_a_first_token_closes_the_bridge_and_the_last_one_opens_it(home: Path) -> None:
    path = write(home / "utcp.json", entry("a"))
    with served(home, path) as bridge, hosts_of(bridge, None) as hosts:
        for host in hosts:
            assert host.call("a_t") == "x"
            host.listen()
        with late_body(bridge) as late:
            write(path, entry("a"), bridge={"bearer_token": NEW})
            assert reloaded(bridge)["error"] is None
            assert late() == 401, "a request whose body comes after the change"
        for host in hosts:
            host.ends()
            assert host.status("a_t") == 401
            host.token = NEW
            assert host.call("a_t") == "x"
        write(path, entry("a"))
        assert reloaded(bridge)["settings"] == ["server.bearer_token"]
        for host in hosts:
            assert host.call("a_t") == "x"
            host.token = None
            assert host.call("a_t") == "x"


@contextmanager
def late_body(bridge: LiveBridge, token: str | None = None) -> Generator[Any]:
    """Send the head of a call, and yield what sends its body and returns the status."""
    params = {"name": "a_t", "arguments": {}, "_meta": {"io.modelcontextprotocol/protocolVersion": MODERN,
              "io.modelcontextprotocol/clientCapabilities": {}}}  # fmt: skip
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=200)
    connection.putrequest("POST", "/mcp")
    headers = {"Content-Type": "application/json", "Accept": "application/json", "MCP-Protocol-Version": MODERN}
    headers |= {"Mcp-Method": "tools/call", "Mcp-Name": "a_t", "Content-Length": str(len(body))}
    headers |= {} if token is None else {"Authorization": f"Bearer {token}"}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    bridge.readyz()  # the bridge has read the head by then

    def end() -> int:
        connection.send(body)
        return connection.getresponse().status

    yield end
    connection.close()


def test_a_request_is_judged_by_the_token_of_the_moment_when_it_is_whole(home: Path) -> None:
    path = write(home / "utcp.json", entry("a"), bridge={"bearer_token": OLD})
    with served(home, path) as bridge, late_body(bridge, OLD) as late, late_body(bridge, OLD) as same:
        write(path, entry("a", says="y"), bridge={"bearer_token": OLD})
        assert reloaded(bridge)["changed"] == ["a"]
        assert same() == 200
        write(path, entry("a"), bridge={"bearer_token": NEW})
        assert reloaded(bridge)["error"] is None
        assert late() == 401


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"bearer_token": "${TOKEN}"}, "set TOKEN"),
    ({"bearer_token": OLD, "tokens_file": "open.json"}, "Others may write"),
    ({"bearer_token": OLD, "oauth_issuer": "http://127.0.0.1:1", "oauth_introspection_url": "http://127.0.0.1:1/i"},
     "needs the bridge's own client"),
    ({"bearer_token": OLD, "profiles": {"p": {"manual": "a"}}}, "Did you mean 'manuals'"),
    ({"bearer_token": OLD, "profiles": {"p": {}}, "default_profile": "q"}, "does not have a profile 'q'"),
    ({"bearer_token": OLD, "access_rules": [{"do": "deny", "profiles": "q"}]}, "matches no profile"),
    ({"bearer_token_file": "gone"}, "cannot be read"),
]  # fmt: skip


def test_settings_with_a_fault_leave_all_as_it_is(home: Path) -> None:
    (home / "open.json").write_text('{"version": 1, "tokens": []}')
    (home / "open.json").chmod(0o666)
    path = write(home / "utcp.json", entry("a"), bridge={"bearer_token": OLD})
    with served(home, path) as bridge, hosts_of(bridge, OLD, NEW) as hosts:
        for settings, said in FAULTS:
            write(path, entry("a", says="y"), bridge=settings)
            assert said in reloaded(bridge)["error"]
            assert said in bridge.readyz()["configuration"]["error"]
            assert said in bridge.logged("The changed configuration is not used")
            assert [host.call("a_t") for host in hosts[:2]] == ["x", "x"]
            assert [host.status("a_t") for host in hosts[2:]] == [401, 401]


def test_named_tokens_come_and_go_with_their_file(home: Path, slow: Slow) -> None:
    """The token of a file that is named no more has ended, as one that is removed from it: its calls end, too."""
    first, second = TokenFile(home / "first.json"), TokenFile(home / "second.json")
    made, other = first.add("ci").value, second.add("other").value
    path = write(home / "utcp.json", entry("a"), slow.entry(), bridge={"tokens_file": str(home / "first.json")})
    with served(home, path) as bridge, hosts_of(bridge, made, made) as hosts:
        calls = [Waiting(host) for host in hosts[:2]]
        for _ in calls:
            assert slow.asked.acquire(timeout=200)
        write(path, entry("a"), slow.entry(), bridge={"tokens_file": str(home / "second.json")})
        assert reloaded(bridge)["settings"] == ["access.tokens_file"]
        for call in calls:
            assert call.reply()[0] == 401
        for host in hosts[2:]:
            assert host.status("a_t") == 401
            host.token = other
            assert host.status("a_t") == (404 if host.era == HANDSHAKE else 200), "a session belongs to its principal"


def test_scopes_that_are_required_from_now_on_end_the_streams_of_tokens_without_them(home: Path) -> None:
    tokens = TokenFile(home / "tokens.json")
    weak, strong = tokens.add("weak").value, tokens.add("strong", scopes=["call"]).value
    settings: dict[str, Any] = {"tokens_file": str(tokens.path)}
    path = write(home / "utcp.json", entry("a"), bridge=settings)
    with served(home, path) as bridge, hosts_of(bridge, weak, strong) as hosts:
        for host in hosts:
            host.listen()
        write(path, entry("a"), bridge={**settings, "required_scopes": ["call"]})
        assert reloaded(bridge)["settings"] == ["access.required_scopes"]
        for host in hosts:
            host.ends()
            assert host.status("a_t") == (200 if host.token == strong else 403)


def test_profiles_come_change_and_go(home: Path, slow: Slow) -> None:
    """A profile that is gone answers 404 at once and ends its streams, while its calls in flight go on."""
    every = [entry("a", "t", "u"), entry("b"), slow.entry()]
    path = write(home / "utcp.json", *every)
    with served(home, path) as bridge, hosts_of(bridge, None) as whole:
        assert [host.status("a_t") for host in whole] == [200, 200]
        write(path, *every, bridge={"profiles": {"p": {"manuals": ["a", "slow"]}, "q": {"manuals": "b"}}})
        done = reloaded(bridge)
        assert (done["settings"], done["needs_restart"]) == (["access.profiles"], [])
        with hosts_of(bridge, None, None, path="/mcp/p/p") as hosts, hosts_of(bridge, None, path="/mcp/p/q") as others:
            for host in hosts:
                assert host.own_tools() == ["a_t", "a_u", "slow_t"]
                assert "b_t" in host.call("b_t")
            assert utcp(bridge, "/utcp/p/p") == ["a_t", "a_u", "slow_t"]
            for host in (*hosts[2:], *others):
                host.listen()
            calls = [Waiting(host) for host in hosts[:2]]
            for _ in calls:
                assert slow.asked.acquire(timeout=200)
            write(path, *every, bridge={"profiles": {"q": {"manuals": "b"}, "r": {"names": "a.u"}}})
            assert reloaded(bridge)["needs_restart"] == []
            for host in hosts[2:]:
                host.ends()
                assert host.status("a_t") == 404
            assert utcp(bridge, "/utcp/p/p") == 404
            slow.answers.set()
            assert [call.reply() for call in calls] == [(200, "ok")] * 2
            assert [host.status("a_t") for host in hosts[:2]] == [404, 404]
            for host in others:
                assert host.call("b_t") == "x", "another profile keeps its sessions"
                assert not host.has_heard("notifications/tools/list_changed")
        with hosts_of(bridge, None, path="/mcp/p/r") as fresh:
            assert [host.own_tools() for host in fresh] == [["a_u"], ["a_u"]]
        write(path, *every)
        assert reloaded(bridge)["error"] is None
        assert [host.status("a_t") for host in whole] == [200, 200]


def utcp(bridge: LiveBridge, path: str) -> list[str] | int:
    """Return the names of the tools of a manual of the bridge, or the status of an error."""
    connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=200)
    connection.request("GET", path)
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    return [tool["name"] for tool in json.loads(text)["tools"]] if reply.status == 200 else reply.status


def test_a_token_of_a_profile_that_is_gone_does_not_reach_the_whole_bridge(home: Path) -> None:
    tokens = TokenFile(home / "tokens.json")
    made = tokens.add("ci", profiles=["p"]).value
    settings: dict[str, Any] = {"tokens_file": str(tokens.path)}
    path = write(home / "utcp.json", entry("a"), entry("b"), bridge={**settings, "profiles": {"p": {"manuals": "a"}}})
    with served(home, path) as bridge, hosts_of(bridge, made) as hosts:
        for host in hosts:
            assert host.own_tools() == ["a_t"]
        write(path, entry("a"), entry("b"), bridge=settings)
        assert reloaded(bridge)["error"] is None
        for host in hosts:
            assert [host.status("a_t"), host.status("b_t")] == [404, 404]
        write(path, entry("a"), entry("b"), bridge={**settings, "profiles": {"p": {"manuals": "b"}}})
        assert reloaded(bridge)["error"] is None
        for host in hosts:
            assert host.own_tools() == ["b_t"]


def test_budgets_begin_change_and_end_without_a_restart(home: Path) -> None:
    settings: dict[str, Any] = {"profiles": {"p": {"manuals": "a"}}}
    path = write(home / "utcp.json", entry("a"), bridge=settings)
    few = {"rate": 0.001, "burst": 1}

    def answers(path: str) -> list[str]:
        with hosts_of(bridge, None, path=path) as hosts:
            return [host.call("a_t")[:11] for host in hosts for _ in range(2)]

    with served(home, path) as bridge:
        assert answers("/mcp") == ["x"] * 4
        write(path, entry("a"), bridge={**settings, "budgets": {"*": few}})
        assert reloaded(bridge)["needs_restart"] == []
        assert answers("/mcp") == ["x", *["This caller"] * 3]
        write(path, entry("a"), bridge={"profiles": {"p": {"manuals": "a", "budget": few}}})
        assert reloaded(bridge)["needs_restart"] == []
        assert answers("/mcp") == ["x"] * 4
        assert answers("/mcp/p/p") == ["x", *["Profile 'p'"] * 3]
        write(path, entry("a"), bridge=settings)
        assert reloaded(bridge)["needs_restart"] == []
        assert answers("/mcp/p/p") == ["x"] * 4


class Rotation:
    """Clients that call while the shared token changes: its number `begun` is written, and `done` is in use."""

    def __init__(self, port: int, stays: str, shared: list[str]) -> None:
        self._port, self._stays, self._shared = port, stays, shared
        self.begun = self.done = 0
        self.lost: list[Any] = []
        self.slips: list[Any] = []
        self.followed = threading.Semaphore(0)
        """Has one for each call with the newest token that succeeded."""
        self._ends = threading.Event()
        steps = ((self.stay, stays), (self.follow, shared[0]), (self.intrude, stays))
        self._threads = [
            threading.Thread(target=self._run, args=(step, era, token)) for step, token in steps for era in ERAS
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, step: Callable[[Host], None], era: str, token: str) -> None:
        host = Host(self._port, era, token=token)
        while not self._ends.is_set():
            step(host)
        host.close()

    def stay(self, host: Host) -> None:
        """Call with a named token that stays."""
        if (status := host.status("a_t")) != 200:
            self.lost.append((host.era, status))

    def follow(self, host: Host) -> None:
        """Call with the newest shared token. It may be refused only while it changes."""
        before = self.begun
        in_use = self.done == before  # read before the call: the change may come to use while the refusal travels
        host.token = self._shared[before]
        status = host.status("a_t")
        if status == 200:
            self.followed.release()
        elif in_use and self.begun == before:
            self.lost.append((host.era, before, status))

    def intrude(self, host: Host) -> None:
        """Call with the shared token before."""
        host.token = self._shared[self.done - 1] if self.done else "none"
        if (status := host.status("a_t")) != 401:
            self.slips.append((host.era, host.token, status))

    def close(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()


def test_tokens_and_profiles_that_change_under_load_lose_no_call_and_let_nobody_in(home: Path) -> None:
    shared = [f"token-number-{number:03}" for number in range(SWAPS + 1)]
    named = TokenFile(home / "tokens.json")
    stays = named.add("stays").value
    settings: dict[str, Any] = {"tokens_file": str(named.path)}
    path = write(home / "utcp.json", entry("a"), bridge={**settings, "bearer_token": shared[0]})
    with served(home, path) as bridge, closing(Rotation(bridge.port, stays, shared)) as clients:
        for number in range(1, SWAPS + 1):
            clients.begun = number
            profiles = {f"p{number % 3}": {"manuals": "a"}}
            write(path, entry("a"), bridge={**settings, "bearer_token": shared[number], "profiles": profiles})
            assert reloaded(bridge)["error"] is None
            clients.done = number
            assert clients.followed.acquire(timeout=200)
    assert (clients.lost, clients.slips) == ([], [])


def test_hosts_that_are_accepted_change_for_the_next_request_on_each_connection(home: Path) -> None:
    def change(*names: str) -> None:
        write(path, entry("a"), bridge={"allowed_hosts": list(names)})
        done = reloaded(bridge)
        assert (done["error"], done["settings"], done["needs_restart"]) == (None, ["server.allowed_hosts"], [])

    path = write(home / "utcp.json", entry("a"))
    with served(home, path) as bridge, hosts_of(bridge, None) as hosts:
        for _ in range(2):
            change("bridge.example")
            for host in hosts:
                host.named = {"Host": "bridge.example"}
                assert [host.call("a_t") for _ in range(3)] == ["x"] * 3, "the later ones have a known head"
            change("other.example")
            for host in hosts:
                assert [host.status("a_t") for _ in range(2)] == [421] * 2
                host.named = {}
                assert host.call("a_t") == "x"
