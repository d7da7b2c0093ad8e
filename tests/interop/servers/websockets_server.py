"""A WebSocket server on the websockets library: a UTCP manual, an echo, a stream, a sub-protocol, a close code."""

import asyncio
import json
import sys

from websockets.asyncio.server import serve

PORT = int(sys.argv[1])
URL = f"ws://127.0.0.1:{PORT}"
TEMPLATE = {"call_template_type": "websocket", "url": URL, "protocol": "utcp"}
TOOLS = [
    {"name": "echo", "tool_call_template": TEMPLATE},
    {"name": "count", "tool_call_template": {**TEMPLATE, "expected_responses": -1}},
    {"name": "close", "tool_call_template": {**TEMPLATE, "message": {"close": 4000}}},
]


async def answer(socket):
    async for text in socket:
        asked = json.loads(text)
        if asked.get("type") == "utcp":
            await socket.send(json.dumps({"utcp_version": "1.0.1", "tools": TOOLS}))
        elif "close" in asked:
            await socket.close(asked["close"], "as asked")
        elif "to" in asked:
            for number in range(asked["to"]):
                await socket.send(json.dumps({"n": number}))
            await socket.close()
        elif asked.get("binary"):
            await socket.send(b"\x00\x01")
        else:
            await socket.send(json.dumps({**asked, "protocol": socket.subprotocol}))


async def main():
    async with serve(answer, "127.0.0.1", PORT, subprotocols=["utcp"]) as server:
        await server.serve_forever()


asyncio.run(main())
