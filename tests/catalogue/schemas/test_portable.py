"""Schemas that every host accepts."""

import copy
from contextlib import contextmanager

import jsonschema_rs
import orjson
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from mcp.shared.inbound import find_invalid_x_mcp_header
from tests.support.host_rules import COMPOSED_RULES, INPUT_RULES, OUTPUT_RULES, broken

from utcp_bridge.catalogue.schemas import filling, portable
from utcp_bridge.catalogue.schemas.mcp_headers import keep_valid_headers
from utcp_bridge.catalogue.schemas.portable import portable_input, portable_output
from utcp_bridge.urls import at_pointer

BIG = 16_384
STRING = {"type": "string"}


def listed(schema, max_bytes=BIG):
    return portable_input(schema, max_bytes).schema


def prop(schema):
    """The listed form of one property's schema."""
    return listed({"type": "object", "properties": {"p": schema}})["properties"]["p"]


def test_a_plain_schema_is_listed_as_it_is():
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "enum": ["x", "y"], "default": "y"},
            "b": {"type": "null", "const": None},
            "c": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "d": {"anyOf": [STRING, {"type": "null"}], "description": "Either."},
        },
        "required": ["a"],
        "additionalProperties": {"type": "number"},
    }
    ported = portable_input(schema, BIG)
    assert ported.schema == schema
    assert ported.composed is ported.schema
    assert not ported.renamed
    assert not ported.cut


@pytest.mark.parametrize(
    "schema", [None, True, "object", [], 3, {}, {"type": "string"}, {"type": ["string", "null"]}, {"$ref": "#/x"}]
)
def test_a_schema_that_is_not_of_an_object_is_listed_as_an_open_object(schema):
    assert listed(schema) == {"type": "object", "properties": {}}


@pytest.mark.parametrize("kind", [["object", "null"], "object"])
def test_the_root_is_one_object(kind):
    assert listed({"type": kind, "properties": {"a": STRING}}) == {"type": "object", "properties": {"a": STRING}}


def test_the_original_is_not_changed():
    schema = {
        "type": ["object", "null"],
        "properties": {"$x": {"type": ["string", "array"]}},
        "anyOf": [{"required": ["$x"]}],
    }
    before = copy.deepcopy(schema)
    portable_input(schema, BIG)
    assert schema == before


def test_a_root_reference_is_followed():
    schema = {"$ref": "#/definitions/Body", "definitions": {"Body": {"type": "object", "properties": {"a": STRING}}}}
    assert listed(schema) == {"type": "object", "properties": {"a": STRING}}


