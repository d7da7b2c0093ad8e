"""`SyncUtcpClient`: the client for programs without an event loop."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.configuration.loading import ConfigLike, Template, load_config
from utcp_bridge.errors import CallerError, ConfigError, ManualError
from utcp_bridge.model import JsonObject, Result, Tool, is_object
from utcp_bridge.net.preview import NativeRequest

__all__ = ["SyncUtcpClient", "ToolInfo", "UTCPClient"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """What a caller needs to know about a tool. `parameters` and `outputs` are JSON Schemas."""

    name: str
    """The UTCP name, `manual.tool`."""
    description: str
    parameters: JsonObject = field(repr=False)
    outputs: JsonObject | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()


class SyncUtcpClient:
    """A `UtcpClient` on an event loop in its own thread. Any thread may call its methods.

    It ends with `close()`, with the `with` block, or with the program. A tool is a `Tool`, its UTCP name
    (`manual.tool`), or its own name if only one manual has a tool of this name.

    :raises ConfigError: the configuration cannot be read.
    """

    def __init__(
        self, config: ConfigLike = None, *, root: Path | None = None, extensions: Extensions | None = None
    ) -> None:
        stack = ExitStack()
        self._portal = stack.enter_context(start_blocking_portal())
        try:
            create = partial(UtcpClient.create, config, root=root, extensions=extensions)
            self._client: UtcpClient = self._portal.call(create)
            stack.callback(self._portal.call, self._client.aclose)
        except BaseException:
            stack.close()
            raise
        self.close: Callable[[], Any] = weakref.finalize(self, stack.close)
        """Ends calls, connections and child processes. A second call does nothing."""

    @property
    def client(self) -> UtcpClient:
        """The asynchronous client. Its coroutines belong to the event loop of its own thread."""
        return self._client

    def load_manual(self, source: str | Path, name: str | None = None) -> list[str]:
        """Load a manual, an OpenAPI description or a configuration from a file or URL. Return its tools' UTCP names.

        `name` is the manual's name, by default the one in the source or the name of the file.

        :raises UtcpError: the source could not be loaded, or `name` is given and the source has several manuals.
        """
        return self._run(lambda: self._load(str(source), name))

    def load_manual_dict(self, manual: Mapping[str, Any], name: str | None = None) -> list[str]:
        """Load a manual or an OpenAPI description from a dict. `name` is by default its title.

        :raises UtcpError: the manual could not be loaded.
        """
        info = manual.get("info")
        title = info.get("title") if is_object(info) else None
        name = name or str(title or "") or self._free_name("manual")
        entry = {"name": name, "call_template_type": "text", "content": dict(manual)}
        return [tool.qualified_name for tool in self.register_manual(entry)]

    def register_manual(self, template: Template) -> list[Tool]:
        """Register a call template (v1) or provider (v0). Return its tools.

        :raises UtcpError: the manual could not be loaded.
        """
        return self._run(lambda: self._client.register_tool_provider(template))

    def deregister_manual(self, name: str) -> bool:
        """Remove a manual and its tools. Return False if no manual has this name."""
        return self._run(lambda: self._client.deregister_manual(name))

    def list_tools(self) -> list[str]:
        """Return the tools' own names, or UTCP names where several manuals have a tool of the same name."""
        names = Counter(tool.name for tool in self._client.tools())
        return [tool.name if names[tool.name] == 1 else tool.qualified_name for tool in self._client.tools()]

    def find_tool(self, tool: str | Tool) -> Tool:
        """Return the tool of this name.

        :raises UnknownTool: no tool has this name, or several have. The remedy suggests names.
        """
        return self._client.find_tool(tool)

    def get_tool_info(self, name: str | Tool) -> ToolInfo:
        """Return what a tool does and which arguments it takes.

        :raises UnknownTool: no tool has this name, or several have.
        """
        tool = self.find_tool(name)
        return ToolInfo(tool.qualified_name, tool.description, tool.inputs, tool.outputs, tool.tags)

    def streams(self, tool: str | Tool) -> bool:
        """Return whether a call of this tool gives partial results.

        :raises UnknownTool: no tool has this name, or several have.
        """
        return self._client.streams(tool)

    def call(self, tool: str | Tool, arguments: JsonObject) -> Result:
        """Call a tool and return its result: the value, and what the transport says about it.

        :raises UnknownTool: no tool has this name, or several have.
        :raises UtcpError: the call failed.
        """
        return self._run(partial(self._client.call, tool, arguments))

    def call_tool(self, name: str | Tool, arguments: Mapping[str, Any] | str | None = None) -> Any:
        """Call a tool and return the plain value. `call` returns content blocks of MCP servers as they are.

        :raises UnknownTool: no tool has this name, or several have.
        :raises UtcpError: the call failed.
        """
        return self._run(partial(self._client.call_tool, name, arguments))

    def explain(self, tool: str | Tool, arguments: JsonObject, *, show_values: bool = False) -> NativeRequest:
        """Return the request that a call with these arguments would send. See `UtcpClient.explain`.

        :raises UnknownTool: no tool has this name, or several have.
        :raises UtcpError: the call could not be made.
        """
        return self._run(partial(self._client.explain, tool, arguments, show_values=show_values))

    def start_call(self, tool: str | Tool, arguments: JsonObject) -> Future[Result]:
        """Start a call and return at once. The future has its result or UtcpError; its `cancel()` ends the call.

        :raises CallerError: the client is closed.
        """
        try:
            return self._portal.start_task_soon(self._client.call, tool, arguments)
        except RuntimeError:
            name = tool.qualified_name if isinstance(tool, Tool) else tool
            raise CallerError(f"{name} belongs to a client that is closed.") from None

    def call_tool_streaming(self, name: str | Tool, arguments: Mapping[str, Any] | str | None = None) -> Iterator[Any]:
        """Yield partial results of a call as they arrive. Leaving the loop early cancels the call.

        :raises UnknownTool: no tool has this name, or several have.
        :raises UtcpError: the call failed.
        """
        stream = self._client.call_tool_streaming(self.find_tool(name), arguments)
        iterator = aiter(stream)
        try:
            while True:
                try:
                    yield self._portal.call(iterator.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            self._portal.call(stream.aclose)

    def search_tools(self, query: str, limit: int = 10, tags: Collection[str] | None = None) -> list[Tool]:
        """Return the best tools for a query, best first."""
        return self._run(lambda: self._client.search_tools(query, limit, tags))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        return self._portal.call(work)

    async def _load(self, source: str, name: str | None) -> list[str]:
        loaded = await load_config([source])
        entries = loaded.config.manual_call_templates
        if not entries:
            raise ManualError(str(loaded.faults[0]) if loaded.faults else f"{source} contains no manual.")
        if name is not None:
            entry, *others = entries
            if others:
                raise ConfigError(f"{source} contains {len(entries)} manuals.", remedy="Omit `name`.")
            entries = ({**entry, "name": name},)
        names: list[str] = []
        for entry in entries:
            names += [tool.qualified_name for tool in await self._client.register_tool_provider(entry)]
        return names

    def _free_name(self, wanted: str) -> str:
        taken = {state.name for state in self._client.report()}
        numbered = (wanted if number == 1 else f"{wanted}_{number}" for number in range(1, len(taken) + 2))
        return next(name for name in numbered if name not in taken)


UTCPClient = SyncUtcpClient
"""The name that guides of UTCP use for the synchronous client."""
