"""Sessions of the first SDK that open, call one tool and close: `short_sessions.py COUNT TOOL COMMAND ARGUMENT…`.

Prints how many ended well, and the errors of the others, as a JSON object of counts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def session(tool: str, server: StdioServerParameters) -> None:
    async with stdio_client(server) as (received, sent), ClientSession(received, sent) as opened:
        await opened.initialize()
        await opened.call_tool(tool, {})


async def main(count: int, tool: str, command: str, arguments: list[str]) -> None:
    server = StdioServerParameters(command=command, args=arguments)
    seen: Counter[str] = Counter()
    for _ in range(count):
        try:
            await asyncio.wait_for(session(tool, server), 60)
            seen["ok"] += 1
        except BaseException as error:  # noqa: BLE001 - it is counted
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            seen[type(error).__name__] += 1
    sys.stdout.write(json.dumps(seen))


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