def test_root_combinators_are_folded_and_kept_for_versions_that_allow_them():
    schema = {
        "type": "object",
        "properties": {"a": STRING, "b": STRING},
        "allOf": [{"anyOf": [{"required": ["a", "b"]}, {"required": ["a"]}]}],
    }
    ported = portable_input(schema, BIG)
    assert ported.schema == {"type": "object", "properties": {"a": STRING, "b": STRING}, "required": ["a"]}
    assert ported.composed == schema


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (True, {}),
        ("string", {}),
        (None, {}),
        ({"type": "array"}, {"type": "array", "items": {}}),
        ({"type": "array", "items": True}, {"type": "array", "items": {}}),
        ({"type": "array", "items": [STRING]}, {"type": "array", "prefixItems": [STRING], "items": {}}),
        ({"type": ["string", "null"]}, {"anyOf": [STRING, {"type": "null"}]}),
        ({"type": ["string"]}, STRING),
        ({"type": []}, {}),
        ({"type": "any"}, {}),
        ({"type": "int"}, {"type": "integer"}),
        ({"type": {"no": "type"}}, {}),
        (
            {"type": ["array", "null"], "maxItems": 2},
            {"anyOf": [{"type": "array", "maxItems": 2, "items": {}}, {"type": "null"}]},
        ),
        (
            {"type": ["object", "string"], "properties": {"x": STRING}, "minLength": 1},
            {"anyOf": [{"type": "object", "properties": {"x": STRING}}, STRING], "minLength": 1},
        ),
        (
            {"type": ["string", "null"], "anyOf": [{"minLength": 1}, {"maxLength": 9}]},
            {"anyOf": [{"minLength": 1}, {"maxLength": 9}], "allOf": [{"anyOf": [STRING, {"type": "null"}]}]},
        ),
        ({"type": "object", "additionalProperties": True}, {"type": "object"}),
        ({"type": "object", "additionalProperties": False, "unevaluatedProperties": False}, {"type": "object"}),
        ({"type": "object", "additionalProperties": {}}, {"type": "object"}),
        ({"type": "object", "properties": {"a": True, "b": False}}, {"type": "object", "properties": {"a": {}}}),
        ({"type": "array", "items": False}, {"type": "array", "items": {}, "maxItems": 0}),
        (
            {"type": "array", "prefixItems": [STRING], "items": False, "unevaluatedItems": False},
            {"type": "array", "prefixItems": [STRING], "items": {}, "maxItems": 1},
        ),
        (
            {"type": "array", "items": [STRING], "additionalItems": False, "maxItems": 9},
            {"type": "array", "prefixItems": [STRING], "items": {}, "maxItems": 1},
        ),
        ({"anyOf": [False, STRING, STRING]}, STRING),
        ({"anyOf": [False]}, {}),
        ({"allOf": [True, {}]}, {}),
        ({"oneOf": [STRING, {"type": "null"}]}, {"anyOf": [STRING, {"type": "null"}]}),
        (
            {"anyOf": [STRING, {"type": "null"}], "oneOf": [{"minLength": 1}, {"maxLength": 1}]},
            {"anyOf": [STRING, {"type": "null"}], "allOf": [{"anyOf": [{"minLength": 1}, {"maxLength": 1}]}]},
        ),
        ({"allOf": [{"$ref": "#/none"}, STRING], "description": "Text."}, {"type": "string", "description": "Text."}),
        ({"type": "object", "allOf": [{"properties": {"a": STRING}}]}, {"type": "object", "properties": {"a": STRING}}),
        ({"type": "object", "properties": "none"}, {"type": "object"}),
        ({"anyOf": []}, {}),
        ({"anyOf": {"no": "list"}}, {}),
        ({"$ref": "https://example.com/schema.json", "description": "Remote."}, {"description": "Remote."}),
        ({"x-vendor": 1, "discriminator": {}, "type": "string"}, STRING),
        ({"description": "zero\u200bwidth \x1b[31mred"}, {"description": "zerowidth red"}),
    ],
)
def test_a_sub_schema_that_hosts_refuse_is_rewritten(schema, expected):
    assert prop(schema) == expected


def test_references_lead_only_to_definitions():
    schema = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/definitions/Item", "description": "One."},
            "b": {"$ref": "#/properties/c/items"},
            "c": {"type": "array", "items": STRING},
        },
        "definitions": {
            "Item": {"type": "object", "properties": {"next": {"$ref": "#/definitions/Item"}}},
            "Unused": STRING,
        },
    }
    assert listed(schema) == {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/Item", "description": "One."},
            "b": {"$ref": "#/$defs/items"},
            "c": {"type": "array", "items": STRING},
        },
        "$defs": {"Item": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Item"}}}, "items": STRING},
    }


@pytest.mark.parametrize(
    ("ref", "target"),
    [
        ("#/$defs/a~1b", STRING),
        ("#/$defs/c~0d", STRING),
        ("#/$defs/e%20f", STRING),
        ("#anchor", {"$anchor": "anchor", "type": "string"}),
        ("#/list/1", STRING),
        ("#/$defs/yes", {}),
    ],
)
def test_a_reference_may_be_any_local_pointer_or_anchor(ref, target):
    definitions = {
        "a/b": STRING,
        "c~d": STRING,
        "e f": STRING,
        "named": {"$anchor": "anchor", "type": "string"},
        "yes": True,
    }
    schema = {"type": "object", "properties": {"p": {"$ref": ref}}, "$defs": definitions, "list": [0, STRING]}
    ported = listed(schema)
    name = ported["properties"]["p"]["$ref"].removeprefix("#/$defs/")
    assert ported["$defs"][name] == target


