"""Schemas that refuse their own values."""

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.dialects.openapi.contradictions import repaired

URL = "https://api.example.com/openapi.json"


@pytest.mark.parametrize(
    ("schema", "sound"),
    [
        ({"type": "number", "enum": ["2012", "2.5"]}, {"type": "number", "enum": [2012, 2.5]}),
        ({"type": "boolean", "enum": ["TRUE"]}, {"type": "boolean", "enum": [True]}),
        ({"type": "string", "const": 7}, {"type": "string", "const": "7"}),
        ({"type": "integer", "enum": ["all", "none"]}, {"enum": ["all", "none"]}),
        ({"type": "array", "enum": ["a"]}, {"type": "array", "items": {"enum": ["a"]}}),
        (
            {"type": "array", "enum": ["a"], "items": {"type": "integer"}},
            {"type": "array", "items": {"type": "integer"}},
        ),
        ({"type": "string", "enum": ["a", "b"], "pattern": "^[0-9]+$"}, {"type": "string", "enum": ["a", "b"]}),
        ({"type": "string", "enum": ["a"], "minLength": 2}, {"type": "string", "enum": ["a"]}),
        ({"type": "integer", "enum": [1, 2], "minimum": 9}, {"type": "integer", "enum": [1, 2]}),
        ({"const": "a", "enum": ["b"]}, {"const": "a"}),
        (
            {"allOf": [{"type": "string"}, {"type": "integer", "title": "n"}]},
            {"allOf": [{"type": "string"}, {"title": "n"}]},
        ),
        ({"type": "array", "allOf": [{"type": "object"}]}, {"type": "array", "allOf": [{}]}),
        (
            {"allOf": [{"type": ["string", "null"]}, {}, {"type": ["integer", "null"]}]},
            {"allOf": [{"type": ["string", "null"]}, {}, {}]},
        ),
        (
            {"type": "string", "oneOf": [{"type": "integer"}, {"type": "object"}]},
            {"oneOf": [{"type": "integer"}, {"type": "object"}]},
        ),
        ({"type": "integer", "minimum": 10, "maximum": 3}, {"type": "integer"}),
        ({"type": "number", "exclusiveMinimum": 3, "maximum": 3}, {"type": "number", "maximum": 3}),
        ({"type": "string", "minLength": 9, "maxLength": 1}, {"type": "string"}),
        ({"type": "integer", "default": "7"}, {"type": "integer", "default": 7}),
        ({"type": "integer", "default": "many"}, {"type": "integer"}),
        ({"type": "string", "enum": ["a"], "default": "b"}, {"type": "string", "enum": ["a"]}),
        ({"type": "string", "maxLength": 2, "default": "abc"}, {"type": "string", "default": "abc"}),
        ({"type": "string", "minLength": 2, "default": ""}, {"type": "string", "minLength": 2}),
        ({"type": "string", "pattern": "^a", "examples": ["b"]}, {"type": "string", "examples": ["b"]}),
        ({"type": "integer", "examples": ["x", "4"]}, {"type": "integer", "examples": [4]}),
        ({"type": "object", "examples": ["x"]}, {"type": "object"}),
    ],
)
def test_a_schema_that_refuses_its_own_values_is_repaired(schema, sound):
    new, wrong = repaired(schema)
    assert new == sound
    assert wrong or schema != sound


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"type": "number"}, {"type": "integer"}, {"$ref": "#/$defs/A"}, {}]},
        {"type": ["string", "null"], "anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "string", "oneOf": [{"$ref": "#/$defs/A"}, {"pattern": "a"}]},
        {"allOf": [{"type": "null"}, {"type": ["string", "null"]}]},
    ],
)
def test_parts_with_a_common_type_stay(schema):
    assert repaired(schema) == (schema, [])


