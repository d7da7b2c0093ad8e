"""Manuals of every dialect as raw tools."""

import pytest

from utcp_bridge.dialects import read_manual
from utcp_bridge.dialects.manuals import read_inputs, read_outputs
from utcp_bridge.dialects.readings import Notes

MANUAL = {"name": "weather", "call_template_type": "http", "url": "https://h/utcp", "trusted": True}


def read(document, **default):
    return read_manual(document, default_template=default or MANUAL, where="manual 'weather'")


def only(document, **default):
    reading = read(document, **default)
    assert reading.faults == []
    (tool,) = reading.tools
    return tool


@pytest.mark.parametrize("key", ["tool_call_template", "tool_provider", "provider", "tool_transport"])
def test_a_tools_own_template_has_four_names(key):
    template = {"provider_type": "http_stream", "url": "https://h/x", "timeout": 5000}

    assert only({"tools": [{"name": "a", key: template}]}).template == {
        "call_template_type": "streamable_http",
        "url": "https://h/x",
        "timeout": 5.0,
    }


def test_a_tool_without_template_is_reached_through_the_manuals_own():
    tool = only({"version": "1", "tools": [{"name": "a"}]})

    assert tool.template == {"call_template_type": "http", "url": "https://h/utcp"}


def test_a_fetched_template_brings_no_keys_that_only_the_operator_may_write():
    template = {
        "call_template_type": "http",
        "url": "u",
        "trusted": True,
        "verify_ssl": False,
        "allow_networks": ["::/0"],
    }

    assert only([{"name": "a", "tool_call_template": template}]).template == {
        "call_template_type": "http",
        "url": "u",
    }


def test_optional_members_of_a_tool_are_there_only_if_they_are_given():
    full = {
        "name": "a", "description": "d", "inputs": {"type": "object"}, "outputs": {"type": "array"}, "tags": ["x", 5],
        "title": "T", "annotations": {"readOnlyHint": True}, "deprecated": True, "average_response_size": 10,
        "body_members": ["m"], "unknown": 1,
    }  # fmt: skip
    template = {"call_template_type": "http", "url": "https://h/utcp"}

    assert only([full]).as_json() == {
        "name": "a", "description": "d", "inputs": {"type": "object"}, "outputs": {"type": "array"}, "tags": ["x"],
        "title": "T", "annotations": {"readOnlyHint": True}, "deprecated": True, "average_response_size": 10,
        "body_members": ["m"], "unknown": 1, "tool_call_template": template,
    }  # fmt: skip
    assert only([{"name": "b", "inputs": None, "tags": "x", "average_response_size": True}]).as_json() == {
        "name": "b", "description": "", "inputs": {"type": "object", "properties": {}}, "tags": ["x"],
        "tool_call_template": template,
    }  # fmt: skip


def test_schemas_are_passed_on_as_the_same_objects():
    inputs, outputs = {"type": "object", "x-own": 1}, {"type": "array"}
    tool = only([{"name": "a", "parameters": inputs, "response_schema": outputs}])

    assert tool.inputs is inputs
    assert tool.outputs is outputs


@pytest.mark.parametrize("document", [{"name": "a", "inputs": {}}, [{"name": "a", "description": "b"}]])
def test_one_tool_and_a_list_of_tools_are_manuals_too(document):
    assert only(document).name == "a"
    assert read(document).dialect == "tools"


def test_the_tools_list_of_an_mcp_server_becomes_its_tools():
    listed = {"tools": [{"name": "add", "inputSchema": {"type": "object"}, "annotations": {"title": "Add"}}]}
    server = {"call_template_type": "mcp", "config": {"mcpServers": {"s": {"command": "x"}}}, "name": "m"}

    assert read(listed, **server).dialect == "mcp"
    tool = only(listed, **server)
    assert tool.title == "Add"
    assert tool.template == {
        "call_template_type": "mcp", "config": server["config"], "tool_name": "add",
    }  # fmt: skip


def test_each_bad_tool_is_one_fault_and_the_rest_is_kept():
    reading = read({
        "utcp_version": "1.0.1",
        "tools": [
            {"name": "good"},
            "text",
            {"description": "nameless"},
            {"name": "  "},
            {"name": "good"},
            {"name": "schema", "inputs": True},
            {"name": "template", "tool_call_template": {"url": "u"}},
            {"name": "auth", "auth": "s3cret"},
            {"name": "good too", "auth": {"auth_type": "basic", "username": "u", "password": "p"}},
        ],
    })  # fmt: skip

    assert [tool.name for tool in reading.tools] == ["good", "good too"]
    assert reading.tools[1].template["auth"]["username"] == "u"
    assert [str(fault) for fault in reading.faults] == [
        "manual 'weather': tool 2: is text, not an object.",
        "manual 'weather': tool 3: has no name.",
        "manual 'weather': tool 4: has no name.",
        "manual 'weather'.good: another tool of the manual has the same name.",
        "manual 'weather'.schema: the input schema is a boolean, not an object.",
        (
            "manual 'weather'.template: the call template has no `call_template_type`. "
            'Did you mean "call_template_type": "http"?'
        ),
        "manual 'weather'.auth: `auth` is text, not an object.",
    ]


