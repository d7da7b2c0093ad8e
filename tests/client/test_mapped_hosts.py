"""Mapped resources and prompts as a host sees them, in both eras of the protocol."""

from pathlib import Path

import pytest
from mcp import MCPError
from mcp.client import Client
from mcp_types import PromptReference, ResourceTemplateReference

from utcp_bridge import UtcpClient
from utcp_bridge.server.app import BridgeServer

pytestmark = pytest.mark.anyio
CONFIG = Path(__file__).parents[2] / "configs" / "resources.yaml"


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_host_lists_reads_and_completes_what_the_example_maps(mode: str) -> None:
    async with await UtcpClient.create(str(CONFIG)) as client, Client(BridgeServer(client), mode=mode) as host:
        capabilities = host.server_capabilities
        assert capabilities.prompts is not None
        assert capabilities.completions is not None
        resources = {str(one.uri): one for one in (await host.list_resources()).resources}
        assert list(resources) == ["docs://licence", "docs://units"]
        assert resources["docs://units"].annotations is not None
        templates = [one.uri_template for one in (await host.list_resource_templates()).resource_templates]
        assert templates == ["weather://{city}", "docs://configs/{name}"]
        [licence] = (await host.read_resource("docs://licence")).contents
        assert licence.mime_type == "text/plain"
        [itself] = (await host.read_resource("docs://configs/resources")).contents
        assert getattr(itself, "text", "") == CONFIG.read_text(encoding="utf-8")
        with pytest.raises(MCPError, match="not found"):
            await host.read_resource("docs://configs/..%2FREADME")
        assert [one.name for one in (await host.list_prompts()).prompts] == ["pack_bag", "greet"]
        prompt = await host.get_prompt("pack_bag", {"city": "Quito"})
        assert [one.role for one in prompt.messages] == ["user", "assistant"]
        pack_bag = PromptReference(type="ref/prompt", name="pack_bag")
        of_prompt = await host.complete(pack_bag, {"name": "city", "value": "o"})
        assert of_prompt.completion.values == ["Oslo", "Quito"]
        template = ResourceTemplateReference(type="ref/resource", uri="weather://{city}")
        of_template = await host.complete(template, {"name": "city", "value": "B"})
        assert of_template.completion.values == ["Berlin"]