@pytest.mark.parametrize(
    "ref", ["#/no/where", "#/list/9", "#/list/" + "9" * 5_000, "#none", "other.json", 3, "#/$defs/loop", "#/$defs/text"]
)
def test_a_reference_without_a_target_accepts_any_value_and_is_reported(ref):
    schema = {
        "type": "object",
        "properties": {"p": {"$ref": ref}},
        "$defs": {"loop": {"$ref": "#/$defs/loop"}, "text": "no schema"},
        "list": [],
    }
    ported = portable_input(schema, BIG)
    assert ported.schema == {"type": "object", "properties": {"p": {}}}
    assert ported.cut == ("a reference that is remote or has no target",)


def test_definitions_of_the_same_name_in_different_places_get_different_names():
    schema = {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/X"}, "q": {"$ref": "#/definitions/X"}},
        "$defs": {"X": STRING},
        "definitions": {"X": {"type": "null"}},
    }
    assert listed(schema)["$defs"] == {"X": STRING, "X_2": {"type": "null"}}


def test_a_reference_to_the_root_stays_one():
    assert prop({"$ref": "#"}) == {"$ref": "#"}


def test_argument_names_that_hosts_refuse_are_renamed_and_mapped_back():
    own = ["$top", "top", "filter[x]", "@odata.type", "größe", "ok.name-1", "[]", "x" * 65]
    schema = {
        "type": "object",
        "properties": dict.fromkeys(own, STRING),
        "required": ["$top", "top"],
        "dependentRequired": {"$top": ["top"]},
    }
    ported = portable_input(schema, BIG)
    assert list(ported.schema["properties"]) == [
        "top_2",
        "top",
        "filter_x",
        "odata.type",
        "gr_e",
        "ok.name-1",
        "argument",
        "x" * 56,
    ]
    assert ported.renamed == {
        "top_2": "$top",
        "filter_x": "filter[x]",
        "odata.type": "@odata.type",
        "gr_e": "größe",
        "argument": "[]",
        "x" * 56: "x" * 65,
    }
    assert ported.schema["required"] == ["top_2", "top"]
    assert "dependentRequired" not in ported.schema
    assert ported.composed is ported.schema


def test_keys_below_the_top_keep_their_names():
    assert prop({"type": "object", "properties": {"$x[]": STRING}}) == {
        "type": "object",
        "properties": {"$x[]": STRING},
    }


def test_a_key_that_utf_8_cannot_encode_is_omitted():
    assert prop({"type": "object", "properties": {"\ud800": STRING, "ü": STRING}})["properties"] == {"ü": STRING}


def test_depth_and_number_of_levels_are_limited():
    deep = STRING
    for _ in range(200):
        deep = {"type": "array", "items": deep}
    shared = {"type": "object", "properties": {}}
    for _ in range(40):
        shared = {"type": "object", "properties": {"a": shared, "b": shared}}
    cyclic = {"type": "object", "properties": {}}
    cyclic["properties"]["self"] = cyclic
    for schema in (deep, shared, cyclic):
        ported = portable_input({"type": "object", "properties": {"p": schema}}, BIG)
        assert set(ported.cut) & {"levels beyond a depth or number that no host needs", "deep levels"}
        assert len(orjson.dumps(ported.schema)) <= BIG


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: {"type": "object", "properties": {"a": inner}, "required": ["a"]},
        lambda inner: {"anyOf": [inner, {"type": "null"}]},
        lambda inner: {"allOf": [inner]},
        lambda inner: {"not": inner},
        lambda inner: {"prefixItems": [inner], "items": False},
    ],
)
@pytest.mark.parametrize("port", [portable_input, portable_output])
def test_ten_thousand_levels_are_cut_to_what_a_host_accepts(around, port):
    schema = STRING
    for _ in range(10_000):
        schema = around(schema)
    ported = port(schema, 1_000).schema
    assert list(broken(ported, OUTPUT_RULES)) == []
    assert port(ported, 1_000).schema == ported


