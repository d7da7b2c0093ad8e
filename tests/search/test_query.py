import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.search import query as module
from utcp_bridge.search.lexical import Bm25Strategy
from utcp_bridge.search.presentation import as_text
from utcp_bridge.search.query import (
    RANKED_DEPTH,
    RegexMatches,
    SearchContext,
    describe_catalogue,
    match_exact,
    match_regex,
    nearest_names,
    search_tools,
)


def context_of(tools, **members):
    strategy = Bm25Strategy()
    strategy.add(tools)
    return SearchContext(
        searchable=strategy,
        tools=tools,
        mcp_name=lambda tool: tool.qualified_name.replace(".", "_"),
        is_listed=lambda tool: tool.manual == "mail",
        **members,
    )


@pytest.fixture
def context(mail_tools):
    return context_of(mail_tools)


def run(context, note=None, **arguments):
    result = search_tools(arguments, context, note=note)
    assert isinstance(as_text(result), str)
    return result


def names(result):
    return [entry["name"] for entry in result["results"]]


def test_a_ranked_search_gives_summaries(context):
    first = run(context, query="send an email")["results"][0]
    assert first == {
        "name": "mail_send_email",
        "description": "Sends a message to a recipient.",
        "parameters": "to*: string, subject: string",
        "tags": ["Messaging", "write"],
    }


def test_a_tool_that_is_not_listed_is_called_through_call_tool(context):
    through = dataclasses.replace(context, call="run_tool")
    assert run(through, query="read file from disk")["call_with"] == "run_tool"
    assert run(through, queries=["send email", "read file"])["call_with"] == "run_tool"
    assert "call_with" not in run(through, query="send email", limit=1)
    assert "call_with" not in run(context, query="read file from disk")


def test_names_detail_returns_only_what_a_call_needs(context):
    assert run(context, query="email", detail="names")["results"][0] == {"name": "mail_send_email"}


def test_an_entry_has_its_provider_where_the_name_does_not_begin_with_it(context):
    short = dataclasses.replace(context, mcp_name=lambda tool: tool.name)
    assert run(short, query="email", detail="names")["results"][0] == {"name": "send_email", "provider": "mail"}


def test_ten_tools_are_a_page_and_three_with_full_detail(make_tool):
    context = context_of([make_tool(f"x.report_{number}", "Makes a report.") for number in range(12)])
    assert len(names(run(context, query="report"))) == 10
    assert len(names(run(context, query="report", detail="full"))) == 3


def test_full_detail_gives_the_schemas_and_the_whole_description(make_tool):
    inputs = {"type": "object", "properties": {"a": {"type": "string"}}}
    outputs = {"type": "object"}
    tools = [
        make_tool("x.pay", "Pays the bill now. In full.\nTwice.", inputs=inputs, outputs=outputs),
        make_tool("x.bill"),
    ]
    first, second = run(context_of(tools), query="pay bill", detail="full")["results"]
    assert (first["inputSchema"], first["outputSchema"]) == (inputs, outputs)
    assert first["description"] == "Pays the bill now. In full.\nTwice."
    assert "outputSchema" not in second


def test_full_detail_uses_the_definition_of_the_server(mail_tools):
    shown = {
        "name": "n",
        "description": "Short.",
        "inputSchema": {"type": "object", "portable": True},
        "outputSchema": None,
    }
    entry = run(context_of(mail_tools, definition=lambda tool: shown), query="email", detail="full")["results"][0]
    assert (entry["description"], entry["inputSchema"]) == ("Short.", shown["inputSchema"])
    assert "outputSchema" not in entry


def test_pages_follow_one_another_without_gap_or_repetition(make_tool):
    context = context_of([make_tool(f"x.report_{number}", "Makes a report.") for number in range(12)])
    seen, cursor = [], {}
    for _ in range(3):
        page = run(context, query="report", limit=5, **cursor)
        assert page["total"] == 12
        seen += names(page)
        cursor = {"cursor": page["next_cursor"]} if "next_cursor" in page else {}
    assert cursor == {}
    assert sorted(seen) == sorted(f"x_report_{number}" for number in range(12))


