"""What is written for other clients of one tool, and of a manual with tools of several types."""

import json

import pytest

from utcp_bridge.convert.official import Unwritable, official_auth, official_schema
from utcp_bridge.convert.outcome import LEFT_OUT, Converted
from utcp_bridge.convert.replay import refusal
from utcp_bridge.convert.targets import portable
from utcp_bridge.convert.writing import written_http, written_other

INPUTS = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
HTTP = {"call_template_type": "http", "url": "https://api.example.com/a", "http_method": "GET"}


def tool(template, name="t", inputs=INPUTS):
    return {"name": name, "inputs": inputs, "tool_call_template": template}


def manual(*tools, **keys):
    return Converted({"utcp_version": "1.0.1", **keys, "tools": list(tools)}, "m")


@pytest.mark.parametrize(
    "template",
    [
        {"call_template_type": "cli", "command_name": "ls"},
        {"call_template_type": "cli", "commands": [{"command": "ls UTCP_ARG_x_UTCP_END"}]},
        {"call_template_type": "grpc", "host": "h", "port": 1, "service_name": "s", "method_name": "m"},
        None,
    ],
)
def test_one_tool_of_another_type_does_not_sink_the_manual(template):
    odd = tool(template, "odd") if template else {"name": "odd"}
    made = portable(manual(odd, tool(HTTP, "good")))
    assert [one["name"] for one in made.tools] == ["good"]
    assert made.proof is not None
    assert [row.state == LEFT_OUT for row in made.proof] == [True, False]
    [note] = made.notes
    assert (note.severity, "'odd'" in note.where) == ("error", True)


def test_a_manual_of_commands_alone_stays_and_each_argument_is_required():
    template = {"call_template_type": "cli", "commands": [{"command": "ls UTCP_ARG_x_UTCP_END UTCP_ARG_y_UTCP_END"}]}
    inputs = {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "string"}}, "required": ["x"]}
    made = portable(manual(tool(template, inputs=inputs)))
    assert made.tools[0]["inputs"]["required"] == ["x", "y"]
    assert "needs its argument 'y'" in str(made.notes[0])


def test_an_mcp_tool_is_called_by_its_name():
    config = {"mcpServers": {"s": {"command": "x"}}}
    template = {"call_template_type": "mcp", "config": config, "tool_name": "t", "call_timeout": 5}
    assert written_other(tool(template)).tool["tool_call_template"] == {"call_template_type": "mcp", "config": config}
    with pytest.raises(Unwritable, match="its own name"):
        written_other(tool(template, "other"))


def test_text_is_written_as_text_and_expressions_are_refused():
    content = {"tools": []}
    made = written_other(tool({"call_template_type": "text", "content": content})).tool
    assert json.loads(made["tool_call_template"]["content"]) == content
    with pytest.raises(Unwritable, match="expressions"):
        written_other(tool({"call_template_type": "websocket", "url": "wss://h", "message": {"a": "{{x}}"}}))


def test_the_manuals_own_auth_goes_with_its_tools():
    auth = {"auth_type": "api_key", "api_key": "${K}", "var_name": "X-K", "location": "header", "aliases": ["A"]}
    [made] = portable(manual(tool(HTTP), auth=auth)).tools
    assert made["tool_call_template"]["auth"] == {key: value for key, value in auth.items() if key != "aliases"}


def test_of_alternatives_the_first_official_one_is_written():
    basic = {"auth_type": "basic", "username": "u", "password": "${P}"}
    options = [{"auth_type": "oauth2_login", "client_id": "c"}, basic]
    assert official_auth({"auth_type": "any", "options": options}) == basic
    for auth in (
        {"auth_type": "token", "token": "t"},
        {"auth_type": "oauth2", "issuer": "https://i", "client_id": "c"},
    ):
        with pytest.raises(Unwritable, match="auth"):
            official_auth(auth)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cookies": {"sid": "1"}}, "cookies"),
        ({"query_params": {"q": "{{x | json}}"}}, "query_params"),
        ({"headers": {"X": "a {{x}}"}}, "expressions"),
        ({"body_template": [1]}, "body_template"),
        ({"wire": "path"}, "wire"),
    ],
)
def test_what_official_fields_cannot_say_is_refused_with_the_reason(change, words):
    with pytest.raises(Unwritable, match=words):
        written_http(tool({**HTTP, **change}))


def test_a_query_argument_named_body_is_not_sent_as_the_body():
    template = {**HTTP, "body_field": None}
    inputs = {"type": "object", "properties": {"body": {"type": "string"}}}
    assert written_http(tool(template, inputs=inputs)).tool["tool_call_template"]["body_field"] == ""


def test_schemas_that_the_models_of_clients_refuse_are_mended():
    schema = {
        "type": "object",
        "title": 1,
        "properties": {"a": True, "b": False, "c": {"type": "any", "required": True, "x": 1}},
        "items": [True],
        "additionalProperties": True,
        "minimum": "1",
    }
    made = official_schema(schema)
    assert made == {
        "type": "object",
        "properties": {"a": {}, "b": {"not": {}}, "c": {"x": 1}},
        "items": [{}],
        "additionalProperties": True,
    }
    assert refusal({"name": "t", "inputs": schema, "tool_call_template": HTTP}) is not None
    assert refusal({"name": "t", "inputs": made, "tool_call_template": HTTP}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"title": "T"},
        {"tags": [1]},
        {"average_response_size": None},
        {"tool_call_template": {**HTTP, "request_plan": {}}},
        {"tool_call_template": {**HTTP, "http_method": "HEAD"}},
        {"tool_call_template": {**HTTP, "headers": {"X": 1}}},
        {"tool_call_template": {**HTTP, "header_fields": "X"}},
        {"tool_call_template": {**HTTP, "url": None}},
        {"tool_call_template": {**HTTP, "auth": {"auth_type": "any"}}},
        {"tool_call_template": {"call_template_type": "tcp"}},
    ],
)
def test_what_clients_refuse_is_found(change):
    whole = {"name": "t", "tool_call_template": HTTP}
    assert refusal(whole) is None
    assert refusal({**whole, **change}) is not None
