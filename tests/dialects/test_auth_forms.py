"""Every spelling of `auth` in the official fields."""

import pytest

from utcp_bridge.auth.models import parse_auth
from utcp_bridge.dialects.auth_forms import rewrite_auth, wants_auth
from utcp_bridge.dialects.readings import Notes

KEY = {"auth_type": "api_key", "api_key": "k", "var_name": "X-Key", "location": "query"}
BASIC = {"auth_type": "basic", "username": "u", "password": "p"}
OAUTH = {"auth_type": "oauth2", "token_url": "https://h/token", "client_id": "i", "client_secret": "s"}


@pytest.mark.parametrize(
    "official",
    [
        KEY,
        BASIC,
        {**OAUTH, "scope": "a b"},
        {"auth_type": "oauth2_user", "access_token": "t"},
        {"auth_type": "all", "schemes": [KEY, BASIC]},
    ],
)
def test_the_official_fields_are_kept(official):
    notes = Notes()

    assert rewrite_auth(official, notes) == official
    assert not notes.dialects
    assert not notes.declared


@pytest.mark.parametrize("official", [KEY, BASIC, OAUTH, {"auth_type": "oauth2_user", "access_token": "t"}])
def test_the_type_may_be_absent_or_under_another_key(official):
    bare = {key: value for key, value in official.items() if key != "auth_type"}

    assert rewrite_auth(bare, Notes()) == official
    assert rewrite_auth({**bare, "type": official["auth_type"]}, Notes()) == official


@pytest.mark.parametrize(
    ("raw", "official"),
    [
        ({**KEY, "auth_type": "apiKey"}, KEY),
        (
            {"auth_type": "oauth2", "token_url": "u", "client_id_var": "ID", "client_secret_var": "SECRET"},
            {"auth_type": "oauth2", "token_url": "u", "client_id": "${ID}", "client_secret": "${SECRET}"},
        ),
        (
            {"auth_type": "basic", "username_var": "USERNAME", "password_var": "PASSWORD"},
            {"auth_type": "basic", "username": "${USERNAME}", "password": "${PASSWORD}"},
        ),
        (
            {"auth_type": "api_key", "api_key_var": "K", "var_name": "X"},
            {"auth_type": "api_key", "api_key": "${K}", "var_name": "X"},
        ),
        ({**KEY, "api_key_var": "IGNORED"}, KEY),
        (
            {"auth_type": "oauth", "token_url": "u", "client_id": "i", "client_secret": "s", "scopes": ["a", 1, "b"]},
            {"auth_type": "oauth2", "token_url": "u", "client_id": "i", "client_secret": "s", "scope": "a b"},
        ),
        (
            {"type": "token", "token": "${WS_TOKEN}"},
            {
                "auth_type": "api_key",
                "api_key": "Bearer ${WS_TOKEN}",
                "var_name": "Authorization",
                "location": "header",
            },
        ),
        (
            {"type": "bearer", "token": "Bearer abc"},
            {"auth_type": "api_key", "api_key": "Bearer abc", "var_name": "Authorization", "location": "header"},
        ),
        (
            {"auth_type": "token", "token_var": "T"},
            {"auth_type": "api_key", "api_key": "Bearer ${T}", "var_name": "Authorization", "location": "header"},
        ),
        (
            {"auth_type": "api_key", "var_name": "API_KEY", "location": "query", "key_name": "key"},
            {"auth_type": "api_key", "api_key": "${API_KEY}", "var_name": "key", "location": "query"},
        ),
        (
            {"auth_type": "api_key", "var_name": "API_KEY", "location": "header"},
            {"auth_type": "api_key", "api_key": "${API_KEY}", "var_name": "X-Api-Key", "location": "header"},
        ),
        (
            {"auth_type": "api_key", "api_key": None, "var_name": "API_KEY", "key_name": "X-K"},
            {"auth_type": "api_key", "api_key": "${API_KEY}", "var_name": "X-K", "location": "header"},
        ),
    ],
)
def test_other_forms_become_official_ones_that_the_auth_models_accept(raw, official):
    assert rewrite_auth(raw, Notes()) == official
    assert parse_auth(official).auth_type == official["auth_type"]


def test_other_forms_declare_their_variables_with_instructions():
    notes = Notes()
    rewrite_auth({"auth_type": "basic", "username_var": "U", "password_var": "P", "instructions": "Ask Ada"}, notes)
    rewrite_auth({"auth_type": "api_key", "var_name": "U", "location": "header"}, notes)

    assert notes.declared == {"U": "Ask Ada", "P": "Ask Ada"}
    assert notes.dialects == {"extended"}


def test_a_key_without_secret_and_place_only_declares_its_variable():
    notes = Notes()
    raw = {"auth_type": "api_key", "var_name": "EXAMPLE_API_KEY", "instructions": "Get one from example.com"}

    assert rewrite_auth(raw, notes) is None
    assert notes.declared == {"EXAMPLE_API_KEY": "Get one from example.com"}


@pytest.mark.parametrize(
    "template",
    [
        {"headers": {"Authorization": "Bearer ${API_KEY}"}},
        {"headers": {"X-Other": "$API_KEY"}},
        {"headers": {"authorization": "Basic abc"}},
        {"url": "https://h/?key=${API_KEY}"},
    ],
)
def test_a_template_that_already_sends_the_key_does_not_send_it_twice(template):
    notes = Notes()
    raw = {"auth_type": "api_key", "var_name": "API_KEY", "location": "header", "key_name": "Authorization"}

    assert rewrite_auth(raw, notes, template={**template, "auth": raw}) is None
    assert notes.declared == {"API_KEY": ""}


@pytest.mark.parametrize("raw", [None, {"auth_type": "none"}])
def test_absent_auth_is_none(raw):
    assert rewrite_auth(raw, Notes()) is None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("Bearer s3cret", "`auth` is text, not an object"),
        ({}, "has no `auth_type`"),
        ({"location": "header"}, "has no `auth_type`"),
        ({"auth_type": ["s3cret"]}, "`auth_type` is a list"),
        ({"auth_type": "api_key"}, "no `api_key`, and its `var_name`"),
        ({"auth_type": "api_key", "var_name": "X-Api-Key", "location": "header"}, "no `api_key`, and its `var_name`"),
        ({"auth_type": "basic", "username_var": "s3cret!", "password": "p"}, "`auth.username_var` is not the name"),
        ({"type": "token"}, "has no `token`"),
    ],
)
def test_auth_that_cannot_be_read_is_refused_without_showing_a_value(raw, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        rewrite_auth(raw, Notes())

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "auth", "wanted"),
    [
        ({"url": "u"}, BASIC, True),
        ({"url": "u", "auth": BASIC}, BASIC, False),
        ({"headers": {"authorization": "x"}}, BASIC, False),
        ({"headers": {"x-key": "x"}}, {**KEY, "location": "header"}, False),
        ({"headers": {"x-key": "x"}}, KEY, True),
        ({"query_params": {"X-KEY": "x"}}, KEY, False),
        ({"headers": "none"}, {"auth_type": "api_key", "api_key": "k"}, True),
    ],
)
def test_the_auth_of_a_manual_is_a_default_for_tools_without_credentials(template, auth, wanted):
    assert wants_auth(template, auth) is wanted
