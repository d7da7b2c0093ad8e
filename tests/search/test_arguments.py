import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.search.arguments import (
    SearchArguments,
    decode_cursor,
    encode_cursor,
    read_arguments,
)
from utcp_bridge.search.input_schema import SEARCH_TOOLS_INPUT_SCHEMA

_VALIDATOR = jsonschema_rs.validator_for(SEARCH_TOOLS_INPUT_SCHEMA)
_EVERYTHING = {
    "query": "send mail",
    "limit": 50,
    "tags": ["a"],
    "tags_mode": "all",
    "providers": ["git*"],
    "exclude_providers": ["x"],
    "detail": "full",
    "mode": "regex",
}
_WRONG = [
    {"query": "x" * 1001},
    {"query": 5},
    {"queries": ["a"] * 6},
    {"queries": [1]},
    {"limit": 0},
    {"limit": 51},
    {"limit": "many"},
    {"tags": [""]},
    {"tags_mode": "some"},
    {"providers": {}},
    {"exclude_providers": ["x" * 201]},
    {"detail": "everything"},
    {"mode": "fuzzy"},
    {"cursor": "x" * 201},
    {"colour": "red"},
]


def test_the_published_schema_and_the_reader_accept_the_same():
    assert _VALIDATOR.is_valid(_EVERYTHING)
    assert read_arguments(_EVERYTHING).providers == ["git*"]
    assert _VALIDATOR.is_valid({})
    assert read_arguments({}) == SearchArguments()


@pytest.mark.parametrize("arguments", _WRONG)
def test_the_published_schema_and_the_reader_refuse_the_same(arguments):
    assert not _VALIDATOR.is_valid(arguments)
    with pytest.raises(InvalidArguments) as raised:
        read_arguments(arguments)
    assert f"`{next(iter(arguments))}" in raised.value.message
    assert raised.value.remedy


def test_the_schema_is_flat_and_tells_each_argument():
    properties = SEARCH_TOOLS_INPUT_SCHEMA["properties"]
    assert set(properties) == set(SearchArguments.model_fields)
    assert all(
        member["description"] and "title" not in member and "anyOf" not in member for member in properties.values()
    )
    assert "$defs" not in SEARCH_TOOLS_INPUT_SCHEMA


def test_an_unknown_argument_is_refused_with_the_known_ones():
    with pytest.raises(InvalidArguments, match=r"Known arguments: query, queries, limit"):
        read_arguments({"q": "mail"})


def test_a_fault_never_repeats_the_value():
    with pytest.raises(InvalidArguments) as raised:
        read_arguments({"mode": "hunter2"})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("arguments", [None, [], "mail", 3])
def test_arguments_must_be_an_object(arguments):
    with pytest.raises(InvalidArguments, match="must be an object"):
        read_arguments(arguments)


def test_nulls_count_as_absent_and_one_string_as_a_list_of_it():
    read = read_arguments({"query": None, "limit": None, "tags": "mail", "queries": "one need"})
    assert (read.query, read.tags, read.queries, read.page_size) == ("", ["mail"], ["one need"], 10)


def test_a_number_written_as_text_is_read():
    assert read_arguments({"limit": "7"}).page_size == 7


def test_full_detail_has_a_smaller_default_page():
    assert read_arguments({"detail": "full"}).page_size == 3
    assert read_arguments({"detail": "full", "limit": 9}).page_size == 9


def test_several_queries_take_neither_cursor_nor_another_mode():
    with pytest.raises(InvalidArguments, match="pages one query"):
        read_arguments({"queries": ["a"], "cursor": "abc"})
    with pytest.raises(InvalidArguments, match="mode regex"):
        read_arguments({"queries": ["a"], "mode": "regex"})


@given(st.integers(0, 9_999_999), st.text(max_size=20))
def test_a_cursor_gives_its_offset_back_to_the_same_search(offset, query):
    read = SearchArguments(query=query, limit=3)
    cursor = encode_cursor(read, offset)
    assert decode_cursor(read.model_copy(update={"cursor": cursor, "limit": 20, "detail": "full"})) == offset
    with pytest.raises(InvalidArguments, match="does not belong"):
        decode_cursor(SearchArguments(query=query + "!", cursor=cursor))


@given(st.text(min_size=1, max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{1,60}", fullmatch=True))
def test_a_made_up_cursor_is_refused(cursor):
    with pytest.raises(InvalidArguments, match="does not belong"):
        decode_cursor(SearchArguments(query="mail", cursor=cursor))


def test_without_a_cursor_the_first_page_is_meant():
    assert decode_cursor(SearchArguments(query="mail")) == 0


def test_the_listed_schema_has_the_constraints_of_the_validation():
    made = SearchArguments.model_json_schema()["properties"]
    for member in made.values():
        member.pop("title")
        if not member["default"]:
            member.pop("default")
    listed = {
        name: {key: value for key, value in member.items() if key != "description"}
        for name, member in SEARCH_TOOLS_INPUT_SCHEMA["properties"].items()
    }
    assert listed == made
    assert list(listed) == list(made)
