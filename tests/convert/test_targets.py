"""What is written in v0 makes, by v0's own rules, the request that the v1 tool makes."""

import pytest
from tests.openapi_oracle.samples import OWN, sample_files
from tests.support.examples import example_arguments

from utcp_bridge.configuration.places import read_place
from utcp_bridge.convert.outcome import Converted, Wishes
from utcp_bridge.convert.sources import openapi_manual, without_files
from utcp_bridge.convert.targets import portable, to_v0
from utcp_bridge.dialects import read_manual
from utcp_bridge.errors import ConfigError
from utcp_bridge.transports.http import HttpTemplate

INPUTS = {"type": "object", "properties": {"id": {"type": "string"}}}


def manual(*tools, **keys):
    return Converted({"utcp_version": "1.0.1", "manual_version": "2.0", **keys, "tools": list(tools)}, "m")


def tool(template, name="t", **keys):
    return {"name": name, "description": "Does.", "inputs": INPUTS, "tool_call_template": template, **keys}


HTTP = {"call_template_type": "http", "url": "https://api.example.com/{id}", "http_method": "GET"}


def test_v0_renames_fields_and_changes_nothing_else():
    auth = {"auth_type": "basic", "username": "${U}", "password": "${P}"}
    stream = {"call_template_type": "streamable_http", "url": "https://api.example.com/s", "timeout": 5000}
    written = to_v0(manual(tool({**HTTP, "auth": auth}, title="T"), tool(stream, "s"), info={"title": "M"})).document
    assert written == {
        "version": "2.0",
        "provider_info": {"name": "M"},
        "tools": [
            {
                "name": "t",
                "description": "Does.",
                "title": "T",
                "inputs": INPUTS,
                "tool_provider": {
                    "provider_type": "http",
                    "url": "https://api.example.com/{id}",
                    "http_method": "GET",
                    "auth": auth,
                },
            },
            {
                "name": "s",
                "description": "Does.",
                "inputs": INPUTS,
                "tool_provider": {
                    "provider_type": "http_stream",
                    "url": "https://api.example.com/s",
                    "timeout": 5000,
                },
            },
        ],
    }


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ({"call_template_type": "cli", "commands": [{"command": "ls"}]}, "`commands`"),
        ({"call_template_type": "text", "content": "hi"}, "no provider of type 'text'"),
        ({**HTTP, "query_params": {"a": "{{id}}"}}, "`query_params`"),
        ({**HTTP, "headers": {"X": "{{id}}"}}, "no {{expressions}}"),
        (
            {**HTTP, "auth": {"auth_type": "any", "options": []}},
            "the official fields cannot say 'one of several' for auth",
        ),
        ({"call_template_type": "graphql", "url": "https://x.example", "query": "{a}"}, "`query`"),
        (
            {"call_template_type": "mcp", "config": {"mcpServers": {"s": {"url": "u"}}}, "tool_name": "other"},
            "tool_name",
        ),
        (None, "without a call template"),
        ({**HTTP, "request_plan": {"parameters": "x"}}, "unusable"),
        ({**HTTP, "request_plan": {"defaults": {"id": "1"}}}, "no defaults"),
        (
            {**HTTP, "request_plan": {"parameters": [{"argument": "id", "name": "id", "in": "cookie"}]}},
            "cookie parameter",
        ),
        ({**HTTP, "request_plan": {"body": {"media_type": "application/xml"}}}, "application/xml"),
    ],
)
def test_a_tool_that_v0_cannot_express_is_left_out_with_a_note(template, reason):
    broken = tool(template) if template else {"name": "t"}
    written = to_v0(manual(broken, tool(HTTP, "good")))
    assert [one["name"] for one in written.document["tools"]] == ["good"]
    assert [note.severity for note in written.notes] == ["error"]
    assert reason in written.notes[0].what
    assert "'t'" in written.notes[0].where


def test_an_mcp_tool_in_v0_drops_only_its_tool_name():
    template = {"call_template_type": "mcp", "config": {"mcpServers": {"s": {"command": "x"}}}, "tool_name": "t"}
    [written] = to_v0(manual(tool(template))).document["tools"]
    assert written["tool_provider"] == {"provider_type": "mcp", "config": {"mcpServers": {"s": {"command": "x"}}}}