def test_a_ranked_search_ends_at_its_depth_and_a_listing_does_not(make_tool):
    context = context_of([make_tool(f"x.report_{number}", "Makes a report.") for number in range(RANKED_DEPTH + 9)])
    assert run(context, query="report")["total"] == RANKED_DEPTH
    assert run(context, providers=["x"])["total"] == RANKED_DEPTH + 9


def test_a_cursor_of_another_search_is_refused(context):
    cursor = run(context, query="mail weather file", limit=1)["next_cursor"]
    with pytest.raises(InvalidArguments, match="does not belong"):
        search_tools({"query": "weather", "limit": 1, "cursor": cursor}, context)


def test_an_empty_call_orients_by_providers(context):
    result = run(context)
    assert result["providers"] == [
        {"name": "mail", "tools": 2},
        {"name": "weather", "tools": 2},
        {"name": "files", "tools": 1},
    ]
    assert (result["total"], result["results"]) == (5, [])


def test_very_many_providers_are_counted(make_tool):
    result = run(context_of([make_tool(f"p{number}.t") for number in range(205)]))
    assert len(result["providers"]) == 200
    assert "5 more providers" in result["note"]


def test_filters_without_a_query_list_that_part_in_order(context):
    result = run(context, providers=["WEA*"])
    assert names(result) == ["weather_get_forecast", "weather_get_alerts"]
    assert "providers" not in result


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"providers": ["mail", "files"]}, {"mail_send_email", "mail_list_inbox", "files_readFile"}),
        ({"exclude_providers": ["mail", "weather"]}, {"files_readFile"}),
        ({"providers": "*ai*", "exclude_providers": "x*"}, {"mail_send_email", "mail_list_inbox"}),
        ({"tags": ["messaging", "climate"]}, {"mail_send_email", "mail_list_inbox", "weather_get_forecast"}),
        ({"tags": ["messaging", "WRITE"], "tags_mode": "all"}, {"mail_send_email"}),
    ],
)
def test_filters_hold_for_listings_ranked_regex_and_exact_searches(context, filters, expected):
    every = {"mail_send_email", "mail_list_inbox", "weather_get_forecast", "weather_get_alerts", "files_readFile"}
    assert set(names(run(context, **filters))) == expected
    assert set(names(run(context, query=".", mode="regex", **filters))) == expected
    ranked = names(run(context, query="mail message weather read file list", **filters))
    assert set(ranked) == expected
    for name in every:
        assert names(run(context, query=name, mode="exact", **filters)) == ([name] if name in expected else [])


def test_filters_without_a_match_name_the_available_providers(context):
    result = run(context, query="mail", providers=["gitlab"])
    assert result["results"] == []
    assert "files, mail, weather" in result["note"]


def test_tools_hidden_from_a_client_are_not_found(mail_tools):
    context = context_of(mail_tools, visible=lambda tool: tool.manual != "mail")
    arguments = (
        {},
        {"query": "send email"},
        {"query": "send email", "tags": ["write"], "tags_mode": "all"},
        {"query": "mail", "mode": "regex"},
        {"query": "mail.send_email", "mode": "exact"},
        {"providers": ["mail"]},
        {"tags": ["messaging"]},
        {"queries": ["send email", "inbox"]},
    )
    for one in arguments:
        assert "mail" not in as_text(run(context, **one)).replace("send email", "")


def test_several_queries_return_groups(context):
    result = run(context, query="read a file", queries=["send email", "xxqq"], limit=1)
    assert [group["query"] for group in result["groups"]] == ["read a file", "send email", "xxqq"]
    assert [names(group) for group in result["groups"]] == [["files_readFile"], ["mail_send_email"], []]
    assert result["total"] == 2
    assert "results" not in result


def test_an_exact_search_describes_the_tool_of_a_name(context):
    result = run(context, query="mail_send_email", mode="exact", detail="full")
    assert names(result) == ["mail_send_email"]
    assert "inputSchema" in result["results"][0]


@pytest.mark.parametrize("mode", ["auto", "exact"])
def test_a_search_that_finds_nothing_offers_near_names(context, mode):
    result = run(context, query="readdfilexx", mode=mode)
    assert (result["total"], result["results"], result["did_you_mean"]) == (0, [], ["files_readFile"])


