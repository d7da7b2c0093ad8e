"""Calls in all forms, replies in any form, the pieces of a stream, and which call a message belongs to."""

from __future__ import annotations

from typing import Any

import anyio
import orjson
import pytest

from utcp_bridge.errors import ConnectionLost, InvalidArguments, MalformedReply, Rejected, ReplyTooLarge
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.webrtc.messages import (
    CallInbox,
    Form,
    Replies,
    ReplyLimits,
    call_message,
    discovery_message,
    encode,
    manual_of,
    outcome,
    piece,
)


def test_a_call_has_the_fields_of_all_libraries() -> None:
    message = call_message("m.echo", {"a": 1})
    assert message["tool"] == "m.echo"
    assert message["args"] == {"a": 1}
    assert (message["method"], message["params"]) == ("call_tool", {"tool": "m.echo", "args": {"a": 1}})
    assert (message["type"], message["inputs"]) == ("tool_call", {"a": 1})
    assert message["id"] != call_message("m.echo", {})["id"]


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("args", {"type": "tool_call", "tool": "echo", "args": {"a": 1}}),
        ("params", {"method": "call_tool", "params": {"tool": "echo", "args": {"a": 1}}}),
        ("inputs", {"type": "tool_call", "tool": "echo", "inputs": {"a": 1}}),
    ],
)
def test_a_call_in_one_form_has_its_arguments_once(form: Form, fields: JsonObject) -> None:
    message = call_message("echo", {"a": 1}, form=form)
    assert message.pop("id")
    assert message == fields


def test_a_call_for_a_stream_says_so_in_both_forms() -> None:
    message = call_message("echo", {}, stream=True)
    assert (message["method"], message["type"]) == ("call_tool_stream", "tool_call_stream")


def test_discovery_asks_in_both_forms() -> None:
    message = discovery_message()
    assert (message["method"], message["type"]) == ("list_tools", "utcp")


def test_messages_are_text_or_binary_and_json_in_both() -> None:
    assert encode({"a": "\u00fc"}, binary=False) == '{"a":"\u00fc"}'
    assert encode({"a": "\u00fc"}, binary=True) == '{"a":"\u00fc"}'.encode()
    with pytest.raises(InvalidArguments, match="JSON"):
        encode({"a": 2**80}, binary=False)


@pytest.mark.parametrize(
    ("reply", "value"),
    [({"result": 1}, 1), ({"type": "tool_response", "output": [2]}, [2]), ({"result": None, "error": None}, None)],
)
def test_a_result_is_read_in_every_form(reply: JsonObject, value: Any) -> None:
    assert outcome(reply, "peer") == value


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"error": "no tea"}, "no tea"),
        ({"error": {"code": 3, "message": "no milk"}}, "no milk"),
        ({"error": {"code": 3}}, '"code":3'),
        ({"type": "error", "message": "no cup"}, "no cup"),
    ],
)
def test_an_error_is_a_rejection_in_every_form(reply: JsonObject, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        outcome(reply, "peer")


def test_a_reply_without_result_and_error_is_malformed() -> None:
    with pytest.raises(MalformedReply, match="neither"):
        outcome({"type": "tool_response"}, "peer")


def test_a_manual_is_found_with_and_without_a_wrapper() -> None:
    tools = [{"name": "echo"}]
    assert manual_of({"id": 1, "manual_version": "2", "tools": tools}, "peer") == {
        "manual_version": "2",
        "tools": tools,
    }
    assert manual_of({"result": tools}, "peer") == {"tools": tools}
    assert manual_of({"result": {"tools": tools}}, "peer") == {"tools": tools}
    with pytest.raises(MalformedReply, match="no manual"):
        manual_of({"result": 7}, "peer")


@pytest.mark.parametrize("bare", [1, "text", [1], None, {}, {"n": 0}, {"id": 7}, {"type": "progress", "result": 1}])
def test_any_json_is_a_piece(bare: Any) -> None:
    assert piece(bare, "a", "peer") == (False, [bare] if bare != {"type": "progress", "result": 1} else [1])


@pytest.mark.parametrize("bare", [{"type": "complete", "order": 7}, {"id": "b", "n": 1}, {"data": 1, "done": True}])
def test_a_piece_that_looks_like_a_frame_is_kept_whole(bare: JsonObject) -> None:
    assert piece(bare, "a", "peer") == (False, [bare])


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ({"result": 1}, 1),
        ({"output": None}, None),
        ({"id": "a", "result": {"n": 1}}, {"n": 1}),
        ({"id": "a", "partial": True, "type": "response", "output": 2}, 2),
        ({"id": "a", "type": "chunk", "n": 1}, {"n": 1}),
    ],
)
def test_a_piece_is_unwrapped_from_its_frame(message: JsonObject, value: Any) -> None:
    assert piece(message, "a", "peer") == (False, [value])