def test_a_chain_of_ten_thousand_references_is_cut():
    definitions = {
        f"d{number}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{number + 1}"}}}
        for number in range(10_000)
    }
    ported = portable_input({"$ref": "#/$defs/d0", "$defs": definitions}, 1_000)
    assert "deep levels" in ported.cut
    assert 800 <= len(orjson.dumps(ported.schema)) <= 1_000
    assert listed(ported.schema, 1_000) == ported.schema


def test_a_large_schema_is_cut_to_size_and_says_so():
    schema = {
        "type": "object",
        "properties": {f"p{number}": {"type": "string", "description": "d" * 300} for number in range(100)},
    }
    ported = portable_input(schema, 8_000)
    assert len(orjson.dumps(ported.schema)) <= 8_000
    assert list(ported.schema["properties"]) == list(schema["properties"])
    assert "long descriptions" in ported.cut


def test_only_valid_header_annotations_are_listed():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "x-mcp-header": "Region"}, "b": {"type": "number", "x-mcp-header": "N"}},
    }
    assert listed(schema)["properties"] == {"a": {"type": "string", "x-mcp-header": "Region"}, "b": {"type": "number"}}


def test_the_keywords_of_the_conformance_checks_are_kept():
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": STRING}}},
        "properties": {"address": {"$ref": "#/$defs/address"}, "phone": STRING},
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["address"]}]}],
        "if": {"required": ["phone"]},
        "then": {"required": ["address"]},
        "else": {"required": ["phone"]},
        "additionalProperties": False,
    }
    ported = portable_input(schema, BIG)
    assert ported.composed == {
        key: value for key, value in schema.items() if key not in {"$schema", "additionalProperties"}
    }
    assert ported.schema == {key: schema[key] for key in ("type", "$defs", "properties")}


@pytest.mark.parametrize(
    ("schema", "inner"),
    [
        ({"type": "array", "items": STRING}, {"type": "array", "items": STRING}),
        (STRING, STRING),
        ({"anyOf": [STRING, {"type": "null"}]}, {"anyOf": [STRING, {"type": "null"}]}),
        ({"type": ["object", "null"]}, {"anyOf": [{"type": "object"}, {"type": "null"}]}),
        ({"oneOf": [STRING, {"type": "null"}]}, {"anyOf": [STRING, {"type": "null"}]}),
        ({"oneOf": [STRING]}, STRING),
        ("none", {}),
    ],
)
def test_an_output_that_is_not_an_object_is_wrapped(schema, inner):
    ported = portable_output(schema, BIG)
    assert ported.wrapped
    assert ported.schema == {"type": "object", "properties": {"result": inner}}


def test_an_output_that_refers_to_itself_is_a_definition():
    ported = portable_output({"type": "array", "items": {"$ref": "#"}}, BIG)
    tree = {"type": "array", "items": {"$ref": "#/$defs/result"}}
    assert ported.schema == {"type": "object", "properties": {"result": tree}, "$defs": {"result": tree}}


def test_an_object_output_is_relaxed_but_not_wrapped():
    schema = {
        "$ref": "#/$defs/R",
        "$defs": {
            "R": {
                "type": "object",
                "properties": {"s": {"$ref": "#/$defs/S"}},
                "required": ["s"],
                "additionalProperties": False,
            },
            "S": {"type": "string", "enum": ["on"]},
        },
    }
    ported = portable_output(schema, BIG)
    assert not ported.wrapped
    assert ported.schema == {
        "type": "object",
        "properties": {"s": {"$ref": "#/$defs/S"}},
        "$defs": {"S": {"type": "string", "examples": ["on"]}},
    }


def test_an_output_with_properties_and_no_type_is_an_object():
    assert portable_output({"properties": {"a": STRING}}, BIG).schema == {"type": "object", "properties": {"a": STRING}}


