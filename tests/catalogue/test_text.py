"""Cleaning text of other programs."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.catalogue.text import clean, clean_line, clean_schema, shorten
from utcp_bridge.foreign import is_visible_line, visible_json


@pytest.mark.parametrize(
    "hidden",
    [
        "\x00",
        "\x1b",
        "\x7f",
        "\x9b",
        "\u00ad",
        "\u200b",
        "\u200f",
        "\u202e",
        "\u2066",
        "\ufeff",
        "\ud800",
        "\U000e0041",
    ],
)
def test_invisible_characters_are_removed(hidden):
    assert clean(f"a{hidden}b") == "ab"


@pytest.mark.parametrize("sequence", ["\x1b[31m", "\x1b[2J", "\x1b]8;;http://x\x07", "\x1b]0;title\x1b\\", "\x1bM"])
def test_terminal_sequences_are_removed_whole(sequence):
    assert clean(f"a{sequence}b") == "ab"


def test_visible_text_of_any_script_stays():
    assert clean("Größe 日本語 😀\tx\ny") == "Größe 日本語 😀\tx\ny"


def test_a_value_that_is_not_text_is_empty():
    assert [clean(value) for value in (None, 3, ["x"], {})] == ["", "", "", ""]


def test_a_line_has_no_line_breaks():
    assert clean_line("a\r\n b\tc\u2028d") == "a b c d"
    assert clean_line(None) == ""
    assert clean_line("0\x9bG0") == "0 0"


@given(
    st.text(max_size=12)
    | st.lists(st.sampled_from(["a", "\x9b", "\x1b[", "G", "1", "\b", "\r", "\n", "\u2028"])).map("".join)
)
def test_a_line_of_any_text_is_one_that_people_see(text):
    line = clean_line(text)
    assert line == "" or is_visible_line(line)


def test_long_text_is_cut_at_a_word():
    assert shorten("one two three four five", 20) == "one two three four…"
    assert shorten("x" * 30, 10) == "x" * 9 + "…"
    assert shorten("short", 5) == "short"
    assert len(clean("word " * 500, 1024)) <= 1024


HIDDEN = "\U000e0041\U000e0042\u202e\u200b\x1b[8m"
"""Characters that a model reads and a person does not see."""


def hidden_in(*keywords: str) -> dict[str, Any]:
    """Return a schema with hidden characters in the texts of these keywords, at each level."""
    texts: dict[str, Any] = {
        "title": f"T{HIDDEN}itle",
        "description": f"De{HIDDEN}scribed",
        "$comment": f"{HIDDEN}Comment",
        "default": f"a{HIDDEN}",
        "const": f"a{HIDDEN}",
        "pattern": f"a{HIDDEN}",
        "enum": ["a", f"b{HIDDEN}", {"deep": [HIDDEN]}],
        "examples": ["a", f"b{HIDDEN}"],
        "format": f"da{HIDDEN}te",
        "contentMediaType": f"text/plain{HIDDEN}",
        "x-own": {f"ke{HIDDEN}y": [f"va{HIDDEN}lue"]},
    }
    leaf = {key: texts[key] for key in keywords}
    named = {"plain": leaf, f"na{HIDDEN}med": leaf}
    inner = {
        "properties": named,
        "required": ["plain", f"na{HIDDEN}med"],
        "patternProperties": {f"^a{HIDDEN}": leaf},
        "additionalProperties": leaf,
        "items": leaf,
        "prefixItems": [leaf],
        "anyOf": [leaf, {"not": leaf}],
        "if": leaf,
        "dependentSchemas": {"plain": leaf, f"a{HIDDEN}": leaf},
        "propertyNames": leaf,
    }
    return {**leaf, "type": "object", "properties": {"inner": inner, "list": {"items": inner}}, "$defs": {"d": inner}}


def all_texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, member in value.items() for text in (key, *all_texts(member))]
    return [text for member in value for text in all_texts(member)] if isinstance(value, list) else []


KEYWORDS = ("title", "description", "$comment", "default", "const", "pattern", "enum", "examples", "format", "x-own")


@pytest.mark.parametrize("keywords", [*((one,) for one in KEYWORDS), KEYWORDS], ids=" ".join)
@pytest.mark.parametrize("is_output", [False, True])
def test_no_text_of_a_schema_hides_anything(keywords, is_output):
    shown = clean_schema(hidden_in(*keywords), is_output=is_output)
    assert [text for text in all_texts(shown) if visible_json(text) != text] == []


def test_what_a_call_must_send_is_left_out_and_not_changed():
    leaf = clean_schema(hidden_in(*KEYWORDS))["properties"]["inner"]["properties"]["plain"]
    assert leaf["enum"] == leaf["examples"] == ["a"]
    assert leaf.keys().isdisjoint({"const", "default", "pattern"})
    assert (leaf["title"], leaf["description"]) == ("Title", "Described")
    only_hidden = {"properties": {"a": {"enum": [HIDDEN], "type": "string"}}}
    assert clean_schema(only_hidden) == {"properties": {"a": {"type": "string"}}}


def test_values_of_an_output_schema_are_cleaned_like_the_results():
    schema = {"properties": {"a": {"enum": ["x", f"y{HIDDEN}"], "const": f"z{HIDDEN}"}}}
    assert clean_schema(schema, is_output=True) == {"properties": {"a": {"enum": ["x", "y"], "const": "z"}}}


def test_a_clean_schema_is_returned_itself():
    schema = {"properties": {"größe": {"enum": ["ä", "日本", "😀"], "default": "x"}}, "title": "a\nb"}
    assert clean_schema(schema) is schema
    joined = {"properties": {"a": {"enum": ["👩\u200d🚀"]}}}
    assert clean_schema(joined) == joined


LEAVES = st.text(st.sampled_from("ab\u202e\U000e0041\x07é"), max_size=4) | st.integers() | st.none() | st.booleans()
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYWORDS, "properties", "items", "$defs", "required", HIDDEN]), inner)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["items", "enum", "title", "anyOf", "$defs"]), TREES), st.booleans())
def test_any_tree_is_cleaned_whole(schema, is_output):
    shown = clean_schema(schema, is_output=is_output)
    assert [text for text in all_texts(shown) if visible_json(text) != text] == []


def test_arguments_are_checked_against_the_values_of_the_provider():
    schema = {"type": "object", "properties": {"a": {"enum": ["x", f"y{HIDDEN}"]}}}
    listed = jsonschema_rs.validator_for(clean_schema(schema))
    assert jsonschema_rs.is_valid(schema, {"a": f"y{HIDDEN}"})
    assert not listed.is_valid({"a": "y"})
    assert listed.is_valid({"a": "x"})
