import pytest

from utcp_bridge.dialects.openapi.shapes import (
    Located,
    as_array,
    as_object,
    as_text,
    child,
    describe,
    family_of,
    has_type,
    is_openapi,
    pointer_token,
)


def test_members_of_a_located_value_have_a_pointer():
    place = Located({"paths": {"/a~b": [{"x": 1}]}}, "u", "#").at("paths", "/a~b", 0)
    assert (place.value, place.base, place.pointer) == ({"x": 1}, "u", "#/paths/~1a~0b/0")


@pytest.mark.parametrize(("value", "step"), [({}, "a"), ([1], 1), ([1], "x"), ("text", "a"), (None, 0)])
def test_a_step_to_a_missing_member_is_none(value, step):
    assert child(value, step) is None


def test_a_value_of_another_shape_becomes_an_empty_one():
    assert (as_object([]), as_object({"a": 1})) == ({}, {"a": 1})
    assert (as_array({}), as_array([1])) == ([], [1])
    assert (as_text(5), as_text("x")) == ("", "x")


@pytest.mark.parametrize(
    ("declared", "found"),
    [("object", True), (["object", "null"], True), ([["object"]], False), (None, False), ({}, False)],
)
def test_has_type_accepts_one_type_or_a_list(declared, found):
    assert has_type({"type": declared}, "object") is found


def test_a_pointer_token_is_escaped():
    assert pointer_token("a/b~c") == "a~1b~0c"


@pytest.mark.parametrize(
    ("document", "family"),
    [
        ({"openapi": "3.0.3"}, "3.0"),
        ({"openapi": "3.0"}, "3.0"),
        ({"openapi": 3}, "3.0"),
        ({"openapi": 3.1}, "3.1"),
        ({"openapi": "v3.1.0-rc1"}, "3.1"),
        ({"openapi": "3.2.0"}, "3.1"),
        ({"swagger": "2.0"}, "2.0"),
        ({"swagger": 2.0}, "2.0"),
        ({"swagger": 2}, "2.0"),
        ({"openapi": True}, None),
        ({"openapi": "4.0.0"}, None),
        ({"swagger": "1.2"}, None),
        ({"openapi": "soon"}, None),
        ({"openapi": None, "swagger": "2.0"}, "2.0"),
        ({"tools": []}, None),
        ([], None),
        ("openapi: 3.0.0", None),
    ],
)
def test_family_of_reads_lenient_version_numbers(document, family):
    assert family_of(document) == family
    assert is_openapi(document) is (family is not None)


def test_describe_returns_title_version_and_description():
    document = {"swagger": 2.0, "info": {"title": "T", "version": 1, "license": {}}}
    assert describe(document) == {"title": "T", "version": "1", "openapi": "2.0"}
    assert describe({"info": None}) == {"openapi": ""}
