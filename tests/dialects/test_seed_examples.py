"""Every provider example of UTCP's own documents: the README of 0.1 and 0.2, read with the meaning they state.

The first version's own rows are in tests/support/seed_v01.py; manuals, forms of auth and the extended dialect are in
test_seed_manuals.py. A path such as "auth.api_key" in an expectation names a member of the entry that is read.
"""

import pytest
from tests.support.seed_v01 import PROVIDERS as V01

from utcp_bridge.dialects import Shape, detect, read_config
from utcp_bridge.transports.registry import TransportRegistry

OAUTH = {
    "auth_type": "oauth2",
    "token_url": "https://api.example.com/oauth/token",
    "client_id": "your_client_id",
    "client_secret": "your_client_secret",
}
MCP_OAUTH = {
    **OAUTH,
    "token_url": "http://localhost:8000/token",
    "client_id": "test-client",
    "client_secret": "test-secret",
}
GRAPHQL_OAUTH = {**OAUTH, "client_id": "graphql_client", "client_secret": "secret_123"}
HEADER_FIELDS = ["LLM_generated_param_to_be_sent_as_header"]

# (section, provider as written, type in v1, what else it must have come to mean)
PROVIDERS = [
    (
        "0.1 and 0.2, using the client",
        {
            "name": "cool_public_apis",
            "provider_type": "http",
            "url": "http://utcp.io/public-apis-manual",
            "http_method": "GET",
        },
        "http",
        {"name": "cool_public_apis", "http_method": "GET"},
    ),
    (
        "0.2, HTTP provider",
        {
            "name": "my_rest_api",
            "provider_type": "http",
            "url": "https://api.example.com/utcp",
            "http_method": "POST",
            "content_type": "application/json",
            "headers": {"User-Agent": "MyApp/1.0"},
            "body_field": "LLM_generated_param_to_be_sent_as_body",
            "header_fields": HEADER_FIELDS,
            "auth": OAUTH,
        },
        "http",
        {"auth": OAUTH, "header_fields": HEADER_FIELDS, "headers.User-Agent": "MyApp/1.0"},
    ),
    (
        "0.2, OpenAPI conversion",
        {
            "name": "open_library_api",
            "provider_type": "http",
            "url": "https://openlibrary.org/dev/docs/api/openapi.json",
        },
        "http",
        {"url": "https://openlibrary.org/dev/docs/api/openapi.json"},
    ),
    (
        "0.2, URL path parameters",
        {
            "name": "openlibrary_api",
            "provider_type": "http",
            "url": "https://openlibrary.org/api/volumes/brief/{key_type}/{value}.json",
            "http_method": "GET",
        },
        "http",
        {"url": "https://openlibrary.org/api/volumes/brief/{key_type}/{value}.json"},
    ),
    (
        "0.2, multiple path parameters",
        {
            "name": "posts",
            "provider_type": "http",
            "url": "https://api.example.com/users/{user_id}/posts/{post_id}/comments/{comment_id}",
        },
        "http",
        {"url": "https://api.example.com/users/{user_id}/posts/{post_id}/comments/{comment_id}"},
    ),
    (
        "0.2, SSE provider",
        {
            "name": "live_updates_service",
            "provider_type": "sse",
            "url": "https://api.example.com/stream",
            "event_type": "message",
            "reconnect": True,
            "retry_timeout": 30000,
            "headers": {"Accept": "text/event-stream"},
            "body_field": None,
            "header_fields": HEADER_FIELDS,
            "auth": {
                "auth_type": "api_key",
                "api_key": "your_api_key",
                "var_name": "Authorization",
                "location": "header",
            },
        },
        "sse",
        {"auth.api_key": "your_api_key", "retry_timeout": 30000, "body_field": None},
    ),
    (
        "0.2, HTTP stream provider",
        {
            "name": "streaming_data_source",
            "provider_type": "http_stream",
            "url": "https://api.example.com/stream",
            "http_method": "POST",
            "content_type": "application/octet-stream",
            "chunk_size": 4096,
            "timeout": 60000,
            "headers": {"Accept": "application/octet-stream"},
            "body_field": "data",
            "header_fields": HEADER_FIELDS,
            "auth": {"auth_type": "basic", "username": "your_username", "password": "your_password"},
        },
        "streamable_http",
        {"timeout": 60.0, "chunk_size": 4096, "auth.username": "your_username"},
    ),
    (
        "0.2, CLI provider",
        {
            "name": "my_cli_tool",
            "provider_type": "cli",
            "command_name": "my-command --utcp",
            "env_vars": {"MY_API_KEY": "${API_KEY}", "DEBUG": "1"},
            "working_dir": "/path/to/working/directory",
        },
        "cli",
        {"command_name": "my-command --utcp", "env_vars.MY_API_KEY": "${API_KEY}"},
    ),
    (
        "0.1 and 0.2, WebSocket provider",
        {"name": "realtime_chat_service", "provider_type": "websocket", "url": "wss://api.example.com/socket"},
        "websocket",
        {"url": "wss://api.example.com/socket"},
    ),
    (
        "0.1 and 0.2, gRPC provider",
        {
            "name": "my_grpc_service",
            "provider_type": "grpc",
            "host": "grpc.example.com",
            "port": 50051,
            "service_name": "MyService",
            "method_name": "MyMethod",
            "use_ssl": True,
        },
        "grpc",
        {"service_name": "MyService", "method_name": "MyMethod", "use_ssl": True},
    ),
    (
        "0.2, GraphQL provider",
        {
            "name": "my_graphql_api",
            "provider_type": "graphql",
            "url": "https://api.example.com/graphql",
            "operation_type": "query",
            "operation_name": "GetUserData",
            "headers": {"Content-Type": "application/json"},
            "header_fields": HEADER_FIELDS,
            "auth": GRAPHQL_OAUTH,
        },
        "graphql",
        {"operation_name": "GetUserData", "auth": GRAPHQL_OAUTH},
    ),
    (
        "0.2, TCP provider, basic",
        {
            "name": "tcp_service",
            "provider_type": "tcp",
            "host": "localhost",
            "port": 12345,
            "timeout": 30000,
            "request_data_format": "json",
            "framing_strategy": "stream",
            "response_byte_format": "utf-8",
        },
        "tcp",
        {"timeout": 30.0, "framing_strategy": "stream"},
    ),
    (
        "0.2, TCP provider, length prefix",
        {
            "name": "binary_tcp_service",
            "provider_type": "tcp",
            "host": "192.168.1.50",
            "port": 8080,
            "framing_strategy": "length_prefix",
            "length_prefix_bytes": 4,
            "length_prefix_endian": "big",
            "request_data_format": "json",
            "response_byte_format": "utf-8",
        },
        "tcp",
        {"length_prefix_bytes": 4, "length_prefix_endian": "big"},
    ),
    (
        "0.2, TCP provider, delimiter",
        {
            "name": "line_based_tcp_service",
            "provider_type": "tcp",
            "host": "tcp.example.com",
            "port": 9999,
            "framing_strategy": "delimiter",
            "message_delimiter": "\n",
            "request_data_format": "text",
            "request_data_template": "GET UTCP_ARG_resource_UTCP_ARG",
            "response_byte_format": "ascii",
        },
        "tcp",
        {"message_delimiter": "\n", "request_data_template": "GET UTCP_ARG_resource_UTCP_ARG"},
    ),
    (
        "0.2, TCP provider, fixed length",
        {
            "name": "fixed_protocol_service",
            "provider_type": "tcp",
            "host": "legacy.example.com",
            "port": 7777,
            "framing_strategy": "fixed_length",
            "fixed_message_length": 1024,
            "request_data_format": "text",
            "response_byte_format": None,
        },
        "tcp",
        {"fixed_message_length": 1024, "response_byte_format": None},
    ),
    (
        "0.2, UDP provider",
        {
            "name": "udp_telemetry_service",
            "provider_type": "udp",
            "host": "localhost",
            "port": 54321,
            "timeout": 30000,
            "request_data_format": "json",
            "number_of_response_datagrams": 1,
            "response_byte_format": "utf-8",
        },
        "udp",
        {"timeout": 30.0, "number_of_response_datagrams": 1},
    ),
    (
        "0.2, UDP provider, text",
        {
            "name": "legacy_udp_service",
            "provider_type": "udp",
            "host": "192.168.1.100",
            "port": 9999,
            "request_data_format": "text",
            "request_data_template": "CMD:UTCP_ARG_command_UTCP_ARG;VALUE:UTCP_ARG_value_UTCP_ARG",
            "number_of_response_datagrams": 2,
            "response_byte_format": "ascii",
        },
        "udp",
        {"number_of_response_datagrams": 2, "response_byte_format": "ascii"},
    ),
    (
        "0.1 and 0.2, WebRTC provider",
        {
            "name": "p2p_data_transfer",
            "provider_type": "webrtc",
            "signaling_server": "https://signaling.example.com",
            "peer_id": "remote-peer-id",
        },
        "webrtc",
        {"peer_id": "remote-peer-id"},
    ),
    (
        "0.2, MCP provider over HTTP",
        {
            "name": "my_mcp_http_service",
            "provider_type": "mcp",
            "config": {"mcpServers": {"my-server": {"transport": "http", "url": "http://localhost:8000/mcp"}}},
            "auth": MCP_OAUTH,
        },
        "mcp",
        {"config.mcpServers.my-server.url": "http://localhost:8000/mcp", "auth": MCP_OAUTH},
    ),
    (
        "0.2, MCP provider over stdio",
        {
            "name": "my_mcp_stdio_service",
            "provider_type": "mcp",
            "config": {
                "mcpServers": {
                    "local-server": {
                        "transport": "stdio",
                        "command": "python",
                        "args": ["-m", "my_mcp_server.main"],
                        "env": {"API_KEY": "${MCP_API_KEY}", "DEBUG": "1"},
                    }
                }
            },
        },
        "mcp",
        {"config.mcpServers.local-server.env.API_KEY": "${MCP_API_KEY}"},
    ),
    (
        "0.1 and 0.2, text provider",
        {"name": "my_local_tools", "provider_type": "text", "file_path": "/path/to/my/tools.json"},
        "file",
        {"file_path": "/path/to/my/tools.json"},
    ),
    (
        "the encyclopedia's example",
        {"name": "weather_service", "provider_type": "http", "url": "https://example.com/utcp", "http_method": "GET"},
        "http",
        {"name": "weather_service"},
    ),
    *V01,
]
IDS = [f"{section}: {kind}" for section, _, kind, _ in PROVIDERS]


