"""The UTCP client: composition root, and the place where the pipeline's order is written."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio

from utcp_bridge.auth.redaction import Redactor
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.client.explain import Inspection
from utcp_bridge.client.reference import ReferenceApi, Template
from utcp_bridge.client.search import FoundTools, ToolSearch
from utcp_bridge.configuration.loading import ConfigLike, as_config
from utcp_bridge.errors import Rejected, UnknownTool, UtcpError
from utcp_bridge.manuals.binding import Binder
from utcp_bridge.manuals.registration import ManualState, Registration
from utcp_bridge.manuals.repository import Change, InMemoryToolRepository, ToolRepository
from utcp_bridge.manuals.upkeep import Upkeep
from utcp_bridge.model import Call, Emit, JsonObject, Result, Tool, discard, is_list, is_object
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.pipeline import Next, compose
from utcp_bridge.pipeline.audit import Audit
from utcp_bridge.pipeline.deadline import Deadline
from utcp_bridge.pipeline.limits import Allowance, Limits
from utcp_bridge.pipeline.metrics import Metrics, MetricsHook
from utcp_bridge.pipeline.policy import Policy, Rule
from utcp_bridge.pipeline.post_processing import PostProcessing, PostProcessor, read_post_processors
from utcp_bridge.pipeline.retry import Retry
from utcp_bridge.pipeline.validation import validation
from utcp_bridge.search import Hit, ToolSearchStrategy
from utcp_bridge.settings import BridgeSettings, UtcpClientConfig
from utcp_bridge.tasks import Background
from utcp_bridge.transport import Services, Transport
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.variables import VariableLoader, Variables, load_variable_loaders

__all__ = ["Extensions", "UtcpClient"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Extensions:
    """Parts that an embedding program may bring along; each default is the built-in one."""

    repository: ToolRepository | None = None
    search_strategy: ToolSearchStrategy | None = None
    transports: tuple[type[Transport[Any]], ...] = ()
    guard: Guard | None = None
    rules: Sequence[Rule] = ()
    metrics: Sequence[MetricsHook] = ()
    audit: Callable[[bytes], None] | None = None
    redactor: Redactor = field(default_factory=Redactor)
    post_processors: Sequence[PostProcessor] = ()
    variable_loaders: Sequence[VariableLoader] = ()
    """Asked before those of the configuration."""


class UtcpClient(ReferenceApi, Inspection):
    """Registers manuals, finds tools, calls them over their native transports.

    Use `await UtcpClient.create(config)`, and `async with` or `aclose()` to end it. All methods belong to
    the event loop that created it.
    """

    def __init__(self, config: UtcpClientConfig, *, root: Path, extensions: Extensions) -> None:
        self.config = config
        self.settings: BridgeSettings = config.bridge
        self.repository: ToolRepository = extensions.repository or InMemoryToolRepository()
        self.redactor = extensions.redactor
        self._chains: dict[str, Next] = {}
        self._call_ids = (f"{secrets.token_hex(4)}-{number}" for number in itertools.count(1))
        self._tasks = Background()
        guard = extensions.guard or Guard()
        self._http = HttpPool(guard, max_response_bytes=self.settings.max_reply_bytes)
        self._services = Services(
            http=self._http,
            guard=guard,
            settings=self.settings,
            root=root,
            spawn=self._tasks.spawn,
            changed=lambda manual: self._tasks.spawn(lambda: self._registration.refresh(manual)),
        )
        loaders, loader_faults = load_variable_loaders(config.load_variables_from, root=root)
        processors, faults = read_post_processors(config.post_processing)
        self._part_faults = [*loader_faults, *faults]
        sources = (*extensions.variable_loaders, *loaders)
        variables = Variables(config.variables, sources, on_resolved=self._learn)
        self._registry = TransportRegistry(extensions.transports)
        binder = Binder(variables, TokenCache(self._http), lambda secret: self.redactor.learn([secret]))
        self._registration = Registration(self._services, self._registry, binder, self.repository)
        self._upkeep = Upkeep(self._services, self._registration, self._tasks, self.redactor)
        self._search = ToolSearch(config, self._services, self._registration, extensions.search_strategy)
        self._limits = Limits(self._allowance)
        self._layers = (
            Audit(extensions.audit),
            Metrics(extensions.metrics),
            Policy(extensions.rules),
            validation,
            PostProcessing((*processors, *extensions.post_processors)),
            Deadline(self._seconds),
            self._limits,
            Retry(times=self._retries, idempotent=self._idempotent),
        )
        self.repository.subscribe(self._on_change)

    @classmethod
    async def create(
        cls,
        config: ConfigLike = None,
        *,
        root: Path | None = None,
        extensions: Extensions | None = None,
        wait: float | None = None,
    ) -> Self:
        """Open a client and load every manual of its configuration, all at once.

        `config` is a v1 client config or a v0 one: dict, list of providers, model, path of a file. Relative paths start
        at `root`, by default the configuration file's folder or the current one. `wait` bounds the
        seconds spent waiting for manuals (default: until each has come or failed); the rest goes on in
        the background.

        :raises ConfigError: the configuration itself cannot be read. A manual's failure never raises: see `report()`.
        """
        extensions = extensions or Extensions()
        known_fields = TransportRegistry(extensions.transports).fields
        loaded = await as_config(config, root=root, known_fields=known_fields)
        for fault in loaded.faults:
            _log.warning("%s", fault)
        client = cls(loaded.config, root=loaded.root, extensions=extensions)
        await client.open(wait=wait)
        return client

    async def open(self, *, wait: float | None = None) -> None:
        """Start loading the configuration's manuals and registries; returns when all are loaded or `wait`
        seconds are over.
        """
        await self._tasks.start()
        for fault in (*self._part_faults, self._search.check()):
            if fault is not None:
                _log.warning("%s", fault)
        self._upkeep.begin(self.config)
        await self.wait_loaded(wait)
        self._tasks.spawn(self._search.run)

    async def wait_loaded(self, seconds: float | None = None) -> bool:
        """Wait until no manual is loading; False if `seconds` ran out first."""
        with anyio.move_on_after(seconds) as scope:
            while any(state.status == "loading" for state in self._registration.states()):
                await self._tasks.moved()
        return not scope.cancelled_caught

    async def register_manual(self, template: Template) -> ManualState:
        """Register one manual call template (v1) or provider (v0) and wait for its tools.

        A failure to load is in the state's `error`, and is retried in the background.

        :raises ConfigError: the template has no usable name or type, or the name is taken.
        """
        state = self._registration.announce(self._entry(template))
        await self._registration.load(state)
        self._upkeep.keep(state)
        return state

    async def deregister_manual(self, name: str) -> bool:
        """Forget a manual and its tools; False if there is none of this name."""
        self._limits.forget(name)
        return await self._upkeep.deregister(name)

    async def refresh(self, name: str) -> None:
        """Read a manual again; its present tools stay until the new ones are there."""
        await self._upkeep.refresh(name)

    def tools(self) -> Sequence[Tool]:
        """Every live tool, ordered by UTCP name."""
        return self.repository.tools()

    @property
    def generation(self) -> int:
        """Grows with every change of the tools."""
        return self.repository.generation

    def find(self, name: str) -> Tool | None:
        """The tool of a UTCP name (`manual.tool`), or None."""
        return self.repository.get(name)

    def report(self) -> list[ManualState]:
        """What became of every manual."""
        return self._registration.states()

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every change of the tools; returns the way to unsubscribe."""
        return self.repository.subscribe(lambda _change: callback())

    async def call(self, tool: Tool, arguments: JsonObject, emit: Emit = discard) -> Result:
        """Run one call through the tool's pipeline. `emit` receives partial results as they come.

        :raises UtcpError: see errors.py; its texts hold no known secret.
        """
        chain = self._chains.get(tool.qualified_name)
        if chain is None:
            chain = self._chains[tool.qualified_name] = compose(tool, self._layers, self._innermost(tool))
        try:
            return await chain(Call(tool, arguments, next(self._call_ids)), emit)
        except UtcpError as error:
            self._redact(error)
            raise

    def streams(self, tool: Tool) -> bool:
        """Whether a call of this tool gives partial results."""
        return self._registry.find(tool.kind).is_streaming(tool)

    async def call_tool(self, tool_name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Call a tool by its UTCP name and return the plain value.

        :raises UnknownTool: no tool has this name.
        :raises UtcpError: the call failed.
        """
        return (await self.call(self._require(tool_name), dict(arguments or {}))).value

    async def call_tool_streaming(
        self, tool_name: str, arguments: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Any]:
        """Partial results of a call as they come; a call that streams nothing yields its one value.

        Close the iterator (`aclosing`) when leaving early: it cancels the call.
        """
        tool = self._require(tool_name)
        send, receive = anyio.create_memory_object_stream[Any](0)
        outcome: list[Any] = []

        async def run() -> None:
            emitted = False

            async def emit(partial: Any) -> None:
                nonlocal emitted
                emitted = True
                await send.send(partial)

            async with send:
                try:
                    result = await self.call(tool, dict(arguments or {}), emit)
                except UtcpError as error:
                    outcome.append(error)
                    return
                if not emitted:
                    await send.send(result.value)

        cancel = self._tasks.spawn(run)
        try:
            async for partial in receive:
                yield partial
        finally:
            cancel()
            receive.close()
        if outcome:
            raise outcome[0]

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Callable[[Tool], bool] | None = None,
    ) -> list[Hit]:
        """The best tools for a query, best first; see `ToolSearchStrategy.search`."""
        return self.search_strategy.search(query, limit=limit, tags=tags, providers=providers, accept=accept)

    async def prepare_search(self, queries: Iterable[str], *, patient: bool = False) -> str | None:
        """Give a strategy that waits for another program the time to get ready for these queries (docs/search.md).

        Returns a note where tools will be ranked by words alone after all. `patient` waits for the tools' own
        vectors too: for programs that search once and end.
        """
        return await self._search.prepare(queries, patient=patient)

    def search_tools(self, query: str, limit: int = 10, tags: Collection[str] | None = None) -> FoundTools:
        """The UTCP client's method of this name: tools only, best first. A list, to be awaited or not."""
        return self._search.find(query, limit, tags)

    @property
    def search_strategy(self) -> ToolSearchStrategy:
        """The strategy of the configuration, brought up to date with the live tools."""
        return self._search.strategy

    async def aclose(self) -> None:
        """Cancel what runs, close every transport, connection and child process."""
        await self._tasks.stop()
        await self._registration.aclose()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _require(self, name: str) -> Tool:
        tool = self.find(name)
        if tool is None:
            near = ", ".join(get_close_matches(name, [known.qualified_name for known in self.tools()]))
            raise UnknownTool(f"There is no tool {name!r}.", remedy=f"Did you mean {near}?" if near else None)
        return tool

    def _innermost(self, tool: Tool) -> Next:
        """Resolve the tool's template once, then hand calls to its transport. Holds the secrets."""
        transport = self._registration.transport(tool.kind)
        bound: list[Any] = []

        async def invoke(call: Call, emit: Emit) -> Result:
            if not bound:
                bound.append(self._registration.bind(tool))
            value = await transport.call(bound[0], call, emit)
            return value if isinstance(value, Result) else Result(value)

        return invoke

    def _learn(self, _name: str, value: str) -> None:
        """Any variable may be a secret; addresses and numbers are not, and must stay readable in errors."""
        if "://" not in value and not value.replace(".", "").isdigit():
            self.redactor.learn([value])

    def _redact(self, error: UtcpError) -> None:
        """Upstreams echo what they were sent: take known secrets out of everything a caller will see."""
        error.message = self.redactor(error.message)
        error.remedy = self.redactor(error.remedy) if error.remedy else None
        if isinstance(error, Rejected):
            error.detail = _clean(error.detail, self.redactor)

    def _allowance(self, tool: Tool) -> Allowance:
        settings, limits = self.settings, tool.limits
        return Allowance(
            concurrency=limits.get("concurrency", settings.concurrency),
            queue=limits.get("queue", settings.queue),
            rate=limits.get("rate_limit", settings.rate_limit),
            partials=settings.max_stream_events,
        )

    def _seconds(self, tool: Tool) -> float:
        default = self.settings.stream_timeout if self.streams(tool) else self.settings.call_timeout
        own = tool.template.get("timeout")
        return float(tool.limits.get("call_timeout") or (own if isinstance(own, int | float) else default))

    def _retries(self, tool: Tool) -> int:
        return int(tool.limits.get("retries", self.settings.retries))

    def _idempotent(self, tool: Tool) -> bool:
        return bool(tool.annotations.get("idempotentHint") or tool.annotations.get("readOnlyHint"))

    def _on_change(self, change: Change) -> None:
        self._search.changed(change)
        for tool in change.removed:
            self._chains.pop(tool.qualified_name, None)
        for tool in change.added:
            self._chains.pop(tool.qualified_name, None)


def _clean(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor(value)
    if is_object(value):
        return {key: _clean(member, redactor) for key, member in value.items()}
    return [_clean(member, redactor) for member in value] if is_list(value) else value
