"""Every manual and form of auth in UTCP's own documents: the README of 0.1 and 0.2, then the extended dialect
in the order of the "deep dive" that shows it.
"""

import pytest

from utcp_bridge.dialects import read_config, read_manual
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.placement.placeholders import Context, Syntax, compile_template
from utcp_bridge.transports.registry import TransportRegistry

DEFAULT = {"call_template_type": "http", "url": "https://api.example.com/utcp"}
UNITS = {"type": "string", "enum": ["metric", "imperial"], "default": "metric"}


def read(document):
    return read_manual(document, default_template=DEFAULT, where="manual 'm'")


def template_of(tool):
    reading = read({"utcp_version": "1.0.1", "tools": [{"name": "a", **tool}]})
    assert reading.faults == []
    return reading.tools[0].template, reading


def test_the_documented_manual_is_one_http_tool():
    inputs = {"type": "object", "properties": {"location": {"type": "string"}}}
    outputs = {"type": "object", "properties": {"temperature": {"type": "number"}}}
    template = {"provider_type": "http", "url": "https://example.com/api/weather", "http_method": "GET"}
    tool = {"name": "get_weather", "description": "Get current weather for a location", "inputs": inputs}
    manual = {"version": "1.0", "tools": [{**tool, "outputs": outputs, "tool_provider": template}]}

    reading = read_manual(manual, default_template={"call_template_type": "http", "url": "u"}, where="m")

    assert (reading.dialect, reading.faults) == ("v0.x", [])
    assert [tool.as_json() for tool in reading.tools] == [
        {
            **tool,
            "outputs": outputs,
            "tags": [],
            "tool_call_template": {
                "call_template_type": "http",
                "url": "https://example.com/api/weather",
                "http_method": "GET",
            },
        }
    ]


@pytest.mark.parametrize(
    "auth",
    [
        {"auth_type": "api_key", "api_key": "YOUR_SECRET_API_KEY", "var_name": "X-API-Key"},
        {"auth_type": "api_key", "api_key": "YOUR_SECRET_API_KEY", "var_name": "X-API-Key", "location": "header"},
        {"auth_type": "api_key", "api_key": "sk-1234567890abcdef", "var_name": "Authorization", "location": "header"},
        {"auth_type": "api_key", "api_key": "abc123def456", "var_name": "api_key", "location": "query"},
        {"auth_type": "api_key", "api_key": "session_token_xyz", "var_name": "auth_token", "location": "cookie"},
        {"auth_type": "basic", "username": "your_username", "password": "your_password"},
        {
            "auth_type": "oauth2",
            "token_url": "https://auth.example.com/token",
            "client_id": "your_client_id",
            "client_secret": "your_client_secret",
            "scope": "read write",
        },
    ],
)
def test_the_documented_forms_of_auth_are_kept_unchanged(auth):
    reading = read_config([{"name": "a", "provider_type": "http", "url": "u", "auth": auth}], where="authentication")

    assert reading.faults == []
    assert reading.entries[0].template["auth"] == auth


def test_the_manual_of_the_key_concepts_is_one_tool_with_a_query_of_its_own():
    query = {"q": "{{location}}", "units": "{{units|default:metric}}"}
    inputs = {
        "type": "object",
        "properties": {"location": {"type": "string"}, "units": UNITS},
        "required": ["location"],
    }
    reading = read(
        {
            "utcp_version": "1.0.1",
            "manual_version": "1.0.0",
            "tools": [
                {
                    "name": "get_weather",
                    "description": "Get current weather for a location",
                    "inputs": inputs,
                    "tool_call_template": {
                        "call_template_type": "http",
                        "url": "https://api.weather.com/v1/current",
                        "http_method": "GET",
                        "query_params": query,
                        "headers": {"Authorization": "Bearer ${WEATHER_API_KEY}"},
                    },
                }
            ],
        }
    )

    assert (reading.dialect, reading.faults, reading.info) == ("extended", [], {"version": "1.0.0"})
    (tool,) = reading.tools
    assert tool.inputs is inputs
    assert tool.template["headers"] == {"Authorization": "Bearer ${WEATHER_API_KEY}"}
    rendered = compile_template(tool.template["query_params"], syntaxes=Syntax.MUSTACHE)
    assert rendered.render({"location": "Paris"}, context=Context.QUERY) == {"q": "Paris", "units": "metric"}


