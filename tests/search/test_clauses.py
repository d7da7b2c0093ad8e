from utcp_bridge.search.clauses import clause_terms
from utcp_bridge.search.text import terms


def test_a_request_for_two_things_has_two_clauses():
    found = clause_terms("Convert ten dollars to euros and then send an email to my accountant.")
    assert found == [terms("convert ten dollars euros"), terms("send email accountant")]


def test_sentences_are_clauses():
    assert len(clause_terms("Get the weather forecast. Book a cheap hotel!  Translate this text?")) == 3


def test_a_single_need_has_no_clauses():
    assert clause_terms("weather forecast for Paris") == []


def test_enumerated_words_are_no_clauses_of_their_own():
    assert clause_terms("find hotels and restaurants") == []


def test_a_rambling_request_is_bounded():
    assert len(clause_terms("read the file. " * 100)) == 12
