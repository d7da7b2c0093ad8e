from typing import Any

import pytest
from tests.support.tools import OBJECT, make_tool

from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.errors import ConfigError, PolicyError, VariableNotFound
from utcp_bridge.manuals.binding import Binder, uses_secrets
from utcp_bridge.model import JsonObject, Source, Trust
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.transports.http import HttpTransport
from utcp_bridge.variables import Variables

URL = "https://api.example.com/items"
KEY = {"auth_type": "api_key", "api_key": "${API_KEY}", "var_name": "X-Key"}


def make_binder(variables: dict[str, Any] | None = None) -> tuple[Binder, list[str]]:
    secrets: list[str] = []
    tokens = TokenCache(HttpPool(Guard()))
    return Binder(
        Variables(variables or {}, environ={}), tokens, lambda _owner, secret: secrets.append(secret)
    ), secrets


def http_tool(template: JsonObject, source: Source | None = None, **fields: Any) -> Any:
    template = {"call_template_type": "http", "url": URL, "http_method": "GET", **template}
    return make_tool(kind="http", template=template, source=source or Source(name="peer"), **fields)


REMOTE = Source(name="peer", trust=Trust.REMOTE, origin="https://api.example.com")


def test_a_target_has_its_variables_filled_in_and_its_credentials() -> None:
    binder, secrets = make_binder({"API_KEY": "s3cret-value"})
    target = binder.tool(http_tool({"auth": KEY}), HttpTransport)
    assert target.credentials is not None
    target.credentials.check("https://api.example.com")
    assert secrets == ["s3cret-value"]
    assert "s3cret-value" not in repr(target)


def test_the_operators_credentials_go_to_the_templates_own_origin_only() -> None:
    binder, _ = make_binder({"API_KEY": "s3cret-value"})
    target = binder.tool(http_tool({"auth": KEY}), HttpTransport)
    assert target.credentials is not None
    with pytest.raises(PolicyError, match=r"https://elsewhere\.example"):
        target.credentials.check("https://elsewhere.example")


def test_credentials_of_a_fetched_manual_are_sent_to_its_own_origin_only() -> None:
    binder, _ = make_binder({"peer_API_KEY": "s3cret-value"})
    tool = http_tool({"auth": KEY, "url": "https://elsewhere.example/x"}, REMOTE)
    target = binder.tool(tool, HttpTransport)
    assert target.credentials is not None
    target.credentials.check("https://api.example.com")
    with pytest.raises(PolicyError, match="allowed_origins"):
        target.credentials.check("https://elsewhere.example")


def test_an_allowed_origin_receives_credentials() -> None:
    binder, _ = make_binder({"peer_API_KEY": "s3cret-value"})
    source = Source(
        name="peer",
        trust=Trust.REMOTE,
        origin="https://api.example.com",
        allowed_origins=frozenset({"https://elsewhere.example"}),
    )
    target = binder.tool(http_tool({"auth": KEY}, source), HttpTransport)
    assert target.credentials is not None
    target.credentials.check("https://elsewhere.example")


def test_a_fetched_manual_may_not_choose_the_token_url() -> None:
    binder, _ = make_binder({"peer_ID": "id", "peer_SECRET": "s3cret-value"})
    auth = {
        "auth_type": "oauth2",
        "token_url": "https://thief.example/token",
        "client_id": "${ID}",
        "client_secret": "${SECRET}",
    }
    with pytest.raises(PolicyError, match=r"https://thief\.example"):
        binder.tool(http_tool({"auth": auth}, REMOTE), HttpTransport)
    assert binder.tool(http_tool({"auth": auth}, REMOTE), HttpTransport, trust=Trust.OPERATOR).credentials is not None


def test_a_fetched_manual_sees_its_own_variables_only() -> None:
    binder, _ = make_binder({"API_KEY": "bare"})
    with pytest.raises(VariableNotFound) as caught:
        binder.tool(http_tool({"auth": KEY}, REMOTE), HttpTransport)
    assert caught.value.key == "peer_API_KEY"


