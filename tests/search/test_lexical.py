import threading

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search.index import InvertedIndex
from utcp_bridge.search.lexical import Bm25Strategy, TagStrategy, clause_terms, query_terms
from utcp_bridge.search.text import terms


@pytest.fixture
def strategy(mail_tools):
    made = Bm25Strategy()
    made.add(mail_tools)
    return made


def names(hits):
    return [hit.tool.qualified_name for hit in hits]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("Please send a mail to Anna", "mail.send_email"),
        ("what will the weather be in Rome tomorrow?", "weather.get_forecast"),
        ("read files from the disk", "files.readFile"),
        ("warnings of severe storms", "weather.get_alerts"),
        ("subject", "mail.send_email"),
        ("forcast", "weather.get_forecast"),
        ("weatherforecast", "weather.get_forecast"),
        ("deliver a message", "mail.send_email"),
    ],
)
def test_the_matching_tool_comes_first(strategy, query, first):
    assert names(strategy.search(query))[0] == first


def test_scores_are_relative_to_the_best_and_fall(strategy):
    scores = [hit.score for hit in strategy.search("weather alerts and forecast")]
    assert scores[0] == 1.0
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


@pytest.mark.parametrize("query", ["", "   ", "the of and", "zzqx", "\ud800"])
def test_a_query_without_a_match_finds_nothing(strategy, query):
    assert strategy.search(query) == []


def test_tools_that_do_not_score_are_not_used_as_padding(strategy):
    assert names(strategy.search("received", limit=50)) == ["mail.list_inbox"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_finds_nothing(strategy, limit):
    assert strategy.search("weather", limit=limit) == []


def test_exact_names_come_first_and_prefixes_next(make_tool):
    strategy = Bm25Strategy()
    strategy.add(
        [
            make_tool("x.get_issue_list", "Lists."),
            make_tool("x.get_issue", "Nothing of note, in a description that goes on and on."),
            make_tool("x.issue", "Get issue. Get the issue. Gets issues: get issue get issue."),
        ]
    )
    found = strategy.search("get_issue")
    assert names(found)[:2] == ["x.get_issue", "x.get_issue_list"]
    assert found[0].score == 1.0
    assert names(strategy.search("x.get_iss"))[0] == "x.get_issue"
    assert len(strategy.search("get_issue", limit=1)) == 1


def test_a_name_of_stop_words_is_found_by_name(make_tool):
    strategy = Bm25Strategy()
    strategy.add([make_tool("x.which_with")])
    assert names(strategy.search("which_with")) == ["x.which_with"]


def test_equal_scores_are_ordered_by_name(make_tool):
    strategy = Bm25Strategy()
    strategy.add([make_tool(f"{manual}.ping", "Pings.") for manual in "cab"])
    assert names(strategy.search("pings a host")) == ["a.ping", "b.ping", "c.ping"]


def test_filters_narrow_by_tag_provider_and_predicate(strategy):
    everything = "weather mail file message list"
    assert set(names(strategy.search(everything, tags=["MESSAGING"]))) == {"mail.send_email", "mail.list_inbox"}
    assert {hit.tool.manual for hit in strategy.search(everything, providers={"weather", "none"})} == {"weather"}
    assert names(strategy.search(everything, providers=["mail"], tags=["write"])) == ["mail.send_email"]
    assert names(strategy.search(everything, accept=lambda tool: tool.name == "readFile")) == ["files.readFile"]
    assert strategy.search(everything, tags=[]) == []
    assert strategy.search("send_email", providers=["weather"]) == []


def test_removed_tools_and_manuals_are_not_found(strategy, mail_tools):
    strategy.remove(mail_tools[2:3])
    strategy.remove(mail_tools[2:3])
    assert "weather.get_forecast" not in names(strategy.search("weather forecast"))
    strategy.remove_manual("mail")
    strategy.remove_manual("mail")
    assert strategy.search("send mail message") == []
    assert names(strategy.search("severe weather")) == ["weather.get_alerts"]


def test_a_tool_added_again_takes_the_place_of_the_old_one(strategy, make_tool):
    strategy.add([make_tool("files.readFile", "Opens a drawer.")])
    assert strategy.search("disk") == []
    assert names(strategy.search("drawer")) == ["files.readFile"]


def test_each_clause_of_a_long_request_lifts_its_own_tool(strategy):
    found = strategy.search("Get the weather forecast for Rome and then send an email with the subject holiday.")
    assert set(names(found)[:2]) == {"weather.get_forecast", "mail.send_email"}


def test_synonyms_weigh_less_than_the_word_itself(strategy):
    index = strategy._index
    direct = {id(term.postings): term.weight for term in query_terms("message", index)}
    related = {id(term.postings): term.weight for term in query_terms("chat", index)}
    postings = id(index.postings["messag"])
    assert 0 < related[postings] < direct[postings]


def test_query_terms_come_rarest_first(strategy):
    sizes = [len(term.postings.slots) for term in query_terms("weather get forecast alerts", strategy._index)]
    assert sizes == sorted(sizes)


def test_nothing_is_found_in_an_empty_index():
    assert query_terms("weather forecasts", InvertedIndex()) == []
    assert Bm25Strategy().search("weather forecasts") == []


@pytest.mark.anyio
async def test_searching_while_another_thread_adds_and_removes_is_safe(strategy, make_tool):
    tools = [make_tool(f"bulk.report_{number}", "Makes a monthly report.") for number in range(300)]
    started, faults = threading.Event(), []

    def churn() -> None:
        try:
            for _ in range(4):
                strategy.add(tools)
                started.set()
                strategy.remove_manual("bulk")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
            faults.append(error)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, churn)
            await anyio.to_thread.run_sync(started.wait, 10)
            for _ in range(100):
                found = strategy.search("monthly report of the weather")
                assert all(0 < hit.score <= 1 for hit in found)
                await anyio.lowlevel.checkpoint()
    assert faults == []
    assert names(strategy.search("severe weather"))[0] == "weather.get_alerts"


