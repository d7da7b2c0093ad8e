"""Serving HTTP, inside this process."""

import json
import os
import signal
import socket
from urllib.parse import urlsplit

import anyio
import pytest
from tests.support.mcp_context import MODERN_META
from tests.support.server_client import Manual, StandIn

from utcp_bridge.errors import ConfigError
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http import HttpFront, build_app, serve_http
from utcp_bridge.server.readiness import Readiness
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio


def server_of(**settings):
    client = StandIn(BridgeSettings(port=0, **settings))
    client.manuals = [Manual("m", "ready", 1)]
    return BridgeServer(client)


async def ask(url, path, *headers):
    """Return (status line, body) of one request on its own connection."""
    parts = urlsplit(url)
    async with await anyio.connect_tcp(parts.hostname, parts.port) as stream:
        fields = "".join(f"{header}\r\n" for header in (f"Host: {parts.netloc}", "Connection: close", *headers))
        await stream.send(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())
        data = b""
        async for chunk in stream:
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode().splitlines()[0], body


async def post(url, method, params, *headers, acknowledged=None):
    """Return the whole response to one modern request. The event is set when the response begins."""
    parts = urlsplit(url)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    fields = [
        f"Host: {parts.netloc}",
        "Connection: close",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "MCP-Protocol-Version: 2026-07-28",
        f"Mcp-Method: {method}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    data = b""
    async with await anyio.connect_tcp(parts.hostname, parts.port) as stream:
        await stream.send("\r\n".join([f"POST {parts.path} HTTP/1.1", *fields, "", body]).encode())
        async for chunk in stream:
            data += chunk
            if acknowledged is not None:
                acknowledged.set()
    return data


async def serve(server, work):
    """Serve, run `work(url)`, then end the server with a signal."""
    ready = anyio.Event()
    urls = []

    def on_ready(url):
        urls.append(url)
        ready.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:

            async def run():
                await serve_http(server, on_ready=on_ready)

            group.start_soon(run)
            await ready.wait()
            await work(urls[0])
            os.kill(os.getpid(), signal.SIGTERM)


async def test_the_server_reports_its_url_serves_and_ends_cleanly():
    async def work(url):
        assert urlsplit(url).path == "/bridge"
        assert await ask(url, "/healthz") == ("HTTP/1.1 200 OK", b'{"status":"ok"}')
        assert (await ask(url, "/elsewhere"))[0] == "HTTP/1.1 404 Not Found"
        status, body = await ask(url, "/readyz")
        assert (status, json.loads(body)["ready"]) == ("HTTP/1.1 200 OK", True)

    await serve(server_of(path="/bridge"), work)


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost"])
async def test_other_names_of_loopback_are_served(host):
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")

    async def work(url):
        assert urlsplit(url).hostname in {"::1", "localhost"}
        assert (await ask(url, "/healthz"))[0] == "HTTP/1.1 200 OK"

    await serve(server_of(host=host), work)


def _has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_an_open_stream_ends_when_the_server_does():
    received = []

    async with anyio.create_task_group() as group:

        async def listen(url):
            params = {"notifications": {"toolsListChanged": True}, "_meta": MODERN_META}
            received.append(await post(url, "subscriptions/listen", params, acknowledged=acknowledged))

        async def work(url):
            group.start_soon(listen, url)
            await acknowledged.wait()

        acknowledged = anyio.Event()
        await serve(server_of(), work)
    assert received[0].endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "bridge.example"])
def test_serving_beyond_loopback_requires_a_token(host):
    with pytest.raises(ConfigError, match="Set `bearer_token`"):
        build_app(server_of(host=host))
    assert callable(build_app(server_of(host=host, bearer_token="x")))
    assert callable(build_app(server_of(host=host, insecure=True)))


