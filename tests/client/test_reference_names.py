"""Names, keywords and errors of the UTCP reference library."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.upstreams import mcp_server
from tests.upstreams.http_service import HttpService

from utcp_bridge import UtcpClient, UtcpClientConfig
from utcp_bridge.errors import ConfigError, Rejected, UnknownTool
from utcp_bridge.manuals.repository import InMemoryToolRepository, ToolRepository
from utcp_bridge.model import ContentBlocks
from utcp_bridge.providers import HttpProvider
from utcp_bridge.search import ToolSearchStrategy
from utcp_bridge.search.lexical import Bm25Strategy

pytestmark = pytest.mark.anyio

TEXT = {
    "utcp_version": "1.0.1",
    "tools": [{"name": "note", "tool_call_template": {"call_template_type": "text", "content": "hello"}}],
}
NOTES: dict[str, Any] = {"name": "notes", "call_template_type": "text", "content": TEXT}
PROVIDERS = [{"name": "old", "provider_type": "text", "file_path": "manual.json"}]


def providers_file(folder: Path) -> Path:
    (folder / "manual.json").write_text(json.dumps(TEXT), encoding="utf-8")
    path = folder / "providers.json"
    path.write_text(json.dumps(PROVIDERS), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", [dict, UtcpClientConfig])
async def test_a_providers_file_is_loaded_from_a_dict_and_from_a_model(form: Any, tmp_path: Path) -> None:
    config = form(providers_file_path=str(providers_file(tmp_path)), variables={"A": "1"})
    async with await UtcpClient.create(config, root_dir=str(tmp_path)) as client:
        assert [tool.qualified_name for tool in client.tools()] == ["old.note"]
        assert client.config.variables == {"A": "1"}


@pytest.mark.parametrize("form", [dict, UtcpClientConfig])
async def test_a_providers_file_that_is_missing_or_unreadable_is_an_error(form: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"providers_file_path: .*none\.json") as caught:
        await UtcpClient.create(form(providers_file_path="none.json"), root_dir=tmp_path)
    assert isinstance(caught.value, ConfigError)
    (tmp_path / "bad.json").write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.json") as refused:
        await UtcpClient.create(form(providers_file_path="bad.json"), root_dir=tmp_path)
    assert not isinstance(refused.value, FileNotFoundError)


async def test_a_configuration_file_that_is_missing_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.json: There is no such file\."):
        await UtcpClient.create(tmp_path / "none.json")


async def test_keywords_of_the_reference_library_are_those_of_the_client(tmp_path: Path) -> None:
    repository, strategy = InMemoryToolRepository(), Bm25Strategy()
    client = await UtcpClient.create(tool_repository=repository, search_strategy=strategy, root_dir=str(tmp_path))
    states = await client.register_manuals([NOTES, {**NOTES, "name": "more"}])
    assert [(state.name, state.success, len(state.manual.tools)) for state in states] == [
        ("notes", True, 1),
        ("more", True, 1),
    ]
    assert states[0].manual_call_template["name"] == "notes"
    assert client.tool_repository is repository
    assert [one.qualified_name for one in await client.search_tools("note", any_of_tags_required=["x"])] == []
    assert await client.call_tool("notes.note", tool_args={}) == "hello"
    assert [part async for part in client.call_tool_streaming("notes.note", tool_args={})] == ["hello"]
    assert await client.get_required_variables_for_tool("notes.note") == []
    await client.close()
    with pytest.raises(TypeError, match="unexpected keyword argument 'root_dri'"):
        await UtcpClient.create(root_dri=tmp_path)  # type: ignore[call-arg]


async def test_errors_have_the_bases_of_the_reference_library() -> None:
    async with await UtcpClient.create() as client:
        await client.register_manual(NOTES)
        with pytest.raises(ValueError, match="two manuals named 'notes'"):
            await client.register_manual(NOTES)
        with pytest.raises(ValueError, match="two manuals named 'notes'"):
            await client.register_manuals([NOTES, {**NOTES, "name": "more"}])
        assert client.find("more.note") is not None
        with pytest.raises(ValueError, match="There is no tool") as caught:
            await client.call_tool("notes.nothing", {})
        assert isinstance(caught.value, UnknownTool)


async def test_a_dumped_tool_has_a_name_that_call_tool_accepts_and_no_credentials() -> None:
    auth = {"auth_type": "api_key", "api_key": "k-secret-1", "var_name": "X-Key", "location": "header"}
    async with HttpService() as service, await UtcpClient.create() as client:
        entry = {"name": "peer", "call_template_type": "http", "url": f"{service.base}/utcp", "auth": auth}
        await client.register_manual({**entry, "auth_tools": auth})
        tool = client.find_tool("peer.echo")
        dumped = tool.model_dump(exclude_none=True)
        assert "k-secret-1" not in json.dumps(dumped)
        assert (await client.call_tool(dumped["name"], {"text": "hi"}))["text"] == "hi"
        assert dumped["inputs"]["properties"]["text"]
        assert (tool.tool_call_template["call_template_type"], tool.tool_provider["provider_type"]) == ("http", "http")
        assert tool.tool_provider["url"].endswith("/echo")


def test_the_fields_of_a_provider_are_attributes() -> None:
    provider = HttpProvider(name="weather", url="https://api.example.com/utcp")
    provider.name = "other"
    assert (provider.url, provider["name"], provider.provider_type) == (provider["url"], "other", "http")
    with pytest.raises(AttributeError, match="HttpProvider has no field 'headers'"):
        _ = provider.headers


@pytest.mark.parametrize("base", [ToolRepository, ToolSearchStrategy])
def test_a_part_that_forgets_a_method_cannot_be_made(base: type) -> None:
    with pytest.raises(TypeError, match="abstract method"):
        type("Part", (base,), {"get": lambda _self, _name: None})()


async def test_results_of_mcp_servers_are_plain_values() -> None:
    server = {"command": sys.executable, "args": [mcp_server.__file__, "s"]}
    entry = {"name": "m", "call_template_type": "mcp", "config": {"mcpServers": {"s": server}}}
    async with await UtcpClient.create({"manual_call_templates": [entry]}, wait=60) as client:
        assert await client.call_tool("m.s.echo", {"text": "x"}) == {"text": "x"}
        blocks = (await client.call("m.s.echo", {"text": "x"})).value
        assert isinstance(blocks, ContentBlocks)
        with pytest.raises(Rejected) as caught:
            await client.call_tool("m.s.fail", {})
        assert caught.value.status == "isError"
        with pytest.raises(Rejected):
            [part async for part in client.call_tool_streaming("m.s.fail", {})]
