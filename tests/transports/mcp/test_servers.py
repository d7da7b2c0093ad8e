from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from utcp_bridge.auth.models import Credentials, parse_auth
from utcp_bridge.transports.mcp.servers import McpServer, McpServers, message_to, tool_object


@pytest.mark.parametrize(
    ("raw", "command", "args"),
    [
        ({"command": "npx", "args": ["-y", "x"]}, "npx", ("-y", "x")),
        ({"command": ["npx", "-y"], "args": ["x"]}, "npx", ("-y", "x")),
        ({"command": "npx -y 'a b'"}, "npx", ("-y", "a b")),
    ],
)
def test_a_command_may_be_words_a_list_or_a_line(raw: dict[str, Any], command: str, args: tuple[str, ...]) -> None:
    server = McpServer.model_validate(raw)
    assert (server.command, server.args) == (command, args)


@pytest.mark.parametrize("raw", [{}, {"command": "x", "url": "https://a.example"}, "text"])
def test_a_server_is_reached_in_exactly_one_way(raw: Any) -> None:
    with pytest.raises(ValidationError):
        McpServer.model_validate(raw)


def test_a_configuration_names_at_least_one_server_and_shows_no_secret() -> None:
    with pytest.raises(ValidationError, match="names no server"):
        McpServers.model_validate({"mcpServers": {}})
    server = McpServer.model_validate(
        {"url": "https://u:s3cret@a.example", "headers": {"X": "s3cret"}, "env": {"K": "s3cret"}}
    )
    assert "s3cret" not in repr(server)


def test_a_tool_keeps_what_it_says_of_itself() -> None:
    listed = {
        "name": "t",
        "title": "T",
        "inputSchema": {"type": "object", "x": 1},
        "outputSchema": {"type": "object"},
        "annotations": {"title": "Other"},
    }
    made = tool_object(listed, "s", flat=False)
    assert (made["name"], made["title"], made["tags"]) == ("s.t", "T", ["s"])
    assert (made["inputs"], made["outputs"]) == ({"type": "object", "x": 1}, {"type": "object"})
    bare = tool_object({"name": "t"}, "s", flat=True)
    assert (bare["name"], bare["inputs"]) == ("t", {"type": "object", "properties": {}})
    assert "outputs" not in bare


def test_a_token_goes_beside_the_headers_and_gives_way_to_one_of_theirs() -> None:
    server = {"url": "http://mcp.example/", "auth_token": "t0ken"}
    plain = McpServer.model_validate({**server, "headers": {"X-A": "1"}})
    assert plain.all_headers == {"X-A": "1", "Authorization": "Bearer t0ken"}
    own = McpServer.model_validate({**server, "headers": {"Authorization": "Basic x"}})
    assert own.all_headers == {"Authorization": "Basic x"}


def test_a_message_to_a_server_over_http_names_its_headers_alone():
    server = McpServer(url="https://mcp.example.com/mcp", headers={"X-Region": "eu"}, auth_token="abc")
    credentials = Credentials(parse_auth({"api_key": "${KEY}"}), frozenset({"https://mcp.example.com"}))
    request = message_to(server, "resources/read", {"uri": "memo://a"}, credentials)
    assert request.line == "POST https://mcp.example.com/mcp"
    assert request.fields == (("X-Region", "***"), ("Authorization", "***"), ("X-Api-Key", "${KEY}"))
    assert orjson.loads(request.messages[0])["params"] == {"uri": "memo://a"}
