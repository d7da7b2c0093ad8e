"""UTCP's reference client behind FastMCP, with the meta-tools of the reference bridge that a call needs; stdio.

python -m benchmarks.harness.utcp_server CATALOGUE      needs utcp, utcp-file, utcp-http and fastmcp below 4
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from fastmcp import FastMCP
from utcp.utcp_client import UtcpClient


async def main() -> None:
    entry: dict[str, Any] = {"name": "catalogue", "call_template_type": "file", "file_path": sys.argv[1]}
    entry["allowed_communication_protocols"] = ["file", "http"]
    config = Path(tempfile.mkdtemp(prefix="utcp-bridge-bench-")) / "config.json"
    config.write_text(json.dumps({"manual_call_templates": [entry]}), encoding="utf-8")
    client = await UtcpClient.create(config=str(config))
    server: FastMCP[Any] = FastMCP("utcp")

    @server.tool
    async def search_tools(task_description: str, limit: int = 10) -> dict[str, Any]:
        """Find tools by what they do."""
        found = await client.search_tools(task_description, limit=limit)
        return {"tools": [{"name": tool.name, "description": tool.description} for tool in found]}

    @server.tool
    async def call_tool(tool_name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool by its name."""
        return {"success": True, "result": await client.call_tool(tool_name, arguments)}

    await server.run_async(transport="stdio", show_banner=False)


if __name__ == "__main__":
    asyncio.run(main())
