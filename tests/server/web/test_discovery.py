"""The server card and the catalog: what they say, and who may read them."""

import json
import os
import re
import signal
from urllib.parse import urlsplit

import anyio
import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.published import AI_CATALOG, SERVER_CARD
from tests.support.server_client import Manual, StandIn

from utcp_bridge.server.app import BridgeServer
from utcp_bridge.server.http import serve_http
from utcp_bridge.server.web.discovery import CARD_TYPE, CATALOG_PATH, CATALOG_TYPE, card, catalog
from utcp_bridge.settings import BridgeSettings

pytestmark = pytest.mark.anyio
TOKEN = "sesame-sesame-1234"


async def fetch(url, path, *headers, method="GET"):
    """Return (status, headers, body) of one request on its own connection."""
    parts = urlsplit(url)
    given = () if any(header.startswith("Host:") for header in headers) else (f"Host: {parts.netloc}",)
    fields = "".join(f"{header}\r\n" for header in (*given, "Connection: close", *headers))
    data = b""
    async with await anyio.connect_tcp(parts.hostname, parts.port) as stream:
        await stream.send(f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode())
        async for chunk in stream:
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().splitlines()
    return (
        int(first.split()[1]),
        {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)},
        body,
    )


async def with_server(work, **settings):
    """Run `work(url)` beside a server."""
    client = StandIn(BridgeSettings(port=0, drain_seconds=0, **settings))
    client.manuals = [Manual("m", "ready", 1)]
    ready, urls = anyio.Event(), []

    def on_ready(url):
        urls.append(url)
        ready.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: serve_http(BridgeServer(client), on_ready=on_ready))
            await ready.wait()
            await work(urls[0])
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_a_client_finds_the_endpoint_by_catalog_and_card_without_a_token(token):
    async def work(url):
        status, headers, body = await fetch(url, CATALOG_PATH)
        assert (status, headers["content-type"]) == (200, CATALOG_TYPE)
        [entry] = json.loads(body)["entries"]
        assert entry["type"] == CARD_TYPE
        assert urlsplit(entry["url"]).netloc == urlsplit(url).netloc
        status, headers, body = await fetch(url, urlsplit(entry["url"]).path, "Origin: https://pages.example.com")
        assert (status, headers["content-type"], headers["access-control-allow-origin"]) == (200, CARD_TYPE, "*")
        [remote] = json.loads(body)["remotes"]
        assert remote["url"] == url
        assert remote["supportedProtocolVersions"][-1] == "2026-07-28"
        names = [header["name"] for header in remote.get("headers", ())]
        assert names == ([] if token is None else ["Authorization"])
        assert TOKEN.encode() not in body

    await with_server(work, bearer_token=token)


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_what_a_server_serves_is_what_the_published_schemas_require(token):
    async def work(url):
        for path, schema in ((CATALOG_PATH, AI_CATALOG), ("/mcp/server-card", SERVER_CARD)):
            document = json.loads((await fetch(url, path))[2])
            jsonschema_rs.validate(schema, document)

    await with_server(work, bearer_token=token)


@given(
    st.from_regex(r"[\w.\-]{1,260}(:\d{1,5})?", fullmatch=True)
    | st.sampled_from(["my_bridge:80", "a" * 250, ".", "ü.de"])
)
def test_any_host_gives_names_that_the_published_schemas_allow(host):
    jsonschema_rs.validate(SERVER_CARD, card(f"http://{host}", "/mcp", needs_token=True))
    jsonschema_rs.validate(AI_CATALOG, catalog(f"http://{host}", "/mcp"))


async def test_the_card_follows_the_path_of_the_endpoint_and_hides_no_other_path():
    async def work(url):
        assert (await fetch(url, "/tools/mcp/server-card"))[0] == 200
        assert (await fetch(url, "/mcp/server-card"))[0] == 404

    await with_server(work, path="/tools/mcp/")


async def test_behind_a_proxy_with_https_the_documents_name_that_address():
    async def work(url):
        _, _, body = await fetch(url, CATALOG_PATH, "X-Forwarded-Proto: https")
        assert json.loads(body)["entries"][0]["url"].startswith("https://127.0.0.1:")
        _, _, body = await fetch(url, "/mcp/server-card", "X-Forwarded-Proto: https")
        assert json.loads(body)["remotes"][0]["url"] == url.replace("http:", "https:")

    await with_server(work)


async def test_a_host_that_the_server_does_not_accept_gets_no_address():
    async def work(url):
        for path in (CATALOG_PATH, "/mcp/server-card"):
            status, _, body = await fetch(url, path, "Host: evil.example.com")
            assert status == 421
            assert b"http://evil" not in body

    await with_server(work)


async def test_other_methods():
    async def work(url):
        status, headers, body = await fetch(url, CATALOG_PATH, method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 0
        status, headers, _ = await fetch(url, CATALOG_PATH, "Origin: https://x.example.com", method="OPTIONS")
        assert (status, headers["access-control-allow-origin"]) == (204, "*")
        status, headers, _ = await fetch(url, CATALOG_PATH, "Content-Length: 0", method="POST")
        assert (status, headers["allow"]) == (405, "GET, HEAD")

    await with_server(work)


@pytest.mark.parametrize(
    ("base", "name", "identifier"),
    [
        ("https://tools.example.com", "com.example.tools/utcp-bridge", "urn:air:tools.example.com:mcp:utcp-bridge"),
        (
            "https://Tools.Example.com.:8443",
            "com.example.tools/utcp-bridge",
            "urn:air:tools.example.com:mcp:utcp-bridge",
        ),
        ("http://127.0.0.1:8000", "localhost/utcp-bridge", "urn:air:localhost:mcp:utcp-bridge"),
        ("http://[::1]:8000", "localhost/utcp-bridge", "urn:air:localhost:mcp:utcp-bridge"),
        ("http://", "localhost/utcp-bridge", "urn:air:localhost:mcp:utcp-bridge"),
    ],
)
def test_names_come_from_the_domain(base, name, identifier):
    written = card(base, "/mcp", needs_token=False)
    assert written["name"] == name
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", name)
    assert 1 <= len(written["description"]) <= 100
    [entry] = catalog(base, "/mcp")["entries"]
    assert entry["identifier"] == identifier
    assert entry.keys() == {"identifier", "displayName", "type", "url"}, (
        "the first three are required, and one of url and data"
    )
