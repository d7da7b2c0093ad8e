"""Two habits of the reference library in v1 documents."""

import pytest

from utcp_bridge.dialects.v1 import MAP_KEYS, OPERATOR_KEYS, says_nothing, without_null_keywords
from utcp_bridge.settings import ManualOptions


@pytest.mark.parametrize(
    "schema", [None, {}, {"type": "object"}, {"type": "object", "properties": {}}, {"properties": {}, "required": []}]
)
def test_a_default_output_schema_says_nothing(schema):
    assert says_nothing(schema)


@pytest.mark.parametrize(
    "schema",
    [{"type": "array"}, {"type": "object", "properties": {"a": {}}}, {"type": "object", "description": "x"}, "text"],
)
def test_any_other_output_schema_says_something(schema):
    assert not says_nothing(schema)


def test_nulls_for_absent_keywords_are_dropped_at_every_depth():
    dumped = {
        "type": "object",
        "title": None,
        "const": None,
        "properties": {"a": {"type": "string", "enum": None, "default": None, "const": None}},
        "anyOf": [{"type": "null", "items": None}],
    }

    assert without_null_keywords(dumped) == {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "anyOf": [{"type": "null"}],
    }


def test_a_schema_without_such_nulls_is_the_same_object():
    schema = {
        "properties": {"a": {"default": None, "const": None}},
        "examples": [{"title": None}],
        "enum": [None],
    }

    assert without_null_keywords(schema) is schema


def test_data_within_a_dumped_schema_keeps_its_nulls():
    assert without_null_keywords({"title": None, "default": {"title": None}}) == {"default": {"title": None}}


def test_a_very_deep_schema_is_left_as_it_is_below_a_depth():
    schema = {}
    for _ in range(400):
        schema = {"items": schema}

    assert without_null_keywords(schema) is schema


def test_the_operators_keys_are_the_options_of_a_manual_and_its_maps():
    assert MAP_KEYS | ManualOptions.model_fields.keys() == OPERATOR_KEYS
