"""Which call a message belongs to, what waits to be read, and how a closed channel ends calls and streams."""

from __future__ import annotations

from typing import Any

import anyio
import orjson
import pytest

from utcp_bridge.errors import ConnectionLost, MalformedReply, ReplyTooLarge
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.webrtc.replies import Inbox, Limits, Replies

pytestmark = pytest.mark.anyio

LIMITS = Limits(size=1000, idle=5.0)
GONE = ConnectionLost("gone")


def _sent(message: Any) -> str:
    return orjson.dumps(message).decode()


async def _read(inbox: Inbox, first: JsonObject | None = None) -> list[Any]:
    return [value async for values, _ in inbox.pieces(first) for value in values]


async def test_replies_go_to_the_call_they_name() -> None:
    replies = Replies("peer")
    first, second = replies.expect("a", LIMITS), replies.expect("2", LIMITS)
    assert not replies.feed(_sent({"id": 2, "result": "two"}))
    assert not replies.feed(_sent({"id": "a", "result": "one"}).encode())
    assert (await first.reply())["result"] == "one"
    assert await second.next() == ({"id": 2, "result": "two"}, len(_sent({"id": 2, "result": "two"})))
    assert await second.next() is None
    assert not replies
    assert not replies.anonymous


async def test_late_replies_and_chatter_go_to_nobody() -> None:
    replies = Replies("peer")
    inbox = replies.expect("a", LIMITS)
    assert not replies.feed(_sent({"id": "gone", "result": 1}))
    assert not replies.feed(_sent({"type": "heartbeat"}))
    assert inbox.is_empty
    replies.drop("a")
    assert not replies.feed("noise after an id was seen")


async def test_a_reply_without_an_id_goes_to_the_only_call() -> None:
    replies = Replies("peer")
    inbox = replies.expect("a", LIMITS)
    assert not replies.feed(_sent({"result": 1}))
    assert await inbox.reply() == {"result": 1}
    assert inbox.complete
    assert replies.anonymous


@pytest.mark.parametrize("text", ["no JSON", "[1]"])
async def test_what_is_no_reply_at_all_is_the_only_calls_malformed_one(text: str) -> None:
    replies = Replies("peer")
    inbox = replies.expect("a", LIMITS)
    assert not replies.feed(text)
    with pytest.raises(MalformedReply):
        await inbox.reply()


async def test_a_reply_that_may_be_anyones_ends_all_calls_and_the_channel() -> None:
    replies = Replies("peer")
    inboxes = [replies.expect("a", LIMITS), replies.expect("b", LIMITS)]
    assert replies.feed(_sent({"result": 1}))
    for inbox in inboxes:
        with pytest.raises(MalformedReply, match="names no call"):
            await inbox.reply()


async def test_the_reply_of_an_abandoned_call_is_never_the_next_ones() -> None:
    replies = Replies("peer")
    replies.expect("a", LIMITS)
    replies.drop("a")
    inbox = replies.expect("b", LIMITS)
    assert replies.feed(_sent({"result": "for a"}))
    with pytest.raises(MalformedReply):
        await inbox.reply()


async def test_a_silent_peer_and_a_large_reply_are_told_with_the_limit() -> None:
    replies = Replies("peer")
    with pytest.raises(ConnectionLost, match=r"nothing for 0\.01 seconds"):
        await replies.expect("a", Limits(10, 0.01)).reply()
    with pytest.raises(ConnectionLost, match=r"seconds\. Perhaps it sleeps\."):
        await replies.expect("a", Limits(10, 0.01, "Perhaps it sleeps.")).reply()
    inbox = replies.expect("b", Limits(10, 5.0))
    replies.feed(_sent({"id": "b", "result": "x" * 10}))
    with pytest.raises(ReplyTooLarge, match=r"bytes\. The limit is 10"):
        await inbox.reply()


async def test_a_reply_in_pieces_keeps_its_call_open_until_the_last() -> None:
    replies = Replies("peer")
    inbox = replies.expect("a", LIMITS)
    for number in (1, 2):
        replies.feed(_sent({"id": "a", "partial": True, "result": number}))
    assert not inbox.complete
    assert len(replies) == 1
    replies.feed(_sent({"id": "a", "result": 3}))
    assert inbox.complete
    assert not replies
    assert await _read(inbox, await inbox.reply()) == [1, 2, 3]


async def test_whatever_comes_on_a_dedicated_channel_is_the_streams() -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    for message in (1, {"n": 2}, {"id": "other", "n": 3}, {"id": "a", "result": 4}, {"type": "end"}, 5):
        assert not replies.feed(_sent(message))
    assert await _read(inbox) == [1, {"n": 2}, {"id": "other", "n": 3}, 4]
    assert inbox.complete


async def test_what_is_no_json_ends_a_stream_after_what_came() -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    replies.feed("1")
    replies.feed("one")
    assert await inbox.next() == (1, 1)
    with pytest.raises(MalformedReply):
        await inbox.next()


async def test_a_reader_that_waits_is_woken_by_what_comes() -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    got: list[Any] = []

    async def read() -> None:
        got.extend(await _read(inbox))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            for text in ("1", "2", '{"done": true}'):
                await anyio.wait_all_tasks_blocked()
                replies.feed(text)
    assert got == [1, 2]


async def test_what_nobody_reads_is_kept_only_up_to_the_limit() -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    for number in range(100):
        replies.feed(_sent({"n": number, "text": "x" * 80}))
    replies.lose(GONE, broken=False)
    read = await _read(inbox)
    assert [item["n"] for item in read] == list(range(len(read)))
    assert 1000 < len(_sent(read)) < 1200


def test_peerjs_says_goodbye_in_band() -> None:
    for replies in (Replies("peer"), Replies("peer", dedicated=True)):
        assert replies.feed(_sent({"__peerData": {"type": "close"}}))
        assert not replies.feed(_sent({"__peerData": {"type": "ping"}}))


async def test_a_lost_channel_ends_every_call() -> None:
    replies = Replies("peer")
    inboxes = [replies.expect("a", LIMITS), replies.expect("b", LIMITS)]
    replies.lose(GONE, broken=False)
    for inbox in inboxes:
        with pytest.raises(ConnectionLost):
            await inbox.reply()


@pytest.mark.parametrize(("came", "broken"), [(False, False), (True, True)])
async def test_a_stream_that_breaks_or_never_began_is_lost(came: bool, broken: bool) -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    if came:
        replies.feed("1")
    replies.lose(GONE, broken=broken)
    with pytest.raises(ConnectionLost):
        await _read(inbox)


async def test_a_stream_that_the_peer_closes_has_ended() -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    replies.feed("1")
    replies.lose(GONE, broken=False)
    assert await _read(inbox) == [1]