def test_a_manual_without_any_v0_tool_is_an_error_with_the_reason():
    with pytest.raises(ConfigError, match="`commands`"):
        to_v0(manual(tool({"call_template_type": "cli", "commands": []})))
    with pytest.raises(ConfigError, match="configuration"):
        to_v0(Converted({"manual_call_templates": []}, "c", is_manual=False))


@pytest.mark.anyio
@pytest.mark.parametrize("path", sample_files(OWN), ids=lambda path: path.name)
async def test_a_v0_provider_sends_the_same_request_as_the_request_plan(path):
    placed = await read_place(str(path))
    wishes = Wishes(base_url="https://api.example.com/v1")
    converted = await openapi_manual(placed.document, url=placed.url, name="api", wishes=wishes)
    for one in converted.tools:
        one["tool_call_template"].pop("auth", None)
    if not converted.tools:
        return
    try:
        written = to_v0(converted).document
    except ConfigError:
        written = {"tools": []}
    planned = {one["name"]: one for one in converted.tools}
    for one in read_manual(written, default_template={}, where="m").tools:
        assert "request_plan" not in one.template
        arguments = example_arguments(one.inputs)
        flat = planned[one.name]
        members = arguments.pop("body", None) if flat.get("body_members") else None
        expected = request(flat["tool_call_template"], {**arguments, **(members or {})})
        assert request(one.template, arguments if members is None else {**arguments, "body": members}) == expected


def request(template, arguments):
    parts = HttpTemplate.model_validate(template).build_request(arguments)
    headers = sorted((name.lower(), value) for name, value in parts.headers if name.lower() != "accept")
    return (
        parts.method,
        parts.url.partition("?")[0],
        sorted(parts.url.partition("?")[2].split("&")),
        headers,
        parts.body,
    )


@pytest.mark.anyio
async def test_most_tools_of_a_plain_api_can_be_written_in_v0():
    placed = await read_place(str(OWN / "oai-v3.0-pass-petstore-expanded.yaml"))
    written = to_v0(await openapi_manual(placed.document, url=placed.url, name="pets", wishes=Wishes()))
    assert [one["name"] for one in written.document["tools"]] == ["findPets", "addPet", "find_pet_by_id", "deletePet"]
    add = written.document["tools"][1]
    assert add["inputs"]["required"] == ["body"]
    assert add["inputs"]["properties"]["body"]["required"] == ["name"]
    assert add["tool_provider"]["body_field"] == "body"


def test_the_portable_form_keeps_only_official_keys():
    tool = {
        "name": "a",
        "title": "A",
        "annotations": {},
        "body_members": [],
        "inputs": {},
        "tool_call_template": {**HTTP, "url": "https://api.example.com/", "x": 1, "retries": 2},
    }
    manual = {"utcp_version": "1.0.1", "info": {"title": "T"}, "auth": {}, "manual_version": "1", "tools": [tool]}
    assert portable(Converted(manual, "m")).document == {
        "utcp_version": "1.0.1",
        "manual_version": "1",
        "tools": [
            {"name": "a", "inputs": {}, "tool_call_template": {**HTTP, "url": "https://api.example.com/"}},
        ],
    }


def test_the_portable_form_does_not_change_a_configuration():
    converted = Converted({"manual_call_templates": [], "info": 1}, "c", is_manual=False)
    assert portable(converted) is converted


def test_a_flow_in_which_a_person_logs_in_is_a_variable_for_a_token_everywhere():
    """Other clients have no login, and the token is what they can use."""
    flows = {"authorizationCode": {"authorizationUrl": "/authorize", "tokenUrl": "/token", "scopes": {}}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "shop", "version": "1"},
        "servers": [{"url": "https://shop.example"}],
        "paths": {"/items": {"get": {"operationId": "items", "security": [{"shop": []}], "responses": {}}}},
        "components": {"securitySchemes": {"shop": {"type": "oauth2", "flows": flows}}},
    }
    converted = without_files(document, url="https://shop.example/openapi.json", name="shop", wishes=Wishes())
    [tool] = converted.tools
    auth = {
        "auth_type": "api_key",
        "api_key": "Bearer ${SHOP_TOKEN}",
        "var_name": "Authorization",
        "location": "header",
    }
    assert tool["tool_call_template"]["auth"] == {**auth, "aliases": ["API_KEY_0"]}
    [provider] = to_v0(converted).tools
    assert provider["tool_provider"]["auth"] == auth
