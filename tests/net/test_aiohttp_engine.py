"""Errors of the engine for broken, oversized and hostile replies, each from a real server."""

import asyncio
import contextlib
import errno
import gzip
import inspect
import resource
import socket
import struct
import tracemalloc

import aiohttp
import anyio
import brotlicffi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.raw_replies import REPLIES, outcome, raw_server
from tests.upstreams.certificates import Authority
from tests.upstreams.faulty import answer, faulty_server

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.errors import (
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    InvalidArguments,
    MalformedReply,
    PolicyError,
    Rejected,
    ReplyTooLarge,
    Unreachable,
)
from utcp_bridge.model import Source
from utcp_bridge.net.aiohttp_engine import AiohttpResolver, translate
from utcp_bridge.net.collecting import LARGE, Collecting, _places
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.heads.plain_requests import has_known_parts, is_plain
from utcp_bridge.net.heads.request_heads import framed
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

KEY = "canary-api-key-1"


def get(server, path):
    return RequestParts("GET", server.url + path)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/rst", ConnectionLost),
        ("/half", ConnectionLost),
        ("/close", ConnectionLost),
        ("/garbage", MalformedReply),
        ("/long-header", ReplyTooLarge),
        ("/endless-body", ReplyTooLarge),
        ("/bomb", ReplyTooLarge),
        ("/bomb?as=deflate", ReplyTooLarge),
    ],
)
async def test_each_fault_of_an_upstream_has_its_own_error(session, server, path, error):
    with pytest.raises(error) as caught:
        await session.request(get(server, path + ("&" if "?" in path else "?") + "key=canary-key"))
    assert server.endpoint in caught.value.message
    assert "canary-key" not in str(caught.value)
    assert (await session.request(get(server, "/ok"))).status == 200


async def test_endless_headers_end_in_an_error(session, server):
    with pytest.raises((MalformedReply, ReplyTooLarge)):
        await session.request(get(server, "/endless-headers"))


async def test_a_request_is_not_repeated_after_a_broken_body(session, server):
    with pytest.raises(ConnectionLost):
        await session.request(RequestParts("POST", f"{server.url}/rst", [], b"order"))
    with pytest.raises(ConnectionLost):
        await session.request(RequestParts("POST", f"{server.url}/close", [], b"order"))
    assert len(server.requests) == 2


async def test_a_cancellation_during_a_body_closes_the_upstream_connection(session, server):
    async with anyio.create_task_group() as group:
        group.start_soon(session.request, get(server, "/stall"))
        await server.stalled.wait()
        group.cancel_scope.cancel()
    await server.gone.wait()


