"""Requests on one connection get the same bytes with the hot front and without it, however they are cut and mixed."""

import logging
import re
from contextlib import suppress
from urllib.parse import urlsplit

import anyio
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.hot_requests import bridge, plain
from tests.support.served_here import serve as serve_for

from utcp_bridge.net import asgi_server
from utcp_bridge.net.heads.ahead import KnownHeads

pytest.importorskip("httptools", reason="h11 takes no request ahead of the SDK")
pytestmark = pytest.mark.anyio
ERAS = pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
DATE = re.compile(rb"\r\ndate: [^\r]*")
SESSION = re.compile(rb"\r\nmcp-session-id: ([^\r]*)")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033%02x-00"
KINDS = [
    "echo", "echo", "echo", "text", "large", "list", "not hot", "other name", "traced", "with progress", "silent",
    "probe", "broken", "chunked",
]  # fmt: skip
CLOSE = ["Connection: close"]


class Reading:
    """What the server has read and which of its connections have ended."""

    def __init__(self):
        self.size = self.ended = 0
        self.news = anyio.Event()

    def note(self):
        self.news.set()
        self.news = anyio.Event()

    async def until(self, holds):
        while not holds():
            await self.news.wait()


@pytest.fixture
def reading(monkeypatch):
    """Yield what the server has read, so that a test sends the next part when the one before it was read."""
    found = Reading()
    protocol = asgi_server._HttpToolsProtocol
    receive, lose = protocol.data_received, protocol.connection_lost

    def data_received(self, data):
        found.size += len(data)
        receive(self, data)
        found.note()

    def connection_lost(self, error):
        lose(self, error)
        found.ended += 1
        found.note()

    monkeypatch.setattr(protocol, "data_received", data_received)
    monkeypatch.setattr(protocol, "connection_lost", connection_lost)
    return found


@pytest.fixture
def finds(monkeypatch):
    """Yield a list of the requests whose head was known."""
    found = []
    find = KnownHeads.find

    def noted(heads, data):
        known = find(heads, data)
        if known is not None:
            found.append(data)
        return known

    monkeypatch.setattr(KnownHeads, "find", noted)
    return found


