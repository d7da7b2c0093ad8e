"""Cleaning text of other programs."""

import pytest

from utcp_bridge.catalogue.text import clean, clean_line, shorten


@pytest.mark.parametrize(
    "hidden",
    [
        "\x00",
        "\x1b",
        "\x7f",
        "\x9b",
        "\u00ad",
        "\u200b",
        "\u200f",
        "\u202e",
        "\u2066",
        "\ufeff",
        "\ud800",
        "\U000e0041",
    ],
)
def test_invisible_characters_are_removed(hidden):
    assert clean(f"a{hidden}b") == "ab"


@pytest.mark.parametrize("sequence", ["\x1b[31m", "\x1b[2J", "\x1b]8;;http://x\x07", "\x1b]0;title\x1b\\", "\x1bM"])
def test_terminal_sequences_are_removed_whole(sequence):
    assert clean(f"a{sequence}b") == "ab"


def test_visible_text_of_any_script_stays():
    assert clean("Größe 日本語 😀\tx\ny") == "Größe 日本語 😀\tx\ny"


def test_a_value_that_is_not_text_is_empty():
    assert [clean(value) for value in (None, 3, ["x"], {})] == ["", "", "", ""]


def test_a_line_has_no_line_breaks():
    assert clean_line("a\r\n b\tc\u2028d") == "a b c d"
    assert clean_line(None) == ""


def test_long_text_is_cut_at_a_word():
    assert shorten("one two three four five", 20) == "one two three four…"
    assert shorten("x" * 30, 10) == "x" * 9 + "…"
    assert shorten("short", 5) == "short"
    assert len(clean("word " * 500, 1024)) <= 1024
