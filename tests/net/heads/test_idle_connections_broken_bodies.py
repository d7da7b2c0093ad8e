"""Bodies whose chunks are broken, in packets of any size: the reader has an error at once, and never waits."""

import asyncio
from itertools import pairwise

import anyio
import httpx2
import pytest
from aiohttp.http_parser import HttpResponseParserPy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.raw_replies import REPLIES, outcome, raw_server

from utcp_bridge.errors import ConnectionLost, MalformedReply
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

BROKEN = ["bad chunk size", "signed chunk size", "huge chunk size", "chunk without an end"]
TURNS = 4
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PACKED = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
EVENT = b"d\r\ndata: first\n\n\r\n"
NO_SIZE = b"zz\r\nhello\r\n0\r\n\r\n"


@pytest.fixture
async def server():
    async with raw_server() as running:
        running.turns = TURNS
        running.ends = False
        yield running


@pytest.fixture(params=["C", "Python"])
def parser(request, monkeypatch):
    """Read replies with each of aiohttp's two parsers."""
    if request.param == "Python":
        monkeypatch.setattr("aiohttp.client_proto.HttpResponseParser", HttpResponseParserPy)
    return request.param


def source(server):
    return Source("shop", exempt=frozenset({server.url.removeprefix("http://")}))


def head_first(reply):
    head, blank, body = reply.partition(b"\r\n\r\n")
    return [head + blank, body]


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("later", [False, True], ids=["first request", "later request"])
@pytest.mark.parametrize(
    ("parser", "name"),
    [("C", name) for name in BROKEN] + [("Python", name) for name in BROKEN if name != "huge chunk size"],
    indirect=["parser"],
)  # the parser in Python reads a size of any length, and waits for that many bytes
async def test_a_broken_chunk_after_its_head_is_an_error_at_once(server, pool, name, later):
    session = pool.session(source(server))
    good = RequestParts("GET", f"{server.url}/good")
    if later:
        server.pieces, server.ends = [REPLIES["length"]], True
        assert (await session.request(good)).body == b"hello"
        await server.all_closed()
        server.ends = False
    server.pieces = head_first(REPLIES[name])
    with pytest.raises(MalformedReply) as caught:
        await session.request(RequestParts("GET", f"{server.url}/x?key=canary-key"))
    assert str(caught.value) == f"{server.url}/x returned bytes that are not HTTP: a header or a chunk is not valid."
    await server.all_closed()
    server.pieces = [REPLIES["length"]]
    server.ends = True
    assert (await session.request(good)).body == b"hello"
    assert len(server.requests) == 2 + later


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([HEAD + b"5\r\nhello", b"\r\nzz\r\n"], "a chunk is not valid"),
        ([HEAD + b"5\r\nhello", b"\r\n0\r\n: Z\r\n\r\n"], "a chunk is not valid"),
        ([PACKED + b"1\r\n\x1f", b"\r\n5\r\nhello\r\n"], "cannot be decompressed"),
    ],
    ids=["size", "trailer", "gzip"],
)
async def test_a_break_together_with_the_end_of_a_chunk_is_an_error_at_once(server, pool, pieces, words):
    server.pieces = pieces
    with pytest.raises(MalformedReply, match=words):
        await pool.session(source(server)).request(RequestParts("GET", f"{server.url}/x"))
    await server.all_closed()


@pytest.mark.usefixtures("parser")
async def test_a_stream_ends_at_its_broken_chunk(server, pool):
    session = pool.session(source(server))
    server.pieces, server.goes_on = [HEAD, EVENT, NO_SIZE], asyncio.Event()
    async with session.stream(RequestParts("GET", f"{server.url}/x")) as reply:
        assert await anext(reply) == b"data: first\n\n"
        server.goes_on.set()
        with pytest.raises(MalformedReply, match="a chunk is not valid"):
            await anext(reply)
    await server.all_closed()


