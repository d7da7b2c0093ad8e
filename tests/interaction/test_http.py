"""Serving over streamable HTTP: which requests the endpoint accepts, tested from outside."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from tests.interaction.conftest import ROOT, http_server
from tests.interaction.requirements import proves

pytestmark = pytest.mark.anyio
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "demo_greet", "arguments": {}, "_meta": META},
}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "demo_greet",
}


def ask(url, body=CALL, *, method="POST", path=None, **headers):
    """Return (status, headers, body) of one request. A header of None is omitted."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=200)
    wanted = {**HEADERS, "Host": parts.netloc, **{name.replace("_", "-"): value for name, value in headers.items()}}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.putrequest(method, path or parts.path, skip_host=True)
        for name, value in wanted.items():
            if value is not None:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders()
        connection.send(data)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def url():
    with http_server(allowed_browser_origins=["https://app.example"], allowed_hosts=["bridge.example:*"]) as (url, _):
        yield url


@proves("http.host")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:1", 200),
        ("[::1]:8000", 200),
        ("bridge.example:80", 200),
        ("bridge.example", 421),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("", 421),
    ],
)
def test_only_known_hosts_are_served(url, host, status):
    assert ask(url, Host=host)[0] == status


@proves("http.host")
def test_a_request_without_a_host_is_refused(url):
    assert ask(url, Host=None)[0] in {400, 421}


@proves("http.origin")
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://localhost:3000", 200),
        ("https://app.example", 200),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
    ],
)
def test_only_known_browser_origins_are_served(url, origin, status):
    assert ask(url, Origin=origin)[0] == status


@proves("http.cors")
def test_a_configured_browser_origin_passes_the_preflight():
    wanted = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "mcp-method,authorization"}
    with http_server(allowed_browser_origins=["https://app.example"], bearer_token="secret") as (url, _):
        status, headers, _ = ask(url, b"", method="OPTIONS", Origin="https://app.example", **wanted)
        assert status == 200
        assert headers["access-control-allow-origin"] == "https://app.example"
        status, headers, _ = ask(url, Origin="https://app.example")
        assert status == 401
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert (
            "access-control-allow-origin"
            not in ask(url, b"", method="OPTIONS", Origin="https://evil.example", **wanted)[1]
        )


@proves("http.body")
def test_a_body_above_the_limit_is_refused(url):
    padded = json.dumps(CALL).encode() + b" " * (4 * 1024 * 1024)
    assert ask(url, padded)[0] == 413
    assert ask(url, padded[: 4 * 1024 * 1024])[0] == 200


