import pytest

from utcp_bridge.dialects.openapi.shapes import (
    Located,
    as_array,
    as_object,
    as_text,
    child,
    has_type,
    pointer_token,
)


def test_a_located_value_knows_the_pointer_of_its_members():
    place = Located({"paths": {"/a~b": [{"x": 1}]}}, "u", "#").at("paths", "/a~b", 0)
    assert (place.value, place.base, place.pointer) == ({"x": 1}, "u", "#/paths/~1a~0b/0")


@pytest.mark.parametrize(("value", "step"), [({}, "a"), ([1], 1), ([1], "x"), ("text", "a"), (None, 0)])
def test_a_step_into_nothing_is_none(value, step):
    assert child(value, step) is None


def test_only_the_expected_shape_passes():
    assert (as_object([]), as_object({"a": 1})) == ({}, {"a": 1})
    assert (as_array({}), as_array([1])) == ([], [1])
    assert (as_text(5), as_text("x")) == ("", "x")


@pytest.mark.parametrize(
    ("declared", "found"),
    [("object", True), (["object", "null"], True), ([["object"]], False), (None, False), ({}, False)],
)
def test_a_type_may_stand_alone_or_in_a_list(declared, found):
    assert has_type({"type": declared}, "object") is found


def test_a_pointer_token_is_escaped():
    assert pointer_token("a/b~c") == "a~1b~0c"
