"""The provider examples of the README of UTCP 0.1 that differ from those of 0.2.

Rows are (section, provider as written, type in v1, further fields that it must have).
"""

from __future__ import annotations

from typing import Any

__all__ = ["PROVIDERS"]

PROVIDERS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    (
        "0.1, HTTP provider",
        {
            "name": "my_rest_api",
            "provider_type": "http",
            "url": "https://api.example.com/utcp",
            "http_method": "POST",
            "content_type": "application/json",
            "auth": {
                "auth_type": "oauth2",
                "token_url": "https://api.example.com/oauth/token",
                "client_id": "your_client_id",
                "client_secret": "your_client_secret",
            },
        },
        "http",
        {"content_type": "application/json", "auth.client_id": "your_client_id"},
    ),
    (
        "0.1, SSE provider",
        {
            "name": "live_updates_service",
            "provider_type": "sse",
            "url": "https://api.example.com/utcp",
            "event_type": "message",
        },
        "sse",
        {"event_type": "message"},
    ),
    (
        "0.1, HTTP stream provider",
        {
            "name": "streaming_data_source",
            "provider_type": "http_stream",
            "url": "https://api.example.com/utcp",
            "http_method": "GET",
        },
        "streamable_http",
        {"url": "https://api.example.com/utcp", "http_method": "GET"},
    ),
    (
        "0.1, CLI provider, one dash",
        {"name": "my_cli_tool", "provider_type": "cli", "command_name": "my-command -utcp"},
        "cli",
        {"command_name": "my-command -utcp"},
    ),
    (
        "0.1, GraphQL provider",
        {
            "name": "my_graphql_api",
            "provider_type": "graphql",
            "url": "https://api.example.com/utcp",
            "operation_type": "query",
        },
        "graphql",
        {"operation_type": "query"},
    ),
    (
        "0.1, TCP provider",
        {"name": "raw_tcp_service", "provider_type": "tcp", "host": "localhost", "port": 12345},
        "tcp",
        {"host": "localhost", "port": 12345},
    ),
    (
        "0.1, UDP provider",
        {"name": "udp_telemetry_service", "provider_type": "udp", "host": "localhost", "port": 54321},
        "udp",
        {"host": "localhost", "port": 54321},
    ),
    (
        "0.1, MCP provider over HTTP",
        {
            "name": "my_mcp_service",
            "provider_type": "mcp",
            "config": {"mcpServers": {"my-server": {"transport": "http", "url": "http://localhost:8000/mcp"}}},
            "auth": {
                "auth_type": "oauth2",
                "token_url": "http://localhost:8000/token",
                "client_id": "test-client",
                "client_secret": "test-secret",
            },
        },
        "mcp",
        {"config.mcpServers.my-server.transport": "http", "auth.client_id": "test-client"},
    ),
    (
        "0.1, MCP provider without a transport",
        {
            "name": "my_mcp_server",
            "provider_type": "mcp",
            "config": {"mcpServers": {"server_one": {"command": "python", "args": ["-m", "my_mcp_server.main"]}}},
        },
        "mcp",
        {"config.mcpServers.server_one.args": ["-m", "my_mcp_server.main"]},
    ),
]