@proves("http.type")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 400),
        ({"Accept": "text/html"}, 406),
        ({"Content_Type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_only_json_is_accepted_and_returned(url, headers, status):
    assert ask(url, **headers)[0] == status


@proves("http.blanks")
def test_blanks_around_header_values_do_not_matter(url):
    status, _, body = ask(url, Mcp_Name="  demo_greet \t")
    assert status == 200, body
    assert json.loads(body)["result"]["content"][0]["text"] == "Good morning"


INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


@proves("http.resume")
@pytest.mark.parametrize("last", ["5", "x", "", "%00", "\xe9", "a" * 5000, "bridge-1:2"])
def test_an_event_stream_can_be_resumed_with_any_last_event_id(url, last):
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
    _, headers, _ = ask(url, message, MCP_Protocol_Version=None)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=200)
    try:
        wanted = {"Accept": "text/event-stream", "Mcp-Session-Id": headers["Mcp-Session-Id"], "Last-Event-ID": last}
        connection.request("GET", parts.path, headers=wanted)
        reply = connection.getresponse()
        assert reply.status == 200
        assert reply.readline() == b": This is a new stream. Events before it are not kept.\r\n"
    finally:
        connection.close()


@proves("http.leaving")
def test_a_client_that_leaves_in_the_middle_of_a_request_is_not_logged():
    with http_server() as (url, process):
        parts = urlsplit(url)
        heads = {
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n{length}{version}\r\n"
            for path in (parts.path, "/utcp", "/utcp/tools/x", "/other")
            for length in ("Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n")
            for version in ("", "MCP-Protocol-Version: 2026-07-28\r\n", "MCP-Protocol-Version: 2025-06-18\r\n")
        }
        for head in heads:
            for body in ("", "7\r\n{" if "chunked" in head else "{"):
                with socket.create_connection((parts.hostname, parts.port), timeout=200) as client:
                    client.sendall(f"{head}{body}".encode())
        assert ask(url)[0] == 200
        process.terminate()
        _, noise = process.communicate(timeout=200)
    assert noise == ""


@proves("http.bearer", "http.health")
def test_only_probes_work_without_the_configured_token():
    with http_server(bearer_token="canary-token") as (url, process):
        status, headers, body = ask(url)
        assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="utcp-bridge"')
        assert ask(url, Authorization="Bearer other")[0] == 401
        assert ask(url, Authorization="Bearer canary-token")[0] == 200
        assert ask(url, b"", method="GET", path="/healthz")[0] == 200
        status, _, body = ask(url, b"", method="GET", path="/readyz")
        assert (status, json.loads(body)["manuals"]["failed"]) == (200, 1)
        process.terminate()
        assert "canary-token" not in process.communicate(timeout=200)[1]


@proves("http.closed")
@pytest.mark.parametrize(
    ("settings", "starts"),
    [
        ({"host": "0.0.0.0"}, False),
        ({"host": "::"}, False),
        ({"host": "0.0.0.0", "bearer_token": "a-token-of-length"}, True),
        ({"host": "0.0.0.0", "bearer_token": "short"}, False),
        ({"host": "0.0.0.0", "insecure": True}, True),
    ],
)
def test_beyond_loopback_the_server_starts_only_with_a_token_or_insecure(settings, starts):
    with http_server(**settings) as (url, process):
        assert bool(url) is starts
        if starts:
            local = url.replace("0.0.0.0", "127.0.0.1")
            assert ask(local, Host="evil.example", Authorization="Bearer a-token-of-length")[0] == 421
            assert ask(local, Host="0.0.0.0:8000", Authorization="Bearer a-token-of-length")[0] == 421
        else:
            assert process.wait(timeout=200) != 0
            told = "can be guessed" if "bearer_token" in settings else "would let anyone on the network call every tool"
            assert told in process.stderr.read()


@proves("http.closed")
def test_a_port_in_use_is_a_clear_error():
    with http_server() as (url, _):
        script = f"""
import anyio
from tests.support.mcp_served import build
from utcp_bridge.server.http import serve_http
anyio.run(serve_http, build(port={urlsplit(url).port}))
"""
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
        )
        assert "ConfigError: Cannot listen on 127.0.0.1:" in done.stderr


@pytest.mark.parametrize("token", [None, "canary-token"])
async def test_a_client_of_the_handshake_era_survives_a_restart_of_the_bridge(token):
    settings = {} if token is None else {"bearer_token": token}
    headers = None if token is None else {"Authorization": f"Bearer {token}"}
    with anyio.fail_after(200), ExitStack() as first:
        url, _ = first.enter_context(http_server(**settings))
        async with httpx2.AsyncClient(headers=headers, timeout=200) as http_client:
            target = streamable_http_client(url, http_client=http_client)
            async with Client(target, mode="legacy") as client:
                assert (await client.call_tool("demo_greet")).content[0].text == "Good morning"
                await anyio.to_thread.run_sync(first.close)
                with http_server(port=urlsplit(url).port, **settings):
                    assert (await client.call_tool("demo_greet")).content[0].text == "Good morning"
                    assert (await client.list_tools(cache_mode="bypass")).tools


def test_a_session_that_the_process_does_not_know_requires_the_token():
    known = {"Mcp_Session_Id": "0123456789abcdef0123456789abcdef", "MCP_Protocol_Version": "2025-06-18"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    with http_server(bearer_token="canary-token") as (url, _):
        assert ask(url, body, **known)[0] == 401
        assert ask(url, body, Authorization="Bearer canary-token", **known)[0] == 200
        assert ask(url, b"", method="DELETE", **known)[0] == 401
        assert ask(url, b"", method="DELETE", Authorization="Bearer canary-token", **known)[0] == 200
        assert ask(url, body, Authorization="Bearer canary-token", **known)[0] == 404


@proves("http.signal")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_signal_ends_the_server_cleanly_with_open_calls_and_streams(mode):
    with http_server() as (url, process):
        running = anyio.Event()

        async def heard(_progress, _total, _message):
            running.set()

        async def wait(client):
            await client.call_tool("demo_wait", {}, progress_callback=heard)

        with anyio.fail_after(200):
            try:
                async with Client(url, mode=mode) as client, anyio.create_task_group() as group:
                    group.start_soon(wait, client)
                    await running.wait()
                    process.send_signal(signal.SIGTERM)
                    code = await anyio.to_thread.run_sync(process.wait)
                    group.cancel_scope.cancel()
            except* Exception:  # noqa: BLE001 - how a client takes the loss of its server is its own affair
                pass
        assert code == 0
        noise = process.stderr.read()
        assert "cancelled" in noise
        assert "Traceback" not in noise