@given(st.lists(st.text(max_size=30), max_size=6), st.text(max_size=200))
def test_any_texts_can_be_indexed_searched_and_forgotten(make_tool, texts, query):
    strategy = Bm25Strategy()
    tools = [make_tool(f"m.{text}", text, tags=(text,)) for text in texts]
    strategy.add(tools)
    found = strategy.search(query)
    assert len(found) <= len(set(texts))
    assert all(0 < hit.score <= 1 for hit in found)
    strategy.remove(tools)
    assert strategy._index.postings == {}


@given(st.permutations(range(5)), st.text(alphabet="weathr milsndfo", max_size=40))
def test_results_do_not_depend_on_the_order_of_adding(mail_tools_of_session, order, query):
    one, other = Bm25Strategy(), Bm25Strategy()
    one.add(mail_tools_of_session)
    other.add([mail_tools_of_session[number] for number in order])
    assert one.search(query) == other.search(query)


def test_a_request_for_two_things_has_two_clauses():
    found = clause_terms("Convert ten dollars to euros and then send an email to my accountant.")
    assert found == [terms("convert ten dollars euros"), terms("send email accountant")]


def test_sentences_are_clauses():
    assert len(clause_terms("Get the weather forecast. Book a cheap hotel!  Translate this text?")) == 3


def test_a_single_need_has_no_clauses():
    assert clause_terms("weather forecast for Paris") == []


def test_enumerated_words_are_not_clauses():
    assert clause_terms("find hotels and restaurants") == []


def test_a_rambling_request_is_bounded():
    assert len(clause_terms("read the file. " * 100)) == 12


@pytest.fixture
def tag_strategy(mail_tools):
    made = TagStrategy()
    made.add(mail_tools)
    return made


def ranked(strategy, query, **options):
    return [(hit.tool.qualified_name, round(hit.score, 3)) for hit in strategy.search(query, **options)]


def test_a_tag_counts_three_and_a_description_word_one(tag_strategy):
    assert ranked(tag_strategy, "messaging: lists received") == [("mail.list_inbox", 1.0), ("mail.send_email", 0.6)]


def test_a_tag_counts_when_it_is_part_of_a_query_word_and_only_once(tag_strategy):
    assert ranked(tag_strategy, "rewrite") == [("mail.send_email", 1.0)]
    assert tag_strategy._score(next(iter(tag_strategy._tools.values())), "messaging messaging", {"messaging"}) == 3.0


def test_one_word_of_a_tag_is_enough(make_tool):
    strategy = TagStrategy()
    strategy.add([make_tool("x.y", tags=("credit card",))])
    assert ranked(strategy, "my card") == [("x.y", 1.0)]


def test_names_and_short_words_do_not_count(tag_strategy):
    assert ranked(tag_strategy, "readFile") == []
    assert ranked(tag_strategy, "a to of") == []


def test_the_weights_can_be_set(mail_tools):
    strategy = TagStrategy(tag_weight=0, description_weight=2)
    strategy.add(mail_tools)
    assert ranked(strategy, "messaging recipient") == [("mail.send_email", 1.0)]


def test_filters_and_limit_apply(tag_strategy):
    query = "messaging climate weather reads"
    assert [name for name, _ in ranked(tag_strategy, query, providers=["weather"])] == [
        "weather.get_forecast",
        "weather.get_alerts",
    ]
    assert [name for name, _ in ranked(tag_strategy, query, tags=["CLIMATE"])] == ["weather.get_forecast"]
    assert [name for name, _ in ranked(tag_strategy, query, accept=lambda tool: "Reads" in tool.description)] == [
        "files.readFile"
    ]
    assert len(ranked(tag_strategy, query, limit=2)) == 2
    assert ranked(tag_strategy, query, limit=0) == ranked(tag_strategy, query, limit=-3) == []


def test_the_reference_algorithm_forgets_removed_tools_and_manuals(tag_strategy, mail_tools):
    tag_strategy.remove(mail_tools[:1])
    tag_strategy.remove(mail_tools[:1])
    assert [name for name, _ in ranked(tag_strategy, "messaging")] == ["mail.list_inbox"]
    tag_strategy.remove_manual("mail")
    assert ranked(tag_strategy, "messaging") == []
