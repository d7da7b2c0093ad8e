"""Entries come into the text of a configuration and out of it; everything else stays."""

import json
import re
from io import StringIO

import pytest
import yaml
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from utcp_bridge.configuration.entries import (
    NEW_CONFIGURATION,
    names_of_entries,
    with_entry,
    with_names,
    with_variables,
    without_entry,
)
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.errors import ConfigError

ENTRY = {"name": "new", "call_template_type": "http", "url": "http://127.0.0.1/x", "allowed_origins": ["http://a"]}
A = {"name": "a", "call_template_type": "text", "content": "x"}

TEXTS = {
    "new file": NEW_CONFIGURATION,
    "block": "# top\nmanual_call_templates:\n  # about a\n  - name: a\n    call_template_type: text\n"
    "    content: x   # same line\n    # deeper\n\n# about the bridge\nbridge: {exposure: all}\n",
    "block without indent": "manual_call_templates:\n- name: a\n  call_template_type: text\n  content: x\n",
    "block text at the end": "manual_call_templates:\n- name: a\n  call_template_type: text\n  content: |\n    x\n\n",
    "no line break at the end": "manual_call_templates:\n  - {name: a, call_template_type: text, content: x}",
    "brackets": "manual_call_templates: [{name: a, call_template_type: text, content: x}]  # here\n",
    "empty brackets": "manual_call_templates: []  # none yet\nbridge: {}\n",
    "no value": "manual_call_templates:\nbridge: {}\n",
    "no key": "variables: {A: '1'}\n",
    "list": "- name: a\n  call_template_type: text\n  content: x\n",
    "windows": "manual_call_templates:\r\n  - name: a\r\n    call_template_type: text\r\n    content: x\r\n",
    "json": '{"manual_call_templates": [{"name": "a", "call_template_type": "text", "content": "x"}]}',
    "json lines": '{\n  "variables": {},\n  "manual_call_templates": [\n    {"name": "a"}\n  ]\n}\n',
    "json comments": '\ufeff{\n\t// mine\n\t"manual_call_templates": [\n\t\t{"name": "a"}, // keep\n'
    '\t\t/* and this */\n\t],\n\t"bridge": {}\n}\n',
    "json empty": "{}\n",
    "json providers": '{\r\n  "providers": [\r\n    {"name": "a"}\r\n  ]\r\n}\r\n',
    "json list": '[{"name": "a"}, {"name": "b"}]',
}


def parsed(text):
    return parse_document(text, jsonc=text.lstrip("\ufeff \n")[:1] in {"{", "["})


def items(text):
    document = parsed(text)
    if isinstance(document, list):
        return document
    return document.get("providers") or document.get("manual_call_templates") or []


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_entry_is_added_at_the_end_and_removed_again(text):
    before = items(text)
    added = with_entry(text, ENTRY, comment="New", where="the file")
    assert items(added) == [*before, ENTRY]
    assert names_of_entries(added, where="the file") == [*(one["name"] for one in before), "new"]
    removed = without_entry(added, "new", where="the file")
    assert items(removed) == before
    for part in re.findall(r"#[^\n]*|//[^\n]*|/\*.*?\*/|exposure: all|\bbridge\b", text):
        assert part.strip() in added
        assert part.strip() in removed


@pytest.mark.parametrize("text", [text for text in TEXTS.values() if "a" in [one["name"] for one in items(text)]])
def test_the_first_entry_is_removed_with_its_comments_only(text):
    added = with_entry(text, ENTRY, where="the file")
    removed = without_entry(added, "a", where="the file")
    assert items(removed) == [*items(text)[1:], ENTRY]
    for comment in ("# top", "# about the bridge", "// mine"):
        assert (comment in text) == (comment in removed)
    assert "# about a" not in removed
    assert "# deeper" not in removed


@pytest.mark.parametrize("key", ["block", "block without indent", "block text at the end", "windows", "json lines"])
def test_what_was_added_leaves_no_trace_when_it_is_removed(key):
    text = TEXTS[key]
    assert without_entry(with_entry(text, ENTRY, comment="c", where="f"), "new", where="f") == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "f"),
        ("{", "Nothing was changed"),
        ("just words", "no list of entries"),
        ('{"mcpServers": {}}', "no list of entries"),
        ('{"providers": {"a": {}}}', "no list of entries"),
        ('{"tools": []}', "one manual instead"),
        ('{"openapi": "3.0.0"}', "one manual instead"),
        ("base: &x [{name: a}]\nmanual_call_templates: *x\n", "cannot be changed safely"),
    ],
)
def test_a_text_without_a_place_for_entries_is_refused(text, words):
    with pytest.raises(ConfigError) as refused:
        with_entry(text, ENTRY, where="f")
    assert words in str(refused.value)


def test_an_unknown_entry_is_none():
    assert without_entry(TEXTS["block"], "b", where="f") is None
    assert without_entry('{"mcpServers": {}}', "b", where="f") is None


names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,12}", fullmatch=True)
words = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12)
entry = st.fixed_dictionaries(
    {"name": names, "call_template_type": st.just("text"), "content": st.one_of(words, st.lists(words, max_size=2))}
)


@given(st.lists(entry, max_size=4, unique_by=lambda one: one["name"]), entry, st.sampled_from(["yaml", "flow", "json"]))
def test_any_entry_goes_in_and_out_of_any_list(known, new, form):
    document = {"manual_call_templates": known, "bridge": {"exposure": "all"}}
    text = yaml.safe_dump(document, default_flow_style=form == "flow", allow_unicode=True)
    if form == "json":
        text = json.dumps(document, indent=2)
    try:
        before = parsed(text)
    except Exception:  # noqa: BLE001 - the writer of the sample has its own limits
        return
    new = {**new, "name": f"{new['name']}_new"}
    added = with_entry(text, new, comment="c", where="f")
    assert parsed(added) == {**before, "manual_call_templates": [*before["manual_call_templates"], new]}
    assert parsed(without_entry(added, new["name"], where="f")) == before