async def test_a_compressed_body_of_200_megabytes_needs_little_memory(session, server):
    with pytest.raises(ReplyTooLarge):
        await session.request(get(server, "/bomb"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ReplyTooLarge, match="more than 1000000 bytes"):
        await session.request(get(server, "/bomb"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.fixture
def traced():
    """Return the bytes that Python has allocated since the test began, and the most of them so far."""
    tracemalloc.start()
    yield tracemalloc.get_traced_memory
    tracemalloc.stop()


async def test_a_large_body_is_in_memory_once(session, server, traced):
    server.answers["/large"] = answer(gzip.compress(bytes(8 << 20)), extra="Content-Encoding: gzip\r\n")
    reply = await session.request(get(server, "/large"), max_bytes=9 << 20)
    assert len(reply.body) == 8 << 20
    assert traced()[1] < 12 << 20


async def test_a_large_body_that_waits_for_its_place_holds_its_bytes_once(session, server, traced):
    server.answers["/large"] = answer(gzip.compress(bytes(8 << 20)), extra="Content-Encoding: gzip\r\n")

    async def read():
        await session.request(get(server, "/large"), max_bytes=9 << 20)

    with Collecting("shop") as place:
        await place.grow(LARGE + 1)
        before = traced()[0]
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(read)
            while len(_places.get().of["shop"].waiting) < 6:
                await anyio.lowlevel.checkpoint()
            assert traced()[0] - before < 6 * 3 << 20
            group.cancel_scope.cancel()


async def test_the_size_limit_counts_decoded_bytes_and_can_be_set_per_request(session, server):
    server.answers["/brotli"] = answer(brotlicffi.compress(b"b" * 5000), "text/plain", extra="Content-Encoding: br\r\n")
    assert (await session.request(get(server, "/brotli"), max_bytes=5000)).value() == "b" * 5000
    with pytest.raises(ReplyTooLarge):
        await session.request(get(server, "/brotli"), max_bytes=4999)
    assert (await session.request(get(server, "/ok"), max_bytes=11)).body == b'{"ok":true}'
    with pytest.raises(ReplyTooLarge):
        await session.request(get(server, "/ok"), max_bytes=10)


async def test_a_large_body_in_many_chunks_arrives_whole(session, server):
    server.answers["/large"] = answer(bytes(range(256)) * 3000, "application/octet-stream")
    assert (await session.request(get(server, "/large"))).body == bytes(range(256)) * 3000


async def test_an_unknown_content_encoding_is_malformed(session, server):
    server.answers["/odd"] = answer(b"xx", extra="Content-Encoding: gzip, br\r\n")
    with pytest.raises(MalformedReply, match="'gzip, br'"):
        await session.request(get(server, "/odd"))
    server.answers["/plain"] = answer(b"{}", extra="Content-Encoding: none\r\n")
    assert (await session.request(get(server, "/plain"))).value() == {}


async def test_a_body_that_does_not_match_its_content_encoding_is_malformed(session, server):
    server.answers["/lie"] = answer(b"this is no gzip at all", extra="Content-Encoding: gzip\r\n")
    with pytest.raises(MalformedReply, match="cannot be decompressed"):
        await session.request(get(server, "/lie"))


@pytest.mark.usefixtures("way")
async def test_a_peer_that_never_accepts_is_unreachable_within_the_connect_timeout():
    """The backlog is full, so the kernel drops further connection attempts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        host, port = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((host, port))
        pool = HttpPool(Guard(), connect_timeout=0.2)
        session = pool.session(Source("full", exempt=frozenset({f"{host}:{port}"})))
        with pytest.raises(Unreachable, match="it took too long"):
            await session.request(RequestParts("GET", f"http://{host}:{port}/"))
        await pool.aclose()
        for filler in fillers:
            filler.close()


async def test_a_proxy_that_refuses_the_tunnel_makes_the_target_unreachable(pool, server):
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        host, port = proxy.sockets[0].getsockname()
        session = pool.session(Source("shop", proxy=f"http://{host}:{port}"))
        with pytest.raises(Unreachable, match="the proxy returned 403"):
            await session.request(RequestParts("GET", "https://upstream.invalid/"))


@pytest.mark.usefixtures("way")
async def test_names_that_do_not_exist_are_unreachable(server):
    async def nothing(host, port):
        raise OSError(-2, "Name or service not known")

    pool = HttpPool(Guard(nothing))
    with pytest.raises(Unreachable, match=r"'upstream\.example' could not be resolved"):
        await pool.session(Source("shop")).request(RequestParts("GET", "http://upstream.example/"))
    await pool.aclose()


@pytest.mark.usefixtures("way")
async def test_concurrent_lookups_of_one_name_all_get_the_guards_error():
    asked = anyio.Event()

    async def private(host, port):
        await asked.wait()
        return ["10.0.0.1"]

    pool = HttpPool(Guard(private))
    session = pool.session(Source("shop"))
    refused = []

    async def call():
        with pytest.raises(PolicyError):
            await session.request(RequestParts("GET", "http://internal.example/"))
        refused.append(1)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        asked.set()
    assert len(refused) == 3
    await pool.aclose()


@pytest.mark.usefixtures("way")
async def test_a_name_that_flips_to_loopback_is_refused_at_the_next_connection(canary):
    """DNS rebinding: each new connection resolves again or uses a checked address, never an unchecked one."""
    answers = [["127.0.0.1"]]

    async def flipping(host, port):
        return answers.pop(0)

    port = int(canary.endpoint.rpartition(":")[2])
    pool = HttpPool(Guard(flipping))
    with pytest.raises(PolicyError):
        await pool.session(Source("shop")).request(RequestParts("GET", f"http://rebind.example:{port}/"))
    await pool.aclose()


async def test_the_resolver_returns_only_the_requested_address_family():
    async def both(host, port):
        return ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]

    resolver = AiohttpResolver(Guard(both), Source("shop"))
    assert len(await resolver.resolve("api.example.com", 443)) == 2
    [only] = await resolver.resolve("api.example.com", 443, socket.AF_INET)
    assert (only["host"], only["port"], only["hostname"]) == ("93.184.216.34", 443, "api.example.com")
    await resolver.close()


async def test_a_handshake_is_never_redirected(session, server, canary):
    with pytest.raises(Rejected, match=f"redirects the WebSocket handshake to {canary.url}\\. ") as caught:
        async with session.websocket(f"ws://{server.endpoint}/moved?to={canary.url}/path-of-canary"):
            pass
    assert "path-of-canary" not in str(caught.value)


async def test_a_refused_handshake_names_the_url_without_its_query(session, server):
    with pytest.raises(Rejected, match=r"/ok answered the WebSocket handshake with the status 200, which"):
        async with session.websocket(f"ws://{server.endpoint}/ok?key=canary"):
            pass


@pytest.mark.parametrize("code", [400, 401, 403, 404, 426, 429, 500, 503])
async def test_a_refused_handshake_says_its_status_and_the_words_of_the_server(session, server, code):
    with pytest.raises(Rejected, match=f"/status refused the WebSocket handshake with the status {code}") as caught:
        async with session.websocket(f"ws://{server.endpoint}/status?code={code}&key=canary"):
            pass
    assert (caught.value.status, caught.value.detail) == (code, {"error": "so it is"})


@pytest.mark.parametrize("body", ["stalls", "breaks"])
async def test_a_refused_handshake_whose_body_does_not_arrive_says_its_status(pool, body):
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 50\r\n\r\nsorry")
        if body == "stalls":
            await reader.read()
        writer.close()

    running = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with running:
        endpoint = f"127.0.0.1:{running.sockets[0].getsockname()[1]}"
        session = pool.session(Source("shop", exempt=frozenset({endpoint})))
        with pytest.raises(Rejected, match="handshake with the status 403") as caught, anyio.fail_after(60):
            async with session.websocket(f"ws://{endpoint}/"):
                pass
    assert caught.value.status == 403


@pytest.mark.parametrize(("idle", "connections"), [(0.0, 1), (0.4, 1), (0.6, 2), (4.1, 2), (15.0, 2), (3600.0, 2)])
@pytest.mark.parametrize("way", ["plain", "whole"], indirect=True)
async def test_a_post_avoids_a_connection_that_a_server_may_be_closing(session, server, passes, idle, connections):
    await session.request(RequestParts("POST", f"{server.url}/ok", body=b"1"))
    passes(idle)
    await session.request(RequestParts("POST", f"{server.url}/ok", body=b"2"))
    assert server.connections == connections


async def test_tls_errors_say_what_failed(pool, tmp_path):
    async with faulty_server(tls=Authority.create(tmp_path).server_context()) as secure, faulty_server() as plain:
        session = pool.session(Source("shop", exempt=frozenset({secure.endpoint, plain.endpoint})))
        with pytest.raises(Unreachable, match=r"certificate is not accepted.*set `ca_cert`"):
            await session.request(get(secure, "/ok"))
        plain.greeting = b"220 smtp.example ready\r\n"
        with pytest.raises(Unreachable, match="TLS handshake failed"):
            await session.request(RequestParts("GET", f"https://{plain.endpoint}/"))


@pytest.mark.parametrize(
    ("variables", "advised"),
    [
        ({"HTTP_PROXY": "http://u:secret@127.0.0.1:9"}, "HTTP_PROXY of the environment is not used"),
        ({"http_proxy": "http://u:secret@127.0.0.1:9"}, "HTTP_PROXY of the environment is not used"),
        ({"ALL_PROXY": "http://u:secret@127.0.0.1:9"}, "ALL_PROXY of the environment is not used"),
        ({"HTTPS_PROXY": "http://u:secret@127.0.0.1:9"}, None),
        ({"HTTP_PROXY": "http://u:secret@127.0.0.1:9", "NO_PROXY": "127.0.0.1"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_a_failed_connection_says_that_the_proxy_of_the_environment_is_not_used(
    pool, free_endpoint, monkeypatch, variables, advised, scheme
):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    session = pool.session(Source("shop", exempt=frozenset({free_endpoint})))
    request = RequestParts("GET", f"http://{free_endpoint}/")
    socket_opened = session.websocket(f"ws://{free_endpoint}/")
    with pytest.raises(Unreachable) as caught:
        await (session.request(request) if scheme == "http" else socket_opened.__aenter__())
    assert (advised or "None") in str(caught.value.remedy)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["X A", "", "X:", "X\r\nY", "ü"])
def test_an_invalid_header_name_is_refused(name):
    with pytest.raises(InvalidArguments, match="header name"):
        framed([(name, "1")])


def test_repeated_headers_keep_all_values_and_framing_headers_are_dropped():
    headers = framed([("X-A", "1"), ("Content-length", "9"), ("x-a", "2")])
    assert list(headers.items()) == [("X-A", "1"), ("X-A", "2")]


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (aiohttp.InvalidURL("x"), ConfigError),
        (aiohttp.NonHttpUrlClientError("x"), ConfigError),
        (TimeoutError(), DeadlineExceeded),
        (ValueError("Newline in header"), InvalidArguments),
        (aiohttp.ServerDisconnectedError(), ConnectionLost),
        (OSError(32, "Broken pipe"), ConnectionLost),
        (RuntimeError("Session is closed"), ConnectionLost),
        (aiohttp.ClientPayloadError("cut"), ConnectionLost),
    ],
)
def test_exceptions_of_the_engine_map_to_our_errors_and_name_only_the_host(error, ours):
    translated = translate(error, "https://user:pass@api.example.com/x?key=canary")
    assert type(translated) is ours
    assert "canary" not in str(translated)
    assert "pass" not in str(translated)


def test_our_own_errors_are_not_mapped():
    ours = PolicyError("no")
    assert translate(ours, "https://api.example.com/") is ours


@pytest.mark.usefixtures("way")
async def test_a_server_on_ipv6_loopback_is_reached_by_its_address():
    async with faulty_server(host="::1") as server:
        port = server.url.rpartition(":")[2]
        pool = HttpPool(Guard())
        session = pool.session(Source("six", exempt=frozenset({f"[::1]:{port}"})))
        assert (await session.request(RequestParts("GET", f"http://[::1]:{port}/ok"))).status == 200
        await pool.aclose()


async def test_a_closed_port_is_unreachable_and_the_message_says_why(pool):
    async with faulty_server() as gone:
        endpoint = gone.endpoint
    with pytest.raises(Unreachable, match=f"No connection to {endpoint}: .*refused"):
        await pool.session(Source("shop", exempt=frozenset({endpoint}))).request(
            RequestParts("GET", f"http://{endpoint}/?key=1")
        )


# --- redirects: which are followed, which are refused, and that another origin receives nothing ---


def get_url(url):
    return RequestParts("GET", url)


def api_key(server):
    return Credentials(parse_auth({"api_key": KEY}), frozenset({server.url}))


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("GET", 302), ("HEAD", 303), ("POST", 307), ("PUT", 308)])
async def test_a_redirect_within_the_origin_keeps_method_body_and_credentials(session, server, method, status):
    body = b"data" if method in {"POST", "PUT"} else None
    parts = RequestParts(method, f"{server.url}/moved?status={status}&to=/echo", [("X-A", "1")], body)
    reply = await session.request(parts, credentials=api_key(server))
    last = server.requests[-1]
    assert reply.url == f"{server.url}/echo"
    assert (last.method, last.body) == (method, body or b"")
    assert last.header("x-api-key") == KEY


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_would_change_a_post_to_a_get_is_an_error(session, server, status):
    with pytest.raises(Rejected, match=r"redirects POST to .*/ok without the status 307 or 308") as caught:
        await session.request(RequestParts("POST", f"{server.url}/moved?status={status}&to=/ok?secret=1", [], b"x"))
    assert caught.value.status == status
    assert len(server.requests) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_redirect_to_another_origin_is_not_followed(session, server, canary, status, method):
    url = f"{server.url}/moved?status={status}&to={canary.url}/steal%3Fq=1"
    with pytest.raises(PolicyError, match="another origin") as caught:
        await session.request(RequestParts(method, url, [], b"body"), credentials=api_key(server))
    assert f"{canary.url}/steal" in caught.value.message
    assert "q=1" not in str(caught.value)


@pytest.mark.parametrize(
    "to", ["//evil.invalid/", "https://127.0.0.1/", "http://u:p@{endpoint}/ok", "file:///etc/passwd"]
)
async def test_other_redirects_out_of_the_origin_are_not_followed(session, server, to):
    with pytest.raises(PolicyError, match="another origin"):
        await session.request(get_url(f"{server.url}/moved?to={to.format(endpoint=server.endpoint)}"))
    assert len(server.requests) == 1


async def test_a_redirect_to_an_unreadable_url_is_an_error(session, server):
    with pytest.raises(Rejected, match="cannot be read"):
        await session.request(get_url(f"{server.url}/moved?to=http://[::1/"))


async def test_a_redirect_without_a_location_is_returned(session, server):
    server.answers["/odd"] = answer(b"{}", status="302 Found")
    assert (await session.request(get_url(f"{server.url}/odd"))).status == 302


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError(errno.ECONNRESET, "Connection reset by peer"),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_connection_that_a_tls_port_cuts_suggests_https_for_http_only(error):
    assert "write https:// in its URL" in str(translate(error, "http://127.0.0.1:9/x"))
    assert "https://" not in str(translate(error, "https://127.0.0.1:9/x"))


# --- plain requests, which go past aiohttp's session: they end as those that go through it ---------


class _Both:
    """Sends a request both ways. A method in small letters is not plain, and goes out in capital letters."""

    def __init__(self, server, pool):
        self.server = server
        self.session = pool.session(Source("raw", exempt=frozenset({server.url.removeprefix("http://")})))

    async def compare(self, pieces, method="POST", headers=(), body=None):
        self.server.pieces = pieces
        found, sent = [], []
        for spelling in (method, method.lower()):
            parts = RequestParts(spelling, f"{self.server.url}/x?a=%2F&b", list(headers), body)
            assert is_plain(parts) == (spelling == method)
            self.server.requests.clear()
            found.append(await outcome(self.session, parts))
            sent.append([_lines(request) for request in self.server.requests])
            await self.server.all_closed()
        assert found[0] == found[1], pieces
        assert sent[0] == sent[1]
        return found[0]


def _lines(request):
    head, _, body = request.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    return line, sorted(fields), body


@pytest.fixture
async def both():
    pool = HttpPool(Guard())
    async with raw_server() as server:
        yield _Both(server, pool)
        await pool.aclose()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_a_reply_is_the_same_both_ways(both, reply, method):
    await both.compare([reply], method)


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_a_reply_in_two_pieces_is_the_same_both_ways(both, reply):
    whole = await both.compare([reply])
    for cut in range(1, min(len(reply), 400)):
        assert await both.compare([reply[:cut], reply[cut:]]) == whole


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_a_reply_that_ends_early_is_the_same_both_ways(both, reply):
    for end in range(min(len(reply), 400)):
        found = await both.compare([reply[:end]])
        if reply == REPLIES["length"]:
            assert found[0] is ConnectionLost


@pytest.mark.parametrize("name", ["length and chunks", "chunks and length", "bad chunk size", "different lengths"])
async def test_a_reply_whose_end_is_not_clear_is_refused(both, name):
    assert (await both.compare([REPLIES[name]]))[0] is MalformedReply


_NAMES = st.sampled_from(["X-A", "x-a", "Accept", "accept-encoding", "User-Agent", "Host", "Cookie", "Expect", "X B"])
_VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\t "), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    st.lists(st.tuples(_NAMES, _VALUES), max_size=5),
    st.one_of(st.none(), st.binary(max_size=40)),
)
def test_a_request_is_the_same_both_ways(method, headers, body):
    async def compare():
        pool = HttpPool(Guard())
        try:
            async with raw_server() as server:
                await _Both(server, pool).compare([REPLIES["length"]], method, headers, body)
        finally:
            await pool.aclose()

    anyio.run(compare)


@contextlib.asynccontextmanager
async def _closing_server(end):
    """Answer the first request of each connection, and end it when the next one arrives, without an answer."""
    seen = []

    async def exchange(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):  # the test is over
            seen.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
            writer.write(answer(b"{}"))
            seen.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        end(writer)

    async with await asyncio.start_server(exchange, "127.0.0.1", 0) as running:
        yield f"127.0.0.1:{running.sockets[0].getsockname()[1]}", seen


def _reset(writer):
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("end", [asyncio.StreamWriter.close, _reset])
@pytest.mark.parametrize(("method", "again"), [("POST", []), ("PATCH", []), ("PUT", [b"/2"])])
@pytest.mark.parametrize("way", ["plain", "whole"], indirect=True)
@pytest.mark.usefixtures("passes")  # a POST avoids a connection that has waited for a while
async def test_a_kept_connection_that_ends_repeats_only_what_may_be_repeated(pool, method, again, end):
    async with _closing_server(end) as (endpoint, seen):
        session = pool.session(Source("shop", exempt=frozenset({endpoint})))
        await session.request(RequestParts(method, f"http://{endpoint}/1"))
        with contextlib.nullcontext() if method == "PUT" else pytest.raises(ConnectionLost):
            assert (await session.request(RequestParts(method, f"http://{endpoint}/2"))).status == 200
        assert seen == [b"/1", b"/2", *again]


async def test_a_server_that_closes_while_orders_arrive_gets_none_of_them_twice(pool):
    taken, answered, lost = [], [], []

    async def exchange(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            taken.append(int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1][1:]))
            writer.write(answer(b"{}"))
            await writer.drain()
        writer.close()  # it did not say so, and the next order may be on its way

    async with await asyncio.start_server(exchange, "127.0.0.1", 0) as running:
        endpoint = f"127.0.0.1:{running.sockets[0].getsockname()[1]}"
        session = pool.session(Source("shop", exempt=frozenset({endpoint})))
        for number in range(300):
            try:
                await session.request(RequestParts("POST", f"http://{endpoint}/{number}", [], b""))
                answered.append(number)
            except ConnectionLost:
                lost.append(number)
    assert answered == sorted(set(taken)) == taken
    assert sorted(answered + lost) == list(range(300))


async def test_a_connection_whose_server_did_not_take_the_whole_request_is_not_used_again(monkeypatch):
    connections, left, pool = [], asyncio.Event(), HttpPool(Guard())

    def small(self, info):
        one = socket.socket(*info[:3])
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        return one

    async def exchange(reader, writer):
        connections.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"{}"))
        await left.wait()
        writer.close()

    monkeypatch.setattr(AiohttpResolver, "open_socket", small)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listener.bind(("127.0.0.1", 0))
        async with await asyncio.start_server(exchange, sock=listener, limit=1_024):
            endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
            session = pool.session(Source("shop", exempt=frozenset({endpoint})))
            for _ in range(2):
                await session.request(RequestParts("POST", f"http://{endpoint}/", [], bytes(60_000)))
            left.set()
    assert len(connections) == 2
    await pool.aclose()


@pytest.mark.parametrize(
    ("parts", "plain"),
    [
        (RequestParts("POST", "http://h/", [], bytes(65_536)), True),
        (RequestParts("POST", "http://h/", [], bytes(65_537)), False),
        (RequestParts("TRACE", "http://h/"), False),
        (RequestParts("PROPFIND", "http://h/"), False),
        (RequestParts("get", "http://h/"), False),
    ],
)
def test_only_usual_methods_with_small_bodies_are_plain(parts, plain):
    assert is_plain(parts) == plain


async def test_a_proxy_takes_every_request(pool, server):
    session = pool.session(Source("shop", proxy=server.url))
    with contextlib.suppress(PolicyError, ConnectionLost):
        await session.request(RequestParts("GET", "http://upstream.invalid/ok"))
    assert [seen.target for seen in server.requests] == ["http://upstream.invalid/ok"]


def test_the_installed_aiohttp_has_the_parts_that_plain_requests_use():
    assert has_known_parts()


async def test_with_other_parts_of_aiohttp_every_request_takes_its_session(server, monkeypatch):
    def connect(self, request, timeout):
        raise AssertionError

    monkeypatch.setattr("utcp_bridge.net.heads.plain_requests.signature", lambda _function: inspect.signature(connect))
    assert not has_known_parts()
    pool = HttpPool(Guard())
    session = pool.session(Source("shop", exempt=frozenset({server.endpoint})))
    assert (await session.request(get(server, "/ok"))).status == 200
    await pool.aclose()