CALL_TEMPLATES = [
    (
        "HTTP/REST",
        {
            "call_template_type": "http",
            "url": "https://api.example.com/resource",
            "http_method": "POST",
            "headers": {"Content-Type": "application/json"},
            "body_template": {"field": "{{value}}"},
        },
        {},
    ),
    (
        "CLI",
        {
            "call_template_type": "cli",
            "command": "curl",
            "args": ["-X", "GET", "{{url}}", "-H", "Authorization: Bearer {{api_key}}"],
        },
        {},
    ),
    (
        "WebSocket",
        {
            "call_template_type": "websocket",
            "url": "wss://api.example.com/stream",
            "message_template": {"action": "{{action}}", "data": "{{data}}"},
            "auth": {"type": "token", "token": "${WS_TOKEN}"},
        },
        {
            "auth": {
                "auth_type": "api_key",
                "api_key": "Bearer ${WS_TOKEN}",
                "var_name": "Authorization",
                "location": "header",
            }
        },
    ),
    (
        "Server-Sent Events",
        {
            "call_template_type": "sse",
            "url": "https://api.example.com/events",
            "http_method": "GET",
            "query_params": {"channel": "{{channel}}"},
            "headers": {"Accept": "text/event-stream"},
        },
        {},
    ),
    (
        "Streamable HTTP",
        {
            "call_template_type": "streamable_http",
            "url": "https://api.example.com/download/{file_id}",
            "http_method": "GET",
            "chunk_size": 4096,
        },
        {},
    ),
    (
        "MCP integration",
        {"call_template_type": "mcp", "server_url": "http://internal-mcp:8080", "tool_name": "internal_tool"},
        {},
    ),
    (
        "Text/local files",
        {"call_template_type": "text", "file_path": "/path/to/utcp_manual.json"},
        {"call_template_type": "file"},
    ),
]
IDS = [section for section, _, _ in CALL_TEMPLATES]


@pytest.mark.parametrize(("section", "written", "changed"), CALL_TEMPLATES, ids=IDS)
def test_a_documented_call_template_is_read_in_a_tool_and_in_a_configuration(section, written, changed):
    assert template_of({"tool_call_template": written})[0] == {**written, **changed}
    reading = read_config([{"name": "a", **written}], where=section)
    assert reading.faults == []
    assert [entry.template for entry in reading.entries] == [{"name": "a", **written, **changed}]


@pytest.mark.parametrize(("section", "written", "changed"), CALL_TEMPLATES, ids=IDS)
def test_the_transport_reads_every_documented_field(section, written, changed):
    reading = read_config([{"name": "a", **written}], where=section, known_fields=TransportRegistry().fields)

    assert [str(fault) for fault in reading.faults] == []


COMPLETE = {
    "manual_version": "2.1.0",
    "utcp_version": "1.0.1",
    "info": {
        "title": "Example Service Tools",
        "version": "2.1.0",
        "description": "Tools for interacting with Example Service",
    },
    "auth": {
        "auth_type": "api_key",
        "var_name": "EXAMPLE_API_KEY",
        "instructions": "Get your API key from https://example.com/keys",
    },
    "tools": [
        {
            "name": "search_locations",
            "description": "Search for locations by name. Returns a list of matching places with coordinates.",
            "tags": ["search", "maps"],
            "inputs": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "Location name to search for"},
                    "limit": {"type": "integer", "default": 5, "minimum": 1, "maximum": 20},
                },
                "required": ["query"],
            },
            "tool_call_template": {
                "call_template_type": "http",
                "url": "https://api.example.com/v1/locations/search",
                "http_method": "GET",
                "query_params": {"q": "{{query}}", "limit": "{{limit|default:5}}"},
                "headers": {"Authorization": "Bearer ${EXAMPLE_API_KEY}", "Accept": "application/json"},
            },
            "response_schema": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "lat": {"type": "number"}, "lon": {"type": "number"}},
                },
            },
        },
        {
            "name": "get_weather",
            "description": "Get current weather conditions for a specific location",
            "tags": ["weather"],
            "inputs": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "City name or 'lat,lon' coordinates"},
                    "units": {**UNITS, "description": "Temperature units"},
                },
                "required": ["location"],
            },
            "tool_call_template": {
                "call_template_type": "http",
                "url": "https://api.example.com/v1/weather/current",
                "http_method": "GET",
                "query_params": {"q": "{{location}}", "units": "{{units|default:metric}}"},
                "headers": {"Authorization": "Bearer ${EXAMPLE_API_KEY}"},
            },
        },
    ],
}


def test_the_complete_manual_declares_its_key_and_reads_the_response_schema():
    reading = read(COMPLETE)

    assert (reading.dialect, reading.faults, reading.auth) == ("extended", [], None)
    assert (reading.info["title"], reading.info["version"]) == ("Example Service Tools", "2.1.0")
    assert reading.declared_variables == {"EXAMPLE_API_KEY": "Get your API key from https://example.com/keys"}
    places, weather = reading.tools
    assert places.outputs == COMPLETE["tools"][0]["response_schema"]
    assert (places.tags, weather.tags) == (("search", "maps"), ("weather",))
    assert weather.outputs is None
    for tool, written in zip(reading.tools, COMPLETE["tools"], strict=True):
        assert tool.inputs is written["inputs"]
        assert tool.template == written["tool_call_template"]


