"""Comparing what arrived with what a vector expects."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from utcp_bridge.conformance.running import compare_requests, same, shortened

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
ARRIVED = {
    "method": "GET",
    "path": "/a",
    "query": {"q": "1"},
    "headers": {"x-key": "k", "host": "h"},
    "text": "t",
    "frames": [{"text": "a", "binary": False}],
}


@given(VALUES)
def test_a_value_is_the_same_as_itself(value):
    assert same(value, json.loads(json.dumps(value)))


@given(VALUES, VALUES)
def test_sameness_is_symmetric_and_is_that_of_json(one, other):
    assert same(one, other) == same(other, one)
    if same(one, other):
        assert one == other


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (0, False), ([1], [True]), ({"a": 1}, {"a": 1, "b": 2}), ("1", 1)]
)
def test_values_that_differ(one, other):
    assert not same(one, other)


def test_a_number_is_the_same_in_both_spellings():
    assert same({"a": [1]}, {"a": [1.0]})


@pytest.mark.parametrize(
    ("expected", "line"),
    [
        ({"method": "POST"}, 'method: expected "POST"; arrived "GET"'),
        ({"path": "/b"}, 'path: expected "/b"; arrived "/a"'),
        ({"query": {}}, 'query: expected {}; arrived {"q": "1"}'),
        ({"headers": {"X-Key": "j"}}, 'headers, X-Key: expected "j"; arrived "k"'),
        ({"headers": {"x-key": None}}, 'headers, x-key: expected null; arrived "k"'),
        ({"json": {"a": 1}}, 'json: expected {"a": 1}; arrived "t"'),
        ({"frames": [{"text": "b"}]}, 'text: expected "b"; arrived "a"'),
        ({"frames": []}, 'frames: expected []; arrived [{"text": "a", "binary": false}]'),
    ],
)
def test_a_difference_is_one_line(expected, line):
    assert compare_requests([expected], [ARRIVED]) == [line]


def test_only_named_members_are_compared():
    expected = {"path": "/a", "headers": {"X-KEY": "k", "x-none": None}, "frames": [{"text": "a"}]}
    assert compare_requests([expected], [ARRIVED]) == []


def test_the_number_of_requests_is_compared():
    assert compare_requests([], [ARRIVED]) == ['expected nothing; arrived "GET" "/a" "t"']
    assert compare_requests([{"path": "/a"}], []) == ['expected "/a"; arrived nothing']


@given(VALUES)
def test_a_shown_value_is_short(value):
    assert len(shortened(value)) <= 301


@given(st.text(min_size=301))
def test_a_long_text_is_cut(value):
    assume(len(json.dumps(value, ensure_ascii=False)) > 300)
    assert shortened(value).endswith("…")
