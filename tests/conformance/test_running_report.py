"""The report of a run: rows, JSON and the tables of the page."""

import json
from dataclasses import replace

from tests.support.source import DOCS

from utcp_bridge.conformance.running import Implementation, Outcome, as_json, is_conforming, matrix, outdated, tables
from utcp_bridge.conformance.vectors import chosen_topics, topics

TOPICS = chosen_topics(["http/path-*", "sse/crlf"])
VECTORS = [vector for topic in TOPICS for vector in topic.vectors]
SDK = Implementation("utcp-sdk", "1.1.2", {})


def outcomes(verdicts):
    """Return outcomes with the verdicts that are named by id, and `passes` for the others."""
    return [Outcome(one, verdicts.get(one.id, "passes"), ("x",) if one.id in verdicts else ()) for one in VECTORS]


def test_the_matrix_has_a_row_for_each_topic_and_the_sums():
    found = outcomes({"http/path-dots@v1": "diverges", "http/path-dots@v0": "differs", "sse/crlf@v0": "unsupported"})
    count = sum(one.topic == "http (v1)" for one in VECTORS)
    rows = {row[0]: row[1:] for row in matrix(found)}
    assert rows["http (v1)"] == (str(count), str(count - 1), "0", "1", "0")
    assert rows["sse (v0)"] == ("1", "0", "0", "0", "1")
    assert rows["all"] == (str(2 * count + 2), str(2 * count - 1), "1", "1", "1")
    assert (is_conforming(found), is_conforming(outcomes({}))) == (False, True)


def test_the_results_are_json():
    found = as_json(SDK, outcomes({"http/path-dots@v1": "differs"}))
    assert json.loads(json.dumps(found)) == found
    assert (found["name"], found["conforms"], found["counts"]["differs"]) == ("utcp-sdk", False, 1)
    assert {"id": "http/path-dots@v1", "verdict": "differs", "differences": ["x"]} in found["vectors"]


def test_the_tables_show_who_differs_and_what_is_not_declared():
    unsupported = {one.id: "unsupported" for one in VECTORS if one.generation == "v0"}
    results = [
        as_json(SDK, outcomes({**unsupported, "http/path-dots@v1": "diverges", "http/path-two@v1": "differs"})),
        as_json(replace(SDK, name="utcp-bridge"), outcomes({})),
    ]
    text = tables(TOPICS, results)
    count = sum(one.topic == "http (v1)" for one in VECTORS)
    assert f"| HTTP (v1) | {count} | {count - 2}/{count} | {count}/{count} |" in text
    assert f"| HTTP (v0) | {count} | - | {count}/{count} |" in text
    assert "| `http/path-dots` |" in text
    assert "utcp-sdk: calls another resource" in text
    assert "python-utcp:" not in text
    assert text.endswith("## Not declared\n\n- utcp-sdk: `http/path-two@v1`")


def test_a_declaration_that_does_not_hold_in_any_generation_is_outdated():
    assert outdated(outcomes({"http/path-dots@v1": "diverges"}), "utcp-sdk") == ["http/path-twice", "sse/crlf"]
    assert outdated(outcomes({}), "nobody") == []


def test_a_difference_by_chance_is_declared_and_may_pass():
    passed = [Outcome(one, "passes", ()) for topic in chosen_topics(["sse/split-anywhere"]) for one in topic.vectors]
    assert outdated(passed, "utcp-sdk") == ["sse/split-anywhere"]
    assert outdated(passed, "python-utcp-0") == []


def test_the_published_results_are_those_of_these_vectors():
    """`scripts/conformance` writes them."""
    results = json.loads((DOCS / "conformance.json").read_text(encoding="utf-8"))
    ids = [one.id for topic in topics() for one in topic.vectors]
    assert [[one["id"] for one in result["vectors"]] for result in results] == [ids] * 4
    page = (DOCS / "conformance.md").read_text(encoding="utf-8")
    assert page.endswith(f"\n{tables(topics(), results)}\n")
