"""A loop with a language model: it sees the best tools for the question, calls them, and answers.

    python chat.py http://127.0.0.1:8080/utcp "Which books cost less than 15?"

OPENAI_BASE_URL, OPENAI_API_KEY and MODEL name the model: any endpoint with OpenAI's chat completions.
"""

import asyncio
import json
import os
import sys
from typing import Any

import httpx2

from utcp_bridge import Tool, UtcpClient, UtcpError

MAX_TURNS = 10


def as_function(tool: Tool) -> dict[str, Any]:
    """Describe a tool as chat completions want it. Names may not have dots there."""
    name = tool.qualified_name.replace(".", "__")
    return {"type": "function", "function": {"name": name, "description": tool.description, "parameters": tool.inputs}}


async def called(client: UtcpClient, name: str, arguments: str) -> str:
    """Call a tool. The model reads an error as well, and can try again."""
    try:
        return json.dumps(await client.call_tool(name.replace("__", "."), arguments), default=str)
    except UtcpError as error:
        return f"Error: {error}"


async def answer(client: UtcpClient, question: str) -> str:
    """Let the model call tools until it answers."""
    tools = [as_function(tool) for tool in await client.search_tools(question, limit=20)]
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    base = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
    headers = {"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"}
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=120) as model:
        for _ in range(MAX_TURNS):
            body = {"model": os.environ.get("MODEL", "gpt-5-mini"), "messages": messages, "tools": tools}
            reply = await model.post("chat/completions", json=body)
            message = reply.raise_for_status().json()["choices"][0]["message"]
            messages.append(message)
            if not message.get("tool_calls"):
                return str(message["content"])
            for call in message["tool_calls"]:
                function = call["function"]
                result = await called(client, function["name"], function["arguments"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return "The model called tools without an end."


async def main(place: str, question: str) -> None:
    async with await UtcpClient.create(place) as client:
        print(await answer(client, question))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
