"""The UTCP client: it puts its parts together, and this is where the order of the pipeline is written."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

import anyio
import anyio.to_thread

from utcp_bridge.auth.literals import learn_configuration, literal_secrets
from utcp_bridge.auth.login.logins import Logins
from utcp_bridge.auth.redaction import secrets_in_url
from utcp_bridge.auth.results import masked_notes
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.client.explaining import Explainer, redact_error
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.client.invoking import Invoking
from utcp_bridge.client.reconfiguring import Reconfiguring
from utcp_bridge.client.reference_names import Arguments, ReferenceKeywords, ReferenceNames, keyword_parts
from utcp_bridge.client.search import FoundTools, ToolSearch
from utcp_bridge.client.shadowing import Shadowing, ShadowRecord, is_promoted, shadow_of
from utcp_bridge.client.sharing import share
from utcp_bridge.client.streaming import StreamingRun, plain_value
from utcp_bridge.configuration.loading import ConfigLike, Template, as_config, as_entry
from utcp_bridge.dialects import ManualEntry
from utcp_bridge.errors import UnknownTool, UtcpError
from utcp_bridge.manuals.binding import Binder
from utcp_bridge.manuals.registration import ManualState, Registration, certain_tool
from utcp_bridge.manuals.repository import Change, InMemoryToolRepository, ToolRepository, unknown_tool
from utcp_bridge.manuals.upkeep import Upkeep
from utcp_bridge.model import Emit, Fault, JsonObject, Outage, Result, Tool, Trust, discard, first_few, made_call
from utcp_bridge.net.files.local_file import FileRoots
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.net.preview import NativeRequest
from utcp_bridge.pipeline import Layer, Next, compose
from utcp_bridge.pipeline.audit import audits_of
from utcp_bridge.pipeline.breaker import BreakerRule, Breakers
from utcp_bridge.pipeline.deadline import Deadline, LargeReplies
from utcp_bridge.pipeline.files import FileArguments, OutputPath
from utcp_bridge.pipeline.limits import Limits, allowance_of
from utcp_bridge.pipeline.metrics import Metrics, tracing
from utcp_bridge.pipeline.policy import Policy
from utcp_bridge.pipeline.post_processing import PostProcessing, PostProcessor, read_post_processors
from utcp_bridge.pipeline.reading import as_arguments
from utcp_bridge.pipeline.retry import Retry
from utcp_bridge.pipeline.ruling import Rulings
from utcp_bridge.pipeline.validation import validation
from utcp_bridge.processes.children import ChildrenHold
from utcp_bridge.search import Hit, ToolSearchStrategy
from utcp_bridge.search.strategy import Searchable
from utcp_bridge.settings import BridgeSettings, UtcpClientConfig
from utcp_bridge.stores.opening import open_user_store
from utcp_bridge.tasks import Background
from utcp_bridge.telemetry.counting import CallCounts
from utcp_bridge.telemetry.recent import RecentCalls
from utcp_bridge.transport import Need, Services, Target
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.upstream import Hear, HostAhead, ServerState, Upstream
from utcp_bridge.variables import Variables, load_variable_loaders, names_credential

if TYPE_CHECKING:
    from utcp_bridge.client.logins import LoginDesk
    from utcp_bridge.client.mapped import MappedOffers
    from utcp_bridge.search.memory import Meaning

__all__ = ["UtcpClient"]

_logger = logging.getLogger(__name__)


class UtcpClient(ReferenceNames):
    """Registers manuals, finds tools, and calls them over their native transports.

    Open one with `await UtcpClient.create(config)`, and close it with `async with` or `aclose()`. All methods belong to
    the event loop that created it. A tool is a `Tool`, its UTCP name (`manual.tool`), or its own name if only one
    manual has a tool of this name.
    """

    configuration: JsonObject | None = None
    """What `/readyz` says of the configuration that is in use, if a program follows it."""

    def __init__(self, config: UtcpClientConfig, *, root: Path, extensions: Extensions) -> None:
        self.config, self.root, self.shared, self.redactor = config, root, extensions.shared, extensions.redactor
        self.settings: BridgeSettings = config.bridge
        self.repository: ToolRepository = extensions.repository or InMemoryToolRepository()
        self.counts, self.recent = CallCounts(is_on=self.settings.metrics), RecentCalls()
        learn_configuration(self.redactor, config)
        self._tasks, self._hearers = Background(), list[Hear]()
        self.host_ahead = HostAhead.of(extensions.host)
        self._children: ChildrenHold | None = None
        guard = extensions.guard or Guard()
        self._http = HttpPool(guard, max_response_bytes=self.settings.max_reply_bytes, is_brief=bool(extensions.only))
        self._logins = Logins(
            partial(open_user_store, config.bridge.token_store, root=root), on_secret=self._learn_secret
        )
        self._services = services = self._make_services(guard, root)
        loaders, loader_faults = load_variable_loaders(config.load_variables_from, root=root)
        processors, processor_faults = read_post_processors(config.post_processing)
        self._part_faults = [*loader_faults, *processor_faults]
        loaders[:0] = extensions.variable_loaders
        self._variables = Variables(config.variables, loaders, on_resolved=self._learn, env_files=extensions.env_files)
        self._registry = TransportRegistry(extensions.transports)
        tokens = TokenCache(self._http, on_token=self._learn_secret, logins=self._logins)
        binder = Binder(self._variables, tokens, self._learn_secret)
        self._registration = Registration(
            services, self._registry, binder, self.repository, extensions.documents, extensions.lock_file
        )
        self._registration.remapped = lambda name: self._mapped.changed(name)  # noqa: PLW0108 - made late
        self._limits = Limits(
            partial(allowance_of, self.settings), self.shared.limits if self.shared else None, emits=self._emits
        )
        registration = self._registration
        self._invoking = Invoking(registration, self.redactor, self.find, lambda: self.login_desk)
        self._upkeep = Upkeep(services, registration, self._tasks, self.redactor, self._limits.left, self._forget)
        self._search = ToolSearch(config, services, registration, extensions, self.find)
        self._shadowing = Shadowing(self, self._tasks.spawn, ShadowRecord(extensions.lock_file, self.redactor))
        self._breakers, repeats = Breakers(self._breaker_rule, self._invoking.peer), attrgetter("repeatable")
        self._retry = Retry(self._retries, repeats, share=lambda: self.settings.retry_share, emits=self._emits)
        files = FileRoots.of(self.settings, root)
        self._output_path, self._file_arguments = OutputPath(files), FileArguments(files)
        self._audit, self.refusals = audits_of(self.recent.beside(extensions.audit), self.settings, self.redactor)
        self._rules = Rulings.of(extensions.ruling, self.settings)
        self._layers = self._make_layers(extensions, (*processors, *extensions.post_processors))
        self._explainer = Explainer(
            self._registration, self.redactor, (self._output_path, self._validation, self._file_arguments)
        )
        self._chains: dict[str, Next] = {}
        self._id_prefix, self._call_numbers = secrets.token_hex(4), itertools.count(1)
        self.repository.subscribe(self._on_change)

    def _make_services(self, guard: Guard, root: Path) -> Services:
        """What transports get."""
        return Services(
            http=self._http,
            logins=self._logins,
            guard=guard,
            settings=self.settings,
            root=root,
            spawn=self._tasks.spawn,
            changed=lambda manual: self._tasks.spawn(partial(self._upkeep.refresh, manual)),
            heard=self._heard,
            screen=lambda upstream, offers: self._registration.screened(upstream, offers),  # noqa: PLW0108 - made late
            expected_host=self.host_ahead.expected,
            learn=self._learn,
        )

    def _make_layers(self, extensions: Extensions, processors: Sequence[PostProcessor]) -> tuple[Layer, ...]:
        """The pipeline, outermost layer first."""
        return (
            self._audit,
            Metrics(extensions.metrics, self.counts, self.recent),
            Policy(extensions.rules),
            LargeReplies(self._seconds),
            self._output_path,
            self._rules_of_promoted,
            self._shadowing,
            self._validation,
            self._rules,
            self._file_arguments,
            PostProcessing(processors, self.recent),
            Deadline(self._seconds, lambda tool: self._registration.transport(tool.kind).ends_at_once),
            self._breakers.refusal,
            self._limits,
            self._breakers,
            self._retry,
            tracing,
        )

    @classmethod
    async def create(
        cls,
        config: ConfigLike = None,
        *,
        root: Path | None = None,
        extensions: Extensions | None = None,
        wait: float | None = None,
        **reference: Unpack[ReferenceKeywords],
    ) -> Self:
        """Open a client and load every manual of its configuration, all at once.

        `config` is a v1 client configuration or a v0 one: a dict, a list of providers, a model, or the path of a file.
        Relative paths start at `root`, by default the folder of the configuration file or the current folder. `wait`
        is how many seconds to wait for manuals; by default until each one is loaded or has failed. Manuals that are
        not loaded by then continue to load in the background. A manual that fails does not raise: see `report()`.
        `reference` has keywords of the reference library: `root_dir`, `tool_repository`, `search_strategy`.

        :raises ConfigError: the configuration itself cannot be read. If a file is missing, this is also a
            `FileNotFoundError`.
        """
        folder, parts = keyword_parts(reference)
        root, extensions = folder or root, replace(extensions or Extensions(), **parts)
        known_fields = TransportRegistry(extensions.transports).fields
        loaded = await as_config(config, root=root, known_fields=known_fields)
        for text in first_few(loaded.faults, "more faults in the configuration."):
            _logger.warning("%s", text)
        if loaded.documents:
            extensions = replace(extensions, documents=loaded.documents)
        if loaded.env_files:
            extensions = replace(extensions, env_files=loaded.env_files)
        if loaded.lock_file is not None and extensions.lock_file is None:
            extensions = replace(extensions, lock_file=loaded.lock_file)
        client = cls(loaded.config, root=loaded.root, extensions=extensions)
        client._registration.set_up(extensions.only, extensions.index_folder)
        await client.open(wait=wait)
        return client

    async def open(self, *, wait: float | None = None) -> None:
        """Start to load the manuals and registries. Return when all are loaded, or after `wait` seconds."""
        await self._tasks.start()
        await anyio.to_thread.run_sync(self._variables.run_commands)
        self._children = self._children or ChildrenHold()
        if (fault := self._search.check()) is not None:
            self._part_faults.append(fault)
        for fault in self._part_faults:
            _logger.warning("%s", fault)
        if self.shared is not None:
            self._tasks.spawn(partial(share, self.shared, self._breakers, self.repository, self._upkeep.refresh))
        self._upkeep.begin(self.config)
        await self.wait_loaded(wait)
        self._tasks.spawn(self._search.run)

    async def wait_loaded(self, seconds: float | None = None) -> bool:
        """Wait until no manual is loading. Return False if that takes more than `seconds`."""
        with anyio.move_on_after(seconds) as scope:
            while self._upkeep.is_exchanging or any(state.is_loading for state in self._registration.states()):
                await self._tasks.moved()
        return not scope.cancelled_caught

    async def next_loaded(self) -> None:
        """Wait until a manual that is loading has loaded or failed."""
        await self._tasks.moved()

    async def aclose(self) -> None:
        """Cancel running calls and tasks; close every transport, connection and child process."""
        async with nullcontext() if self._children is None else self._children.ending():
            self.refusals.end()
            await self._tasks.stop()
            await self._shadowing.aclose()
            await self._registration.aclose()
            await self._http.aclose()
            await self._logins.aclose()
            if self.shared is not None:
                await self.shared.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- manuals ---

    async def register_manual(self, template: Template) -> ManualState:
        """Register one manual call template (v1) or provider (v0), and wait for its tools.

        If the manual cannot be loaded, the state's `error` says why, and the client tries again in the background.

        :raises ConfigError: the template has no usable name or type, or another manual has its name.
        """
        state = self._registration.announce(self._entry(template))
        await self._registration.load(state)
        self._upkeep.keep(state)
        while state.awaited:
            await self._tasks.moved()
        return state

    async def deregister_manual(self, name: str) -> bool:
        """Remove a manual and its tools. Return False if no manual has this name."""
        self._limits.forget(name)
        self._forget(name)
        return await self._upkeep.deregister(name)

    async def reconfigure(self, config: UtcpClientConfig, also: Reconfiguring | None = None) -> None:
        """Take over the manuals and the variables of a configuration that was read again, and what `also` says.

        Calls in flight go on with what they began with. Manuals that have not changed keep all that they have.
        """
        also = also or Reconfiguring()
        before, self.config = self.config, await also.apply(config, self._variables, self._rules, self.redactor)
        under_way = [commit() for commit in also.commits]  # no request is served between the settings and these
        self._invoking.forget_all()
        if also.settings:
            self._chains.clear()
        for renew in self.on_settings if also.settings else ():
            renew()
        for one in under_way:
            await one
        also.read[:] = await self._upkeep.reconfigure(before, config, also.has_new_values, reads_again=also.reads_again)
        if also.settings and isinstance(self.repository, InMemoryToolRepository):
            self.repository.touch()

    async def refresh(self, name: str) -> None:
        """Read a manual again. Its present tools stay until the new ones are there."""
        await self._upkeep.refresh(name)

    async def widen(self) -> None:
        """Load all tools of the manuals of which only one was loaded, because of `Extensions.only`."""
        await self._registration.widen()

    def report(self) -> list[ManualState]:
        """Return the state of every manual."""
        return self._registration.states()

    def faults(self) -> list[Fault]:
        """Return what is wrong with the parts that the configuration names: loaders, shadows, rules and others."""
        return [*self._part_faults, *self._shadowing.faults(), *self._rules.faults(self.tools())]

    def outages(self) -> list[Outage]:
        """Return the upstreams that did not answer, so that calls to them are refused for now."""
        return [*self._breakers.report(), *self._registration.outages()]

    def servers(self) -> list[ServerState]:
        """Return the state of each MCP server behind the manuals."""
        return self._registration.servers()

    def upstreams(self, *, servers_only: bool = False) -> list[Upstream]:
        """Return the MCP servers behind the manuals, and the manuals that map resources or prompts."""
        maps = not servers_only and any(state.maps for state in self.report())
        return [*self._registration.upstreams(), *(self._mapped.upstreams() if maps else ())]

    def on_upstream(self, hear: Hear) -> Callable[[], None]:
        """Call `hear` with each notification of an MCP server. Return a function that ends this."""
        self._hearers.append(hear)
        return partial(self._hearers.remove, hear)

    # What only some programs need is imported when it is needed.

    @cached_property
    def on_settings(self) -> list[Callable[[], object]]:
        """Functions to call when the settings have taken over other values."""
        return []

    @cached_property
    def on_prepare(self) -> list[Callable[[BridgeSettings, Collection[str]], Callable[[], Awaitable[None]]]]:
        """Functions that examine settings before they change, and return how to take them over or raise ConfigError."""
        return []

    @cached_property
    def _mapped(self) -> MappedOffers:
        from utcp_bridge.client.mapped import MappedOffers

        return MappedOffers(self._services, self._registration, self.call)

    @cached_property
    def login_desk(self) -> LoginDesk:
        """Where persons log in to the services of the manuals."""
        from utcp_bridge.client.logins import LoginDesk

        asks_host = self.settings.transport == "stdio"
        return LoginDesk(self._registration, self.repository, self._logins, self.next_loaded, asks_host=asks_host)

    # --- tools ---

    @property
    def notes_requesters(self) -> bool:
        """Whether a server should say who each call comes from (`model.REQUESTER`), for the audit log or rules."""
        return self._audit.sink is not None or self._rules.ruling is not None

    @property
    def audit_lost(self) -> int | None:
        """How many audit lines were not written; None without an audit log."""
        return self._audit.lost

    def tools(self) -> Sequence[Tool]:
        """Return every live tool, ordered by UTCP name."""
        return self.repository.tools()

    @property
    def generation(self) -> int:
        """A number that grows with every change of the tools."""
        return self.repository.generation

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after every change of the tools. Return a function that ends this."""
        return self.repository.subscribe(lambda _change: callback())

    def find(self, tool: str | Tool) -> Tool | None:
        """Return the live tool of this UTCP name (`manual.tool`), or None."""
        return self.repository.get(tool.qualified_name if isinstance(tool, Tool) else tool)

    def find_tool(self, tool: str | Tool, *, remedy: str = "`list_tools()` lists the tools.") -> Tool:
        """Return the tool of this UTCP name, or of this own name if only one manual has it. A `Tool` is returned as is.

        :raises UnknownTool: no tool has this name, or several have. The message suggests names, then says `remedy`.
        """
        if isinstance(tool, Tool):
            return tool
        if (found := self.find(tool)) is not None:
            return found
        same = [one for one in self.tools() if one.name == tool]
        if len(same) == 1:
            return certain_tool(same[0], self.report())
        names = [one.qualified_name for one in same[:3]]
        if names:
            raise UnknownTool(
                f"Several manuals have a tool named {tool!r}.", remedy=f"Use the full name: {' or '.join(names)}."
            )
        known = [one.qualified_name for one in self.tools()]
        related = (hit.tool.qualified_name for hit in self.search(tool[:128], limit=2))
        raise unknown_tool(tool, known, related=related, remedy=remedy)

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        tags: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        accept: Callable[[Tool], bool] | None = None,
    ) -> list[Hit]:
        """Return the best tools for a query, best first. See `ToolSearchStrategy.search`."""
        return self.search_strategy.search(query, limit=limit, tags=tags, providers=providers, accept=accept)

    async def prepare_search(self, queries: Iterable[str], *, patient: bool = False) -> str | None:
        """Give a strategy that needs another program the time to get ready for these queries (docs/search.md).

        Return a note if new tools are not in the index yet, or if tools will be ranked by words alone. `patient` waits
        for the whole index and for the vectors of the tools: for programs that search once and end.
        """
        return await self._search.prepare(queries, patient=patient)

    def meaning_of(self, query: str) -> Meaning | None:
        """Return the vector of a query that `prepare_search` was given, for the memory of searches."""
        return self._search.meaning_of(query)

    def search_tools(
        self,
        query: str,
        limit: int = 10,
        tags: Collection[str] | None = None,
        *,
        any_of_tags_required: Collection[str] | None = None,
    ) -> FoundTools:
        """Return the best tools for a query, best first: a list that may also be awaited (UTCP client interface).

        `any_of_tags_required` is another name of `tags` (UTCP v1).
        """
        return self._search.find(query, limit, any_of_tags_required or tags)

    @property
    def prepared_search(self) -> Searchable:
        """The search as `prepare_search` left it. `search` first brings the whole index up to date, at once."""
        return self._search

    @property
    def search_strategy(self) -> ToolSearchStrategy:
        """The strategy of the configuration, with every live tool in its index."""
        return self._search.strategy

    # --- calls ---

    def keep_recent_calls(self) -> None:
        """Keep the last calls in `recent` from now on. This costs each call some microseconds."""
        if not self.recent.is_on:
            self.recent.is_on = True
            self._chains.clear()

    async def call(self, tool: str | Tool, arguments: JsonObject, emit: Emit = discard) -> Result:
        """Run one call through the tool's pipeline. `emit` receives partial results as they arrive.

        :raises UtcpError: the call failed. See errors.py. The message holds no known secret.
        """
        if not isinstance(tool, Tool):
            tool = self.find_tool(tool)
        chain = self._chains.get(tool.qualified_name)
        if chain is None:
            chain = self._chains[tool.qualified_name] = compose(tool, self._layers, self._invoking.step(tool))
        try:
            work = chain(made_call(tool, arguments, f"{self._id_prefix}-{next(self._call_numbers)}"), emit)
            result = masked_notes(await self.host_ahead.behind(work), self.redactor)
        except UtcpError as error:
            redact_error(error, self.redactor)
            raise
        if result.failure is not None:
            redact_error(result.failure, self.redactor)
        return result

    def streams(self, tool: str | Tool) -> bool:
        """Return whether a call of this tool gives partial results.

        :raises UnknownTool: no tool has this name.
        """
        tool = self.find_tool(tool)
        return self._registry.find(tool.kind).is_streaming(tool)

    async def call_tool(
        self, tool_name: str | Tool, arguments: Arguments = None, *, tool_args: Arguments = None
    ) -> Any:
        """Call a tool and return the plain value. `arguments` may be JSON text, as models write them.

        `tool_args` is another name of `arguments` (UTCP v1). Results of MCP servers are data as well: `call` returns
        their content blocks.

        :raises UnknownTool: no tool has this name.
        :raises UtcpError: the call failed, or an MCP server returned an error.
        """
        result = await self.call(tool_name, as_arguments(arguments if tool_args is None else tool_args))
        if result.failure is not None:
            raise result.failure
        return plain_value(result.value)

    async def call_tool_streaming(
        self, tool_name: str | Tool, arguments: Arguments = None, *, tool_args: Arguments = None
    ) -> AsyncGenerator[Any]:
        """Yield partial results of a call as they arrive. A call without partial results yields its one value.

        `arguments` and `tool_args` are those of `call_tool`. Close the iterator (`aclosing`) when you leave it early:
        that cancels the call.

        :raises UnknownTool: no tool has this name.
        :raises UtcpError: the call failed. This comes after the partial results.
        """
        run = StreamingRun(
            self.call, self.find_tool(tool_name), as_arguments(arguments if tool_args is None else tool_args)
        )
        cancel = self._tasks.spawn(run.run)
        try:
            async for partial_result in run.partials:
                yield partial_result
        finally:
            cancel()
            run.partials.close()
        if run.error is not None:
            raise run.error

    # --- what a call or a manual would do, without doing it ---

    async def explain(self, tool: str | Tool, arguments: JsonObject, *, show_values: bool = False) -> NativeRequest:
        """Return the request that a call with these arguments would send, without its credentials.

        The client checks and completes the arguments as for a call; nothing is sent. Values that the operator wrote
        into the template may be secrets: `show_values` shows them, except those in places for credentials.

        :raises UnknownTool: no tool has this name.
        :raises InvalidArguments: the arguments do not fit.
        :raises Unexplainable: the tool's transport cannot explain its calls.
        :raises UtcpError: the call could not be made.
        """
        tool = await self._shadowing.answering(self.find_tool(tool))
        return await self._explainer.explain(tool, arguments, show_values=show_values)

    async def explain_rules(self, tool: Tool, arguments: JsonObject) -> list[JsonObject]:
        """Return {rule, do, decides} for each rule of the configuration that looks at a tool, in order.

        Nothing is sent, asked or counted.

        :raises InvalidArguments: the arguments do not fit.
        """
        return await self._rules.explain(tool, arguments, self._validation)

    def reach(self, template: Template) -> tuple[Target[Any], Sequence[Need]]:
        """Return the target of a manual's template with its variables filled in, and what loading it needs.

        Nothing is sent. For diagnosis: the target holds secrets.

        :raises UtcpError: what the manual's `ManualState.error` would be.
        """
        entry = self._entry(template)
        _, target = self._registration.reach(entry)
        return target, self._registration.transport(entry.kind).needs(target)

    def unset_variables(self, template: Template) -> list[str]:
        """Return the keys of variables that a manual's template needs and that are not set.

        :raises ConfigError: the template is not valid, or a source of variables cannot be read.
        """
        return self._registration.unset_variables(self._entry(template))

    # --- inside ---

    def _entry(self, template: Template) -> ManualEntry:
        entry = as_entry(template, known_fields=self._registry.fields)
        for number, secret in enumerate(literal_secrets(entry.template)):
            self.redactor.learn([secret], source=f"entry {entry.name} {number}", is_credential=True)
        return entry

    def is_silent(self, tool: Tool) -> bool:
        """Return whether no call of this tool ever gives partial results, whichever tool answers it."""
        return not self._emits(tool) and shadow_of(tool) is None

    def _emits(self, tool: Tool) -> bool:
        return self._registration.transport(tool.kind).emits

    def _breaker_rule(self, tool: Tool) -> BreakerRule:
        return BreakerRule.of(self.settings, tool, self._registration.transport(tool.kind).longest_pause)

    def _heard(self, upstream: Upstream, method: str, params: JsonObject) -> None:
        for hear in tuple(self._hearers):
            hear(upstream, method, params)

    def _learn(self, key: str, value: str) -> None:
        """Any variable may be a secret. Numbers and hosts are not secrets, and must stay readable in errors."""
        source = f"variable {key}"
        if "://" in value:
            self.redactor.learn(secrets_in_url(value), source=source)
        elif not value.replace(".", "").isdigit():
            self.redactor.learn([value], source=source, is_credential=names_credential(key))

    def _learn_secret(self, source: str, secret: str) -> None:
        self.redactor.learn([secret], source=source, is_credential=True)

    def _validation(self, tool: Tool, inner: Next) -> Next:
        return validation(tool, inner, check=tool.limits.get("validation", self.settings.validation))

    def _rules_of_promoted(self, tool: Tool, inner: Next) -> Next:
        """Apply the rules of a promoted tool as well: those of the tool that answers are in its own pipeline."""
        return self._rules(tool, inner) if is_promoted(self.tools(), tool) else inner

    def _seconds(self, tool: Tool) -> float:
        """Return the time limit of a tool's calls. The template of a fetched manual may lower the operator's limit."""
        default = self.settings.stream_timeout if self.streams(tool) else self.settings.call_timeout
        if (chosen := tool.limits.get("call_timeout")) is not None:
            return float(chosen)
        if tool.overlay is not None and isinstance(stated := tool.overlay.get("timeout"), int | float):
            return float(stated)  # the operator wrote it beside the MCP server of the tool
        own = tool.template.get("timeout")
        if not isinstance(own, int | float):
            return float(default)
        if tool.source.trust is Trust.OPERATOR:
            return float(own)
        return float(min(own, max(default, tool.limits.get("timeout", 0))))

    def _retries(self, tool: Tool) -> int:
        return int(tool.limits.get("retries", self.settings.retries))

    def _forget(self, manual: str) -> None:
        """Drop what was learned of a manual before its entry changed."""
        self._breakers.forget(manual)
        self._retry.forget(manual)
        self._invoking.forget_manual(manual)

    def _on_change(self, change: Change) -> None:
        self._search.changed(change)
        tools = (*change.removed, *change.added)
        self._invoking.forget(tools)
        for tool in tools:
            self._chains.pop(tool.qualified_name, None)