@pytest.mark.parametrize(
    ("tool", "arguments", "query"),
    [
        (0, {"query": "Rome"}, {"q": "Rome", "limit": 5}),
        (0, {"query": "Rome", "limit": 2}, {"q": "Rome", "limit": 2}),
        (1, {"location": "1,2", "units": "imperial"}, {"q": "1,2", "units": "imperial"}),
    ],
)
def test_arguments_and_defaults_of_the_complete_manual_become_its_queries(tool, arguments, query):
    written = read(COMPLETE).tools[tool].template["query_params"]
    assert compile_template(written, syntaxes=Syntax.MUSTACHE).render(arguments, context=Context.QUERY) == query


def test_an_api_key_next_to_a_template_that_uses_it_is_sent_once():
    template, reading = template_of(
        {
            "auth": {"auth_type": "api_key", "var_name": "API_KEY", "location": "header", "key_name": "Authorization"},
            "tool_call_template": {**DEFAULT, "headers": {"Authorization": "Bearer ${API_KEY}"}},
        }
    )

    assert template == {**DEFAULT, "headers": {"Authorization": "Bearer ${API_KEY}"}}
    assert reading.declared_variables == {"API_KEY": ""}


def test_the_documented_comment_in_json_is_read():
    text = """{
      "auth": {
        "auth_type": "api_key",
        "var_name": "API_KEY",
        "location": "header",  // or "query"
        "key_name": "Authorization"
      }
    }"""

    assert parse_document(text, jsonc=True)["auth"]["location"] == "header"


@pytest.mark.parametrize(
    ("auth", "official"),
    [
        (
            {
                "auth_type": "oauth2",
                "token_url": "https://auth.example.com/token",
                "client_id_var": "CLIENT_ID",
                "client_secret_var": "CLIENT_SECRET",
            },
            {
                "auth_type": "oauth2",
                "token_url": "https://auth.example.com/token",
                "client_id": "${CLIENT_ID}",
                "client_secret": "${CLIENT_SECRET}",
            },
        ),
        (
            {"auth_type": "basic", "username_var": "USERNAME", "password_var": "PASSWORD"},
            {"auth_type": "basic", "username": "${USERNAME}", "password": "${PASSWORD}"},
        ),
    ],
)
def test_auth_may_have_names_of_variables_instead_of_values(auth, official):
    template, reading = template_of({"auth": auth, "tool_call_template": DEFAULT})

    assert template["auth"] == official
    assert len(reading.declared_variables) == 2


def test_custom_headers_keep_their_variables():
    headers = {"X-API-Key": "${MY_API_KEY}", "X-User-ID": "${USER_ID}"}

    assert template_of({"tool_call_template": {**DEFAULT, "headers": headers}})[0]["headers"] == headers


def test_examples_in_a_schema_are_kept():
    inputs = {"properties": {"location": {"type": "string", "examples": ["Paris", "New York", "48.8566,2.3522"]}}}

    assert read([{"name": "a", "inputs": inputs}]).tools[0].inputs is inputs


def test_the_metadata_of_a_versioned_manual_titles_it():
    manual = {"utcp_version": "1.0.1", "manual_version": "2.1.0", "metadata": {"title": "My Tools"}, "tools": []}

    assert read(manual).info == {"title": "My Tools", "version": "2.1.0"}


def test_focused_parameters_are_a_map_of_properties():
    reading = read([{"name": "a", "parameters": {"location": {"type": "string"}}}])

    assert reading.tools[0].inputs == {"type": "object", "properties": {"location": {"type": "string"}}}


def test_file_and_url_discovery_are_one_line_entries():
    reading = read_config(
        ["./tools/weather.json", "./tools/maps.json", "https://api.example.com/utcp-manual.json"], where="discovery"
    )

    assert [(entry.name, entry.kind) for entry in reading.entries] == [
        ("weather", "file"),
        ("maps", "file"),
        ("utcp_manual", "http"),
    ]


def test_tags_and_a_response_schema_describe_a_tool():
    schema = {"type": "object", "properties": {"temp": {"type": "number"}, "condition": {"type": "string"}}}
    tags = ["weather", "current", "realtime", "outdoor"]
    (tool,) = read(
        [{"name": "a", "description": "Updated every 15 minutes.", "tags": tags, "response_schema": schema}]
    ).tools

    assert (tool.tags, tool.outputs, tool.description) == (tuple(tags), schema, "Updated every 15 minutes.")
