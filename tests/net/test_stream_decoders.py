import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import MalformedReply, ReplyTooLarge
from utcp_bridge.model import Binary
from utcp_bridge.net.stream_decoders import (
    ChunkSplitter,
    EventSplitter,
    JsonSplitter,
    Splitter,
    TextSplitter,
    splitter_for,
)

LIMIT = 1000


def run(splitter: Splitter, parts: list[bytes]) -> list[Any]:
    return [value for part in parts for value in splitter.feed(part)] + splitter.finish()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


EVENTS = (
    ': hello\r\nid: 7\r\nevent: update\r\ndata: {"a": 1}\r\n\r\n'
    "retry: 1500\ndata:one\ndata: two\n\nid\ndata\n\nnoise\n\n"
)


@given(st.lists(st.integers(0, 200), max_size=8))
def test_events_do_not_depend_on_how_the_bytes_are_split(places: list[int]) -> None:
    splitter = EventSplitter(LIMIT, "here")
    assert run(splitter, cut(EVENTS.encode(), places)) == [{"a": 1}, "one\ntwo", ""]
    assert splitter.last_event_id == ""
    assert splitter.retry == 1.5


def test_the_last_event_id_stays_until_another_comes() -> None:
    splitter = EventSplitter(LIMIT, "here")
    splitter.feed(b"id: 7\ndata: 1\n\ndata: 2\n\nid: 8\x00\ndata: 3\n\nid: 9\ndata: not yet dispatched\n")
    assert splitter.last_event_id == "7"


def test_a_byte_order_mark_and_invalid_retries_are_ignored() -> None:
    splitter = EventSplitter(LIMIT, "here")
    assert splitter.feed("\ufeffdata: 1\n\nretry: -1\n\nretry: soon\n\n".encode()) == [1]
    assert splitter.retry is None
    splitter.feed(b"retry: 99999999999999\n\n")
    assert splitter.retry == 3600


def test_only_events_of_the_wanted_type_are_kept() -> None:
    splitter = EventSplitter(LIMIT, "here", event_type="message")
    assert splitter.feed(b"event: other\ndata: 1\n\ndata: 2\n\nevent: message\ndata: 3\n\n") == [2, 3]


def test_a_new_connection_forgets_an_incomplete_event() -> None:
    splitter = EventSplitter(LIMIT, "here")
    splitter.feed(b"id: 1\ndata: 1\n\nid: 2\ndata: cut")
    splitter.new_connection()
    assert splitter.feed(b"data: 2\n\n") == [2]
    assert splitter.last_event_id == "1"


@pytest.mark.parametrize("data", [b"data: " + b"x" * 2000, b"data: x\n" * 900])
def test_an_event_that_grows_above_the_limit_is_refused(data: bytes) -> None:
    with pytest.raises(ReplyTooLarge, match="here sent an event of more than 1000 bytes"):
        EventSplitter(LIMIT, "here").feed(data)


VALUES: list[Any] = [{"a": [1, "x\ny}"]}, [], "text", 7, None, {"b": {}}]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("between", ["\n", "\n\n", "\x1e", "\r\n"])
@given(places=st.lists(st.integers(0, 300), max_size=8))
def test_json_values_do_not_depend_on_how_the_bytes_are_split(
    indent: int | None, between: str, places: list[int]
) -> None:
    data = between.join(json.dumps(value, indent=indent) for value in VALUES).encode()
    assert run(JsonSplitter(LIMIT, "here"), cut(data, places)) == VALUES


def test_json_values_need_no_separator() -> None:
    assert run(JsonSplitter(LIMIT, "here"), [b'{"a":1}{"b"', b':2} [3]"x"']) == [{"a": 1}, {"b": 2}, [3], "x"]


@pytest.mark.parametrize("data", [b"nonsense\n", b'{"a":\n', b'{"a":1} x\n', b"{\n}}\n", b"[NaN]\n"])
def test_invalid_json_in_a_stream_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedReply, match="here"):
        run(JsonSplitter(LIMIT, "here"), [data])


@given(st.lists(st.integers(0, 200), max_size=5), st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "latin-1"]))
def test_json_values_are_read_in_any_declared_or_marked_encoding(places: list[int], encoding: str) -> None:
    data = '{"a": "é"}\n["ü"]\n'.encode(encoding)
    charset = "iso-8859-1" if encoding == "latin-1" else None
    assert run(JsonSplitter(LIMIT, "here", charset), cut(data, places)) == [{"a": "é"}, ["ü"]]


@pytest.mark.parametrize("data", [b'"a\xffb"\n', b'"a\\ud83db"\n', b'"a\xffb" "a\\udc00b"'])
def test_what_does_not_decode_in_a_stream_is_replaced(data: bytes) -> None:
    assert set(run(JsonSplitter(LIMIT, "here"), [data])) == {"a\ufffdb"}
    assert run(EventSplitter(LIMIT, "here"), [b"data: " + data.split()[0] + b"\n\n"]) == ["a\ufffdb"]
    assert run(TextSplitter(), [b"a\xff", b"b"]) == ["a\ufffd", "b"]


@pytest.mark.parametrize("parts", [[b'"' + b"x" * 2000], [b"{\n" + b'"a": 1,\n' * 200, b"x"]])
def test_a_json_value_that_grows_above_the_limit_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(ReplyTooLarge, match="1000 bytes"):
        run(JsonSplitter(LIMIT, "here"), parts)


@given(st.binary(max_size=60), st.integers(1, 9), st.lists(st.integers(0, 60), max_size=5))
def test_chunks_have_the_given_size_and_are_complete(data: bytes, size: int, places: list[int]) -> None:
    chunks = run(ChunkSplitter(size), cut(data, places))
    assert b"".join(chunk.data for chunk in chunks) == data
    assert all(len(chunk.data) == size for chunk in chunks[:-1])
    assert all(isinstance(chunk, Binary) for chunk in chunks)


@given(st.text(max_size=30), st.lists(st.integers(0, 60), max_size=5))
def test_text_is_never_cut_inside_a_character(text: str, places: list[int]) -> None:
    assert "".join(run(TextSplitter(), cut(text.encode(), places))) == text
    assert run(TextSplitter(), [b"\xc3"]) == ["\ufffd"]


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("application/x-ndjson", JsonSplitter),
        ("application/json-seq", JsonSplitter),
        ("application/json", JsonSplitter),
        ("application/geo+json", JsonSplitter),
        ("text/event-stream", EventSplitter),
        ("text/csv", TextSplitter),
        ("application/octet-stream", ChunkSplitter),
        ("", ChunkSplitter),
    ],
)
def test_the_media_type_selects_the_splitter(media_type: str, kind: type) -> None:
    assert type(splitter_for(media_type, chunk_size=10, limit=LIMIT, where="here")) is kind
