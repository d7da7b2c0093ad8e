"""The adapter of python-utcp 1.x. Its environment has `utcp` and those of its plugins that are to be tested."""

import asyncio
import base64
import json
import os
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

OUT = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # plugins print

from utcp.utcp_client import UtcpClient  # noqa: E402 - after stdout was moved

PLUGINS = {
    "utcp-http": ["http", "sse", "streamable_http", "openapi"],
    "utcp-cli": ["cli"],
    "utcp-socket": ["tcp", "udp"],
    "utcp-websocket": ["websocket"],
    "utcp-gql": ["graphql"],
    "utcp-mcp": ["mcp"],
    "utcp-text": ["text"],
    "utcp-file": ["file"],
}


def supported() -> list[str]:
    """Return the kinds of the plugins that are installed."""
    kinds: list[str] = []
    for package, names in PLUGINS.items():
        try:
            version(package)
        except PackageNotFoundError:
            continue
        kinds += names
    return kinds


def register_graphql() -> None:
    """Register the plugin that the package itself does not announce: as installed, `graphql` is an unknown type."""
    from utcp.plugins.plugin_loader import ensure_plugins_initialized

    ensure_plugins_initialized()
    with suppress(ImportError):
        import utcp_gql

        utcp_gql.register()


def plain(value: Any) -> Any:
    """Return a result as JSON; bytes as {"$base64": …}."""
    if isinstance(value, bytes):
        return {"$base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


class Adapter:
    """Holds the client of the last `load`."""

    client: Any = None

    async def hello(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"name": "python-utcp", "version": version("utcp"), "supports": {"v1": supported()}}

    async def load(self, request: dict[str, Any]) -> dict[str, Any]:
        await self.close()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        try:
            config = request["configuration"]
            self.client = await UtcpClient.create(root_dir=request["folder"], config=config)
        finally:
            for name in request["environment"]:
                os.environ.pop(name, None)
        return {"ok": None}

    async def list(self, _request: dict[str, Any]) -> dict[str, Any]:
        tools = await self.client.config.tool_repository.get_tools()
        return {"ok": [tool.name for tool in tools]}

    async def call(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": plain(await self.client.call_tool(request["tool"], request["arguments"]))}

    async def close(self) -> None:
        client, self.client = self.client, None
        if client is not None and hasattr(client, "close"):
            await client.close()


async def main() -> None:
    adapter = Adapter()
    register_graphql()
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        try:
            reply = await getattr(adapter, request["op"])(request)
        except Exception as error:  # noqa: BLE001 - whatever the implementation raises is its error
            reply = {"error": {"class": "other", "message": f"{type(error).__name__}: {error}"[:500]}}
        OUT.write(json.dumps(reply) + "\n")
        OUT.flush()


if __name__ == "__main__":
    asyncio.run(main())
