"""Bytes and text of other programs."""

from __future__ import annotations

import codecs
import json
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.work import calls_made_by

from utcp_bridge import foreign
from utcp_bridge.foreign import (
    StreamDecoder,
    TooManyValues,
    decode,
    encodable,
    escape_line_ends,
    has_more_values,
    is_charset,
    is_deeper,
    json_line,
    load_json,
    most_values,
    outer_id,
    values_of,
    visible,
    visible_json,
    visible_json_steps,
    visible_steps,
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


# --- values ----------------------------------------------------------------------------------------------------------

MARKS_IN_TEXT = st.text(st.sampled_from(',[{"\\\\a\u00e9\n'), max_size=6)
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | MARKS_IN_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MARKS_IN_TEXT, inner, max_size=3),
    max_leaves=12,
)


def counted(value: Any) -> int:
    if isinstance(value, dict):
        return 3 + max(len(value) - 1, 0) + sum(map(counted, value.values()))
    if isinstance(value, list):
        return 1 + max(len(value) - 1, 0) + sum(map(counted, value))
    return 0


@given(VALUES, st.booleans(), st.booleans())
def test_values_are_counted_outside_of_strings(value: Any, is_ascii: bool, is_text: bool) -> None:
    many = [value] * 1_100
    text = json.dumps(many, ensure_ascii=is_ascii)
    data = text if is_text else text.encode()
    assert values_of(data) == counted(many)
    assert has_more_values(data, counted(many) - 1)
    assert not has_more_values(data, counted(many))


@pytest.mark.parametrize("charset", [None, "utf-8", "utf-16", "latin-1"])
def test_json_of_too_many_values_is_not_parsed(charset: str | None) -> None:
    rows = json.dumps([["\u00e9"]] * 1_000)
    few = rows.encode(charset or "utf-8")
    assert len(load_json(few, charset, most=2_000)) == 1_000
    with pytest.raises(TooManyValues, match="more than 1,999 values"):
        load_json(few, charset, most=1_999)
    with pytest.raises(orjson.JSONDecodeError):
        load_json(rows, most=100)


def test_texts_full_of_commas_are_not_values() -> None:
    assert load_json(json.dumps(["a,b[{" * 1_000] * 2), most=100) == ["a,b[{" * 1_000] * 2


@pytest.mark.parametrize("piece", ['"', '"\\', '\\"', "\\", '"\\"', '["'])
def test_counting_takes_no_longer_for_strings_without_an_end(piece: str) -> None:
    def work(times: int) -> int:
        return calls_made_by(lambda: values_of(f"[{',' * 2_000}{piece * times}"))

    assert work(400_000) <= work(400) + 5


def test_the_most_values_follow_from_the_bytes_and_are_enough_for_rows() -> None:
    row = {"id": 1000, "name": "a name", "price": 12.5, "tags": ["new", "red"], "city": "Utrecht", "open": True}
    data = orjson.dumps([row] * 1_000)
    assert values_of(data) < most_values(10 * 1024 * 1024) * len(data) / (10 * 1024 * 1024)
    assert most_values(1) == 100_000


@given(st.integers(1, 300), st.integers(1, 254))
def test_a_value_is_deeper_than_a_number_of_levels(depth: int, levels: int) -> None:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    assert is_deeper(value, levels) is (depth > levels)


def test_an_id_is_found_at_the_end_of_a_message_of_any_length() -> None:
    result = b"[]," * 200_000
    assert outer_id(b'{"jsonrpc": "2.0", "result": [' + result + b'0], "id": 7}') == 7
    assert outer_id(b'{"result": [' + result + b'0], "id": "x", "jsonrpc": "2.0"}\n') == "x"
    assert outer_id(b'{"result": [' + result + b'{"id": 7}]}') is None


# --- charsets --------------------------------------------------------------------------------------------------------


NOT_CHARSETS = [
    "idna", "punycode", "utf-7", "unicode_escape", "raw-unicode-escape", "zlib", "bz2", "base64", "rot_13", "hex", "uu",
    "quopri", "undefined", "mbcs", "oem", "hz", "palmos", "", "x" * 100_000, "../utf_9",
]  # fmt: skip


@pytest.mark.parametrize("name", NOT_CHARSETS)
def test_a_codec_that_is_not_a_charset_is_read_as_utf_8(name: str) -> None:
    data = "xn--é-a".encode()
    assert not is_charset(name)
    assert decode(data, name) == data.decode()
    assert StreamDecoder(name).feed(data, final=True) == data.decode()


