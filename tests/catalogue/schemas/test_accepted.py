"""Values, types, required names and defaults of listed schemas, as every host accepts them."""

import pytest

from utcp_bridge.catalogue.schemas.accepted import NOTHING, Outlines, joined, typed_by_content, without_loops
from utcp_bridge.catalogue.schemas.portable import portable_input, portable_output

BIG = 16_384
STRING = {"type": "string"}


class Definitions(dict):
    """Definitions by name, of which those with a plain type state it."""

    def stated(self, name):
        kind = self.get(name, {}).get("type")
        return [kind] if isinstance(kind, str) else None


def listed(schema):
    return portable_input(schema, BIG).schema


def prop(schema):
    """The listed form of one property's schema."""
    return listed({"type": "object", "properties": {"p": schema}})["properties"]["p"]


VALUE_CASES = [
    ({"type": "string", "enum": ["a", "a", "", "b"]}, {"type": "string", "enum": ["a", "b"]}),
    ({"type": "string", "enum": [""]}, STRING),
    ({"type": "string", "enum": ["a", None]}, {"type": "string", "enum": ["a"]}),
    (
        {"type": ["string", "null"], "enum": ["a", None]},
        {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
    ),
    ({"enum": ["a", None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
    ({"enum": ["a"]}, {"type": "string", "enum": ["a"]}),
    ({"enum": [None]}, {"type": "null"}),
    ({"type": "integer", "enum": [1, 2, 2]}, {"type": "integer", "description": "One of: 1, 2."}),
    ({"enum": [1, 1.5], "description": "How."}, {"type": "number", "description": "How. One of: 1, 1.5."}),
    ({"type": "boolean", "enum": [True, False]}, {"type": "boolean"}),
    ({"type": "boolean", "enum": [True]}, {"type": "boolean", "description": "One of: true."}),
    ({"type": "integer", "enum": ["1", "2"]}, {"type": "integer", "description": "One of: 1, 2."}),
    (
        {"enum": ["a", 1]},
        {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer"}], "description": "One of: a, 1."},
    ),
    ({"type": "object", "enum": [{"a": 1}]}, {"type": "object", "description": 'One of: {"a":1}.'}),
    (
        {"type": "integer", "enum": list(range(400))},
        {"type": "integer", "description": "One of 400 values: 0, 1, 2, 3, 4, 5, 6, 7, …"},
    ),
    ({"$ref": "#/none", "enum": []}, {}),
    ({"const": "a"}, {"type": "string", "enum": ["a"]}),
    ({"const": ""}, {"type": "string", "const": ""}),
    ({"const": 1}, {"type": "integer", "const": 1}),
    ({"const": None, "enum": [None]}, {"type": "null", "const": None}),
]


@pytest.mark.parametrize(("schema", "expected"), VALUE_CASES)
def test_an_enumeration_lists_text_alone_and_words_say_the_rest(schema, expected):
    assert prop(schema) == expected


def test_an_enumeration_beside_a_reference_keeps_a_null_possible():
    schema = {
        "properties": {"p": {"$ref": "#/$defs/a", "enum": ["x", None]}},
        "$defs": {"a": {"type": ["null", "string"]}},
    }
    assert listed(schema)["properties"]["p"] == {"$ref": "#/$defs/a", "description": "One of: x, null."}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"properties": {"a": STRING}}, "object"),
        ({"additionalProperties": STRING}, "object"),
        ({"items": STRING}, "array"),
        ({"maxLength": 3}, "string"),
        ({"minimum": 3}, "number"),
        ({"description": "Anything."}, None),
    ],
)
def test_a_property_without_a_type_has_that_of_its_keywords(schema, kind):
    assert prop(schema).get("type") == kind
    output = portable_output({"type": "object", "properties": {"p": schema}}, BIG).schema
    assert "type" not in output["properties"]["p"]


@pytest.mark.parametrize(
    ("schema", "default"),
    [
        ({"type": "string"}, None),
        ({"type": "integer"}, "3"),
        ({"type": "integer"}, True),
        ({"type": "integer", "maximum": 3}, 4),
        ({"type": "number", "exclusiveMinimum": 3}, 3),
        ({"type": "string", "minLength": 2}, "a"),
        ({"type": "string", "enum": ["a"]}, "b"),
        ({"type": "boolean", "const": True}, 1),
        ({"type": "object", "properties": {"a": STRING}, "required": ["a"]}, {}),
        ({"type": "object", "properties": {"a": STRING}}, {"a": 1}),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": "x"}),
        ({"type": "array", "items": STRING}, ["a", 1]),
        ({"type": "array", "prefixItems": [STRING]}, [1]),
        ({"anyOf": [STRING, {"type": "integer"}]}, []),
        ({"allOf": [STRING, {"minLength": 3}]}, "ab"),
        ({"$ref": "#/$defs/text"}, 3),
    ],
)
def test_a_default_that_its_schema_refuses_is_omitted(schema, default):
    definitions = {"text": {"type": "string"}}
    whole = {"type": "object", "properties": {"p": {**schema, "default": default}}, "$defs": definitions}
    assert "default" not in listed(whole)["properties"]["p"]


@pytest.mark.parametrize(
    ("schema", "default"),
    [({"type": "number"}, 1), ({"type": "integer"}, 2.0), ({}, [1]), ({"$ref": "#"}, {}), ({"type": "string"}, "")],
)
def test_a_default_that_its_schema_accepts_stays(schema, default):
    assert prop({**schema, "default": default})["default"] == default


def test_examples_that_their_schema_refuses_somewhere_within_are_omitted():
    definitions = {"title": {"type": "string", "enum": ["DOCT", "MADM"]}}
    person = {"properties": {"title": {"$ref": "#/$defs/title"}, "phone": {"type": "string"}}}
    right, wrong = {"title": "DOCT", "phone": "1"}, {"title": "Mr", "phone": "1"}
    whole = {
        "$defs": definitions,
        "properties": {
            "both": {"type": "object", **person, "examples": [wrong, right, {"phone": 1}]},
            "none": {"type": "array", "items": {"type": "object", **person}, "examples": [[right, wrong]]},
        },
    }
    properties = listed(whole)["properties"]
    assert properties["both"]["examples"] == [right]
    assert "examples" not in properties["none"]


def test_a_default_of_branches_that_multiply_is_checked_in_time():
    branches = {"anyOf": [{"$ref": f"#/$defs/b{number}", "minLength": number} for number in range(30)]}
    definitions = {f"b{number}": branches for number in range(30)}
    assert listed({"properties": {"p": {**branches, "default": 1}}, "$defs": definitions})["properties"]


def test_an_object_requires_only_what_it_describes_itself():
    other = {"type": "object", "properties": {"b": STRING}}
    assert prop({"type": "object", "properties": {"a": STRING}, "required": ["a", "ghost"]})["required"] == ["a"]
    assert prop({"type": "object", "required": ["ghost"]}) == {"type": "object"}
    assert prop({"type": "object", "required": ["a"], "allOf": [{"properties": {"a": STRING}}]}) == {
        "type": "object",
        "required": ["a"],
        "properties": {"a": STRING},
    }
    assert prop({"allOf": [other, {"type": "object", "required": ["b"]}]}) == {"allOf": [other, {"required": ["b"]}]}
    assert prop({"properties": {"a": STRING}, "type": "object", "required": ["a", "b"], "anyOf": [other, STRING]}) == {
        "type": "object",
        "properties": {"a": STRING},
        "required": ["a"],
        "anyOf": [other, STRING],
        "allOf": [{"required": ["b"]}],
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object", "properties": {"a": STRING}, "description": "It."}, ["object"]),
        ({"$ref": "#/$defs/list"}, ["array"]),
        ({"$ref": "#"}, ["object"]),
        ({"$ref": "#/$defs/either"}, ["null", "string"]),
        ({"anyOf": [STRING, {"$ref": "#/$defs/list"}]}, ["array", "string"]),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, ["number"]),
        ({"allOf": [{"$ref": "#/$defs/either"}, STRING]}, ["string"]),
        ({"anyOf": [STRING, {}], "maxLength": 3}, []),
        ({"$ref": "#/$defs/loop"}, []),
        ({"$ref": "#/$defs/list", "enum": ["x"]}, ["array"]),
    ],
)
def test_the_types_of_a_schema_are_those_of_its_branches_and_references(schema, expected):
    definitions = {
        "list": {"type": "array", "items": STRING},
        "either": {"anyOf": [STRING, {"type": "null"}]},
        "loop": {"anyOf": [{"$ref": "#/$defs/loop"}]},
    }
    assert Outlines(Definitions(definitions)).kinds(schema) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"allOf": [{}, {}]}, {}),
        ({"anyOf": [STRING, STRING]}, STRING),
        ({"allOf": [{"minLength": 1}], "maxLength": 3}, {"minLength": 1, "maxLength": 3}),
        ({"allOf": [{"description": "In."}], "description": "Out."}, {"description": "Out."}),
        ({"type": "array", "items": {}, "allOf": [{"items": STRING}]}, {"type": "array", "items": STRING}),
        ({"additionalProperties": {}, "unevaluatedItems": NOTHING}, {}),
        ({"allOf": [{}], "enum": ["x"]}, {"type": "string", "enum": ["x"]}),
        ({"type": "object", "additionalProperties": STRING}, {"type": "object", "additionalProperties": STRING}),
    ],
)
def test_equal_branches_are_one_and_a_single_branch_is_joined(schema, expected):
    assert joined(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"minLength": 1}], "minLength": 3},
        {"allOf": [{"if": {}, "then": STRING}], "else": STRING},
        {"allOf": [{"type": "string", "x-mcp-header": "A"}]},
        {"anyOf": [STRING, {"type": "null"}]},
    ],
)
def test_branches_that_say_different_things_stay(schema):
    assert joined(schema) == schema


def test_a_root_keeps_a_single_branch():
    schema = {"type": "object", "allOf": [{"required": ["a"]}]}
    assert joined(schema, is_root=True) == schema


def test_a_type_from_keywords_drops_a_default_of_another_type():
    assert typed_by_content({"minLength": 1, "default": 3}) == {"type": "string", "minLength": 1}
    assert typed_by_content({"minLength": 1, "default": "abc"})["default"] == "abc"


def test_definitions_that_lead_only_to_themselves_accept_any_value():
    loops = {
        "a": {"$ref": "#/$defs/b", "title": "A"},
        "b": {"$ref": "#/$defs/a"},
        "c": {"$ref": "#/$defs/d"},
        "d": STRING,
    }
    assert without_loops(loops) == {"a": {"title": "A"}, "b": {}, "c": {"$ref": "#/$defs/d"}, "d": STRING}
