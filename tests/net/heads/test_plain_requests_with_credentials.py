"""Requests with credentials and traces that are written at once: they go out and end as through aiohttp's session."""

import asyncio
import json
import re
from contextlib import asynccontextmanager, suppress

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from tests.support.raw_replies import REPLIES

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.errors import PolicyError, TokenError, UtcpError
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.heads.plain_requests import PlainRequests
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.telemetry import trace_context
from utcp_bridge.telemetry.deciding import Deciding

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline", "passes")]

USUAL = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno"
MOVED = b"HTTP/1.1 307 Other\r\nLocation: /y?b=2\r\nContent-Length: 0\r\n\r\n"
ELSEWHERE = b"HTTP/1.1 307 Other\r\nLocation: http://127.0.0.1:1/y\r\nContent-Length: 0\r\n\r\n"
KEPT = {USUAL, REFUSED, MOVED, ELSEWHERE}
"""Replies after which the connection goes on."""
KEY = {"auth_type": "api_key", "api_key": "k3y/+ =&é-0123456789"}
BASIC = {"auth_type": "basic", "username": "me", "password": "pässword-0123456789"}
SIGHTS = {
    "header": {**KEY, "api_key": "k3y-0123456789", "var_name": "X-Api-Key"},
    "header that the request has": {**KEY, "api_key": "k3y-0123456789", "var_name": "x-a"},
    "query": {**KEY, "var_name": "key", "location": "query"},
    "query that the request has": {**KEY, "var_name": "a", "location": "query"},
    "cookie": {**KEY, "api_key": "k3y-0123456789", "var_name": "session", "location": "cookie"},
    "basic": BASIC,
    "token": {"auth_type": "token", "token": "t0ken-0123456789"},
    "all": {"auth_type": "all", "schemes": [BASIC, {**KEY, "var_name": "key", "location": "query"}]},
    "oauth2": {"auth_type": "oauth2", "client_id": "me", "client_secret": "s3cret-0123456789", "token_url": "/token"},
}
LIFETIME = 3600
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-00"


class Server:
    """Sends `USUAL` to each request but those for which there are `replies`, and numbered tokens at `/token`."""

    def __init__(self):
        self.endpoint = ""
        self.replies = []
        self.requests = []
        self.tokens = 0
        self.token_status = 200

    async def serve(self, reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").lower().split("\r\n")
                length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
                request = head + await reader.readexactly(length)
                if head.startswith(b"POST /token"):
                    writer.write(self.token())
                    continue
                self.requests.append(request)
                reply = self.replies.pop(0) if self.replies else USUAL
                writer.write(reply)
                if reply not in KEPT:
                    await writer.drain()
                    writer.write_eof()
                    await reader.read()
                    break
        writer.close()

    def token(self):
        self.tokens += 1
        body = json.dumps({"access_token": f"token-{self.tokens}", "expires_in": LIFETIME}).encode()
        return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            self.token_status,
            len(body),
            body,
        )


class Way:
    """A session, and credentials of one kind for its server."""

    def __init__(self, server, pool, name, auth):
        self.server = server
        self.now = 0.0
        source = Source(name, exempt=frozenset({server.endpoint}))
        origin = f"http://{server.endpoint}"
        if auth is not None and "token_url" in auth:
            auth = {**auth, "token_url": origin + auth["token_url"]}
        self.session = pool.session(source)
        self.tokens = TokenCache(pool, clock=lambda: self.now)
        self.credentials = (
            None if auth is None else Credentials(parse_auth(auth), frozenset({origin}), self.tokens, source=source)
        )

    async def ask(self, method="POST", path="/x?a=1", headers=(("X-A", "1"),)):
        """Return what becomes of a request, and what the server received of it."""
        self.server.requests.clear()
        parts = RequestParts(method, f"http://{self.server.endpoint}{path}", list(headers), b"{}")
        try:
            reply = await self.session.request(parts, credentials=self.credentials)
        except UtcpError as error:
            found = type(error), str(error), error.remedy
        else:
            found = reply.status, list(reply.headers.items()), reply.body, reply.url
        return found, list(self.server.requests)


@asynccontextmanager
async def both_ways(auth):
    """Give a way for each of two servers: that of plain requests, and that through aiohttp's session."""
    pool, ways = HttpPool(Guard()), []
    servers = Server(), Server()
    try:
        async with (
            await asyncio.start_server(servers[0].serve, "127.0.0.1", 0) as one,
            await asyncio.start_server(servers[1].serve, "127.0.0.1", 0) as two,
        ):
            for server, running, name in zip(servers, (one, two), ("plain", "whole"), strict=True):
                server.endpoint = f"127.0.0.1:{running.sockets[0].getsockname()[1]}"
                ways.append(Way(server, pool, name, auth))
            whole = ways[1].session
            await whole._open_clients()
            whole._plain = None  # so its requests go through aiohttp's session
            yield ways
            await pool.aclose()
    finally:
        await pool.aclose()


async def compare(ways, replies=(), **more):
    """Return what becomes of a request both ways. The endpoints of the two servers differ."""
    found = []
    for way in ways:
        way.server.replies = list(replies)
        outcome, requests = await way.ask(**more)
        port = rf"(?<!\d){way.server.endpoint.rpartition(':')[2]}(?!\d)"  # a credential has digits, too
        sent = [re.sub(port.encode(), b"PORT", one) for one in requests]
        found.append((re.sub(port, "PORT", str(outcome)), sent))
    assert found[0] == found[1], replies
    return found[0]


