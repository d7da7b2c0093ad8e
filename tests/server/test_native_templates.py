import pytest

from utcp_bridge.model import Source, Tool
from utcp_bridge.server.native_templates import native_template

URL = "https://api.example.com/v1"


def tool(kind="http", overlay=None, projection=None, defaults=None, **template):
    template = {"name": "shop", "call_template_type": kind, "url": URL, **template}
    return Tool(Source("shop"), "buy", kind, template, overlay=overlay, projection=projection, defaults=defaults or {})


def test_a_tool_is_given_with_its_variables_and_without_the_operators_options():
    auth = {"auth_type": "api_key", "api_key": "Bearer ${KEY}", "var_name": "Authorization", "location": "header"}
    given = native_template(tool(auth=auth, allow_networks=["10.0.0.0/8"], ca_cert="/etc/ca.pem", retries=0))
    assert given == {"call_template_type": "http", "url": URL, "auth": auth}


@pytest.mark.parametrize("kind", ["cli", "mcp", "text", "file", "a_third_party_kind"])
def test_what_runs_on_this_machine_is_not_given(kind):
    assert native_template(tool(kind)) is None


@pytest.mark.parametrize(
    "changes", [{"overlay": {"query": "{ me }"}}, {"projection": "items"}, {"defaults": {"region": "eu"}}]
)
def test_what_the_bridge_found_out_or_changed_is_not_given(changes):
    assert native_template(tool(**changes)) is None


@pytest.mark.parametrize(
    "template",
    [
        {"auth": {"auth_type": "api_key", "api_key": "sk-123456", "var_name": "X-Key"}},
        {"auth": {"auth_type": "basic", "username": "${USER}", "password": "letmein"}},
        {"auth": {"any": [{"all": [{"auth_type": "oauth2", "client_secret": "abc", "token_url": URL}]}]}},
        {"headers": {"X-Api-Key": "sk-123456"}},
        {"headers": {"authorization": "Bearer abc"}},
        {"cookies": {"Cookie": "sid=1"}},
        {"url": "https://user:letmein@api.example.com/"},
        {"url": "https://api.example.com/?q=1&access_token=abc"},
        {"url": "https://[bad"},
    ],
)
def test_a_template_with_a_credential_in_it_is_not_given(template):
    assert native_template(tool(**template)) is None


@pytest.mark.parametrize(
    "template",
    [
        {"auth": {"auth_type": "oauth2", "client_id": "me", "client_secret": "${SECRET}", "token_url": URL}},
        {"headers": {"X-Api-Key": "$API_KEY", "Accept": "text/csv"}},
        {"query_params": {"page_token": "{{page_token}}"}},
        {"url": "https://api.example.com/{key}?api_key=${KEY}&page=1"},
        {"message": {"token": "UTCP_ARG_token_UTCP_ARG"}},
    ],
)
def test_variables_and_arguments_are_no_credentials(template):
    given = native_template(tool(**template))
    assert given is not None
    assert template.items() <= given.items()
