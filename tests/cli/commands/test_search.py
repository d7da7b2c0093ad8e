"""`utcp-bridge search`."""

import json


def test_the_best_tool_comes_first(command):
    outcome = command("search", "--quickstart", "how", "many", "words", "--limit", "2")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["SCORE", "NAME", "DESCRIPTION"]
    assert len(lines) == 3
    assert {line.split()[1] for line in lines[1:]} == {"desk.text_statistics", "desk.top_words"}


def test_json_has_scores_and_schemas(command):
    outcome = command("search", "--quickstart", "unit conversion", "--json", "-n", "1")
    (hit,) = json.loads(outcome.out)
    assert hit["name"] == "desk.convert_units"
    assert 0 < hit["score"] <= 1
    assert hit["inputs"]["required"] == ["value", "from", "to"]


def test_tags_narrow_the_search(command, manual):
    outcome = command("search", "-c", manual, "notice", "--tag", "door", "--json")
    assert [hit["name"] for hit in json.loads(outcome.out)] == ["notices.door"]


def test_a_search_without_a_match_says_so_on_stderr(command, manual):
    outcome = command("search", "-c", manual, "zzzzzzzz")
    assert (outcome.code, outcome.out) == (0, "")
    assert "No tool matches." in outcome.err
