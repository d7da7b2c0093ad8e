"""The reference library's client calls tools: `utcp_calls.py URL FILE`.

The file has `{"calls": [["tool", {…}], …], "variables": {…}}`.

It prints the names of the tools, and for each call its result or the error. Release 0.2 has another way to do so.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path


async def opened(url: str, variables: dict[str, str]):
    try:
        from utcp.utcp_client import UtcpClient
    except ImportError:
        from utcp.client.utcp_client import UtcpClient
        from utcp.shared.provider import HttpProvider

        client = await UtcpClient.create({"variables": variables})
        tools = await client.register_tool_provider(HttpProvider(name="m", url=url, http_method="GET"))
        return client, tools
    template = {"name": "m", "call_template_type": "http", "url": url, "http_method": "GET"}
    client = await UtcpClient.create(config={"variables": variables, "manual_call_templates": [template]})
    return client, await client.config.tool_repository.get_tools()


async def main(url: str, written: str) -> None:
    logging.disable(logging.CRITICAL)
    given = json.loads(written)
    client, tools = await opened(url, given["variables"])
    results = []
    for name, arguments in given["calls"]:
        try:
            results.append(await client.call_tool(name, arguments))
        except Exception as error:  # noqa: BLE001 - each of them is a result
            results.append(f"{type(error).__name__}: {error}")
    json.dump({"tools": [tool.name for tool in tools], "results": results}, sys.stdout)


asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8")))
