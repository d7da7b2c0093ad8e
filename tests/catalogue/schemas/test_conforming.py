"""Structured results that always fit."""

import pytest

from utcp_bridge.catalogue.schemas.conforming import Conformer
from utcp_bridge.catalogue.schemas.portable import portable_output

ITEM = {"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}}
SCHEMA = {"type": "object", "properties": {"items": {"type": "array", "items": ITEM}, "total": {"type": "integer"}}}


def test_a_relaxed_schema_keeps_shapes_types_and_descriptions():
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
    assert portable_output(schema, 1_000).schema == {
        "type": "object",
        "description": "An order.",
        "properties": {
            "state": {"type": "string", "examples": ["open", "done"]},
            "version": {"examples": [2]},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "more": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
    }


def test_a_value_that_fits_stays_unchanged():
    value = {"items": [{"id": 1, "name": "x", "more": None}], "extra": True}
    assert Conformer(SCHEMA)(value) is value


def test_members_that_do_not_fit_move_to_unexpected_and_nulls_are_dropped():
    value = {"items": [{"id": "a-1", "name": None}, {"id": 2, "name": ["x"]}], "total": None}
    original = {"items": [dict(item) for item in value["items"]], "total": None}
    assert Conformer(SCHEMA)(value) == {
        "items": [{}, {"id": 2}],
        "_unexpected": {"/items/0/id": "a-1", "/items/1/name": ["x"]},
    }
    assert value == original


def test_dropped_nulls_are_not_mentioned():
    assert Conformer(SCHEMA)({"total": None, "items": []}) == {"items": []}


def test_an_item_that_does_not_fit_moves_with_its_list():
    assert Conformer(SCHEMA)({"items": [{"id": 1}, "x"], "total": 3}) == {
        "total": 3,
        "_unexpected": {"/items": [{"id": 1}, "x"]},
    }


def test_pointers_are_escaped():
    schema = {"type": "object", "properties": {"a/b~c": {"type": "string"}}}
    assert Conformer(schema)({"a/b~c": 3}) == {"_unexpected": {"/a~1b~0c": 3}}


def test_a_value_that_cannot_be_fitted_moves_to_unexpected_whole():
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


def test_big_integers_stay_unchanged():
    assert Conformer(SCHEMA)({"total": "x", "big": 2**70}) == {"big": 2**70, "_unexpected": {"/total": "x"}}