def test_a_bad_tool_does_not_replace_a_good_one_of_its_name():
    reading = read([{"name": "a", "inputs": 5}, {"name": "a", "inputs": {}}])

    assert [tool.inputs for tool in reading.tools] == [{}]


def test_the_metadata_of_a_manual_is_kept():
    reading = read({
        "utcp_version": "1.0.1",
        "info": {"title": "T"},
        "auth": {"auth_type": "basic", "username_var": "U", "password_var": "P", "instructions": "ask"},
        "variables": {"REGION": "eu"},
        "allowed_communication_protocols": ["http_stream"],
        "tools": [],
    })  # fmt: skip

    assert reading.info == {"title": "T"}
    assert reading.auth == {"auth_type": "basic", "username": "${U}", "password": "${P}"}
    assert reading.variables == {"REGION": "eu"}
    assert reading.protocols == ("streamable_http",)
    assert reading.declared_variables == {"U": "ask", "P": "ask"}
    assert reading.dialect == "extended"
    assert "${P}" not in repr(reading)


def test_invalid_metadata_of_a_manual_is_a_fault_and_left_out():
    reading = read({"auth": 5, "variables": [], "allowed_communication_protocols": "http", "tools": [{"name": "a"}]})

    assert (reading.auth, reading.variables, reading.protocols) == (None, {}, None)
    assert len(reading.tools) == 1
    assert [fault.severity for fault in reading.faults] == ["error", "warning", "warning"]


@pytest.mark.parametrize(
    ("document", "dialect"),
    [
        ({"version": "1.0", "tools": []}, "v0.x"),
        ({"provider_info": {}, "tools": []}, "v0.x"),
        ({"tools": [{"name": "a", "tool_provider": {"provider_type": "http"}}]}, "v0.x"),
        ({"utcp_version": "1", "tools": []}, "v1.x"),
        ({"tools": [{"name": "a", "tool_call_template": {"call_template_type": "http"}}]}, "v1.x"),
        ({"utcp_version": "1", "metadata": {"title": "x"}, "tools": []}, "extended"),
        ({"tools": []}, "tools"),
        ([], "tools"),
    ],
)
def test_the_dialect_is_named(document, dialect):
    assert read(document).dialect == dialect


@pytest.mark.parametrize(
    ("document", "hint"),
    [
        ({"openapi": "3.1.0"}, "This is an OpenAPI description"),
        ({"manual_call_templates": []}, "This is a client configuration"),
        ([{"name": "a", "provider_type": "http"}], "This is a list of providers"),
        ({"provider_type": "http"}, "This is one call template"),
        ({"manuals": []}, "This is a registry"),
        ({"tools": "none"}, "`tools` is not a list"),
        ("text", 'an object with a list "tools"'),
        (None, "this is not a UTCP manual"),
    ],
)
def test_another_document_is_one_fault_that_says_what_it_is(document, hint):
    reading = read(document)

    assert reading.tools == []
    assert len(reading.faults) == 1
    assert hint in str(reading.faults[0])


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"x-unknown": 1}}},
        {"properties": {"a": {"type": "string", "examples": ["x"]}}},
        {"type": ["object", "null"]},
        {"anyOf": [{"type": "object"}]},
    ],
)
def test_a_schema_is_kept_as_the_same_object(schema):
    notes = Notes()

    assert read_inputs(schema, "here", notes) is schema
    assert notes.faults == []


def test_absent_inputs_mean_no_arguments():
    assert read_inputs(None, "here", Notes()) == {"type": "object", "properties": {}}


def test_a_bare_map_of_properties_is_read_with_a_warning():
    notes = Notes()
    city = {"type": "string"}

    assert read_inputs({"city": city}, "here", notes) == {"type": "object", "properties": {"city": city}}
    assert [fault.severity for fault in notes.faults] == ["warning"]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (True, "is a boolean, not an object"),
        ([], "is a list, not an object"),
        ("text", "is text, not an object"),
        ({"type": "array"}, "has type 'array'"),
        ({"type": ["string", "null"]}, "has type 'a list'"),
        ({"type": "object", "properties": []}, "`properties` is not an object"),
    ],
)
def test_an_input_schema_that_is_not_an_object_schema_is_refused_with_the_reason(schema, reason):
    with pytest.raises(ValueError, match=reason):
        read_inputs(schema, "here", Notes())


@pytest.mark.parametrize("key", ["outputs", "response_schema", "outputSchema", "output_schema"])
def test_the_output_schema_has_four_names(key):
    schema = {"type": "array"}

    assert read_outputs({key: schema}, "here", Notes()) is schema


def test_an_empty_output_schema_gives_way_to_the_response_schema():
    notes = Notes()
    tool = {"outputs": {"type": "object", "properties": {}}, "response_schema": {"type": "array"}}

    assert read_outputs(tool, "here", notes) == {"type": "array"}
    assert notes.dialects == {"extended"}


def test_an_output_schema_that_is_not_an_object_is_ignored_with_a_warning():
    notes = Notes()

    assert read_outputs({"outputs": "text"}, "here", notes) is None
    assert read_outputs({}, "here", notes) is None
    assert [str(fault) for fault in notes.faults] == ["here: `outputs` is text, not an object, and is ignored."]
