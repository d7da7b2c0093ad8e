import pytest

from utcp_bridge.dialects.openapi.keywords import (
    count,
    examples,
    is_plain_data,
    number,
    pattern,
    text_list,
    typed_enum,
    types,
)


@pytest.mark.parametrize(
    ("declared", "known"),
    [
        ("string", "string"),
        (" Integer ", "integer"),
        ("float", "number"),
        ("file", "string"),
        ("any", None),
        (["string", "null", "string"], ["string", "null"]),
        (["any"], None),
        ([5, None], None),
        ({}, None),
    ],
)
def test_types_are_mended_or_dropped(declared, known):
    assert types(declared) == known


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, 1),
        ("5", 5),
        ("1.5", 1.5),
        ("1e2", 100.0),
        ("x", None),
        (True, None),
        (None, None),
        (float("inf"), None),
        (10**30, None),
    ],
)
def test_numbers_may_be_written_as_text_but_not_beyond_64_bits(value, found):
    assert number(value) == found


@pytest.mark.parametrize(("value", "found"), [(0, 0), ("3", 3), (2.0, 2), (2.5, None), (-1, None), ("x", None)])
def test_a_count_is_a_whole_number_from_zero(value, found):
    assert count(value) == found


@pytest.mark.parametrize(
    ("expression", "portable"),
    [
        (r"^[a-z]+\d{3}$", True),
        (r"^(?:a|b)(?=c)", True),
        (r"\p{L}", False),
        (r"(?i)a", False),
        (r"(?P<n>a)", False),
        (r"(?<=a)b", False),
        (r"\Aa\Z", False),
        (r"(a)\1", False),
        (r"a++", False),
        (r"/^[a-z]+$/i", False),
        (r"(", False),
        ("a" * 2_000, False),
    ],
)
def test_a_pattern_counts_only_where_it_means_the_same_everywhere(expression, portable):
    assert pattern(expression) is portable


@pytest.mark.parametrize(
    ("values", "kind", "fitted"),
    [
        ([1, 2, 1], "integer", [1, 2]),
        ([1, True, "a", None], "string", ["1", "true", "a", None]),
        (["1", "2.5", "x"], "number", [1, 2.5, "x"]),
        (["true", "FALSE", "x", None], "boolean", [True, False, "x", None]),
        ([1, True, 1.0], None, [1, True, 1.0]),
        ([], "string", None),
        ("a", "string", None),
        ([{"$ref": "#/x"}], None, None),
        ([["a"]], ["string", "null"], [["a"]]),
    ],
)
def test_an_enum_is_written_as_its_type_says(values, kind, fitted):
    assert typed_enum(values, kind) == fitted


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        ({"example": 1}, [1]),
        ({"example": 0, "examples": [1, 2, 3, 4]}, [0, 1, 2]),
        ({"examples": {"a": {"value": 1}, "b": {"externalValue": "u"}, "c": 5}}, [1]),
        ({"example": {"$ref": "#/x"}}, []),
        ({"example": float("nan")}, []),
        ({"examples": "x"}, []),
    ],
)
def test_examples_come_in_every_form_at_most_three(node, shown):
    assert examples(node) == shown


def test_plain_data_is_json_without_references():
    assert is_plain_data({"a": [1, "x", None, 1.5, True]})
    assert not is_plain_data({"a": [{"$ref": 1}]})
    assert not is_plain_data({"a": object()})
    assert not is_plain_data([2**70])


def test_a_text_list_holds_each_text_once():
    assert text_list(["a", 5, "a", "b"]) == ["a", "b"]
    assert text_list(True) == []
