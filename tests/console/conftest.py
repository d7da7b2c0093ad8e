"""A bridge of a folder that serves its console over HTTP, and programs that ask it."""

import json

import anyio
import httpx2
import pytest
from tests.support.served_here import serve

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.server.app import BridgeServer

WEATHER = {
    "name": "get",
    "description": "The <b>weather</b> of a city. <script>alert(1)</script>",
    "inputs": {
        "type": "object",
        "properties": {
            "days": {"type": "integer", "default": 3},
            "city": {"type": "string", "description": "Where"},
        },
        "required": ["city"],
    },
    "tool_call_template": {"call_template_type": "text", "content": "<img src=x onerror=alert(2)>"},
}
AS_IT_IS = {"error": "", "needs_restart": []}
"""A configuration that is in use."""
ACTS = {"x-utcp-console": "1"}


def text_manual(name, *tools):
    content = {"utcp_version": "1.0.1", "tools": list(tools)}
    return {"name": name, "call_template_type": "text", "content": content}


class Served:
    """A running bridge: `ask` sends a request as a browser of its own origin."""

    def __init__(self, client, url):
        self.client, self.url = client, url
        self._http = httpx2.AsyncClient(base_url=url, trust_env=False)

    async def ask(self, path, body=None, **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return await self._http.get(path, headers={"accept": "text/html", **sent})
        return await self._http.post(
            path, content=json.dumps(body), headers={"content-type": "application/json", **sent}
        )

    async def act(self, path, body, **headers):
        """Send a request that changes something, as the page does."""
        return await self.ask(path, body, **{**ACTS, **headers})

    def forget_cookies(self):
        self._http.cookies.clear()

    async def close(self):
        await self._http.aclose()


@pytest.fixture
def serving(tmp_path):
    """Serve manuals with settings, and run `work(served)`."""

    async def run(work, *manuals, extensions=None, **settings):
        config = {"manual_call_templates": list(manuals), "bridge": {"port": 0, "transport": "http", **settings}}
        (tmp_path / "utcp.json").write_text(json.dumps(config))
        client = await UtcpClient.create(tmp_path / "utcp.json", extensions=extensions or Extensions())
        async with client:

            async def with_page(url):
                served = Served(client, url.removesuffix("/mcp"))
                try:
                    await work(served)
                finally:
                    await served.close()

            with anyio.fail_after(200):
                await serve(BridgeServer(client), with_page)

    return run