async def test_an_address_that_cannot_be_bound_is_a_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = BridgeServer(StandIn(BridgeSettings(port=taken.getsockname()[1])))
        with pytest.raises(ConfigError, match=r"Cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
            await serve_http(server)


async def test_a_call_in_flight_is_cancelled_after_a_moment():
    entered = anyio.Event()
    answers = []

    async def endless(_arguments, _emit):
        entered.set()
        await anyio.sleep_forever()

    server = server_of(allowed_browser_origins=("https://app.example",))
    server.client.add("m", "t", endless)
    params = {"name": "m_t", "arguments": {}, "_meta": MODERN_META}

    async def call(url):
        answers.append(await post(url, "tools/call", params, "Mcp-Name: m_t", "Origin: https://app.example"))

    async with anyio.create_task_group() as group:

        async def work(url):
            group.start_soon(call, url)
            await entered.wait()

        await serve(server, work)
    head, _, body = answers[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert b"access-control-allow-origin: https://app.example" in head
    assert body == b'{"error":"shutting down"}'


START = {"type": "http.response.start", "status": 200, "headers": []}


class Inner:
    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)


async def ask_front(front, path="/mcp", method="GET", headers=()):
    sent = []

    async def receive():
        raise AssertionError("the front reads no body")

    async def send(message):
        sent.append(message)

    await front({"type": "http", "path": path, "method": method, "headers": list(headers)}, receive, send)
    return sent


def front_of(token=None, status="ready"):
    client = StandIn(BridgeSettings(startup_wait=60))
    client.manuals = [Manual("m", status, 2)]
    inner = Inner()
    return HttpFront(inner, Readiness(client), token), inner


async def test_the_health_probe_needs_no_token():
    front, inner = front_of(token="secret")
    start, body = await ask_front(front, "/healthz")
    assert start["status"] == 200
    assert json.loads(body["body"]) == {"status": "ok"}
    assert not inner.scopes


@pytest.mark.parametrize(("status", "code"), [("ready", 200), ("failed", 200), ("loading", 503)])
async def test_readiness_is_a_status_code_with_counts(status, code):
    front, _ = front_of(status=status)
    start, body = await ask_front(front, "/readyz")
    assert start["status"] == code
    assert json.loads(body["body"])["manuals"][status] == 1
    assert dict(start["headers"])[b"cache-control"] == b"no-store"


async def test_a_probe_must_be_a_get():
    front, _ = front_of()
    start, _ = await ask_front(front, "/healthz", method="POST")
    assert start["status"] == 405
    assert dict(start["headers"])[b"allow"] == b"GET, HEAD"


@pytest.mark.parametrize("value", [b"Bearer secret", b"bearer secret", b" Bearer  secret "])
async def test_a_request_with_the_right_token_passes(value):
    front, inner = front_of(token="secret")
    assert await ask_front(front, headers=[(b"authorization", value)]) == []
    assert len(inner.scopes) == 1


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ([], b'Bearer realm="utcp-bridge"'),
        ([(b"authorization", b"Bearer wrong")], b'Bearer realm="utcp-bridge", error="invalid_token"'),
        ([(b"authorization", b"Basic secret")], b'Bearer realm="utcp-bridge", error="invalid_token"'),
        ([(b"authorization", b"Bearer")], b'Bearer realm="utcp-bridge", error="invalid_token"'),
        ([(b"authorization", b"Bearer secret")] * 2, b'Bearer realm="utcp-bridge", error="invalid_token"'),
    ],
)
async def test_a_request_without_the_token_is_refused_with_a_challenge(headers, challenge):
    front, inner = front_of(token="secret")
    start, body = await ask_front(front, headers=headers)
    assert start["status"] == 401
    assert dict(start["headers"])[b"www-authenticate"] == challenge
    assert b"secret" not in body["body"]
    assert not inner.scopes


async def test_blanks_around_header_values_are_stripped():
    front, inner = front_of()
    await ask_front(front, headers=[(b"mcp-name", b"  echo\t"), (b"host", b"localhost")])
    assert inner.scopes[0]["headers"] == [(b"mcp-name", b"echo"), (b"host", b"localhost")]


async def test_headers_without_blanks_are_not_copied():
    front, inner = front_of()
    headers = [(b"host", b"localhost")]
    await front({"type": "http", "path": "/mcp", "method": "GET", "headers": headers}, None, None)
    assert inner.scopes[0]["headers"] is headers


async def test_the_lifespan_passes_unchanged():
    front, inner = front_of(token="secret")
    await front({"type": "lifespan"}, None, None)
    assert inner.scopes == [{"type": "lifespan"}]


@pytest.mark.parametrize(
    ("sent_before", "sent_after"),
    [
        ([], [503, b'{"error":"shutting down"}']),
        ([START], [200, b""]),
        ([START, {"type": "http.response.body", "body": b"x"}], [200, b"x"]),
    ],
)
async def test_a_request_in_flight_at_the_end_gets_a_response(sent_before, sent_after):
    async def app(_scope, _receive, send):
        for message in sent_before:
            await send(message)
        front.end_requests()
        await anyio.sleep_forever()

    front = HttpFront(app, Readiness(StandIn()))
    with anyio.fail_after(60):
        sent = await ask_front(front)
    assert [message.get("status", message.get("body")) for message in sent] == sent_after
