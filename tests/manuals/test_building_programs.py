"""Local manuals run nothing unasked: however a manual comes in, its entry decides whether its tools start programs."""

import json
import sys
from pathlib import Path

import pytest
from tests.upstreams import mcp_server

from utcp_bridge import UtcpClient
from utcp_bridge.errors import PolicyError, UnknownTool, VariableNotFound
from utcp_bridge.model import JsonObject

pytestmark = pytest.mark.anyio

WORD = "A local manual may do that only if its entry says so."
SERVER = [str(Path(mcp_server.__file__)), "shop"]


def tools(marker: Path) -> list[JsonObject]:
    """Return a tool for each way in which a call template starts a program."""
    touch = {"command": sys.executable, "args": ["-c", f"open({str(marker)!r}, 'w').close()"]}
    templates = {
        "script": {"call_template_type": "cli", "commands": [{"command": f"touch {marker}"}]},
        "line": {"call_template_type": "cli", "command_name": f"touch {marker}"},
        "words": {"call_template_type": "cli", **touch},
        "server": {"call_template_type": "mcp", "config": {"mcpServers": {"s": touch}}},
        "flat": {"call_template_type": "mcp", **touch},
        "among": {
            "call_template_type": "mcp",
            "server": "s",
            "config": {"mcpServers": {"a": {"url": "https://a.example/mcp"}, "s": touch}},
        },
        "later": {"call_template_type": "mcp", "config": {"mcpServers": {"s": {**touch, "disabled": "${OFF}"}}}},
    }
    return [
        {"name": name, "inputs": {"type": "object", "properties": {}}, "tool_call_template": template}
        for name, template in templates.items()
    ]


def manual(marker: Path) -> JsonObject:
    return {"utcp_version": "1.0.1", "tools": tools(marker), "allowed_communication_protocols": ["cli", "mcp"]}


def as_v0(document: JsonObject) -> JsonObject:
    """Return the manual as UTCP v0 writes it."""
    providers = [
        {"provider_type": one["tool_call_template"]["call_template_type"], **one["tool_call_template"]}
        for one in document["tools"]
    ]
    for provider in providers:
        del provider["call_template_type"]
    v0 = [
        {"name": tool["name"], "inputs": tool["inputs"], "tool_provider": provider}
        for tool, provider in zip(document["tools"], providers, strict=True)
    ]
    return {"version": "0.1.1", "tools": v0}


FORMS = [
    "file",
    "file of v0",
    "text of v0",
    "object",
    "text",
    "one line",
    "bare",
    "folder",
    "providers file",
    "library",
]


async def client_of(form: str, document: JsonObject, folder: Path, **word: object) -> UtcpClient:
    """Return a client that has the manual `m` in this form."""
    path = folder / "m.json"
    path.write_text(json.dumps(as_v0(document) if "v0" in form else document))
    entry: JsonObject = {"name": "m", "call_template_type": "file", "file_path": str(path), **word}
    if form == "text of v0":
        entry = {"name": "m", "provider_type": "text", "file_path": str(path), **word}
    if form in {"object", "text"}:
        content = document if form == "object" else json.dumps(document)
        entry = {"name": "m", "call_template_type": "text", "content": content, **word}
    if form in {"bare", "folder"}:
        return await UtcpClient.create(path if form == "bare" else folder)
    if form == "providers file":
        (folder / "providers.json").write_text(json.dumps([entry]))
        return await UtcpClient.create({"providers_file_path": "providers.json"}, root=folder)
    if form == "library":
        client = await UtcpClient.create()
        await client.register_manual(entry)
        return client
    return await UtcpClient.create([str(path)] if form == "one line" else [entry], root=folder)  # type: ignore[list-item]


@pytest.mark.parametrize("form", FORMS)
async def test_a_local_manual_starts_no_program_without_the_word_of_its_entry(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is set later opens nothing either."""
    marker = tmp_path / "touched.marker"
    async with await client_of(form, manual(marker), tmp_path) as client:
        assert [tool.name for tool in client.tools()] == ["later"]
        [state] = client.report()
        refused = [fault for fault in state.faults if WORD in fault.what]
        assert len(refused) == len(tools(marker)) - 1, state.errors
        assert '"allowed_communication_protocols": ["cli", "mcp"]' in refused[0].remedy
        for tool in tools(marker):
            with pytest.raises((UnknownTool, VariableNotFound)):
                await client.call_tool(f"m.{tool['name']}", {})
        monkeypatch.setenv("m_OFF", "false")
        with pytest.raises(PolicyError, match=WORD):
            await client.call_tool("m.later", {})
    assert not marker.exists()


@pytest.mark.parametrize("word", [{"allowed_communication_protocols": ["cli"]}, {"trusted": True}])
@pytest.mark.parametrize("form", ["file", "text of v0", "object", "providers file", "library"])
async def test_either_word_of_the_entry_lets_a_local_manual_run_commands(
    form: str, word: JsonObject, tmp_path: Path
) -> None:
    marker = tmp_path / "touched.marker"
    async with await client_of(form, manual(marker), tmp_path, **word) as client:
        await client.call_tool("m.words", {})
    assert marker.exists()


async def test_a_word_for_commands_is_not_one_for_servers(tmp_path: Path) -> None:
    marker = tmp_path / "touched.marker"
    only = {"allowed_communication_protocols": ["cli"]}
    async with await client_of("object", manual(marker), tmp_path, **only) as client:
        assert {tool.name for tool in client.tools()} == {"script", "line", "words"}
        assert any("Its type mcp is not allowed" in fault.what for fault in client.report()[0].faults)


async def test_an_entry_that_starts_a_program_itself_is_the_operators_word(tmp_path: Path) -> None:
    printed = tmp_path / "printed.txt"
    printed.write_text(json.dumps({"utcp_version": "1.0.1", "tools": tools(tmp_path / "marker")[:3]}))
    command = {"name": "c", "call_template_type": "cli", "command": sys.executable}
    entries: list[JsonObject] = [
        {**command, "args": ["-c", f"print(open({str(printed)!r}).read())"]},
        {"name": "own", "call_template_type": "mcp", "command": sys.executable, "args": SERVER},
    ]
    servers = {"h": {"command": sys.executable, "args": SERVER}}
    async with await UtcpClient.create({"manual_call_templates": entries, "mcpServers": servers}) as client:
        assert await client.wait_loaded(20)
        assert {state.name: bool(state.tools) for state in client.report()} == {"c": True, "own": True, "h": True}
        await client.call_tool("c.words", {})
    assert (tmp_path / "marker").exists()


async def test_kinds_that_start_no_program_need_no_word(tmp_path: Path) -> None:
    """The rules of addresses are for them."""
    templates: list[JsonObject] = [
        {"call_template_type": "tcp", "host": "127.0.0.1", "port": 9},
        {"call_template_type": "udp", "host": "127.0.0.1", "port": 9},
        {"call_template_type": "websocket", "url": "ws://127.0.0.1:9"},
        {"call_template_type": "mcp", "url": "http://127.0.0.1:9/mcp"},
        {"call_template_type": "webrtc", "signaling_server": "ws://127.0.0.1:9", "peer_id": "p"},
    ]
    document = {
        "utcp_version": "1.0.1",
        "tools": [{"name": f"t{at}", "tool_call_template": one} for at, one in enumerate(templates)],
    }
    async with await client_of("file", document, tmp_path) as client:
        assert [tool.kind for tool in client.tools()] == ["tcp", "udp", "websocket", "mcp", "webrtc"], client.report()[
            0
        ].errors
