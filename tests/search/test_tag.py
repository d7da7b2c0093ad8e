import pytest

from utcp_bridge.search.tag import TagStrategy


@pytest.fixture
def strategy(mail_tools):
    made = TagStrategy()
    made.add(mail_tools)
    return made


def ranked(strategy, query, **options):
    return [(hit.tool.qualified_name, round(hit.score, 3)) for hit in strategy.search(query, **options)]


def test_a_tag_counts_three_and_a_description_word_one(strategy):
    assert ranked(strategy, "messaging: lists received") == [("mail.list_inbox", 1.0), ("mail.send_email", 0.6)]


def test_a_tag_counts_when_it_is_part_of_a_query_word_and_only_once(strategy):
    assert ranked(strategy, "rewrite") == [("mail.send_email", 1.0)]
    assert strategy._score(next(iter(strategy._tools.values())), "messaging messaging", {"messaging"}) == 3.0


def test_one_word_of_a_tag_is_enough(make_tool):
    strategy = TagStrategy()
    strategy.add([make_tool("x.y", tags=("credit card",))])
    assert ranked(strategy, "my card") == [("x.y", 1.0)]


def test_names_and_short_words_do_not_count(strategy):
    assert ranked(strategy, "readFile") == []
    assert ranked(strategy, "a to of") == []


def test_the_weights_can_be_set(mail_tools):
    strategy = TagStrategy(tag_weight=0, description_weight=2)
    strategy.add(mail_tools)
    assert ranked(strategy, "messaging recipient") == [("mail.send_email", 1.0)]


def test_filters_and_limit_apply(strategy):
    query = "messaging climate weather reads"
    assert [name for name, _ in ranked(strategy, query, providers=["weather"])] == [
        "weather.get_forecast",
        "weather.get_alerts",
    ]
    assert [name for name, _ in ranked(strategy, query, tags=["CLIMATE"])] == ["weather.get_forecast"]
    assert [name for name, _ in ranked(strategy, query, accept=lambda tool: "Reads" in tool.description)] == [
        "files.readFile"
    ]
    assert len(ranked(strategy, query, limit=2)) == 2
    assert ranked(strategy, query, limit=0) == ranked(strategy, query, limit=-3) == []


def test_removed_tools_and_manuals_are_found_no_more(strategy, mail_tools):
    strategy.remove(mail_tools[:1])
    strategy.remove(mail_tools[:1])
    assert [name for name, _ in ranked(strategy, "messaging")] == ["mail.list_inbox"]
    strategy.remove_manual("mail")
    assert ranked(strategy, "messaging") == []