@pytest.mark.parametrize(
    ("condition", "is_kept"),
    [
        ({"required": ["a"]}, True),
        ({"properties": {"a": {"const": "x"}}}, True),
        ({"type": "object", "enum": ["x", "y"]}, True),
        ({"enum": [None, ""]}, False),
        ({"enum": ["a", "b"]}, True),
        ({"properties": {"a": False}, "required": ["a"]}, False),
        ({"additionalProperties": False}, False),
        ({"$ref": "#/$defs/a"}, False),
        ({"x-vendor": 1, "required": ["a"]}, False),
        (False, False),
    ],
)
def test_a_condition_is_listed_only_as_it_was_written(condition, is_kept):
    assert ("not" in prop({"type": "object", "not": condition})) is is_kept


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["string", "array", "#", "#/$defs/a"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "anyOf", "allOf", "$ref", "$defs", "required", "enum", "not", "$x"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
VALUES = ["x", "y", "", None, 1, 2, 1.5, True, [], ["x"], {}, {"a": "x"}]
OWN = {
    "type": ["string", "integer", "number", "object", "array", "null", ["string", "null"], ["array", "object"]],
    "enum": [["x", "y", "x"], ["x", ""], ["x", None], [1, 2], [True, False], ["x", 1], [{}], [None], []],
    "const": VALUES,
    "default": VALUES,
    "description": ["Short.", "long words " * 30],
    "examples": [["x"], [None, ""]],
    "minLength": [0, 2],
    "minimum": [0, 2],
    "maxItems": [0, 2],
    "minProperties": [0, 2],
    "required": [["a"], ["a", "b"], ["$x", "ghost"]],
    "additionalProperties": [True, False],
    "unevaluatedProperties": [True, False],
    "unevaluatedItems": [True, False],
    "additionalItems": [True, False],
    "$ref": ["#", "#/$defs/a", "#/$defs/b", "#/definitions/a", "#/none"],
    "$schema": ["https://json-schema.org/draft/2020-12/schema"],
    "$anchor": ["here", "no anchor"],
    "$dynamicRef": ["#here"],
    "$id": ["https://example.com/schema"],
    "multipleOf": [0, -1, 2, 0.5, 2**64, 1e308],
    "maximum": [10**400, 1e308, 3],
    "exclusiveMinimum": [True, 1],
    "minContains": [0, 2],
    "maxLength": [1, 2.0, -1, 10**30],
    "uniqueItems": [True],
    "dependentRequired": [{"a": ["b"]}],
    "pattern": ["^[\U0001f600]$"],
}
MAPS = ("properties", "patternProperties", "dependentSchemas")
LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
SINGLES = (
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
NAMES = [["a"], ["a", "b"], ["$x"], ["__proto__"], ["~", "a/b", "%24"], ["\U0001f600"], ["\ud800", "a"], [""]]
TABLE = [*OWN, *MAPS * 2, *LISTS * 2, *SINGLES]


@st.composite
def schemas(draw, depth=3):
    if depth == 0 or draw(st.integers(0, 9)) == 9:
        return draw(st.sampled_from([True, False, {}, {"type": "string"}, {"type": "array"}, {"minLength": 1}]))
    schema = {}
    for key in draw(st.lists(st.sampled_from(TABLE), max_size=4)):
        if key in MAPS:
            schema[key] = {name: draw(schemas(depth - 1)) for name in draw(st.sampled_from(NAMES))}
        elif key in LISTS:
            schema[key] = [draw(schemas(depth - 1)) for _ in range(draw(st.integers(0, 2)))]
        elif key in OWN and not (key in SINGLES and draw(st.booleans())):
            schema[key] = draw(st.sampled_from(OWN[key]))
        else:
            schema[key] = draw(schemas(depth - 1))
    return schema


@st.composite
def documents(draw):
    first, second = draw(schemas(2)), draw(schemas(2))
    root = draw(schemas(4).filter(lambda one: isinstance(one, dict)))
    return {**root, "$defs": {"a": first, "b": second}, "definitions": {"a": second}}


@contextmanager
def ported_as_large(is_large):
    """Port a small schema part by part too, as a large one is."""
    with pytest.MonkeyPatch.context() as patch:
        if is_large:
            patch.setattr(portable, "is_small", lambda _schema, _most: False)
        yield


@given(json_values)
def test_any_schema_of_a_provider_is_listed_as_a_valid_object_schema(schema):
    ported = portable_input(schema, 2_000)
    for form in (ported.schema, ported.composed, portable_output(schema, 2_000).schema):
        assert form["type"] == "object"
        assert len(orjson.dumps(form)) <= 2_000
        jsonschema_rs.validator_for(form, validate_formats=False)
    assert not ported.schema.keys() & {"anyOf", "allOf", "oneOf", "not", "if"}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents() | json_values, st.sampled_from([150, 250, 400, 800, 16_384]), st.booleans())
@example({"not": {"type": "string", "enum": ["x", ""]}}, 150, False)
@example({"if": {"properties": {"a": {"enum": ["x", "x"]}}}, "then": {"required": ["b"]}}, 16_384, False)
@example({"not": {"properties": {"a": {"enum": [1, 2]}}}}, 16_384, False)
@example(
    {
        "contains": {"type": "string", "properties": {"a": {}}},
        "anyOf": [{"not": {}, "$ref": "#/$defs/a"}],
        "$defs": {"a": {}, "b": {}},
        "definitions": {"a": {}},
        "items": {},
    },
    150,
    False,
)
@example({"type": "string", "const": [], "$defs": {"a": {}, "b": {}}, "definitions": {"a": {}}}, 150, False)
@example({"properties": {"a": {"$anchor": "no anchor"}, "b": {"multipleOf": -1}}}, 16_384, False)
@example({"not": {"type": "object", "required": ["ghost"]}}, 16_384, False)
@example({"properties": {"a": {"contains": {}, "default": []}}}, 16_384, False)
@example({"properties": {"a": {"patternProperties": {"a": {"const": 2}}, "default": {"a": "x"}}}}, 16_384, False)
@example({"properties": {"a": {"multipleOf": 2**53, "default": 1.5}}}, 16_384, False)
@example({"required": ["a", "b"], "allOf": [{"required": ["a", "b"]}]}, 16_384, False)
@example({"properties": {"a": {"if": {"const": 2, "default": "x"}}}}, 16_384, False)
@example({"$ref": "#/$defs/b", "$defs": {"b": {"$ref": "#", "const": []}}}, 16_384, False)
@example({"properties": {"a": {"type": ["array", "object"], "additionalProperties": {}}}}, 16_384, False)
@example(
    {"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"required": ["b"], "oneOf": [{"$ref": "#/$defs/a"}]}}},
    400,
    False,
)
def test_every_host_accepts_what_is_listed_and_it_is_listed_as_it_is(schema, most_bytes, as_large):
    with ported_as_large(as_large):
        ported, outputs = portable_input(schema, most_bytes), portable_output(schema, most_bytes)
    assert list(broken(ported.schema, INPUT_RULES)) == []
    assert list(broken(ported.composed, COMPOSED_RULES)) == []
    assert list(broken(outputs.schema, OUTPUT_RULES)) == []
    assert portable_input(ported.schema, most_bytes).schema == ported.schema
    assert portable_input(ported.composed, most_bytes).composed == ported.composed
    assert portable_output(outputs.schema, most_bytes).schema == outputs.schema


arguments = st.dictionaries(
    st.sampled_from(["a", "b", "$x", "ghost", "z"]),
    st.recursive(
        st.sampled_from(["x", "y", "long", None, 1, 2, 1.5, True]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "$x"]), inner, max_size=2),
        max_leaves=5,
    ),
    max_size=3,
)


