import threading

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search.bm25 import Bm25Strategy, query_terms
from utcp_bridge.search.index import InvertedIndex


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
def test_the_fitting_tool_comes_first(strategy, query, first):
    assert names(strategy.search(query))[0] == first


def test_scores_are_relative_to_the_best_and_fall(strategy):
    scores = [hit.score for hit in strategy.search("weather alerts and forecast")]
    assert scores[0] == 1.0
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


@pytest.mark.parametrize("query", ["", "   ", "the of and", "zzqx", "\ud800"])
def test_a_query_that_fits_nothing_finds_nothing(strategy, query):
    assert strategy.search(query) == []


def test_tools_that_do_not_score_are_not_used_as_padding(strategy):
    assert names(strategy.search("received", limit=50)) == ["mail.list_inbox"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_finds_nothing(strategy, limit):
    assert strategy.search("weather", limit=limit) == []


def test_an_exact_name_goes_first_and_one_that_begins_so_next(make_tool):
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


def test_a_name_of_stop_words_alone_is_still_found_by_its_name(make_tool):
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


def test_removed_tools_and_manuals_are_found_no_more(strategy, mail_tools):
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

    with anyio.fail_after(20):
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
