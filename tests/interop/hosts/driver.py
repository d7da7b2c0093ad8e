"""One MCP client of others, at the command of a test: `driver.py CLIENT TARGET` in an environment that has the client.

TARGET is JSON: `{"url": …}` or `{"command": …, "args": […]}`. The driver prints `{"ready": VERSION}` once it is
connected, then reads one JSON request a line and replies `{"id": …, "result": …}` or `{"id": …, "error": "…"}`:

    {"id": 1, "do": "list"}                                     the names of the listed tools
    {"id": 2, "do": "call", "tool": …, "arguments": {…}}         {"text", "structured", "is_error", "kinds"}
    {"id": 3, "do": "cancel", "call": 2}                        ends the call; its reply is an error
    {"id": 4, "do": "heard"}                                    how many `list_changed` notifications came
    {"id": 5, "do": "progress"}                                 [value, total, message] of each report of the last call
    {"id": 6, "do": "convert"}                                  tools that the client's converter refuses, and why

A call that the client raises for is an error too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Result = dict[str, Any]
SECONDS = 60


class Driven:
    """What a client can do; an `opened` function below makes one."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.heard = 0
        self.progress: list[Any] = []
        self.names: Callable[[], Awaitable[list[str]]]
        self.call: Callable[[str, dict[str, Any]], Awaitable[Result]]
        self.convert: Callable[[], Awaitable[dict[str, str]]]

    async def on_message(self, message: Any) -> None:
        kinds = (type(message).__name__, type(getattr(message, "root", None)).__name__)
        self.heard += any("ToolListChanged" in kind for kind in kinds)

    async def on_progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        self.progress.append([progress, total, message])


def blocks(result: Any) -> Result:
    """Return a result of MCP's own form, under the names of either generation of the SDK."""
    structured = getattr(result, "structured_content", None) or getattr(result, "structuredContent", None)
    return {
        "text": " ".join(getattr(block, "text", None) or "" for block in result.content),
        "structured": structured,
        "is_error": bool(getattr(result, "is_error", False) or getattr(result, "isError", False)),
        "kinds": [block.type for block in result.content],
    }


async def all_pages(page: Callable[[str | None], Awaitable[Any]]) -> list[Any]:
    tools: list[Any] = []
    cursor = None
    while True:
        found = await page(cursor)
        tools += found.tools
        cursor = getattr(found, "next_cursor", None) or getattr(found, "nextCursor", None)
        if cursor is None:
            return tools


# --- clients, by name ----------------------------------------------------------------------------


def second_sdk(mode: str) -> Any:
    @asynccontextmanager
    async def opened(target: dict[str, Any]) -> AsyncIterator[Driven]:
        from mcp import StdioServerParameters
        from mcp.client import Client

        driven = Driven()
        place = target.get("url") or StdioServerParameters(command=target["command"], args=target["args"])
        async with Client(place, mode=mode, message_handler=driven.on_message) as client:
            driven.version = client.protocol_version

            async def names() -> list[str]:
                tools = await all_pages(lambda cursor: client.list_tools(cursor=cursor, cache_mode="bypass"))
                return [tool.name for tool in tools]

            async def call(name: str, arguments: dict[str, Any]) -> Result:
                return blocks(await client.call_tool(name, arguments, progress_callback=driven.on_progress))

            async def listen() -> None:
                async with client.listen(tools_list_changed=True) as events:
                    listening.set()
                    async for _ in events:
                        driven.heard += 1

            driven.names, driven.call = names, call
            listening = asyncio.Event()
            listener = asyncio.ensure_future(listen()) if client.protocol_version >= "2026" else None
            if listener:
                await asyncio.wait_for(listening.wait(), SECONDS)
            yield driven
            if listener:
                listener.cancel()

    return opened


@asynccontextmanager
async def first_sdk(target: dict[str, Any]) -> AsyncIterator[Driven]:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    driven = Driven()
    if "url" in target:
        connection: Any = streamable_http_client(target["url"])
    else:
        connection = stdio_client(StdioServerParameters(command=target["command"], args=target["args"]))
    async with (
        connection as streams,
        ClientSession(streams[0], streams[1], message_handler=driven.on_message) as session,
    ):
        driven.version = str((await session.initialize()).protocolVersion)

        async def names() -> list[str]:
            return [tool.name for tool in await all_pages(lambda cursor: session.list_tools(cursor=cursor))]

        async def call(name: str, arguments: dict[str, Any]) -> Result:
            return blocks(await session.call_tool(name, arguments, progress_callback=driven.on_progress))

        driven.names, driven.call = names, call
        yield driven