@pytest.fixture
def begun(monkeypatch):
    """Return a list of the requests that were written at once."""
    found, begin = [], PlainRequests.begin

    def noted(requests, parts, trace=None):
        one = begin(requests, parts, trace)
        if one is not None:
            found.append(parts)
        return one

    monkeypatch.setattr(PlainRequests, "begin", noted)
    return found


@pytest.fixture
def traces(monkeypatch):
    """Turn traces on. Return a function that begins another trace of a caller."""
    deciding, numbers = Deciding(TracerProvider(shutdown_on_exit=False)), iter(range(1, 1000))
    monkeypatch.setattr(trace_context, "_otel", deciding, raising=False)
    monkeypatch.setattr(trace_context, "_on", True)

    def enter():
        text = TRACE.format(next(numbers))
        deciding.enter(deciding.continued(text), Context())
        return text

    return enter


@pytest.mark.parametrize("kind", SIGHTS)
async def test_what_goes_out_with_credentials_is_the_same_both_ways(begun, kind):
    async with both_ways(SIGHTS[kind]) as ways:
        first = await compare(ways)
        assert await compare(ways) == first
        assert len(begun) == 1
        for path in ("/x", "/x?a=%2F&b", "/x?"):
            await compare(ways, path=path)
        await compare(ways, headers=(("Cookie", "a=1"), ("X-A", "é")))
        await compare(ways, method="GET")
    assert "b'ok'" in first[0]


@pytest.mark.parametrize("kind", SIGHTS)
@pytest.mark.parametrize(
    "replies",
    [[REFUSED], [REFUSED, REFUSED], [MOVED], [MOVED, REFUSED], [REFUSED, MOVED], [ELSEWHERE], [b""]],
    ids=["refused", "refused twice", "moved", "moved and refused", "refused and moved", "elsewhere", "ended"],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_refusals_and_redirects_are_the_same_both_ways(begun, kind, replies, method):
    async with both_ways(SIGHTS[kind]) as ways:
        await compare(ways, method=method)
        _, requests = await compare(ways, replies, method=method)
        assert len(begun) == 1
        if method == "POST" and replies == [b""]:
            assert len(requests) == 1  # it may have had an effect
        if replies == [REFUSED]:
            assert len(requests) == (2 if kind == "oauth2" else 1)
        await compare(ways, method=method)
        assert ways[0].server.tokens == ways[1].server.tokens


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_a_reply_to_a_request_with_credentials_is_the_same_both_ways(begun, reply):
    async with both_ways(SIGHTS["oauth2"]) as ways:
        await compare(ways)
        await compare(ways, [reply])
        assert len(begun) == 1
        await compare(ways)


async def test_an_access_token_that_ends_soon_is_not_used(begun):
    async with both_ways(SIGHTS["oauth2"]) as ways:
        await compare(ways)
        await compare(ways)
        assert len(begun) == 1
        for way in ways:
            way.now = LIFETIME - 1.0
        _, requests = await compare(ways)
        assert b"Bearer token-2" in requests[0]
        assert len(begun) == 1


async def test_a_token_that_cannot_be_renewed_is_the_same_error_both_ways(begun):
    async with both_ways(SIGHTS["oauth2"]) as ways:
        await compare(ways)
        for way in ways:
            way.server.token_status = 500
        found, requests = await compare(ways, [REFUSED])
        assert TokenError.__name__ in found
        assert len(requests) == len(begun) == 1


async def test_credentials_of_other_origins_are_refused_although_the_origin_is_known(begun):
    async with both_ways(SIGHTS["header"]) as ways:
        await compare(ways)
        for way in ways:
            way.credentials = Credentials(parse_auth(SIGHTS["header"]), frozenset({"https://other.example"}))
        found, requests = await compare(ways)
        assert PolicyError.__name__ in found
        assert not requests
    assert not begun


async def test_an_origin_that_was_reached_without_credentials_is_judged_for_them(begun):
    async with both_ways(None) as ways:
        await compare(ways)
        for way in ways:
            way.credentials = Credentials(parse_auth(SIGHTS["header"]), frozenset({f"http://{way.server.endpoint}"}))
        await compare(ways)
        assert not begun
        await compare(ways)
        assert len(begun) == 1


@pytest.mark.parametrize("kind", [None, *SIGHTS])
async def test_the_trace_of_each_request_goes_out_the_same_both_ways(begun, traces, kind):
    async with both_ways(SIGHTS.get(kind)) as ways:
        for _ in range(3):
            trace = traces()
            _, requests = await compare(ways)
            assert b"\r\ntraceparent: %b\r\n" % trace.encode() in requests[0]
        assert len(begun) == 2
        _, requests = await compare(ways, [MOVED])
        assert all(b"\r\ntraceparent: %b\r\n" % trace.encode() in one for one in requests)
        for headers in ([("traceparent", "mine")], [("Traceparent", trace)], [("traceparent", trace), ("X-A", "1")]):
            await compare(ways, headers=headers)
            await compare(ways, headers=headers)
