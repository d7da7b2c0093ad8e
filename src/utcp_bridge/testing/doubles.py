"""Tools and clients for tests: an upstream of Python functions, canned results, and a record of calls."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import uvicorn

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.client.sync import UTCPClient
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import Call, Document, Emit, JsonObject, Result, Tool, discard
from utcp_bridge.net.listening import bind
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.providing import ToolServer
from utcp_bridge.providing.tool_server import FunctionTool, function_tool
from utcp_bridge.transport import Target, Transport

__all__ = ["FakeTools", "RecordedCall", "ToolUpstream", "fake_client", "record_calls", "serve_tools"]

_KIND: Final = "fake"
_MAX_SHUTDOWN: Final = 10.0
"""Seconds until `serve_tools` no longer waits for its server to end."""


# An upstream of Python functions.


@dataclass(frozen=True, slots=True)
class ToolUpstream:
    """A running upstream; `url` is the address of its manual."""

    url: str

    def entry(self, name: str = "tools") -> JsonObject:
        """Return the call template of the manual, as a configuration contains it. `name` is the manual's name."""
        return {"name": name, "call_template_type": "http", "url": self.url}


@contextmanager
def serve_tools(*tools: Callable[..., Any] | ToolServer) -> Generator[ToolUpstream]:
    """Serve Python functions as UTCP tools on a free port of 127.0.0.1.

    The server runs in a thread of its own, so that it works in synchronous and asynchronous tests alike. Instead of
    functions, one `ToolServer` may be given.

        def test_my_agent() -> None:
            with serve_tools(get_forecast) as upstream, SyncUtcpClient([upstream.entry("weather")]) as client:
                assert client.call_tool("weather.get_forecast", {"city": "Paris"}) == "sunny"

    :raises ConfigError: a function cannot be a tool: see `ToolServer.tool`.
    """
    listener = bind("127.0.0.1", 0)
    try:
        config = uvicorn.Config(
            _server_of(tools).app(), log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="utcp-tools", daemon=True)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/utcp"
        thread.start()
        try:
            yield ToolUpstream(url)
        finally:
            server.should_exit = True
            thread.join(_MAX_SHUTDOWN)
    finally:
        listener.close()


def _server_of(tools: tuple[Callable[..., Any] | ToolServer, ...]) -> ToolServer:
    made = ToolServer()
    for tool in tools:
        if isinstance(tool, ToolServer):
            if len(tools) > 1:
                raise ConfigError("`serve_tools` takes functions or one ToolServer.", remedy="Register all on one.")
            return tool
        made.tool(tool)
    return made


# Canned results.


class FakeTools:
    """Tools with canned results, for a client without any upstream.

    `results` maps UTCP names (`manual.tool`) to results. An exception is raised. A function is called with the
    arguments of the call, and its type hints become the input schema. Anything else is the result itself: JSON data,
    text, `Binary` or `Result`. Everything else is the real client's: validation, search, streaming, errors.

        fakes = FakeTools({"weather.get_forecast": "sunny", "weather.get_alerts": Busy("Too many requests.")})
        with SyncUtcpClient(fakes.config, extensions=fakes.extensions) as client:
            assert client.call_tool("weather.get_forecast") == "sunny"

    :raises ConfigError: a name is not of the form `manual.tool`, or a function cannot be a tool.
    """

    def __init__(self, results: Mapping[str, Any]) -> None:
        manuals = list(dict.fromkeys(_split(name)[0] for name in results))
        self._tools = {name: _fake_tool(name, result) for name, result in results.items()}
        self.config: Final[list[JsonObject]] = [{"name": name, "call_template_type": _KIND} for name in manuals]
        """The configuration for `UtcpClient.create`, `SyncUtcpClient` or `UTCPToolkit.from_config`."""
        transport = type("FakeTransport", (_FakeTransport,), {"tools": self._tools})
        self.extensions: Final = Extensions(transports=(transport,))
        """The extensions that go with the configuration."""


@asynccontextmanager
async def fake_client(results: Mapping[str, Any]) -> AsyncGenerator[UtcpClient]:
    """Open a client whose tools return canned results; see `FakeTools`.

        async def test_my_agent() -> None:
            async with fake_client({"weather.get_forecast": {"sky": "clear"}}) as client:
                assert await my_agent(client) == "The sky is clear."

    :raises ConfigError: a name is not of the form `manual.tool`, or a function cannot be a tool.
    """
    fakes = FakeTools(results)
    async with await UtcpClient.create(fakes.config, extensions=fakes.extensions) as client:
        yield client


