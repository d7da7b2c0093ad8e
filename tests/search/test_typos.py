import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search.typos import Speller, edit_distance, near_words, split_compound

_WORDS = ("weather", "forecast", "message", "calendar", "repository", "cat", "caf\u00e9")


@pytest.fixture
def speller():
    made = Speller()
    for word in _WORDS:
        made.add(word)
    return made


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("wether", "weather"),
        ("weathher", "weather"),
        ("waether", "weather"),
        ("forecasr", "forecast"),
        ("calandar", "calendar"),
        ("repositoyr", "repository"),
        ("reposetori", "repository"),
    ],
)
def test_a_misspelt_word_finds_the_one_meant(speller, written, meant):
    assert speller.nearest(written, lambda _: 1) == meant


@pytest.mark.parametrize("word", ["wxyzther", "hat", "caf\u00e8", "w3ather", "zzzzzzzz", "wehter8"])
def test_words_that_are_far_or_short_or_not_plain_letters_are_not_repaired(speller, word):
    assert speller.nearest(word, lambda _: 1) is None


def test_two_slips_are_too_many_for_a_short_word(speller):
    assert speller.nearest("mesagge", lambda _: 1) is None


def test_the_more_frequent_of_two_equally_near_words_wins():
    speller = Speller()
    speller.add("booking")
    speller.add("cooking")
    assert speller.nearest("dooking", {"booking": 1, "cooking": 9}.__getitem__) == "cooking"
    assert speller.nearest("dooking", {"booking": 5, "cooking": 5}.__getitem__) == "booking"


def test_a_forgotten_word_is_not_offered_and_leaves_nothing_behind(speller):
    for word in _WORDS:
        speller.remove(word)
    assert speller.nearest("wether", lambda _: 1) is None
    assert speller._words == {}


def test_words_run_together_are_taken_apart_near_their_middle():
    known = {"weather", "forecast", "wea", "therforecast"}.__contains__
    assert split_compound("weatherforecast", known) == ("weather", "forecast")


def test_a_word_that_is_not_made_of_known_ones_stays_whole():
    assert split_compound("weatherman", {"weather"}.__contains__) is None
    assert split_compound("ab", {"a", "b"}.__contains__) is None


@pytest.mark.parametrize(
    ("left", "right", "edits"),
    [
        ("abc", "abc", 0),
        ("abc", "acb", 1),
        ("abc", "ab", 1),
        ("abc", "abxc", 1),
        ("abcd", "badc", 2),
        ("abc", "xyz", 3),
        ("a", "abcd", 3),
    ],
)
def test_edits_are_counted_up_to_the_bound(left, right, edits):
    assert edit_distance(left, right, 2) == min(edits, 3)


@given(st.text(alphabet="abc", max_size=7), st.text(alphabet="abc", max_size=7))
def test_the_distance_is_symmetric_and_zero_for_equal_words_only(left, right):
    distance = edit_distance(left, right, 9)
    assert distance == edit_distance(right, left, 9)
    assert (distance == 0) == (left == right)


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("nope", []),
        ("gihub", ["github"]),
        ("OpenIA", ["openai"]),
        ("slack-api", ["slack"]),
        ("open", ["open-meteo", "openai"]),
        ("cloudfalre", ["cloudflare"]),
        ("claude", ["claude-code", "claude-desktop"]),
        ("hub", []),
        ("a", []),
        ("", []),
    ],
)
def test_only_words_that_a_slip_explains_are_near(written, near):
    known = ("openai", "github", "slack", "open-meteo", "cloudflare", "claude-desktop", "claude-code", "box")
    assert near_words(written, known) == near


@given(st.text(max_size=12), st.lists(st.text(min_size=1, max_size=12), max_size=5))
def test_a_near_word_is_within_two_edits_or_begins_the_same(written, known):
    for one in near_words(written, known):
        short, long = sorted((written.casefold(), one.casefold()), key=len)
        assert edit_distance(short, long, 2) <= 2 or (len(short) >= 3 and long.startswith(short))