def accepts(schema, value):
    """Whether a schema accepts a value; None if it is not a schema that can be checked."""
    try:
        return jsonschema_rs.Draft202012Validator(schema, validate_formats=False).is_valid(value)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
        return None


def described_by_some(schema, root, depth=4):
    """(names that a schema or its branches describe, names that only some of its alternatives describe)."""
    if not isinstance(schema, dict):
        return set(), set()
    parts = [*schema.get("allOf", ()), at_pointer(root, schema.get("$ref", ""))]
    names, some = set(schema.get("properties", ())), set()
    if depth:
        for part in parts:
            more, partly = described_by_some(part, root, depth - 1)
            names, some = names | more, some | partly
        for key in ("anyOf", "oneOf"):
            found = [described_by_some(one, root, depth - 1) for one in schema.get(key, ())]
            each = [one for one, _ in found]
            some = some.union(*(partly for _, partly in found), *(one - other for one in each for other in each))
            names = names.union(*each)
    return names, some


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents(), arguments, st.sampled_from([150, 400, 16_384]), st.booleans())
def test_what_the_providers_schema_accepts_the_listed_one_accepts(schema, value, most_bytes, as_large):
    whole = {**schema, "type": "object"}
    assume(accepts(whole, value))
    # a type that the keywords show is the one thing that a schema gains
    with pytest.MonkeyPatch.context() as patch, ported_as_large(as_large):
        for module in (portable, filling):
            patch.setattr(module, "typed_by_content", lambda sub: sub)
        ported = portable_input(whole, most_bytes)
    if not ported.renamed:
        assert accepts(ported.composed, value) is not False
    _, some = described_by_some(whole, whole)
    if not any(key in repr(whole) for key in ("'then'", "'else'", "'dependentSchemas'")) and not some & value.keys():
        own = {key: name for name, key in ported.renamed.items()}
        assert accepts(ported.schema, {own.get(key, key): one for key, one in value.items()}) is not False


