"""Requests that are written at once to a connection that waits: they go out and end as through aiohttp's session."""

import asyncio
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.raw_replies import REPLIES, outcome
from yarl import URL

from utcp_bridge.errors import ConnectionLost, InvalidArguments, ReplyTooLarge
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.heads.plain_requests import MAX_HEADER_BYTES, PlainRequests
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline", "passes")]

USUAL = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Sends `USUAL` to each request but the second one, which gets `pieces` and the end of its connection."""

    def __init__(self):
        self.endpoint = ""
        self.pieces = [USUAL]
        self.requests = []
        self.is_ending = True

    async def serve(self, reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").lower().split("\r\n")
                length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
                self.requests.append(head + await reader.readexactly(length))
                is_odd = len(self.requests) == 2
                usual = USUAL.removesuffix(b"ok") if head.startswith(b"HEAD") else USUAL
                for piece in self.pieces if is_odd else [usual]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if is_odd and self.is_ending:
                    writer.write_eof()
                    await reader.read()
                    break
        writer.close()


class Begun:
    """Counts the requests that were begun."""

    def __init__(self, monkeypatch):
        self.number = 0
        begin = PlainRequests.begin

        def counted(requests, parts, trace=None):
            found = begin(requests, parts, trace)
            self.number += found is not None
            return found

        monkeypatch.setattr(PlainRequests, "begin", counted)


class Ways:
    """A server, and a session for each way: plain requests, and those through aiohttp's session."""

    def __init__(self, server, pool):
        self.server = server
        names = ("plain", "whole")
        self.sessions = {name: pool.session(Source(name, exempt=frozenset({server.endpoint}))) for name in names}

    def parts(self, method="POST", path="/x?a=%2F&b", **more):
        return RequestParts(method, f"http://{self.server.endpoint}{path}", **more)

    async def ask(self, way, method="POST", path="/x?a=%2F&b", **more):
        return await outcome(self.sessions[way], self.parts(method, path, **more))

    async def compare(self, pieces, method="POST"):
        """Return what becomes of a second request both ways, and of a third one after it."""
        found = []
        self.server.pieces = pieces
        for way in self.sessions:
            self.server.requests.clear()
            assert (await self.ask(way, method))[2] in {b"ok", b""}
            odd = await self.ask(way, method)
            found.append((odd, len(self.server.requests), await self.ask(way, method)))
        assert found[0] == found[1], pieces
        return found[0]


@asynccontextmanager
async def both_ways():
    server, pool = Server(), HttpPool(Guard())
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as running:
        server.endpoint = f"127.0.0.1:{running.sockets[0].getsockname()[1]}"
        ways = Ways(server, pool)
        whole = ways.sessions["whole"]
        await whole._open_clients()
        whole._plain = None  # so its requests go through aiohttp's session
        yield ways
        await pool.aclose()


@pytest.fixture
async def ways():
    async with both_ways() as found:
        yield found


@pytest.fixture
def begun(monkeypatch):
    return Begun(monkeypatch)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_a_reply_is_the_same_both_ways(ways, begun, reply, method):
    await ways.compare([reply], method)
    assert begun.number > 0


@pytest.mark.parametrize("name", ["length", "chunks", "trailers", "early hints", "gzip", "two replies", "no content"])
async def test_a_reply_in_two_pieces_is_the_same_both_ways(ways, name):
    reply = REPLIES[name]
    whole = await ways.compare([reply])
    for cut in range(1, len(reply)):
        assert (await ways.compare([reply[:cut], reply[cut:]]))[0] == whole[0]


@pytest.mark.parametrize("name", ["length", "chunks", "trailers"])
async def test_a_reply_that_ends_early_is_the_same_both_ways(ways, name):
    reply = REPLIES[name]
    for end in range(len(reply)):
        (kind, *_), number, _ = await ways.compare([reply[:end]])
        assert kind is ConnectionLost
        assert number == 2  # a POST is not sent again


async def test_a_get_is_sent_again_if_the_connection_ends_before_the_reply(ways):
    (status, _, body, _), number, _ = await ways.compare([], "GET")
    assert (status, body, number) == (200, b"ok", 3)


