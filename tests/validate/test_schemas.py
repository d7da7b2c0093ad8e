import pytest

from utcp_bridge.validate.findings import Findings
from utcp_bridge.validate.schemas import check_schema


@pytest.mark.parametrize(
    ("schema", "pointer", "words"),
    [
        ({"type": "objct"}, "/i/type", "`type` is one of array"),
        ({"properties": {"a": {"type": ["string", "nul"]}}}, "/i/properties/a/type", "`type` is one of"),
        ({"required": "a"}, "/i/required", 'not of type "array"'),
        ({"properties": {"b": 3}}, "/i/properties/b", "not of types"),
        ({"properties": {"a": {"pattern": "("}}}, "/i/properties/a/pattern", "regex"),
        ({"properties": {"a": {"$ref": "#/$defs/x"}}}, "/i", "/$defs/x"),
        ({"properties": {"a": {"$ref": "https://example.com/x"}}}, "/i", "https://example.com/x"),
        ({"$schema": "https://example.com/own"}, "/i", "https://example.com/own"),
    ],
)
def test_the_first_fault_of_a_schema_is_told_at_its_place(schema, pointer, words):
    findings = Findings()
    check_schema(schema, ("i",), findings)
    [finding] = findings.faults
    assert (finding.severity, finding.pointer) == ("error", pointer)
    assert words in finding.what


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": True}, "x-own": 1},
        {"$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {}},
    ],
)
def test_a_sound_schema_is_left_in_peace(schema):
    findings = Findings()
    check_schema(schema, (), findings)
    assert findings.faults == []


def test_values_of_the_schema_are_not_told():
    findings = Findings()
    check_schema({"minLength": "s3cret"}, (), findings)
    assert "s3cret" not in findings.faults[0].what