HEADER = {"type": "string", "x-mcp-header": "Region"}
BARE = {"type": "string"}


def test_a_valid_header_annotation_below_another_property_stays():
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": HEADER}}}}
    assert keep_valid_headers(schema) == schema


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"x-mcp-header": "Root"}, {}),
        ({"properties": {"a": {"type": "number", "x-mcp-header": "N"}}}, {"properties": {"a": {"type": "number"}}}),
        ({"properties": {"a": {"x-mcp-header": "N"}}}, {"properties": {"a": {}}}),
        ({"properties": {"a": {**BARE, "x-mcp-header": "no token"}}}, {"properties": {"a": BARE}}),
        ({"properties": {"a": {**BARE, "x-mcp-header": 3}}}, {"properties": {"a": BARE}}),
        ({"properties": {"a": {**BARE, "x-mcp-header": ""}}}, {"properties": {"a": BARE}}),
        (
            {"properties": {"a": HEADER, "b": {**BARE, "x-mcp-header": "REGION"}}},
            {"properties": {"a": HEADER, "b": BARE}},
        ),
        ({"properties": {"a": {"items": HEADER}}}, {"properties": {"a": {"items": BARE}}}),
        ({"anyOf": [{"properties": {"a": HEADER}}]}, {"anyOf": [{"properties": {"a": BARE}}]}),
        ({"$defs": {"d": {"properties": {"a": HEADER}}}}, {"$defs": {"d": {"properties": {"a": BARE}}}}),
    ],
)
def test_an_invalid_header_annotation_is_removed(schema, kept):
    assert find_invalid_x_mcp_header(schema) is not None
    assert keep_valid_headers(schema) == kept
    assert find_invalid_x_mcp_header(kept) is None


def test_data_that_looks_like_a_header_annotation_stays():
    schema = {"properties": {"a": {"type": "object", "default": {"x-mcp-header": "x"}}}}
    assert keep_valid_headers(schema) == schema


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "cookie",
        "Host",
        "X-Forwarded-For",
        "X-API-Key",
        "Proxy-Authorization",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Mcp-Session-Id",
        "Origin",
        "Sec-Fetch-Site",
        "X_Auth_Token",
        "x-amz-security-token",
    ],
)
def test_a_header_that_gateways_act_on_cannot_be_named(name):
    inputs = {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": name}}}
    assert "x-mcp-header" not in portable_input(inputs, 16_000).schema["properties"]["a"]


def test_another_header_can_be_named():
    inputs = {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "Region"}}}
    assert portable_input(inputs, 16_000).schema["properties"]["a"]["x-mcp-header"] == "Region"
