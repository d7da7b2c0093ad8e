"""Calls in all forms at once, replies in any, and the pieces of a stream."""

from __future__ import annotations

from typing import Any

import pytest

from utcp_bridge.errors import InvalidArguments, MalformedReply, Rejected
from utcp_bridge.model import JsonObject
from utcp_bridge.transports.webrtc.messages import (
    Form,
    call_message,
    discovery_message,
    encode,
    manual_of,
    outcome,
    piece,
)


def test_a_call_holds_the_fields_of_every_library() -> None:
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
def test_a_call_in_one_form_holds_its_arguments_once(form: Form, fields: JsonObject) -> None:
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


@pytest.mark.parametrize("bare", [1, "text", [1], None, {}, {"n": 0}, {"id": 7}, {"type": "progress", "result": 1}])
def test_any_json_is_a_piece(bare: Any) -> None:
    assert piece(bare, "a", "peer") == (False, [bare] if bare != {"type": "progress", "result": 1} else [1])


@pytest.mark.parametrize("bare", [{"type": "complete", "order": 7}, {"id": "b", "n": 1}, {"data": 1, "done": True}])
def test_a_piece_that_resembles_a_frame_is_kept_whole(bare: JsonObject) -> None:
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
def test_a_piece_is_taken_out_of_its_frame(message: JsonObject, value: Any) -> None:
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
