"""MCP names of UTCP tools."""

import hashlib
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.catalogue.naming import MAX_NAME, NAME_PATTERN, assign_names, check_alias
from utcp_bridge.errors import ConfigError

RESERVED = ("search_tools", "call_tool")


def test_a_plain_name_is_manual_and_tool():
    assert assign_names([("github", "list_repos")]) == {("github", "list_repos"): "github_list_repos"}


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        ("/users/{id}", "m_users_id"),
        ("größe", "m_gro_e"),
        ("a..b", "m_a_b"),
        ("a__b", "m_a__b"),
        ("line\nbreak", "m_line_break"),
        ("zero\u200bwidth", "m_zerowidth"),
        ("bidi\u202eevil", "m_bidievil"),
        ("\uff26\uff55\uff4c\uff4c", "m_Full"),
    ],
)
def test_other_characters_become_one_underscore_or_nothing(tool, name):
    assert assign_names([("m", tool)]) == {("m", tool): name}


def test_a_name_never_starts_with_a_digit_or_dash():
    assert set(assign_names([("9lives", "x"), ("-dash", "x")]).values()) == {"_9lives_x", "_-dash_x"}


@pytest.mark.parametrize("tool", ["", "\u200b", "日本", "\ud800", "..."])
def test_a_tool_without_a_usable_letter_gets_a_suffix(tool):
    name = assign_names([("m", tool)])[("m", tool)]
    assert re.fullmatch(r"m_[0-9a-f]{8}", name)


def test_two_names_that_become_the_same_both_get_a_suffix():
    names = assign_names([("a", "b.c"), ("a.b", "c"), ("a", "other")])
    assert names["a", "other"] == "a_other"
    assert len(set(names.values())) == 3
    assert all(re.fullmatch(r"a_b_c_[0-9a-f]{8}", names[key]) for key in (("a", "b.c"), ("a.b", "c")))


def test_names_that_differ_only_in_letter_case_get_a_suffix():
    names = assign_names([("m", "Foo"), ("m", "foo")])
    assert len({name.casefold() for name in names.values()}) == 2


def test_a_long_name_is_cut_and_keeps_a_part_of_manual_and_tool():
    manual, tool = "manual" * 10, "operation" * 10
    name = assign_names([(manual, tool)])[manual, tool]
    assert len(name) <= MAX_NAME
    assert name.startswith("manualmanualman_operationoperation")


def test_a_name_of_the_maximum_length_is_kept():
    tool = "t" * (MAX_NAME - 2)
    assert assign_names([("m", tool)]) == {("m", tool): f"m_{tool}"}


def test_names_do_not_depend_on_order_or_on_unrelated_tools():
    keys = [("a", "b.c"), ("a.b", "c"), ("m", "Foo"), ("m", "foo"), ("x" * 50, "y" * 50), ("m", "plain")]
    names = assign_names(keys)
    shuffled = random.Random(7).sample(keys, len(keys))
    assert assign_names([*shuffled, ("new", "tool")]) == {**names, ("new", "tool"): "new_tool"}


def test_no_tool_takes_the_name_of_a_meta_tool():
    names = assign_names([("search", "tools"), ("", "CALL_TOOL")], reserved=RESERVED)
    assert not {name.casefold() for name in names.values()} & set(RESERVED)


def test_short_names_omit_the_manual_if_the_rest_is_unique():
    names = assign_names(
        [("a", "only"), ("a", "both"), ("b", "both"), ("b", "search_tools")], style="short", reserved=RESERVED
    )
    assert names == {
        ("a", "only"): "only",
        ("a", "both"): "a_both",
        ("b", "both"): "b_both",
        ("b", "search_tools"): "b_search_tools",
    }


def test_a_short_name_equal_to_another_tools_qualified_name_is_given_once():
    names = assign_names([("z", "a_both"), ("a", "both"), ("b", "both")], style="short")
    assert len(set(names.values())) == 3


def test_an_alias_stays_unchanged_and_a_tool_of_that_name_gets_a_suffix():
    names = assign_names([("m", "x"), ("n", "y")], aliases={"n_y": "m.x", "gone": "no.such"})
    assert names["m", "x"] == "n_y"
    assert names["n", "y"] != "n_y"
    assert NAME_PATTERN.fullmatch(names["n", "y"])


def test_the_first_of_two_aliases_by_name_is_listed():
    assert assign_names([("m", "x")], aliases={"zz": "m.x", "aa": "m.x"}) == {("m", "x"): "aa"}


@pytest.mark.parametrize("alias", ["", "9x", "a b", "a.b", "x" * 65, "ü"])
def test_an_alias_that_no_host_accepts_is_an_error(alias):
    with pytest.raises(ConfigError, match="is not a usable tool name"):
        assign_names([], aliases={alias: "m.x"})


def test_an_alias_cannot_hide_a_meta_tool():
    with pytest.raises(ConfigError, match="is the name of a meta-tool"):
        check_alias("Search_Tools", RESERVED)


def test_the_suffix_grows_until_the_name_is_free():
    key = ("m", "日本")
    first = assign_names([key])[key]
    longer = assign_names([key], reserved=[first])[key]
    assert longer != first
    assert longer.startswith(first)


def test_if_every_suffix_is_taken_the_error_asks_for_an_alias():
    key = ("m", "日本")
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()
    taken = [f"m_{digest[:digits]}" for digits in range(8, MAX_NAME)]
    with pytest.raises(ConfigError, match="There is no free MCP name"):
        assign_names([key], reserved=taken)


@given(
    st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60)), max_size=12, unique=True),
    st.sampled_from(["qualified", "short"]),
)
def test_any_names_become_usable_and_unique(keys, style):
    names = assign_names(keys, style=style, reserved=RESERVED)
    assert list(names) == keys
    assert all(NAME_PATTERN.fullmatch(name) for name in names.values())
    assert len({name.casefold() for name in names.values()} | set(RESERVED)) == len(keys) + len(RESERVED)
