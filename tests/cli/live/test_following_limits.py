"""Limits, the console and what manuals are read with change while a bridge serves, and calls in flight go on."""

from __future__ import annotations

import http.client
import json
import re
import select
import sys
import threading
from collections.abc import Generator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.cli.live.bridges import CHANGED as LIST_CHANGED
from tests.cli.live.bridges import MODERN, Host, LiveBridge, entry, environment, manual, write
from tests.cli.live.test_following_access import Slow, Waiting, hosts_of, reloaded, served, slow

__all__ = ["slow"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="`reload` needs a socket with a path")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", environment(tmp_path)["XDG_CONFIG_HOME"])
    return tmp_path


class Service:
    """An HTTP service with a manual of one tool. It notes what it is asked, and may fail."""

    def __init__(self) -> None:
        service = self
        self.read = threading.Semaphore(0)
        self.called: list[dict[str, str]] = []
        self.status = 200

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/manual":
                    service.read.release()
                    self.answers(200, service.manual())
                    return
                service.called.append({name.lower(): value for name, value in self.headers.items()})
                self.answers(service.status, "ok")

            def answers(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def manual(self) -> dict[str, Any]:
        template = {"call_template_type": "http", "url": f"{self.address}/call", "http_method": "GET"}
        found = manual("t")
        found["tools"][0]["tool_call_template"] = template
        return found

    def entry(self) -> dict[str, Any]:
        return {"name": "s", "call_template_type": "http", "url": f"{self.address}/manual", "http_method": "GET"}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Generator[Service]:
    made = Service()
    yield made
    made.close()


def change(bridge: LiveBridge, path: Path, *entries: dict[str, Any], **settings: Any) -> None:
    """Write other settings, and let the bridge take over all of them."""
    write(path, *entries, bridge=settings)
    done = reloaded(bridge)
    assert (done["error"], done["needs_restart"]) == (None, [])


def test_more_tools_of_a_manual_are_read_and_calls_in_flight_go_on(home: Path, slow: Slow) -> None:
    entries = entry("a", "t", "u", "v"), slow.entry()
    path = write(home / "utcp.json", *entries, bridge={"max_tools": 2})
    with served(home, path) as bridge, hosts_of(bridge, None, None) as hosts:
        asking, listening = hosts[:2], hosts[2:]
        for host in listening:
            host.listen()
            assert host.own_tools() == ["a_t", "a_u", "slow_t"]
        calls = [Waiting(host) for host in asking]
        for _ in calls:
            assert slow.asked.acquire(timeout=200)
        change(bridge, path, *entries, max_tools=3)
        for host in listening:
            host.hears(LIST_CHANGED)
            assert host.own_tools() == ["a_t", "a_u", "a_v", "slow_t"]
        slow.answers.set()
        assert [call.reply() for call in calls] == [(200, "ok")] * 2
        change(bridge, path, *entries, max_tools=3, retry_share=1, startup_wait=3)
        assert not any(host.has_heard(LIST_CHANGED) for host in listening)


def test_a_header_with_the_deadline_is_sent_from_then_on(home: Path, service: Service) -> None:
    path = write(home / "utcp.json", service.entry())
    with served(home, path) as bridge, closing(Host(bridge.port, MODERN)) as host:
        for settings, is_sent in (({}, False), ({"deadline_header": "x-left"}, True), ({}, False)):
            change(bridge, path, service.entry(), **settings)
            assert host.call("s_t") == "ok"
            assert ("x-left" in service.called[-1]) is is_sent


def test_manuals_are_read_again_and_again_when_an_interval_comes(home: Path, service: Service) -> None:
    path = write(home / "utcp.json", service.entry())
    with served(home, path) as bridge:
        assert service.read.acquire(timeout=200)
        change(bridge, path, service.entry(), refresh_interval=0.05)
        for _ in range(4):
            assert service.read.acquire(timeout=200)


def test_the_share_of_retries_counts_from_the_next_call_on(home: Path, service: Service) -> None:
    def attempts() -> int:
        before = len(service.called)
        host.call("s_t")
        return len(service.called) - before

    settings = {"retries": 1, "retry_share": 0, "breaker_failures": 0}
    path = write(home / "utcp.json", service.entry(), bridge=settings)
    with served(home, path) as bridge, closing(Host(bridge.port, MODERN)) as host:
        service.status = 503
        assert [attempts() for _ in range(5)] == [2, 2, 2, 1, 1], "three calls may always use theirs"
        change(bridge, path, service.entry(), **{**settings, "retry_share": None})
        assert [attempts() for _ in range(2)] == [2, 2]


def test_fewer_connections_count_for_new_ones(home: Path) -> None:
    def connected() -> http.client.HTTPConnection:
        made = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=200)
        made.request("GET", "/healthz")
        made.getresponse().read()
        return made

    path = write(home / "utcp.json", entry("a"))
    with served(home, path) as bridge, closing(connected()) as oldest, closing(connected()) as newer:
        change(bridge, path, entry("a"), max_connections=2)
        for known in (oldest, newer):
            known.request("GET", "/healthz")
            assert known.getresponse().read(), "it stays"
        with closing(connected()):
            # the one that is idle for longer; both may be idle since the same millisecond
            ended, _, _ = select.select([oldest.sock, newer.sock], [], [], 60)
            assert [one.recv(1) for one in ended] == [b""], "an idle one makes room"


