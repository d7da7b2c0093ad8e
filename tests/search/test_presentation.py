import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.search.presentation import as_text, one_line, signature, summary_of


def properties(schema, required=()):
    return {"type": "object", "properties": {"p": schema}, "required": list(required)}


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string"}, "p: string"),
        ({"type": ["string", "null"]}, "p: string|null"),
        ({"enum": ["a", 2, True, None]}, 'p: "a"|2|true|None'),
        ({"enum": list("abcdefg")}, 'p: "a"|"b"|"c"|"d"|"e"|…'),
        ({"const": "x"}, 'p: "x"'),
        ({"type": "array", "items": {"type": "integer"}}, "p: integer[]"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, 'p: ("a"|"b")[]'),
        ({"type": "array"}, "p: any[]"),
        ({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "string"}]}, "p: string|number"),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "p: string|null"),
        ({"$ref": "#/$defs/Address"}, "p: Address"),
        ({"properties": {}}, "p: object"),
        ({}, "p: any"),
        (True, "p: any"),
        (None, "p: any"),
        ({"type": 5}, "p: any"),
        ({"type": []}, "p: any"),
        ({"enum": []}, "p: any"),
    ],
)
def test_a_parameter_is_shown_with_its_type(schema, shown):
    assert signature(properties(schema)) == shown


def test_required_parameters_come_first_with_a_star():
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["b"]}
    assert signature(schema) == "b*: integer, a: string"


def test_many_parameters_are_counted_instead_of_shown():
    line = signature({"properties": {f"p{number}": {} for number in range(23)}})
    assert line.endswith("p19: any, … 3 more")


def test_deep_nesting_ends_in_any():
    schema: dict = {"type": "string"}
    for _ in range(50):
        schema = {"type": "array", "items": schema}
    assert signature(properties(schema)) == "p: any[][][][][]"


@pytest.mark.parametrize("schema", [None, [], {"properties": 3}, {"properties": {}, "required": 5}])
def test_a_schema_without_parameters_has_no_signature(schema):
    assert signature(schema) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("One line", "One line"),
        ("\n\n  Sends   a\tmessage to someone. Then more.", "Sends a message to someone."),
        ("E.g. mail. More", "E.g. mail. More"),
        ("hidden\u200b\u202e text\x1b[31m", "hidden text[31m"),
        ("", ""),
        (None, ""),
        ("\u200b\n\x00", ""),
    ],
)
def test_a_description_becomes_one_visible_line(text, shown):
    assert one_line(text, 160) == shown


def test_a_long_line_is_cut():
    assert one_line("word " * 100, 20) == "word word word word\u2026"


@given(st.text(), st.integers(1, 50))
def test_a_line_has_no_breaks_and_keeps_to_its_limit(text, limit):
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1


def test_a_summary_leaves_out_what_is_empty(make_tool):
    assert summary_of(make_tool("x.y", "Does.")) == {"description": "Does."}
    assert summary_of(make_tool("x.y", title="y")) == {"description": ""}


def test_a_summary_names_title_tags_and_parameters(make_tool):
    tool = make_tool(
        "x.y", "Does.", title="Why", tags=tuple("abcdefghijkl"), inputs=properties({"type": "number"}, ["p"])
    )
    assert summary_of(tool) == {
        "description": "Does.",
        "title": "Why",
        "parameters": "p*: number",
        "tags": list("abcdefghij"),
    }


def entry(name, **members):
    return {"name": name, **members}


def test_results_as_text_are_one_line_each():
    result = {
        "total": 9,
        "results": [entry("send", description="Sends.", parameters="to*: string"), entry("list", provider="mail")],
        "call_with": "call_tool",
        "next_cursor": "abc",
        "note": "Take care.",
    }
    assert as_text(result).splitlines() == [
        "1. send(to*: string) - Sends.",
        "2. list [mail]",
        "Call these tools with call_tool.",
        "More with cursor abc",
        "Take care.",
    ]


def test_full_detail_shows_the_schemas_as_json():
    shown = entry("send", inputSchema={"type": "object", "x": None}, outputSchema={"title": "é"})
    lines = as_text({"total": 1, "results": [shown]}).splitlines()
    assert lines == ["1. send", 'inputSchema: {"type":"object","x":null}', 'outputSchema: {"title":"é"}']


def test_groups_are_headed_by_their_query_and_empty_ones_say_so():
    result = {
        "total": 1,
        "groups": [
            {"query": "send mail", "results": [entry("send")]},
            {"query": "qq", "results": [], "did_you_mean": ["q"]},
        ],
    }
    assert as_text(result).splitlines() == [
        '"send mail":',
        "1. send",
        '"qq":',
        "Nothing found.",
        "Did you mean: q?",
    ]


def test_providers_are_listed_with_their_counts():
    result = {"total": 3, "results": [], "providers": [{"name": "mail", "tools": 3}], "note": "Search."}
    assert as_text(result) == "mail: 3 tools\nSearch."
