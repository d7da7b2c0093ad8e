"""The client of 1.x: registration, calls, and the parts that a program supplies."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.upstreams.http_service import HttpService

from utcp_bridge.compat.v1 import NAMES
from utcp_bridge.errors import VariableNotFound

pytestmark = pytest.mark.anyio

Client, Config, CallTemplate = NAMES["UtcpClient"], NAMES["UtcpClientConfig"], NAMES["CallTemplate"]
Http, Text, Manual, Tool = (NAMES[name] for name in ("HttpCallTemplate", "TextCallTemplate", "UtcpManual", "Tool"))


@pytest.fixture
async def service() -> AsyncIterator[HttpService]:
    async with HttpService() as service:
        yield service


@pytest.fixture
async def client() -> AsyncIterator[Any]:
    client = await Client.create()
    yield client
    await client.close()


async def test_tools_have_utcp_names_after_registration_and_are_called_by_them(
    client: Any, service: HttpService
) -> None:
    result = await client.register_manual(Http(name="my-peer", url=f"{service.base}/utcp"))
    assert (result.success, result.errors) == (True, [])
    assert "my_peer.echo" in [tool.name for tool in result.manual.tools]
    assert (await client.call_tool("my_peer.echo", tool_args={"text": "hi"}))["text"] == "hi"
    [part] = [part async for part in client.call_tool_streaming("my_peer.echo", {"text": "hi"})]
    assert part["text"] == "hi"
    tool = await client.config.tool_repository.get_tool("my_peer.echo")
    assert tool.tool_call_template.url.endswith("/echo")
    assert await client.deregister_manual("my_peer")
    assert not await client.deregister_manual("my_peer")
    assert await client.search_tools("echo") == []


async def test_errors_have_the_bases_of_the_reference_library(client: Any, service: HttpService) -> None:
    template = Http(name="peer", url=f"{service.base}/utcp")
    await client.register_manual(template)
    with pytest.raises(ValueError, match="already a manual named 'peer'"):
        await client.register_manual(template)
    with pytest.raises(ValueError, match="Tool not found"):
        await client.call_tool("peer.nothing", {})
    down = await client.register_manual(Http(name="down", url=f"{service.refusing}/utcp"))
    assert (down.success, len(down.errors)) == (False, 1)
    with pytest.raises(VariableNotFound) as caught:
        await client.register_manual(Http(name="far", url="https://${HOST}/utcp"))
    assert caught.value.variable_name == "far_HOST"
    protocol = NAMES["HttpCommunicationProtocol"]()
    with pytest.raises(aiohttp.ClientResponseError) as refused:
        await protocol.call_tool(None, "t", {}, Http(name="t", url=f"{service.base}/status/418"))
    assert refused.value.status == 418
    with pytest.raises(ValueError, match="requires a HttpCallTemplate"):
        await protocol.call_tool(None, "t", {}, Text(name="t", content="x"))


async def test_a_dump_of_a_registered_tool_has_no_secret_that_is_written_in_its_template(client: Any) -> None:
    auth = {"auth_type": "api_key", "api_key": "k-secret-1", "var_name": "X-Key"}
    template = {"call_template_type": "http", "url": "https://api.example.com/x", "auth": auth}
    content = json.dumps({"utcp_version": "1.0.1", "tools": [{"name": "t", "tool_call_template": template}]})
    result = await client.register_manual(Text(name="m", content=content))
    [tool] = result.manual.tools
    assert "k-secret-1" not in json.dumps(tool.model_dump())
    assert tool.tool_call_template.auth.auth_type == "api_key"


class Pigeon(CallTemplate):
    call_template_type: str = "pigeon"
    loft: str


class Pigeons(NAMES["CommunicationProtocol"]):
    closed = False

    async def register_manual(self, caller: Any, manual_call_template: Any) -> Any:
        tool = Tool(name="send", description="Send a letter.", tags=["post"], tool_call_template=manual_call_template)
        result = NAMES["RegisterManualResult"]
        return result(manual_call_template=manual_call_template, manual=Manual(tools=[tool]), success=True)

    async def deregister_manual(self, caller: Any, manual_call_template: Any) -> None:
        pass

    async def call_tool(self, caller: Any, tool_name: str, tool_args: dict, tool_call_template: Any) -> Any:
        return {"to": tool_args["to"], "from": tool_call_template.loft, "extra": "x" * 20}

    async def call_tool_streaming(self, caller: Any, tool_name: str, tool_args: dict, tool_call_template: Any) -> Any:
        yield await self.call_tool(caller, tool_name, tool_args, tool_call_template)

    async def close(self) -> None:
        type(self).closed = True


class Shelf(NAMES["InMemToolRepository"]):
    tool_repository_type: str = "shelf"


class Alphabet(NAMES["ToolSearchStrategy"]):
    tool_search_strategy_type: str = "alphabet"

    async def search_tools(self, tool_repository: Any, query: str, limit: int = 10, any_of_tags_required: Any = None):
        return sorted(await tool_repository.get_tools(), key=lambda tool: tool.name)[:limit]


async def test_a_program_may_bring_a_protocol_a_repository_a_strategy_and_processors() -> None:
    NAMES["register_communication_protocol_factory"]("pigeon", Pigeons, override=True)
    NAMES["register_call_template"]("pigeon", _Pigeons())
    config = Config(
        variables={"north_TOWER": "old tower"},
        tool_repository=Shelf(),
        tool_search_strategy=Alphabet(),
        post_processing=[{"tool_post_processor_type": "limit_strings", "limit": 5}],
        manual_call_templates=[{"name": "north", "call_template_type": "pigeon", "loft": "${TOWER}"}],
    )
    client = await Client.create(config=config)
    [tool] = await client.search_tools("anything", limit=1)
    assert (tool.name, type(tool.tool_call_template)) == ("north.send", Pigeon)
    assert await client.get_required_variables_for_registered_tool("north.send") == ["north_TOWER"]
    sent = await client.call_tool("north.send", {"to": "Ada"})
    assert (sent["to"], sent["from"][:3]) == ("Ada", "old")
    assert len(sent["extra"]) < 20
    await client.close()
    assert Pigeons.closed


class _Pigeons(NAMES["Serializer"]):
    def validate_dict(self, obj: dict) -> Pigeon:
        return Pigeon.model_validate(obj)

    def to_dict(self, obj: Pigeon) -> dict:
        return obj.model_dump()


async def test_a_subclass_that_forgets_a_method_cannot_be_made() -> None:
    for name in ("CommunicationProtocol", "ConcurrentToolRepository", "ToolSearchStrategy", "ToolPostProcessor"):
        with pytest.raises(TypeError, match="abstract"):
            type("Part", (NAMES[name],), {"__annotations__": {}})()


async def test_a_configuration_file_is_read_and_mistakes_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(FileNotFoundError):
        await Client.create(config=str(path))
    for text, words in (("[", "cannot be read"), ('{"manual_call_template": []}', "manual_call_template")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            await Client.create(config=str(path))
    content = json.dumps({"utcp_version": "1.0.1", "tools": []})
    document = {"manual_call_templates": [{"name": "m", "call_template_type": "text", "content": content}]}
    path.write_text(json.dumps(document), encoding="utf-8")
    client = await Client.create(str(tmp_path), str(path))
    assert [manual.tools for manual in await client.config.tool_repository.get_manuals()] == [[]]
    await client.close()


def test_a_decorated_function_is_in_the_manual() -> None:
    @NAMES["utcp_tool"](tool_call_template=Http(name="w", url="https://api.example.com/w"), tags=["weather"])
    def get_weather(location: str, days: int = 1) -> dict[str, Any]:
        """Return the weather."""
        return {"location": location, "days": days}

    manual = Manual.create_from_decorators(manual_version="2.0.0")
    tool = next(tool for tool in manual.tools if tool.name == "get_weather")
    dumped = NAMES["UtcpManualSerializer"]().to_dict(manual)
    assert (tool.inputs.properties["days"].type, tool.inputs.required) == ("integer", ["location"])
    assert dumped["manual_version"] == "2.0.0"
    assert Manual(**dumped).tools[-1].tool_call_template.url == "https://api.example.com/w"
    assert get_weather("Paris") == {"location": "Paris", "days": 1}
    assert "get_weather" not in [t.name for t in Manual.create_from_decorators(exclude=["get_weather"]).tools]


def test_a_converter_reads_an_openapi_description() -> None:
    operation = {"operationId": "list_books", "responses": {"200": {"description": "Books."}}}
    document = {"openapi": "3.0.3", "info": {"title": "Shop", "version": "1"}, "paths": {"/books": {"get": operation}}}
    converter = NAMES["OpenApiConverter"](document, spec_url="https://shop.example.com/openapi.json")
    [tool] = converter.convert().tools
    assert (tool.name, tool.tool_call_template.url) == ("list_books", "https://shop.example.com/books")