def test_what_is_kept_of_results_has_the_new_limit(home: Path) -> None:
    def handle() -> str:
        """Return the handle in a cut result; empty without one."""
        found = re.search("[0-9a-f]{32}", json.dumps(host.ask("tools/call", {"name": "a_t", "arguments": {}}, "a_t")))
        return "" if found is None else found[0]

    def is_read(kept: str) -> bool:
        params = {"name": "read_result", "arguments": {"handle": kept}}
        return not host.ask("tools/call", params, "read_result")["result"].get("isError")

    large = entry("a", says="x" * 300_000)
    path = write(home / "utcp.json", large)
    with served(home, path) as bridge, closing(Host(bridge.port, MODERN)) as host:
        kept = handle()
        assert is_read(kept)
        change(bridge, path, large, max_kept_bytes=1, result_lifetime=900)
        assert not is_read(kept)
        assert not handle()
        change(bridge, path, large, max_kept_bytes=10_000_000)
        assert is_read(handle())


def test_the_console_is_closed_and_opened(home: Path, slow: Slow) -> None:
    def page() -> str:
        with closing(http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=200)) as connection:
            connection.request("GET", "/", headers={"Accept": "text/html"})
            return connection.getresponse().read().decode()

    path = write(home / "utcp.json", slow.entry())
    with served(home, path) as bridge, hosts_of(bridge, None) as hosts:
        assert "<html" in page()
        calls = [Waiting(host) for host in hosts]
        for _ in calls:
            assert slow.asked.acquire(timeout=200)
        change(bridge, path, slow.entry(), console="off")
        assert page().startswith("This is utcp-bridge")
        change(bridge, path, slow.entry(), console="auto")
        assert "<html" in page()
        slow.answers.set()
        assert [call.reply() for call in calls] == [(200, "ok")] * 2


def test_the_env_file_is_left_out_and_read_again(home: Path, service: Service) -> None:
    (home / ".env").write_text(f"PLACE={service.address}\n")
    described = service.manual()
    described["tools"][0]["tool_call_template"]["url"] = "${PLACE}/call"
    more = {"allowed_communication_protocols": ["text", "http"]}
    own = {"name": "s", "call_template_type": "text", "content": described, **more}
    path = write(home / "utcp.json", own)
    with served(home, path) as bridge, closing(Host(bridge.port, MODERN)) as host:
        assert host.call("s_t") == "ok"
        change(bridge, path, own, dotenv=False)
        assert "PLACE" in host.call("s_t")
        change(bridge, path, own)
        while host.call("s_t") != "ok":  # the manual is read again, which says which address it may reach
            assert bridge.process.poll() is None
