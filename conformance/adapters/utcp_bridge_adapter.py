"""The adapter of utcp-bridge: JSON lines over stdio, as docs/conformance.md describes them."""

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from utcp_bridge import Binary, ContentBlocks, UtcpClient, UtcpError, __version__, errors

KINDS = ["cli", "file", "graphql", "grpc", "http", "mcp", "openapi", "sse", "streamable_http", "tcp", "text", "udp"]
KINDS += ["grpc-reflection", "webrtc"]
SUPPORTS = {
    "v1": [*KINDS, "websocket"],
    "v0": [*("http_stream" if kind == "streamable_http" else kind for kind in KINDS), "websocket"],
    "extended": [*KINDS, "websocket"],
}
CLASSES = (
    (errors.VariableNotFound, "variable"),
    (errors.InvalidArguments, "arguments"),
    (errors.PolicyError, "refused"),
    (errors.Unreachable, "unreachable"),
    (errors.DeadlineExceeded, "timeout"),
    (errors.UpstreamError, "upstream"),
)


def plain(value: Any) -> Any:
    """Return a result as JSON; bytes as {"$base64": …}."""
    if isinstance(value, Binary):
        value = value.data
    if isinstance(value, bytes):
        return {"$base64": base64.b64encode(value).decode()}
    if isinstance(value, ContentBlocks):
        texts = [block["text"] for block in value.content if block.get("type") == "text"]
        value = value.structured if value.structured is not None else texts[0] if len(texts) == 1 else value.content
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


class Adapter:
    """Holds the client of the last `load`."""

    client: UtcpClient | None = None

    async def hello(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"name": "utcp-bridge", "version": __version__, "supports": SUPPORTS}

    async def load(self, request: dict[str, Any]) -> dict[str, Any]:
        await self.close()
        os.environ.update(request["environment"])
        try:
            config = request["configuration"]
            if request["generation"] == "v0":
                config = {"variables": request["variables"], "manual_call_templates": config}
            self.client = await UtcpClient.create(config, root=Path(request["folder"]), wait=15)
        finally:
            for name in request["environment"]:
                os.environ.pop(name, None)
        return {"ok": None}

    async def list(self, _request: dict[str, Any]) -> dict[str, Any]:
        assert self.client is not None
        return {"ok": [tool.qualified_name for tool in self.client.tools()]}

    async def call(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.client is not None
        result = await self.client.call_tool(request["tool"], request["arguments"])
        return {"ok": plain(result)}

    async def close(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.aclose()


async def main() -> None:
    adapter = Adapter()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        try:
            reply = await getattr(adapter, request["op"])(request)
        except UtcpError as error:
            kind = next((name for one, name in CLASSES if isinstance(error, one)), "other")
            reply = {"error": {"class": kind, "message": str(error)}}
        out.write(json.dumps(reply) + "\n")
        out.flush()
    await adapter.close()


if __name__ == "__main__":
    asyncio.run(main())
