"""What pages show of results and of calls."""

import re

from tests.console.conftest import AS_IT_IS

from utcp_bridge.console.pages import pictures, render, shown_result


def test_a_result_is_shown_as_text_json_with_indents_and_bytes_by_their_size():
    content = [
        {"type": "text", "text": '{"a": [1]}'},
        {"type": "text", "text": "{not json"},
        {"type": "image", "mimeType": "image/png", "data": "AAAA"},
        {"type": "resource_link", "uri": "x:y"},
    ]
    shown = shown_result({"content": content, "isError": True, "structuredContent": {"b": 1}})
    assert shown["failed"] is True
    assert shown["texts"][0] == '{\n  "a": [\n    1\n  ]\n}'
    assert shown["texts"][1:3] == ["{not json", "[image, image/png, 3 bytes]"]
    assert '"uri": "x:y"' in shown["texts"][3]
    assert shown_result({}) == {"failed": False, "texts": [], "structured": None}


def test_pictures_have_a_bar_for_each_span_and_words_for_those_who_do_not_see_them():
    calls = [{"time": 0.0, "outcome": outcome, "seconds": 0.5} for outcome in ("ok", "ok", "timeout")]
    shown = [{**one, "tool": "<b>", "manual": "m", "kind": "k"} for one in calls]
    drawn = pictures(calls, [(0.0, 400), (0.0, 100)])
    listed = {"listed": 2, "all": 500, "listed_tokens": 300, "all_tokens": 90_000}
    tokens = {"tools": listed, "results": {"tokens": 125}}
    assert (len(drawn["bars"]), drawn["most"], drawn["failed"], drawn["longest"]) == (30, 3, 1, 0.5)
    html = render("calls.html", {"calls": shown, "calls_silent": [], "tokens": tokens, **drawn}).decode()
    assert "1 of 3 calls failed" in html
    assert "about 125" in html
    assert "costs about 300 tokens now (2 of 500 tools)" in html
    assert "all tools would cost about 90,000" in html
    assert html.count("<rect") == 3
    assert "style=" not in html
    assert "<b>" not in html


def test_text_in_backticks_is_code_and_escaped():
    manual = {
        "name": "m", "kind": "http", "state": "failed", "title": "", "source": "x", "tools": 0, "seconds": 0.0,
        "retries_in": None, "login": None, "faults": [], "more_faults": 0, "servers": [], "breakers": [],
        "error": {"cause": "a `<i>` b", "remedy": "one ` alone <i>"},
    }  # fmt: skip
    html = render(
        "manuals.html", {"may_log_in": False, "manuals": [manual], "silent": [], "configuration": AS_IT_IS}
    ).decode()
    assert "a <code>&lt;i&gt;</code> b" in html
    assert "one ` alone &lt;i&gt;" in html
    assert re.search(r"data-json='\{\"manual\": \"m\"\}'", html)
