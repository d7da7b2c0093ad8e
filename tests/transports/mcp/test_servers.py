import base64
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.model import Binary, ContentBlocks
from utcp_bridge.transports.mcp.servers import (
    McpServer,
    McpServers,
    ResourceTemplate,
    command_words,
    message_to,
    resource_tools,
    resource_value,
    tool_object,
)


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


def test_the_path_of_a_command_may_contain_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    program = tmp_path / "My App" / "run it"
    program.parent.mkdir()
    program.touch()
    (tmp_path / "bin").touch()
    assert command_words(str(program)) == [str(program)]
    assert command_words(f"{tmp_path}/bin a 'b c'") == [f"{tmp_path}/bin", "a", "b c"]
    assert command_words(f"'{program}' a") == [str(program), "a"]
    for gone in ("/No App/run", "~/No App/run", "C:\\Program Files\\run.exe", "C:\\run.exe"):
        assert command_words(gone) == [gone]
    server = McpServer.model_validate({"command": "~/My App/run it"})
    assert (server.command, server.args) == (str(program), ())
    with pytest.raises(ValueError, match="closing quotation"):
        command_words("run 'it")


def test_numbers_and_truth_values_are_text() -> None:
    server = McpServer.model_validate({"command": "x", "args": [1, True, "a"], "env": {"A": 1, "B": False, "C": 1.5}})
    assert (server.args, dict(server.env)) == (("1", "true", "a"), {"A": "1", "B": "false", "C": "1.5"})


@pytest.mark.parametrize("raw", [{}, {"command": "x", "url": "https://a.example"}, "text"])
def test_a_server_has_either_a_command_or_a_url(raw: Any) -> None:
    with pytest.raises(ValidationError):
        McpServer.model_validate(raw)


def test_a_configuration_names_at_least_one_server_and_shows_no_secret() -> None:
    with pytest.raises(ValidationError, match="must name at least one server"):
        McpServers.model_validate({"mcpServers": {}})
    server = McpServer.model_validate(
        {"url": "https://u:s3cret@a.example", "headers": {"X": "s3cret"}, "env": {"K": "s3cret"}}
    )
    assert "s3cret" not in repr(server)


def test_a_tool_keeps_its_description_and_schemas() -> None:
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


def test_a_token_is_added_to_the_headers_unless_they_have_one() -> None:
    server = {"url": "http://mcp.example/", "auth_token": "t0ken"}
    plain = McpServer.model_validate({**server, "headers": {"X-A": "1"}})
    assert plain.all_headers == {"X-A": "1", "Authorization": "Bearer t0ken"}
    own = McpServer.model_validate({**server, "headers": {"Authorization": "Basic x"}})
    assert own.all_headers == {"Authorization": "Basic x"}


def test_a_preview_over_http_shows_only_the_names_of_headers():
    server = McpServer(url="https://mcp.example.com/mcp", headers={"X-Region": "eu"}, auth_token="abc")
    credentials = Credentials(parse_auth({"api_key": "${KEY}"}), frozenset({"https://mcp.example.com"}))
    request = message_to(server, "resources/read", {"uri": "memo://a"}, credentials)
    assert request.line == "POST https://mcp.example.com/mcp"
    assert request.fields == (("X-Region", "***"), ("Authorization", "***"), ("X-Api-Key", "${KEY}"))
    assert orjson.loads(request.messages[0])["params"] == {"uri": "memo://a"}


def test_each_resource_is_a_tool_without_arguments_with_its_own_name() -> None:
    resources = [
        {"name": "a b", "uri": "x://1"},
        {"name": "a.b", "uri": "x://2", "description": "Two."},
        {"uri": "x://é"},
    ]
    first, second, third = resource_tools("s", resources, [], flat=False)
    assert [tool["name"] for tool in (first, second, third)] == ["s.resource_a_b", "s.resource_a_b_2", "s.resource_x"]
    assert (first["description"], second["description"]) == ("Read x://1.", "Two.")
    assert first["inputs"]["properties"] == {}
    assert second["overlay"] == {"server": "s", "resource_uri": "x://2"}


def test_a_templates_variables_are_arguments() -> None:
    template = ResourceTemplate({"name": "note", "uriTemplate": "x://{id}{?lang}"}, {"id": True, "lang": False})
    [tool] = resource_tools("s", [], [template], flat=True)
    assert tool["name"] == "resource_note"
    assert tool["inputs"]["required"] == ["id"]
    assert set(tool["inputs"]["properties"]) == {"id", "lang"}


def test_one_part_is_text_or_bytes_and_several_parts_are_blocks() -> None:
    text, blob = {"uri": "x://1", "text": "hi"}, {"uri": "x://1", "blob": base64.b64encode(b"\x00").decode()}
    assert resource_value([text]) == "hi"
    assert resource_value([blob]) == Binary(b"\x00", "application/octet-stream")
    assert resource_value([text, blob]).content[0] == {"type": "resource", "resource": text}
    assert isinstance(resource_value([{"uri": "x://1", "blob": "no base64!"}]), ContentBlocks)
    assert resource_value([]).content == []
