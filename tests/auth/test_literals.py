"""Secrets that are written into templates as they are."""

from __future__ import annotations

from typing import Any

import pytest

from utcp_bridge.auth.literals import literal_secrets, without_literals

SECRETS: list[tuple[dict[str, Any], list[str]]] = [
    ({"auth": {"auth_type": "api_key", "api_key": "sk-1", "var_name": "X-Api-Key"}}, ["sk-1"]),
    ({"auth": {"auth_type": "basic", "username": "me", "password": "p w"}}, ["p w"]),
    ({"auth": {"options": [{"client_secret": "a"}, {"schemes": [{"token": "b"}]}]}}, ["a", "b"]),
    ({"headers": {"Authorization": "Bearer abc.def", "X-Acme-Token": "t", "Accept": "a/b"}}, ["abc.def", "t"]),
    ({"env": {"GITHUB_TOKEN": "gh", "HOME": "/root"}}, ["gh"]),
    ({"config": {"mcpServers": {"a": {"env": {"API_KEY": "k"}, "headers": {"Cookie": "sid=1"}}}}}, ["k", "sid=1"]),
    ({"url": "https://me:pass%20word@a.example/x?api_key=q%2F1&page=2#token=f"}, ["q/1", "pass word"]),
    ({"url": "wss://a.example/?access_token=abc", "others": ["https://a.example/?signature=s&x=1"]}, ["abc", "s"]),
]
HARMLESS: list[dict[str, Any]] = [
    {"auth": {"api_key": "${API_KEY}", "password": "$PASS", "token": "{{ token }}"}},
    {"headers": {"Authorization": "Bearer ${TOKEN}", "X-Api-Key": "{key}"}},
    {"url": "https://${USER}:${PASS}@a.example/?api_key=${KEY}&token={token}"},
    {"auth": {"token_url": "https://a.example/token", "var_name": "X-Api-Key"}, "key": "/etc/key.pem"},
    {"tools": [{"inputs": {"properties": {"token": {"default": "x"}}, "api_key": "a"}, "description": "a key"}]},
    {"url": "https://[broken", "api_key": None, "token": 3, "password": ""},
]


@pytest.mark.parametrize(("template", "secrets"), SECRETS)
def test_secrets_are_found_and_replaced_and_nothing_else_changes(template: dict[str, Any], secrets: list[str]) -> None:
    assert literal_secrets(template) == secrets
    assert without_literals(template, lambda _name, secret: secret) == template
    replaced = without_literals(template, lambda _name, _secret: "${V}")
    assert literal_secrets(replaced) == []
    assert repr(replaced).count("${V}") == len(secrets)


@pytest.mark.parametrize("template", HARMLESS)
def test_variables_arguments_paths_and_schemas_are_not_taken_for_secrets(template: dict[str, Any]) -> None:
    assert literal_secrets(template) == []
    assert without_literals(template, lambda _name, _secret: "?") == template


def test_a_deep_template_ends_the_search() -> None:
    template: Any = {"token": "t"}
    for _ in range(5_000):
        template = {"a": template}
    assert literal_secrets(template) == []
