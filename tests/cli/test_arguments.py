"""Words of the command line become arguments of the types in the tool's schema."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.cli.arguments import read_arguments
from utcp_bridge.errors import InvalidArguments

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "ratio": {"type": "number"},
        "exact": {"type": "boolean"},
        "maybe": {"type": ["integer", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "loose": {"type": "array", "items": True},
        "place": {"type": "object"},
        "level": {"enum": ["1", "2"]},
        "odd": {"type": 7},
        "free": {},
        "union": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "named": {"$ref": "#/$defs/word"},
    },
}


def read(*words, stdin=""):
    return read_arguments(words, SCHEMA, lambda: stdin)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["city=Paris"], {"city": "Paris"}),
        (["city=42"], {"city": "42"}),
        (["city="], {"city": ""}),
        (["city=a=b"], {"city": "a=b"}),
        (["city=a:=b"], {"city": "a:=b"}),
        (["days=3"], {"days": 3}),
        (["days=3.0"], {"days": 3.0}),
        (["days=3.5"], {"days": "3.5"}),
        (["days=three"], {"days": "three"}),
        (["ratio=3"], {"ratio": 3}),
        (["ratio=-1e2"], {"ratio": -100.0}),
        (["ratio=NaN"], {"ratio": "NaN"}),
        (["exact=true"], {"exact": True}),
        (["exact=yes"], {"exact": "yes"}),
        (["maybe=null"], {"maybe": None}),
        (["tags=a"], {"tags": ["a"]}),
        (["tags=a", "tags=2"], {"tags": ["a", "2"]}),
        (['tags=["a","b"]'], {"tags": ["a", "b"]}),
        (["sizes=1", "sizes=2"], {"sizes": [1, 2]}),
        (["loose=1"], {"loose": [1]}),
        (['place={"a":1}'], {"place": {"a": 1}}),
        (["level=1"], {"level": "1"}),
        (["odd=1"], {"odd": 1}),
        (["free=1"], {"free": 1}),
        (["union=1", "named=2"], {"union": "1", "named": "2"}),
        (["free=word"], {"free": "word"}),
        (["unknown=true"], {"unknown": True}),
        (["city:=3"], {"city": 3}),
        (["days:=null"], {"days": None}),
        (['{"days": 1}', "days=2"], {"days": 2}),
        (["days=2", '{"days": 1}'], {"days": 1}),
        (["tags:=[1]", "tags=a"], {"tags": ["a"]}),
        ([], {}),
    ],
)
def test_words_become_typed_values(words, expected):
    assert read(*words) == expected


def test_a_dash_reads_an_object_from_stdin():
    assert read("-", "days=2", stdin='{"city": "Paris", "days": 1}') == {"city": "Paris", "days": 2}


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        (["word"], "", "'word' is not an argument"),
        (["=x"], "", "'=x' is not an argument"),
        (["days:=x"], "", "The value of days is not valid JSON at line 1, column 1"),
        (["days:=NaN"], "", "The value of days is not valid JSON"),
        (["{"], "", "The value of the JSON object is not valid JSON"),
        (["-"], "[]", "The value of stdin must be a JSON object"),
        (["days:=" + "[" * 100_000], "", "The value of days is not valid JSON"),
    ],
)
def test_an_error_names_a_word_that_cannot_be_read(words, stdin, message):
    with pytest.raises(InvalidArguments, match=message[:40].replace("[", r"\[")) as caught:
        read(*words, stdin=stdin)
    assert "key=value" in caught.value.remedy


def test_a_schema_without_properties_allows_any_argument():
    assert read_arguments(["a=1"], {}, str) == {"a": 1}


@given(st.text(min_size=1))
def test_a_string_argument_keeps_its_text(text):
    assert read(f"city={text}") == {"city": text}
