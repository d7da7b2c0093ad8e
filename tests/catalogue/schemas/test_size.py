"""Cutting schemas to a size."""

import orjson
import pytest

from utcp_bridge.catalogue.schemas.size import fit, fit_output, map_schemas
from utcp_bridge.tasks import at_once


def size(schema):
    return len(orjson.dumps(schema))


def test_a_schema_that_fits_is_left_alone():
    schema = {"type": "object", "properties": {"a": {"type": "string", "title": "A", "examples": ["x"]}}}
    fitted, cut = at_once(fit(schema, size(schema)))
    assert fitted is schema
    assert cut == []


def nested(levels, leaf):
    for _ in range(levels):
        leaf = {"type": "object", "properties": {"x": leaf}}
    return leaf


LONG = "word " * 100


@pytest.mark.parametrize(
    ("bulk", "lost"),
    [
        ({"type": "string", "examples": [LONG * 4]}, ["examples"]),
        (nested(3, {"type": "string", "description": LONG * 4}), ["examples", "long descriptions"]),
        (nested(20, {"type": "string"}), ["examples", "long descriptions", "deep levels"]),
        (
            {"type": "string", "enum": [f"value{number}" for number in range(200)]},
            ["examples", "long descriptions", "deep levels", "long enums"],
        ),
    ],
)
def test_what_a_model_needs_least_is_cut_first(bulk, lost):
    schema = {"type": "object", "properties": {"keep": {"type": "string", "description": "Stay."}, "bulk": bulk}}
    fitted, cut = at_once(fit(schema, 600))
    assert cut == lost
    assert size(fitted) <= 600
    assert fitted["properties"]["keep"] == {"type": "string", "description": "Stay."}
    assert fitted["properties"]["bulk"]["type"] == bulk["type"]


def test_a_long_enum_becomes_a_description_with_its_first_values():
    schema = {
        "type": "object",
        "properties": {"a": {"description": "Pick.", "enum": [f"v{number}" for number in range(400)]}},
    }
    described = at_once(fit(schema, 500))[0]["properties"]["a"]
    assert described == {"description": "Pick. One of 400 values: v0, v1, v2, v3, v4, v5, v6, v7, …"}


def test_definitions_without_a_reference_are_removed():
    deep = nested(10, {"$ref": "#/$defs/deep"})
    schema = {
        "type": "object",
        "properties": {"a": deep, "b": {"$ref": "#/$defs/kept"}},
        "$defs": {
            "deep": {"type": "string", "description": LONG},
            "kept": {"$ref": "#/$defs/chained"},
            "chained": {"type": "null"},
        },
    }
    fitted, _ = at_once(fit(schema, 420))
    assert set(fitted["$defs"]) == {"kept", "chained"}


def test_references_in_lists_keep_their_definitions():
    union = {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "string", "examples": [LONG]}]}
    schema = {"type": "object", "properties": {"p": union}, "$defs": {"a": {"type": "null"}, "b": {"type": "null"}}}
    fitted, cut = at_once(fit(schema, 300))
    assert cut == ["examples"]
    assert set(fitted["$defs"]) == {"a"}


def test_descriptions_are_cut_before_optional_arguments():
    properties = {f"p{number}": {"type": "string", "default": "d" * 50} for number in range(20)}
    fitted, cut = at_once(fit({"type": "object", "properties": properties}, 700))
    assert fitted["properties"] == {name: {"type": "string"} for name in properties}
    assert cut[-1] == "everything but types"


def test_required_arguments_are_cut_last():
    properties = {f"p{number}": {"type": "string"} for number in range(100)}
    fitted, cut = at_once(fit({"type": "object", "properties": properties, "required": ["p7"]}, 200))
    assert fitted["properties"] == {"p7": {"type": "string"}}
    assert cut[-1] == "optional arguments"


def test_a_schema_that_never_fits_becomes_an_open_object():
    properties = {f"p{number}": {"type": "string"} for number in range(100)}
    fitted, cut = at_once(fit({"type": "object", "properties": properties, "required": list(properties)}, 200))
    assert fitted == {"type": "object", "properties": {}}
    assert cut[-1] == "the whole schema"


def test_a_schema_that_json_cannot_represent_becomes_an_open_object():
    cut = at_once(fit({"type": "object", "properties": {"\ud800": {}}}, 9_999))[0]
    assert cut == {"type": "object", "properties": {}}


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


def test_an_output_schema_loses_names_and_types_of_its_upper_levels_last():
    leaf = {"type": "string", "description": "What it is. " * 5, "format": "uri"}
    inner = {"type": "object", "properties": {f"inner{number}": leaf for number in range(5)}}
    schema = {"type": "object", "properties": {f"member{number}": inner for number in range(8)}}
    fitted, cut = at_once(fit_output(schema, 2_400))
    assert cut == ["examples", "descriptions"]
    assert fitted["properties"]["member7"]["properties"]["inner4"] == {"type": "string", "format": "uri"}
    fitted, cut = at_once(fit_output(schema, 1_800))
    assert cut == ["examples", "descriptions", "bounds"]
    assert fitted["properties"]["member7"]["properties"]["inner4"] == {"type": "string"}
    fitted, cut = at_once(fit_output(schema, 600))
    assert "deep levels" in cut
    assert set(fitted["properties"]) == set(schema["properties"])
    assert at_once(fit_output({"type": "object"}, 600)) == ({"type": "object"}, [])
