"""Converted documents have variables in place of secrets."""

import json

import pytest

from utcp_bridge.convert import Wishes, convert

pytestmark = pytest.mark.anyio
URL = "https://me:hunter2-pass@api.example.com/x?api_key=in-the-query&page=2"
V0 = [
    {
        "name": "shop",
        "provider_type": "http",
        "url": URL,
        "http_method": "GET",
        "headers": {"Authorization": "Bearer in-a-header", "Accept": "application/json"},
        "auth": {"auth_type": "api_key", "api_key": "in-auth-1", "var_name": "X-Api-Key"},
    },
    {
        "name": "run",
        "provider_type": "cli",
        "command_name": "run",
        "env_vars": {"RUN_TOKEN": "in-the-env", "HOME": "/tmp"},
        "auth": {"auth_type": "api_key", "api_key": "in-auth-2", "var_name": "X-Api-Key"},
    },
]
SECRETS = ["hunter2-pass", "in-the-query", "in-a-header", "in-auth-1", "in-auth-2", "in-the-env"]


def manual_of():
    tools = [
        {"name": entry["name"], "tool_provider": {key: value for key, value in entry.items() if key != "name"}}
        for entry in V0
    ]
    return {"version": "0.1.0", "tools": tools}


@pytest.mark.parametrize(
    ("document", "target"),
    [(V0, "v1"), (manual_of(), "v1"), (manual_of(), "v0")],
    ids=["configuration", "manual", "manual to v0"],
)
async def test_no_secret_of_a_template_is_written(tmp_path, document, target):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document))
    converted = await convert([str(path)], Wishes(target=target))
    text = json.dumps(converted.document) + " ".join(map(str, converted.notes))
    assert [secret for secret in SECRETS if secret in text] == []
    assert "${API_KEY}" in text
    assert "${API_KEY_2}" in text
    assert "Bearer ${AUTHORIZATION}" in text
    assert "application/json" in text
    notes = " ".join(map(str, converted.notes))
    assert "in place of secrets: API_KEY, " in notes
    assert "--keep-values" in notes


async def test_the_values_are_written_on_request(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(V0))
    converted = await convert([str(path)], Wishes(keep_values=True))
    assert [secret for secret in SECRETS if secret not in json.dumps(converted.document)] == []
    assert converted.notes == []


async def test_a_name_that_the_document_uses_already_is_not_taken(tmp_path):
    path = tmp_path / "one.json"
    entry = {"name": "shop", "call_template_type": "http", "url": "https://api.example.com/${API_KEY}"}
    auth = {"auth_type": "api_key", "api_key": "in-auth-1", "var_name": "X-Api-Key"}
    path.write_text(json.dumps({"manual_call_templates": [{**entry, "auth": auth}]}))
    converted = await convert([str(path)])
    assert converted.document["manual_call_templates"][0]["auth"]["api_key"] == "${API_KEY_2}"
