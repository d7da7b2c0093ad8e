import jsonschema_rs
import pytest

from utcp_bridge.doctor.examples import example_arguments

TREE = {"type": "object", "properties": {"kids": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/t"}}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "string", "minLength": 9},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "string", "enum": ["km", "mi"]},
        {"const": 5},
        {"type": "integer", "minimum": 3},
        {"type": "integer", "exclusiveMinimum": 3, "maximum": 4},
        {"type": "number", "maximum": -2},
        {"type": "integer", "minimum": 5, "multipleOf": 4},
        {"type": "boolean"},
        {"type": ["null", "integer"]},
        {"type": "null"},
        {"type": "array", "minItems": 2, "items": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"anyOf": [{"type": "integer", "minimum": 9}, {"type": "null"}]},
        {"type": "string", "pattern": "^[a-z]{3}$", "examples": ["abc"]},
        {"type": "string", "pattern": "^x$", "default": "x"},
        {"$ref": "#/$defs/a~1b"},
        {},
        True,
    ],
)
def test_the_made_up_value_fits(schema):
    inputs = {
        "type": "object",
        "properties": {"it": schema, "other": {"type": "integer"}},
        "required": ["it"],
        "$defs": {"a/b": {"type": "integer", "minimum": 4}},
    }
    arguments = example_arguments(inputs)
    assert arguments.keys() == {"it"}
    jsonschema_rs.validate(inputs, arguments)


def test_what_leads_nowhere_or_in_circles_ends():
    circle = {"type": "object", "properties": {"t": {"$ref": "#/$defs/t"}}, "required": ["t"], "$defs": {"t": TREE}}
    assert example_arguments({**circle, "$defs": {"t": {"$ref": "#/$defs/t"}}}) == {"t": "text"}
    assert example_arguments({"properties": {"a": {"$ref": "https://h/x"}}, "required": ["a"]}) == {"a": "text"}
    assert example_arguments(circle) == {"t": {}}


def test_nothing_is_made_up_where_nothing_is_required():
    assert example_arguments({"type": "object", "properties": {"a": {}}}) == {}
