"""Combinators at the root as plain properties."""

import pytest

from utcp_bridge.catalogue.schemas.folding import fold_root

TEXT, INTEGER = {"type": "string"}, {"type": "integer"}


def folded(schema, definitions=None):
    result, was_folded = fold_root({"type": "object", "properties": {}, **schema}, definitions or {})
    assert was_folded
    return result["properties"], result.get("required")


def test_a_schema_without_combinators_is_left_alone():
    schema = {"type": "object", "properties": {"a": TEXT}}
    assert fold_root(schema, {}) == (schema, False)
    assert fold_root(schema, {})[0] is schema


def test_all_of_adds_properties_and_what_they_require():
    schema = {
        "properties": {"a": TEXT},
        "required": ["a"],
        "allOf": [{"properties": {"b": INTEGER}, "required": ["b", "a"]}],
    }
    assert folded(schema) == ({"a": TEXT, "b": INTEGER}, ["a", "b"])


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_alternatives_require_only_what_all_of_them_require(keyword):
    branches = [
        {"properties": {"a": TEXT, "c": TEXT}, "required": ["a", "c"]},
        {"properties": {"b": INTEGER}, "required": ["c", "b"]},
    ]
    assert folded({keyword: branches}) == ({"a": TEXT, "c": TEXT, "b": INTEGER}, ["c"])


def test_branches_that_are_references_are_followed():
    definitions = {"one": {"properties": {"a": TEXT}, "required": ["a"]}}
    assert folded({"allOf": [{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/none"}]}, definitions) == ({"a": TEXT}, ["a"])


def test_conditions_add_optional_properties():
    schema = {
        "if": {"properties": {"x": TEXT}},
        "then": {"properties": {"a": TEXT}, "required": ["a"]},
        "else": {"properties": {"b": INTEGER}},
        "dependentSchemas": {"x": {"properties": {"c": TEXT}}},
    }
    assert folded(schema) == ({"a": TEXT, "b": INTEGER, "c": TEXT}, None)


def test_a_required_name_without_a_property_is_not_listed_as_required():
    assert folded({"anyOf": [{"required": ["ghost"]}]}) == ({}, None)


def test_a_property_that_branches_describe_differently_gets_any_of():
    branches = [{"properties": {"a": sub}} for sub in (TEXT, INTEGER, INTEGER, {"type": "null"})]
    assert folded({"oneOf": branches})[0] == {"a": {"anyOf": [TEXT, INTEGER, {"type": "null"}]}}


def test_an_empty_property_in_a_branch_does_not_hide_the_one_of_another_branch():
    assert folded({"allOf": [{"properties": {"a": {}}}, {"properties": {"a": TEXT}}, {"properties": {"a": {}}}]})[
        0
    ] == {"a": TEXT}


def test_the_values_of_a_discriminator_are_combined():
    branches = [
        {"properties": {"kind": {"type": "string", "const": "cat"}}},
        {"properties": {"kind": {"type": "string", "enum": ["dog", "cat"]}}},
    ]
    assert folded({"oneOf": branches})[0] == {"kind": {"type": "string", "enum": ["cat", "dog"]}}


def test_root_keywords_that_hosts_refuse_are_removed():
    schema = {"type": "object", "properties": {}, "not": {}, "enum": [{}], "const": {}, "allOf": [{}]}
    assert fold_root(schema, {})[0] == {"type": "object", "properties": {}}


def test_branches_that_multiply_are_cut():
    definitions = {"a": {"allOf": [{"$ref": "#/$defs/a"}] * 20}}
    assert folded({"allOf": [{"$ref": "#/$defs/a"}] * 20, "properties": {"x": TEXT}}, definitions) == (
        {"x": TEXT},
        None,
    )