@pytest.mark.parametrize(
    ("message", "values"),
    [
        ({"type": "stream_end"}, []),
        ({"type": "close"}, []),
        ({"done": True}, []),
        ({"id": "a", "partial": False}, []),
        ({"id": "a", "partial": False, "result": None}, []),
        ({"id": "a", "partial": False, "result": 3}, [3]),
        ({"id": "a", "type": "tool_response", "tool": "t", "output": 3}, [3]),
        ({"id": "a", "type": "end", "count": 3}, [{"count": 3}]),
    ],
)
def test_a_stream_ends_in_every_form(message: JsonObject, values: list[Any]) -> None:
    assert piece(message, "a", "peer") == (True, values)


@pytest.mark.parametrize("message", [{"error": "no tea"}, {"id": "a", "type": "error", "message": "no tea"}])
def test_an_error_ends_a_stream(message: JsonObject) -> None:
    with pytest.raises(Rejected, match="no tea"):
        piece(message, "a", "peer")


pytestmark = pytest.mark.anyio

LIMITS = ReplyLimits(size=1000, idle=5.0)
GONE = ConnectionLost("gone")


def _sent(message: Any) -> str:
    return orjson.dumps(message).decode()


async def _read(inbox: CallInbox, first: JsonObject | None = None) -> list[Any]:
    return [value async for values, _ in inbox.pieces(first) for value in values]


async def test_replies_go_to_the_call_with_their_id() -> None:
    replies = Replies("peer")
    first, second = replies.expect("a", LIMITS), replies.expect("2", LIMITS)
    assert not replies.feed(_sent({"id": 2, "result": "two"}))
    assert not replies.feed(_sent({"id": "a", "result": "one"}).encode())
    assert (await first.reply())["result"] == "one"
    assert await second.next() == ({"id": 2, "result": "two"}, len(_sent({"id": 2, "result": "two"})))
    assert await second.next() is None
    assert not replies
    assert not replies.anonymous


async def test_late_replies_and_other_messages_are_dropped() -> None:
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
async def test_a_malformed_message_ends_the_only_call(text: str) -> None:
    replies = Replies("peer")
    inbox = replies.expect("a", LIMITS)
    assert not replies.feed(text)
    with pytest.raises(MalformedReply):
        await inbox.reply()


async def test_a_reply_without_an_id_ends_several_calls_and_the_channel() -> None:
    replies = Replies("peer")
    inboxes = [replies.expect("a", LIMITS), replies.expect("b", LIMITS)]
    assert replies.feed(_sent({"result": 1}))
    for inbox in inboxes:
        with pytest.raises(MalformedReply, match="without an id while more than one call"):
            await inbox.reply()


async def test_the_reply_to_an_abandoned_call_is_not_given_to_the_next_one() -> None:
    replies = Replies("peer")
    replies.expect("a", LIMITS)
    replies.drop("a")
    inbox = replies.expect("b", LIMITS)
    assert replies.feed(_sent({"result": "for a"}))
    with pytest.raises(MalformedReply):
        await inbox.reply()


async def test_the_errors_of_a_silent_peer_and_a_large_reply_name_the_limit() -> None:
    replies = Replies("peer")
    with pytest.raises(ConnectionLost, match=r"nothing for 0\.01 seconds"):
        await replies.expect("a", ReplyLimits(10, 0.01)).reply()
    with pytest.raises(ConnectionLost, match=r"seconds\. Perhaps it sleeps\."):
        await replies.expect("a", ReplyLimits(10, 0.01, "Perhaps it sleeps.")).reply()
    inbox = replies.expect("b", ReplyLimits(10, 5.0))
    replies.feed(_sent({"id": "b", "result": "x" * 10}))
    with pytest.raises(ReplyTooLarge, match="bytes; the limit is 10"):
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


async def test_all_messages_on_a_dedicated_channel_belong_to_the_stream() -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    for message in (1, {"n": 2}, {"id": "other", "n": 3}, {"id": "a", "result": 4}, {"type": "end"}, 5):
        assert not replies.feed(_sent(message))
    assert await _read(inbox) == [1, {"n": 2}, {"id": "other", "n": 3}, 4]
    assert inbox.complete


async def test_invalid_json_ends_a_stream_after_the_values_before_it() -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    replies.feed("1")
    replies.feed("one")
    assert await inbox.next() == (1, 1)
    with pytest.raises(MalformedReply):
        await inbox.next()


async def test_a_message_wakes_a_waiting_reader() -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    got: list[Any] = []

    async def read() -> None:
        got.extend(await _read(inbox))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            for text in ("1", "2", '{"done": true}'):
                await anyio.wait_all_tasks_blocked()
                replies.feed(text)
    assert got == [1, 2]


async def test_unread_messages_are_kept_up_to_the_limit() -> None:
    replies = Replies("peer", dedicated=True)
    inbox = replies.expect("a", LIMITS)
    for number in range(100):
        replies.feed(_sent({"n": number, "text": "x" * 80}))
    replies.lose(GONE, broken=False)
    read = await _read(inbox)
    assert [item["n"] for item in read] == list(range(len(read)))
    assert 1000 < len(_sent(read)) < 1200


def test_a_peerjs_close_message_closes_the_channel() -> None:
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