_PIECES = st.tuples(st.sampled_from(sorted(REPLIES)), st.lists(st.floats(0, 1), max_size=4), st.floats(0, 1.2))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["GET", "POST"]), st.lists(_PIECES, min_size=1, max_size=3))
def test_replies_in_any_pieces_are_the_same_both_ways(method, cases):
    async def compare():
        async with both_ways() as ways:
            for name, cuts, share in cases:
                reply = REPLIES[name][: int(len(REPLIES[name]) * share)]
                places = sorted({0, len(reply), *(int(len(reply) * cut) for cut in cuts)})
                await ways.compare([reply[begin:end] for begin, end in pairwise(places)], method)

    anyio.run(compare)


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES - 200, MAX_HEADER_BYTES + 200])
async def test_a_large_head_is_the_same_both_ways(ways, size):
    reply = USUAL.replace(b"text/plain", b"text/plain\r\nX-A: " + b"a" * size)
    odd, _, _ = await ways.compare([reply])
    assert (odd[0] == 200) == (size < MAX_HEADER_BYTES)


async def test_a_reply_above_the_limit_is_refused(ways, begun):
    ways.server.is_ending = False
    session, parts = ways.sessions["plain"], ways.parts()
    for _ in range(2):
        with pytest.raises(ReplyTooLarge):
            await session.request(parts, max_bytes=1)
    assert begun.number == 1
    assert (await session.request(parts)).body == b"ok"


async def test_a_request_that_is_cancelled_closes_its_connection(ways, begun):
    ways.server.pieces, ways.server.is_ending = [USUAL[:-1]], False
    await ways.ask("plain")
    async with anyio.create_task_group() as group:
        group.start_soon(ways.ask, "plain")
        while len(ways.server.requests) < 2:
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()  # the beginning of the reply is sent
        group.cancel_scope.cancel()
    assert begun.number == 1
    assert (await ways.ask("plain"))[2] == b"ok"
    assert begun.number == 1  # the rest of the reply that nobody waits for is in no connection that is used


async def test_a_redirect_is_followed(ways, begun):
    ways.server.is_ending = False
    pieces = [b"HTTP/1.1 307 Other\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n"]
    (status, _, body, url), number, _ = await ways.compare(pieces)
    assert (status, body, number) == (200, b"ok", 3)
    assert url.endswith("/y")
    assert begun.number > 0


async def test_a_character_that_must_be_encoded_is_refused(ways):
    await ways.ask("plain")
    for character in " \x7f\n\xe9":
        with pytest.raises(InvalidArguments):
            await ways.sessions["plain"].request(ways.parts(path=f"/x{character}"))
    assert len(ways.server.requests) == 1


_TEXT = st.text(st.sampled_from("ab/?#&=%2F.:;@[]+~,!$'()*|^`{}\"<>\\-_"), max_size=12)
_HEADERS = st.lists(st.sampled_from([("X-A", "1"), ("Accept", "*/*"), ("x-a", "2"), ("X-B", "é")]), max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["GET", "POST", "PUT"]), _TEXT, _HEADERS, st.one_of(st.none(), st.binary(max_size=9)))
def test_a_request_is_written_as_one_that_is_not_begun(method, tail, headers, body):
    async def compare():
        async with both_ways() as ways:
            for _ in range(2):
                found = await ways.ask("plain", method, f"/{tail}", headers=list(headers), body=body)
                assert found[3] == str(URL(f"http://{ways.server.endpoint}/{tail}", encoded=True))
            first, second = ways.server.requests
            assert first == second

    anyio.run(compare)


async def test_hosts_that_begin_alike_are_not_mixed_up(ways, begun):
    await ways.ask("plain")
    port = ways.server.endpoint.rpartition(":")[2]
    for url in (f"http://127.0.0.1:{port}0", f"http://127.0.0.1:{port}?/", f"http://127.0.0.1:{port}#/"):
        await outcome(ways.sessions["plain"], RequestParts("POST", url))
    assert begun.number == 0
