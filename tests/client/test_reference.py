"""The client under the names of the UTCP reference libraries."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel
from tests.upstreams.http_service import HttpService

from utcp_bridge import UtcpClient
from utcp_bridge.client.reference import as_mapping
from utcp_bridge.errors import ConfigError, ManualError, UnknownTool, Unreachable
from utcp_bridge.providers import HttpProvider

pytestmark = pytest.mark.anyio


class HttpCallTemplate(BaseModel):
    """As a program of the reference library has it."""

    name: str
    call_template_type: str = "http"
    url: str
    headers: dict[str, str] | None = None


async def test_providers_are_registered_listed_called_and_forgotten_by_their_old_names() -> None:
    async with HttpService() as service, await UtcpClient.create() as client:
        provider = HttpProvider(name="peer", url=f"{service.base}/utcp", http_method="GET")
        tools = await client.register_manual_provider(provider)
        assert "peer.echo" in [tool.qualified_name for tool in tools]
        assert await client.list_tools() == tools
        result = await client.call_tool(tool_name="peer.echo", arguments={"text": "hi"})
        assert result["text"] == "hi"
        assert [tool.name for tool in await client.search_tools(query="echo", limit=1)] == ["echo"]
        assert await client.deregister_tool_provider("peer")
        assert await client.list_tools() == []


async def test_a_model_of_a_template_is_as_good_as_a_mapping() -> None:
    async with HttpService() as service, await UtcpClient.create() as client:
        state = await client.register_manual(HttpCallTemplate(name="peer", url=f"{service.base}/utcp"))
        assert (state.success, state.errors) == (True, [])
    assert as_mapping(SimpleNamespace(model_dump=lambda exclude_none: {"none": exclude_none})) == {"none": True}


async def test_a_provider_that_cannot_be_loaded_raises_and_leaves_nothing() -> None:
    async with HttpService() as service, await UtcpClient.create() as client:
        provider = HttpProvider(name="down", url=f"{service.refusing}/utcp")
        with pytest.raises(Unreachable):
            await client.register_tool_provider(provider)
        assert client.report() == []
        state = await client.register_manual(provider)
        assert not state.success
        assert "No connection" in state.errors[0]
        with pytest.raises(ConfigError):
            await client.register_tool_provider({"name": "nothing"})


def text_manual(*tools: dict[str, Any]) -> dict[str, Any]:
    return {"name": "m", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [*tools]}}


async def test_a_provider_none_of_whose_tools_can_be_used_raises_the_reason_and_leaves_nothing() -> None:
    bad = {"name": "bad", "tool_call_template": {"call_template_type": "htttp", "url": "https://api.example.com"}}
    good = {"name": "good", "tool_call_template": {"call_template_type": "text", "content": "Mind the step."}}
    async with await UtcpClient.create() as client:
        with pytest.raises(ManualError, match=r"No tool of manual 'm' can be used\. .*'htttp'.* Did you mean http"):
            await client.register_tool_provider(text_manual(bad))
        assert client.report() == []
        assert [tool.name for tool in await client.register_tool_provider(text_manual(bad, good))] == ["good"]
        await client.deregister_manual("m")
        assert await client.register_tool_provider(text_manual()) == []


async def test_required_variables_are_named_by_the_keys_to_set() -> None:
    template = {"call_template_type": "http", "url": "https://api.example.com/${PLACE}", "headers": {"X": "${KEY}"}}
    content = {"utcp_version": "1.0", "tools": [{"name": "t", "tool_call_template": template}]}
    entry = {"name": "my_api", "call_template_type": "text", "content": content}
    async with await UtcpClient.create() as client:
        needed = await client.get_required_variables_for_manual_and_tools(entry)
        assert needed == ["my__api_PLACE", "my__api_KEY"]
        remote = {"name": "far", "call_template_type": "http", "url": "https://${HOST}/utcp"}
        assert await client.get_required_variables_for_manual_and_tools(remote) == ["far_HOST"]
        assert client.report() == []
        await client.register_manual(entry)
        assert await client.get_required_variables_for_registered_tool("my_api.t") == ["my__api_PLACE", "my__api_KEY"]
        with pytest.raises(UnknownTool):
            await client.get_required_variables_for_registered_tool("my_api.none")