@pytest.mark.parametrize(
    "label",
    [
        "unicode-1-1-utf-8", "utf8", "866", "cp866", "ibm866", "csisolatin2", "iso-8859-2", "l2", "latin2",
        "iso-8859-3", "cyrillic", "greek", "hebrew", "iso-8859-10", "iso-8859-13", "iso-8859-14", "iso-8859-15",
        "koi8", "koi8-r", "koi8-u", "macintosh", "windows-874", "windows-1250", "x-cp1251", "ascii", "us-ascii",
        "latin1", "l1", "cp1258", "windows-1254", "gbk", "gb2312", "gb18030", "big5", "big5-hkscs", "euc-jp",
        "shift_jis", "x-sjis", "sjis", "ms_kanji", "windows-31j", "iso-2022-jp", "euc-kr", "ks_c_5601-1987",
        "windows-949", "utf-16be", "utf-16le", "utf-16", "ISO_8859-1:1987", '"UTF-8"',
    ],
)  # fmt: skip
def test_the_charsets_of_browsers_are_known(label: str) -> None:
    assert is_charset(label)


@pytest.mark.parametrize("name", sorted(foreign._ALLOWED))
def test_every_allowed_codec_makes_text_of_any_bytes(name: str) -> None:
    assert codecs.lookup(name)
    assert isinstance(decode(bytes(range(256)) * 4, name), str)


# --- long texts ------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(DIRTY, st.booleans())
def test_a_long_text_of_lines_is_cleaned_as_a_whole_one(line: str, is_terminal: bool) -> None:
    line = line.replace("\n", "") + "\n"
    assume(visible(line * 3, terminal=is_terminal) == visible(line, terminal=is_terminal) * 3)
    text = line * (foreign._LONG // len(line) + 2)
    cleaned = finished(visible_steps(text, terminal=is_terminal))[-1]
    assert cleaned == visible(line, terminal=is_terminal) * text.count("\n")


def finished(steps: Any) -> list[Any]:
    """Return None for each step, and then the value."""
    made: list[Any] = []
    while True:
        try:
            made.append(next(steps))
        except StopIteration as end:
            return [*made, end.value]


@pytest.mark.parametrize("piece", ["\x1b", "a\u200d", "ab\b", "\x1b7", "\r\na\r", "\x1b]", "\ufe0f", "\x9b0"])
def test_a_long_text_of_anything_is_cleaned_in_small_steps(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    *steps, cleaned = finished(visible_steps(text))
    assert len(steps) >= 30
    assert len(cleaned) <= len(text)


@given(VALUES)
def test_a_value_is_cleaned_in_steps_with_the_same_result(value: Any) -> None:
    dirty = {"a\u200b": [value, "\x1b[1mb\x1b[0m", {"c": None}]}
    assert finished(visible_json_steps(dirty))[-1] == visible_json(dirty)


def test_a_value_of_many_members_takes_many_steps() -> None:
    steps = finished(visible_json_steps([{"a": "b\u200b"} for _ in range(10_000)]))
    assert len(steps) > 100
    assert steps[-1] == [{"a": "b"}] * 10_000


def test_a_state_of_a_line_that_has_only_hidden_characters_is_not_shown() -> None:
    for terminal in (False, True):
        assert visible("\ufe0f \r\nnext", terminal=terminal) == "\r\nnext"


def test_an_id_that_is_not_utf8_is_unknown() -> None:
    assert outer_id(b'{"id": "\xe2ra", "method": "x"}') is None


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(ANY_JSON)
def test_every_value_is_written_as_json_without_loss(value: Any) -> None:
    assert json.loads(foreign.write_json(value, orjson.OPT_SORT_KEYS)) == value


def test_half_a_pair_of_surrogates_is_written_as_a_replacement() -> None:
    assert json.loads(foreign.write_json({"\udfff": ["a\ud800", 2**70]})) == {"\ufffd": ["a\ufffd", 2**70]}


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(1, True), (-0.5, True), (2**70, True), (10**400, False), (float("nan"), False), (float("-inf"), False),
     (True, False), ("1", False), (None, False)],
)  # fmt: skip
def test_a_number_is_what_can_be_a_float(value: Any, is_one: bool) -> None:
    assert foreign.is_number(value) == is_one
