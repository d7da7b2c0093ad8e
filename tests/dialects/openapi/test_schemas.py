import pytest

from utcp_bridge.dialects.openapi.schemas import (
    examples_of,
    fixed_count,
    fixed_number,
    fixed_types,
    is_plain_data,
    is_portable_pattern,
    text_list,
    typed_enum,
)


@pytest.mark.parametrize(
    ("declared", "known"),
    [
        ("string", "string"),
        (" Integer ", "integer"),
        ("float", "number"),
        ("file", "string"),
        ("any", None),
        (["string", "null", "string"], ["string", "null"]),
        (["any"], None),
        ([5, None], None),
        ({}, None),
    ],
)
def test_misspelt_types_are_corrected_and_unknown_ones_dropped(declared, known):
    assert fixed_types(declared) == known


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, 1),
        ("5", 5),
        ("1.5", 1.5),
        ("1e2", 100.0),
        ("x", None),
        (True, None),
        (None, None),
        (float("inf"), None),
        (10**30, None),
    ],
)
def test_numbers_may_be_text_but_not_larger_than_64_bits(value, found):
    assert fixed_number(value) == found


@pytest.mark.parametrize(("value", "found"), [(0, 0), ("3", 3), (2.0, 2), (2.5, None), (-1, None), ("x", None)])
def test_a_count_is_a_whole_number_from_zero(value, found):
    assert fixed_count(value) == found


@pytest.mark.parametrize(
    ("expression", "portable"),
    [
        (r"^[a-z]+\d{3}$", True),
        (r"^(?:a|b)(?=c)", True),
        (r"\p{L}", False),
        (r"(?i)a", False),
        (r"(?P<n>a)", False),
        (r"(?<=a)b", False),
        (r"\Aa\Z", False),
        (r"(a)\1", False),
        (r"a++", False),
        (r"/^[a-z]+$/i", False),
        (r"(", False),
        ("a" * 2_000, False),
    ],
)
def test_a_pattern_is_kept_only_if_it_is_portable(expression, portable):
    assert is_portable_pattern(expression) is portable


@pytest.mark.parametrize(
    ("values", "kind", "fitted"),
    [
        ([1, 2, 1], "integer", [1, 2]),
        ([1, True, "a", None], "string", ["1", "true", "a", None]),
        (["1", "2.5", "x"], "number", [1, 2.5, "x"]),
        (["true", "FALSE", "x", None], "boolean", [True, False, "x", None]),
        ([1, True, 1.0], None, [1, True, 1.0]),
        ([], "string", None),
        ("a", "string", None),
        ([{"$ref": "#/x"}], None, None),
        ([["a"]], ["string", "null"], [["a"]]),
    ],
)
def test_enum_values_are_converted_to_their_type(values, kind, fitted):
    assert typed_enum(values, kind) == fitted


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        ({"example": 1}, [1]),
        ({"example": 0, "examples": [1, 2, 3, 4]}, [0, 1, 2]),
        ({"examples": {"a": {"value": 1}, "b": {"externalValue": "u"}, "c": 5}}, [1]),
        ({"example": {"$ref": "#/x"}}, []),
        ({"example": float("nan")}, []),
        ({"examples": "x"}, []),
    ],
)
def test_at_most_three_examples_are_read_from_every_form(node, shown):
    assert examples_of(node) == shown


def test_plain_data_is_json_without_references():
    assert is_plain_data({"a": [1, "x", None, 1.5, True]})
    assert not is_plain_data({"a": [{"$ref": 1}]})
    assert not is_plain_data({"a": object()})
    assert not is_plain_data([2**70])


def test_a_text_list_holds_each_text_once():
    assert text_list(["a", 5, "a", "b"]) == ["a", "b"]
    assert text_list(True) == []


