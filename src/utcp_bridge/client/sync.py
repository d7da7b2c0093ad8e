"""`UTCPClient`: the client for programs without an event loop."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from utcp_bridge.client.client import Extensions, UtcpClient
from utcp_bridge.client.reference import Template
from utcp_bridge.configuration.loading import ConfigLike, load_config
from utcp_bridge.errors import CallerError, ConfigError, ManualError, UnknownTool
from utcp_bridge.model import JsonObject, Result, Tool, is_object

__all__ = ["ToolInfo", "UTCPClient"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """What a caller needs to know of a tool; `parameters` and `outputs` are JSON Schemas."""

    name: str
    """The UTCP name, `manual.tool`."""
    description: str
    parameters: JsonObject = field(repr=False)
    outputs: JsonObject | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()


class UTCPClient:
    """A `UtcpClient` on an event loop in a thread of its own; its methods may be called from any thread.

    Ends with `close()`, with the `with` block, or with the program. Tools may be named by their UTCP name or, where
    only one manual has it, by their own.

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
        """Ends calls, connections and child processes; a second time does nothing."""

    @property
    def client(self) -> UtcpClient:
        """The client within; its coroutines belong to the thread's own loop."""
        return self._client

    def load_manual(self, source: str | Path, name: str | None = None) -> list[str]:
        """Load a manual, an OpenAPI description or a configuration from a file or URL; returns its tools' UTCP names.

        `name` is the manual's own, by default the one that the source or its place gives.

        :raises UtcpError: it could not be loaded, or `name` is given to several manuals at once.
        """
        return self._run(lambda: self._load(str(source), name))

    def load_manual_dict(self, manual: Mapping[str, Any], name: str | None = None) -> list[str]:
        """Load a manual or an OpenAPI description that is at hand; `name` is by default its title.

        :raises UtcpError: it could not be loaded.
        """
        info = manual.get("info")
        title = info.get("title") if is_object(info) else None
        name = name or str(title or "") or self._free_name("manual")
        entry = {"name": name, "call_template_type": "text", "content": dict(manual)}
        return [tool.qualified_name for tool in self.register_manual(entry)]

    def register_manual(self, template: Template) -> list[Tool]:
        """Register a call template (v1) or provider (v0); returns its tools.

        :raises UtcpError: it could not be loaded.
        """
        return self._run(lambda: self._client.register_tool_provider(template))

    def deregister_manual(self, name: str) -> bool:
        """Forget a manual and its tools; False if there is none of this name."""
        return self._run(lambda: self._client.deregister_manual(name))

    def list_tools(self) -> list[str]:
        """The tools' own names; UTCP names where several manuals have the same."""
        return [self._shortest(tool) for tool in self._client.tools()]

    def get_tool_info(self, name: str) -> ToolInfo:
        """What a tool does and takes.

        :raises UnknownTool: no tool has this name, or several have.
        """
        tool = self._find(name)
        return ToolInfo(tool.qualified_name, tool.description, tool.inputs, tool.outputs, tool.tags)

    def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Call a tool and return the plain value.

        :raises UnknownTool: no tool has this name, or several have.
        :raises UtcpError: the call failed.
        """
        tool = self._find(name)
        return self._run(lambda: self._client.call_tool(tool.qualified_name, arguments))

    def start_call(self, tool: Tool, arguments: JsonObject) -> Future[Result]:
        """Start a call and return at once; the future has its result or UtcpError, and its `cancel()` ends the call.

        :raises CallerError: the client is closed.
        """
        try:
            return self._portal.start_task_soon(self._client.call, tool, arguments)
        except RuntimeError:
            raise CallerError(f"{tool.qualified_name} belongs to a client that is closed.") from None

    def call_tool_streaming(self, name: str, arguments: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Partial results of a call as they come; leaving the loop early cancels the call."""
        stream = self._client.call_tool_streaming(self._find(name).qualified_name, arguments)
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
        """The best tools for a query, best first."""
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
            raise ManualError(str(loaded.faults[0]) if loaded.faults else f"{source} holds no manual.")
        if name is not None:
            entry, *others = entries
            if others:
                raise ConfigError(f"{source} holds {len(entries)} manuals.", remedy="Leave the name away.")
            entries = ({**entry, "name": name},)
        names: list[str] = []
        for entry in entries:
            names += [tool.qualified_name for tool in await self._client.register_tool_provider(entry)]
        return names

    def _find(self, name: str) -> Tool:
        tool = self._client.find(name)
        if tool is not None:
            return tool
        named = [tool for tool in self._client.tools() if tool.name == name]
        if len(named) == 1:
            return named[0]
        if named:
            raise UnknownTool(f"{name!r} is in several manuals.", remedy=f"Say {named[0].qualified_name}, for example.")
        raise UnknownTool(f"There is no tool {name!r}.", remedy="`list_tools()` names them all.")

    def _shortest(self, tool: Tool) -> str:
        alone = sum(other.name == tool.name for other in self._client.tools()) == 1
        return tool.name if alone else tool.qualified_name

    def _free_name(self, wanted: str) -> str:
        taken = {state.name for state in self._client.report()}
        numbered = (wanted if number == 1 else f"{wanted}_{number}" for number in range(1, len(taken) + 2))
        return next(name for name in numbered if name not in taken)
