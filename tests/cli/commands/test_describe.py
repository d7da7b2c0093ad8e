"""`utcp-bridge describe`."""

import json
import shlex

import pytest

from utcp_bridge.cli.commands.describe import _sample_arguments


def test_a_tool_is_shown_with_its_arguments_and_a_call(command):
    outcome = command("describe", "--quickstart", "desk.convert_units")
    assert outcome.code == 0
    assert "over MCP: desk_convert_units" in outcome.out
    assert "value     number  required  How much." in outcome.out
    assert "One of mm, cm, m," in outcome.out
    assert outcome.out.splitlines()[-1] == (
        "  utcp-bridge call --quickstart desk.convert_units value=NUMBER from=mm to=mm"
    )


def test_the_example_call_works_when_its_values_are_filled_in(command):
    shown = command("describe", "--quickstart", "desk.convert_units").out.splitlines()[-1]
    words = shlex.split(shown.replace("NUMBER", "1"))
    assert words[:2] == ["utcp-bridge", "call"]
    assert json.loads(command(*words[1:]).out)["result"] == 1


def test_json_has_the_schema_and_the_mcp_name(command):
    outcome = command("describe", "--quickstart", "desk_create_note", "--json")
    told = json.loads(outcome.out)
    assert told["name"] == "desk.create_note"
    assert told["mcp_name"] == "desk_create_note"
    assert told["inputs"]["properties"]["tags"]["type"] == "array"


def test_arrays_defaults_and_hints_are_shown(command):
    note = command("describe", "--quickstart", "desk.create_note").out
    dates = command("describe", "--quickstart", "calendar.add_to_date").out
    assert "array of string" in note
    assert "Tags: notes" in note
    assert "Default: 0." in dates


def test_unusual_properties_of_a_tool_are_shown(command, manual):
    plain = command("describe", "-c", manual, "notices.door").out
    listing = command("describe", "-c", manual, "notices.list").out
    assert "The tool has no arguments." in plain
    assert plain.endswith(f"\n  utcp-bridge call -c {manual} notices.door\n")
    assert "Hints: readOnly, idempotent" in plain
    assert "Deprecated." in listing
    assert "integer or null" in listing


def test_an_unknown_tool_has_its_exit_code(command, manual):
    outcome = command("describe", "-c", manual, "notices.dor")
    assert (outcome.code, outcome.out) == (3, "")
    assert "Did you mean notices.door" in outcome.err


@pytest.mark.parametrize(
    ("schema", "sample"),
    [
        ({"properties": {"a": {"type": "array"}, "b": {"type": "object"}}, "required": ["a", "b"]}, " 'a:=[]' 'b:={}'"),
        ({"properties": {"a": {}, "b": 1}, "required": ["a", "b"]}, " a=VALUE b=VALUE"),
        ({"properties": {"a": {"type": "string"}}}, ""),
        ({"properties": [], "required": 1}, ""),
        ({"properties": {"a": {}}, "required": "a"}, ""),
    ],
)
def test_the_example_call_contains_every_required_argument(schema, sample):
    assert _sample_arguments(schema) == sample


def test_an_argument_with_a_reference_shows_the_type_of_its_target(command):
    told = command("describe", "--quickstart", "books.addBook").out
    assert "book      object  required" in told
    assert """'book:={"title": "text", "author": "text"}'""" in told