def test_a_search_without_near_names_offers_none(context):
    assert run(context, query="zzzz") == {"total": 0, "results": []}
    assert run(context, query="zzzz", mode="regex") == {"total": 0, "results": []}


def test_an_invalid_pattern_is_an_error_and_not_an_empty_list(context):
    with pytest.raises(InvalidArguments, match="unclosed group"):
        search_tools({"query": "(", "mode": "regex"}, context)


def test_a_regex_search_out_of_time_says_how_far_it_came(context, monkeypatch):
    monkeypatch.setattr(module, "match_regex", lambda *_: RegexMatches([], 64, complete=False))
    assert "after 64 tools" in run(context, query="a", mode="regex")["note"]


def test_a_note_of_the_caller_is_passed_on(context):
    assert run(context, query="email", note="Ranked by words alone.")["note"] == "Ranked by words alone."
    assert run(context, note="Mind.")["note"].endswith("Mind.")


def test_a_result_is_json_all_through(context):
    import json

    result = run(context, query="email")
    assert json.loads(json.dumps(result)) == result


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "query": st.text(max_size=30),
            "queries": st.lists(st.text(max_size=10), max_size=6),
            "limit": st.integers(-1, 60) | st.none(),
            "tags": st.lists(st.text(max_size=5), max_size=3) | st.text(max_size=4),
            "providers": st.lists(st.text(alphabet="mail*?[]!", max_size=6), max_size=3),
            "detail": st.sampled_from(["names", "summary", "full", "x"]),
            "mode": st.sampled_from(["auto", "regex", "exact"]),
            "cursor": st.text(max_size=8),
        },
    )
)
def test_any_arguments_give_a_valid_result_or_a_remedy(session_context, arguments):
    remedy: str | None = "not needed"
    try:
        run(session_context, **arguments)
    except InvalidArguments as error:
        remedy = error.remedy
    assert remedy


@pytest.fixture(scope="module")
def session_context(mail_tools_of_session):
    return context_of(mail_tools_of_session)


def test_the_context_cannot_be_changed_by_a_search(context):
    with pytest.raises(dataclasses.FrozenInstanceError):
        context.tools = ()


def mcp_name(tool):
    return tool.qualified_name.replace(".", "_")


def hit_names(hits):
    return [hit.tool.qualified_name for hit in hits]


def regex(pattern, tools, **options):
    return hit_names(match_regex(pattern, tools, mcp_name, **options).hits)


def test_a_pattern_matches_names_descriptions_and_parameters(mail_tools):
    assert regex(r"get_(alerts|forecast)", mail_tools) == ["weather.get_alerts", "weather.get_forecast"]
    assert regex(r"received\s+mess", mail_tools) == ["mail.list_inbox"]
    assert regex(r"^subject$", mail_tools) == ["mail.send_email"]
    assert regex(r"Read a file$", mail_tools) == ["files.readFile"]


def test_letter_case_does_not_count_unless_the_pattern_says_so(mail_tools):
    assert regex("SEND_EMAIL", mail_tools) == ["mail.send_email"]
    assert regex("(?-i)SEND_EMAIL", mail_tools) == []


def test_matches_of_names_come_before_other_matches(mail_tools):
    found = match_regex("mail|weather", mail_tools, mcp_name).hits
    assert [hit.score for hit in found] == [1.0] * 4
    found = match_regex("email|recipient|received", mail_tools, mcp_name).hits
    assert [(hit.tool.name, hit.score) for hit in found] == [("send_email", 1.0), ("list_inbox", 0.5)]


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("(a", "unclosed group"),
        ("[z-a]", "invalid character class range"),
        ("(?=a)b", "look-around"),
        (r"(a)\1", "backreferences are not supported"),
        ("a{2,1}", "invalid repetition"),
        (r"(\w{1000}){1000}", "too large"),
    ],
)
def test_an_invalid_pattern_is_refused_and_its_fault_named(mail_tools, pattern, fault):
    with pytest.raises(InvalidArguments, match=fault) as raised:
        regex(pattern, mail_tools)
    assert "Rust" in raised.value.remedy


