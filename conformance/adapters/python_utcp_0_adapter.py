"""The adapter of python-utcp 0.2, the client of UTCP 0.x."""

import asyncio
import base64
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

OUT = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # the library prints

from utcp.client.utcp_client import UtcpClient  # noqa: E402 - after stdout was moved
from utcp.client.utcp_client_config import UtcpClientConfig  # noqa: E402

KINDS = ["http", "sse", "http_stream", "openapi", "cli", "tcp", "udp", "graphql", "mcp", "text"]


async def plain(value: Any) -> Any:
    """Return a result as JSON; a stream as a list, bytes as {"$base64": …}."""
    if hasattr(value, "__aiter__"):
        value = [item async for item in value]
    if isinstance(value, bytes):
        return {"$base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: await plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [await plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


class Adapter:
    """Holds the client of the last `load`."""

    client: Any = None

    async def hello(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"name": "python-utcp-0", "version": version("utcp"), "supports": {"v0": KINDS}}

    async def load(self, request: dict[str, Any]) -> dict[str, Any]:
        os.environ.update(request["environment"])
        providers = Path(request["folder"]) / "providers.json"
        providers.write_text(json.dumps(request["configuration"]), encoding="utf-8")
        try:
            config = UtcpClientConfig(variables=request["variables"], providers_file_path=str(providers))
            self.client = await UtcpClient.create(config)
        finally:
            for name in request["environment"]:
                os.environ.pop(name, None)
        return {"ok": None}

    async def list(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": [tool.name for tool in await self.client.tool_repository.get_tools()]}

    async def call(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": await plain(await self.client.call_tool(request["tool"], request["arguments"]))}


async def main() -> None:
    adapter = Adapter()
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
