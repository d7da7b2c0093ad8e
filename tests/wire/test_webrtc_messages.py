"""Calls in all forms at once, replies in any, and which call they belong to."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from utcp_bridge.errors import ConnectionLost, InvalidArguments, MalformedReply, Rejected
from utcp_bridge.model import JsonObject
from utcp_bridge.wire.webrtc_messages import (
    Replies,
    call_message,
    discovery_message,
    encode,
    manual_of,
    outcome,
)


def _sent(message: JsonObject) -> str:
    return orjson.dumps(message).decode()


def test_a_call_holds_the_fields_of_every_library() -> None:
    message = call_message("m.echo", {"a": 1})
    assert message["tool"] == "m.echo"
    assert message["args"] == {"a": 1}
    assert (message["method"], message["params"]) == ("call_tool", {"tool": "m.echo", "args": {"a": 1}})
    assert (message["type"], message["inputs"]) == ("tool_call", {"a": 1})
    assert message["id"] != call_message("m.echo", {})["id"]


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


def test_a_reply_with_neither_is_malformed() -> None:
    with pytest.raises(MalformedReply, match="neither"):
        outcome({"type": "tool_response"}, "peer")


def test_a_manual_is_found_with_and_without_a_wrapping() -> None:
    tools = [{"name": "echo"}]
    assert manual_of({"id": 1, "manual_version": "2", "tools": tools}, "peer") == {
        "manual_version": "2",
        "tools": tools,
    }
    assert manual_of({"result": tools}, "peer") == {"tools": tools}
    assert manual_of({"result": {"tools": tools}}, "peer") == {"tools": tools}
    with pytest.raises(MalformedReply, match="no manual"):
        manual_of({"result": 7}, "peer")


def test_replies_go_to_the_call_they_name() -> None:
    replies = Replies("peer")
    first, second = replies.expect("a"), replies.expect("2")
    assert not replies.feed(_sent({"id": 2, "result": "two"}))
    assert not replies.feed(_sent({"id": "a", "result": "one"}).encode())
    assert (first.message["result"], second.message["result"]) == ("one", "two")
    assert second.size == len(_sent({"id": 2, "result": "two"}))
    assert not replies
    assert not replies.anonymous


def test_late_replies_and_chatter_go_to_nobody() -> None:
    replies = Replies("peer")
    slot = replies.expect("a")
    assert not replies.feed(_sent({"id": "gone", "result": 1}))
    assert not replies.feed(_sent({"type": "heartbeat"}))
    assert not slot.done.is_set()
    replies.drop("a")
    assert not replies.feed("noise after an id was seen")


def test_a_reply_without_an_id_goes_to_the_only_call() -> None:
    replies = Replies("peer")
    slot = replies.expect("a")
    assert not replies.feed(_sent({"result": 1}))
    assert slot.message == {"result": 1}
    assert replies.anonymous


@pytest.mark.parametrize("text", ["no JSON", "[1]"])
def test_what_is_no_reply_at_all_is_the_only_calls_malformed_one(text: str) -> None:
    replies = Replies("peer")
    slot = replies.expect("a")
    assert not replies.feed(text)
    assert isinstance(slot.error, MalformedReply)


def test_a_reply_that_may_be_anyones_ends_all_calls_and_the_channel() -> None:
    replies = Replies("peer")
    slots = [replies.expect("a"), replies.expect("b")]
    assert replies.feed(_sent({"result": 1}))
    assert [type(slot.error) for slot in slots] == [MalformedReply, MalformedReply]


def test_the_reply_of_an_abandoned_call_is_never_the_next_ones() -> None:
    replies = Replies("peer")
    replies.expect("a")
    replies.drop("a")
    slot = replies.expect("b")
    assert replies.feed(_sent({"result": "for a"}))
    assert isinstance(slot.error, MalformedReply)


def test_peerjs_says_goodbye_in_band() -> None:
    replies = Replies("peer")
    assert replies.feed(_sent({"__peerData": {"type": "close"}}))
    assert not replies.feed(_sent({"__peerData": {"type": "ping"}}))


def test_a_lost_channel_ends_every_call() -> None:
    replies = Replies("peer")
    slots = [replies.expect("a"), replies.expect("b")]
    replies.fail(ConnectionLost("gone"))
    assert all(isinstance(slot.error, ConnectionLost) for slot in slots)