def member(value, path):
    for step in path.split("."):
        value = value[step]
    return value


@pytest.mark.parametrize(("section", "provider", "kind", "expected"), PROVIDERS, ids=IDS)
def test_a_documented_provider_means_what_its_document_says(section, provider, kind, expected):
    assert detect(provider) is Shape.TEMPLATE
    reading = read_config([provider], where=section)

    assert reading.faults == []
    assert reading.dialect == "v0.x"
    entry = reading.entries[0].template
    assert entry["call_template_type"] == kind
    assert "provider_type" not in entry
    assert {path: member(entry, path) for path in expected} == expected
    kept = {key: value for key, value in entry.items() if key not in {"call_template_type", "timeout"}}
    assert kept == {key: value for key, value in provider.items() if key not in {"provider_type", "timeout"}}


@pytest.mark.parametrize(("section", "provider", "kind", "expected"), PROVIDERS, ids=IDS)
def test_the_transport_reads_every_documented_field(section, provider, kind, expected):
    reading = read_config([provider], where=section, known_fields=TransportRegistry().fields)

    assert [str(fault) for fault in reading.faults] == []


def test_a_documented_provider_without_a_type_is_a_fault_that_proposes_one():
    broken = {"name": "my_local_tools", "signaling_server": "wss://signaling.example.com", "peer_id": "unique-peer-id"}
    reading = read_config([broken, PROVIDERS[0][1]], where="0.1, text provider")

    assert [entry.name for entry in reading.entries] == ["cool_public_apis"]
    assert 'Did you mean "call_template_type": "webrtc"?' in str(reading.faults[0])


def test_the_documented_client_configuration_is_read():
    reading = read_config(
        {
            "providers_file_path": "/path/to/your/providers.json",
            "load_variables_from": [{"type": "dotenv", "env_file_path": ".env"}],
        },
        where="0.2, initialization",
    )

    assert reading.faults == []
    assert reading.client == {
        "providers_file_path": "/path/to/your/providers.json",
        "load_variables_from": [{"variable_loader_type": "dotenv", "env_file_path": ".env"}],
    }