@pytest.mark.usefixtures("parser")
async def test_the_transport_of_other_libraries_ends_at_a_broken_chunk(server, pool):
    server.pieces, server.goes_on = [HEAD, EVENT, NO_SIZE], asyncio.Event()
    async with (
        httpx2.AsyncClient(transport=pool.session(source(server)).transport) as client,
        client.stream("GET", f"{server.url}/x") as reply,
    ):
        events = reply.aiter_bytes()
        assert await anext(events) == b"data: first\n\n"
        server.goes_on.set()
        with pytest.raises(httpx2.RemoteProtocolError) as caught:
            await anext(events)
    assert isinstance(caught.value.__cause__, MalformedReply)
    await server.all_closed()


# --- any chunks in any packets ----------------------------------------------------------------------

_CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
_EXTENSIONS = st.sampled_from([b"", b";a", b";a=b"])
_CUTS = st.lists(st.integers(1, 400), max_size=8)
_WAYS = st.sampled_from(["plain", "whole", "brief"])
_NO_SIZES = st.sampled_from([b"zz", b"+5", b"-1", b"0x5", b"", b"5 5", b"\x00"])


def chunked(chunks, extension=b""):
    return [b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks] + [b"0\r\n\r\n"]


def packets(reply, cuts):
    edges = [0, *sorted({cut for cut in cuts if cut < len(reply)}), len(reply)]
    return [reply[start:end] for start, end in pairwise(edges)]


def read_each(way, *replies):
    """Return what a request gives for each reply, which comes in these packets."""

    async def read():
        found = []
        with anyio.fail_after(30):
            async with raw_server() as server:
                server.turns = TURNS
                for server.pieces in replies:
                    pool = HttpPool(Guard(), is_brief=way == "brief")
                    method = "get" if way == "whole" else "GET"  # one in small letters is not plain
                    request = RequestParts(method, f"{server.url}/x")
                    status, *rest = await outcome(pool.session(source(server)), request)
                    found.append(status if isinstance(status, type) else rest[1])
                    await pool.aclose()
                    await server.all_closed()
        return found

    return asyncio.run(read())


many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(_CHUNKS, _EXTENSIONS, _CUTS, _WAYS)
def test_chunks_in_any_packets_read_the_same(parser, chunks, extension, cuts, way):
    reply = HEAD + b"".join(chunked(chunks, extension))
    assert read_each(way, [reply], packets(reply, cuts)) == [b"".join(chunks)] * 2


@many
@given(_CHUNKS, st.integers(0, 4), st.one_of(_NO_SIZES, st.none()), _CUTS, _WAYS)
def test_a_broken_chunk_in_any_packets_is_a_malformed_reply(parser, chunks, place, no_size, cuts, way):
    written = chunked([*chunks, b"last"])
    place %= len(written) - 1
    if no_size is None:
        written[place] = written[place][:-2] + b"XY"  # what follows is neither its end nor the next size
    else:
        written[place] = no_size + b"\r\n" + written[place].partition(b"\r\n")[2]
    reply = HEAD + b"".join(written)
    assert read_each(way, [reply], packets(reply, cuts)) == [MalformedReply] * 2


@many
@given(_CHUNKS, st.integers(0, 400), _CUTS, _WAYS)
def test_chunks_without_their_end_are_a_lost_connection(parser, chunks, end, cuts, way):
    body = b"".join(chunked(chunks))
    end %= len(body)
    reply = HEAD + body[:end]
    assert read_each(way, [reply], packets(reply, cuts)) == [ConnectionLost] * 2


@many
@given(_CHUNKS, st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3), _CUTS, _WAYS)
def test_any_other_bytes_are_an_error_or_the_same_reply(parser, chunks, place, removed, added, cuts, way):
    body = b"".join(chunked(chunks))
    place %= len(body)
    reply = HEAD + body[:place] + added + body[place + removed :]
    whole, cut = read_each(way, [reply], packets(reply, cuts))
    if isinstance(whole, type):
        # a reply with more behind its end is whole if the rest comes later
        assert whole in {MalformedReply, ConnectionLost}
    else:
        assert cut == whole
