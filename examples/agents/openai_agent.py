"""The OpenAI SDK with the tools of a manual. OPENAI_BASE_URL, OPENAI_API_KEY and MODEL name the model."""

import json
import os
import sys
from typing import Any

from openai import OpenAI

from utcp_bridge import SyncUtcpClient, Tool, UtcpError


def as_function(tool: Tool) -> Any:
    name = tool.qualified_name.replace(".", "__")
    return {"type": "function", "function": {"name": name, "description": tool.description, "parameters": tool.inputs}}


def called(client: SyncUtcpClient, name: str, arguments: str) -> str:
    """Call a tool. The model reads an error as well, and can try again."""
    try:
        return json.dumps(client.call_tool(name.replace("__", "."), arguments), default=str)
    except UtcpError as error:
        return f"Error: {error}"


def main(place: str, question: str) -> None:
    model = OpenAI()
    messages: list[Any] = [{"role": "user", "content": question}]
    with SyncUtcpClient(place) as client:
        tools = [as_function(tool) for tool in client.search_tools(question, limit=20)]
        while True:
            reply = model.chat.completions.create(model=os.environ["MODEL"], messages=messages, tools=tools)
            message = reply.choices[0].message
            messages.append(message)
            if not message.tool_calls:
                print(message.content)
                return
            for call in message.tool_calls:
                result = called(client, call.function.name, call.function.arguments)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


if __name__ == "__main__":
    main(*sys.argv[1:3])
