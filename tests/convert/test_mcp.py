"""MCP servers as manuals, with real servers over stdio and HTTP."""

import sys
from pathlib import Path

import pytest
from tests.upstreams import mcp_server

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.convert.mcp import mcp_manual
from utcp_bridge.convert.outcome import Wishes
from utcp_bridge.dialects.documents import write_document
from utcp_bridge.errors import ConfigError, UtcpError

pytestmark = pytest.mark.anyio


def server(name, *manner, **fields):
    return {"command": sys.executable, "args": [mcp_server.__file__, name, *manner], **fields}


async def test_the_tools_of_a_server_can_be_called_from_the_manual_alone(tmp_path):
    converted = await mcp_manual({"alpha": server("alpha")}, name="alpha", wishes=Wishes(), root=tmp_path)
    assert converted.notes == []
    assert converted.document["info"] == {"title": "alpha"}
    (tmp_path / "m.json").write_text(write_document(converted.document), encoding="utf-8")

    async with await UtcpClient.create(str(tmp_path / "m.json")) as client:
        assert [tool.name for tool in client.tools()] == sorted(tool["name"] for tool in converted.tools)
        echo = client.find("m.echo")
        assert echo is not None
        assert echo.inputs["x-kept"] is True
        assert echo.annotations["readOnlyHint"] is True
        assert (await client.call_tool("m.echo", {"text": "hi"})).structured == {"text": "hi"}


async def test_two_servers_keep_their_tools_apart(tmp_path):
    servers = {"alpha": server("alpha"), "beta": server("beta")}
    converted = await mcp_manual(servers, name="both", wishes=Wishes(), root=tmp_path)
    names = [tool["name"] for tool in converted.tools]
    assert {"alpha.who", "beta.who"} <= set(names)
    (tmp_path / "both.yaml").write_text(write_document(converted.document, "yaml"), encoding="utf-8")

    async with await UtcpClient.create(str(tmp_path / "both.yaml")) as client:
        said = [await client.call_tool(f"both.{name}.who") for name in servers]
    assert [one.content[0]["text"] for one in said] == ["alpha", "beta"]


async def test_values_that_may_be_secret_become_variables(tmp_path, monkeypatch):
    servers = {
        "alpha": server("alpha", env={"TOKEN": "s3cret", "MODE": "${MODE}"}),
        "beta": server("beta", env={"TOKEN": "s3cret-2"}),
    }
    monkeypatch.setenv("MODE", "quiet")
    converted = await mcp_manual(servers, name="m", wishes=Wishes(), root=tmp_path)
    text = write_document(converted.document)
    assert "s3cret" not in text
    assert "${ALPHA_TOKEN}" in text
    assert "${BETA_TOKEN}" in text
    assert "${MODE}" in text
    assert [note.severity for note in converted.notes] == ["warning"]
    assert "TOKEN" in converted.notes[0].what

    kept = await mcp_manual(servers, name="m", wishes=Wishes(keep_values=True), root=tmp_path)
    assert "s3cret-2" in write_document(kept.document)
    assert kept.notes == []


async def test_a_header_keeps_its_scheme_before_the_variable(tmp_path):
    async with mcp_server.http_server("far") as url:
        entry = {"url": url, "headers": {"Authorization": "Bearer abc", "X-Key": "k"}}
        converted = await mcp_manual({"far": entry}, name="far", wishes=Wishes(), root=tmp_path)
    [written] = converted.tools[0]["tool_call_template"]["config"]["mcpServers"].values()
    assert written["headers"] == {"Authorization": "Bearer ${AUTHORIZATION}", "X-Key": "${X_KEY}"}


async def test_a_server_that_does_not_come_up_is_a_note_unless_it_is_the_only_one(tmp_path):
    missing = {"command": "no-such-program"}
    converted = await mcp_manual({"a": server("a"), "b": missing}, name="m", wishes=Wishes(), root=tmp_path)
    assert [note.severity for note in converted.notes] == ["error"]
    assert "no-such-program" in str(converted.notes[0]) or "'b'" in str(converted.notes[0])
    assert all(tool["name"].startswith("a.") for tool in converted.tools)
    with pytest.raises(UtcpError, match="'b'"):
        await mcp_manual({"b": missing}, name="m", wishes=Wishes(), root=tmp_path)


@pytest.mark.parametrize("servers", [{}, [], "x", None])
async def test_what_names_no_server_is_refused(servers):
    with pytest.raises(ConfigError, match="names no MCP server"):
        await mcp_manual(servers, name="m", wishes=Wishes(), root=Path())


async def test_a_server_without_command_or_url_is_refused():
    with pytest.raises(ConfigError, match="either `command` or `url`"):
        await mcp_manual({"a": {"args": []}}, name="m", wishes=Wishes(), root=Path())
