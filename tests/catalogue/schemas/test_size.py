"""The size of a schema, and walks over its parts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.catalogue.schemas.size import fits, is_small, json_size, map_schemas, only_used

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"))


@given(st.recursive(TEXTS | st.integers(-(2**53), 2**53) | st.none(), lambda inner: st.dictionaries(TEXTS, inner)))
def test_the_size_is_that_for_hosts_that_escape_what_is_not_ascii(value):
    assert json_size(value) == len(json.dumps(value, separators=(",", ":")))


@pytest.mark.parametrize("schema", [None, 3, [], {}, {"a": [{}]}])
def test_a_small_schema_has_few_objects_and_lists(schema):
    assert is_small(schema, 3)


def test_a_schema_that_contains_itself_is_not_small():
    circle = {}
    circle["a"] = circle
    assert not is_small(circle, 1_000)
    assert not is_small({"$defs": {str(number): {} for number in range(100)}}, 1_000)
    assert not is_small({"a": [[], [], []]}, 4)


def test_what_json_cannot_represent_does_not_fit():
    assert not fits({"\ud800": 1}, 1_000)
    assert fits({"a": 1}, 7)
    assert not fits({"a": 1}, 6)


def test_definitions_without_a_reference_are_removed():
    definitions = {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"type": "null"}, "c": {"$ref": "#/$defs/c"}}
    schema = {"properties": {"p": {"$ref": "#/$defs/a"}}, "$defs": definitions}
    assert only_used(schema)["$defs"].keys() == {"a", "b"}
    assert only_used({"$defs": definitions}) == {}
    assert only_used({"type": "object"}) == {"type": "object"}


def test_every_sub_schema_is_visited_once():
    seen = []
    schema = {
        "properties": {"a": {"items": {"anyOf": [{"not": {}}, {}]}}},
        "$defs": {"d": {}},
        "default": {"properties": 1},
    }

    def visit(sub, depth):
        seen.append(depth)
        return sub

    assert map_schemas(schema, visit) == schema
    assert sorted(seen) == [0, 1, 1, 2, 3, 3, 4]
