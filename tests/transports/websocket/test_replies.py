"""Messages and frames of WebSocket calls."""

import pytest

from utcp_bridge.errors import ConnectionLost, MalformedReply, Rejected
from utcp_bridge.model import Binary
from utcp_bridge.transports.websocket.connection import LargeText
from utcp_bridge.transports.websocket.replies import NOTHING, ReplyReader, envelope, ids_of, message_text, parsed


def test_message_text_keeps_text_and_writes_other_values_as_json() -> None:
    assert message_text("hello") == "hello"
    assert message_text({"a": [1]}) == '{"a": [1]}'
    sent = envelope("t", {"x": 1}, "7")
    assert sent == {"type": "call", "tool": "t", "id": "7", "request_id": "7", "params": {"x": 1}}


@pytest.mark.parametrize(
    ("frame", "value"), [('{"a": 1}', {"a": 1}), ("[1", "[1"), ("7", "7"), (b'{"a": 1}', {"a": 1}), (b"\xff", "\ufffd")]
)
def test_objects_and_arrays_are_parsed_and_other_frames_are_text(frame, value) -> None:
    assert parsed(frame) == value


def test_a_frame_names_the_calls_it_may_belong_to() -> None:
    assert list(ids_of('{"id": 1, "request_id": "b"}')) == ["1", "b"]
    assert list(ids_of("[]")) == list(ids_of("text")) == []


@pytest.mark.parametrize("frame", ["[1]", '{"a": "é"}', "text", b"\xff\x00", LargeText('{"a": "é"}'.encode())])
@pytest.mark.parametrize("form", [None, "text", "raw"])
def test_a_frame_that_is_read_later_has_the_same_value(frame, form) -> None:
    reader = ReplyReader("x", form)
    later = reader.later(frame)
    [(work, given)] = later.work
    text = frame.decode() if isinstance(frame, LargeText) else frame
    assert work(later.take(), **given) == reader.read(text)[1]


def test_the_end_of_a_reply_that_is_read_later_is_not_a_value() -> None:
    [(work, given)] = ReplyReader("x").later("").work
    with pytest.raises(ConnectionLost, match="the end of a reply before the reply"):
        work(b'{"type": "done"}', **given)


def test_a_frame_need_not_be_read_to_know_that_it_belongs_to_a_plain_call() -> None:
    assert ReplyReader("x").takes_any
    assert not ReplyReader("x", is_envelope=True).takes_any
    assert not ReplyReader("x", sent_id=0).takes_any
    assert not ReplyReader("x", wanted={"a": 1}).takes_any


def test_replies_are_read_in_the_wanted_format() -> None:
    assert ReplyReader("x").read("[1]") == (False, [1])
    assert ReplyReader("x", "text").read("[1]") == (False, "[1]")
    assert ReplyReader("x", "json").read("7") == (False, 7)
    assert ReplyReader("x").read(b"\x00") == (False, Binary(b"\x00"))
    with pytest.raises(MalformedReply):
        ReplyReader("x", "json").read("{")


def test_an_end_mark_ends_the_reply_and_is_not_part_of_it() -> None:
    assert ReplyReader("x").read('{"type": "stream_end"}') == (True, NOTHING)


def test_the_value_of_an_envelope_is_its_result() -> None:
    reader = ReplyReader("x", is_envelope=True)
    assert reader.read('{"id": "1", "result": 5}') == (True, 5)
    assert reader.read('{"id": "1", "output": 6, "partial": true}') == (False, 6)
    assert reader.read("a push") == (False, NOTHING)
    for frame in ('{"id": "1", "error": "no"}', '{"id": "1", "type": "tool_error", "error": "no"}'):
        with pytest.raises(Rejected) as caught:
            reader.read(frame)
        assert caught.value.detail == "no"


def test_a_json_rpc_reply_has_the_id_of_its_request() -> None:
    reader = ReplyReader("x", sent_id=3)
    for frame in ('{"id": 4}', '{"method": "news"}', "text", "[1]"):
        assert reader.read(frame) == (False, NOTHING)
    assert reader.read('{"id": 3, "result": 1}') == (False, {"id": 3, "result": 1})


@pytest.mark.parametrize("form", [None, "json", "text", "raw"])
@pytest.mark.parametrize("sort", [str, str.encode])
def test_a_reply_is_found_by_its_id_in_any_frame_and_format(form, sort) -> None:
    rpc, ours = ReplyReader("x", form, sent_id=3), '{"id":3,"result":1}'
    for frame in ('{"id":4,"result":2}', '{"method":"news"}', "[1]"):
        assert rpc.read(sort(frame)) == (False, NOTHING)
    kept = ours if form in {"text", "raw"} and sort is str else {"id": 3, "result": 1}
    assert rpc.read(sort(ours)) == (False, kept)
    assert ReplyReader("x", form, is_envelope=True).read(sort(ours)) == (True, 1)


def test_binary_frames_without_the_object_of_a_reply_are_not_a_reply() -> None:
    for reader in (ReplyReader("x", sent_id=3), ReplyReader("x", is_envelope=True)):
        assert reader.read(b"\xff\x00") == (False, NOTHING)


def test_a_filter_looks_into_frames_that_stay_as_they_are() -> None:
    for reader in (ReplyReader("x", "text", wanted={"n": 1}), ReplyReader("x", "raw", wanted={"n": 1})):
        assert reader.read('{"n": 2}') == reader.read(b'{"n": 2}') == (False, NOTHING)
        assert reader.read('{"n": 1}') == (False, '{"n": 1}')
        assert reader.read(b'{"n": 1}') == (False, Binary(b'{"n": 1}'))


def test_a_filter_keeps_objects_with_these_members() -> None:
    reader = ReplyReader("x", wanted={"kind": "price"})
    assert reader.read('{"kind": "news"}') == (False, NOTHING)
    assert reader.read('{"kind": "price", "n": 1}') == (False, {"kind": "price", "n": 1})
