"""The listener changes while a bridge serves: authorities of clients, and origins of pages."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.live.bridges import MODERN, Host, LiveBridge, entry, environment, write
from tests.cli.live.test_following_access import Slow, Waiting, hosts_of, reloaded, served, slow
from tests.upstreams.certificates import Authority

__all__ = ["slow"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="`reload` needs a socket with a path")
TOKEN = "t" * 20
PAGE, OTHER_PAGE = "https://app.example", "https://other.example"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", environment(tmp_path)["XDG_CONFIG_HOME"])
    return tmp_path


# --- authorities of clients ----------------------------------------------------------------------


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    (tmp_path / "ours").mkdir()
    made = Authority.create(tmp_path / "ours")
    made.server_context()
    return made


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    (tmp_path / "theirs").mkdir()
    return Authority.create(tmp_path / "theirs")


class Client(Host):
    """A host over TLS, which may have a certificate. Its connection stays open."""

    def __init__(self, port: int, server: Authority, own: Authority | None = None) -> None:
        super().__init__(port, MODERN)
        context = ssl.create_default_context(cafile=server.ca)
        if own is not None:
            context.load_cert_chain(own.client_cert, own.client_key)
        self._http = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        self._http.connect()

    def is_closed(self) -> bool:
        """Wait for the end of the connection."""
        return self._http.sock.recv(1) == b""


def listening(server: Authority, client_ca: str | None, **more: Any) -> dict[str, Any]:
    folder = server.folder
    written = {"tls_certificate": str(folder / "server.pem"), "tls_key": str(folder / "server.key"), **more}
    return written if client_ca is None else {**written, "tls_client_ca": client_ca}


def is_let_in(port: int, server: Authority, own: Authority | None) -> bool:
    """Return whether a client that connects now may call."""
    try:
        with closing(Client(port, server, own)) as client:
            return client.status("a_t") == 200
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return False


def test_other_authorities_judge_new_connections_and_those_of_before_do_not_count(
    home: Path, ours: Authority, theirs: Authority, slow: Slow
) -> None:
    path = write(home / "utcp.json", entry("a"), slow.entry(), bridge=listening(ours, ours.ca))
    with served(home, path) as bridge:
        assert [is_let_in(bridge.port, ours, one) for one in (ours, theirs, None)] == [True, False, False]
        with closing(Client(bridge.port, ours, ours)) as idle, closing(Client(bridge.port, ours, ours)) as calling:
            assert idle.call("a_t") == "x"
            in_flight = Waiting(calling)
            assert slow.asked.acquire(timeout=60)
            write(path, entry("a"), slow.entry(), bridge=listening(ours, theirs.ca))
            done = reloaded(bridge)
            assert (done["error"], done["settings"], done["needs_restart"]) == (None, ["tls.client_ca"], [])
            assert idle.is_closed(), "its client has to show its certificate again"
            assert [is_let_in(bridge.port, ours, one) for one in (ours, theirs, None)] == [False, True, False]
            slow.answers.set()
            assert in_flight.reply() == (200, "ok")
        write(path, entry("a"), slow.entry(), bridge=listening(ours, None))
        assert reloaded(bridge)["error"] is None
        assert [is_let_in(bridge.port, ours, one) for one in (ours, theirs, None)] == [True, True, True]
        write(path, entry("a"), slow.entry(), bridge=listening(ours, ours.ca))
        assert reloaded(bridge)["error"] is None
        assert [is_let_in(bridge.port, ours, one) for one in (ours, theirs, None)] == [True, False, False]


def test_a_file_of_authorities_that_changes_counts_and_one_with_a_fault_does_not(
    home: Path, ours: Authority, theirs: Authority
) -> None:
    file = home / "authorities.pem"
    file.write_bytes(Path(ours.ca).read_bytes())
    path = write(home / "utcp.json", entry("a"), bridge=listening(ours, str(file), bearer_token=TOKEN))
    with served(home, path) as bridge, closing(Client(bridge.port, ours, ours)) as before:
        before.token = TOKEN
        assert before.call("a_t") == "x"
        file.write_bytes(Path(ours.ca).read_bytes() + Path(theirs.ca).read_bytes())
        bridge.logged("The certificate of the listener was read again.")
        assert before.is_closed()
        for own in (ours, theirs):
            with closing(Client(bridge.port, ours, own)) as client:
                client.token = TOKEN
                assert client.call("a_t") == "x"
                file.write_text("not a certificate")
                assert f"{file} cannot be used" in bridge.logged("stays in use")
                assert client.call("a_t") == "x"
        write(path, entry("a"), bridge=listening(ours, str(home / "missing.pem"), bearer_token=TOKEN))
        done = reloaded(bridge)
        assert "Setting tls.client_ca: " in done["error"]
        assert "missing.pem cannot be used: No such file" in done["error"]
        assert bridge.logged("The changed configuration is not used: Setting tls.client_ca: ")
        with closing(Client(bridge.port, ours, theirs)) as client:
            client.token = TOKEN
            assert client.call("a_t") == "x"


def test_authorities_need_a_listener_with_tls(home: Path, ours: Authority) -> None:
    path = write(home / "utcp.json", entry("a"))
    with served(home, path) as bridge, hosts_of(bridge, None) as hosts:
        write(path, entry("a"), bridge=listening(ours, ours.ca))
        assert "needs a bridge that was started with `tls.certificate`" in reloaded(bridge)["error"]
        assert [host.call("a_t") for host in hosts] == ["x"] * 2


# --- origins of pages ----------------------------------------------------------------------------


def page_reads(bridge: LiveBridge, origin: str) -> tuple[int, str | None]:
    """Return the status of a request from a page, and the origin that may read the response."""
    with closing(http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=60)) as connection:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a_t", "arguments": {}}}
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Origin": origin}
        connection.request("POST", "/mcp", json.dumps(message), headers)
        reply = connection.getresponse()
        reply.read()
        return reply.status, reply.getheader("access-control-allow-origin")


def test_origins_of_pages_that_are_accepted_change_for_the_next_request(home: Path) -> None:
    def change(*origins: str) -> dict[str, Any]:
        write(path, entry("a"), bridge={"allowed_browser_origins": list(origins)})
        return reloaded(bridge)

    path = write(home / "utcp.json", entry("a"))
    with served(home, path) as bridge, hosts_of(bridge, None) as hosts:
        refused = (403, None)
        assert page_reads(bridge, PAGE) == refused
        for host in hosts:
            host.named = {"Origin": PAGE}
        for _ in range(2):
            done = change(PAGE)
            assert (done["error"], done["settings"]) == (None, ["server.allowed_browser_origins"])
            assert done["needs_restart"] == []
            assert page_reads(bridge, PAGE)[1] == PAGE
            assert [host.call("a_t") for host in hosts] == ["x"] * 2
            assert change(OTHER_PAGE)["error"] is None
            assert [host.status("a_t") for host in hosts] == [403] * 2
            assert page_reads(bridge, OTHER_PAGE)[1] == OTHER_PAGE
        assert "allowed_browser_origins" in change("app.example")["error"]
        assert page_reads(bridge, OTHER_PAGE)[1] == OTHER_PAGE, "a value with a fault leaves the one before"
        assert change()["error"] is None
        assert page_reads(bridge, OTHER_PAGE) == refused


# --- idle connections ----------------------------------------------------------------------------


def test_another_time_for_idle_connections_counts_for_those_that_are_open(home: Path) -> None:
    path = write(home / "utcp.json", entry("a"))
    with served(home, path) as bridge, closing(socket.create_connection(("127.0.0.1", bridge.port), 60)) as idle:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert idle.recv(1_000).startswith(b"HTTP/1.1 200 ")
        write(path, entry("a"), bridge={"keep_alive_timeout": 0.1})
        done = reloaded(bridge)
        assert (done["settings"], done["needs_restart"]) == (["timeouts.keep_alive_timeout"], [])
        assert idle.recv(1_000) == b""