def test_a_variable_with_the_name_of_an_argument_is_not_filled_in() -> None:
    binder, _ = make_binder()
    inputs = {**OBJECT, "properties": {"q": {"type": "string"}}}
    target = binder.tool(http_tool({"headers": {"X-Q": "${q}"}}, inputs=inputs), HttpTransport)
    assert target.template.headers == {"X-Q": "${q}"}


def test_only_the_usable_alternative_of_credentials_is_resolved() -> None:
    binder, secrets = make_binder({"SECOND": "s3cret-value"})
    first = {"auth_type": "basic", "username": "${USER}", "password": "${PASSWORD}"}
    second = {"auth_type": "api_key", "api_key": "${SECOND}", "var_name": "X-Key"}
    binder.tool(http_tool({"auth": {"auth_type": "any", "options": [first, second]}}), HttpTransport)
    assert secrets == ["s3cret-value"]
    optional = {"auth_type": "any", "options": [first], "optional": True}
    assert binder.tool(http_tool({"auth": optional}), HttpTransport).credentials is None


def test_a_request_plan_is_never_scanned_for_variables() -> None:
    binder, _ = make_binder()
    plan = {"parameters": [{"argument": "$filter", "name": "$filter", "in": "query"}]}
    template = http_tool({"request_plan": plan})
    assert binder.tool(template, HttpTransport).template.request_plan == plan
    assert not uses_secrets(template.template)


def test_an_overlay_is_laid_over_the_template_and_never_resolved() -> None:
    binder, _ = make_binder({"HOST": "https://api.example.com"})
    tool = http_tool({"url": "${HOST}/a"}, overlay={"content_type": "${NOT_A_VARIABLE}"})
    target = binder.tool(tool, HttpTransport)
    assert target.template.url == "https://api.example.com/a"
    assert target.template.content_type == "${NOT_A_VARIABLE}"


def test_an_invalid_template_names_the_field_but_not_the_value() -> None:
    binder, _ = make_binder({"WRONG": "s3cret-value"})
    with pytest.raises(ConfigError, match="http_method") as caught:
        binder.tool(http_tool({"http_method": "${WRONG}"}), HttpTransport)
    assert "s3cret-value" not in str(caught.value)


def test_a_manuals_own_template_may_use_bare_variables() -> None:
    binder, _ = make_binder({"TOKEN": "s3cret-value"})
    entry = {"name": "peer", "call_template_type": "http", "url": URL, "headers": {"X-Token": "$TOKEN"}}
    target = binder.manual(entry, HttpTransport, REMOTE)
    assert target.template.headers == {"X-Token": "s3cret-value"}
    assert target.credentials is None


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"url": URL}, False),
        ({"auth": KEY}, True),
        ({"headers": {"X": ["${A}"]}}, True),
        ({"headers": {"X": "plain"}, "n": 1}, False),
    ],
)
def test_auth_and_variables_count_as_secrets(template: JsonObject, expected: bool) -> None:
    assert uses_secrets(template) is expected


def test_unset_variables_lists_keys_of_the_chosen_alternative_only() -> None:
    binder, _ = make_binder({"KEY": "s3cret-value"})
    options = [{"auth_type": "token", "token": "${TOKEN}"}, {"auth_type": "api_key", "api_key": "${KEY}"}]
    entry = {"url": "https://${HOST}/${KEY}", "auth": {"auth_type": "any", "options": options}}
    assert binder.unset(entry, HttpTransport, "my_shop") == ["my__shop_HOST"]


def test_credentials_for_the_tools_are_not_needed_to_read_their_manual() -> None:
    binder, secrets = make_binder()
    entry = {"name": "peer", "call_template_type": "http", "url": URL, "auth_tools": KEY}
    assert binder.manual(entry, HttpTransport, Source(name="peer")).template.url == URL
    assert binder.unset(entry, HttpTransport, "peer") == []
    assert secrets == []