def post(url, message, session, *more):
    """Return a request as bytes."""
    body = message if isinstance(message, bytes) else orjson.dumps(message)
    lines = [f"Host: {urlsplit(url).netloc}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += ["Accept: application/json, text/event-stream"]
    if session is None:
        params = message.get("params", {}) if isinstance(message, dict) else {}
        lines += ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call"]
        lines += [f"Mcp-Name: {params['name']}"] if "name" in params else []
    else:
        lines += ["MCP-Protocol-Version: 2025-11-25", f"Mcp-Session-Id: {session}"] if session else []
    head = "".join(f"{line}\r\n" for line in [f"POST {urlsplit(url).path} HTTP/1.1", *lines, *more])
    return f"{head}\r\n".encode() + body


def call(name, arguments, *, modern, ident):
    return plain("tools/call", {"name": name, "arguments": arguments}, modern=modern, ident=ident)


def request(url, kind, number, session):
    """Return a request of a kind."""
    modern = session is None
    message = call("m_echo", {"n": number}, modern=modern, ident=number)
    more = []
    if kind == "probe":
        return b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    if kind in {"text", "large"}:
        message = call(f"m_{kind}", {"n": number}, modern=modern, ident=f"{kind} {number}")
    elif kind == "list":
        message = plain("tools/list", modern=modern, ident=number)
    elif kind == "not hot":
        message["more"] = 1
    elif kind == "traced":
        more.append(f"traceparent: {TRACE % number}")
    elif kind == "with progress":
        message["params"]["_meta"] = {**message["params"].get("_meta", {}), "progressToken": number}
        message["params"]["arguments"]["said"] = 1
    elif kind == "silent":
        message = call("m_text", {"n": number}, modern=modern, ident=number)
        message["params"]["_meta"] = {**message["params"].get("_meta", {}), "progressToken": f"of {number}"}
    return CHANGES.get(kind, bytes)(post(url, message, session, *more))


def chunked(made):
    head, _, body = made.partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    return head + b"\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


CHANGES = {
    "list": lambda made: made.replace(b"Mcp-Method: tools/call", b"Mcp-Method: tools/list"),
    "other name": lambda made: made.replace(b"Mcp-Name: m_echo", b"Mcp-Name: m_text"),
    "broken": lambda made: made[:-1] + b"]",
    "chunked": chunked,
}


def last(url, session):
    """Return a request after whose response the server closes the connection."""
    return post(url, call("m_echo", {"last": 1}, modern=session is None, ident="last"), session, *CLOSE)


async def connected(url):
    parts = urlsplit(url)
    return await anyio.connect_tcp(parts.hostname, parts.port)


async def answers(url, reading, pieces):
    """Send pieces, each when the server has read the one before it. Return all that it sends, without the dates."""
    got = bytearray()
    async with await connected(url) as stream, anyio.create_task_group() as group:

        async def read():
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    got.extend(await stream.receive())

        group.start_soon(read)
        ended = reading.ended
        for piece in pieces:
            until = reading.size + len(piece)
            await stream.send(piece)
            await reading.until(lambda until=until: reading.size >= until or reading.ended > ended)
    return DATE.sub(b"", bytes(got))


def cut(data, places):
    """Return data in pieces that end at these places."""
    ends = sorted({place % len(data) for place in places} - {0})
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


async def session_of(url, reading):
    sent = post(url, plain("initialize", INITIALIZE), "", *CLOSE)
    found = SESSION.search(await answers(url, reading, [sent]))
    return found[1].decode()


async def compare(server, act):
    """Return what `act` gives with the front, after it was compared with what it gives without."""
    server.hot.is_on = False
    expected = await act()
    server.hot.is_on = True
    assert await act() == expected
    return expected


@ERAS
async def test_a_conversation_has_the_same_bytes_with_the_front_and_without(modern, reading, finds):
    server = bridge()

    async def work(url):
        session = None if modern else await session_of(url, reading)
        examples = []

        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(kinds=st.lists(st.sampled_from(KINDS), max_size=7), places=st.lists(st.integers(0, 9_999), max_size=6))
        def draw(kinds, places):
            examples.append((kinds, places))

        draw()
        for kinds, places in examples:
            sent = [request(url, kind, number, session) for number, kind in enumerate(kinds)] + [last(url, session)]
            replies = await compare(
                server, lambda sent=sent, places=places: answers(url, reading, cut(b"".join(sent), places))
            )
            assert replies.count(b"HTTP/1.1 ") >= 1
            one_by_one = await compare(server, lambda sent=sent: answers(url, reading, sent))
            assert replies.count(b"HTTP/1.1 ") == one_by_one.count(b"HTTP/1.1 ")

    await serve_for(server, work, seconds=300)
    assert len(finds) > 20


@ERAS
async def test_requests_that_are_cut_at_any_byte_get_the_same_responses(modern, reading, finds):
    server = bridge()

    async def work(url):
        session = None if modern else await session_of(url, reading)
        first = [request(url, "echo", 1, session), request(url, "echo", 2, session)]
        sent = request(url, "echo", 3, session) + request(url, "echo", 4, session) + last(url, session)
        server.hot.is_on = False
        expected = await answers(url, reading, [*first, sent])
        server.hot.is_on = True
        for place in range(1, len(sent)):
            assert await answers(url, reading, [*first, sent[:place], sent[place:]]) == expected, place

    await serve_for(server, work, seconds=300)
    assert len(finds) > 500


@ERAS
async def test_a_connection_that_breaks_off_at_any_byte_leaves_nothing_behind(modern, reading, caplog):
    server = bridge()
    calls = []

    async def noted(arguments, _emit):
        calls.append(arguments["n"])
        return arguments

    server.client.add("m", "noted", noted)

    async def work(url):
        session = None if modern else await session_of(url, reading)
        one = post(url, call("m_noted", {"n": 1}, modern=modern, ident=1), session)
        expected = await answers(url, reading, [last(url, session)])
        for place in range(0, 2 * len(one), 7):
            calls.clear()
            ended, size = reading.ended, reading.size
            piece = (one + one)[:place]
            async with await connected(url) as stream:
                if piece:
                    await stream.send(piece)
                    await reading.until(lambda size=size, piece=piece: reading.size >= size + len(piece))
            await reading.until(lambda ended=ended: reading.ended > ended)
            assert len(calls) <= place // len(one)
            assert await answers(url, reading, [last(url, session)]) == expected

    with caplog.at_level(logging.WARNING):
        await serve_for(server, work, seconds=300)
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
