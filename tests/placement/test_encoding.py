import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.placement.encoding import (
    MAX_URL,
    compact_json,
    encode_path_segment,
    encode_query,
    format_scalar,
    header_value,
    percent_encode,
    reference_json,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (2**80, str(2**80)),
        (1.5, "1.5"),
        ("as it is", "as it is"),
        (None, "null"),
        ([1, {"a": None}], '[1,{"a":null}]'),
        ({"big": 2**80}, '{"big":' + str(2**80) + "}"),
    ],
)
def test_a_value_becomes_text_in_its_json_form(value, text):
    assert format_scalar(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": {1, 2}}, [object()], {"a": "\ud800"}])
def test_a_value_that_json_cannot_represent_is_refused(value):
    with pytest.raises(InvalidArguments):
        compact_json(value)


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("a/b c", "a%2Fb%20c"),
        (5, "5"),
        (True, "true"),
        ([1, None, "x,y"], "1%2Cx%2Cy"),
        ("é~-._", "%C3%A9~-._"),
        ("a..b", "a..b"),
    ],
)
def test_a_path_value_is_one_encoded_segment(value, segment):
    assert encode_path_segment(value, argument="id") == segment


@pytest.mark.parametrize(
    "value",
    [
        ".",
        "..",
        "%2e%2E",
        "%252e%252e",
        "a/../b",
        "a\\..\\b",
        "..;jsessionid=1",
        " .. ",
        "%" + "25" * 20 + "2e",
        "..%2f",
        ".%2e",
    ],
)
def test_dot_segments_are_refused_in_any_spelling(value):
    with pytest.raises(InvalidArguments, match="'id'"):
        encode_path_segment(value, argument="id")


@pytest.mark.parametrize("value", [None, "", []])
def test_a_path_value_must_not_be_empty(value):
    with pytest.raises(InvalidArguments, match="'id'"):
        encode_path_segment(value, argument="id")


def test_a_query_repeats_names_for_arrays_and_writes_objects_as_json():
    pairs = [("a b", [1, None, "&"]), ("o", {"k": 1}), ("gone", None), ("t", (True,)), ("plus", "+")]
    assert encode_query(pairs) == "a%20b=1&a%20b=%26&o=%7B%22k%22%3A1%7D&t=true&plus=%2B"


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", 1), ("b c", "x" * MAX_URL), ("d", 2)],
        [("a", 1), ("b c", ["x y"] * (MAX_URL // 5)), ("d", 2)],
        [("a", "x" * (MAX_URL - 8)), ("b c", 1), ("d", 2)],
    ],
    ids=["plain", "array", "together"],
)
def test_a_query_that_is_too_long_names_the_argument_that_makes_it_so(pairs):
    with pytest.raises(InvalidArguments, match="Argument 'b c' is part of the URL"):
        encode_query(pairs)
    assert encode_query(pairs[:1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ([1, None, True], "1,true"),
        ({"a": 1}, '{"a":1}'),
        ("  blanks\t", "blanks"),
        ("Zoë", "Zoë"),
        (None, ""),
    ],
)
def test_a_header_value_is_one_line_of_text(value, text):
    assert header_value(value, argument="h") == text


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\x7f", "\ud800", ["ok", "a\rb"]])
def test_a_header_value_cannot_break_its_line(value):
    with pytest.raises(InvalidArguments, match="'h'"):
        header_value(value, argument="h")


def test_the_error_names_an_argument_with_invalid_unicode():
    with pytest.raises(InvalidArguments, match="'q'"):
        percent_encode("\ud800", argument="q")


@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from("aZ0_.~-%/ \n"), max_size=20))
def test_text_of_a_query_is_encoded_as_the_standard_says(text):
    assert percent_encode(text, argument="a") == quote(text, safe="")
    assert encode_query([(text, [text, None])]) == f"{quote(text, safe='')}={quote(text, safe='')}"


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=5), st.text(max_size=5, alphabet='aé\u2028🙂"')
    )
)
def test_json_on_sockets_has_the_spelling_of_the_reference_library(value: dict[str, str]) -> None:
    assert reference_json(compact_json(value)) == json.dumps(value).encode()


def test_large_json_on_sockets_stays_compact() -> None:
    large = compact_json({"a": ["é"] * 9_000})
    assert reference_json(large) == large


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (-0.0, "0"), (2.5, "2.5"), (1e20, "1e+20"), (float(2**53), "9007199254740992.0")]
)
def test_a_whole_number_is_written_without_a_fraction(value, text):
    assert format_scalar(value) == text
