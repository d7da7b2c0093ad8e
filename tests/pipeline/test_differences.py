"""Differences of values and replies."""

import copy
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import Binary, ContentBlocks, Result
from utcp_bridge.pipeline.differences import (
    Difference,
    Ignored,
    paired_tools,
    reply_differences,
    same,
    value_differences,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def places(value, path=()):
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def changed(value, path, new):
    if not path:
        return new
    result = copy.deepcopy(value)
    at(result, path[:-1])[path[-1]] = new
    return result


def blocks(*texts, **fields):
    return Result(ContentBlocks([{"type": "text", "text": text} for text in texts], **fields))


@given(VALUES)
def test_a_value_is_the_same_as_itself_and_as_its_copy_in_json(value):
    assert same(value, value)
    assert same(value, json.loads(json.dumps(value)))


@given(st.data())
def test_a_single_changed_member_is_found_at_its_place(data):
    value = data.draw(VALUES)
    path = data.draw(st.sampled_from(list(places(value))))
    other = data.draw(SCALARS)
    before = at(value, path)
    assume(not same(before, other))
    found = list(value_differences(value, changed(value, path, other)))
    assert [pointer for pointer, _, _ in found] == [
        "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path)
    ]


@given(VALUES, VALUES)
def test_differences_are_the_same_number_in_both_directions(old, new):
    assert len(list(value_differences(old, new))) == len(list(value_differences(new, old)))


@pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), (None, False), ("1", 1), ([], {}), ("", None)])
def test_values_of_other_types_differ(old, new):
    assert not same(old, new)


@pytest.mark.parametrize(
    ("pointer", "is_ignored"),
    [
        ("/items/*/at", True),
        ("/**/at", True),
        ("/items/0/at", True),
        ("/items/at", False),
        ("/**", True),
        ("/*", True),
        ("/*/1", False),
    ],
)
def test_ignored_members_are_named_by_pointers(pointer, is_ignored):
    old, new = {"items": [{"at": 1}]}, {"items": [{"at": 2}]}
    assert (list(value_differences(old, new, Ignored([pointer]))) == []) is is_ignored


def test_an_ignored_member_must_be_a_pointer():
    with pytest.raises(ConfigError, match="'time' is not a JSON pointer"):
        Ignored(["time"])


@given(VALUES)
def test_a_value_and_the_mcp_content_that_says_the_same_do_not_differ(value):
    assume(isinstance(value, dict | list) and value)
    text = json.dumps(value, indent=1)
    for old in (blocks(text), blocks(text, structured=value), blocks("a summary", structured=value)):
        if isinstance(value, dict):
            assert list(reply_differences("r", old, Result(value))) == []
    assert list(reply_differences("r", blocks(text), Result(value))) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (blocks("a"), Result("a"), []),
        (blocks("a"), Result("b"), ["The texts differ."]),
        (blocks("1"), Result(1), []),
        (blocks("1", structured={"result": 1}), Result(1), []),
        (blocks("1", structured={"result": 2}), Result(2), ["The replies differ."]),
        (blocks("a", "b"), Result("a"), ["The replies differ."]),
        (blocks("a", is_error=True), Result("a"), ["Only the old side reports a failure."]),
        (Result("a"), blocks("a", is_error=True), ["Only the new side reports a failure."]),
        (Result([1]), Result([1], truncated="cut"), ["Only the reply of the new side is incomplete."]),
        (Result(Binary(b"x", "image/png")), Result(Binary(b"y", "image/png")), ["The replies differ."]),
        (
            Result(Binary(b"x", "image/png")),
            Result(ContentBlocks([{"type": "image", "data": "eA==", "mimeType": "image/png"}])),
            [],
        ),
    ],
)
def test_replies_are_compared_by_what_they_say(old, new, expected):
    assert [one.what for one in reply_differences("r", old, new)] == expected


def test_another_layout_of_the_same_json_text_is_explained():
    [found] = reply_differences("r", blocks('{"a": 1}'), Result('{"a":1}'))
    assert found.explained


def test_spellings_that_fit_several_tools_are_not_paired():
    assert paired_tools(["get_sum"], ["getSum", "get-sum"]) == {}
    assert paired_tools(["get_sum"], ["get_sum", "getSum"]) == {"get_sum": "get_sum"}


@pytest.mark.parametrize("value", [2**80, "\ud800", {"\ud800": 2**80}, float("nan"), b"bytes"])
def test_any_value_can_be_shown(value):
    assert str(Difference("here", "They differ.", "/a", value, None)).encode()