@dataclass(frozen=True, slots=True)
class _FakeTool:
    described: JsonObject
    function: FunctionTool | None
    result: Any = None


class _FakeTransport(Transport[CallTemplate]):
    """Calls of one `FakeTools`; a subclass for each holds its tools."""

    kinds: ClassVar[tuple[str, ...]] = (_KIND,)
    template = CallTemplate
    tools: ClassVar[Mapping[str, _FakeTool]] = {}

    async def discover(self, target: Target[CallTemplate]) -> Document:
        prefix = f"{target.source.name}."
        tools = [tool.described for name, tool in self.tools.items() if name.startswith(prefix)]
        return Document({"tools": tools}, generated=True)

    async def call(self, target: Target[CallTemplate], call: Call, emit: Emit) -> Any:
        del target
        tool = self.tools[call.tool.qualified_name]
        if isinstance(tool.result, Exception):
            raise tool.result
        if tool.function is None:
            return tool.result
        if not tool.function.streams:
            return await tool.function.call(call.arguments)
        partials: list[Any] = []

        async def keep(partial: Any) -> None:
            partials.append(partial)
            await emit(partial)

        await tool.function.stream(call.arguments, keep)
        return partials

    async def explain(self, target: Target[CallTemplate], call: Call) -> NativeRequest:
        del target, call
        return NativeRequest("A fake tool; nothing is sent.")


def _split(name: str) -> tuple[str, str]:
    manual, dot, tool = name.partition(".")
    if not (manual and dot and tool):
        raise ConfigError(f"{name!r} must have the form manual.tool.", remedy="Write `weather.get_forecast`.")
    return manual, tool


def _fake_tool(name: str, result: Any) -> _FakeTool:
    _, own = _split(name)
    if not callable(result) or isinstance(result, Exception):
        return _FakeTool({"name": own, "inputs": {"type": "object"}}, None, result)
    function = function_tool(result, name=own)
    described = {"name": own, "description": function.description, "inputs": function.inputs}
    return _FakeTool({**described, "outputs": function.outputs} if function.outputs else described, function)


# A record of calls.


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One finished call through a client. A cancelled call is not recorded."""

    name: str
    """The UTCP name, `manual.tool`."""
    arguments: JsonObject
    """The arguments as the caller gave them, before validation and defaults."""
    result: Any = None
    """The value, as `call_tool` returns it; None if the call failed."""
    error: UtcpError | None = None
    """The error of a failed call."""
    partials: tuple[Any, ...] = field(default=())
    """Partial results of a stream, in order."""


@contextmanager
def record_calls(client: UtcpClient | UTCPClient) -> Generator[list[RecordedCall]]:
    """Record every call through a client for as long as the block runs.

    The list grows as calls finish, for every caller: the program itself, a bridge server, a LangChain toolkit.

        with record_calls(client) as calls:
            await my_agent(client)
        assert [(call.name, call.arguments) for call in calls] == [("weather.get_forecast", {"city": "Paris"})]
    """
    inner = client.client if isinstance(client, UTCPClient) else client
    made: Any = inner.call
    calls: list[RecordedCall] = []

    async def recorded(tool: Tool | str, arguments: JsonObject, emit: Emit = discard) -> Result:
        partials: list[Any] = []

        async def keep(partial: Any) -> None:
            partials.append(partial)
            await emit(partial)

        found = inner.find(tool) if isinstance(tool, str) else tool
        name, given = found.qualified_name if found else str(tool), dict(arguments)
        try:
            result: Result = await made(tool, arguments, keep)
        except UtcpError as error:
            calls.append(RecordedCall(name, given, error=error, partials=tuple(partials)))
            raise
        calls.append(RecordedCall(name, given, result.value, partials=tuple(partials)))
        return result

    before = vars(inner).get("call")
    vars(inner)["call"] = recorded
    try:
        yield calls
    finally:
        if before is None:
            del vars(inner)["call"]
        else:
            vars(inner)["call"] = before
