"""Forms of schemas, and the arguments that their texts mean."""

import pytest

from utcp_bridge.console.forms import fields_of, read_form
from utcp_bridge.errors import InvalidArguments

SCHEMA = {
    "type": "object",
    "properties": {
        "note": {"type": ["string", "null"], "maxLength": 5_000},
        "unit": {"enum": ["C", "F"], "default": "C"},
        "big": {"type": "integer", "title": "A big\u202e number"},
        "share": {"type": "number"},
        "rain": {"type": "boolean"},
        "more": {"anyOf": [{"type": "object"}]},
        "odd": True,
        "city": {"type": "string"},
    },
    "required": ["city", 7],
}


def test_each_field_has_the_kind_that_its_schema_says_and_required_ones_come_first():
    kinds = {field.name: field.kind for field in fields_of(SCHEMA)}
    assert list(kinds) == ["city", "note", "unit", "big", "share", "rain", "more", "odd"]
    assert [*kinds.values()] == ["text", "long", "choice", "integer", "number", "boolean", "json", "json"]
    by_name = {field.name: field for field in fields_of(SCHEMA)}
    assert by_name["big"].label == "A big number"
    assert (by_name["unit"].value, by_name["unit"].choices) == ("C", ("C", "F"))


@pytest.mark.parametrize("schema", [{}, {"properties": []}, {"properties": {}}, {"required": "x"}])
def test_a_schema_without_properties_has_no_fields(schema):
    assert fields_of(schema) == []
    assert read_form(schema, {"a": "1"}) == {}


def test_texts_become_arguments_with_all_of_their_digits():
    texts = {"city": "x", "big": "9007199254740993", "share": "0.5", "rain": "true", "more": '{"a": [1]}', "unit": "F"}
    assert read_form(SCHEMA, {**texts, "note": "", "other": "x"}) == {
        "city": "x",
        "big": 9007199254740993,
        "share": 0.5,
        "rain": True,
        "more": {"a": [1]},
        "unit": "F",
    }


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("share", "many", "share: write a number"),
        ("big", '"1"', "number: write a whole number"),
        ("rain", "1", "choose true or false"),
        ("more", "{", "write JSON"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_in_words(name, text, words):
    with pytest.raises(InvalidArguments, match=words):
        read_form(SCHEMA, {"city": "x", name: text})
