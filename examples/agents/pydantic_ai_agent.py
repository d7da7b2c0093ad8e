"""An agent of Pydantic AI with the tools of a manual. OPENAI_BASE_URL, OPENAI_API_KEY and MODEL name the model."""

import asyncio
import os
import sys
from functools import partial
from typing import Any

from pydantic_ai import Agent, ModelRetry
from pydantic_ai import Tool as AgentTool
from pydantic_ai.models.openai import OpenAIChatModel

from utcp_bridge import Tool, UtcpClient, UtcpError


async def call(client: UtcpClient, tool: Tool, /, **arguments: Any) -> Any:
    """Call a tool. The model reads an error, and tries again."""
    try:
        return await client.call_tool(tool, arguments)
    except UtcpError as error:
        raise ModelRetry(str(error)) from error


def as_agent_tool(client: UtcpClient, tool: Tool) -> AgentTool:
    name = tool.qualified_name.replace(".", "__")
    return AgentTool.from_schema(partial(call, client, tool), name, tool.description, tool.inputs)


async def main(place: str, question: str) -> None:
    async with await UtcpClient.create(place) as client:
        tools = [as_agent_tool(client, tool) for tool in client.tools()]
        agent = Agent(OpenAIChatModel(os.environ["MODEL"]), tools=tools)
        print((await agent.run(question)).output)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
