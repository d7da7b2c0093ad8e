import pytest

from utcp_bridge.auth.alternatives import choose_auth

KEY = {"auth_type": "api_key", "api_key": "${KEY}", "var_name": "X-Key"}
TOKEN = {"auth_type": "api_key", "api_key": "Bearer ${TOKEN}", "var_name": "Authorization"}
BASIC = {"auth_type": "basic", "username": "${USER}", "password": "${PASS}"}
BOTH = {"auth_type": "all", "schemes": [KEY, BASIC]}


def choose(auth, *names):
    return choose_auth(auth, set(names).__contains__)


@pytest.mark.parametrize("auth", [KEY, BASIC, BOTH, {"auth_type": "any", "options": "odd"}, {"auth_type": "all"}, {}])
def test_an_auth_without_alternatives_does_not_change(auth):
    assert choose(auth) == auth


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("KEY", "TOKEN"), KEY),
        (("TOKEN",), TOKEN),
        (("USER", "TOKEN"), TOKEN),
        ((), KEY),
        (("KEY", "USER", "PASS"), KEY),
    ],
)
def test_the_first_alternative_whose_variables_are_set_is_used(names, chosen):
    assert choose({"auth_type": "any", "options": [KEY, TOKEN]}, *names) == chosen


def test_a_combination_needs_all_of_its_variables():
    auth = {"auth_type": "any", "options": [BOTH, TOKEN]}
    assert choose(auth, "KEY", "TOKEN") == TOKEN
    assert choose(auth, "KEY", "USER", "PASS") == BOTH


@pytest.mark.parametrize("options", [[KEY], [KEY, TOKEN], [], ["odd"]])
def test_optional_alternatives_without_variables_send_nothing(options):
    assert choose({"auth_type": "any", "options": options, "optional": True}) is None


def test_an_optional_alternative_is_used_if_its_variable_is_set():
    assert choose({"auth_type": "any", "options": [KEY], "optional": True}, "KEY") == KEY


def test_alternatives_within_a_combination_are_resolved():
    either = {"auth_type": "any", "options": [KEY, TOKEN]}
    nothing = {"auth_type": "any", "options": [KEY], "optional": True}
    assert choose({"auth_type": "all", "schemes": [either, BASIC]}, "TOKEN")["schemes"] == [TOKEN, BASIC]
    assert choose({"auth_type": "all", "schemes": [nothing]}) is None


def test_an_alternative_without_variables_is_always_complete():
    fixed = {**KEY, "api_key": "written"}
    assert choose({"auth_type": "any", "options": [TOKEN, fixed]}) == fixed


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (("KEY", "API_KEY_3"), "${KEY}"),
        (("API_KEY_3", "API_KEY_0"), "${API_KEY_3}"),
        (("API_KEY_0",), "${API_KEY_0}"),
        ((), "${KEY}"),
    ],
)
def test_an_alias_replaces_an_unset_variable_of_its_scheme(names, used):
    auth = {**KEY, "aliases": ["API_KEY_3", "API_KEY_0", 5]}
    assert choose(auth, *names) == {**KEY, "api_key": used}


def test_an_alias_replaces_only_the_variable_in_the_field_of_its_kind():
    assert choose({**TOKEN, "aliases": ["API_KEY_0"]}, "API_KEY_0")["api_key"] == "Bearer ${API_KEY_0}"
    basic = {**BASIC, "aliases": ["USERNAME_1", "PASSWORD_1"]}
    assert choose(basic, "USERNAME_1", "PASSWORD_1") == {
        **BASIC,
        "username": "${USERNAME_1}",
        "password": "${PASSWORD_1}",
    }


def test_an_alternative_that_an_alias_completes_is_used():
    aliased = {**TOKEN, "aliases": ["API_KEY_0"]}
    assert choose({"auth_type": "any", "options": [KEY, aliased]}, "API_KEY_0")["api_key"] == "Bearer ${API_KEY_0}"