ANY_DESCRIBED = {"description": "d"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (True, {}),
        (False, {"not": {}}),
        (None, {}),
        (["odd"], {}),
        (
            {"type": "string", "format": "date", "minLength": 1, "x-odd": 1, "xml": {}},
            {"type": "string", "format": "date", "minLength": 1},
        ),
        ({"type": "string", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": ["string", "null"], "nullable": True}, {"type": ["string", "null"]}),
        ({"enum": ["a"], "nullable": True}, {"enum": ["a"]}),
        (
            {"allOf": [{"type": "string"}], "nullable": True, "title": "t"},
            {"title": "t", "anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}]},
        ),
        ({"anyOf": [{"type": "string"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 1}),
        ({"type": "integer", "maximum": "5", "exclusiveMaximum": False}, {"type": "integer", "maximum": 5}),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 9.5}, {"exclusiveMinimum": 1, "exclusiveMaximum": 9.5}),
        ({"multipleOf": 0}, {}),
        ({"multipleOf": 0.01, "maxLength": -1, "uniqueItems": True}, {"multipleOf": 0.01, "uniqueItems": True}),
        ({"type": "string", "format": "binary"}, {"type": "string", "contentEncoding": "base64"}),
        ({"type": "file"}, {"type": "string", "contentEncoding": "base64"}),
        ({"type": "string", "contentMediaType": "image/png"}, {"type": "string", "contentMediaType": "image/png"}),
        ({"example": 5, "default": 3, "deprecated": True}, {"deprecated": True, "default": 3, "examples": [5]}),
        ({"default": {"$ref": "#/x"}, "example": "x" * 9_000}, {}),
        ({"type": "string", "pattern": "^a$"}, {"type": "string", "pattern": "^a$"}),
        ({"pattern": "/a/i", "description": "d"}, {"description": "d Pattern: /a/i"}),
        ({"pattern": 5, "title": "  ", "description": " d "}, {"description": "d"}),
        ({"const": 1}, {"const": 1}),
        ({"type": "array", "items": [{"type": "string"}]}, {"type": "array", "prefixItems": [{"type": "string"}]}),
        ({"prefixItems": [{"type": "string"}], "items": False}, {"items": {}, "prefixItems": [{"type": "string"}]}),
        (
            {"items": True, "contains": {"type": "string"}, "minContains": 1},
            {"minContains": 1, "items": True, "contains": {"type": "string"}},
        ),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        (
            {"oneOf": [{"type": "string"}], "anyOf": [{"type": "integer"}]},
            {"allOf": [{"anyOf": [{"type": "integer"}]}, {"anyOf": [{"type": "string"}]}]},
        ),
        ({"oneOf": "odd", "allOf": [], "anyOf": None}, {}),
        (
            {"not": {"type": "null"}, "if": {"type": "string"}, "then": {"minLength": 1}, "else": True},
            {"not": {"type": "null"}, "if": {"type": "string"}, "then": {"minLength": 1}},
        ),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"dependentSchemas": {"a": {"required": ["b"]}}}),
        ({"dependentRequired": {"a": ["b", 5]}}, {"dependentRequired": {"a": ["b"]}}),
        ({"patternProperties": {"^x-": True, "(?i)y": {}}}, {"patternProperties": {"^x-": {}}}),
        (
            {"additionalProperties": {"type": "string"}, "propertyNames": {"minLength": 1}},
            {"additionalProperties": {"type": "string"}, "propertyNames": {"minLength": 1}},
        ),
    ],
)
def test_a_schema_becomes_json_schema_2020_12(translated, schema, expected):
    assert translated(schema) == expected


def test_read_only_properties_are_not_inputs_also_behind_a_reference(translated):
    schema = {
        "properties": {
            "id": {"type": "string", "readOnly": True},
            "own": {"$ref": "#/components/schemas/Own"},
            "name": {"type": "string", "required": True},
            "odd": None,
            "secret": {"type": "string", "writeOnly": True},
        },
        "required": ["id", "own", "gone", "secret"],
        "additionalProperties": False,
    }
    components = {"schemas": {"Own": {"type": "string", "readOnly": True}}}
    assert translated(schema, components=components) == {
        "type": "object",
        "properties": {"name": {"type": "string"}, "odd": {}, "secret": {"type": "string"}},
        "additionalProperties": False,
        "required": ["secret", "name"],
    }


