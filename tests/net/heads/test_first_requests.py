"""A command that sends few requests gets the same replies and errors as any other, also without aiohttp."""

import sys
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
import pytest
from tests.support.raw_replies import REPLIES, outcome, raw_server

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.errors import InvalidArguments, PolicyError, ReplyTooLarge
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.heads.first_requests import FirstRequests
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

REPLY = REPLIES["length"]
CUTS = {
    "at once": lambda reply: [reply],
    "head and body": lambda reply: reply.partition(b"\r\n\r\n")[:2] + reply.partition(b"\r\n\r\n")[2:],
    "byte by byte": lambda reply: [reply[place : place + 1] for place in range(len(reply))],
    "cut": lambda reply: [reply[: len(reply) * 2 // 3]],
    "nothing": lambda _reply: [],
}
BY_PIECES = {"more than the length"}
"""A reply of which aiohttp makes something else when it comes in pieces, as it happens to read them."""
MOVED = b"HTTP/1.1 307 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def server():
    async with raw_server() as running:
        yield running


@asynccontextmanager
async def session_of(server, *, is_brief, **options):
    pool = HttpPool(Guard(), is_brief=is_brief, **options)
    yield pool.session(Source("shop", exempt=frozenset({server.url.removeprefix("http://")})))
    await pool.aclose()


async def both(server, parts, **options):
    """What a request without aiohttp gives, and one with it; and what the server got of each."""
    found = []
    for is_brief in (True, False):
        server.requests.clear()
        async with session_of(server, is_brief=is_brief, **options) as session:
            assert isinstance(session, FirstRequests) is is_brief
            found.append((await outcome(session, parts), list(server.requests)))
        await server.all_closed()
    return found


@pytest.mark.parametrize(
    ("name", "cut"),
    [(name, cut) for name in REPLIES for cut in CUTS if cut in {"at once", "nothing"} or name not in BY_PIECES],
)
async def test_a_reply_of_any_form_means_the_same(server, name, cut):
    server.pieces = CUTS[cut](REPLIES[name])
    brief, usual = await both(server, RequestParts("GET", f"{server.url}/x?q=1"))
    assert brief == usual


@pytest.mark.parametrize("name", ["length", "chunks", "gzip", "an error", "another protocol"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize("body", [None, b"", b'{"a":1}', b"x" * 70_000], ids=["none", "empty", "small", "large"])
async def test_a_request_is_written_as_aiohttp_writes_it(server, method, body, name):
    server.pieces = [REPLIES[name]]
    headers = [("Accept", "text/plain"), ("X-A", "1"), ("x-a", "2"), ("Content-Type", "application/json")]
    for given in ([], headers, [("Host", "other.example"), ("User-Agent", "mine")]):
        brief, usual = await both(server, RequestParts(method, f"{server.url}/a/b;c=1?q=%20&r=/..", given, body))
        assert brief == usual
        assert len(brief[1]) == 1


@pytest.mark.parametrize(
    "path", ["", "/", "/?", "?q=1", "/a?", "/a#b", "/./a", "/a/../b", "/a//b", "/a?b?c", "/%2e/", "/é", "/a b"]
)
async def test_a_url_of_any_form_means_the_same(server, path):
    server.pieces = [REPLY]
    brief, usual = await both(server, RequestParts("GET", server.url + path))
    assert brief == usual


@pytest.mark.parametrize(
    "url", ["http://127.1/", "http://u@127.0.0.1/", "http://10.0.0.1:9/", "ftp://127.0.0.1/", "http:///", "x"]
)
async def test_a_url_that_is_refused_is_refused_in_the_same_words(server, url):
    brief, usual = await both(server, RequestParts("GET", url))
    assert brief == usual
    assert issubclass(brief[0][0], PolicyError | InvalidArguments)
    assert brief[1] == []


async def test_a_service_that_is_not_there_gives_the_same_error(free_endpoint):
    source = Source("shop", exempt=frozenset({free_endpoint}))
    parts = RequestParts("POST", f"http://{free_endpoint}/", [], b"{}")
    found = []
    for is_brief in (True, False):
        pool = HttpPool(Guard(), is_brief=is_brief)
        found.append(await outcome(pool.session(source), parts))
        await pool.aclose()
    assert found[0] == found[1]
    assert "Connection refused" in found[0][1]


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("GET", 307), ("POST", 301)])
async def test_a_redirect_is_followed_or_refused_as_usual(server, method, status):
    server.pieces = [MOVED.replace(b"307", b"%d" % status)]
    brief, usual = await both(server, RequestParts(method, f"{server.url}/here"))
    assert brief == usual
    assert len(brief[1]) == (1 if method == "POST" else 4)


@pytest.mark.parametrize("header", ["a b: 1", "a: 1\r\nb"])
async def test_a_header_that_is_not_valid_is_never_sent(server, header):
    name, _, value = header.partition(": ")
    brief, usual = await both(server, RequestParts("GET", f"{server.url}/", [(name, value)]))
    assert brief == usual
    assert brief[0][0] is InvalidArguments
    assert brief[1] == []


async def test_a_reply_above_the_limit_is_refused(server):
    server.pieces = [REPLY]
    brief, usual = await both(server, RequestParts("GET", f"{server.url}/"), max_response_bytes=4)
    assert brief == usual
    assert brief[0][0] is ReplyTooLarge


async def test_a_request_with_credentials_goes_to_the_session_with_aiohttp(server):
    server.pieces = [REPLY]
    async with session_of(server, is_brief=True) as session:
        credentials = Credentials(parse_auth({"api_key": "canary"}), frozenset({server.url}))
        assert (await session.request(RequestParts("GET", f"{server.url}/"), credentials=credentials)).body == b"hello"
    assert b"canary" in server.requests[0]


async def test_a_cancelled_request_closes_its_connection():
    asked, closed = anyio.Event(), anyio.Event()

    async def be_silent(stream):
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                await stream.receive()
                asked.set()
                await stream.receive()
        closed.set()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, be_silent)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        pool = HttpPool(Guard(), is_brief=True)
        session = pool.session(Source("shop", exempt=frozenset({f"127.0.0.1:{port}"})))
        async with anyio.create_task_group() as asking:
            asking.start_soon(session.request, RequestParts("GET", f"http://127.0.0.1:{port}/"))
            await asked.wait()
            asking.cancel_scope.cancel()
        await closed.wait()
        group.cancel_scope.cancel()
    await pool.aclose()


async def test_later_requests_of_a_session_get_their_replies(server):
    async with session_of(server, is_brief=True) as session:
        for name in ("length", "an error", "chunks", "length"):
            server.pieces = [REPLIES[name]]
            assert (await session.request(RequestParts("GET", f"{server.url}/"))).status in {200, 500}
    assert len(server.requests) == 4


async def test_headers_say_the_same_before_aiohttp_is_imported():
    code = """
import sys
from utcp_bridge.net.heads.request_heads import automatic_headers
alone = automatic_headers()
assert "aiohttp" not in sys.modules
import aiohttp
automatic_headers.cache_clear()
assert alone == automatic_headers(), (alone, automatic_headers())
"""
    await anyio.run_process([sys.executable, "-c", code])