@asynccontextmanager
async def fastmcp(target: dict[str, Any]) -> AsyncIterator[Driven]:
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    driven = Driven()
    place = target.get("url") or StdioTransport(target["command"], target["args"])
    async with Client(place, message_handler=driven.on_message) as client:

        async def names() -> list[str]:
            return [tool.name for tool in await client.list_tools()]

        async def call(name: str, arguments: dict[str, Any]) -> Result:
            how: dict[str, Any] = {"raise_on_error": False, "progress_handler": driven.on_progress}
            return blocks(await client.call_tool(name, arguments, **how))

        driven.names, driven.call = names, call
        yield driven


@asynccontextmanager
async def openai_agents(target: dict[str, Any]) -> AsyncIterator[Driven]:
    from agents.mcp import MCPServerStdio, MCPServerStreamableHttp
    from agents.mcp.util import MCPUtil

    driven = Driven()
    kind: Any = MCPServerStreamableHttp if "url" in target else MCPServerStdio
    async with kind(params=target, client_session_timeout_seconds=SECONDS) as server:

        async def names() -> list[str]:
            return [tool.name for tool in await server.list_tools()]

        async def call(name: str, arguments: dict[str, Any]) -> Result:
            return blocks(await server.call_tool(name, arguments))

        async def convert() -> dict[str, str]:
            def one(tool: Any) -> None:
                MCPUtil.to_function_tool(tool, server, convert_schemas_to_strict=True)

            return refusals(await server.list_tools(), one)

        driven.names, driven.call, driven.convert = names, call, convert
        yield driven


@asynccontextmanager
async def pydantic_ai(target: dict[str, Any]) -> AsyncIterator[Driven]:
    from fastmcp.client.transports import StdioTransport
    from pydantic_ai.mcp import MCPToolset

    driven = Driven()
    async with MCPToolset(target.get("url") or StdioTransport(target["command"], target["args"])) as toolset:

        async def names() -> list[str]:
            return [tool.name for tool in await toolset.list_tools()]

        async def call(name: str, arguments: dict[str, Any]) -> Result:
            return plain(await toolset.direct_call_tool(name, arguments))

        driven.names, driven.call = names, call
        yield driven


@asynccontextmanager
async def langchain(target: dict[str, Any]) -> AsyncIterator[Driven]:
    from langchain_mcp_adapters.client import MultiServerMCPClient

    driven = Driven()
    transport = "streamable_http" if "url" in target else "stdio"
    client = MultiServerMCPClient({"utcp": {"transport": transport, **target}})
    tools: dict[str, Any] = {}

    async def names() -> list[str]:
        tools.update({tool.name: tool for tool in await client.get_tools()})
        return list(tools)

    async def call(name: str, arguments: dict[str, Any]) -> Result:
        if not tools:
            await names()
        message = await tools[name].ainvoke({"type": "tool_call", "id": "1", "name": name, "args": arguments})
        parts = message.content if isinstance(message.content, list) else [{"type": "text", "text": message.content}]
        structured = (message.artifact or {}).get("structured_content")
        return {
            "text": " ".join(part.get("text", "") for part in parts),
            "structured": structured,
            "is_error": message.status == "error",
            "kinds": [part["type"] for part in parts],
        }

    driven.names, driven.call = names, call
    yield driven


@asynccontextmanager
async def mcp_use(target: dict[str, Any]) -> AsyncIterator[Driven]:
    from mcp_use import MCPClient

    driven = Driven()
    client = MCPClient({"mcpServers": {"utcp": target}})
    session = await client.create_session("utcp")

    async def names() -> list[str]:
        return [tool.name for tool in await session.list_tools()]

    async def call(name: str, arguments: dict[str, Any]) -> Result:
        return blocks(await session.call_tool(name, arguments))

    driven.names, driven.call = names, call
    yield driven
    await client.close_all_sessions()


def adapted(target: dict[str, Any]) -> Any:
    """Return a target as mcpadapt takes it, on which smolagents and CrewAI are built."""
    from mcp import StdioServerParameters

    if "url" in target:
        return {"url": target["url"], "transport": "streamable-http"}
    return StdioServerParameters(command=target["command"], args=target["args"])


@asynccontextmanager
async def smolagents(target: dict[str, Any]) -> AsyncIterator[Driven]:
    from smolagents import ToolCollection

    place = adapted(target)
    collection = ToolCollection.from_mcp(place, trust_remote_code=True, structured_output=True)
    entered = await asyncio.to_thread(collection.__enter__)
    yield fixed({tool.name: tool for tool in entered.tools}, lambda tool, arguments: tool(**arguments))
    await asyncio.to_thread(collection.__exit__, None, None, None)


