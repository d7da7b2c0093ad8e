"""Input and output schemas: raw, or refused with a reason."""

import pytest

from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.schemas import read_inputs, read_outputs


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"x-unknown": 1}}},
        {"properties": {"a": {"type": "string", "examples": ["x"]}}},
        {"type": ["object", "null"]},
        {"anyOf": [{"type": "object"}]},
    ],
)
def test_a_schema_is_kept_as_the_same_object(schema):
    notes = Notes()

    assert read_inputs(schema, "here", notes) is schema
    assert notes.faults == []


def test_absent_inputs_mean_no_arguments():
    assert read_inputs(None, "here", Notes()) == {"type": "object", "properties": {}}


def test_a_bare_map_of_properties_is_read_as_such_and_said():
    notes = Notes()
    city = {"type": "string"}

    assert read_inputs({"city": city}, "here", notes) == {"type": "object", "properties": {"city": city}}
    assert [fault.severity for fault in notes.faults] == ["warning"]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (True, "is a boolean, not an object"),
        ([], "is a list, not an object"),
        ("text", "is text, not an object"),
        ({"type": "array"}, "is of type 'array'"),
        ({"type": ["string", "null"]}, "is of type 'a list'"),
        ({"type": "object", "properties": []}, "`properties` is not an object"),
    ],
)
def test_what_cannot_be_an_argument_object_is_refused_with_the_reason(schema, reason):
    with pytest.raises(ValueError, match=reason):
        read_inputs(schema, "here", Notes())


@pytest.mark.parametrize("key", ["outputs", "response_schema", "outputSchema", "output_schema"])
def test_the_output_schema_has_four_names(key):
    schema = {"type": "array"}

    assert read_outputs({key: schema}, "here", Notes()) is schema


def test_an_empty_output_schema_gives_way_to_the_response_schema():
    notes = Notes()
    tool = {"outputs": {"type": "object", "properties": {}}, "response_schema": {"type": "array"}}

    assert read_outputs(tool, "here", notes) == {"type": "array"}
    assert notes.dialects == {"extended"}


def test_an_output_schema_that_is_no_object_is_ignored_and_said():
    notes = Notes()

    assert read_outputs({"outputs": "text"}, "here", notes) is None
    assert read_outputs({}, "here", notes) is None
    assert [str(fault) for fault in notes.faults] == ["here: `outputs` is text, not an object, and is ignored."]
