"""What is spliced into messages as bytes is what would be written of it."""

import weakref
from dataclasses import replace
from math import inf, nan

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.catalogue.fitting import Budget
from utcp_bridge.catalogue.render import Rendering, render_result
from utcp_bridge.catalogue.schemas.conforming import Conformer
from utcp_bridge.catalogue.spliced import SPLICED_FROM, ListedTools, SplicedText, spliced, spliced_message
from utcp_bridge.model import Result, WrittenValue

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=9)
VALUES = st.recursive(SCALARS, lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=5), one))
FILLER = 'x"\\é\u2028😀\x7f' * SPLICED_FROM
WIDE = Budget(1_000_000)
NARROW = Budget(20_000)
CONFORMER = Conformer({"type": "object", "properties": {"n": {"type": "integer"}}})
RENDERINGS = [
    Rendering(budget, structured=structured, conform=conform, wrapped=wrapped)
    for budget in (WIDE, NARROW)
    for structured, conform, wrapped in [
        (False, None, False),
        (True, None, False),
        (True, CONFORMER, False),
        (True, None, True),
    ]
]


def written(value, *, exact=False):
    return Result(value, written=WrittenValue(value, orjson.dumps(value), is_exact=exact))


@given(value=VALUES, as_list=st.booleans(), which=st.sampled_from(RENDERINGS), read=st.booleans())
def test_a_value_is_the_same_whether_it_was_written_before_or_not(value, as_list, which, read):
    value = [FILLER, value] if as_list else {"n": value, "filler": FILLER}
    if read:
        value = orjson.loads(orjson.dumps(value))
    one = render_result(written(value, exact=read), which)
    other = render_result(Result(value), which)
    assert one == other
    assert orjson.dumps(spliced(one)) == orjson.dumps(other)
    assert orjson.dumps(one) == orjson.dumps(other)


@pytest.mark.parametrize("structured", [False, True])
def test_a_number_that_json_cannot_have_is_null(structured):
    value = {"filler": FILLER, "n": [inf, -inf, nan]}
    rendering = Rendering(WIDE, structured=structured)
    one = render_result(written(value), rendering)
    assert orjson.dumps(spliced(one)) == orjson.dumps(render_result(Result(value), rendering))
    if structured:
        assert one["structuredContent"]["n"] == [None] * 3


@pytest.mark.parametrize("structured", [False, True])
def test_only_a_structured_result_keeps_the_value(structured):
    """It is many small objects, which would wait in memory until the result is written."""

    class Watched(dict):
        pass

    value = Watched(filler=FILLER)
    gone = weakref.ref(value)
    result = render_result(written(value, exact=True), Rendering(WIDE, structured=structured))
    del value
    assert (gone() is None) == (not structured)
    assert isinstance(result["content"][0]["text"], SplicedText)


def test_the_large_parts_are_spliced_and_nothing_else():
    value = {"filler": FILLER}
    result = render_result(written(value), Rendering(WIDE, structured=True))
    assert isinstance(result["content"][0]["text"], SplicedText)
    parts = spliced(result)
    assert isinstance(parts["structuredContent"], orjson.Fragment)
    assert parts["content"] is result["content"]  # a text is written once, in the message
    close = len(orjson.dumps(result)) + 3_000  # so its size was asked for
    result = render_result(written(value), Rendering(Budget(close), structured=True))
    parts = spliced(result)
    assert isinstance(parts["structuredContent"], orjson.Fragment)
    assert isinstance(parts["content"][0]["text"], orjson.Fragment)
    small = render_result(Result({"a": 1}), Rendering(WIDE, structured=True))
    for other in (small, {}, [], None, "x", {"content": None}, {"content": [1, {"text": 2}]}, {"tools": []}):
        assert spliced(other) is other
        assert spliced_message(other) is other


def test_what_was_changed_since_is_written_anew():
    value = {"filler": FILLER}
    result = render_result(written(value), Rendering(WIDE, structured=True))
    changed = {
        **result,
        "content": [{"type": "text", "text": "a mark"}, *result["content"]],
        "structuredContent": {**result["structuredContent"], "more": 1},
    }
    assert orjson.dumps(spliced(changed)) == orjson.dumps(changed)
    cut = render_result(replace(written(value), truncated="cut"), Rendering(WIDE, structured=True))
    assert orjson.dumps(spliced(cut)) == orjson.dumps(cut)
    assert b"_truncated" in orjson.dumps(spliced(cut))


def test_bytes_of_another_value_are_not_used():
    result = replace(written({"filler": FILLER}), value={"other": FILLER})
    assert result.data is None
    assert render_result(result, RENDERINGS[0]) == render_result(Result({"other": FILLER}), RENDERINGS[0])


def test_the_bytes_of_a_page_are_kept_for_the_second_client():
    tools = ListedTools([{"name": "a", "inputSchema": {"type": "object"}}])
    plain = {"tools": [*tools], "nextCursor": "x"}
    assert spliced(first := {"tools": tools.asked(), "nextCursor": "x"}) is first
    again = spliced({"tools": tools.asked(), "nextCursor": "x"})
    assert isinstance(again["tools"], orjson.Fragment)
    assert orjson.dumps(again) == orjson.dumps(plain)


def test_a_page_that_orjson_refuses_has_no_bytes():
    tools = ListedTools([{"name": "a", "_meta": {"n": 2**80}}])
    for _ in range(3):
        page = {"tools": tools.asked()}
        assert spliced(page) is page
