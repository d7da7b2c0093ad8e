from utcp_bridge.search import synonyms
from utcp_bridge.search.synonyms import synonyms_of
from utcp_bridge.search.text import STOP_WORDS, stem


def test_members_of_a_group_stand_for_each_other():
    assert stem("delete") in synonyms_of(stem("remove"))
    assert stem("remove") in synonyms_of(stem("delete"))


def test_a_term_is_not_its_own_synonym_and_a_strange_one_has_none():
    assert stem("delete") not in synonyms_of(stem("delete"))
    assert synonyms_of("zyzzyva") == ()


def test_no_group_holds_a_stop_word_or_a_lonely_word():
    for line in synonyms._GROUPS.strip().splitlines():
        members = line.split()
        assert len(members) > 1, line
        assert not STOP_WORDS & set(members), line
