"""Resources and prompts as people write them, and every fault with its manual, its part and its field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.maps.reading import MapFaults, read_maps

KEYS = st.sampled_from([
    "tool", "text", "blob", "file", "name", "title", "description", "mimeType", "size", "annotations", "arguments",
    "values", "messages", "role", "content", "required", "type", "uri", "docs://{x}", "docs://a", "x",
])  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=4),
    max_leaves=25,
)


def read(**raw):
    faults = MapFaults("shop")
    return read_maps(raw, faults), [(one.severity, str(one)) for one in faults.faults]


def only_fault(**raw):
    maps, [(severity, text)] = read(**raw)
    assert not maps or severity == "warning"
    return text


@given(ANYTHING, ANYTHING)
def test_nothing_that_a_file_may_contain_raises(resources, prompts):
    maps, faults = read(resources=resources, prompts=prompts)
    assert all(text.startswith("manual 'shop', ") for _, text in faults)
    assert all(one.described["name"] for one in (*maps.resources.values(), *maps.prompts.values()))


def test_both_are_maps_or_lists_as_mcp_has_them():
    by_key, _ = read(
        resources={"docs://a": {"text": "A", "title": "T"}}, prompts={"p": {"text": "{x}", "arguments": {"x": None}}}
    )
    listed, faults = read(
        resources=[{"uri": "docs://a", "text": "A", "title": "T"}],
        prompts=[{"name": "p", "messages": [{"role": "user", "text": "{x}"}], "arguments": ["x"]}],
    )
    assert by_key == listed
    assert faults == []
    assert by_key.resources["docs://a"].described == {"uri": "docs://a", "name": "a", "title": "T"}
    assert by_key.prompts["p"].described == {"name": "p", "arguments": [{"name": "x", "required": False}]}


def test_a_resource_has_what_hosts_show_of_it():
    maps, faults = read(
        resources={
            "docs://{page}": {
                "file": "docs/{page}.md",
                "name": "page",
                "description": "A page.",
                "size": 7,
                "annotations": {"audience": ["user"]},
                "values": {"page": ["a", 2]},
            }
        }
    )
    assert faults == []
    [resource] = maps.resources.values()
    assert resource.described == {
        "uriTemplate": "docs://{page}",
        "name": "page",
        "description": "A page.",
        "size": 7,
        "annotations": {"audience": ["user"]},
        "mimeType": "text/markdown",
    }
    assert resource.values == {"page": ["a", "2"]}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"resources": 3}, "manual 'shop', `resources`: `resources` must be an object, not a number."),
        ({"resources": [{"text": "x"}]}, "manual 'shop', `resources`, item 0: it has no `uri`."),
        ({"resources": {"readme": {"text": "x"}}}, "manual 'shop', resource 'readme': 'readme' is not a URI."),
        ({"resources": {"a://b": {}}}, "resource 'a://b': nothing says what it contains."),
        ({"resources": {"a://b": {"text": "x", "tool": "y"}}}, "`tool` and `text` exclude each other."),
        ({"resources": {"a://b": {"tool": 1}}}, "resource 'a://b', `tool`: `tool` must be text, not a number."),
        ({"resources": {"a://b": {"blob": "%"}}}, "`blob` must be base64."),
        ({"resources": {"a://{b": {"text": ""}}}, "the URI template cannot be used: a brace is not closed"),
        ({"resources": {"a://b": {"text": "", "mime": "x"}}}, "`mime`: nothing reads the key 'mime'."),
        ({"resources": {"a://b": {"text": "", "size": "1"}}}, "`size` must be a number of bytes"),
        ({"resources": {"a://{b}": {"text": "", "values": {"c": []}}}}, "`values.c`: the URI template has no variable"),
        ({"prompts": {"p": {}}}, "prompt 'p': it has no messages."),
        ({"prompts": {"p": {"messages": []}}}, "prompt 'p', `messages`: `messages` must be a list"),
        ({"prompts": {"p": {"messages": [{"role": "system", "text": "x"}]}}}, "`messages.0.role`: `role` must be user"),
        ({"prompts": {"p": {"messages": [{"content": {"type": "film"}}]}}}, "the message has no content."),
        ({"prompts": {"p": {"text": "x", "arguments": {"a": 3}}}}, "`arguments.a`: an argument must be an object"),
        ({"prompts": [{"name": "p", "text": "x"}, {"name": "p", "text": "y"}]}, "another one is also named 'p'."),
    ],
)
def test_a_fault_names_the_manual_the_part_and_the_field(raw, words):
    maps, faults = read(**raw)
    [(severity, text)] = faults
    assert words in text
    assert text.startswith("manual 'shop', ")
    assert severity == "error" or maps


def test_one_bad_member_does_not_cost_the_others():
    maps, faults = read(resources={"a://1": {"text": "x"}, "a://2": {}, "a://3": {"text": "z"}})
    assert list(maps.resources) == ["a://1", "a://3"]
    assert len(faults) == 1


def test_a_fetched_manual_names_no_files_and_loses_hidden_characters():
    raw = {
        "resources": {"a://1": {"file": "/etc/hosts"}, "a://2": {"text": "x\u202ey"}},
        "prompts": {"p": {"file": "x"}, "q": {"messages": [{"file": "x"}]}},
    }
    faults = MapFaults("far")
    maps = read_maps(raw, faults, files=False, foreign=True)

    assert [one.text for one in maps.resources.values()] == ["xy"]
    assert maps.prompts == {}
    assert len([one for one in faults.faults if "must not name local files" in one.what]) == 3


def test_a_tool_that_the_manual_lacks_is_a_fault_with_the_nearest_name():
    faults = MapFaults("shop")
    maps = read_maps({"resources": {"a://1": {"tool": "lst"}, "a://2": {"tool": "find"}}}, faults)
    kept = maps.with_tools({"list", "find"}, faults)

    assert list(kept.resources) == ["a://2"]
    assert [str(one) for one in faults.faults] == [
        "manual 'shop', resource 'a://1', `tool`: the manual has no tool 'lst'. Did you mean 'list'?"
    ]
