"""Keywords and their well-formed values."""

import datetime as dt
import math

import pytest

from utcp_bridge.catalogue.schemas.keywords import ABSENT, PLAIN, json_copy, modern_form


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("minimum", 1.5, 1.5),
        ("minimum", True, ABSENT),
        ("minimum", math.inf, ABSENT),
        ("minimum", "1", ABSENT),
        ("minLength", 3, 3),
        ("minLength", 3.0, 3),
        ("minLength", -1, ABSENT),
        ("minLength", 2.5, ABSENT),
        ("minLength", True, ABSENT),
        ("required", ["a", 3, "a", "b\n"], ["a"]),
        ("required", True, ABSENT),
        ("required", [], ABSENT),
        ("enum", [1, None, "x", dt.date(2026, 1, 1)], [1, None, "x"]),
        ("enum", "x", ABSENT),
        ("enum", [], ABSENT),
        ("default", math.nan, ABSENT),
        ("default", {"a": [1, None]}, {"a": [1, None]}),
        ("const", "\ud800", ABSENT),
        ("const", 2**80, ABSENT),
        ("description", "a\u200bb", "ab"),
        ("description", 3, ABSENT),
        ("format", "date", "date"),
        ("pattern", "a\nb", ABSENT),
        ("uniqueItems", 1, ABSENT),
        ("deprecated", True, True),
        ("dependentRequired", {"a": ["b"], "c": "d"}, {"a": ["b"]}),
        ("dependentRequired", ["a"], ABSENT),
        ("dependentRequired", {"c": "d"}, ABSENT),
        ("enum", ["b", "a", "b", 1, True, 1.0], ["b", "a", 1, True, 1.0]),
    ],
)
def test_a_keyword_keeps_a_well_formed_value_only(keyword, value, kept):
    assert PLAIN[keyword](value) == kept


def test_a_copy_shares_nothing_with_the_original():
    original = {"a": [1]}
    copied = json_copy(original)
    copied["a"].append(2)
    assert original == {"a": [1]}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            {"items": [{"type": "string"}], "additionalItems": False},
            {"prefixItems": [{"type": "string"}], "items": False},
        ),
        ({"items": [True]}, {"prefixItems": [True], "items": True}),
        ({"minimum": 3, "exclusiveMinimum": True}, {"exclusiveMinimum": 3}),
        ({"maximum": 3, "exclusiveMaximum": False}, {"maximum": 3}),
        ({"exclusiveMaximum": True}, {}),
        (
            {"dependencies": {"a": ["b"], "c": {"type": "object"}}},
            {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"type": "object"}}},
        ),
        ({"example": 3}, {"examples": [3]}),
    ],
)
def test_older_drafts_are_read_as_2020_12(old, new):
    assert {key: value for key, value in modern_form(old).items() if key in new} == new
    assert not new.keys() & {"additionalItems", "dependencies"}


def test_a_modern_schema_is_not_copied():
    schema = {"type": "array", "items": {}}
    assert modern_form(schema) is schema