def test_required_names_stay_if_another_part_may_describe_them(translated):
    schema = {"properties": {"a": {}}, "required": ["b"], "allOf": [{"properties": {"b": {"type": "string"}}}]}
    assert translated(schema)["required"] == ["b"]


@pytest.mark.parametrize(
    ("version", "schema", "expected"),
    [
        ("3.0.3", {"$ref": "#/components/schemas/Text", "minLength": 5}, {"type": "string", "title": "Text"}),
        (
            "3.1.0",
            {"$ref": "#/components/schemas/Text", "minLength": 5},
            {"minLength": 5, "allOf": [{"type": "string", "title": "Text"}]},
        ),
        (
            "3.0.3",
            {"$ref": "#/components/schemas/Text", "description": "d"},
            {"type": "string", "title": "Text", "description": "d"},
        ),
        (
            "3.0.3",
            {"$ref": "#/components/schemas/Text", "nullable": True},
            {"anyOf": [{"type": "string", "title": "Text"}, {"type": "null"}]},
        ),
        ("3.0.3", {"$ref": "#/components/schemas/Gone", "description": "d"}, ANY_DESCRIBED),
        ("3.1.0", {"$ref": "#/components/schemas/Any"}, {}),
        ("3.1.0", {"$dynamicRef": "#text"}, {"type": "string", "title": "Text"}),
    ],
)
def test_a_reference_keeps_the_keywords_allowed_next_to_it(translated, version, schema, expected):
    components = {"schemas": {"Text": {"$dynamicAnchor": "text", "type": "string", "title": "Text"}, "Any": True}}
    assert translated(schema, version=version, components=components) == expected


def test_a_schema_beyond_the_depth_limit_accepts_anything(conversion):
    schema = {"type": "string"}
    for _ in range(80):
        schema = {"items": schema}
    made = conversion({"parameters": [{"name": "q", "in": "query", "schema": schema}]})
    assert "too deep" in str(made.faults[0])


def test_outputs_are_permissive(tool):
    schema = {
        "type": "object",
        "required": ["id"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "integer", "minimum": 5, "format": "int64"},
            "kind": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "password": {"type": "string", "writeOnly": True},
            "either": {"oneOf": [{"type": "string"}, {"type": "null"}], "description": "d"},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "open": {"type": "object", "additionalProperties": True},
            "items": {"type": "array", "items": False, "contains": {"type": "string"}},
            "never": False,
        },
    }
    operation = {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}
    assert tool(operation)["outputs"] == {
        "type": "object",
        "properties": {
            "id": {"type": ["integer", "null"]},
            "kind": {"type": ["string", "null"], "examples": ["a", "b"]},
            "either": {
                "description": "d",
                "anyOf": [{"type": ["string", "null"]}, {"type": ["null"]}, {"type": "null"}],
            },
            "map": {"type": ["object", "null"], "additionalProperties": {"type": ["string", "null"]}},
            "open": {"type": ["object", "null"], "additionalProperties": True},
            "items": {"type": ["array", "null"], "items": {}},
            "never": {},
        },
    }


def test_a_dynamic_reference_of_a_template_accepts_what_each_use_of_it_says(translated):
    template = {
        "type": "array",
        "items": {"$dynamicRef": "#item"},
        "$defs": {"none": {"$dynamicAnchor": "item", "not": {}}},
    }
    use = {"$ref": "#/components/schemas/List", "$defs": {"own": {"$dynamicAnchor": "item", "type": "string"}}}
    components = {"schemas": {"List": template, "Words": use}}
    schema = translated({"$ref": "#/components/schemas/List"}, "3.1.0", components=components)
    assert schema == {"type": "array", "items": {}}