def test_an_overlong_pattern_is_refused(mail_tools):
    assert regex("a" * 500, mail_tools) == []
    with pytest.raises(InvalidArguments, match="longer than 500"):
        regex("a" * 501, mail_tools)


def test_a_pattern_that_ruins_backtracking_engines_is_matched(make_tool):
    # An engine that backtracks does not come to an end here.
    assert regex("(a+)+$|(a|a)*b", [make_tool("x.y", "a" * 15_000 + "!")]) == []


def test_a_search_that_runs_out_of_time_is_partial_with_a_note(make_tool):
    tools = [make_tool(f"x.t{number}") for number in range(500)]
    matches = match_regex("t", tools, mcp_name, seconds=-1.0)
    assert (matches.complete, matches.looked_at, matches.hits) == (False, 0, [])
    assert match_regex("t", tools, mcp_name, seconds=60.0).complete


def test_broken_schemas_and_lone_surrogates_are_passed_over(make_tool):
    tools = [
        make_tool("x.a", "\ud800 caf\u00e9", inputs={"properties": {"p": None, "q": {"description": 3}}}),
        make_tool("x.b", inputs={"properties": []}),
    ]
    assert regex("caf\u00e9", tools) == ["x.a"]
    assert regex("^[pq]$", tools) == ["x.a"]
    assert regex("\ud800zz", tools) == []


@given(st.text(max_size=40))
def test_any_pattern_either_matches_or_is_refused(mail_tools_of_session, pattern):
    remedy: str | None = "not needed"
    try:
        regex(pattern, mail_tools_of_session)
    except InvalidArguments as error:
        remedy = error.remedy
    assert remedy


@pytest.mark.parametrize("name", ["send_email", "mail.send_email", "mail_send_email", " SEND_EMAIL "])
def test_a_tool_is_found_by_each_of_its_names(mail_tools, name):
    assert hit_names(match_exact(name, mail_tools, mcp_name)) == ["mail.send_email"]


def test_names_that_differ_in_punctuation_match_only_when_none_is_exact(make_tool):
    tools = [make_tool("x.read_file"), make_tool("y.readFile")]
    assert hit_names(match_exact("read_file", tools, mcp_name)) == ["x.read_file"]
    assert hit_names(match_exact("Read File", tools, mcp_name)) == ["x.read_file", "y.readFile"]
    assert match_exact("read", tools, mcp_name) == []
    assert match_exact("!!", tools, mcp_name) == []


def test_the_nearest_names_are_offered_best_first(mail_tools):
    assert nearest_names("send_emial", mail_tools, mcp_name)[0] == "mail_send_email"
    assert nearest_names("get_alert", mail_tools, mcp_name)[0] == "weather_get_alerts"


@pytest.mark.parametrize("query", ["", "...", "qqqq"])
def test_nothing_near_offers_nothing(mail_tools, query):
    assert nearest_names(query, mail_tools, mcp_name) == []


_HINT = "Search before saying that something cannot be done."


def test_the_catalogue_is_described_by_its_largest_providers():
    counts = {"slack": 200, "github": 1_000, "jira": 40}
    assert describe_catalogue(counts, 500) == f"1,240 tools from github (1,000), slack (200), jira (40). {_HINT}"


def test_providers_that_do_not_fit_are_counted():
    counts = {"slack": 200, "github": 1_000, "jira": 40}
    assert describe_catalogue(counts, 105) == f"1,240 tools from github (1,000), 2 more providers. {_HINT}"
    assert describe_catalogue(counts, 90) == f"1,240 tools from 3 providers. {_HINT}"
    assert describe_catalogue(counts, 70) == f"1,240 tools. {_HINT}"


def test_an_empty_catalogue_says_so():
    assert describe_catalogue({}, 500) == f"No tools yet. {_HINT}"


@given(st.dictionaries(st.text(max_size=12), st.integers(0, 5_000), max_size=30), st.integers(1, 300))
def test_the_description_keeps_to_its_budget(counts, budget):
    assert len(describe_catalogue(counts, budget)) <= budget
