import pytest

from utcp_bridge.convert.merging import merge
from utcp_bridge.convert.outcome import Converted
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import Fault


def part(name, *tools, **keys):
    return Converted({"utcp_version": "1.0.1", "tools": list(tools), **keys}, name)


def tool(name, key=None, **template):
    auth = {"auth": {"auth_type": "api_key", "api_key": f"${{{key}}}", "aliases": ["API_KEY_0"]}} if key else {}
    return {
        "name": name,
        "tool_call_template": {"call_template_type": "http", "url": "https://x.example", **auth, **template},
    }


def test_a_single_document_stays_as_it_is():
    only = part("a", tool("t"))
    assert merge([only], name="ignored") is only


def test_tools_of_all_are_together_under_a_title_of_all():
    merged = merge([part("a", tool("t"), info={"title": "A"}), part("b", tool("u"), info={"title": "B"})], name=None)
    assert [one["name"] for one in merged.tools] == ["t", "u"]
    assert merged.document["info"] == {"title": "A, B"}
    assert merge([part("a"), part("b")], name="Both").document["info"] == {"title": "Both"}


def test_a_name_that_is_there_twice_gets_its_inputs_name_and_is_told():
    merged = merge([part("a", tool("t")), part("my-b", tool("t"), tool("my_b_t"))], name=None)
    assert [one["name"] for one in merged.tools] == ["t", "my_b_t", "my_b_my_b_t"]
    assert "'my_b_t'" in merged.notes[0].what


def test_variables_of_two_makers_are_kept_apart():
    plan = {"parameters": [{"argument": "q", "name": "${API_KEY}", "in": "query"}]}
    first = part("shop", tool("a", "API_KEY", request_plan=plan), tool("b", "OTHER"))
    second = part("bank", tool("c", headers={"X": "key $API_KEY $$API_KEY"}))
    a, b, c = [one["tool_call_template"] for one in merge([first, second], name=None).tools]
    assert a["auth"] == {"auth_type": "api_key", "api_key": "${SHOP_API_KEY}"}
    assert a["request_plan"] == plan
    assert b["auth"]["api_key"] == "${OTHER}"
    assert c["headers"] == {"X": "key ${BANK_API_KEY} $$API_KEY"}
    told = [note.what for note in merge([first, second], name=None).notes]
    assert any("API_KEY is named SHOP_API_KEY" in what for what in told)


def test_nested_alternatives_lose_their_other_names_too():
    inner = {"auth_type": "api_key", "api_key": "${K}", "aliases": ["K_0"]}
    both = {"auth": {"auth_type": "any", "options": [inner]}}
    merged = merge([part("a", tool("t", **both)), part("b", tool("u", "K"))], name=None)
    assert merged.tools[0]["tool_call_template"]["auth"]["options"] == [{"auth_type": "api_key", "api_key": "${A_K}"}]


def test_the_auth_of_a_manual_goes_into_its_tools():
    auth = {"auth_type": "api_key", "api_key": "${K}", "var_name": "X-Api-Key"}
    own = tool("own", headers={"X-Api-Key": "mine"})
    merged = merge([part("a", tool("t"), own, auth=auth), part("b", tool("u"))], name=None)
    t, own, u = [one["tool_call_template"] for one in merged.tools]
    assert t["auth"] == auth
    assert "auth" not in own
    assert "auth" not in u


def config(name, **keys):
    return Converted(keys, name, is_manual=False, notes=[Fault(name, "noted")])


def test_configurations_are_joined_and_a_key_that_is_lost_is_told():
    one = config("a", manual_call_templates=[{"name": "x"}], variables={"A": "1", "B": "1"}, other=1)
    two = config("b", manual_call_templates=[{"name": "y"}], variables={"B": "2"}, other=2)
    merged = merge([one, two], name=None)
    assert merged.document == {
        "manual_call_templates": [{"name": "x"}, {"name": "y"}],
        "variables": {"A": "1", "B": "2"},
        "other": 2,
    }
    assert [note.what for note in merged.notes] == [
        "noted",
        "noted",
        "`variables.B` is there twice; the later one is kept.",
    ]


def test_a_configuration_and_a_manual_do_not_become_one():
    with pytest.raises(ConfigError, match="cannot become one"):
        merge([part("a"), config("b")], name=None)
