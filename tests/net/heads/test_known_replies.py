"""A reply whose head is known is what the parser makes of it, and nothing else is taken for one."""

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.mutable_bytes import bytes_in_a_bytearray
from tests.support.raw_replies import outcome, raw_server

from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.heads.known_replies import KnownReplies, PlainProtocol
from utcp_bridge.net.http import HttpPool
from utcp_bridge.placement.request import RequestParts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

DATES = ["Mon, 30 Nov 2026 05:00:00 GMT", "Tue, 01 Dec 2026 06:00:00 GMT"]


def reply(body, *, status="200 OK", date=DATES[0], length=None, more=(), names=("Content-Length", "Date"), form="1.1"):
    """Return a reply as bytes."""
    size = len(body) if length is None else length
    lines = [f"HTTP/{form} {status}", f"{names[0]}: {size}", "Content-Type: application/json", f"{names[1]}: {date}"]
    return "\r\n".join([*lines, *more, "", ""]).encode() + body


class Counted:
    """Counts the replies that were known."""

    def __init__(self, monkeypatch):
        self.number = 0
        find = KnownReplies.find

        def counted(replies, data):
            found = find(replies, data)
            self.number += found is not None
            return found

        monkeypatch.setattr(KnownReplies, "find", counted)


async def each(replies, *, method="GET"):
    """Return what becomes of replies that come one after the other, in a session that may know heads."""
    pool = HttpPool(Guard())
    async with raw_server() as server:
        session = pool.session(Source("raw", exempt=frozenset({server.url.removeprefix("http://")})))
        found = []
        for one in replies:
            server.pieces = [one]
            found.append(await outcome(session, RequestParts(method, f"{server.url}/x")))
        await pool.aclose()
    return [tuple(str(part).replace(server.url.removeprefix("http://"), "here") for part in one) for one in found]


async def alone(replies, *, method="GET"):
    """Return what becomes of each reply in a session that knows no head."""
    return [(await each([one], method=method))[0] for one in replies]


async def test_a_head_with_another_length_and_date_is_known(monkeypatch):
    counted = Counted(monkeypatch)
    replies = [
        reply(b"{}"),
        reply(b"[1, 2]", date=DATES[1]),
        reply(b""),
        reply(b"{}", names=("content-length", "date")),
    ]
    assert await each(replies) == await alone(replies)
    assert counted.number == 3


async def test_heads_are_known_where_the_loop_hands_over_bytes_that_can_change(monkeypatch):
    bytes_in_a_bytearray(monkeypatch, PlainProtocol)
    counted = Counted(monkeypatch)
    replies = [reply(b"{}"), reply(b"[1, 2]", date=DATES[1]), reply(b"[1, 2]", date=DATES[1])]
    assert await each(replies) == await alone(replies)
    assert counted.number == 2


@pytest.mark.parametrize(
    "other",
    [
        reply(b"{}", length=1),
        reply(b"{}", length=9)[:-1],
        reply(b"{}", length="+2"),
        reply(b"{}", length="2, 2"),
        reply(b"{}", length="2 "),
        reply(b"{}", more=["Content-Length: 2"]),
        reply(b"{}", more=["Content-Length: 3"]),
        reply(b"{}", more=["Connection: close"]),
        reply(b"{}", more=["Transfer-Encoding: chunked"]),
        reply(b"{}", more=["Content-Encoding: gzip"]),
        reply(b"{}", status="404 Not Found"),
        reply(b"{}", status="204 No Content"),
        reply(b"{}", form="1.0"),
        reply(b"{}", date="now\x00"),
        reply(b"{}", date="a\nb: c"),
        reply(b"{}", date=""),
        reply(b"{}") + reply(b"[]"),
        reply(b"{}").replace(b"\r\n", b"\n"),
        reply(b"{}").replace(b"HTTP/1.1", b"HTTP/1.1 "),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_reply_that_differs_in_another_way_is_read_as_without_known_heads(other, method):
    replies = [reply(b"{}"), other, other]
    assert await each(replies, method=method) == await alone(replies, method=method)


_LINES = st.sampled_from(
    ["X-A: 1", "X-A: 2", "Connection: close", "Link: <a>", "Content-Length: 2", "date: x", "X: \xe9"]
)
_REPLIES = st.builds(
    reply,
    st.sampled_from([b"{}", b"[]", b"", b"x" * 100]),
    status=st.sampled_from(["200 OK", "201 Created", "404 No", "304 Not Modified", "500 X"]),
    date=st.sampled_from(DATES),
    length=st.sampled_from([None, None, None, 1, "02", "x"]),
    more=st.lists(_LINES, max_size=2),
    names=st.sampled_from([("Content-Length", "Date"), ("content-length", "DATE"), ("Date", "Content-Length")]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_REPLIES, min_size=2, max_size=5))
def test_replies_after_one_another_are_read_as_each_alone(replies):
    async def compare():
        assert await each(replies) == await alone(replies)

    anyio.run(compare)


def test_heads_that_always_differ_are_not_kept_for_ever():
    replies = KnownReplies()
    for _ in range(64):
        assert replies.is_learning
        replies.learn(b"", None)
    assert not replies.is_learning
