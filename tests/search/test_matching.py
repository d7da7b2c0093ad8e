import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.search.matching import match_exact, match_regex, nearest_names


def mcp_name(tool):
    return tool.qualified_name.replace(".", "_")


def names(hits):
    return [hit.tool.qualified_name for hit in hits]


def regex(pattern, tools, **options):
    return names(match_regex(pattern, tools, mcp_name, **options).hits)


def test_a_pattern_is_sought_in_names_descriptions_and_parameters(mail_tools):
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


def test_a_pattern_that_ruins_backtracking_engines_takes_linear_time(make_tool):
    started = time.process_time()
    assert regex("(a+)+$|(a|a)*b", [make_tool("x.y", "a" * 15_000 + "!")]) == []
    assert time.process_time() - started < 2


def test_when_time_runs_out_the_answer_is_partial_and_says_so(make_tool):
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
    assert names(match_exact(name, mail_tools, mcp_name)) == ["mail.send_email"]


def test_names_that_differ_in_punctuation_match_only_when_none_is_exact(make_tool):
    tools = [make_tool("x.read_file"), make_tool("y.readFile")]
    assert names(match_exact("read_file", tools, mcp_name)) == ["x.read_file"]
    assert names(match_exact("Read File", tools, mcp_name)) == ["x.read_file", "y.readFile"]
    assert match_exact("read", tools, mcp_name) == []
    assert match_exact("!!", tools, mcp_name) == []


def test_the_nearest_names_are_offered_best_first(mail_tools):
    assert nearest_names("send_emial", mail_tools, mcp_name)[0] == "mail_send_email"
    assert nearest_names("get_alert", mail_tools, mcp_name)[0] == "weather_get_alerts"


@pytest.mark.parametrize("query", ["", "...", "qqqq"])
def test_nothing_near_offers_nothing(mail_tools, query):
    assert nearest_names(query, mail_tools, mcp_name) == []
