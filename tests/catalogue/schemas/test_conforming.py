"""Structured results that always fit."""

import pytest

from utcp_bridge.catalogue.schemas.conforming import Conformer, relax

ITEM = {"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}}
SCHEMA = {"type": "object", "properties": {"items": {"type": "array", "items": ITEM}, "total": {"type": "integer"}}}


def test_a_relaxed_schema_keeps_shapes_types_and_words():
    schema = {
        "type": "object",
        "description": "An order.",
        "required": ["state"],
        "additionalProperties": False,
        "properties": {
            "state": {"type": "string", "enum": ["open", "done"], "maxLength": 4},
            "version": {"const": 2},
            "note": {"oneOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "more": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
        },
    }
    assert relax(schema) == {
        "type": "object",
        "description": "An order.",
        "properties": {
            "state": {"type": "string", "examples": ["open", "done"]},
            "version": {"examples": [2]},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "more": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
    }


def test_a_value_that_fits_is_passed_on_as_it_is():
    value = {"items": [{"id": 1, "name": "x", "more": None}], "extra": True}
    assert Conformer(SCHEMA)(value) is value


def test_misfits_move_aside_under_their_pointer_and_nulls_go():
    value = {"items": [{"id": "a-1", "name": None}, {"id": 2, "name": ["x"]}], "total": None}
    original = {"items": [dict(item) for item in value["items"]], "total": None}
    assert Conformer(SCHEMA)(value) == {
        "items": [{}, {"id": 2}],
        "_unexpected": {"/items/0/id": "a-1", "/items/1/name": ["x"]},
    }
    assert value == original


def test_null_members_alone_need_no_mention():
    assert Conformer(SCHEMA)({"total": None, "items": []}) == {"items": []}


def test_an_item_that_is_no_object_takes_its_list_along():
    assert Conformer(SCHEMA)({"items": [{"id": 1}, "x"], "total": 3}) == {
        "total": 3,
        "_unexpected": {"/items": [{"id": 1}, "x"]},
    }


def test_pointers_are_escaped():
    schema = {"type": "object", "properties": {"a/b~c": {"type": "string"}}}
    assert Conformer(schema)({"a/b~c": 3}) == {"_unexpected": {"/a~1b~0c": 3}}


def test_what_cannot_be_mended_moves_aside_whole():
    schema = {"type": "object", "minProperties": 3}
    assert Conformer(schema)({"a": 1}) == {"_unexpected": {"": {"a": 1}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}},
        {"type": "object", "properties": {"a": {"pattern": "("}}},
        {
            "anyOf": [{"$ref": "#/$defs/a"}] * 40,
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}] * 40}, "b": {"anyOf": [{}] * 40}},
        },
    ],
)
def test_a_schema_that_cannot_be_checked_lets_values_through(schema):
    value = {"a": 1}
    assert Conformer(schema)(value) is value


def test_huge_integers_survive_the_mending():
    assert Conformer(SCHEMA)({"total": "x", "big": 2**70}) == {"big": 2**70, "_unexpected": {"/total": "x"}}
