import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search import text
from utcp_bridge.search.text import STOP_WORDS, compact, normalise, stem, synonyms_of, terms


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("send_email", ["send", "email", "sendemail"]),
        ("send-email", ["send", "email", "sendemail"]),
        ("sendEmail", ["send", "email", "sendemail"]),
        ("getHTTPHeader", ["get", "http", "header", "gethttpheader"]),
        ("GitHub", ["git", "hub", "github"]),
        ("base64", ["base", "64", "base64"]),
        ("text2speech", ["text", "2", "speech", "text2speech"]),
        ("users.list", ["user", "list", "userslist"]),
        ("create_or_replace_remote_table", ["creat", "replac", "remot", "table"]),
    ],
)
def test_compound_names_are_split_and_short_ones_kept_joined(written, expected):
    assert terms(written) == [stem(term) if term.isalpha() else term for term in expected]


def test_a_query_in_words_meets_a_name_in_camel_case():
    assert set(terms("read the files")) <= set(terms("readFile"))


def test_words_of_conversation_are_left_out():
    assert terms("Could you please help me to find the weather?") == terms("find weather")


def test_possessives_and_contractions_leave_their_word():
    assert terms("the user's account isn\u2019t") == terms("user account")


def test_full_width_forms_and_accents_fold_into_plain_letters():
    assert terms("\uff37\uff45\uff41\uff54\uff48\uff45\uff52") == terms("weather")
    assert terms("Caf\u00e9 M\u00fcnchen") == terms("cafe munchen")


def test_chinese_is_indexed_in_overlapping_pairs():
    assert terms("\u5929\u6c14\u9884\u62a5") == ["\u5929\u6c14", "\u6c14\u9884", "\u9884\u62a5"]


def test_a_single_chinese_character_and_mixed_script_are_kept():
    assert terms("\u5929") == ["\u5929"]
    assert terms("abc\u5929\u6c14xyz") == ["abc", "\u5929\u6c14", "xyz"]


def test_other_scripts_are_kept_whole_in_lower_case():
    assert terms("\u041f\u041e\u0413\u041e\u0414\u0410 \u039a\u03b1\u03b9\u03c1\u03cc\u03c2") == [
        "\u043f\u043e\u0433\u043e\u0434\u0430",
        "\u03ba\u03b1\u03b9\u03c1\u03bf\u03c3",
    ]


@pytest.mark.parametrize(
    "family",
    [
        ("create", "creates", "created", "creating"),
        ("query", "queries", "queried", "querying"),
        ("search", "searches", "searched", "searching"),
        ("stop", "stops", "stopped", "stopping"),
        ("class", "classes"),
        ("box", "boxes"),
        ("summary", "summaries"),
        ("call", "called", "calling"),
    ],
)
def test_the_forms_of_a_word_share_a_stem(family):
    assert len({stem(word) for word in family}) == 1


@pytest.mark.parametrize(
    "word", ["string", "status", "analysis", "feed", "red", "sing", "bus", "v2", "caf\u00e9", "need"]
)
def test_words_that_only_look_inflected_are_left_alone(word):
    assert stem(word) == word


def test_very_long_runs_are_cut_so_that_they_cost_nothing():
    assert all(len(term) <= 64 for term in terms("a" * 10_000 + "B" * 10_000))


def test_compact_names_forget_punctuation_and_letter_case():
    assert compact("GitHub.create-issue_2") == compact("githubCreateIssue2") == "githubcreateissue2"


def test_every_stop_word_is_one_lower_case_word():
    assert all(word == word.lower() and word.isalpha() for word in STOP_WORDS)


@given(st.text())
def test_splitting_takes_any_text(text):
    assert all(term and " " not in term for term in terms(text))
    assert terms(text) == terms(normalise(text))


@given(st.lists(st.sampled_from(sorted(STOP_WORDS))))
def test_stop_words_give_nothing_to_look_for(words):
    assert list(terms(" ".join(words))) == []


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20))
def test_a_stem_is_never_empty_and_hardly_longer_than_its_word(word):
    assert 0 < len(stem(word)) <= len(word)


def test_members_of_a_group_are_synonyms_of_each_other():
    assert stem("delete") in synonyms_of(stem("remove"))
    assert stem("remove") in synonyms_of(stem("delete"))


def test_a_term_is_not_its_own_synonym_and_a_strange_one_has_none():
    assert stem("delete") not in synonyms_of(stem("delete"))
    assert synonyms_of("zyzzyva") == ()


def test_no_group_holds_a_stop_word_or_a_lonely_word():
    for line in text._GROUPS.strip().splitlines():
        members = line.split()
        assert len(members) > 1, line
        assert not STOP_WORDS & set(members), line


def test_the_table_of_synonyms_is_made_for_the_first_search() -> None:
    code = "from utcp_bridge.search import text; before = text._expansions.cache_info().currsize\n"
    code += "found = text.synonyms_of('remov'), text._expansions.cache_info().currsize; print(before, *found)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8", timeout=60)
    assert done.stdout.startswith("0 ('")
    assert done.stdout.split()[-1] == "1"
