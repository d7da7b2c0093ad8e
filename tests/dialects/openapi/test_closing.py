"""Objects in several parts, one of which excludes what another one describes."""

import jsonschema_rs
import pytest

BASE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"name": {"type": "string"}, "id": {"type": "string", "readOnly": True}},
}
FAULT = "`additionalProperties: false` of one part refuses what another part describes"


def text(name):
    return {"type": "object", "properties": {name: {"type": "string"}}}


def closed(schema):
    return {**schema, "additionalProperties": False}


@pytest.fixture
def made(conversion):
    """The schema of an argument `a` with the definitions of the tool, and the document's faults."""

    def run(schema, version="3.0.3", **schemas):
        body = {"content": {"application/json": {"schema": {"type": "object", "properties": {"a": schema}}}}}
        parts = {"components": {"schemas": {"Base": BASE, **schemas}}}
        found = conversion({"requestBody": body}, method="post", version=version, **parts)
        inputs = found.tools[0].as_json()["inputs"]
        return {"$defs": inputs.get("$defs", {}), "allOf": [inputs["properties"]["a"]]}, found.faults

    return run


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (closed({"required": ["name"], "allOf": [{"$ref": "#/components/schemas/Base"}]}), {"name": "n"}),
        ({"allOf": [{"$ref": "#/components/schemas/Base"}, closed(text("size"))]}, {"name": "n", "size": "s"}),
        ({**text("kind"), "oneOf": [closed(text("x")), closed(text("y"))]}, {"kind": "k", "y": "v"}),
        (closed({**text("kind"), "anyOf": [text("x")]}), {"kind": "k", "x": "v"}),
        ({"allOf": [{"allOf": [{"allOf": [closed(text("x"))]}]}, text("y")]}, {"x": "v", "y": "v"}),
        ({"oneOf": [closed(text("x"))], "anyOf": [closed(text("y"))]}, {"x": "v", "y": "v"}),
        (closed({"required": ["nmae"], "allOf": [{"$ref": "#/components/schemas/Base"}]}), {"name": "n"}),
    ],
)
@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_members_of_each_part_are_accepted(made, schema, value, version):
    found, faults = made(schema, version)
    jsonschema_rs.Draft202012Validator(found).validate(value)
    assert [one.what for one in faults if FAULT in one.what]
    wrong = dict.fromkeys(value, 5)
    assert not jsonschema_rs.Draft202012Validator(found).is_valid(wrong)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (closed(text("x")), {"x": "v"}),
        ({"oneOf": [closed(text("x")), closed(text("y"))]}, {"y": "v"}),
        ({**text("x"), "oneOf": [closed(text("x")), closed({"properties": {"x": {}, "y": {}}})]}, {"x": "v"}),
        ({"allOf": [closed({"properties": {"x": {}, "y": False}}), {"properties": {"y": False}}]}, {"x": "v"}),
        ({"allOf": [closed(text("x")), {"properties": {"id": {"readOnly": True}}}]}, {"x": "v"}),
        ({"allOf": [{"$ref": "#/components/schemas/Base"}]}, {"name": "v"}),
    ],
)
def test_an_object_whose_parts_agree_stays_closed(made, schema, value):
    found, faults = made(schema)
    assert not faults
    assert jsonschema_rs.Draft202012Validator(found).is_valid(value)
    assert not jsonschema_rs.Draft202012Validator(found).is_valid({**value, "other": 1})


def test_a_definition_stays_closed_where_it_is_not_a_part_of_another_object(made):
    schema = {"properties": {"alone": {"$ref": "#/components/schemas/Base"}, "part": {"allOf": [
        {"$ref": "#/components/schemas/Base"}, text("size")]}}}  # fmt: skip
    found, _ = made(schema)
    validator = jsonschema_rs.Draft202012Validator(found)
    assert validator.is_valid({"part": {"name": "n", "size": "s"}, "alone": {"name": "n"}})
    assert not validator.is_valid({"alone": {"name": "n", "size": "s"}})


def test_members_within_an_opened_object_stay_closed(made):
    inner = {"type": "object", "properties": {"deep": closed(text("x")), "list": {"items": closed(text("x"))}}}
    found, _ = made({"allOf": [closed(inner), text("size")]})
    validator = jsonschema_rs.Draft202012Validator(found)
    assert validator.is_valid({"deep": {"x": "v"}, "list": [{"x": "v"}], "size": "s"})
    assert not validator.is_valid({"deep": {"y": "v"}})
    assert not validator.is_valid({"list": [{"y": "v"}]})


def test_an_object_that_contains_itself_is_opened_once(made):
    tree = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"next": {"$ref": "#/components/schemas/Tree"}},
        "allOf": [{"$ref": "#/components/schemas/Base"}],
    }
    found, faults = made({"$ref": "#/components/schemas/Tree"}, Tree=tree)
    assert jsonschema_rs.Draft202012Validator(found).is_valid({"name": "a", "next": {"name": "b", "next": {}}})
    assert not jsonschema_rs.Draft202012Validator(found).is_valid({"next": {"name": 5}})
    assert sum(FAULT in one.what for one in faults) == 1


def test_an_object_of_many_closed_parts_is_read_in_bounded_time(made):
    """Each part refers to all later ones: followed one by one, they would be more than can be counted."""
    names = [f"P{number}" for number in range(40)]
    parts = {
        name: {**closed(text(name)), "allOf": [{"$ref": f"#/components/schemas/{other}"} for other in names[at + 1 :]]}
        for at, name in enumerate(names)
    }
    found, faults = made({"$ref": "#/components/schemas/P0"}, **parts)
    assert any(FAULT in one.what for one in faults)
    assert jsonschema_rs.Draft202012Validator(found).is_valid({"P0": "a"})
