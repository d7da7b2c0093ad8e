"""The client of 0.x: providers, calls, and the parts that a program supplies."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.upstreams.http_service import HttpService

from utcp_bridge.compat.v0 import NAMES
from utcp_bridge.errors import VariableNotFound

pytestmark = pytest.mark.anyio

Client, Config, Http, Tool = (NAMES[name] for name in ("UtcpClient", "UtcpClientConfig", "HttpProvider", "Tool"))


@pytest.fixture
async def service() -> AsyncIterator[HttpService]:
    async with HttpService() as service:
        yield service


async def test_a_providers_file_is_loaded_and_mistakes_are_errors(service: HttpService, tmp_path: Path, capsys) -> None:
    path = tmp_path / "providers.json"
    with pytest.raises(FileNotFoundError, match="Providers file not found"):
        await Client.create({"providers_file_path": str(path)})
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="must contain a JSON array"):
        await Client.create(Config(providers_file_path=str(path)))
    with pytest.raises(ValueError, match="providers_file_pth"):
        await Client.create({"providers_file_pth": str(path)})
    good = {"name": "peer", "provider_type": "http", "url": f"{service.base}/utcp"}
    path.write_text(json.dumps([good, {"name": "bad", "provider_type": "http"}]), encoding="utf-8")
    client = await Client.create(Config(providers_file_path=str(path)))
    assert [provider.name for provider in await client.tool_repository.get_providers()] == ["peer"]
    assert "Error registering provider 'bad'" in capsys.readouterr().out
    [tool] = [tool for tool in await client.search_tools("echo", limit=0) if tool.name == "peer.echo"]
    assert tool.tool_provider.provider_type == "http"
    assert (await client.call_tool(tool.name, {"text": "hi"}))["text"] == "hi"
    await client.close()


async def test_errors_have_the_bases_of_the_reference_library(service: HttpService) -> None:
    client = await Client.create()
    provider = Http(name="my.peer", url=f"{service.base}/utcp")
    await client.register_tool_provider(provider)
    for wrong, words in (("my_peer.nothing", "Tool not found"), ("other.echo", "Provider not found")):
        with pytest.raises(ValueError, match=words):
            await client.call_tool(wrong, {})
    with pytest.raises(ValueError, match="already a provider named 'my_peer'"):
        await client.register_tool_provider(provider)
    with pytest.raises(VariableNotFound):
        await client.register_tool_provider(Http(name="far", url="https://${HOST}/utcp"))
    with pytest.raises(ValueError, match="Provider type not supported: pigeon"):
        await client.register_tool_provider(NAMES["Provider"](name="p", provider_type="pigeon"))
    await client.deregister_tool_provider("my_peer")
    with pytest.raises(ValueError, match="Provider not found"):
        await client.deregister_tool_provider("my_peer")
    await client.close()


class Loft(NAMES["ClientTransportInterface"]):
    async def register_tool_provider(self, manual_provider: Any) -> list[Any]:
        return [Tool(name="send", description="Send a letter.", tool_provider=manual_provider)]

    async def deregister_tool_provider(self, manual_provider: Any) -> None:
        pass

    async def call_tool(self, tool_name: str, arguments: dict, tool_provider: Any) -> Any:
        return [tool_name, arguments, tool_provider.loft]


class Last(NAMES["ToolSearchStrategy"]):
    def __init__(self, repository: Any) -> None:
        self.repository = repository

    async def search_tools(self, query: str, limit: int = 10) -> list[Any]:
        return (await self.repository.get_tools())[-limit:]


async def test_a_program_may_bring_a_transport_a_repository_and_a_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Client.transports, "pigeon", Loft())
    repository = NAMES["InMemToolRepository"]()
    client = await Client.create({"variables": {"north_TOWER": "tower"}}, repository, Last(repository))
    await client.register_tool_provider(NAMES["Provider"](name="north", provider_type="pigeon", loft="${TOWER}"))
    [tool] = await client.search_tools("anything", limit=1)
    assert tool.name == "north.send"
    assert await client.call_tool("north.send", {"to": "Ada"}) == ["north.send", {"to": "Ada"}, "tower"]
    await repository.remove_tool("north.send")
    assert await client.search_tools("anything", limit=1) == []
    await client.close()


@pytest.mark.parametrize("name", ["ClientTransportInterface", "ToolRepository", "ToolSearchStrategy"])
def test_a_subclass_that_forgets_a_method_cannot_be_made(name: str) -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Part", (NAMES[name],), {})()


async def test_a_transport_finds_and_calls_tools_by_itself(service: HttpService, tmp_path: Path) -> None:
    transport = NAMES["HttpClientTransport"](logger=print)
    tools = await transport.register_tool_provider(Http(name="peer", url=f"{service.base}/utcp"))
    echo = next(tool for tool in tools if tool.name == "echo")
    assert (await transport.call_tool("echo", {"text": "hi"}, echo.tool_provider))["text"] == "hi"
    with pytest.raises(ValueError, match="can only be used with"):
        await transport.register_tool_provider(NAMES["TextProvider"](name="t", file_path="x.json"))
    text = NAMES["TextTransport"](base_path=str(tmp_path))
    with pytest.raises(FileNotFoundError):
        await text.register_tool_provider(NAMES["TextProvider"](name="t", file_path="x.json"))


def test_a_decorated_function_is_in_the_manual() -> None:
    @NAMES["utcp_tool"](tool_provider=Http(name="w", url="https://api.example.com/w"))
    def get_weather(location: str) -> str:
        """Return the weather."""
        return location

    manual = NAMES["UtcpManual"].create(version="2.0")
    tool = manual.model_dump()["tools"][-1]
    assert (tool["name"], tool["description"], tool["tags"]) == ("get_weather", "Return the weather.", ["utcp"])
    assert tool["inputs"]["properties"]["location"]["type"] == "string"
    assert tool["tool_provider"]["url"] == "https://api.example.com/w"
    assert get_weather("Paris") == "Paris"
