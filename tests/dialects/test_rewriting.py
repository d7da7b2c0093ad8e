"""Rewriting older documents as UTCP v1."""

import pytest

from utcp_bridge.dialects import read_config, read_manual, to_v1
from utcp_bridge.errors import ManualError

OLD_MANUAL = {
    "version": "1.0",
    "provider_info": {"name": "kept"},
    "tools": [
        {
            "name": "a",
            "parameters": {"type": "object"},
            "response_schema": {"type": "array"},
            "auth": {"type": "token", "token_var": "T"},
            "tool_provider": {"provider_type": "http_stream", "url": "u", "timeout": 60000, "unknown": 1},
        },
        {"name": "b", "outputs": {"type": "string"}, "auth": {"auth_type": "basic"}},
        "text",
    ],
}


def test_a_v0_manual_becomes_a_v1_manual_and_loses_nothing():
    assert to_v1(OLD_MANUAL) == {
        "utcp_version": "0.x",
        "manual_version": "1.0",
        "provider_info": {"name": "kept"},
        "tools": [
            {
                "name": "a",
                "inputs": {"type": "object"},
                "outputs": {"type": "array"},
                "tool_call_template": {
                    "call_template_type": "streamable_http",
                    "url": "u",
                    "timeout": 60000,
                    "unknown": 1,
                    "auth": {
                        "auth_type": "api_key",
                        "api_key": "Bearer ${T}",
                        "var_name": "Authorization",
                        "location": "header",
                    },
                },
            },
            {"name": "b", "outputs": {"type": "string"}, "auth": {"auth_type": "basic"}},
            "text",
        ],
    }


def test_the_rewritten_manual_reads_as_the_old_one():
    default = {"call_template_type": "http", "url": "u"}
    old = read_manual({**OLD_MANUAL, "tools": OLD_MANUAL["tools"][:1]}, default_template=default, where="m")
    new = read_manual(to_v1({**OLD_MANUAL, "tools": OLD_MANUAL["tools"][:1]}), default_template=default, where="m")

    assert new.tools == old.tools


@pytest.mark.parametrize("document", [{"name": "a", "inputs": {}}, [{"name": "a", "inputs": {}}]])
def test_tools_without_a_manual_get_one(document):
    assert to_v1(document) == {"utcp_version": "0.x", "tools": [{"name": "a", "inputs": {}}]}


def test_a_v1_manual_stays_as_it_is():
    template = {"call_template_type": "tcp", "host": "h", "port": 1, "timeout": 5000}
    manual = {"utcp_version": "1.0.1", "manual_version": "2", "tools": [{"name": "a", "tool_call_template": template}]}

    assert to_v1(manual) == manual


OLD = {"name": "a", "provider_type": "text", "file_path": "t.json", "auth": None}
NEW = {"name": "a", "call_template_type": "file", "file_path": "t.json"}


@pytest.mark.parametrize("document", [OLD, [OLD], {"providers": [OLD]}, {"providers": OLD}, {"providers": {"a": OLD}}])
def test_providers_become_call_templates_in_every_shape(document):
    assert to_v1(document) == {"manual_call_templates": [NEW]}


def test_a_configuration_keeps_its_other_keys():
    old = {
        "variables": {"A": "1"},
        "load_variables_from": [{"type": "dotenv", "env_file_path": ".env"}, "odd"],
        "providers": ["./b.json", "ftp://kept", {"untyped": 1}],
        "manual_call_templates": [NEW],
        "mcpServers": {"s": {}},
    }

    assert to_v1(old) == {
        "variables": {"A": "1"},
        "load_variables_from": [{"variable_loader_type": "dotenv", "env_file_path": ".env"}, "odd"],
        "manual_call_templates": [
            NEW,
            {"call_template_type": "file", "file_path": "./b.json"},
            "ftp://kept",
            {"untyped": 1},
            {"name": "mcp", "call_template_type": "mcp", "config": {"mcpServers": {"s": {}}}},
        ],
    }
    assert len(read_config(to_v1(old), where="x").entries) == 3


def test_an_auth_that_cannot_be_read_is_kept_as_it_is():
    assert to_v1({**OLD, "auth": "odd"})["manual_call_templates"][0]["auth"] == "odd"


@pytest.mark.parametrize(
    "document", [{"openapi": "3.1.0"}, {"tools": "none"}, "text", {}, [{"name": "a", "inputSchema": {}}]]
)
def test_a_document_that_is_not_utcp_is_refused(document):
    with pytest.raises(ManualError, match="cannot be rewritten"):
        to_v1(document)
