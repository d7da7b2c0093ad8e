"""The rules of profiles, and who may use which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.tools import make_tool

from utcp_bridge.access.principals import ANYONE, Principal
from utcp_bridge.access.profiles import UnknownProfile, read_profiles
from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import AccessSettings


def profile(**written):
    return read_profiles(AccessSettings(profiles={"p": written})).named("p", "test")


def http(method, **fields):
    template = {"call_template_type": "http", "url": "https://api.example.com/pets/{id}", "http_method": method}
    return make_tool("Pets", manual="shop", kind="http", template=template, **fields)


READER = {"readOnlyHint": True}


@pytest.mark.parametrize(
    ("written", "tool", "included"),
    [
        ({}, http("POST"), True),
        ({"manuals": "SHOP"}, http("GET"), True),
        ({"manuals": ["a", "b*"]}, http("GET"), False),
        ({"names": "pets"}, http("GET"), True),
        ({"names": "shop.*"}, http("GET"), True),
        ({"names": "wiki.*"}, http("GET"), False),
        ({"methods": "get"}, http("GET"), True),
        ({"methods": ["GET", "HEAD"]}, http("DELETE"), False),
        ({"paths": "/pets/*"}, http("GET"), True),
        ({"tags": "red"}, http("GET", tags=("Red",)), True),
        ({"tags": "red"}, http("GET"), False),
        ({"read_only": True}, http("GET", annotations=READER), True),
        ({"read_only": True}, http("GET"), False),
        ({"destructive": False}, http("GET"), False),
        ({"destructive": False}, http("GET", annotations=READER), True),
        ({"annotations": {"readOnlyHint": True}}, http("GET", annotations=READER), True),
        ({"annotations": {"names": True}}, http("GET"), False),
        ({"tags": "red", "methods": "GET"}, http("GET"), False),
        ({"exclude": {"methods": "DELETE"}}, http("DELETE"), False),
        ({"exclude": {"methods": "DELETE"}}, http("GET"), True),
        ({"exclude": {"manuals": "shop"}}, http("GET"), False),
        ({"manuals": "s*", "exclude": {"names": "*pets"}}, http("GET"), False),
        ({"manuals": "shop.north"}, http("GET", overlay={"server": "north"}), True),
        ({"manuals": "shop.north"}, http("GET", overlay={"server": "south"}), False),
        ({"manuals": "shop", "exclude": {"manuals": "shop.south"}}, http("GET", overlay={"server": "south"}), False),
    ],
)
def test_a_tool_is_in_a_profile_if_it_matches_every_key_and_none_of_exclude(written, tool, included):
    assert profile(**written).includes(tool) is included


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "Profile 'p' must be an object, not null"),
        ([], "must be an object, not a list"),
        ({"tag": "x"}, "'tag' is not a key of a profile. Did you mean 'tags'"),
        ({"exclude": {"resources": "x"}}, "`exclude`: 'resources' is not a key"),
        ({"exclude": "x"}, "`exclude` must be an object"),
        ({"names": []}, "`names` has no patterns"),
        ({"names": [1]}, "`names` must hold text or a list of texts"),
        ({"names": ""}, "`names` must hold text"),
        ({"read_only": "yes"}, "`read_only` must be true or false"),
        ({"annotations": {}}, "`annotations` must be an object with hints"),
        ({"resources": 5}, "`resources` must hold text"),
        ({"description": 5}, "`description` must be text"),
        ({"budget": {"rate": 0}}, "`budget`: rate: Input should be greater than 0"),
        ({"budget": {"rates": 1}}, "`budget`: rates"),
        ({"budget": {"burst": 1}}, "`burst` needs `rate`"),
        ({"budget": 5}, "`budget` must be an object"),
    ],
)
def test_a_profile_that_cannot_be_read_is_named_in_one_sentence(written, message):
    with pytest.raises(ConfigError) as caught:
        read_profiles(AccessSettings(profiles={"p": written}))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", "é", "x" * 65, "-x"])
def test_the_name_of_a_profile_must_fit_an_address(name):
    with pytest.raises(ConfigError, match="the name is part of an address"):
        read_profiles(AccessSettings(profiles={name: {}}))


def test_whole_manuals_come_with_their_resources_and_prompts_and_other_profiles_without():
    assert (profile(manuals="a").resources, profile(manuals="a").prompts) == (("*",), ("*",))
    assert (profile(tags="a").resources, profile(exclude={"names": "a"}).prompts) == ((), ())
    assert (profile(tags="a", resources=True).resources, profile(manuals="a", prompts=False).prompts) == (("*",), ())


@pytest.mark.parametrize(
    "uri", ["docs://open/../closed", "docs://open/%2e%2E/closed", "docs://open/%252e%252e/x", "docs://open\\..\\x"]
)
def test_a_uri_with_dots_matches_no_pattern(uri):
    assert not profile(resources=["docs://*"]).has_resource(uri)
    assert profile(resources=["docs://*"]).has_resource("docs://open/a.b..c")


def test_a_manual_that_is_not_loaded_shows_only_where_its_tools_may_be_in_the_profile():
    assert profile(names="shop.*").may_have("shop")
    assert profile(names="sh*.x").may_have("shop")
    assert profile(names="read_*").may_have("shop")
    assert not profile(names="wiki.*").may_have("shop")
    assert not profile(manuals="wiki").may_have("shop")
    assert profile(tags="x").may_have("shop")


@given(st.text("ab.*?", max_size=6), st.text("ab", min_size=1, max_size=3), st.text("ab_", min_size=1, max_size=3))
def test_a_profile_that_has_a_tool_may_have_its_manual(pattern, manual, name):
    if pattern:
        one = profile(names=pattern)
        assert one.may_have(manual) or not one.includes(make_tool(name, manual=manual))


def chosen(principal, named=None, **settings):
    profiles = read_profiles(AccessSettings(profiles={"a": {}, "b": {}}, **settings))
    try:
        found = profiles.chosen(principal, named)
    except UnknownProfile as error:
        return str(error)
    return None if found is None else found.name


BOUND = Principal("ci", profiles=("b", "gone"))
REFUSED = "This caller has no profile 'a'. Check the address, or ask the operator of the server."


@pytest.mark.parametrize(
    ("principal", "named", "settings", "expected"),
    [
        (ANYONE, None, {}, None),
        (ANYONE, "a", {}, "a"),
        (BOUND, None, {}, "b"),
        (BOUND, "b", {}, "b"),
        (BOUND, "a", {}, REFUSED),
        (BOUND, "gone", {}, REFUSED.replace("'a'", "'gone'")),
        (BOUND, "x", {}, REFUSED.replace("'a'", "'x'")),
        (Principal("none", profiles=()), None, {}, REFUSED.replace("profile 'a'", "profile")),
        (Principal("none", profiles=()), "a", {}, REFUSED),
        (ANYONE, None, {"default_profile": "a"}, "a"),
        (ANYONE, "b", {"default_profile": "a"}, REFUSED.replace("'a'", "'b'")),
        (Principal("s", "shared"), None, {"default_profile": "a"}, "a"),
        (Principal("t", "token"), None, {"default_profile": "a"}, None),
        (BOUND, None, {"default_profile": "a"}, "b"),
        (ANYONE, None, {"profile": "a"}, "a"),
        (ANYONE, None, {"profile": "a", "default_profile": "b"}, "a"),
        (Principal("t", "token"), "b", {"profile": "a"}, REFUSED.replace("'a'", "'b'")),
        (BOUND, None, {"profile": "a"}, REFUSED.replace("profile 'a'", "profile")),
        (BOUND, None, {"profile": "b"}, "b"),
    ],
)
def test_the_profile_of_a_request(principal, named, settings, expected):
    assert chosen(principal, named, **settings) == expected


@pytest.mark.parametrize("setting", ["profile", "default_profile"])
def test_a_setting_that_names_an_unknown_profile_is_an_error(setting):
    with pytest.raises(ConfigError, match=f"`{setting}`: the configuration does not have a profile 'x'. It has: a, b."):
        chosen(ANYONE, **{setting: "x"})


def test_the_reason_names_the_keys():
    tool = http("GET", tags=("red",))
    assert profile(tags="red", methods="GET").reason(tool) == (True, "the tool matches `tags` and `methods`")
    assert profile(tags="blue").reason(tool) == (False, "the tool does not match `tags`")
    assert profile(exclude={"tags": "red"}).reason(tool) == (False, "the tool matches `tags` of `exclude`")
    assert profile(manuals="x").reason(tool) == (False, "its manual is not one of `manuals`")
