"""Reading JSON from untrusted authors."""

import pytest

from utcp_bridge.dialects.fields import (
    copied,
    first_of,
    nearest,
    safe_name,
    seconds,
    sort_of,
    strings_in,
    text_of,
    word,
)


def test_the_first_key_that_is_there_and_not_null_counts():
    assert first_of({"a": None, "b": 0, "c": 2}, ("a", "b", "c")) == 0
    assert first_of({}, ("a",)) is None


def test_words_for_messages_are_short_and_printable():
    assert word("a\n\x1b[31mb\u202e") == "a??[31mb?"
    assert len(word("x" * 500)) == 64
    assert word({"secret": 1}) == "an object"


@pytest.mark.parametrize(
    ("value", "sort"),
    [
        ("s3cret", "text"),
        (True, "a boolean"),
        (1.5, "a number"),
        ([], "a list"),
        (None, "null"),
        (b"", "something else"),
    ],
)
def test_a_value_of_the_wrong_type_is_described_and_never_shown(value, sort):
    assert sort_of(value) == sort


def test_the_nearest_known_word_is_proposed_if_it_is_near():
    assert nearest("Provdier_type", {"provider_type", "url"}) == "Did you mean 'provider_type'?"
    assert nearest("zzz", {"provider_type"}) == ""
    assert nearest(None, {"url"}) == ""


def test_names_keep_letters_digits_and_underscores():
    assert safe_name("my api.v2-é") == "my_api_v2__"


def test_renaming_copies_and_prefers_the_new_name():
    raw = {"parameters": 1, "inputs": 2, "other": 3}

    assert copied(raw, {"parameters": "inputs"}) == {"inputs": 2, "other": 3}
    assert copied({"parameters": 1}, {"parameters": "inputs"}) == {"inputs": 1}
    assert raw == {"parameters": 1, "inputs": 2, "other": 3}


@pytest.mark.parametrize(
    ("value", "milliseconds", "expected"),
    [
        (30000, True, 30.0),
        (500, True, 0.5),
        (30, False, 30.0),
        (0.5, False, 0.5),
        (5000, False, 5.0),
        (0, False, None),
        (-1, True, None),
        (True, False, None),
        ("30", False, None),
        (None, False, None),
        (float("nan"), False, None),
        (float("inf"), False, None),
        (10**400, True, None),
    ],
)
def test_timeouts_become_seconds(value, milliseconds, expected):
    assert seconds(value, milliseconds=milliseconds) == expected


def test_every_text_within_a_value_is_found_to_a_depth():
    nested = "deep"
    for _ in range(300):
        nested = [nested]

    assert list(strings_in({"a": ["x", {"b": "y"}], "key": 5})) == ["x", "y"]
    assert list(strings_in(nested)) == []


def test_a_value_that_is_not_text_counts_as_empty():
    assert [text_of(value) for value in ("a", 5, None)] == ["a", "", ""]
