"""The comparison of two manuals: what they offer, and the arguments of harmless calls."""

import copy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.doctor.comparison import (
    Interface,
    ToolFace,
    interface_differences,
    schema_differences,
    stated_arguments,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["a", "b"], "minLength": 1, "description": "Where."},
        "days": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "tree": {"$ref": "#/$defs/node"},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {
        "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "value": {"type": "number"}}}
    },
}
ECHO = ToolFace("Echo.", None, SCHEMA, {"type": "object", "properties": {"a": {}}}, {"readOnlyHint": True})
OLD = Interface(
    tools={"echo": ECHO, "get_sum": ToolFace("Add.", None, SCHEMA)},
    resources=({"uri": "memo://a", "name": "a"},),
    resource_templates=({"uriTemplate": "memo://{x}", "name": "x"},),
    prompts=({"name": "greet", "arguments": [{"name": "who", "required": True}]},),
    instructions="Use it.",
)


def differences(old, new):
    return list(schema_differences("s", old, new))


def members(value, path=()):
    """Yield the path of each keyword and each name in a schema."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from members(inner, (*path, key))


def test_an_interface_has_no_difference_from_itself_and_from_its_copy():
    assert list(interface_differences(OLD, OLD)) == []
    assert list(interface_differences(OLD, copy.deepcopy(OLD))) == []


@pytest.mark.parametrize("path", list(members(SCHEMA)), ids=str)
@pytest.mark.parametrize("kind", ["removed", "replaced"])
def test_each_single_mutation_of_a_schema_is_found(path, kind):
    mutated = copy.deepcopy(SCHEMA)
    place = mutated
    for key in path[:-1]:
        place = place[key]
    if kind == "removed":
        del place[path[-1]]
    else:
        place[path[-1]] = "another"
    found = differences(SCHEMA, mutated)
    assert found
    assert not any(one.explained for one in found)


@given(st.permutations(list(SCHEMA["properties"])), st.permutations(["a", "b"]))
def test_order_makes_no_difference(names, values):
    other = copy.deepcopy(SCHEMA)
    other["properties"] = {name: other["properties"][name] for name in names}
    other["properties"]["city"]["enum"] = list(values)
    assert differences(SCHEMA, other) == []


def test_a_definition_written_in_place_is_the_same():
    referring = {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}}
    assert differences(referring, {"properties": {"a": {"type": ["string"]}}, "required": []}) == []


def test_a_property_named_like_a_keyword_is_a_property():
    [found] = differences({"properties": {"title": {"type": "string"}}}, {"properties": {"title": {"type": "number"}}})
    assert (found.pointer, found.explained) == ("/properties/title/type", "")


@pytest.mark.parametrize("keyword", ["$schema", "title", "$id"])
def test_keywords_that_change_nothing_are_named_and_explained(keyword):
    [found] = differences(SCHEMA, {**SCHEMA, keyword: "anything"})
    assert found.pointer == f"/{keyword}"
    assert found.explained


@pytest.mark.parametrize(
    ("new", "where"),
    [
        (replace(OLD, tools={"echo": ECHO}), "tool 'get_sum'"),
        (replace(OLD, tools={**OLD.tools, "more": ECHO}), "tool 'more'"),
        (replace(OLD, resources=()), "resource 'memo://a'"),
        (replace(OLD, resource_templates=()), "resource template 'memo://{x}'"),
        (replace(OLD, prompts=({"name": "greet", "arguments": []},)), "prompt 'greet'"),
        (replace(OLD, instructions=None), "instructions"),
        (replace(OLD, tools={**OLD.tools, "echo": replace(ECHO, description="Else.")}), "tool 'echo'"),
        (replace(OLD, tools={**OLD.tools, "echo": replace(ECHO, outputs=None)}), "tool 'echo', output schema"),
        (replace(OLD, tools={**OLD.tools, "echo": replace(ECHO, hints={})}), "tool 'echo', hints"),
    ],
)
def test_each_single_mutation_of_an_interface_is_found(new, where):
    found = list(interface_differences(OLD, new))
    assert [one.where for one in found] == [where]
    assert not found[0].explained


def test_a_tool_under_another_spelling_is_compared_and_explained():
    [found] = interface_differences(Interface({"getSum": ECHO}), Interface({"get_sum": ECHO}))
    assert (found.old, found.new) == ("getSum", "get_sum")
    assert found.explained


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, {}),
        ({"properties": {"a": {"type": "string"}}}, {}),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, None),
        ({"properties": {"a": {"default": None}}, "required": ["a"]}, {"a": None}),
        ({"properties": {"a": {"examples": [3, 4]}}, "required": ["a"]}, {"a": 3}),
        ({"properties": {"a": {"enum": ["x"]}, "b": {"const": 1}}, "required": ["a", "b"]}, {"a": "x", "b": 1}),
        ({"properties": {"a": {"examples": [], "enum": []}}, "required": ["a"]}, None),
        ({"properties": {"a": True}, "required": ["a"]}, None),
        ({"required": "a"}, {}),
    ],
)
def test_arguments_are_stated_by_the_schema_or_not_made(schema, expected):
    assert stated_arguments(schema) == expected