@pytest.mark.parametrize(
    ("schema", "examples"),
    [
        ({"type": "array", "examples": [{"a": 1}, {"a": 2}]}, [[{"a": 1}, {"a": 2}]]),
        ({"type": "array", "items": {"type": "integer"}, "examples": ["[1, 2]"]}, [[1, 2]]),
        ({"type": "object", "examples": ['{\n  "a": 1\n}\n']}, [{"a": 1}]),
    ],
)
def test_an_example_in_another_form_is_read_without_a_word(schema, examples):
    made, faults = repaired(schema)
    assert (made["examples"], faults) == (examples, [])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"], "enum": ["a", None]},
        {"type": "string", "enum": ["a", 3], "pattern": "^a"},
        {"type": "integer", "minimum": 1, "maximum": 1, "default": 1, "examples": [1]},
        {"type": "number", "enum": [1, 2.5]},
        {"default": {"a": 1}, "examples": [[], {}]},
        {"type": "string", "default": "", "maxLength": 3},
    ],
)
def test_a_sound_schema_is_left_alone(schema):
    new, wrong = repaired(schema)
    assert new is schema
    assert wrong == []


SCALARS = st.sampled_from(["", "a", "ab", "12", "2.5", "true", "FALSE", 0, 1, 12, 2.5, True, False, None])
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=1)
KINDS = st.sampled_from(["string", "integer", "number", "boolean", "array", "object"])
COUNTS = st.integers(0, 4)
SCHEMAS = st.fixed_dictionaries(
    {},
    optional={
        "type": KINDS,
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "default": VALUES.filter(lambda value: value is not None),
        "example": VALUES,
        "pattern": st.sampled_from(["^a", "^[0-9]+$", "b"]),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum"), COUNTS),
    },
)


def document(version, schema):
    """One operation with one query parameter of this schema."""
    parameter = {"name": "p", "in": "query"}
    if version == "2.0":
        root = {"swagger": "2.0", "host": "api.example.com"}
        parameter |= schema
    else:
        root = {"openapi": version, "servers": [{"url": "https://api.example.com"}]}
        parameter["schema"] = schema
    operation = {"operationId": "o", "parameters": [parameter], "responses": {"200": {"description": "ok"}}}
    return {**root, "info": {"title": "t", "version": "1"}, "paths": {"/o": {"get": operation}}}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["2.0", "3.0.3", "3.1.0"]), SCHEMAS)
def test_a_parameter_of_any_document_accepts_the_values_that_it_names(version, schema):
    conversion = convert(document(version, schema), url=URL, options=ConversionOptions())
    made = conversion.tools[0].inputs["properties"]["p"]
    validator = jsonschema_rs.Draft202012Validator(made)
    if "enum" in made:
        assert any(map(validator.is_valid, made["enum"]))
    if "default" in made:
        assert validator.is_valid(made["default"])
    assert all(map(validator.is_valid, made.get("examples", ())))
    assert len(conversion.faults) <= 1


def test_what_is_required_of_responses_only_is_not_required_of_a_request():
    hidden = {"type": "object", "properties": {"id": {"type": "string", "readOnly": True}, "a": {"type": "string"}}}
    schema = {"allOf": [{"allOf": [hidden]}, {"required": ["id", "a"]}]}
    body = {"type": "object", "properties": {"incident": schema}}
    operation = {"requestBody": {"content": {"application/json": {"schema": body}}}, "responses": {}}
    paths = {"/i": {"post": operation}}
    made = convert(
        {"openapi": "3.0.3", "servers": [{"url": "https://api.example.com"}], "paths": paths},
        url=URL,
        options=ConversionOptions(),
    )
    validator = jsonschema_rs.Draft202012Validator(made.tools[0].inputs)
    assert validator.is_valid({"incident": {"a": "x"}})
    assert not validator.is_valid({"incident": {}})


@pytest.mark.parametrize(
    ("schema", "remedy"),
    [
        ({"type": "integer", "example": 4.5}, "They are left out."),
        ({"type": "integer", "default": "many", "example": 4.5}, "They are left out."),
        (
            {"type": "string", "pattern": "^a", "example": "b"},
            "Arguments are checked without what refuses the document's values.",
        ),
    ],
)
def test_the_remedy_says_what_is_left_out(schema, remedy):
    operation = {"parameters": [{"name": "q", "in": "query", "schema": schema}], "responses": {}}
    document = {"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": {"/a": {"get": operation}}}
    faults = convert(document, url=URL, options=ConversionOptions()).faults
    assert [fault.remedy for fault in faults if "contradicts" in fault.what] == [remedy]