@given(st.dictionaries(names, st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)))
def test_variables_are_read_as_they_were_written(values):
    values = {name: value.strip() for name, value in values.items() if value.strip() and "${" not in value}
    text = with_variables("# mine\nOTHER=1\nexport A = old\nA=older\n", values, where=".env")
    found = dotenv_values(stream=StringIO(text))
    assert found == {"OTHER": "1", "A": "older", **values}
    assert text.startswith("# mine\nOTHER=1\n")


@pytest.mark.parametrize("value", ["two\nlines", "${HOME}"])
def test_a_value_that_the_file_cannot_hold_is_not_repeated(value):
    with pytest.raises(ConfigError) as refused:
        with_variables("", {"KEY": value}, where=".env")
    assert value not in str(refused.value)
    assert "KEY" in str(refused.value)


# --- names in a list of an entry -----------------------------------------------------------------

KEY = ("shadow", "promoted")
SHADOWED = {
    "block": "# top\nmanual_call_templates:\n  - name: a\n    # about the shadow\n    shadow:\n"
    "      new: b  # the API\n      ignore: [/at]\n      # deeper\n    url: x\n  - name: b\nbridge: {}\n",
    "block at the end": "manual_call_templates:\n- name: a\n  shadow:\n    new: b",
    "first key on the dash": "providers:\n  - shadow: {new: b, ignore: [/at]}  # here\n    name: a\n",
    "braces over lines": "manual_call_templates:\n  - name: a\n    shadow: {\n      new: b  # the API\n    }\n",
    "json": '{"manual_call_templates": [{"name": "a", "shadow": {"new": "b"}}, {"name": "b"}]}',
    "json lines": '{\n  "manual_call_templates": [\n    {\n      "name": "a",\n      "shadow": {\n'
    '        "new": "b"\n      }\n    }\n  ]\n}\n',
    "json comments": '\ufeff{\r\n\t// mine\r\n\t"manual_call_templates": [{"name": "a", "shadow": {\r\n'
    '\t\t"new": "b", // it\r\n\t\t"ignore": [] /* none */\r\n\t}}]\r\n}\r\n',
    "json list": '[{"name": "b"}, {"name": "a", "shadow": {"new": "b", "ignore": ["/x"]}}]',
}
NAMES = st.lists(
    st.sampled_from(["get", "get-sum", "srv.echo", "yes", "null", "a b", 'q"\\', "ä", "1", ""]), unique=True
)


def names_of(text):
    shadow = next(one for one in items(text) if one["name"] == "a")["shadow"]
    return shadow.get("promoted", []), {key: value for key, value in shadow.items() if key != "promoted"}


@pytest.mark.parametrize("text", SHADOWED.values(), ids=SHADOWED)
@settings(max_examples=20)
@given(names=NAMES, then=NAMES)
def test_names_that_are_added_and_removed_leave_the_text_as_it_was(text, names, then):
    added = with_names(text, "a", KEY, add=names, where="f")
    more = with_names(added, "a", KEY, add=then, where="f")
    both = [*names, *(one for one in then if one not in names)]
    assert names_of(added) == (names, names_of(text)[1])
    assert names_of(more) == (both, names_of(text)[1])
    back = with_names(more, "a", KEY, remove=[one for one in then if one not in names], where="f")
    assert back.rstrip("\r\n") == added.rstrip("\r\n")
    gone = with_names(added, "a", KEY, remove=names, where="f")
    assert parsed(gone) == parsed(text)
    assert gone.rstrip("\r\n") == text.rstrip("\r\n")
    for comment in re.findall(r"(?:#|//|/\*).*", text):
        assert comment.rstrip("\r") in more


@pytest.mark.parametrize(
    "listed",
    [
        "promoted: [x, y]",
        "promoted: []",
        "promoted:\n        - x  # why\n        # and\n        - y",
        "promoted:\n      - x",
    ],
)
def test_a_list_that_a_person_wrote_keeps_its_form(listed):
    text = f"manual_call_templates:\n  - name: a\n    shadow:\n      {listed}\n      new: b\n"
    before = names_of(text)[0]
    added = with_names(text, "a", KEY, add=["z"], where="f")
    assert names_of(added)[0] == [*before, "z"]
    assert with_names(added, "a", KEY, remove=["z"], where="f") == (
        text if before else text.replace("      promoted: []\n", "")
    )
    if len(before) > 1:
        assert names_of(with_names(text, "a", KEY, remove=["x"], where="f"))[0] == ["y"]


def test_a_name_that_is_listed_twice_is_removed_twice():
    text = "manual_call_templates:\n  - {name: a, shadow: {new: b, promoted: [x, y, x]}}\n"
    assert names_of(with_names(text, "a", KEY, remove=["x"], where="f"))[0] == ["y"]


@pytest.mark.parametrize(
    "shadow", ["shadow: b", "shadow: {new: b, promoted: x}", "shadow: *x", "other: 1", "shadow: {}"]
)
def test_an_entry_without_the_object_is_refused(shadow):
    text = f"x: &x {{new: b}}\nmanual_call_templates:\n  - name: a\n    {shadow}\n"
    with pytest.raises(ConfigError, match=r"must be|safely"):
        with_names(text, "a", KEY, add=["z"], where="f")
    assert with_names(text, "c", KEY, add=["z"], where="f") is None
