"""Bytes and text of other programs."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.foreign import (
    Excerpt,
    StreamDecoder,
    decode,
    encodable,
    escape_line_ends,
    json_line,
    load_json,
    outer_id,
    visible,
    visible_json,
)

CHARSETS = [
    None,
    "utf-8",
    "latin-1",
    "utf-16",
    "no-such",
    "hex",
    "rot13",
    "idna",
    "undefined",
    "utf-7",
    "shift_jis",
    "",
]
DIRTY = st.text(
    alphabet=st.sampled_from(
        "ab1 é日👨❤\n\r\t\b\x1b[]0m;\x07\\\x9b\x9d\x9c\x00\u200b\u200c\u200d\ufe0e\ufe0f\u202e\u2028\x85\x0b"
        "\ud83d\ude00\U000e0041GP_()BK\u20e3"
    ),
    max_size=25,
)
CLEAN = st.text(
    alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "Sm", "Sc", "Zs")), max_size=25
).filter(lambda text: not set(text) & set("\u115f\u1160\u3164\uffa0\u180e"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.binary(max_size=40), st.sampled_from(CHARSETS))
def test_any_bytes_decode_to_text_that_can_be_encoded(data: bytes, charset: str | None) -> None:
    decode(data, charset).encode()


@given(st.binary(max_size=20), st.integers(0, 20), st.sampled_from([None, "utf-8", "latin-1", "no-such"]))
def test_bytes_in_pieces_decode_as_a_whole_does(data: bytes, place: int, charset: str | None) -> None:
    decoder = StreamDecoder(charset)
    assert decoder.feed(data[:place]) + decoder.feed(data[place:], final=True) == decode(data, charset)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides_and_is_not_part_of_the_text(encoding: str) -> None:
    assert decode("é日".encode(encoding), "latin-1") == "é日"


@given(JSON, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32-le"]))
def test_json_is_read_in_any_unicode_encoding(value: Any, encoding: str) -> None:
    value = {"value": value}
    assert load_json(json.dumps(value).encode(encoding)) == value


@given(st.text(alphabet=st.sampled_from('ab\\"\ud83d\ude00\udfff'), max_size=10))
def test_halves_of_surrogate_pairs_in_json_become_replacement_characters(text: str) -> None:
    assert load_json(json.dumps({text: [text]})) == {encodable(text): [encodable(text)]}


@given(st.binary(max_size=40))
def test_any_line_of_json_is_json_or_refused(data: bytes) -> None:
    json_line(data).decode()
    try:
        value = load_json(data)
    except orjson.JSONDecodeError:
        return
    orjson.dumps(value)


@given(JSON)
def test_valid_json_is_not_changed(value: Any) -> None:
    line = json.dumps(value).encode()
    assert json_line(line) == line
    assert json.loads(escape_line_ends(orjson.dumps(value))) == value
    assert len(escape_line_ends(orjson.dumps(value)).decode().splitlines()) == 1


@given(CLEAN)
def test_clean_text_is_returned_itself(text: str) -> None:
    assert visible(text) is text
    assert visible(f"{text}\n\t{text}\r\n{text}") == f"{text}\n\t{text}\r\n{text}"


@given(DIRTY, st.booleans())
def test_cleaning_twice_changes_nothing_more(text: str, terminal: bool) -> None:
    once = visible(text, terminal=terminal)
    once.encode()
    assert not set(once) & set("\x1b\x9b\x9d\x00\b\u202e\u200b\U000e0041\u2028\x85")
    assert visible(once) == once


@given(
    st.recursive(DIRTY | st.integers(0, 9), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(DIRTY, inner))
)
def test_each_text_of_a_json_value_is_cleaned(value: Any) -> None:
    cleaned = visible_json(value)
    orjson.dumps(cleaned)
    assert visible_json(cleaned) == cleaned
    if isinstance(value, list):
        assert cleaned == [visible_json(one) for one in value]


@given(JSON.map(lambda value: json.loads(json.dumps(value).encode("ascii"))))
def test_a_clean_json_value_is_returned_itself(value: Any) -> None:
    once = visible_json(value)
    assert visible_json(once) is once or once == visible_json(once)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred\x9b0m", "red"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x1b\\", "link"),
        ("\x9d8;;http://x\x9clink", "link"),
        ("\x1b]0;a title", ""),
        ("\x1bPq#0;2;0\x1b\\x", "x"),
        ("\x1b(B\x1b7x\x1b8\x1bc", "x"),
        ("N\bNA\bAM\bME\bE _\bx", "NAME x"),
        ("10%\r50%\r100%\ndone\n", "100%\ndone\n"),
        ("10%\x1b[2K\x1b[1G100%\n", "100%\n"),
        ("one\rtwo", "one\ntwo"),
        ("a\r\nb\r\n", "a\r\nb\r\n"),
        ("a\x00b\x0cc\u2028d\x85e", "ab\nc\nd\ne"),
        ("\u202edesrever\u202c \u2066x\u2069", "desrever x"),
        ("a\u200bb\u200dc\ufeffd\U000e0041e", "abcde"),
        ("می\u200cخواهم 👨\u200d👩 ❤\ufe0f 1\ufe0f\u20e3", "می\u200cخواهم 👨\u200d👩 ❤\ufe0f 1\ufe0f\u20e3"),  # noqa: RUF001 - Persian
        ("é\u200d\u200dé x\ufe0f", "éé x"),
        ("\ud83d\ude00 \ud83d", "😀 \ufffd"),
    ],
)
def test_only_what_is_seen_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_carriage_return_starts_a_line_of_a_terminal_again() -> None:
    assert visible("10%\r100%", terminal=True) == "100%"
    assert visible("a\r\nb\r\r\n\r", terminal=True) == "a\r\nb\r\n"


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_an_excerpt_keeps_both_ends(chunks: list[bytes]) -> None:
    excerpt, whole = Excerpt(20), b"".join(chunks)
    for chunk in chunks:
        excerpt.add(chunk)
    assert excerpt.size == len(whole)
    assert excerpt.data().startswith(whole[:10])
    assert excerpt.data().endswith(whole[-10:])
    assert (excerpt.data() == whole) is (len(whole) <= 20)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"jsonrpc": "2.0", "id": 7, "params": {"id": 8', 7),
        (b'{"params": {"id": 8}, "id" : "s"}', "s"),
        (b'{"params": "\\"id\\": 8", "x": [{"id": 9}]', None),
        (b'{"id": {"id": 1}}', None),
    ],
)
def test_the_id_of_a_message_is_found_although_it_is_broken(line: bytes, found: Any) -> None:
    assert outer_id(line) == found