@asynccontextmanager
async def crewai(target: dict[str, Any]) -> AsyncIterator[Driven]:
    from crewai_tools import MCPServerAdapter

    place = adapted(target)
    adapter = await asyncio.to_thread(MCPServerAdapter, place)
    tools = {tool.name: tool for tool in adapter.tools}
    yield fixed(tools, lambda tool, arguments: tool.run(**arguments))
    await asyncio.to_thread(adapter.stop)


@asynccontextmanager
async def google_genai(target: dict[str, Any]) -> AsyncIterator[Driven]:
    """The client of google-genai is an SDK session; its own part is the converter."""
    from google.genai._mcp_utils import mcp_to_gemini_tool
    from mcp import StdioServerParameters
    from mcp.client import Client

    driven = Driven()
    place = target.get("url") or StdioServerParameters(command=target["command"], args=target["args"])
    async with Client(place) as client:

        async def names() -> list[str]:
            return [tool.name for tool in await all_pages(lambda cursor: client.list_tools(cursor=cursor))]

        async def call(name: str, arguments: dict[str, Any]) -> Result:
            return blocks(await client.call_tool(name, arguments))

        async def convert() -> dict[str, str]:
            tools = await all_pages(lambda cursor: client.list_tools(cursor=cursor))
            return refusals(tools, mcp_to_gemini_tool)

        driven.names, driven.call, driven.convert = names, call, convert
        yield driven


CLIENTS = {
    "sdk-2": second_sdk("auto"),
    "sdk-2-handshake": second_sdk("legacy"),
    "sdk-1": first_sdk,
    "fastmcp": fastmcp,
    "openai-agents": openai_agents,
    "pydantic-ai": pydantic_ai,
    "langchain": langchain,
    "mcp-use": mcp_use,
    "smolagents": smolagents,
    "crewai": crewai,
    "google-genai": google_genai,
}


# --- shapes of results ---------------------------------------------------------------------------


def plain(value: Any) -> Result:
    """Return a result that a framework unpacked: a text, a value, or a picture of some class of its own."""
    is_json = value is None or isinstance(value, dict | list | str | int | float)
    return {
        "text": value if isinstance(value, str) else json.dumps(value) if is_json else "",
        "structured": value if isinstance(value, dict) else None,
        "is_error": False,
        "kinds": ["text" if is_json else f"image as {type(value).__name__}"],
    }


def fixed(tools: dict[str, Any], run: Callable[[Any, dict[str, Any]], Any]) -> Driven:
    """Return a client of synchronous tools that are read once."""
    driven = Driven()

    async def names() -> list[str]:
        return list(tools)

    async def call(name: str, arguments: dict[str, Any]) -> Result:
        return plain(await asyncio.to_thread(run, tools[name], arguments))

    driven.names, driven.call = names, call
    return driven


def refusals(tools: list[Any], convert: Callable[[Any], object]) -> dict[str, str]:
    found = {}
    for tool in tools:
        try:
            convert(tool)
        except Exception as error:  # noqa: BLE001 - whatever the converter raises is the result
            found[tool.name] = words(error)
    return found


def words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:500]


# --- the conversation with the test --------------------------------------------------------------


class Conversation:
    """Requests by line, each in a task of its own."""

    def __init__(self, driven: Driven, requests: asyncio.StreamReader, write: Callable[[Any], None]) -> None:
        self._driven = driven
        self._requests = requests
        self._write = write
        self._calls: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        while line := await self._requests.readline():
            request = json.loads(line)
            if request["do"] == "cancel":
                self._calls[request["call"]].cancel()
            self._calls[request["id"]] = asyncio.ensure_future(self._reply(request))

    async def _reply(self, request: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"id": request["id"]}
        try:
            reply["result"] = await asyncio.wait_for(self._result(request), SECONDS)
        except BaseException as error:  # noqa: BLE001 - it is the reply
            reply["error"] = words(error)
        self._write(reply)

    async def _result(self, request: dict[str, Any]) -> Any:
        driven = self._driven
        match request["do"]:
            case "list":
                return await driven.names()
            case "convert":
                return await driven.convert()
            case "heard":
                return driven.heard
            case "progress":
                return driven.progress
            case "call":
                driven.progress.clear()
                return await driven.call(request["tool"], request["arguments"])
        return None


async def main(name: str, target: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a client prints is not a reply

    def write(reply: Any) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    requests = asyncio.StreamReader(limit=2**26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), os.fdopen(os.dup(0), "rb"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        async with CLIENTS[name](target) as driven:
            write({"ready": driven.version})
            await Conversation(driven, requests, write).run()
    except BaseException as error:  # noqa: BLE001 - the test shows it
        write({"failed": words(error)})
    replies.flush()
    os._exit(0)  # some clients leave threads that never end


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
