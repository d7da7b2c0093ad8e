"""A small UTCP client for the server's tests: real tools and results, no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.errors import UnknownTool
from utcp_bridge.manuals.repository import InMemoryToolRepository
from utcp_bridge.model import Result, Source, Tool
from utcp_bridge.pipeline.audit import Refusals
from utcp_bridge.search.lexical import Bm25Strategy
from utcp_bridge.settings import BridgeSettings, UtcpClientConfig
from utcp_bridge.stores.replicas import SharedStore
from utcp_bridge.telemetry.recent import RecentCalls
from utcp_bridge.upstream import AnyHost, HostAhead


@dataclass
class Manual:
    name: str
    status: str = "ready"
    tools: int = 0
    arrived: float = 0.0
    next_try: float | None = None
    kind: str = "http"
    maps: bool = False
    awaited: tuple[str, ...] = ()
    error: Exception | None = None

    @property
    def is_loading(self):
        return self.status == "loading" or bool(self.awaited)


@dataclass
class StandIn:
    """A client whose tools run functions: `async (arguments, emit) -> value`."""

    settings: BridgeSettings = field(default_factory=BridgeSettings)
    search_note: str | None = None
    audit_lost: int | None = None
    configuration: dict[str, Any] | None = None
    on_settings: list[Any] = field(default_factory=list)
    on_prepare: list[Any] = field(default_factory=list)
    notes_requesters: bool = False
    silent: set[str] = field(default_factory=set)
    """The names of tools that never give partial results."""
    root: Path = field(default_factory=Path)
    config: UtcpClientConfig = field(default_factory=UtcpClientConfig)
    redactor: Redactor = field(default_factory=Redactor)
    shared: SharedStore | None = None
    recent: RecentCalls = field(default_factory=RecentCalls)

    def __post_init__(self):
        self.refusals = Refusals(None, self.redactor)
        self._tools, self._functions, self._callbacks = {}, {}, []
        self.server_states = []
        self.upstreams_away, self.served, self._hearers = [], [], []
        self.manuals, self.calls, self._index, self.loaded = [], [], Bm25Strategy(), anyio.Event()
        self.moved = anyio.Event()
        self.host_ahead = HostAhead(AnyHost())
        self.repository = InMemoryToolRepository()

    @property
    def generation(self):
        return self.repository.generation

    @generation.setter
    def generation(self, number):
        self.repository.generation = number

    def add(self, manual, name, function=None, **fields):
        tool = Tool(source=Source(manual), name=name, kind="test", template={}, **fields)
        self._tools[tool.qualified_name], self._functions[tool] = tool, function
        self._index.add([tool])
        self.generation += 1
        for callback in self._callbacks:
            callback()
        return tool

    def add_many(self, manual, names, **fields):
        """Add many tools that can be listed and called, but that a search does not find."""
        for name in names:
            tool = Tool(source=Source(manual), name=name, kind="test", template={}, **fields)
            self._tools[tool.qualified_name], self._functions[tool] = tool, None
        self.generation += 1

    def servers(self):
        return self.server_states

    def tools(self):
        return tuple(self._tools.values())

    def find(self, name):
        return self._tools.get(name)

    find_tool = UtcpClient.find_tool

    def is_silent(self, tool):
        return tool.name in self.silent

    async def call(self, tool: Tool, arguments: dict[str, Any], emit) -> Result:
        self.calls.append((tool.qualified_name, arguments))
        if tool not in self._functions:
            raise UnknownTool(f"There is no tool {tool.name!r}.")
        function = self._functions[tool]
        value = arguments if function is None else await function(arguments, emit)
        return value if isinstance(value, Result) else Result(value)

    def streams(self, tool):
        return "stream" in tool.tags

    def search(self, query, **filters):
        return self._index.search(query, **filters)

    @property
    def prepared_search(self):
        return self

    async def prepare_search(self, queries):
        self.prepared = list(queries)
        return self.search_note

    def meaning_of(self, query):
        return None

    def on_change(self, callback):
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def wait_loaded(self, seconds=None):
        with anyio.move_on_after(seconds):
            await self.loaded.wait()
        return self.loaded.is_set()

    async def next_loaded(self):
        await self.moved.wait()

    def report(self):
        return self.manuals

    def outages(self):
        return self.upstreams_away

    def upstreams(self):
        return self.served

    def on_upstream(self, hear):
        self._hearers.append(hear)
        return lambda: self._hearers.remove(hear)
