"""Root combinators become plain properties."""

import pytest

from utcp_bridge.catalogue.schemas.folding import fold_root

A, B = {"type": "string"}, {"type": "integer"}


def folded(schema, definitions=None):
    result, was_folded = fold_root({"type": "object", "properties": {}, **schema}, definitions or {})
    assert was_folded
    return result["properties"], result.get("required")


def test_a_schema_without_combinators_is_left_alone():
    schema = {"type": "object", "properties": {"a": A}}
    assert fold_root(schema, {}) == (schema, False)
    assert fold_root(schema, {})[0] is schema


def test_all_of_adds_properties_and_what_they_require():
    schema = {"properties": {"a": A}, "required": ["a"], "allOf": [{"properties": {"b": B}, "required": ["b", "a"]}]}
    assert folded(schema) == ({"a": A, "b": B}, ["a", "b"])


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_alternatives_require_only_what_all_of_them_require(keyword):
    branches = [
        {"properties": {"a": A, "c": A}, "required": ["a", "c"]},
        {"properties": {"b": B}, "required": ["c", "b"]},
    ]
    assert folded({keyword: branches}) == ({"a": A, "c": A, "b": B}, ["c"])


def test_branches_that_are_references_are_followed():
    definitions = {"one": {"properties": {"a": A}, "required": ["a"]}}
    assert folded({"allOf": [{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/none"}]}, definitions) == ({"a": A}, ["a"])


def test_conditions_add_optional_properties():
    schema = {
        "if": {"properties": {"x": A}},
        "then": {"properties": {"a": A}, "required": ["a"]},
        "else": {"properties": {"b": B}},
        "dependentSchemas": {"x": {"properties": {"c": A}}},
    }
    assert folded(schema) == ({"a": A, "b": B, "c": A}, None)


def test_what_is_required_but_described_nowhere_is_not_listed_as_required():
    assert folded({"anyOf": [{"required": ["ghost"]}]}) == ({}, None)


def test_a_property_that_branches_describe_differently_may_be_either():
    branches = [{"properties": {"a": sub}} for sub in (A, B, B, {"type": "null"})]
    assert folded({"oneOf": branches})[0] == {"a": {"anyOf": [A, B, {"type": "null"}]}}


def test_a_branch_that_says_nothing_of_a_property_does_not_hide_what_another_says():
    assert folded({"allOf": [{"properties": {"a": {}}}, {"properties": {"a": A}}, {"properties": {"a": {}}}]})[0] == {
        "a": A
    }


def test_the_values_of_a_discriminator_are_joined():
    branches = [
        {"properties": {"kind": {"type": "string", "const": "cat"}}},
        {"properties": {"kind": {"type": "string", "enum": ["dog", "cat"]}}},
    ]
    assert folded({"oneOf": branches})[0] == {"kind": {"type": "string", "enum": ["cat", "dog"]}}


def test_root_keywords_that_hosts_refuse_are_gone():
    schema = {"type": "object", "properties": {}, "not": {}, "enum": [{}], "const": {}, "allOf": [{}]}
    assert fold_root(schema, {})[0] == {"type": "object", "properties": {}}


@pytest.mark.timeout(5)
def test_branches_that_multiply_are_given_up_in_time():
    definitions = {"a": {"allOf": [{"$ref": "#/$defs/a"}] * 20}}
    assert folded({"allOf": [{"$ref": "#/$defs/a"}] * 20, "properties": {"x": A}}, definitions) == ({"x": A}, None)
