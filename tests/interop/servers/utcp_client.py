"""The reference library's own client: `utcp_client.py URL '[["tool", {…}], …]'` prints its tools and the results."""

import asyncio
import json
import sys

from utcp.utcp_client import UtcpClient


async def main(url: str, calls: list) -> None:
    template = {"name": "m", "call_template_type": "http", "url": url, "http_method": "GET"}
    client = await UtcpClient.create(config={"manual_call_templates": [template]})
    tools = await client.config.tool_repository.get_tools()
    results = [await client.call_tool(name, arguments) for name, arguments in calls]
    json.dump({"tools": [tool.name for tool in tools], "results": results}, sys.stdout)


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
