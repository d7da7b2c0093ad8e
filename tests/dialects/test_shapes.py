"""Detection of what a document is."""

import pytest

from utcp_bridge.dialects.shapes import Shape, detect, kind_key, looks_like_tool


@pytest.mark.parametrize(
    ("document", "shape"),
    [
        ({"manual_call_templates": []}, Shape.CONFIG),
        ({"providers": {}}, Shape.CONFIG),
        ({"mcpServers": {}}, Shape.CONFIG),
        ({"bridge": {}}, Shape.CONFIG),
        ({"load_variables_from": []}, Shape.CONFIG),
        ({"variables": {"A": "1"}}, Shape.CONFIG),
        ({"variables": {}, "providers": []}, Shape.CONFIG),
        ([], Shape.CONFIG_ENTRIES),
        (["./weather.json"], Shape.CONFIG_ENTRIES),
        ([{"name": "a", "provider_type": "http"}], Shape.CONFIG_ENTRIES),
        ([{"name": "a", "call_template_type": "anything"}], Shape.CONFIG_ENTRIES),
        ([{"name": "a", "type": "http"}], Shape.CONFIG_ENTRIES),
        ([{"mcpServers": {}}], Shape.CONFIG_ENTRIES),
        ({"version": "1.0", "tools": []}, Shape.MANUAL),
        ({"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": [{"name": "a"}]}, Shape.MANUAL),
        ({"tools": "none"}, Shape.MANUAL),
        ({"tools": [{"name": "a", "inputSchema": {}, "tool_call_template": {}}]}, Shape.MANUAL),
        ({"openapi": "3.1.0", "paths": {}}, Shape.OPENAPI),
        ({"swagger": "2.0"}, Shape.OPENAPI),
        ({"paths": {}, "info": {}}, Shape.OPENAPI),
        ({"name": "a", "provider_type": "cli", "command_name": "x"}, Shape.TEMPLATE),
        ({"transport_type": "http_sse", "url": "u"}, Shape.TEMPLATE),
        ({"type": "http_stream", "url": "u"}, Shape.TEMPLATE),
        ({"provider_type": "cli", "tools": []}, Shape.TEMPLATE),
        ([{"name": "a", "description": "b"}], Shape.TOOLS),
        ([5, {"name": "a"}], Shape.TOOLS),
        ([{"name": "a", "type": "http", "tool_provider": {}}], Shape.TOOLS),
        ({"name": "a", "inputs": {}}, Shape.TOOLS),
        ({"tools": [{"name": "a", "inputSchema": {}}]}, Shape.MCP_TOOLS),
        ([{"name": "a", "input_schema": {}}], Shape.MCP_TOOLS),
        ({"name": "a", "inputSchema": {}}, Shape.MCP_TOOLS),
        ({"manuals": [{"name": "a", "url": "u"}], "next": None}, Shape.REGISTRY),
        ({}, Shape.UNKNOWN),
        ({"type": "object", "properties": {}}, Shape.UNKNOWN),
        ({1: "x"}, Shape.UNKNOWN),
        ([1, None], Shape.UNKNOWN),
        ([{"colour": "red"}], Shape.UNKNOWN),
        ("text", Shape.UNKNOWN),
        (None, Shape.UNKNOWN),
    ],
)
def test_the_keys_of_a_document_decide_its_shape(document, shape):
    assert detect(document) is shape


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"call_template_type": "x", "provider_type": "y"}, "call_template_type"),
        ({"call_template_type": None, "provider_type": "y"}, "provider_type"),
        ({"type": "graphql"}, "type"),
        ({"type": "apiKey"}, None),
        ({"type": ["http"]}, None),
    ],
)
def test_the_type_of_a_template_is_under_one_of_four_keys(raw, key):
    assert kind_key(raw) == key


def test_an_object_with_only_a_name_is_not_a_tool():
    assert not looks_like_tool({"name": "a", "description": "b"})
    assert looks_like_tool({"response_schema": {}})
