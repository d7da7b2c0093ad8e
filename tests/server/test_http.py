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
from utcp_bridge.server.http import build_app, serve_http
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio


def server_of(**settings):
    client = StandIn(BridgeSettings(port=0, **settings))
    client.manuals = [Manual("m", "ready", 1)]
    return BridgeServer(client)


async def ask(url, path, *headers):
    """(status line, body) of one request on a connection of its own."""
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
    """Everything that one modern request is answered with; the event is set when that begins."""
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
    """Serve, run `work(url)` when up, then end by a signal."""
    ready = anyio.Event()
    urls = []

    def on_ready(url):
        urls.append(url)
        ready.set()

    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:

            async def run():
                await serve_http(server, on_ready=on_ready)

            group.start_soon(run)
            await ready.wait()
            await work(urls[0])
            os.kill(os.getpid(), signal.SIGTERM)


async def test_it_says_where_it_is_serves_and_ends_in_order():
    async def work(url):
        assert urlsplit(url).path == "/bridge"
        assert await ask(url, "/healthz") == ("HTTP/1.1 200 OK", b'{"status":"ok"}')
        assert (await ask(url, "/elsewhere"))[0] == "HTTP/1.1 404 Not Found"
        status, body = await ask(url, "/readyz")
        assert (status, json.loads(body)["ready"]) == ("HTTP/1.1 200 OK", True)

    await serve(server_of(path="/bridge"), work)


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost"])
async def test_loopback_has_other_names(host):
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
def test_beyond_loopback_a_token_is_asked_for(host):
    with pytest.raises(ConfigError, match="Set `bearer_token`"):
        build_app(server_of(host=host))
    assert callable(build_app(server_of(host=host, bearer_token="x")))
    assert callable(build_app(server_of(host=host, insecure=True)))


async def test_an_address_that_cannot_be_bound_is_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = BridgeServer(StandIn(BridgeSettings(port=taken.getsockname()[1])))
        with pytest.raises(ConfigError, match=r"Cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
            await serve_http(server)


async def test_a_call_in_flight_is_given_up_after_a_moment():
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
